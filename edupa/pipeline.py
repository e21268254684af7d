"""The tasks of both DAGs as plain functions: each is idempotent for its period and says what it did.

Nothing here knows Airflow; the DAG files call these functions, and so does ``edupa run --plain``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg import sql

from edupa.leftovers import maker_of
from edupa.progress import say
from edupa.settings import Settings
from warehouse.approval import ApprovalError, candidate_run, record_airflow_answer
from warehouse.config import PROJECT_ROOT
from warehouse.connection import connect
from warehouse.failpoint import hit
from warehouse.locks import writer_lock

if TYPE_CHECKING:
    from expectations.extra import ExtraRule


class GateBlocked(RuntimeError):
    """A gate refuses; the message names its page."""


def run_folder(settings: Settings, run_id: str) -> Path:
    """Folder for the pages of a run; Airflow's run ids hold characters that are no good in a path."""
    return settings.runs / re.sub(r"[^A-Za-z0-9_.-]+", "-", run_id)


def candidate_schema(evaluation_year: int) -> str:
    """Schema in which the candidate of a year's evaluation is built."""
    return f"candidate_annual_{evaluation_year}"


def _record_run(settings: Settings, run_id: str, kind: str, parameters: dict[str, Any], status: str) -> None:
    from psycopg.types.json import Jsonb

    with connect("ingest", settings.warehouse) as conn:
        conn.execute(
            "insert into ledger.run (run_id, kind, parameters, status) values (%s, %s, %s, %s)"
            " on conflict (run_id) do update set status = excluded.status,"
            " finished_at = case when excluded.status = 'running' then null else clock_timestamp() end",
            (run_id, kind, Jsonb(parameters), status),
        )


def begin_run(settings: Settings, run_id: str, kind: str, parameters: dict[str, Any]) -> None:
    """Write down that a run has begun."""
    _record_run(settings, run_id, kind, parameters, "running")


def end_run(settings: Settings, run_id: str, kind: str, status: Literal["succeeded", "blocked", "failed"]) -> None:
    """Write down how a run ended."""
    _record_run(settings, run_id, kind, {}, status)


@contextmanager
def noting_failure(settings: Settings, run_id: str, kind: str) -> Iterator[None]:
    """Write down how the run ended if the block does not finish; a retry that succeeds overwrites it."""
    try:
        yield
    except (GateBlocked, ApprovalError):
        end_run(settings, run_id, kind, "blocked")
        raise
    except Exception:
        end_run(settings, run_id, kind, "failed")
        raise


#: waves that the nightly DAG has tasks for; a feed stands one wave behind those it refers to
WAVES = 4


def feed_waves() -> list[list[str]]:
    """Feeds that have a contract, in WAVES waves: each wave refers to feeds of earlier waves only.

    Raises:
        ContractError: contracts refer to each other over more steps than there are waves.
    """
    import ingest

    contracts = ingest.load_contracts()
    depth: dict[str, int] = {}
    for feed, contract in contracts.items():
        depth[feed] = max((depth[other] + 1 for other in contract.depends_on), default=0)
        if depth[feed] >= WAVES:
            raise ingest.ContractError(
                f"{contract.path}:1: feed {feed} refers to others over {depth[feed]} steps,"
                f" the nightly load has tasks for {WAVES - 1}:"
                " raise WAVES in edupa/pipeline.py and dags/nightly_load.py"
            )
    return [[feed for feed in contracts if depth[feed] == wave] for wave in range(WAVES)]


def list_feeds(settings: Settings) -> list[list[str]]:
    """Look at what is offered, prepare the landing tables, and say in which waves the feeds must be loaded."""
    import ingest

    contracts = ingest.load_contracts()
    with connect("ingest", settings.warehouse) as conn:
        ingest.ensure_landing(conn, contracts)
    with ingest.Intake(settings.extracts, contracts, settings.warehouse) as intake:
        found = intake.discover()
        ingest.record_unrecognized(intake, found, settings.warehouse)
    files = sum(len(offered) for offered in found.offered.values())
    say(f"extracts: {files} files for {len(contracts)} feeds in {settings.extracts}")
    for name in found.unrecognized:
        say(f"  ! {name}: no contract recognizes this file name")
    for refused in found.refused:
        say(f"  ! {refused.file}: {refused.message_en}")
    for message in found.unreachable:
        say(f"  ! {message}")
    for name in found.elsewhere:
        say(f"  ! {name}: not taken, the environment names another source for its feed")
    return feed_waves()


