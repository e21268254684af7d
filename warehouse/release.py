"""Freeze, publish, roll back and withdraw releases.

A release is a set of frozen tables, one per mart, each with its primary key, a matching CHECK, comments, a
content hash and triggers that refuse change, owned by a role that cannot log in. Publishing moves one pointer
row: readers see the old release whole or the new one whole.

Order of a publication: all checks (nothing is changed by a refusal) → columns that shelves lack → one transaction
that freezes → permanent views that are new or lack columns → one transaction that publishes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal

from psycopg import sql

from warehouse.approval import Demand, require_approval, waivers_behind
from warehouse.canonical import (
    Connection,
    ReleaseError,
    TableSeal,
    canonical_sha256,
    content_sha256_of,
    frozen_table_of,
    seal_of,
)
from warehouse.changes import (
    CHANGE_COLUMNS,
    Comparison,
    Edition,
    Origin,
    candidate_edition,
    compare,
    moved_cells_of_all,
    release_edition,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.failpoint import hit
from warehouse.locks import writer_lock
from warehouse.notices import Event, announce
from warehouse.relations import (
    CITERS,
    explain_permanent_view,
    freeze_table,
    in_transaction,
    make_pinned_schema,
    mark_pinned,
    missing_columns,
    open_pinned,
    pin_view,
    prepare_shelf,
    provide_permanent_view,
    widen_shelf,
)
from warehouse.release_notes import Draft, Note, local_time, notes_of
from warehouse.seal import seal_release
from warehouse.versioning import Level, agreed_level, next_id, next_version, parts

DEFAULT_REASON = "annual evaluation"


@dataclass(frozen=True)
class ReleaseOutcome:
    """What became of an annual evaluation.

    Attributes:
        outcome: published; resumed (an interrupted run had frozen it); embargoed (frozen, to be published later);
            unchanged; dry_run (checked only).
        release_id: the release.
        content_sha256: hash of its content.
        moved_pointer: whether marts.* show it now and did not before.
        semantic_version: its version in the series.
        change_level: first, major, minor or patch; None: frozen before levels were computed.
    """

    outcome: Literal["published", "resumed", "embargoed", "unchanged", "dry_run"]
    release_id: str
    content_sha256: str
    moved_pointer: bool
    semantic_version: str | None = None
    change_level: str | None = None


@dataclass(frozen=True)
class Provenance:
    """What a release was made from, as hashes.

    Attributes:
        git_commit: of the code.
        contracts_sha256: over all contracts.
        seeds_sha256: over all seeds.
        input_sha256: feed -> hash over the files that were taken in.
        registry_sha256: of the indicator registry.
        seed_sha256: seed -> hash of its file.
        as_of_load_id: last load that was known when the marts were built; None: not known, the release cannot be built
            again.
        policy_sha256: of the disclosure policy.
        policy: the disclosure policy itself, table by table.
    """

    git_commit: str | None
    contracts_sha256: str
    seeds_sha256: str
    input_sha256: dict[str, str]
    registry_sha256: str | None = None
    seed_sha256: dict[str, str] = field(default_factory=dict)
    as_of_load_id: int | None = None
    policy_sha256: str | None = None
    policy: dict[str, list[dict[str, str | None]]] | None = None


def _candidate_marts(conn: Connection, schema: str) -> list[str]:
    rows = conn.execute(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relkind = 'r' order by c.relname",
        (schema,),
    ).fetchall()
    if not rows:
        raise ReleaseError(f"schema {schema} holds no mart: build the candidate first")
    return [str(row[0]) for row in rows]


def candidate_seals(conn: Connection, schema: str) -> tuple[dict[str, TableSeal], str]:
    """Hash every mart of a candidate schema.

    Returns:
        Seal of each mart, and the content hash over all of them.

    Raises:
        ReleaseError: the schema is empty or a mart has no primary key.
    """
    seals = {mart: seal_of(conn, schema, mart) for mart in _candidate_marts(conn, schema)}
    return seals, content_sha256_of(seals)


def candidate_sha256(config: WarehouseConfig, schema: str) -> str:
    """Content hash of a candidate, as the publisher would see it."""
    with connect("publisher", config) as conn:
        return candidate_seals(conn, schema)[1]


def current_release(conn: Connection) -> str | None:
    """Release that marts.* show, None before the first publication."""
    row = conn.execute("select release_id from releases.pointer").fetchone()
    return str(row[0]) if row else None


# --- what is known before anything is changed -----------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A release as the ledger has it."""

    release_id: str
    evaluation_year: int
    status: str
    content_sha256: str
    semantic_version: str | None
    change_level: str | None
    is_published: bool
    embargo_until: datetime | None
    is_due: bool
    withdrawn_reason: str | None
    marts: list[str]


