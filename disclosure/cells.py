"""Published cells of sensitive indicators, and the groups of cells that share unknowns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from disclosure.geography import Areas, Path
from disclosure.model import CellKey, System
from disclosure.policy import ClassPolicy, Coding, Nesting, Policy, PolicyError

Status = Literal["F", "A", "D"]
Atom = tuple[Path, str, str]
WHOLE_SUBGROUP = "all"


@dataclass(frozen=True)
class Series:
    """One sensitive indicator variant of the registry.

    Attributes:
        code: indicator, variant and basis.
        subgroups: as published.
        is_rate: has a denominator.
        is_headline: the headline variant of its indicator.
        disclosure_class: class of the policy.
        nesting: what the policy says of its structure.
    """

    code: tuple[str, str, str]
    subgroups: tuple[str, ...]
    is_rate: bool
    is_headline: bool
    disclosure_class: str
    nesting: Nesting


@dataclass(frozen=True)
class Gap:
    """A series that is the difference of two rates, minuend - subtrahend of another area."""

    code: tuple[str, str, str]
    minuend: tuple[str, str, str]
    subtrahend: tuple[str, str, str]
    scope: str


@dataclass(frozen=True)
class Group:
    """Series that share unknowns: one rate, or a count with the count that is a part of it."""

    series: tuple[Series, ...]
    policy: ClassPolicy
    coding: tuple[Coding, ...]

    @property
    def name(self) -> str:
        """Name of the group for reports."""
        return "+".join(f"{one.code[0]} {one.code[1]}" for one in self.series)

    def leaves(self) -> list[str]:
        """Smallest subgroups."""
        names = {name for one in self.series for name in one.subgroups}
        partition = any(one.nesting.subgroups_partition for one in self.series)
        return sorted(names - {WHOLE_SUBGROUP} if partition and len(names) > 1 else names)

    def parts(self) -> list[str]:
        """Parts that every smallest subgroup divides into."""
        if self.series[0].is_rate:
            return ["numerator", "rest"]
        return ["inside", "other"] if len(self.series) > 1 else ["inside"]

    def counts_of(self, series: Series) -> dict[str, tuple[str, ...]]:
        """Counts that a cell of a series gives away -> the parts that they add up."""
        if series.is_rate:
            return {"numerator": ("numerator",), "denominator": ("numerator", "rest"), "rest": ("rest",)}
        if len(self.series) > 1 and series.nesting.part_of is None:
            return {"numerator": ("inside", "other"), "rest": ("other",)}
        return {"numerator": ("inside",)}


@dataclass(frozen=True)
class Cell:
    """One published cell.

    Attributes:
        key: key in the mart.
        area_level: level of its area.
        is_headline: headline of its indicator, over all subgroups.
        numerator: persons; None where it is not shown (or, to the planner, not measurable).
        denominator: persons; None for counts and where it is not shown.
        status: F shown, A hidden for being small, D hidden to protect others.
        bound: rate shown as a bound, e.g. ``>=75``.
        is_measured: whether there is a figure at all, shown or hidden.
    """

    key: CellKey
    area_level: str
    is_headline: bool
    numerator: int | None
    denominator: int | None
    status: Status = "F"
    bound: str | None = None
    is_measured: bool = True


def read_registry(rows: Iterable[Mapping[str, Any]], policy: Policy) -> tuple[list[Group], list[Gap]]:
    """Groups of sensitive series, and the gaps that are computed from them.

    Args:
        rows: registry of indicators (reference.indicators).
        policy: the policy.

    Raises:
        PolicyError: a class is unknown, or the structure names a variant that does not exist.
    """
    found: dict[tuple[str, str, str], Series] = {}
    gaps: list[Gap] = []
    for row in rows:
        code = (str(row["indicator_code"]), str(row["variant"]), str(row["basis"]))
        name = str(row["disclosure_class"])
        if name not in policy.classes:
            raise PolicyError(f"indicator {' '.join(code)}: its disclosure class {name!r} is not in disclosure_policy")
        if not policy.classes[name].is_protected or str(row["is_in_county_mart"]).lower() != "true":
            continue
        if row["minuend_indicator_code"]:
            gaps.append(
                Gap(
                    code,
                    (str(row["minuend_indicator_code"]), str(row["minuend_variant"]), code[2]),
                    (str(row["subtrahend_indicator_code"]), str(row["subtrahend_variant"]), code[2]),
                    str(row["subtrahend_scope"]),
                )
            )
            continue
        found[code] = Series(
            code=code,
            subgroups=tuple(str(row["subgroups"]).split(";")),
            is_rate=str(row["measure_type"]) == "ratio",
            is_headline=str(row["is_headline"]).lower() == "true",
            disclosure_class=name,
            nesting=policy.structure.get(code, Nesting()),
        )
    inside: dict[tuple[str, str, str], Series] = {}
    for code, one in found.items():
        if one.nesting.part_of is None:
            continue
        whole = (code[0], one.nesting.part_of, code[2])
        if whole not in found or found[whole].is_rate or one.is_rate or whole in inside:
            raise PolicyError(
                f"disclosure_structure, {' '.join(code)}: {one.nesting.part_of!r} must be one other count of the"
                " indicator, with one part only"
            )
        inside[whole] = one
    return [
        Group(
            (inside[code], one) if code in inside else (one,),
            policy.classes[one.disclosure_class],
            policy.coding.get(one.disclosure_class, ()),
        )
        for code, one in sorted(found.items())
        if one.nesting.part_of is None
    ], gaps


class Layout:
    """Unknowns of one group in one year and release, and the sums of them that the cells show."""

    def __init__(self, group: Group, areas: Areas, system: System, atoms: Mapping[Atom, int] | None = None) -> None:
        self.group = group
        self.areas = areas
        self._series = {one.code: one for one in group.series}
        leaves, parts = group.leaves(), group.parts()
        paths = sorted({path for found in areas.paths.values() for path in found})
        self.atoms = dict(atoms or {})
        for path in paths:
            for leaf in leaves:
                for part in parts:
                    if (path, leaf, part) not in self.atoms:
                        self.atoms[path, leaf, part] = system.unknown()

    def sums(self, key: CellKey) -> dict[str, list[int]]:
        """Counts of a cell, each as the unknowns that it adds up."""
        series = self._series[key.indicator_code, key.variant, key.basis]
        partition = series.nesting.subgroups_partition and key.subgroup == WHOLE_SUBGROUP
        leaves = self.group.leaves() if partition else [key.subgroup]
        paths = sorted(self.areas.paths.get(key.area_code, ()))
        return {
            name: [self.atoms[path, leaf, part] for path in paths for leaf in leaves for part in parts]
            for name, parts in self.group.counts_of(series).items()
        }


def shown_counts(cell: Cell) -> dict[str, int]:
    """Counts that a cell shows by itself; a rate gives its rest away too."""
    if cell.numerator is None:
        return {}
    if cell.denominator is None:
        return {"numerator": cell.numerator}
    return {
        "numerator": cell.numerator,
        "denominator": cell.denominator,
        "rest": cell.denominator - cell.numerator,
    }


def coding_of(cell: Cell, coding: Iterable[Coding]) -> str | None:
    """Bound that stands for the rate of a small group near 0 or 100 percent, None for every other cell."""
    if cell.numerator is None or not cell.denominator:
        return None
    for one in coding:
        if one.denominator_from <= cell.denominator <= one.denominator_to:
            if 100 * cell.numerator >= one.upper * cell.denominator:
                return f">={one.upper}"
            if 100 * cell.numerator <= one.lower * cell.denominator:
                return f"<={one.lower}"
    return None


def require_bound(system: System, bound: str, sums: Mapping[str, list[int]], coding: Iterable[Coding]) -> None:
    """Write down what a bound gives away: the range of the denominator, and the rate beyond the bound.

    Raises:
        PolicyError: the bound is none of the policy's.
    """
    percent = int(bound[2:])
    for one in coding:
        if bound not in (f">={one.upper}", f"<={one.lower}"):
            continue
        system.require_sum(sums["denominator"], one.denominator_from, one.denominator_to)
        terms = dict.fromkeys(sums["denominator"], -float(percent))
        for atom in sums["numerator"]:
            terms[atom] += 100.0
        if bound.startswith(">="):
            system.require(terms, smallest=0)
        else:
            system.require(terms, largest=0)
        return
    raise PolicyError(f"bound {bound!r} is in no row of disclosure_coding")


def require_cell(system: System, cell: Cell, layout: Layout, *, rule_known: bool = True) -> None:
    """Write down all that a cell tells an outsider.

    Args:
        system: gets the constraints.
        cell: the cell as published.
        layout: unknowns of its group.
        rule_known: whether its mark tells why it is hidden; a cell that stays hidden because an earlier release hid it
            keeps its mark whatever its count has become, so the mark speaks of the first release only.
    """
    sums, policy = layout.sums(cell.key), layout.group.policy
    if cell.status == "F":
        for name, value in shown_counts(cell).items():
            if name in sums and name != "rest":
                system.require_sum(sums[name], value, value)
        return
    if not rule_known:
        return
    if cell.bound is not None:
        require_bound(system, cell.bound, sums, layout.group.coding)
        return
    if cell.status == "A":
        system.require_some_small([atoms for name, atoms in sums.items() if name in policy.protected], policy.min_count)