def load_feed(settings: Settings, feed: str) -> dict[str, Any]:
    """Load every offered file of one feed; a rejected file does not stop the others.

    Returns:
        Counts only, fit for XCom.
    """
    import ingest

    report = ingest.load_feed(feed, settings.extracts, ingest.load_contracts(), settings.warehouse)
    landed = f"{report.total('rows_landed'):,} rows landed"
    if report.total("rows_landed") or report.total("rows_ended"):
        # the planner must not guess how many versions are current
        with connect("ingest", settings.warehouse, autocommit=True) as conn:
            conn.execute(sql.SQL("analyze {}").format(sql.Identifier("landing", feed)))
    known = report.count("same_content")
    quarantined, ended = report.total("rows_quarantined"), report.total("rows_ended")
    say(
        f"load {feed}: {len(report.files)} files ({known} known already), {landed}, {quarantined:,} quarantined,"
        f" {ended:,} ended ({report.seconds:.1f} s)"
    )
    for rejection in report.rejections:
        say(f"  ! rejected {rejection.file}: {rejection.rule}: {rejection.message_en}")
    for file in report.files:
        for warning in () if file.is_repeated else file.warnings:
            say(f"  ! warning {warning}")
    for item in report.waiting:
        say(f"  ! waiting {item.file}: {item.reason_en} (looks: {item.looks}, since {item.since})")
    for name in report.not_arrived:
        say(f"  ! not arrived {name}: its sender's manifest announces it")
    return report.to_json()


def replay_quarantine(settings: Settings) -> dict[str, Any]:
    """Read files again whose rows wait for what another feed lists, where that feed has landed something since.

    Running again reads nothing: what could pass has passed, and the rest waits for the next delivery.

    Returns:
        Counts only, fit for XCom.
    """
    import ingest

    contracts = ingest.load_contracts()
    with connect("ingest", settings.warehouse) as conn:
        waiting = ingest.quarantine.waiting_for_reference(conn, contracts)
    with ingest.Intake(settings.extracts, contracts, settings.warehouse) as intake:
        done = ingest.quarantine.replay(intake, contracts, settings.warehouse, waiting)
    reports = [item.report for item in done if item.report]
    for item in done:
        if item.refusal:
            say(f"  ! not read again {item.file.file_name}: {item.refusal}")
    landed, still = sum(r.rows_landed for r in reports), sum(r.rows_quarantined for r in reports)
    say(f"quarantine: {len(reports)} files read again, {landed:,} rows released, {still:,} still in quarantine")
    return {"files": len(reports), "released": landed, "refused": sum(item.refusal is not None for item in done)}


def match_persons(settings: Settings, run_id: str, *, force: bool = False) -> dict[str, Any]:
    """Match registered-poor persons whose ID number is on no roll with pupils, by name, birth date, village, guardian.

    Running again does nothing until a feed that it rests on lands something.

    Args:
        settings: where the warehouse is.
        run_id: of the run.
        force: match again also where nothing landed.

    Returns:
        Counts only, fit for XCom.

    Raises:
        ingest.MatchingError: its rules contradict the contracts.
    """
    import ingest

    report = ingest.match_persons(settings.warehouse, ingest.load_contracts(), run_id=run_id, force=force)
    if not report.years:
        say(f"matching: nothing landed since the last run ({report.seconds:.1f} s)")
    for year in report.years:
        say(
            f"matching {year.poverty_year}: {year.left_over:,} persons whose number is on no roll and"
            f" {year.pupils_left_over:,} pupils on no list, {year.pairs_compared:,} pairs compared: {year.matched:,}"
            f" matched, {year.review:,} held for review ({year.seconds:.1f} s)"
        )
    if report.years:
        say(f"matching: {len(report.years)} years in {report.seconds:.1f} s, rules {report.engine_version}")
    return {
        "matched": sum(year.matched for year in report.years),
        "review": sum(year.review for year in report.years),
        "changed": sum(year.changed for year in report.years),
    }


