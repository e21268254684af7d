"""Dense indicators (person-level, by county, semester and basis): shown rounded instead of withheld.

Every smallest cell is rounded by itself with a secret threshold (``disclosure.rounding``): numerator and rest apart,
each county, year, semester and basis. Everything else is added up from rounded cells: ``all`` from the semesters,
cities, groups and the region from their counties, a basis that contains another from that one and the rounded surplus.
So a difference of two figures is again a sum of rounded cells and tells nothing that they do not tell. A count that is
not nought is never shown as nought: a rate is 100 percent if and only if nobody is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from disclosure.cells import WHOLE_SUBGROUP
from disclosure.model import CellKey
from disclosure.policy import ClassPolicy, Nesting, Policy, PolicyError, policy_from_warehouse
from disclosure.rounding import Rounder, open_rounder, protect_by_rounding, write_rounded
from disclosure.sources import LONG_MART, Connection, read_members, read_registry_rows
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

#: numerator and denominator; no denominator: a count
Figure = tuple[int, int | None]
Code = tuple[str, str, str]
#: basis -> basis that contains it
CONTAINED = {"national_broad": "plan_strict"}
_FEN = {"yuan": 1, "fen": 100}


@dataclass(frozen=True)
class DenseSeries:
    """One dense indicator variant and basis of the registry.

    Attributes:
        code: indicator, variant, basis.
        subgroups: as published.
        is_rate: has a denominator.
        policy: rules of its class.
        nesting: money, and how its subgroups hang together.
        within: series that are contained in this one, and by this what is shown of them is added up (see ``_within``).
    """

    code: Code
    subgroups: tuple[str, ...]
    is_rate: bool
    policy: ClassPolicy
    nesting: Nesting
    within: tuple[tuple[int, Code], ...] = ()

    @property
    def base(self) -> int:
        """Figures are multiples of it, in their own unit (persons, yuan, fen)."""
        if self.nesting.money_unit is not None:
            return (self.policy.money_base_yuan or 1) * _FEN[self.nesting.money_unit]
        return self.policy.rounding_base or 1

    @property
    def leaves(self) -> tuple[str, ...]:
        """Smallest subgroups: those that add up to ``all``."""
        parts = tuple(name for name in self.subgroups if name != WHOLE_SUBGROUP)
        return parts if parts and self.nesting.subgroups_partition else self.subgroups


def read_dense(rows: Iterable[Mapping[str, Any]], policy: Policy) -> list[DenseSeries]:
    """Dense series of the registry, those that are contained in others first.

    Args:
        rows: registry of indicators (reference.indicators).
        policy: the policy. Subgroups add up to ``all`` unless disclosure_structure says that they do not.

    Raises:
        PolicyError: a gap is declared dense (it would be rounded apart from its rates), or an amount has no count.
    """
    found: dict[Code, DenseSeries] = {}
    for row in rows:
        one = policy.classes.get(str(row["disclosure_class"]))
        if one is None or not one.is_rounded or str(row["is_in_county_mart"]).lower() != "true":
            continue
        code = (str(row["indicator_code"]), str(row["variant"]), str(row["basis"]))
        if row["minuend_indicator_code"]:
            raise PolicyError(
                f"indicator {' '.join(code)}: a gap cannot be of class {one.name}, its rates are rounded already"
            )
        nesting = policy.structure.get(code, Nesting(subgroups_partition=True))
        if nesting.money_unit is not None and (nesting.money_unit not in _FEN or one.money_base_yuan is None):
            raise PolicyError(
                f"disclosure_structure, {' '.join(code)}: money_unit must be one of {', '.join(_FEN)}, and class"
                f" {one.name} needs money_base_yuan in disclosure_policy"
            )
        found[code] = DenseSeries(
            code, tuple(str(row["subgroups"]).split(";")), str(row["measure_type"]) == "ratio", one, nesting
        )
    for code, series in found.items():
        counted = series.nesting.counted_by
        if series.nesting.money_unit is not None and (counted is None or (code[0], counted, code[2]) not in found):
            raise PolicyError(
                f"disclosure_structure, {' '.join(code)}: counted_by_variant {counted!r} must be a dense variant of the"
                " indicator on the same basis, so that amounts of few persons are not shown"
            )
    nested = [
        DenseSeries(one.code, one.subgroups, one.is_rate, one.policy, one.nesting, _within(one.code, found))
        for one in found.values()
    ]
    # a series comes after all that it contains
    return sorted(nested, key=lambda one: (one.code[2] in CONTAINED, len(one.within), one.code))


def _within(code: Code, found: Mapping[Code, DenseSeries]) -> tuple[tuple[int, Code], ...]:
    """Series contained in one, with the sign by which they make up the largest part of it that is rounded elsewhere.

    On the narrow basis that is the variant declared as its part; on the wide basis the narrow one, and what the part
    has more on the wide basis.

    Raises:
        PolicyError: a part has parts itself, or two series are parts of one.
    """
    parts = [
        one.code
        for one in found.values()
        if one.nesting.part_of is not None
        and (one.nesting.part_of_indicator or one.code[0], one.nesting.part_of, one.code[2]) == code
    ]
    if len(parts) > 1 or any(_within(part, found) and part[2] not in CONTAINED for part in parts):
        raise PolicyError(f"disclosure_structure, {' '.join(code)}: it may have one part only, which has none itself")
    narrow = (*code[:2], CONTAINED.get(code[2], ""))
    made = [(1, narrow)] if narrow in found else []
    for part in parts:
        made.append((1, part))
        of_narrow = (*part[:2], narrow[2])
        if narrow in found and of_narrow in found:
            made.append((-1, of_narrow))
    return tuple(made)


class _Table:
    """Rounds the cells of one series, with what is shown of the series that it contains at hand."""

    def __init__(self, series: DenseSeries, truth: Mapping[CellKey, Figure], rounder: Rounder) -> None:
        self.series, self.truth, self.rounder = series, truth, rounder

    def _parts(self, name: str, figure: Figure) -> Figure:
        """Rounded figure of a cell: numerator and rest apart; where the numerator is larger, what it has too much."""
        numerator, denominator = figure

        def shown(part: str, count: int) -> int:
            return self.rounder.round(f"{name}|{part}", count)

        if denominator is None:
            return shown("numerator", numerator), None
        if numerator <= denominator:
            inside = shown("numerator", numerator)
            return inside, inside + shown("rest", denominator - numerator)
        whole = shown("denominator", denominator)
        return whole + shown("excess", numerator - denominator), whole

    def smallest(self, key: CellKey, shown: Mapping[CellKey, Figure]) -> Figure:
        """A smallest cell, on top of the cell that it contains."""
        figure, name = self.truth[key], "|".join(map(str, key))
        parts = [
            (sign, key._replace(indicator_code=indicator, variant=variant, basis=basis))
            for sign, (indicator, variant, basis) in self.series.within
        ]
        if not parts or any(part not in shown or part not in self.truth for _, part in parts):
            return self._parts(name, figure)

        def without(figures: Mapping[CellKey, Figure], of: Figure, sign: int) -> Figure:
            whole = of[0] + sign * sum(one * figures[part][0] for one, part in parts)
            if of[1] is None:
                return whole, None
            return whole, of[1] + sign * sum(one * (figures[part][1] or 0) for one, part in parts)

        more = without(self.truth, figure, -1)
        # who is entitled to more on the wider basis may be covered on the narrower one only: no part of it then
        if more[0] < 0 or (more[1] is not None and more[1] < more[0]):
            return self._parts(name, figure)
        made = without(shown, self._parts(f"{name}|surplus", more), 1)
        # where a part was rounded by itself for that reason, the sum could claim completeness, or less than nothing
        return made if _is_honest(made, figure) else self._parts(name, figure)


def _is_honest(shown: Figure, figure: Figure) -> bool:
    """Whether nobody is shown for nobody only, in numerator and rest."""
    if shown[1] is None or figure[1] is None:
        pairs = [(shown[0], figure[0])]
    else:
        pairs = [(shown[0], figure[0]), (shown[1] - shown[0], figure[1] - figure[0])]
    # an amount paid beyond the standard has less than nothing in its rest
    return all((one >= 0 or true < 0) and (one == 0) == (true == 0) for one, true in pairs)


def _added(cells: Sequence[Figure]) -> Figure:
    denominators = [one[1] for one in cells if one[1] is not None]
    return sum(one[0] for one in cells), sum(denominators) if denominators else None


def _add_up(
    key: CellKey, parts: Sequence[CellKey], truth: Mapping[CellKey, Figure], shown: Mapping[CellKey, Figure], what: str
) -> Figure:
    """Sum of what is shown of the parts of a cell.

    Raises:
        PolicyError: the parts do not add up to the cell, so that the cell would tell more than its parts.
    """
    if _added([truth[part] for part in parts]) != truth[key]:
        raise PolicyError(
            f"dense cell {key}: its {what} do not add up to it, so that it cannot be shown as the sum of their rounded"
            " figures; correct the indicator, or say in disclosure_structure that its subgroups do not add up"
        )
    return _added([shown[part] for part in parts])


def round_dense(
    series: Sequence[DenseSeries],
    truth: Mapping[CellKey, Figure],
    members: Mapping[str, Sequence[str]],
    rounders: Mapping[int, Rounder],
) -> dict[CellKey, Figure]:
    """What is shown of every dense cell; a cell that is not in it is withheld (an amount about too few).

    Args:
        series: those of the registry, contained ones first (see ``read_dense``).
        truth: true figures of the measured cells.
        members: area -> its counties; a county has itself.
        rounders: base -> rounder that keeps presence.

    Raises:
        PolicyError: parts of a cell do not add up to it.
    """
    by_code: dict[Code, list[CellKey]] = {}
    for key in sorted(truth):
        by_code.setdefault((key.indicator_code, key.variant, key.basis), []).append(key)
    shown: dict[CellKey, Figure] = {}
    for one in series:
        table = _Table(one, truth, rounders[one.base])
        keys = by_code.get(one.code, [])
        counties = [key for key in keys if list(members.get(key.area_code, ())) == [key.area_code]]
        # smallest subgroups before what they add up to, counties before their totals
        order = [
            *sorted(counties, key=lambda key: key.subgroup == WHOLE_SUBGROUP),
            *(key for key in keys if list(members.get(key.area_code, ())) != [key.area_code]),
        ]
        for key in order:
            within = [key._replace(area_code=county) for county in members.get(key.area_code, ()) if county != key[2]]
            parts = [part for part in within if part in truth]
            leaves = [key._replace(subgroup=leaf) for leaf in one.leaves]
            below = [leaf for leaf in leaves if leaf in truth and leaf != key]
            if parts:
                shown[key] = _add_up(key, parts, truth, shown, "counties")
            elif below and key.subgroup == WHOLE_SUBGROUP and one.nesting.subgroups_partition:
                shown[key] = _add_up(key, below, truth, shown, "subgroups")
            else:
                shown[key] = table.smallest(key, shown)
    amounts = {one.code: one for one in series if one.nesting.money_unit is not None}
    return {
        key: figure
        for key, figure in shown.items()
        if (one_or_none := amounts.get((key.indicator_code, key.variant, key.basis))) is None
        or not _is_of_few(key, figure, shown, one_or_none)
    }


def _is_of_few(key: CellKey, figure: Figure, shown: Mapping[CellKey, Figure], one: DenseSeries) -> bool:
    """Whether an amount is about fewer persons than the policy wants; an amount of nought about nobody is not."""
    counted = shown.get(key._replace(variant=one.nesting.counted_by or ""))
    if counted is None:
        return True
    count = counted[1] if one.is_rate and counted[1] is not None else counted[0]
    return count < one.policy.money_min_count and not (count == 0 == figure[0])


def read_dense_truth(
    conn: Connection, evaluation_year: int, policy: Policy, schema_prefix: str = ""
) -> tuple[dict[CellKey, Figure], dict[str, list[str]]]:
    """True figures of every measured dense cell up to a year, and the counties of every area."""
    classes = [name for name, one in policy.classes.items() if one.is_rounded]
    rows = conn.execute(
        sql.SQL(
            "select f.indicator_code, f.variant, f.area_code, f.evaluation_year, f.subgroup, f.basis, f.numerator,"
            " f.denominator, i.measure_type = 'ratio' from {} f"
            " join {} i using (indicator_code, variant, basis)"
            " where i.disclosure_class = any(%s) and i.is_in_county_mart and f.evaluation_year <= %s"
            " and f.numerator is not null"
        ).format(
            sql.Identifier(f"{schema_prefix}indicators", "fct_indicator_value"),
            sql.Identifier(f"{schema_prefix}reference", "indicators"),
        ),
        (classes, evaluation_year),
    )
    truth: dict[CellKey, Figure] = {}
    for *key, numerator, denominator, is_rate in rows:
        # a rate without a denominator is not measured
        if denominator is not None or not is_rate:
            whole = None if denominator is None else int(str(denominator))
            truth[CellKey(*key)] = int(str(numerator)), whole  # type: ignore[arg-type]
    return truth, read_members(conn, schema_prefix)


def rounded_rows(shown: Mapping[CellKey, Figure]) -> Iterator[tuple[str, str, str, int]]:
    """Rows of disclosure.rounded: mart, cell, part, figure."""
    for key, (numerator, denominator) in shown.items():
        cell = "|".join(map(str, key))
        yield LONG_MART, cell, "numerator", numerator
        if denominator is not None:
            yield LONG_MART, cell, "denominator", denominator


def protect_dense(config: WarehouseConfig, evaluation_year: int, *, schema_prefix: str = "") -> int:
    """Round every dense cell of a candidate and write what may be shown to ``disclosure.rounded``.

    Args:
        config: the warehouse.
        evaluation_year: of the candidate.
        schema_prefix: prefix of the schemas of an old release that is built again beside everything.

    Returns:
        Number of cells that are shown rounded.

    Raises:
        PolicyError: the policy contradicts the registry, or parts of a cell do not add up to it.
        RoundingKeyError: the key is not the one that rounded what was published before.
    """
    with connect("transform", config) as conn:
        policy = policy_from_warehouse(conn)
        series = read_dense(read_registry_rows(conn), policy)
        truth, members = read_dense_truth(conn, evaluation_year, policy, schema_prefix) if series else ({}, {})
    rounders = {base: open_rounder(config, base, keeps_presence=True) for base in {one.base for one in series}}
    shown = round_dense(series, truth, members, rounders)
    with connect("transform", config) as conn:
        write_rounded(conn, LONG_MART, rounded_rows(shown), schema_prefix=schema_prefix)
    return len(shown)


def protect_rounded(config: WarehouseConfig, evaluation_year: int, *, schema_prefix: str = "") -> int:
    """Round everything that a candidate shows rounded: dense cells, and the marts that declare their cells.

    Returns:
        Number of dense cells that are shown rounded.
    """
    with connect("transform", config) as conn:
        policy = policy_from_warehouse(conn)
    for mart in policy.cells:
        protect_by_rounding(config, policy, mart, schema_prefix=schema_prefix)
    return protect_dense(config, evaluation_year, schema_prefix=schema_prefix)
