"""The decision from verdicts: a truth table, and what counts when a rule was not answered."""

from __future__ import annotations

import pytest

from expectations.decide import Outcome, Verdict, decide, verdicts

DECLARED = {"b": "block", "w": "warn"}


def verdict(severity: str, success: bool) -> Verdict:
    return Verdict("rule", severity, success, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("block_holds", "warn_holds", "expected"),
    [(True, True, "pass"), (True, False, "warn"), (False, True, "block"), (False, False, "block")],
)
def test_severity_of_what_failed_decides(block_holds: bool, warn_holds: bool, expected: str) -> None:
    made = verdicts(
        DECLARED,  # type: ignore[arg-type]
        [Outcome("b", block_holds), Outcome("w", warn_holds)],
    )
    assert decide(made) == expected


@pytest.mark.parametrize("rule", ["b", "w"])
def test_a_rule_that_raised_blocks_whatever_its_severity(rule: str) -> None:
    outcomes = [Outcome(name, True, "could not be evaluated: X" if name == rule else None) for name in DECLARED]
    made = verdicts(DECLARED, outcomes)  # type: ignore[arg-type]
    assert decide(made) == "block"
    assert {v.expectation_id: v.success for v in made}[rule] is False


@pytest.mark.parametrize("rule", ["b", "w"])
def test_a_rule_without_a_result_blocks(rule: str) -> None:
    outcomes = [Outcome(name, True) for name in DECLARED if name != rule]
    made = verdicts(DECLARED, outcomes)  # type: ignore[arg-type]
    assert decide(made) == "block"
    assert [v.error for v in made if not v.success] == ["no result"]


def test_no_verdict_at_all_blocks() -> None:
    assert decide([]) == "block"


def test_many_warnings_never_block() -> None:
    assert decide([verdict("warn", False)] * 50 + [verdict("block", True)]) == "warn"


@pytest.mark.parametrize("outcomes", [[Outcome("unknown", True)], [Outcome("b", True), Outcome("b", True)]])
def test_a_result_nobody_asked_for_is_an_error(outcomes: list[Outcome]) -> None:
    with pytest.raises(ValueError, match=r"undeclared|two results"):
        verdicts(DECLARED, outcomes)  # type: ignore[arg-type]
