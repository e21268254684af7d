"""The audit sees what readers see: every way that a column can give a withheld cell away is found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from disclosure.attack import ours, primary_only, publish
from disclosure.audit import AuditReport, audit_releases
from disclosure.cells import Gap
from disclosure.model import CellKey
from disclosure.sources import COLUMNS, Geography, Release
from disclosure.suppress import Decision
from tests.disclosure.cubes import POLICY, YEAR, Province, rate, table

PARENTS: dict[str, str | None] = {
    "640101": "6401", "640102": "6401", "640103": "6401", "640201": "6402", "640202": "6402", "640203": "6402",
}  # fmt: skip
PROVINCE = Province(PARENTS, frozenset({"640101", "640201"}))
GROUP = rate()
GAP = Gap(("G0", "gap_rate", "none"), ("R1", "rate", "none"), ("R1", "rate", "none"), "region")
HIDDEN = CellKey("R1", "rate", "640101", YEAR, "all", "none")
GEOGRAPHY = Geography((), {"G": PROVINCE.plan})
#: county -> in the numerator, and not; a second year less one person
COUNTS = {
    "640101": (104, 6), "640102": (140, 60), "640103": (150, 33), "640201": (91, 50), "640202": (160, 47),
    "640203": (115, 70),
}  # fmt: skip
Rows = dict[CellKey, dict[str, Any]]


def atoms(shift: int = 0) -> dict[tuple[str, str, str], int]:
    """Counts by county and part."""
    return {
        (county, "all", part): count + (shift if part == "numerator" else 0)
        for county, both in COUNTS.items()
        for part, count in zip(("numerator", "rest"), both, strict=True)
    }


def long_mart(*, protection: Callable[..., dict[CellKey, Decision]] = ours) -> Rows:
    """Two years of the long mart with a gap to the region, protected; derived columns hold only what is shown."""
    rows: Rows = {}
    for year in (YEAR - 1, YEAR):
        cells = table(GROUP, PROVINCE, atoms(YEAR - year))
        decisions = protection(GROUP, PROVINCE.areas, cells, (), POLICY)
        for key, cell in publish(cells, decisions).items():
            row: dict[str, Any] = dict.fromkeys(COLUMNS)
            row |= dict(zip(CellKey._fields, key, strict=True)) | {
                "evaluation_year": year, "area_level": cell.area_level, "is_headline": True, "is_plan_county": False,
                "parent_area_code": PARENTS.get(key.area_code), "unit": "percent", "numerator": cell.numerator,
                "denominator": cell.denominator, "conf_status": cell.status, "value_bound": cell.bound,
                "value": None if cell.numerator is None else round(100 * cell.numerator / (cell.denominator or 1), 4),
                "verdict": "no_target" if cell.status == "F" else "suppressed",
            }  # fmt: skip
            rows[key._replace(evaluation_year=year)] = row
    for key, row in list(rows.items()):
        if key.area_code == "64":
            continue
        region = rows[key._replace(area_code="64")]
        shown = row["value"] is not None and region["value"] is not None
        rows[CellKey("G0", "gap_rate", *key[2:])] = row | {
            "indicator_code": "G0", "variant": "gap_rate", "unit": "percentage_points", "numerator": None,
            "denominator": row["denominator"] * region["denominator"] if shown else None, "value_bound": None,
            "value": round(row["value"] - region["value"], 4) if shown else None,
            "conf_status": "F" if shown else "D", "verdict": "no_target" if shown else "suppressed",
        }  # fmt: skip
    return rows


def true_rate(year: int = YEAR) -> float:
    """Rate of the hidden county."""
    inside, rest = COUNTS["640101"]
    inside += YEAR - year
    return round(100 * inside / (inside + rest), 4)


def region_rate(year: int = YEAR) -> float:
    """Rate of the region."""
    inside = sum(one for one, _ in COUNTS.values()) + len(COUNTS) * (YEAR - year)
    return round(100 * inside / (inside + sum(rest for _, rest in COUNTS.values())), 4)


def audit(rows: Rows, wide: list[dict[str, Any]] | None = None, earlier: list[Release] | None = None) -> AuditReport:
    """Audit of a mart."""
    release = Release(None, list(rows.values()), PARENTS, "64")
    return audit_releases(
        release, earlier or [], wide or [], GEOGRAPHY, [GROUP], [GAP], POLICY, evaluation_year=YEAR, subject="test"
    )


def test_our_protection_passes_and_says_what_an_attacker_gets() -> None:
    report = audit(long_mart())
    assert report.findings == ()
    assert report.passed
    assert report.counts > 0
    assert report.primary + report.secondary > 0
    assert report.narrowest is not None
    assert report.widest is not None
    assert 5 <= report.narrowest.width <= report.widest.width
    assert report.to_json()["passed"] is True


def test_primary_suppression_alone_is_found_wanting_in_both_years() -> None:
    report = audit(long_mart(protection=primary_only))
    assert {(one.rule, one.area_code, one.evaluation_year) for one in report.findings} == {
        ("narrowed", "640101", YEAR - 1), ("narrowed", "640101", YEAR),
    }  # fmt: skip
    # the page and the ledger name the cell, never the figure
    assert not any("104" in one.note or "110" in one.note for one in report.findings)


def leak_small(rows: Rows) -> None:
    rows[HIDDEN] |= {"numerator": 104, "denominator": 110, "value": true_rate(), "conf_status": "F"}


def leak_value(rows: Rows) -> None:
    rows[HIDDEN] |= {"value": true_rate(), "denominator": 110}


def leak_prior(rows: Rows) -> None:
    rows[HIDDEN._replace(area_code="640101")] |= {"prior_year_value": true_rate(YEAR - 1)}
    rows[HIDDEN._replace(evaluation_year=YEAR - 1)] |= {"denominator": 111}


def leak_change(rows: Rows) -> None:
    rows[HIDDEN] |= {"prior_year_value": 90.0, "change_from_prior_year": true_rate() - 90.0, "denominator": 110}


def leak_gap_column(rows: Rows) -> None:
    rows[HIDDEN] |= {"region_value": region_rate(), "gap_to_region": true_rate() - region_rate(), "denominator": 110}


def leak_gap_row(rows: Rows) -> None:
    gap = HIDDEN._replace(indicator_code="G0", variant="gap_rate")
    region = rows[HIDDEN._replace(area_code="64")]
    assert region["denominator"], "the region is shown"
    rows[gap] |= {"value": true_rate() - region_rate(), "denominator": 110 * region["denominator"]}


def leak_line(rows: Rows) -> None:
    base = HIDDEN._replace(evaluation_year=YEAR - 1)
    rows[base] |= {"denominator": 111}
    # a line half way from the baseline to a target of 96 percent
    line = true_rate(YEAR - 1) + (96 - true_rate(YEAR - 1)) / 2
    rows[HIDDEN] |= {
        "target_value": 96, "target_operator": ">=", "target_year": YEAR + 1, "on_track_line_value": round(line, 4),
    }  # fmt: skip


LEAKS: dict[str, tuple[Callable[[Rows], None], str, int]] = {
    "the figures themselves": (leak_small, "small_cell_shown", YEAR),
    "the value": (leak_value, "value", YEAR),
    "the value of the year before": (leak_prior, "prior_year_value", YEAR - 1),
    "the change from the year before": (leak_change, "change_from_prior_year", YEAR),
    "the gap to the region": (leak_gap_column, "gap_to_region", YEAR),
    "an indicator that is the gap to the region": (leak_gap_row, "value of the gap", YEAR),
    "the line from the baseline": (leak_line, "on_track_line_value", YEAR - 1),
}


@pytest.mark.parametrize("leak", sorted(LEAKS))
def test_every_leak_is_found_and_named(leak: str) -> None:
    spoil, word, year = LEAKS[leak]
    rows = long_mart()
    spoil(rows)
    report = audit(rows)
    assert not report.passed
    named = [one for one in report.findings if one.area_code == "640101" and one.evaluation_year == year]
    assert named, report.findings
    assert any(word in one.rule or word in one.note for one in named), named


def test_a_verdict_is_an_inequality_that_the_attacker_uses() -> None:
    rows = long_mart()
    # of 110 children 1 to 9 are missing; at least 96 percent leaves 106 to 109 in
    rows[HIDDEN] |= {"denominator": 110, "target_value": 96, "target_operator": ">=", "target_year": YEAR}
    without = [one for one in audit(rows).findings if one.note.startswith("numerator")]
    rows[HIDDEN] |= {"verdict": "met"}
    named = [one for one in audit(rows).findings if one.note.startswith("numerator")]
    assert without == []
    (own,) = [one for one in named if one.area_code == "640101"]
    assert (own.evaluation_year, own.width) == (YEAR, 3.0)
    assert "verdict" in own.note


def test_mart_against_mart_the_wide_form_is_read_too() -> None:
    rows = long_mart()
    rows[HIDDEN] |= {"denominator": 110}
    wide = [
        {"area_code": "640101", "evaluation_year": YEAR, "r1_rate_percent": true_rate(), "r1_verdict": "suppressed"}
    ]
    named = {
        one.note for one in audit(rows, wide).findings if one.area_code == "640101" and one.evaluation_year == YEAR
    }
    assert any("county_evaluation_wide.r1_rate_percent" in note for note in named), named


def test_what_an_earlier_release_gave_away_is_told_and_does_not_block() -> None:
    old = long_mart(protection=primary_only)
    plan = long_mart()
    # the new release hides at least what the old one hid, and cannot make the old one unread
    earlier = [Release("2019.1.0", list(old.values()), PARENTS, "64")]
    report = audit(plan, earlier=earlier)
    assert report.inherited
    assert {one.area_code for one in report.inherited} >= {"640101"}
    assert [one for one in report.findings if one.area_code == "640101"] == []
    assert report.releases == ("2019.1.0",)


def test_a_cell_hidden_before_and_shown_later_is_a_finding() -> None:
    rows = long_mart()
    earlier = [Release("2020.1.0", [dict(row) for row in rows.values()], PARENTS, "64")]
    assert audit(rows, earlier=earlier).findings == ()
    partners = [key for key, row in rows.items() if row["conf_status"] == "D" and key.evaluation_year == YEAR]
    (partner,) = [key for key in partners if key.indicator_code == "R1"][:1]
    inside, rest = COUNTS[partner.area_code]
    rows[partner] |= {
        "numerator": inside, "denominator": inside + rest, "value": round(100 * inside / (inside + rest), 4),
        "conf_status": "F", "verdict": "no_target",
    }  # fmt: skip
    assert not audit(rows, earlier=earlier).passed


def test_what_was_audited_as_it_stands_is_not_attacked_again_and_whatever_differs_is() -> None:
    rows = long_mart()
    same = [Release("2020.1.0", [dict(row) for row in rows.values()], PARENTS, "64", POLICY.sha256)]
    first, again = audit(rows), audit(rows, earlier=same)
    assert (first.repeated, again.repeated) == (0, 2)
    assert (again.counts, again.findings) == (0, ())
    # published under another policy, or under one that nobody knows
    for digest in ("other", None):
        other = [Release("2020.1.0", list(same[0].rows), PARENTS, "64", digest)]
        assert audit(rows, earlier=other).counts == first.counts
    # a column beside the same cells gives one of them away
    leak_prior(rows)
    leaked = audit(rows, earlier=same)
    assert leaked.repeated == 1
    assert "640101" in {one.area_code for one in leaked.findings}
    # another release showed other figures in between
    moved = long_mart()
    place = next(key for key, row in moved.items() if row["conf_status"] == "F" and key.area_code == "64")
    moved[place] |= {"numerator": moved[place]["numerator"] - 1}
    both = [*same, Release("2020.1.1", list(moved.values()), PARENTS, "64", POLICY.sha256)]
    assert audit(long_mart(), earlier=both).repeated == 1
