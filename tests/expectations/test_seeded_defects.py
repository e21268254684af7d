"""Every expectation fails on its own defect, and nothing else does."""

from __future__ import annotations

import pytest

from expectations.decide import decide
from expectations.gate import facts
from expectations.suite import Expectation, load_suites
from tests.expectations.conftest import CANDIDATE, YEAR, Look

CASES = [
    pytest.param(boundary, expectation, id=expectation.id)
    for boundary in ("arrival", "candidate")
    for suite in load_suites(boundary, facts(YEAR, CANDIDATE))[1]  # type: ignore[arg-type]
    for expectation in suite.expectations
]


@pytest.mark.parametrize("boundary", ["arrival", "candidate"])
def test_the_sample_without_defects_passes(look: Look, boundary: str) -> None:
    judgement = look(boundary, [], None)  # type: ignore[arg-type]
    assert [(f.expectation_id, f.error, f.places[:5]) for f in judgement.findings] == []
    assert decide(judgement.made) == "pass"


def test_a_province_without_the_younger_feeds_is_warned_and_not_stopped(look: Look) -> None:
    gone = [
        "aid_recognition", "aid_payment", "nutrition_month", "student_loan", "fund_ledger", "policy_document",
        "dropout_case", "care_record", "liability_insurance",
    ]  # fmt: skip
    judgement = look("arrival", [f"delete from landing.{feed}" for feed in gone], None)
    findings = {finding.expectation_id: finding for finding in judgement.findings}
    assert set(findings) == {"aid_recognition.year_delivered", "aid_payment.year_delivered"}
    assert [place.period for place in findings["aid_payment.year_delivered"].places] == [
        str(year) for year in range(2015, YEAR + 1)
    ]
    assert decide(judgement.made) == "warn"


@pytest.mark.parametrize(("boundary", "expectation"), CASES)
def test_an_expectation_trips_on_its_defect_and_only_there(look: Look, boundary: str, expectation: Expectation) -> None:
    judgement = look(boundary, expectation.seeded_defect, expectation.id.partition(".")[0])  # type: ignore[arg-type]
    failed = {finding.expectation_id: finding for finding in judgement.findings}
    assert expectation.id in failed
    assert set(failed) - {expectation.id} <= set(expectation.also_trips)
    finding = failed[expectation.id]
    assert finding.error is None
    assert finding.severity == expectation.severity
    assert decide(judgement.made) == ("block" if "block" in {f.severity for f in judgement.findings} else "warn")
    # it says where, not merely that
    assert finding.places
    assert not any((place.observed or "").startswith("place unknown") for place in finding.places)
    assert sum(place.affected for place in finding.places) > 0
