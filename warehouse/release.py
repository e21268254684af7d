"""Freeze, publish and roll back releases.

A release is a set of list partitions, one per mart, each with its primary key, a matching CHECK, comments, a
content hash and triggers that refuse change, owned by a role that cannot log in. Publishing moves one pointer
row: readers see the old release whole or the new one whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from psycopg import sql

from warehouse.canonical import (
    Connection,
    ReleaseError,
    TableSeal,
    canonical_sha256,
    columns_of,
    content_sha256_of,
    key_of,
    partition_of,
    schema_of,
    seal_of,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.failpoint import hit
from warehouse.locks import writer_lock

READERS = ("edupa_evaluator", "edupa_bi", "edupa_auditor", "edupa_publisher")
LONG_MART = "county_evaluation"


@dataclass(frozen=True)
class ReleaseOutcome:
    """What became of an annual evaluation: published, resumed, unchanged or (dry run) checked."""

    outcome: Literal["published", "resumed", "unchanged", "dry_run"]
    release_id: str
    content_sha256: str
    moved_pointer: bool


@dataclass(frozen=True)
class Provenance:
    """What a release was made from, as hashes."""

    git_commit: str | None
    contracts_sha256: str
    seeds_sha256: str
    input_sha256: dict[str, str]


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


def _ensure_parent(conn: Connection, schema: str, mart: str, key: list[str]) -> None:
    """Create the partitioned table of a mart, or add the columns that this candidate brings.

    Raises:
        ReleaseError: a column changed its type, or the key changed.
    """
    wanted = columns_of(conn, schema, mart)
    exists = conn.execute("select to_regclass(format('releases.%%I', %s::text))", (mart,)).fetchone()
    comment = conn.execute(
        "select obj_description(format('%%I.%%I', %s::text, %s::text)::regclass)", (schema, mart)
    ).fetchone()
    conn.execute("set local role edupa_sealed")
    parent = sql.Identifier("releases", mart)
    if not (exists and exists[0]):
        conn.execute(
            sql.SQL(
                "create table {} (release_id text not null, {}, primary key (release_id, {}))"
                " partition by list (release_id)"
            ).format(
                parent,
                sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k, _ in wanted),
                sql.SQL(", ").join(map(sql.Identifier, key)),
            )
        )  # fmt: skip
        conn.execute(sql.SQL("grant select on {} to edupa_publisher, edupa_gatekeeper, edupa_auditor").format(parent))
    present = {name: kind for name, kind, _ in columns_of(conn, "releases", mart)}
    for name, kind, _ in wanted:
        if name not in present:
            conn.execute(sql.SQL("alter table {} add column {} {}").format(parent, sql.Identifier(name), sql.SQL(kind)))
        elif present[name] != kind:
            raise ReleaseError(
                f"{mart}.{name} changed from {present[name]} to {kind}: published columns keep their type"
            )
    known_key = [name for name in key_of(conn, "releases", mart) if name != "release_id"]
    if known_key != key:
        raise ReleaseError(f"the key of {mart} changed from {known_key} to {key}: publish it under a new name")
    conn.execute(
        sql.SQL("comment on table {} is {}").format(
            parent, sql.Literal(str(comment[0]) if comment and comment[0] else mart)
        )
    )
    conn.execute(sql.SQL("comment on column {}.release_id is '版本号 — release'").format(parent))
    for name, _, note in wanted:
        conn.execute(sql.SQL("comment on column {}.{} is {}").format(parent, sql.Identifier(name), sql.Literal(note)))
    conn.execute("reset role")


def _copy_comments(conn: Connection, mart: str, schema: str, relation: str, columns: Sequence[str]) -> None:
    """Give a view of a mart the comments of its table; BI tools read them."""
    row = conn.execute("select obj_description(format('releases.%%I', %s::text)::regclass)", (mart,)).fetchone()
    notes = {name: note for name, _, note in columns_of(conn, "releases", mart)}
    view = sql.Identifier(schema, relation)
    conn.execute(sql.SQL("comment on view {} is {}").format(view, sql.Literal(row[0] if row else None)))
    for name in columns:
        conn.execute(
            sql.SQL("comment on column {}.{} is {}").format(view, sql.Identifier(name), sql.Literal(notes.get(name)))
        )


def _freeze_table(conn: Connection, release_id: str, mart: str, key: Sequence[str], rows_from: sql.Composable) -> None:
    """Build one frozen partition beside its parent, seal it and attach it."""
    partition = sql.Identifier("releases", partition_of(mart, release_id))
    parent = sql.Identifier("releases", mart)
    release = sql.Literal(release_id)
    conn.execute("set local role edupa_sealed")
    conn.execute(
        sql.SQL("create table {} (like {} including comments including constraints)").format(partition, parent)
    )
    conn.execute(sql.SQL("grant insert, select on {} to edupa_publisher").format(partition))
    conn.execute("reset role")
    # the publisher reads the candidate; the sealed role never does
    conn.execute(sql.SQL("insert into {} {}").format(partition, rows_from))
    conn.execute("set local role edupa_sealed")
    conn.execute(sql.SQL("revoke insert on {} from edupa_publisher").format(partition))
    conn.execute(
        sql.SQL("alter table {} add primary key (release_id, {}), add check (release_id = {})").format(
            partition, sql.SQL(", ").join(map(sql.Identifier, key)), release
        )
    )
    hit("release.before_attach")
    conn.execute(sql.SQL("alter table {} attach partition {} for values in ({})").format(parent, partition, release))
    conn.execute(
        sql.SQL(
            "create trigger frozen_rows before insert or update or delete on {0} for each row"
            " execute function releases.refuse_change();"
            " create trigger frozen_table before truncate on {0} for each statement"
            " execute function releases.refuse_change()"
        ).format(partition)
    )
    conn.execute("reset role")


def _pinned_view(conn: Connection, release_id: str, mart: str, columns: Sequence[str]) -> None:
    conn.execute("set local role edupa_sealed")
    schema = schema_of(release_id)
    conn.execute(
        sql.SQL("create view {} as select {} from {} where release_id = {}").format(
            sql.Identifier(schema, mart),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier("releases", mart),
            sql.Literal(release_id),
        )
    )
    _copy_comments(conn, mart, schema, mart, columns)
    conn.execute("reset role")


def _permanent_view(conn: Connection, mart: str) -> None:
    """Create or widen marts.<mart>; new columns go to the end, so that clients keep theirs."""
    conn.execute("set local role edupa_sealed")
    columns = [name for name, _, _ in columns_of(conn, "releases", mart)]
    conn.execute(
        sql.SQL(
            "create or replace view {} as select {} from {} where release_id ="
            " (select pointer.release_id from releases.pointer)"
        ).format(
            sql.Identifier("marts", mart),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier("releases", mart),
        )
    )
    _copy_comments(conn, mart, "marts", mart, columns)
    conn.execute(
        sql.SQL("grant select on {} to {}").format(
            sql.Identifier("marts", mart), sql.SQL(", ").join(map(sql.Identifier, READERS))
        )
    )
    conn.execute("reset role")


def current_release(conn: Connection) -> str | None:
    """Release that marts.* show, None before the first publication."""
    row = conn.execute("select release_id from releases.pointer").fetchone()
    return str(row[0]) if row else None


def _next_id(conn: Connection, evaluation_year: int) -> str:
    row = conn.execute(
        "select max(split_part(release_id, '.', 2)::int) from ledger.release where evaluation_year = %s",
        (evaluation_year,),
    ).fetchone()
    return f"{evaluation_year}.{int(str(row[0])) + 1 if row and row[0] is not None else 1}.0"


def _same_content(conn: Connection, evaluation_year: int, content: str) -> tuple[str, str] | None:
    """Newest release of the year if its content equals, with its status."""
    row = conn.execute(
        "select release_id, status, content_sha256 from ledger.release where evaluation_year = %s"
        " and status <> 'withdrawn' order by split_part(release_id, '.', 2)::int desc limit 1",
        (evaluation_year,),
    ).fetchone()
    return (str(row[0]), str(row[1])) if row and row[2] == content else None


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


def _moved_cells(conn: Connection, schema: str, previous: str | None) -> tuple[int, int, int]:
    """Cells of the long mart that are new, changed or gone against the previous release, over the years of both."""
    if previous is None:
        return 0, 0, 0
    # rows are compared as published: a cell is a key with its value, its verdict and its protection
    key = "indicator_code, variant, area_code, evaluation_year, subgroup, basis"
    row = conn.execute(
        sql.SQL(
            "with new as (select {key}, value, verdict, conf_status from {candidate}),"
            " old as (select {key}, value, verdict, conf_status from {long} where release_id = {previous}"
            "   and evaluation_year <= (select max(evaluation_year) from new))"
            " select count(*) filter (where old.evaluation_year is null),"
            " count(*) filter (where old.evaluation_year is not null and new.evaluation_year is not null and"
            "   (new.value, new.verdict, new.conf_status) is distinct from (old.value, old.verdict, old.conf_status)),"
            " count(*) filter (where new.evaluation_year is null)"
            " from new full join old using ({key})"
        ).format(
            key=sql.SQL(key),
            candidate=sql.Identifier(schema, LONG_MART),
            long=sql.Identifier("releases", LONG_MART),
            previous=sql.Literal(previous),
        )
    ).fetchone()
    return (int(str(row[0])), int(str(row[1])), int(str(row[2]))) if row else (0, 0, 0)


def _notes(
    conn: Connection, schema: str, release_id: str, evaluation_year: int, reason: str, gate: str, previous: str | None
) -> list[tuple[str, str, str]]:
    """Section, Chinese and English text of each release note."""
    notes = [
        (
            "scope",
            f"本版本评估年度为{evaluation_year}年，并含此前各规划年度（以发布时所知为准）。",
            f"This release evaluates {evaluation_year} and holds all earlier plan years as known at its release.",
        ),
        ("reason", f"发布原因：{reason}", f"Reason: {reason}"),
        ("gate", f"质量门结论：{gate}", f"Gate decision: {gate}"),
    ]
    if previous:
        added, changed, gone = _moved_cells(conn, schema, previous)
        notes.append(
            (
                "change",
                f"与版本{previous}相比：新增{added}个单元，变动{changed}个，取消{gone}个。",
                f"Against release {previous}: {added} cells added, {changed} changed, {gone} gone.",
            )
        )
    assumed = conn.execute(
        sql.SQL(
            "select distinct assumption_id, target_year from {} where assumption_id is not null"
            " and target_year_basis = 'assumed' order by assumption_id"
        ).format(sql.Identifier(schema, LONG_MART))
    ).fetchall()
    for assumption, year in assumed:
        notes.append(
            (
                "assumption",
                f"目标年份在规划文本中为“XX”，按假定年份{year}计（假定{assumption}）。",
                f"The plan's text hides a target year as XX; {year} is assumed (assumption {assumption}).",
            )
        )
    hidden = conn.execute(
        sql.SQL("select count(*) from {} where conf_status <> 'F'").format(sql.Identifier(schema, LONG_MART))
    ).fetchone()
    notes.append(
        (
            "protection",
            f"为保护个人信息，隐去{hidden[0] if hidden else 0}个小单元（conf_status = 'A'）。",
            f"{hidden[0] if hidden else 0} small cells are withheld to protect persons (conf_status = 'A').",
        )
    )
    return notes


def _freeze(
    conn: Connection,
    schema: str,
    release_id: str,
    seals: dict[str, TableSeal],
    content: str,
    *,
    evaluation_year: int,
    kind: str,
    reason: str,
    gate_run_id: int,
    gate: str,
    provenance: Provenance,
) -> None:
    """Freeze every mart of the candidate, in the caller's transaction."""
    notes = _notes(conn, schema, release_id, evaluation_year, reason, gate, current_release(conn))
    conn.execute("set local role edupa_sealed")
    pinned = sql.Identifier(schema_of(release_id))
    conn.execute(sql.SQL("create schema {}").format(pinned))
    conn.execute("reset role")
    recorded = dict(seals)
    for mart, seal in seals.items():
        _ensure_parent(conn, schema, mart, seal.key)
        columns = sql.SQL(", ").join(map(sql.Identifier, seal.columns))
        _freeze_table(
            conn,
            release_id,
            mart,
            seal.key,
            sql.SQL("(release_id, {}) select {}, {} from {}").format(
                columns, sql.Literal(release_id), columns, sql.Identifier(schema, mart)
            ),
        )
        digest, rows = canonical_sha256(conn, "releases", partition_of(mart, release_id), seal.columns, seal.key)
        if (digest, rows) != (seal.sha256, seal.rows):
            raise ReleaseError(f"{mart} changed while it was being frozen: nothing was published")
        _pinned_view(conn, release_id, mart, ["release_id", *seal.columns])
        _permanent_view(conn, mart)
    _freeze_table(
        conn,
        release_id,
        "release_notes",
        ["note_number"],
        sql.SQL("(release_id, note_number, section, text_zh, text_en) values {}").format(
            sql.SQL(", ").join(
                sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, (release_id, number, *note))))
                for number, note in enumerate(notes, start=1)
            )
        ),
    )
    recorded["release_notes"] = seal_of(conn, "releases", partition_of("release_notes", release_id))
    _pinned_view(conn, release_id, "release_notes", ["release_id", *recorded["release_notes"].columns])
    conn.execute("set local role edupa_sealed")
    for reader in ("edupa_evaluator", "edupa_auditor"):
        conn.execute(sql.SQL("grant usage on schema {} to {}").format(pinned, sql.Identifier(reader)))
        conn.execute(sql.SQL("grant select on all tables in schema {} to {}").format(pinned, sql.Identifier(reader)))
    conn.execute("reset role")
    conn.execute(
        "insert into ledger.release (release_id, evaluation_year, kind, status, content_sha256, table_sha256,"
        " input_sha256, git_commit, contracts_sha256, seeds_sha256, gate_run_id, reason)"
        " values (%s, %s, %s, 'frozen', %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            release_id,
            evaluation_year,
            kind,
            content,
            json.dumps({mart: asdict(seal) for mart, seal in recorded.items()}),
            json.dumps(provenance.input_sha256),
            provenance.git_commit,
            provenance.contracts_sha256,
            provenance.seeds_sha256,
            gate_run_id,
            reason,
        ),
    )