def known_releases(conn: Connection) -> list[Known]:
    """Every release, in the order of their ids."""
    rows = conn.execute(
        "select release_id, evaluation_year, status, content_sha256, semantic_version, change_level,"
        " published_at is not null, embargo_until, coalesce(embargo_until <= clock_timestamp(), true),"
        " withdrawn_reason, (select array_agg(mart order by mart) from jsonb_object_keys(table_sha256) mart)"
        " from ledger.release"
    ).fetchall()
    found = [Known(*row) for row in rows]  # type: ignore[arg-type]
    return sorted(found, key=lambda known: parts(known.release_id))


def _named(releases: Sequence[Known], release_id: str) -> Known:
    for known in releases:
        if known.release_id == release_id:
            return known
    raise ReleaseError(f"there is no release {release_id}: `edupa release list` names all")


def _predecessor(releases: Sequence[Known], year: int) -> Known | None:
    """Newest release of the year, else of the years before: published (also if withdrawn since) or under embargo."""
    candidates = [
        known
        for known in releases
        if known.evaluation_year <= year
        and (known.is_published or (known.status == "frozen" and known.embargo_until is not None))
    ]
    return candidates[-1] if candidates else None


def _same_content(releases: Sequence[Known], year: int, content: str) -> Known | None:
    """Newest release of the year if its content equals.

    Raises:
        ReleaseError: the content is that of a release that was withdrawn.
    """
    of_year = [known for known in releases if known.evaluation_year == year]
    standing = [known for known in of_year if known.status != "withdrawn"]
    if standing and standing[-1].content_sha256 == content:
        return standing[-1]
    for known in of_year:
        if known.status == "withdrawn" and known.content_sha256 == content:
            raise ReleaseError(
                f"the candidate is, byte for byte, release {known.release_id}, which was withdrawn"
                f" ({known.withdrawn_reason}): correct what led to that first; nothing was frozen"
            )
    return None


def _approved_gate_run(conn: Connection, schema: str, content: str) -> tuple[int, str]:
    """Gate run that passed exactly this content.

    Raises:
        ReleaseError: the last word of the gate on the schema is missing, blocks, or was about other content.
    """
    row = conn.execute(
        "select gate_run_id, decision, subject_hash from ledger.gate_run"
        " where boundary = 'candidate' and subject = %s order by gate_run_id desc limit 1",
        (schema,),
    ).fetchone()
    if row is None:
        raise ReleaseError(f"no gate has looked at {schema}: nothing may be published")
    if row[1] == "block":
        raise ReleaseError(f"the candidate gate blocks {schema}: nothing may be published")
    if row[2] != content:
        raise ReleaseError(f"{schema} changed after the gate looked at it: run the gate again")
    return int(str(row[0])), str(row[1])


def _check_rights(conn: Connection) -> None:
    """Ask for every right that a publication needs before the first of them is used.

    Raises:
        ReleaseError: one is missing; the message names all that are.
    """
    needed = (
        ("acting as edupa_sealed", "pg_has_role('edupa_sealed', 'member')"),
        ("insert on ledger.release", "has_table_privilege('ledger.release', 'insert')"),
        (
            "update (status, published_at) on ledger.release",
            "has_column_privilege('ledger.release', 'status', 'update')"
            " and has_column_privilege('ledger.release', 'published_at', 'update')",
        ),
        ("insert on ledger.pointer_move", "has_table_privilege('ledger.pointer_move', 'insert')"),
        ("insert on ledger.release_notice", "has_table_privilege('ledger.release_notice', 'insert')"),
        (
            "insert, update on releases.pointer",
            "has_table_privilege('releases.pointer', 'insert') and has_table_privilege('releases.pointer', 'update')",
        ),
    )
    row = conn.execute(f"select {', '.join(test for _, test in needed)}".encode()).fetchone()
    missing = [name for (name, _), held in zip(needed, row or (), strict=True) if not held]
    if missing:
        raise ReleaseError(
            f"the publisher lacks: {'; '.join(missing)}. Grant what warehouse/roles.yaml says; nothing was changed"
        )


