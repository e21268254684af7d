"""Rules whose outcome is found outside the suites, such as an audit that needs a solver.

They are decided, stored and shown like any other rule. Nobody may waive them: what is asked this way protects people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from expectations.decide import Outcome, Verdict
from expectations.report import Finding, Place
from expectations.suite import Severity, Text


@dataclass(frozen=True)
class ExtraRule:
    """One rule with its outcome.

    Attributes:
        expectation_id: ``<suite>.<name>``, not used by any suite.
        title: what was looked at, for people.
        owner: who has to act.
        what: the rule, as a statement that should be true.
        why: what goes wrong when it is not.
        how_to_fix: what the owner does.
        success: whether the data kept to it.
        severity: what a failure means for the decision.
        error: why it could not be evaluated, without a value from the data; it then blocks whatever ``severity`` says.
        places: where it failed: area code, period, how many cells, figures that may be shown. Names of areas may be
            left empty, the gate fills them in.
    """

    expectation_id: str
    title: Text
    owner: Text
    what: Text
    why: Text
    how_to_fix: Text
    success: bool
    severity: Severity = "block"
    error: str | None = None
    places: tuple[Place, ...] = field(default=())

    @property
    def suite(self) -> str:
        """First part of the id."""
        return self.expectation_id.partition(".")[0]

    @property
    def outcome(self) -> Outcome:
        """As the decision wants it."""
        return Outcome(self.expectation_id, self.success and self.error is None, self.error)


def check_ids(extra: Sequence[ExtraRule], declared: Iterable[str]) -> None:
    """Refuse rules that would be taken for others.

    Raises:
        ValueError: an id without a dot, used twice, or that of a suite's rule.
    """
    seen = set(declared)
    for rule in extra:
        if "." not in rule.expectation_id.strip("."):
            raise ValueError(f"extra rule {rule.expectation_id!r}: the id must read <suite>.<name>")
        if rule.expectation_id in seen:
            raise ValueError(f"extra rule {rule.expectation_id!r}: the id is used twice")
        seen.add(rule.expectation_id)


def finding_of(rule: ExtraRule, verdict: Verdict, names: Mapping[str, str]) -> Finding:
    """What the page and the ledger are told about an extra rule that failed."""
    places = tuple(
        Place(
            place.county_code,
            place.county_name or names.get(place.county_code, ""),
            place.period,
            place.affected,
            place.observed,
        )
        for place in rule.places
    )
    return Finding(
        suite=rule.suite,
        title=rule.title,
        expectation_id=rule.expectation_id,
        severity=verdict.severity,
        owner=rule.owner,
        what=rule.what,
        why=rule.why,
        how_to_fix=rule.how_to_fix,
        error=verdict.error,
        places=places,
        waivable=False,
    )
