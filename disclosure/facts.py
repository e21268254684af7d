"""What derived columns give away of withheld cells: values of the year before, gaps, lines, verdicts, the wide form.

Each function reads published rows only and writes what follows for a withheld cell as a linear fact: its rate (in the
unit of the indicator) or its count lies between two ends. Values are published with four decimals, so each end is
half a unit of the last one away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from disclosure.cells import Cell, Gap, Layout
from disclosure.model import UNBOUNDED, CellKey, System

HALF = 0.00005
Rows = Mapping[CellKey, Mapping[str, Any]]


@dataclass(frozen=True)
class Fact:
    """Something known of a withheld cell.

    Attributes:
        key: the cell.
        low: smallest value (unit of the indicator), or persons of the denominator where ``of_denominator``.
        high: largest value.
        scale: 100 for percentages, else 1.
        column: where it was read.
        of_denominator: speaks of the denominator.
    """

    key: CellKey
    low: float
    high: float
    scale: int
    column: str
    of_denominator: bool = False


def _scale(row: Mapping[str, Any]) -> int:
    return 100 if row["unit"] in ("percent", "percentage_points") else 1


def _number(value: Any) -> float | None:
    return None if value is None else float(Decimal(value))


def key_of(row: Mapping[str, Any]) -> CellKey:
    """Key of a row of the long mart."""
    return CellKey(*(row[name] for name in CellKey._fields))


def _hidden(rows: Rows, key: CellKey) -> bool:
    return key in rows and rows[key]["conf_status"] != "F"


def _about(key: CellKey, value: float, slack: float, row: Mapping[str, Any], column: str) -> Fact:
    return Fact(key, value - slack, value + slack, _scale(row), column)


def facts_of_rows(rows: Rows, region: str | None, baseline_year: int) -> Iterator[Fact]:
    """Facts from the derived columns of the long form.

    Args:
        rows: sensitive rows of the long mart by key.
        region: code of the region.
        baseline_year: first year of the series, from which lines to the targets start.
    """
    for key, row in rows.items():
        before, whole = key._replace(evaluation_year=key.evaluation_year - 1), key._replace(area_code=region or "")
        base = key._replace(evaluation_year=baseline_year)
        value, prior = _number(row["value"]), _number(row["prior_year_value"])
        change, gap = _number(row["change_from_prior_year"]), _number(row["gap_to_region"])
        of_region = _number(row["region_value"])
        if prior is not None and _hidden(rows, before):
            yield _about(before, prior, HALF, row, "prior_year_value")
        if change is not None and value is not None and _hidden(rows, before):
            yield _about(before, value - change, 2 * HALF, row, "change_from_prior_year")
        if of_region is not None and _hidden(rows, whole):
            yield _about(whole, of_region, HALF, row, "region_value")
        if gap is not None and value is not None and _hidden(rows, whole):
            yield _about(whole, value - gap, 2 * HALF, row, "gap_to_region")
        if _hidden(rows, key):
            for name in ("value", "numerator"):
                if row[name] is not None and (name == "value" or row["denominator"] is None):
                    yield _about(key, float(row[name]), HALF if name == "value" else 0.0, row, name)
            if change is not None and prior is not None:
                yield _about(key, prior + change, 3 * HALF, row, "change_from_prior_year")
            if gap is not None and of_region is not None:
                yield _about(key, of_region + gap, 3 * HALF, row, "gap_to_region")
            if row["denominator"] is not None:
                yield Fact(key, float(row["denominator"]), float(row["denominator"]), 1, "denominator", True)
            yield from _facts_of_verdict(key, row, rows)
        yield from _facts_of_line(key, row, rows, base)


def _facts_of_verdict(key: CellKey, row: Mapping[str, Any], rows: Rows) -> Iterator[Fact]:
    target, verdict = _number(row["target_value"]), row["verdict"]
    if target is None or verdict not in ("met", "on_track", "off_track"):
        return
    if row["target_operator"] == "=":
        if verdict == "met":
            yield _about(key, target, 0.0, row, "verdict")
    elif verdict == "met":
        yield Fact(key, target, UNBOUNDED, _scale(row), "verdict")
    else:
        yield Fact(key, -UNBOUNDED, target, _scale(row), "verdict")


def _facts_of_line(key: CellKey, row: Mapping[str, Any], rows: Rows, base: CellKey) -> Iterator[Fact]:
    """The line starts at the baseline value: base = (line - target * share) / (1 - share), share of the way gone."""
    target, line, value = _number(row["target_value"]), _number(row["on_track_line_value"]), _number(row["value"])
    if target is None or not _hidden(rows, base) or key.evaluation_year >= row["target_year"]:
        return
    share = (key.evaluation_year - base.evaluation_year) / (row["target_year"] - base.evaluation_year)
    if line is not None:
        yield _about(base, (line - target * share) / (1 - share), HALF / (1 - share), row, "on_track_line_value")
    if value is not None and row["verdict"] in ("on_track", "off_track"):
        limit = (value - target * share) / (1 - share)
        slack = HALF / (1 - share)
        # a rate that should grow is on track at or above the line, a count that should vanish at or below it
        below = (row["verdict"] == "on_track") == (row["target_operator"] == ">=")
        yield Fact(
            base,
            -UNBOUNDED if below else limit - slack,
            limit + slack if below else UNBOUNDED,
            _scale(row),
            "verdict against the line",
        )


def through_gaps(rows: Rows, facts: Iterable[Fact], gaps: Sequence[Gap], region: str | None) -> Iterator[Fact]:
    """Facts about the two rates of a gap, from what is known of the gap: its own row, and facts about it.

    Args:
        rows: sensitive rows of the long mart by key.
        facts: facts from other columns and from the wide form; those about gaps are carried over.
        gaps: rules of the gaps.
        region: code of the region.
    """
    rules = {gap.code: gap for gap in gaps}
    levels = {row["area_code"]: row["area_level"] for row in rows.values()}

    def rule_of(key: CellKey) -> Gap | None:
        return rules.get((key.indicator_code, key.variant, key.basis))

    known = [fact for fact in facts if rule_of(fact.key)]
    for key, row in rows.items():
        if rule_of(key):
            if row["value"] is not None:
                known.append(_about(key, float(row["value"]), HALF, row, "value of the gap"))
            if row["denominator"] is not None:
                size = float(row["denominator"])
                known.append(Fact(key, size, size, 1, "denominator of the gap", True))
    for fact in known:
        gap, key = rule_of(fact.key), fact.key
        if gap is None:
            continue
        scope = next((area for area, level in sorted(levels.items()) if gap.scope in (area, level)), region or "")
        minuend = CellKey(*gap.minuend[:2], key.area_code, key.evaluation_year, key.subgroup, gap.minuend[2])
        subtrahend = CellKey(*gap.subtrahend[:2], scope, key.evaluation_year, key.subgroup, gap.subtrahend[2])
        for one, other, sign in ((minuend, subtrahend, 1), (subtrahend, minuend, -1)):
            if not _hidden(rows, one):
                continue
            beside = rows.get(other)
            if beside is None or beside["value"] is None:
                # two unknowns in one equation: taken for given away, so that no such gap is ever published
                yield Fact(one, 0.0, 0.0, 1, "gap of two withheld cells")
            elif fact.of_denominator:
                size = fact.low / float(beside["denominator"])
                yield Fact(one, size, size, 1, fact.column, True)
            else:
                ends = sorted(float(beside["value"]) + sign * end for end in (fact.low, fact.high))
                yield Fact(one, ends[0] - HALF, ends[1] + HALF, fact.scale, fact.column)


def facts_of_wide(wide: Iterable[Mapping[str, Any]], rows: Rows) -> Iterator[Fact]:
    """Facts from the wide form: a number in it that belongs to a withheld headline cell.

    A value column is recognized by its first part, the indicator's code in lower case (``g3_…``, ``a1_6_…``), for gaps
    with the variant after it.
    """
    headline: dict[tuple[str, int], list[tuple[str, CellKey]]] = {}
    for key, row in rows.items():
        if row["is_headline"] and row["conf_status"] != "F":
            code = key.indicator_code.lower().replace(".", "_")
            headline.setdefault((key.area_code, key.evaluation_year), []).append((code, key))
    for line in wide:
        for code, key in headline.get((line["area_code"], line["evaluation_year"]), ()):
            for column, value in line.items():
                stem = code if not key.variant.startswith("gap_") else f"{code}_{key.variant}"
                if value is None or not column.startswith(f"{stem}_") or isinstance(value, str):
                    continue
                yield _about(key, float(value), HALF, rows[key], f"county_evaluation_wide.{column}")


def require_fact(system: System, fact: Fact, cell: Cell, layout: Layout) -> None:
    """Write a fact down in the unknowns of its cell."""
    sums = layout.sums(cell.key)
    if fact.of_denominator:
        system.require_sum(sums["denominator"], fact.low, fact.high)
        return
    if "denominator" not in sums:
        system.require_sum(sums["numerator"], fact.low, fact.high)
        return
    for end, is_low in ((fact.low, True), (fact.high, False)):
        if abs(end) == UNBOUNDED:
            continue
        terms = dict.fromkeys(sums["denominator"], -end)
        for atom in sums["numerator"]:
            terms[atom] += float(fact.scale)
        if is_low:
            system.require(terms, smallest=0)
        else:
            system.require(terms, largest=0)