def _gate(
    settings: Settings,
    boundary: Literal["arrival", "candidate"],
    run_id: str,
    evaluation_year: int,
    schema: str | None,
    subject_sha256: str | None,
    extra: Sequence[ExtraRule] = (),
) -> dict[str, Any]:
    from expectations.gate import run_gate
    from expectations.webhook import tell

    # it tells of each temporary folder it makes
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    report = run_gate(
        boundary,
        config=settings.warehouse,
        run_id=run_id,
        evaluation_year=evaluation_year,
        candidate_schema=schema,
        subject_hash=subject_sha256,
        out_dir=run_folder(settings, run_id),
        extra=extra,
    )
    say(f"gate {boundary} {evaluation_year}: {report.decision} ({report.summary()}), page {report.page}")
    if told := tell(settings.warehouse, report.page, report.gate_run_id):
        say(f"  gate webhook: {'delivered' if told[0] else 'NOT delivered'}, {told[1]}")
    for line in report.reasons():
        say(f"  ! {line}")
    if report.decision == "block":
        raise GateBlocked(f"the {boundary} gate blocks evaluation year {evaluation_year}: see {report.page}")
    return {"decision": report.decision, "page": str(report.page)}


def arrival_gate(settings: Settings, run_id: str, evaluation_year: int) -> dict[str, Any]:
    """Is what arrived complete and plausible?

    Raises:
        GateBlocked: no.
    """
    return _gate(settings, "arrival", run_id, evaluation_year, None, None)


def build_core(settings: Settings, run_id: str) -> dict[str, Any]:
    """Seeds, staging, core and indicators, with their tests; then the restricted ledgers are brought to them.

    Raises:
        TransformError: a model or a test failed.
    """
    from warehouse.restricted import refresh_all
    from warehouse.transform import run_dbt

    # a load that lands meanwhile would be in some tables and not in others: no release could be built again from that
    with (
        writer_lock(settings.warehouse, "transform", "build", run_id),
        writer_lock(settings.warehouse, "transform", "load", run_id, shared=True),
    ):
        hit("dbt.core")
        done = run_dbt(
            ["build", "--exclude", "path:models/marts", "--exclude-resource-type", "unit_test"], settings.warehouse
        )
        ledgers = refresh_all(settings.warehouse)
    say(f"dbt core and indicators: {done.succeeded} nodes in {done.seconds:.0f} s, {done.warned} warnings")
    for ledger in ledgers:
        say(f"restricted.{ledger.relation}: {ledger.held:,} rows, {ledger.added:,} in, {ledger.removed:,} out")
    return asdict(done)


def build_candidate(settings: Settings, run_id: str, evaluation_year: int) -> dict[str, Any]:
    """Decide what of each sensitive cell may be shown, then build the marts of one evaluation year in their own schema.

    Raises:
        PolicyError: the disclosure policy contradicts itself.
        TransformError: a model or a test failed.
    """
    from disclosure.plan import plan_candidate
    from warehouse.transform import last_load_of_core, make_candidate_schema, run_dbt

    schema = candidate_schema(evaluation_year)
    with writer_lock(settings.warehouse, "transform", "build", run_id):
        origin = {"as_of_load_id": last_load_of_core(settings.warehouse), **maker_of(run_id)}
        plan = plan_candidate(settings.warehouse, evaluation_year)
        say(
            f"disclosure {evaluation_year}: of {plan.cells} sensitive cells {plan.shown} are shown,"
            f" {plan.primary} withheld as small (A), {plan.secondary} for protection (D), {plan.bounds} as a bound;"
            f" {plan.rounded} dense cells are rounded"
        )
        make_candidate_schema(settings.warehouse, schema, origin)
        hit("dbt.marts")
        done = run_dbt(
            ["build", "--select", "path:models/marts", "--exclude-resource-type", "unit_test"],
            settings.warehouse,
            variables={"evaluation_year": evaluation_year, "candidate_schema": schema},
        )
    say(f"dbt candidate {evaluation_year}: {done.succeeded} nodes in {done.seconds:.0f} s")
    return asdict(done)


def candidate_gate(settings: Settings, run_id: str, evaluation_year: int) -> dict[str, Any]:
    """Is the candidate fit to be published?

    The arrival gate is asked again first: what is missing when a release is made counts, not what was missing the night
    before.

    Raises:
        GateBlocked: no.
    """
    from warehouse.release import candidate_sha256

    arrival_gate(settings, run_id, evaluation_year)
    schema = candidate_schema(evaluation_year)
    content = candidate_sha256(settings.warehouse, schema)
    rule = disclosure_rule(settings, run_id, evaluation_year)
    return _gate(settings, "candidate", run_id, evaluation_year, schema, content, [rule])