def _check_request(
    kind: str, reason: str, evaluation_year: int, embargo_until: datetime | None, releases: Sequence[Known]
) -> None:
    """Refuse a restatement of nothing or without a reason, and an embargo that would end before another's.

    Raises:
        ReleaseError: so.
    """
    if not reason.strip():
        raise ReleaseError("a release needs a reason: it is printed in its notes")
    if kind == "restatement":
        if reason.strip() == DEFAULT_REASON:
            raise ReleaseError(
                "a restatement needs its own reason: say which figures are corrected and why (--reason); it is"
                " printed in the release notes"
            )
        if not any(known.evaluation_year == evaluation_year and known.is_published for known in releases):
            raise ReleaseError(
                f"no release of {evaluation_year} was published: there is nothing to restate, publish it as annual"
            )
    before = _predecessor(releases, evaluation_year)
    held = before.embargo_until if before and before.status == "frozen" and not before.is_due else None
    # what moved against it would give away what is still under embargo
    if before and held and (embargo_until is None or embargo_until < held):
        raise ReleaseError(
            f"{before.release_id} is under embargo until {local_time(held)}: a release that is compared with it may not"
            f" come out earlier; give it the same embargo, or withdraw {before.release_id} first"
        )


def _check_embargo(conn: Connection, embargo_until: datetime | None) -> None:
    if embargo_until is None:
        return
    if embargo_until.tzinfo is None:
        raise ReleaseError("an embargo needs a time zone")
    row = conn.execute("select %s > clock_timestamp()", (embargo_until,)).fetchone()
    if not (row and row[0]):
        raise ReleaseError(
            f"the embargo lies in the past ({local_time(embargo_until)}): leave it out to publish at once"
        )


def _origin(evaluation_year: int, provenance: Provenance) -> Origin:
    return Origin(
        evaluation_year,
        provenance.git_commit,
        provenance.contracts_sha256,
        provenance.seeds_sha256,
        provenance.seed_sha256,
        provenance.input_sha256,
    )


def _compared(
    conn: Connection, releases: Sequence[Known], candidate: Edition
) -> tuple[Edition | None, Comparison | None]:
    """The release before the candidate, and what changed since."""
    before = _predecessor(releases, candidate.origin.evaluation_year)
    if before is None:
        return None, None
    previous = release_edition(conn, before.release_id, pinned=False)
    return previous, compare(conn, previous, candidate)


def _level(
    declared: Level | None, releases: Sequence[Known], previous: Edition | None, comparison: Comparison | None
) -> Level | Literal["first"]:
    """Level of the release.

    Raises:
        ReleaseError: less was declared than what changed.
    """
    if not releases:
        return "first"
    if previous is None or comparison is None:
        return agreed_level(declared, "minor", [], "the series (an earlier year is added)")
    # the same content under a new name, e.g. after a withdrawal, is told like a change of texts
    return agreed_level(declared, comparison.level or "patch", comparison.reasons, previous.name)


# --- freeze ---------------------------------------------------------------------------------------------------------


def _freeze_companions(conn: Connection, draft: Draft, candidate: Edition) -> dict[str, TableSeal]:
    """Freeze the notes and the moved cells of a release, in the caller's transaction."""
    release_id = draft.release_id
    notes: Sequence[Note] = notes_of(conn, draft, candidate)
    rows = sql.SQL(", ").join(
        sql.SQL("({})").format(
            sql.SQL(", ").join(map(sql.Literal, (release_id, number, note.section, note.zh, note.en)))
        )
        for number, note in enumerate(notes, start=1)
    )
    freeze_table(
        conn,
        release_id,
        "release_notes",
        ["note_number"],
        sql.SQL("(release_id, note_number, section, text_zh, text_en) values {}").format(rows),
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, CHANGE_COLUMNS))
    moved = moved_cells_of_all(draft.previous, candidate) if draft.previous else None
    freeze_table(
        conn,
        release_id,
        "release_change",
        ["mart", "row_key"],
        sql.SQL("(release_id, {}) select {}, {} from ({}) as moved").format(
            columns, sql.Literal(release_id), columns, moved
        )
        if moved
        else sql.SQL("(release_id) select ''::text where false"),
    )
    seals = {}
    for companion in ("release_change", "release_notes"):
        seals[companion] = seal_of(conn, "releases", frozen_table_of(companion, release_id))
        pin_view(conn, release_id, companion, ["release_id", *seals[companion].columns])
    return seals


