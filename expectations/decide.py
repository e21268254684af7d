"""The decision, apart from Great Expectations.

Its ``success`` is false on a mere warning and says nothing about a rule that nobody answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from expectations.suite import Severity

Decision = Literal["pass", "warn", "block"]


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation.

    Attributes:
        expectation_id: which one.
        success: whether the data kept to it.
        error: why it could not be evaluated (never with a value from the data); None: it was.
    """

    expectation_id: str
    success: bool
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """An expectation with its final severity and result."""

    expectation_id: str
    severity: Severity
    success: bool
    error: str | None


def verdicts(declared: Mapping[str, Severity], outcomes: Iterable[Outcome]) -> tuple[Verdict, ...]:
    """Match what was asked with what was answered.

    A rule that could not be evaluated, or that nobody answered, counts as a failed blocking rule: an error must
    never open the gate.

    Args:
        declared: expectation id -> severity, of every rule of the boundary.
        outcomes: at most one per id.

    Returns:
        One verdict per declared rule, in the order of ``declared``.

    Raises:
        ValueError: an outcome for a rule nobody declared, or two for one rule.
    """
    answered: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.expectation_id not in declared:
            raise ValueError(f"result for undeclared expectation {outcome.expectation_id!r}")
        if outcome.expectation_id in answered:
            raise ValueError(f"two results for expectation {outcome.expectation_id!r}")
        answered[outcome.expectation_id] = outcome
    made: list[Verdict] = []
    for expectation_id, severity in declared.items():
        found = answered.get(expectation_id)
        if found is None:
            made.append(Verdict(expectation_id, "block", False, "no result"))
        elif found.error is not None:
            made.append(Verdict(expectation_id, "block", False, found.error))
        else:
            made.append(Verdict(expectation_id, severity, found.success, None))
    return tuple(made)


def decide(made: Iterable[Verdict], waived: Collection[str] = ()) -> Decision:
    """Block if a blocking rule failed, warn if any other failed, pass otherwise; block without any verdict.

    Args:
        made: one verdict per rule.
        waived: ids of failed rules of which a waiver covers every place: they warn, they never pass.
    """
    listed = list(made)
    failed = {
        "warn" if verdict.expectation_id in waived else verdict.severity for verdict in listed if not verdict.success
    }
    if not listed or "block" in failed:
        return "block"
    return "warn" if failed else "pass"