def disclosure_rule(settings: Settings, run_id: str, evaluation_year: int) -> ExtraRule:
    """Attack the candidate with everything published; the outcome as a rule that no waiver covers.

    The report of the attack lies beside the gate's page in the folder of the run.
    """
    from disclosure.audit import audit_candidate
    from disclosure.report import write_report
    from expectations.extra import ExtraRule
    from expectations.report import Place
    from expectations.suite import Text

    report = audit_candidate(settings.warehouse, candidate_schema(evaluation_year), evaluation_year)
    page = write_report(report, settings.warehouse, run_folder(settings, run_id))
    say(f"disclosure audit {evaluation_year}: {report.summary()} ({report.seconds:.1f} s), page {page}")
    return ExtraRule(
        expectation_id="disclosure.audit",
        title=Text("披露审计", "disclosure audit"),
        owner=Text("数据仓库组", "warehouse team"),
        what=Text(
            "从全部已公布数据推算,任何隐去的数都不能缩小到规定宽度以内",
            "nothing that is withheld can be narrowed below the policy's width from all that is published",
        ),
        why=Text("能推算出来就等于公布了某个孩子的情况", "what can be computed is published, and it is about a child"),
        how_to_fix=Text(
            "不要发布;重建待发布数据(edupa disclosure report 列出单元),仍不通过则调整保密规则",
            "do not publish; build the candidate again (`edupa disclosure report` names the cells), else change the"
            " policy",
        ),
        success=report.passed,
        places=tuple(
            Place(one.area_code, "", str(one.evaluation_year), 1, f"{one.cell}: {one.rule}, {one.note}")
            for one in report.findings
        ),
    )


def record_airflow_approval(
    settings: Settings, run_id: str, *, approved: bool, decided_by: str | None, requested_by: str | None
) -> dict[str, Any]:
    """Write down in the ledger what was decided in Airflow on this run's candidate.

    Args:
        settings: where the warehouse is.
        run_id: of the run whose candidate was shown.
        approved: the option that was chosen.
        decided_by: user of Airflow; None: nobody answered in time.
        requested_by: user of Airflow that started the run; None: the schedule.

    Raises:
        ApprovalError: the answer was no, nobody answered, or who started the run approved it.
    """
    with connect("publisher", settings.warehouse) as conn:
        candidate = candidate_run(conn, run_id)
        number = record_airflow_answer(
            conn, candidate.gate_run_id, approved=approved, decided_by=decided_by, requested_by=requested_by
        )
    who = f"by {decided_by}" if decided_by else "nobody answered in time"
    say(f"approval {number} of {candidate.evaluation_year}: {'approved' if approved else 'rejected'}, {who}")
    if not approved:
        raise ApprovalError(
            f"the candidate of {candidate.evaluation_year} was rejected ({who}, decision {number});"
            " what is published stays as it is"
        )
    return {"approval_id": number, "decided_by": decided_by}


def _folder_sha256(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def contracts_sha256() -> str:
    """Hash over the contracts of all configured folders."""
    from ingest.contract import contract_folders

    digests = [_folder_sha256(folder, "*.yaml") for folder in contract_folders()]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def seeds_sha256() -> str:
    """Hash over all seeds."""
    return _folder_sha256(PROJECT_ROOT / "dbt_project" / "seeds", "*.csv")


def git_commit() -> str | None:
    """Commit of the code: named by the image that holds it, or asked of git where there is one."""
    if named := os.environ.get("EDUPA_GIT_COMMIT"):
        return named
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _input_sha256(settings: Settings, as_of_load_id: int | None) -> dict[str, str]:
    """Feed -> hash over the hashes of every file that had been taken in at a load, whatever the order."""
    with connect("auditor", settings.warehouse) as conn:
        rows = conn.execute(
            "select l.feed, encode(sha256(string_agg(f.file_sha256, '' order by f.file_sha256)::bytea), 'hex')"
            " from ledger.load l join ledger.file f using (file_id)"
            " where l.status in ('landed', 'unchanged') and l.load_id <= coalesce(%s, l.load_id)"
            " group by l.feed order by l.feed",
            (as_of_load_id,),
        ).fetchall()
    return {str(feed): str(digest) for feed, digest in rows}


def _seed_sha256() -> dict[str, str]:
    """Seed -> hash of its file; the indicator registry is the seed ``indicators``."""
    seeds = sorted((PROJECT_ROOT / "dbt_project" / "seeds").glob("*.csv"))
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in seeds}


