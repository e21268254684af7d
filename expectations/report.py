"""What a gate found, for people: one structure, written as JSON and as a page with the same words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.decide import Decision, Verdict
from expectations.runner import EVERYWHERE, failing_cells
from expectations.snapshot import SnapshotConnection
from expectations.suite import BoundaryRules, Expectation, Severity, Suite, Text

if TYPE_CHECKING:
    from expectations.extra import ExtraRule
    from expectations.matrix import County
    from expectations.waivers import Waived

TEMPLATES = Path(__file__).parent / "templates"
# beyond this many places a page is no longer read; the JSON holds them all
CELLS_ON_PAGE = 60

_DECISIONS: Mapping[Decision, Text] = {
    "pass": Text("通过", "passed"),
    "warn": Text("通过，有提醒", "passed with warnings"),
    "block": Text("不予放行", "blocked"),
}
_WHOLE = Text("全部", "all")


@dataclass(frozen=True)
class Place:
    """A failed rule at one county (or area) and period."""

    county_code: str
    county_name: str
    period: str
    affected: int
    observed: str | None
    waiver_id: int | None = None

    @property
    def figures(self) -> str:
        """How many, and the figures, as the ledger keeps them."""
        return f"{self.affected}" + (f" ({self.observed})" if self.observed else "")


@dataclass(frozen=True)
class Finding:
    """A failed rule with everything its owner needs."""

    suite: str
    title: Text
    expectation_id: str
    severity: Severity
    owner: Text
    what: Text
    why: Text
    how_to_fix: Text
    error: str | None
    places: tuple[Place, ...]
    waivable: bool


def failing_places(
    conn: SnapshotConnection, suite: Suite, expectation: Expectation, names: Mapping[str, str]
) -> tuple[Place, ...]:
    """Where a rule failed, with the names of the areas."""
    return tuple(
        Place(cell.place, names.get(cell.place, ""), cell.time, cell.affected, cell.observed)
        for cell in failing_cells(conn, suite, expectation)
    )


def make_finding(suite: Suite, expectation: Expectation, verdict: Verdict, places: tuple[Place, ...]) -> Finding:
    """A rule that failed, with all that its owner is told."""
    return Finding(
        suite=suite.name,
        title=suite.title,
        expectation_id=expectation.id,
        severity=verdict.severity,
        owner=expectation.owner,
        what=expectation.what,
        why=expectation.why,
        how_to_fix=expectation.how_to_fix,
        error=verdict.error,
        places=places,
        waivable=expectation.waivable,
    )


def _by_county(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """What each county has to see to: the rules that failed there and were not waived, blocking ones first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for finding in findings:
        periods: dict[tuple[str, str], list[str]] = {}
        for place in finding.places:
            if place.county_code != EVERYWHERE and place.waiver_id is None:
                periods.setdefault((place.county_code, place.county_name), []).append(place.period)
        for (code, name), listed in periods.items():
            entry = found.setdefault((code, name), {"county_code": code, "county_name": name, "rules": []})
            entry["rules"].append(
                {
                    "expectation_id": finding.expectation_id,
                    "severity": finding.severity,
                    "title": asdict(finding.title),
                    "what": asdict(finding.what),
                    "periods": [period for period in listed if period != EVERYWHERE],
                }
            )
    for entry in found.values():
        entry["rules"].sort(key=lambda rule: rule["severity"] != "block")
    return [found[key] for key in sorted(found)]


def _waivers(waived: Waived) -> dict[str, Any]:
    """Which waivers were followed, where, and which were not and why; logins, no names."""
    places: dict[int, list[dict[str, Any]]] = {}
    for finding in waived.findings:
        for place in finding.places:
            if place.waiver_id is not None:
                places.setdefault(place.waiver_id, []).append(asdict(place) | {"figures": place.figures})
    return {
        "used": [
            {
                "waiver_id": waiver.waiver_id,
                "expectation_id": waiver.expectation_id,
                "places": places[waiver.waiver_id],
                "reason": waiver.reason,
                "proposed_by": waiver.proposed_by,
                "approved_by": waiver.approved_by,
                "expires_at": waiver.expires_at.isoformat(timespec="minutes"),
            }
            for waiver in waived.used
        ],
        "refused": [asdict(refusal) for refusal in waived.refused],
    }


def compose(
    *,
    rules: BoundaryRules,
    boundary: str,
    run_id: str,
    gate_run_id: int,
    evaluation_year: int,
    subject_hash: str,
    decision: Decision,
    suites: Iterable[Suite],
    extra: Sequence[ExtraRule],
    waived: Waived,
    matrix: Sequence[Mapping[str, Any]],
    counties: Sequence[County],
    suite_seconds: Mapping[str, float],
    started_at: datetime,
    seconds: float,
) -> dict[str, Any]:
    """Everything a reader or a webhook is told, as plain data.

    Returns:
        A JSON-serializable mapping; ``findings`` are sorted with blocking ones first.
    """
    ordered = sorted(waived.findings, key=lambda finding: finding.severity != "block")
    failed = {finding.expectation_id for finding in ordered}
    listed = list(suites)
    severities = Counter(finding.severity for finding in ordered if finding.expectation_id not in waived.rules)
    return {
        "boundary": boundary,
        "title": asdict(rules.title),
        "decision": decision,
        "decision_text": asdict(_DECISIONS[decision]),
        "consequence": asdict(rules.consequence[decision]),
        "run_id": run_id,
        "gate_run_id": gate_run_id,
        "evaluation_year": evaluation_year,
        "subject": rules.subject,
        "subject_hash": subject_hash,
        "started_at": started_at.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "suite_seconds": {suite: round(took, 2) for suite, took in suite_seconds.items()},
        "policy": asdict(rules.policy),
        "summary": {
            "rules": sum(len(suite.expectations) for suite in listed) + len(extra),
            "blocking": severities["block"],
            "warning": severities["warn"],
            "waived": len(waived.rules),
        },
        "matrix": list(matrix),
        "county_list": [asdict(county) for county in counties],
        "counties": _by_county(ordered),
        "findings": [asdict(finding) | {"waived": finding.expectation_id in waived.rules} for finding in ordered],
        "waivers": _waivers(waived),
        "passed": [
            {
                "suite": suite.name,
                "title": asdict(suite.title),
                "rules": [
                    {"expectation_id": e.id, "severity": e.severity, "what": asdict(e.what)}
                    for e in suite.expectations
                    if e.id not in failed
                ],
            }
            for suite in listed
        ]
        + [
            {
                "suite": rule.suite,
                "title": asdict(rule.title),
                "rules": [
                    {"expectation_id": rule.expectation_id, "severity": rule.severity, "what": asdict(rule.what)}
                ],
            }
            for rule in extra
            if rule.expectation_id not in failed
        ],
    }


def render(content: Mapping[str, Any]) -> str:
    """The page: self-contained HTML, every value escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("gate.html.j2")
    return template.render(gate=content, everywhere=EVERYWHERE, whole=asdict(_WHOLE), cells_on_page=CELLS_ON_PAGE)


def write(content: Mapping[str, Any], out_dir: Path) -> Path:
    """Write ``gate_<boundary>.html`` and ``.json``; a reader never meets half a file.

    Returns:
        Path of the page.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    page = out_dir / f"gate_{content['boundary']}.html"
    for path, text in (
        (page.with_suffix(".json"), json.dumps(content, ensure_ascii=False, indent=1) + "\n"),
        (page, render(content)),
    ):
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return page