def _point_to(conn: Connection, release_id: str, kind: Literal["publish", "rollback"]) -> None:
    before = current_release(conn)
    conn.execute(
        "insert into releases.pointer (release_id) values (%s)"
        " on conflict (is_current) do update set release_id = excluded.release_id",
        (release_id,),
    )
    conn.execute(
        "insert into ledger.pointer_move (from_release, to_release, kind) values (%s, %s, %s)",
        (before, release_id, kind),
    )


def _publish(conn: Connection, release_id: str) -> bool:
    """Mark as published and, unless a later evaluation year is already shown, move the pointer."""
    conn.execute(
        "update ledger.release set status = 'published', published_at = clock_timestamp()"
        " where release_id = %s and status = 'frozen'",
        (release_id,),
    )
    before = current_release(conn)
    # a restated earlier year is published under its own name; the permanent views stay on the latest year
    moves = before is None or int(release_id[:4]) >= int(before[:4])
    if moves and before != release_id:
        _point_to(conn, release_id, "publish")
    return moves and before != release_id


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
) -> ReleaseOutcome:
    """Freeze the candidate and publish it.

    The same content twice makes no second release: a release of the year with this content is left alone where it
    is published, and is published where a run died between freezing and publishing.

    Raises:
        ReleaseError: the gate has not passed this content, or a mart cannot be published; nothing is changed.
    """
    with (
        writer_lock(config, "publisher", "publish", run_id),
        connect("publisher", config, autocommit=True, application_name=f"edupa publish {run_id}"[:63]) as conn,
    ):
        seals, content = candidate_seals(conn, schema)
        gate_run_id, gate = _approved_gate_run(conn, schema, content)
        known = _same_content(conn, evaluation_year, content)
        if known and known[1] == "published":
            return ReleaseOutcome("unchanged", known[0], content, False)
        release_id = known[0] if known else _next_id(conn, evaluation_year)
        if dry_run:
            return ReleaseOutcome("dry_run", release_id, content, False)
        if not known:
            hit("release.freeze")
            with conn.transaction():
                _freeze(
                    conn,
                    schema,
                    release_id,
                    seals,
                    content,
                    evaluation_year=evaluation_year,
                    kind=kind,
                    reason=reason,
                    gate_run_id=gate_run_id,
                    gate=gate,
                    provenance=provenance,
                )
        hit("release.before_pointer")
        with conn.transaction():
            moved = _publish(conn, release_id)
        hit("release.after_pointer")
    return ReleaseOutcome("resumed" if known else "published", release_id, content, moved)


def rollback(config: WarehouseConfig, to_release: str | None = None) -> tuple[str, str]:
    """Point the permanent views at an earlier published release; nothing is deleted.

    Args:
        config: the warehouse.
        to_release: release to show; None: the one shown before the current one.

    Returns:
        Release shown before and release shown now.

    Raises:
        ReleaseError: nothing is published, no earlier release, or the named one was never published.
    """
    with (
        writer_lock(config, "publisher", "publish", "rollback"),
        connect("publisher", config) as conn,
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
        found = conn.execute("select status from ledger.release where release_id = %s", (to_release,)).fetchone()
        if found is None or found[0] != "published":
            raise ReleaseError(f"release {to_release} is {found[0] if found else 'unknown'}, not published")
        _point_to(conn, to_release, "rollback")
    return before, to_release
