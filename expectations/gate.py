"""Ask a gate: evaluate its suites, decide, tell people, and keep the result."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from expectations.decide import Decision, Outcome, Verdict, decide, verdicts
from expectations.extra import ExtraRule, check_ids, finding_of
from expectations.matrix import Cell, CellVerdict, County, cell_verdicts, for_people
from expectations.policy import Weights, weigh_all
from expectations.report import Finding, Place, compose, failing_places, make_finding, write
from expectations.runner import EVERYWHERE, compute_batch, examined, make_context, run_suite
from expectations.snapshot import SnapshotConnection, open_snapshot
from expectations.store import insert_cells, insert_gate_run, insert_results
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
    """What one look at a snapshot gave.

    Attributes:
        made: one verdict per rule, weighed by the policy for plan and other counties.
        findings: the rules that failed, with their places, blocking ones first.
        asked: suite -> number of its rules.
        examined: suite -> county × period of its batch.
        counties: all there are, those of the plan first.
        weights: what a failure in other counties means.
        seconds: suite -> wall time.
    """

    made: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    asked: Mapping[str, int]
    examined: Mapping[str, frozenset[Cell]]
    counties: tuple[County, ...]
    weights: Weights
    seconds: Mapping[str, float]

    def cells(self, findings: Sequence[Finding]) -> tuple[CellVerdict, ...]:
        """One verdict per suite × county × period.

        Args:
            findings: these, or the same with the places that waivers cover marked.
        """
        return cell_verdicts(self.asked, self.examined, findings, self.weights.weigh)


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


def _rows(conn: SnapshotConnection, query: str) -> list[tuple[Any, ...]]:
    try:
        return conn.execute(query.encode()).fetchall()
    except psycopg.Error:
        # nothing there to ask; the suites say so rule by rule
        conn.rollback()
        return []


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began


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
    names = {str(code): str(name) for code, name in _rows(conn, rules.area_names)}
    counties = tuple(County(str(code), str(name), is_plan) for code, name, is_plan in _rows(conn, rules.counties))
    weights = Weights({county.code for county in counties if not county.is_plan}, rules.policy.other_counties)
    seconds: dict[str, float] = {}
    computed: list[Suite] = []
    for suite in suites:
        with _timed(seconds, suite.name):
            computed.append(compute_batch(conn, suite))
        failpoint.hit("gate.suite")
    conn.forbid_writing()
    outcomes: list[Outcome] = []
    seen: dict[str, frozenset[Cell]] = {}
    for suite in computed:
        with _timed(seconds, suite.name):
            outcomes += run_suite(context, conn, suite)
            seen[suite.name] = examined(conn, suite)
    outcomes += [rule.outcome for rule in extra]
    rules_of = {e.id: (suite, e) for suite in computed for e in suite.expectations}
    declared = {expectation_id: e.severity for expectation_id, (_, e) in rules_of.items()}
    declared |= {rule.expectation_id: rule.severity for rule in extra}
    places = {rule.expectation_id: rule.places for rule in extra}
    made = verdicts(declared, outcomes)
    for verdict in made:
        if not verdict.success and verdict.expectation_id in rules_of:
            suite, expectation = rules_of[verdict.expectation_id]
            with _timed(seconds, suite.name):
                found = failing_places(conn, suite, expectation, names) if verdict.error is None else ()
            places[verdict.expectation_id] = found or (Place(EVERYWHERE, "", EVERYWHERE, 0, None),)
    fixed = {e.id for _, e in rules_of.values() if not e.waivable} | {rule.expectation_id for rule in extra}
    where = {expectation_id: {place.county_code for place in found} for expectation_id, found in places.items()}
    made = weigh_all(made, where, fixed, weights)
    failed = {verdict.expectation_id: verdict for verdict in made if not verdict.success}
    findings = [
        make_finding(*rules_of[expectation_id], verdict, places[expectation_id])
        for expectation_id, verdict in failed.items()
        if expectation_id in rules_of
    ]
    findings += [
        finding_of(rule, failed[rule.expectation_id], names) for rule in extra if rule.expectation_id in failed
    ]
    findings.sort(key=lambda finding: finding.severity != "block")
    asked = Counter([suite.name for suite, _ in rules_of.values()] + [rule.suite for rule in extra])
    return Judgement(made, tuple(findings), asked, seen, counties, weights, seconds)


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
    titles = {suite.name: suite.title for suite in suites} | {rule.suite: rule.title for rule in extra}
    suite_of: Mapping[str, str] = {e.id: suite.name for suite in suites for e in suite.expectations} | {
        rule.expectation_id: rule.suite for rule in extra
    }
    with connect("gatekeeper", config) as ledger:
        blocking = [finding.expectation_id for finding in judgement.findings if finding.severity == "block"]
        waived = apply(judgement.findings, waivers_of(ledger, boundary, blocking), subject_hash)
        decision = decide(judgement.made, waived.rules)
        cells = judgement.cells(waived.findings)
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
        insert_cells(ledger, gate_run_id, cells)
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
                matrix=for_people(
                    cells,
                    judgement.counties,
                    titles,
                    {suite.name for suite in suites if not suite.every_county},
                ),
                counties=judgement.counties,
                suite_seconds=judgement.seconds,
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