def publish(
    settings: Settings,
    run_id: str,
    evaluation_year: int,
    *,
    kind: Literal["annual", "restatement"] = "annual",
    reason: str = "annual evaluation",
    dry_run: bool = False,
    declared_change: Literal["patch", "minor", "major"] | None = None,
    embargo_until: str = "",
) -> dict[str, Any]:
    """Freeze and publish the candidate of a year; the same content again makes no release.

    Args:
        settings: where the warehouse is.
        run_id: of the run.
        evaluation_year: latest year that the candidate evaluates.
        kind: restatement: it corrects a published release of the year.
        reason: why; printed in the notes.
        dry_run: check everything, change nothing.
        declared_change: level under which it is meant to go out; None: as computed.
        embargo_until: time before which it stays frozen, see warehouse.release_notes.embargo_time; empty: at once.

    Raises:
        warehouse.canonical.ReleaseError: the gate has not passed exactly this content, or the request contradicts it.
    """
    from disclosure.policy import policy_from_warehouse
    from warehouse.release import Provenance, publish_candidate
    from warehouse.release_notes import embargo_time, local_time
    from warehouse.transform import candidate_origin

    until = embargo_time(embargo_until)
    seeds = _seed_sha256()
    # what landed since the candidate was built is not in it
    as_of = candidate_origin(settings.warehouse, candidate_schema(evaluation_year)).get("as_of_load_id")
    with connect("gatekeeper", settings.warehouse) as conn:
        policy = policy_from_warehouse(conn)
    done = publish_candidate(
        settings.warehouse,
        candidate_schema(evaluation_year),
        evaluation_year=evaluation_year,
        kind=kind,
        reason=reason,
        provenance=Provenance(
            git_commit=git_commit(),
            contracts_sha256=contracts_sha256(),
            seeds_sha256=seeds_sha256(),
            input_sha256=_input_sha256(settings, as_of),
            registry_sha256=seeds.get("indicators"),
            seed_sha256=seeds,
            as_of_load_id=as_of,
            policy_sha256=policy.sha256,
            policy=policy.tables,
        ),
        run_id=run_id,
        dry_run=dry_run,
        declared_change=declared_change,
        embargo_until=until,
        approval=settings.approval,
    )
    said = {
        "published": "published",
        "resumed": "published (an interrupted run had frozen it)",
        "embargoed": f"frozen, under embargo until {local_time(until)}" if until else "frozen, under embargo",
        "unchanged": "unchanged: the content is that of the published release, no new one",
        "dry_run": "would be published (dry run)",
    }
    version = f" (version {done.semantic_version}, {done.change_level})" if done.semantic_version else ""
    say(f"release {done.release_id}{version}: {said[done.outcome]}, sha256 {done.content_sha256[:16]}")
    notify(settings)
    return asdict(done)


def publish_due(settings: Settings, run_id: str) -> list[str]:
    """Publish releases whose embargo has ended, and tell of them.

    Returns:
        Their ids; none is no error.
    """
    from warehouse.release import publish_due as publish_all_due

    published = publish_all_due(settings.warehouse, run_id)
    for done in published:
        say(f"release {done.release_id}: its embargo has ended, published, sha256 {done.content_sha256[:16]}")
    notify(settings)
    return [done.release_id for done in published]


def notify(settings: Settings) -> bool:
    """Deliver what the webhook has not got yet; a failure is said and stays pending, it undoes nothing.

    Returns:
        Whether everything that was tried was delivered.
    """
    from warehouse.notices import deliver_pending

    try:
        tried = deliver_pending(settings.warehouse)
    except psycopg.Error as error:
        say(f"  ! notices were not sent, they stay pending: {type(error).__name__}")
        return False
    for notice in tried:
        mark = "notice" if notice.delivered else "  ! notice"
        then = "" if notice.delivered else "; it stays pending: `edupa release notify --pending`"
        say(f"{mark} {notice.notice_id} {notice.event} {notice.release_id}: {notice.detail}{then}")
    return all(notice.delivered for notice in tried)