def _freeze(
    conn: Connection,
    config: WarehouseConfig,
    draft: Draft,
    candidate: Edition,
    content: str,
    gate_run_id: int,
    provenance: Provenance,
) -> None:
    """Freeze and seal every mart of the candidate, in the caller's transaction."""
    release_id = draft.release_id
    make_pinned_schema(conn, release_id)
    for mart, seal in candidate.seals.items():
        prepare_shelf(conn, candidate.schema, mart, seal.key)
        columns = sql.SQL(", ").join(map(sql.Identifier, seal.columns))
        freeze_table(
            conn,
            release_id,
            mart,
            seal.key,
            sql.SQL("(release_id, {}) select {}, {} from {}").format(
                columns, sql.Literal(release_id), columns, candidate.table(mart)
            ),
        )
        digest, rows = canonical_sha256(conn, "releases", frozen_table_of(mart, release_id), seal.columns, seal.key)
        if (digest, rows) != (seal.sha256, seal.rows):
            raise ReleaseError(f"{mart} changed while it was being frozen: nothing was published")
        pin_view(conn, release_id, mart, ["release_id", *seal.columns])
    recorded = {**candidate.seals, **_freeze_companions(conn, draft, candidate)}
    if draft.embargo_until:
        open_pinned(conn, release_id, ["edupa_prerelease"])
    values = {
        "release_id": release_id,
        "evaluation_year": draft.evaluation_year,
        "kind": draft.kind,
        "status": "frozen",
        "content_sha256": content,
        "table_sha256": json.dumps({mart: asdict(seal) for mart, seal in recorded.items()}),
        "input_sha256": json.dumps(provenance.input_sha256),
        "git_commit": provenance.git_commit,
        "contracts_sha256": provenance.contracts_sha256,
        "seeds_sha256": provenance.seeds_sha256,
        "registry_sha256": provenance.registry_sha256,
        "seed_sha256": json.dumps(provenance.seed_sha256),
        "policy_sha256": provenance.policy_sha256,
        "policy": None if provenance.policy is None else json.dumps(provenance.policy, ensure_ascii=False),
        "gate_run_id": gate_run_id,
        "reason": draft.reason,
        "previous_release": draft.previous.name if draft.previous else None,
        "semantic_version": draft.semantic_version,
        "change_level": draft.level,
        "change_reasons": json.dumps(
            [asdict(reason) for reason in draft.comparison.reasons] if draft.comparison else []
        ),
        "embargo_until": draft.embargo_until,
        "as_of_load_id": provenance.as_of_load_id,
        "waivers": json.dumps([waiver.to_json() for waiver in draft.waivers], ensure_ascii=False),
        "approved_by": draft.approved_by,
    }
    conn.execute(
        sql.SQL("insert into ledger.release ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        ),
        values,
    )
    seal_release(config, conn, release_id)
    hit("release.before_commit")


# --- publish --------------------------------------------------------------------------------------------------------


def _point_to(conn: Connection, release: Known, kind: Event) -> None:
    """Let the permanent views show a release, with the texts that were frozen with it."""
    before = current_release(conn)
    for mart in release.marts:
        explain_permanent_view(conn, mart, release.release_id)
    conn.execute(
        "insert into releases.pointer (release_id) values (%s)"
        " on conflict (is_current) do update set release_id = excluded.release_id",
        (release.release_id,),
    )
    conn.execute(
        "insert into ledger.pointer_move (from_release, to_release, kind) values (%s, %s, %s)",
        (before, release.release_id, kind),
    )


def _publish(conn: Connection, config: WarehouseConfig, release_id: str) -> bool:
    """Publish a frozen release and, unless a later one is already shown, move the pointer.

    Returns:
        Whether the pointer moved.
    """
    release = _named(known_releases(conn), release_id)
    for mart in release.marts:
        provide_permanent_view(conn, mart)
    hit("release.before_pointer")
    moved = False

    def publish() -> None:
        nonlocal moved
        before = current_release(conn)
        # a restated earlier year is published under its own name; the permanent views stay on the latest year
        moved = before is None or (parts(release_id) > parts(before))
        open_pinned(conn, release_id, CITERS)
        conn.execute(
            "update ledger.release set status = 'published', published_at = clock_timestamp()"
            " where release_id = %s and status = 'frozen'",
            (release_id,),
        )
        if moved:
            _point_to(conn, release, "publish")
        announce(conn, config, "publish", release_id, release_id if moved else before)
        hit("release.in_pointer")

    in_transaction(conn, f"publishing {release_id}", publish)
    hit("release.after_pointer")
    return moved


def publish_candidate(
    config: WarehouseConfig,
    schema: str,
    *,
    evaluation_year: int,
    kind: Literal["annual", "restatement"],
    reason: str,
    provenance: Provenance,
    run_id: str,
    dry_run: bool = False,
    declared_change: Level | None = None,
    embargo_until: datetime | None = None,
    approval: Demand = "none",
) -> ReleaseOutcome:
    """Freeze the candidate and publish it, or leave it frozen until its embargo ends.

    The same content twice makes no second release: a release of the year with this content is left alone where it
    is published, and is published where a run died between freezing and publishing.

    Args:
        config: the warehouse.
        schema: where the candidate is.
        evaluation_year: latest year that it evaluates.
        kind: restatement: it corrects a published release of the year.
        reason: why; printed in the notes.
        provenance: what it was made from.
        run_id: of the run.
        dry_run: check everything, change nothing.
        declared_change: level under which it is meant to go out; None: as computed.
        embargo_until: with a time zone; not to be published before.
        approval: which approval is asked for, before it is frozen or taken up again.

    Raises:
        ApprovalError: an approval is asked for and nobody gave one for this content; nothing is changed.
        ReleaseError: the gate has not passed this content, less was declared than what changed, or a mart cannot be
            published; nothing is changed.
    """
    with (
        writer_lock(config, "publisher", "publish", run_id),
        connect("publisher", config, autocommit=True, application_name=f"edupa publish {run_id}"[:63]) as conn,
    ):
        _check_rights(conn)
        seals, content = candidate_seals(conn, schema)
        gate_run_id, gate = _approved_gate_run(conn, schema, content)
        releases = known_releases(conn)
        known = _same_content(releases, evaluation_year, content)
        approved_by = None
        if not dry_run and (known is None or known.status == "frozen"):
            approved_by = require_approval(
                conn, approval, gate_run_id=gate_run_id, content=content, evaluation_year=evaluation_year
            )
        if known:
            return _resume(conn, config, known, content, embargo_until, dry_run=dry_run)
        waivers = waivers_behind(conn, gate_run_id)
        _check_request(kind, reason, evaluation_year, embargo_until, releases)
        _check_embargo(conn, embargo_until)
        candidate = candidate_edition(conn, schema, seals, _origin(evaluation_year, provenance))
        missing = {mart: missing_columns(conn, schema, mart, seal.key) for mart, seal in seals.items()}
        previous, comparison = _compared(conn, releases, candidate)
        level = _level(declared_change, releases, previous, comparison)
        step: Level = "major" if level == "first" else level
        release_id = next_id(evaluation_year, [known.release_id for known in releases], step)
        version = next_version([known.semantic_version for known in releases if known.semantic_version], step)
        if dry_run:
            return ReleaseOutcome("dry_run", release_id, content, False, version, level)
        draft = Draft(
            release_id,
            evaluation_year,
            kind,
            reason,
            version,
            level,
            gate,
            previous,
            comparison,
            embargo_until,
            waivers,
            approved_by,
        )
        hit("release.freeze")
        for mart, columns in missing.items():
            widen_shelf(conn, mart, columns)
        in_transaction(
            conn,
            f"freezing {release_id}",
            lambda: _freeze(conn, config, draft, candidate, content, gate_run_id, provenance),
        )
        if embargo_until:
            return ReleaseOutcome("embargoed", release_id, content, False, version, level)
        moved = _publish(conn, config, release_id)
    return ReleaseOutcome("published", release_id, content, moved, version, level)


def _resume(
    conn: Connection,
    config: WarehouseConfig,
    known: Known,
    content: str,
    embargo_until: datetime | None,
    *,
    dry_run: bool,
) -> ReleaseOutcome:
    """Finish what an earlier run began with the same content.

    Raises:
        ReleaseError: it is under an embargo, and this run has none or another.
    """
    if known.status == "published":
        outcome: Literal["unchanged", "embargoed", "resumed", "dry_run"] = "unchanged"
    elif known.embargo_until and not known.is_due:
        if embargo_until != known.embargo_until:
            raise ReleaseError(
                f"{known.release_id} holds this content under embargo until {local_time(known.embargo_until)}:"
                " it is not published earlier; wait for `edupa release publish-due`, or withdraw it"
            )
        outcome = "embargoed"
    else:
        outcome = "dry_run" if dry_run else "resumed"
    moved = _publish(conn, config, known.release_id) if outcome == "resumed" else False
    return ReleaseOutcome(outcome, known.release_id, content, moved, known.semantic_version, known.change_level)


def publish_due(config: WarehouseConfig, run_id: str = "publish-due") -> list[ReleaseOutcome]:
    """Publish every release whose embargo has ended; nothing to do is no error.

    The server's clock counts.

    Raises:
        ReleaseError: a right is missing; what is due stays frozen.
    """
    done: list[ReleaseOutcome] = []
    with (
        writer_lock(config, "publisher", "publish", run_id),
        connect("publisher", config, autocommit=True, application_name=f"edupa publish {run_id}"[:63]) as conn,
    ):
        due = [
            known
            for known in known_releases(conn)
            if known.status == "frozen" and known.embargo_until is not None and known.is_due
        ]
        if due:
            _check_rights(conn)
        for known in due:
            moved = _publish(conn, config, known.release_id)
            done.append(
                ReleaseOutcome(
                    "published",
                    known.release_id,
                    known.content_sha256,
                    moved,
                    known.semantic_version,
                    known.change_level,
                )
            )
    return done


# --- take back ------------------------------------------------------------------------------------------------------


def rollback(config: WarehouseConfig, to_release: str | None = None) -> tuple[str, str]:
    """Point the permanent views at an earlier published release; nothing is deleted.

    Args:
        config: the warehouse.
        to_release: release to show; None: the one shown before the current one.

    Returns:
        Release shown before and release shown now.

    Raises:
        ReleaseError: nothing is published, no earlier release, or the named one is not published.
    """
    with (
        writer_lock(config, "publisher", "publish", "rollback"),
        connect("publisher", config, autocommit=True) as conn,
    ):
        before = current_release(conn)
        if before is None:
            raise ReleaseError("nothing is published yet: there is nothing to roll back")
        if to_release is None:
            row = conn.execute(
                "select from_release from ledger.pointer_move where to_release = %s and from_release is not null"
                " and kind = 'publish' order by move_id desc limit 1",
                (before,),
            ).fetchone()
            if row is None:
                raise ReleaseError(f"no release was shown before {before}: name one with --to")
            to_release = str(row[0])
        target = next((known for known in known_releases(conn) if known.release_id == to_release), None)
        if target is None or target.status != "published":
            raise ReleaseError(f"release {to_release} is {target.status if target else 'unknown'}, not published")

        def point() -> None:
            _point_to(conn, target, "rollback")
            announce(conn, config, "rollback", target.release_id, target.release_id)

        in_transaction(conn, f"rolling back to {to_release}", point)
    return before, to_release


def withdraw(config: WarehouseConfig, release_id: str, reason: str) -> tuple[str | None, str | None]:
    """Withdraw a release: it stays, sealed and citable, with a notice; marts.* may not show it any longer.

    A release under embargo can be withdrawn too and is then never published.

    Returns:
        Release that marts.* showed before, and the one they show now.

    Raises:
        ReleaseError: no such release, already withdrawn, no reason, or no other published release to show.
    """
    if not reason.strip():
        raise ReleaseError("a withdrawal needs a reason: whoever cites the release reads it")
    with (
        writer_lock(config, "publisher", "publish", f"withdraw {release_id}"),
        connect("publisher", config, autocommit=True) as conn,
    ):
        releases = known_releases(conn)
        release = _named(releases, release_id)
        if release.status == "withdrawn":
            raise ReleaseError(f"{release_id} is withdrawn already: {release.withdrawn_reason}")
        before = current_release(conn)
        successor: Known | None = None
        if before == release_id:
            others = [known for known in releases if known.status == "published" and known.release_id != release_id]
            if not others:
                raise ReleaseError(
                    f"{release_id} is the only published release and marts.* show it: publish its correction first"
                    f" (edupa release publish --restatement), then withdraw it; nothing was changed"
                )
            successor = others[-1]

        def take_back() -> None:
            conn.execute(
                "update ledger.release set status = 'withdrawn', withdrawn_at = clock_timestamp(),"
                " withdrawn_reason = %s where release_id = %s",
                (reason, release_id),
            )
            mark_pinned(conn, release_id, f"【已撤回 WITHDRAWN：{reason}】")
            if successor:
                _point_to(conn, successor, "withdraw")
            if release.is_published:
                shown = successor.release_id if successor else before
                announce(conn, config, "withdraw", release_id, shown)
            hit("release.withdraw")

        in_transaction(conn, f"withdrawing {release_id}", take_back)
    return before, successor.release_id if successor else before
