"""Ask a gate: evaluate its suites, decide, tell people, and keep the result."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from expectations.decide import Decision, Outcome, Verdict, decide, verdicts
from expectations.extra import ExtraRule, check_ids, finding_of
from expectations.report import Finding, compose, make_finding, write
from expectations.runner import EVERYWHERE, Cell, failing_cells, make_context, run_suite
from expectations.snapshot import SnapshotConnection, open_snapshot
from expectations.store import insert_gate_run, insert_results
from expectations.suite import SUITES, Boundary, BoundaryRules, Suite, load_suites
from expectations.waivers import Refusal, apply, waivers_of
from warehouse import failpoint
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext

_IDENTIFIER = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_SCHEMAS = ("landing", "quarantine", "ledger", "reference", "core", "indicators")


@dataclass(frozen=True)
class GateReport:
    """The answer of a gate.

    Attributes:
        decision: ``pass``, ``warn`` or ``block``.
        gate_run_id: of ledger.gate_run.
        page: the rendered page; the JSON lies beside it.
        findings: failed rules with their places, blocking ones first.
        waived: ids of the blocking rules of which waivers cover every place.
        refused: waivers that were not followed, and why.
        subject_hash: content hash of what was judged.
        seconds: wall time, without the import of Great Expectations.
        import_seconds: of Great Expectations; near 0 in a process that has it already.
    """

    decision: Decision
    gate_run_id: int
    page: Path
    findings: tuple[Finding, ...]
    waived: frozenset[str]
    refused: tuple[Refusal, ...]
    subject_hash: str
    seconds: float
    import_seconds: float

    def summary(self) -> str:
        """Counts of failed rules in one line."""
        if not self.findings:
            return "every rule held"
        failed = [finding.severity for finding in self.findings if finding.expectation_id not in self.waived]
        waived = f", {len(self.waived)} waived" if self.waived else ""
        return f"{failed.count('block')} blocking, {failed.count('warn')} warnings{waived}"

    def reasons(self, places: int = 6) -> list[str]:
        """One line per failed rule: severity, rule, where, who; then one per waiver that was not followed.

        A rule that is waived in part is named with the places that still block.

        Args:
            places: counties × periods named per rule; the page has them all.
        """
        lines = []
        for finding in self.findings:
            waived = finding.expectation_id in self.waived
            concerned = [place for place in finding.places if waived or place.waiver_id is None]
            named = [
                " ".join(
                    part for part in (place.county_name, place.county_code, place.period) if part.strip(EVERYWHERE)
                )
                for place in concerned[:places]
                if place.county_code != EVERYWHERE
            ]
            more = len(concerned) - places
            where = "; ".join(named) + (f" and {more} more" if named and more > 0 else "")
            said = finding.error or where or "as a whole"
            if covered := len(finding.places) - len(concerned):
                said += f"; {covered} more waived"
            word = "waived" if waived else finding.severity
            lines.append(f"{word} {finding.expectation_id}: {said} ({finding.owner.zh} {finding.owner.en})")
        lines += [f"waiver {each.waiver_id} of {each.expectation_id} {each.why.en}" for each in self.refused]
        return lines


@dataclass(frozen=True)
class Judgement:
    """What one look at a snapshot gave."""

    made: tuple[Verdict, ...]
    findings: tuple[Finding, ...]


def facts(evaluation_year: int, candidate_schema: str | None) -> dict[str, object]:
    """Placeholders of a run: schema names and the evaluation year.

    Raises:
        ValueError: the candidate schema is no plain identifier; it goes into SQL as it is.
    """
    if candidate_schema is not None and not _IDENTIFIER.match(candidate_schema):
        raise ValueError(f"not a schema name: {candidate_schema!r}")
    return {
        **{schema: schema for schema in _SCHEMAS},
        "candidate": candidate_schema or "candidate_missing",
        "evaluation_year": evaluation_year,
    }


def _subject_hash(conn: SnapshotConnection, rules: BoundaryRules) -> str:
    try:
        row = conn.execute(rules.subject_hash.encode()).fetchone()
    except psycopg.Error:
        # nothing there to hash; the suites say so rule by rule
        conn.rollback()
        row = None
    return str(row[0]) if row and row[0] else hashlib.sha256(b"").hexdigest()


def _area_names(conn: SnapshotConnection, rules: BoundaryRules) -> dict[str, str]:
    try:
        return {str(code): str(name) for code, name in conn.execute(rules.area_names.encode()).fetchall()}
    except psycopg.Error:
        conn.rollback()
        return {}


def judge(
    conn: SnapshotConnection,
    context: EphemeralDataContext,
    rules: BoundaryRules,
    suites: tuple[Suite, ...],
    extra: Sequence[ExtraRule] = (),
) -> Judgement:
    """Evaluate all suites of a boundary on one snapshot.

    Args:
        conn: an open snapshot with the rights of the gatekeeper.
        context: from ``runner.make_context``.
        rules: of the boundary.
        suites: of the boundary.
        extra: rules evaluated elsewhere.
    """
    names = _area_names(conn, rules)
    outcomes: list[Outcome] = []
    for suite in suites:
        outcomes += run_suite(context, conn, suite)
    outcomes += [rule.outcome for rule in extra]
    declared = {e.id: e.severity for suite in suites for e in suite.expectations}
    declared |= {rule.expectation_id: rule.severity for rule in extra}
    made = verdicts(declared, outcomes)
    failed = {verdict.expectation_id: verdict for verdict in made if not verdict.success}
    findings: list[Finding] = []
    for suite in suites:
        for expectation in suite.expectations:
            if verdict := failed.get(expectation.id):
                if verdict.error is None:
                    cells = failing_cells(conn, suite, expectation)
                else:
                    cells = (Cell(EVERYWHERE, EVERYWHERE, 0, None),)
                findings.append(make_finding(suite, expectation, verdict, cells, names))
    findings += [
        finding_of(rule, failed[rule.expectation_id], names) for rule in extra if rule.expectation_id in failed
    ]
    findings.sort(key=lambda finding: finding.severity != "block")
    return Judgement(made, tuple(findings))


def run_gate(
    boundary: Boundary,
    *,
    config: WarehouseConfig,
    run_id: str,
    evaluation_year: int,
    candidate_schema: str | None = None,
    out_dir: Path,
    subject_hash: str | None = None,
    extra: Sequence[ExtraRule] = (),
    suites_folder: Path = SUITES,
) -> GateReport:
    """Ask a gate and keep its answer.

    A gate that dies, or is interrupted, leaves no row in the ledger: that is the same as a block.

    Args:
        boundary: ``arrival`` (landing, before dbt) or ``candidate`` (marts of a run, before the freeze).
        config: the warehouse.
        run_id: of ledger.run.
        evaluation_year: last evaluation year asked for; the gate looks at it and all earlier ones.
        candidate_schema: schema of the run's marts; needed at ``candidate``.
        out_dir: folder of the run, for page and JSON.
        subject_hash: content hash of what is judged, where the caller has one; None: the boundary's own query.
        extra: rules evaluated elsewhere; stored, shown and decided like those of the suites, and never waivable.
        suites_folder: where the suites lie.

    Raises:
        SuiteError: a suite is wrong.
        ValueError: a boundary without its schema, a schema that is no identifier, or an extra rule's id in use.
        psycopg.Error: the warehouse does not answer, or the result could not be stored.
    """
    if boundary == "candidate" and candidate_schema is None:
        raise ValueError("the candidate gate needs the schema of the run's marts")
    rules, suites = load_suites(boundary, facts(evaluation_year, candidate_schema), suites_folder)
    check_ids(extra, (e.id for suite in suites for e in suite.expectations))
    before_import = time.monotonic()
    context = make_context()
    began, started_at = time.monotonic(), datetime.now(UTC)
    conn = open_snapshot("gatekeeper", config)
    try:
        judgement = judge(conn, context, rules, suites, extra)
        subject_hash = subject_hash or _subject_hash(conn, rules)
    finally:
        conn.release()
    failpoint.hit("gate.arrival" if boundary == "arrival" else "gate.candidate")
    suite_of: Mapping[str, str] = {e.id: suite.name for suite in suites for e in suite.expectations} | {
        rule.expectation_id: rule.suite for rule in extra
    }
    with connect("gatekeeper", config) as ledger:
        blocking = [finding.expectation_id for finding in judgement.findings if finding.severity == "block"]
        waived = apply(judgement.findings, waivers_of(ledger, boundary, blocking), subject_hash)
        decision = decide(judgement.made, waived.rules)
        gate_run_id = insert_gate_run(
            ledger,
            boundary=boundary,
            run_id=run_id,
            evaluation_year=evaluation_year,
            subject=rules.subject,
            subject_hash=subject_hash,
            decision=decision,
            page=f"gate_{boundary}.html",
            started_at=started_at,
            policy=rules.policy,
        )
        insert_results(ledger, gate_run_id, suite_of, judgement.made, waived.findings)
        seconds = time.monotonic() - began
        # the page is on disk before the ledger points to it
        page = write(
            compose(
                rules=rules,
                boundary=boundary,
                run_id=run_id,
                gate_run_id=gate_run_id,
                evaluation_year=evaluation_year,
                subject_hash=subject_hash,
                decision=decision,
                suites=suites,
                extra=extra,
                waived=waived,
                started_at=started_at,
                seconds=seconds,
            ),
            out_dir,
        )
    return GateReport(
        decision=decision,
        gate_run_id=gate_run_id,
        page=page,
        findings=waived.findings,
        waived=waived.rules,
        refused=waived.refused,
        subject_hash=subject_hash,
        seconds=seconds,
        import_seconds=began - before_import,
    )
