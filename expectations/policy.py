"""How much a failure weighs, by where it happened: the nine plan counties, other counties, or no county at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from expectations.decide import Verdict
from expectations.suite import Severity


@dataclass(frozen=True)
class Weights:
    """What a failed blocking rule means in counties that the plan does not name.

    Attributes:
        other_counties: their codes; whatever is not among them counts as a plan county, and blocks.
        severity: from the policy.
    """

    other_counties: Collection[str]
    severity: Severity

    def weigh(self, severity: Severity, place: str) -> Severity:
        """Severity of a failed rule at one place: a county, another area, or ``*``."""
        return self.severity if severity == "block" and place in self.other_counties else severity


def weigh_all(
    made: Iterable[Verdict],
    places: Mapping[str, Collection[str]],
    fixed: Collection[str],
    weights: Weights,
) -> tuple[Verdict, ...]:
    """Verdicts with the severity that follows from where each rule failed.

    Args:
        made: from ``decide.verdicts``.
        places: rule -> where it failed.
        fixed: rules that nothing softens: those nobody may waive.
        weights: see there.

    Returns:
        The same verdicts; a blocking one becomes a warning only if every place of its failure weighs that little.
        A rule that could not be evaluated, or failed at no place in particular, keeps its severity.
    """
    weighed = []
    for verdict in made:
        found = places.get(verdict.expectation_id, ())
        if not verdict.success and verdict.error is None and found and verdict.expectation_id not in fixed:
            severities = {weights.weigh(verdict.severity, place) for place in found}
            verdict = replace(verdict, severity="block" if "block" in severities else "warn")
        weighed.append(verdict)
    return tuple(weighed)
