"""How much a failure weighs by where it happened, and the verdict of every county, feed and period."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expectations.decide import Verdict, decide
from expectations.matrix import CellVerdict, County, cell_verdicts, for_people
from expectations.policy import Weights, weigh_all
from expectations.report import Finding, Place
from expectations.suite import Severity, Text

STRICT, MILD = Weights({"640104"}, "block"), Weights({"640104"}, "warn")
PLAN, OTHER = "640422", "640104"
SAID = Text("说", "said")


def failed(rule: str = "r.one", severity: Severity = "block", error: str | None = None) -> Verdict:
    return Verdict(rule, severity, False, error)


def weighed(
    places: list[str], weights: Weights = MILD, verdict: Verdict | None = None, fixed: tuple[str, ...] = ()
) -> str:
    verdict = verdict or failed()
    return decide(weigh_all([verdict], {verdict.expectation_id: places}, fixed, weights))


@pytest.mark.parametrize("places", [[PLAN], [PLAN, OTHER], ["*"], [OTHER, "*"], ["640000"], []])
def test_a_failure_that_touches_a_plan_county_or_no_county_in_particular_blocks(places: list[str]) -> None:
    assert weighed(places) == "block"


def test_other_counties_weigh_what_the_policy_says() -> None:
    assert weighed([OTHER]) == "warn"
    assert weighed([OTHER], STRICT) == "block"


def test_nothing_softens_a_rule_that_guards_people_or_was_not_answered() -> None:
    assert weighed([OTHER], fixed=("r.one",)) == "block"
    assert weighed([OTHER], verdict=failed(error="no result")) == "block"


def test_no_policy_hardens_a_warning() -> None:
    assert weighed([PLAN], STRICT, failed(severity="warn")) == "warn"


def finding(rule: str, places: list[tuple[str, str]], **changes: object) -> Finding:
    made = Finding(
        suite=rule.partition(".")[0],
        title=SAID,
        expectation_id=rule,
        severity="block",
        owner=SAID,
        what=SAID,
        why=SAID,
        how_to_fix=SAID,
        error=None,
        places=tuple(Place(county, "", period, 1, None) for county, period in places),
        waivable=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


SEEN = {"r": {(county, period) for county in (PLAN, OTHER) for period in ("2018", "2019")}}


def cells(*findings: Finding, weights: Weights = MILD) -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    made = cell_verdicts({"r": 3}, SEEN, findings, weights.weigh)
    assert {cell.rules for cell in made} == {3}
    return {(cell.county_code, cell.period): (cell.verdict, cell.failed) for cell in made}


def test_every_cell_looked_at_has_a_verdict_and_the_worst_rule_gives_it() -> None:
    found = cells(
        finding("r.one", [(PLAN, "2018")]),
        finding("r.two", [(PLAN, "2018"), (PLAN, "2019")], severity="warn"),
    )
    assert found == {
        (PLAN, "2018"): ("block", ("r.one", "r.two")),
        (PLAN, "2019"): ("warn", ("r.two",)),
        (OTHER, "2018"): ("pass", ()),
        (OTHER, "2019"): ("pass", ()),
    }


def test_a_rule_that_failed_as_a_whole_fails_every_cell() -> None:
    found = cells(finding("r.one", [("*", "*")], error="table is gone"))
    assert {verdict for verdict, _ in found.values()} == {"block"}
    assert len(found) == 4
    found = cells(finding("r.one", [("*", "2019")]))
    assert [key for key, (verdict, _) in found.items() if verdict != "pass"] == [(OTHER, "2019"), (PLAN, "2019")]


def test_a_cell_of_another_county_follows_the_policy_unless_the_rule_guards_people() -> None:
    both = [(PLAN, "2018"), (OTHER, "2018")]
    found = cells(finding("r.one", both))
    assert (found[PLAN, "2018"][0], found[OTHER, "2018"][0]) == ("block", "warn")
    assert cells(finding("r.one", both, waivable=False))[OTHER, "2018"][0] == "block"


def test_what_a_waiver_covers_warns_and_the_rest_blocks() -> None:
    places = (Place(PLAN, "", "2018", 1, None, waiver_id=7), Place(PLAN, "", "2019", 1, None))
    found = cells(replace(finding("r.one", []), places=places))
    assert (found[PLAN, "2018"], found[PLAN, "2019"]) == (("warn", ("r.one",)), ("block", ("r.one",)))


def test_a_place_that_the_batch_did_not_hold_is_added() -> None:
    assert cells(finding("r.one", [("640999", "2020")]))["640999", "2020"] == ("block", ("r.one",))


def test_the_table_counts_how_many_counties_are_fit() -> None:
    counties = [County(PLAN, "西吉县", True), County(OTHER, "兴庆区", False)]
    made = [
        CellVerdict("r", PLAN, "2018", "block", 1, ("r.one",)),
        CellVerdict("r", OTHER, "2018", "warn", 1, ("r.two",)),
        CellVerdict("r", OTHER, "2019", "pass", 1, ()),
        CellVerdict("events", OTHER, "2019", "pass", 1, ()),
        CellVerdict("whole", "*", "*", "pass", 1, ()),
    ]
    titles = {"r": SAID, "events": SAID, "whole": SAID}
    by_county, events, whole = for_people(made, counties, titles, {"events"})
    assert [
        (p["period"], p["fit"], p["counties"], p["plan_fit"], p["plan_counties"]) for p in by_county["periods"]
    ] == [
        ("2018", 1, 2, 0, 1),
        # a county that nobody looked at is not fit
        ("2019", 1, 2, 0, 1),
    ]
    assert [entry["county_name"] for entry in by_county["periods"][0]["not_fit"]] == ["西吉县", "兴庆区"]
    assert by_county["complete"] == {"fit": 1, "counties": 2, "plan_fit": 0, "plan_counties": 1}
    # what need not be there everywhere is never short
    assert (events["complete"], whole["complete"]) == (None, None)
    assert [table["by_county"] for table in (by_county, events, whole)] == [True, True, False]
