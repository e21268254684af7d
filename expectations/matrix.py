"""Which county × feed × period is fit, warned or blocked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from expectations.decide import Decision
from expectations.report import Finding, Place
from expectations.runner import EVERYWHERE
from expectations.suite import Severity, Text

Cell = tuple[str, str]
_NUMBERS = ("fit", "counties", "plan_fit", "plan_counties")
_WEIGHT: Mapping[Decision, int] = {"pass": 0, "warn": 1, "block": 2}


@dataclass(frozen=True)
class County:
    """A county, and whether the plan names it."""

    code: str
    name: str
    is_plan: bool


@dataclass(frozen=True)
class CellVerdict:
    """One suite (feed or mart) at one county (or area) and period.

    Attributes:
        suite: name of the suite.
        county_code: county, area, or ``*``.
        period: ``*`` where the suite knows none.
        verdict: the worst of its rules there.
        rules: how many rules were asked.
        failed: ids of those that failed there.
    """

    suite: str
    county_code: str
    period: str
    verdict: Decision
    rules: int
    failed: tuple[str, ...]


def cell_verdicts(
    rules: Mapping[str, int],
    examined: Mapping[str, Collection[Cell]],
    findings: Iterable[Finding],
    weigh: Callable[[Severity, str], Severity],
) -> tuple[CellVerdict, ...]:
    """One verdict per suite × county × period looked at, also those where all went well.

    Args:
        rules: suite -> number of its rules.
        examined: suite -> county × period of its batch; a suite missing here is one cell as a whole.
        findings: rules that failed, with their places; ``*`` stands for every county or period of the suite, and a
            place that a waiver covers warns.
        weigh: severity of a failed rule at a county.

    Returns:
        Sorted by suite, county, period.
    """
    failed: dict[str, dict[Cell, list[tuple[str, Severity]]]] = defaultdict(lambda: defaultdict(list))
    cells = {suite: set(examined.get(suite, ())) or {(EVERYWHERE, EVERYWHERE)} for suite in rules}
    for finding in findings:
        known = cells[finding.suite]
        whole = Place(EVERYWHERE, "", EVERYWHERE, 0, None)
        for place in finding.places or (whole,):
            county, period = place.county_code, place.period
            hit = {cell for cell in known if county in (EVERYWHERE, cell[0]) and period in (EVERYWHERE, cell[1])} or {
                (county, period)
            }
            known |= hit
            for cell in hit:
                # what two people let pass is still not plainly fit
                severity: Severity = finding.severity if place.waiver_id is None else "warn"
                if finding.waivable and finding.error is None:
                    severity = weigh(severity, cell[0])
                failed[finding.suite][cell].append((finding.expectation_id, severity))
    made = []
    for suite in sorted(cells):
        for county, period in sorted(cells[suite]):
            found = failed[suite].get((county, period), [])
            worst: Decision = max((severity for _, severity in found), key=_WEIGHT.__getitem__, default="pass")
            ids = tuple(sorted({expectation_id for expectation_id, _ in found}))
            made.append(CellVerdict(suite, county, period, worst, rules[suite], ids))
    return tuple(made)


def _complete(cells: Iterable[CellVerdict], counties: Collection[County]) -> dict[str, int]:
    """How many counties of one period may be used, of all that the suite speaks of and of the plan's among them."""
    fit = {cell.county_code for cell in cells if cell.verdict != "block"}
    plan = [county for county in counties if county.is_plan]
    return {
        "fit": sum(county.code in fit for county in counties),
        "counties": len(counties),
        "plan_fit": sum(county.code in fit for county in plan),
        "plan_counties": len(plan),
    }


def for_people(
    cells: Iterable[CellVerdict],
    counties: Collection[County],
    titles: Mapping[str, Text],
    irregular: Collection[str] = (),
) -> list[dict[str, Any]]:
    """The verdicts as a table: a suite a row, a period a column, and how many counties are fit in each.

    Args:
        cells: from ``cell_verdicts``.
        counties: all there are, in the order in which they are shown.
        titles: suite -> title.
        irregular: suites that need not speak of every county in every period.

    Returns:
        Per suite: ``suite``, ``title``, ``by_county`` (false where it speaks of no county), ``complete`` (the period
        with fewest fit counties: ``fit`` of ``counties``, ``plan_fit`` of ``plan_counties``; null for an irregular
        suite), ``periods`` (newest last; each with ``period``, ``verdicts`` by county, the same four numbers and
        ``not_fit``: the counties and areas that are not plainly fit, with verdict and rules).
    """
    codes = {county.code: county for county in counties}
    by_suite: dict[str, dict[str, list[CellVerdict]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        by_suite[cell.suite][cell.period].append(cell)
    table = []
    for suite, by_period in by_suite.items():
        spoken_of = {cell.county_code for listed in by_period.values() for cell in listed}
        concerned = [county for county in counties if county.code in spoken_of]
        is_regular = bool(concerned) and suite not in irregular
        periods: list[dict[str, Any]] = [
            {
                "period": period,
                **(_complete(listed, concerned) if is_regular else {}),
                "verdict": max((cell.verdict for cell in listed), key=_WEIGHT.__getitem__),
                "verdicts": {cell.county_code: cell.verdict for cell in listed},
                "not_fit": [
                    {
                        "county_code": cell.county_code,
                        "county_name": codes[cell.county_code].name if cell.county_code in codes else "",
                        "verdict": cell.verdict,
                        "failed": list(cell.failed),
                    }
                    for cell in listed
                    if cell.verdict != "pass"
                ],
            }
            for period, listed in sorted(by_period.items())
        ]
        fewest = min(periods, key=lambda period: (period["plan_fit"], period["fit"])) if is_regular else None
        table.append(
            {
                "suite": suite,
                "title": asdict(titles[suite]),
                "by_county": bool(concerned),
                "complete": fewest and {key: fewest[key] for key in _NUMBERS},
                "periods": periods,
            }
        )
    return table
