"""Verify releases: is everything that was ever frozen, and everything that readers see of it, what was sealed?

It changes nothing and asks the database for facts only: what ought to be there comes from the signed manifests, and
their signatures are checked against public keys that need not come from the database. The publisher reads the frozen
tables themselves; an auditor, who may not, reads the same rows through the pinned views of what was published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psycopg import IsolationLevel, sql

from warehouse.canonical import (
    COMPANIONS,
    Connection,
    ReleaseError,
    TableSeal,
    columns_of,
    content_sha256_of,
    differing_ranges,
    frozen_table_of,
    hash_table,
    schema_of,
    texts_of,
    texts_sha256,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.seal import (
    SignedManifest,
    key_files,
    ledger_keys,
    manifest_sha256,
    own_keys,
    readers_table,
    registered,
    signature_problem,
)

Reader = Literal["publisher", "auditor"]


@dataclass(frozen=True)
class Finding:
    """Something of a release that is not what was frozen.

    Attributes:
        release_id: the release; "*" where no single one is concerned.
        table: relation or ledger entry.
        problem: what is wrong with it.
        first_key: key of the first row of the range that differs; None: not about rows.
        last_key: key of its last row.
    """

    release_id: str
    table: str
    problem: str
    first_key: tuple[str, ...] | None = None
    last_key: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """One line for people and logs."""
        return f"{self.release_id} {self.table}: {self.problem}"


@dataclass(frozen=True)
class _Release:
    release_id: str
    status: str
    was_published: bool
    content_sha256: str
    seals: dict[str, TableSeal]
    signed: SignedManifest | None


def _releases(conn: Connection) -> list[_Release]:
    rows = conn.execute(
        "select release_id, status, published_at is not null, content_sha256, table_sha256, manifest,"
        " manifest_signature, signing_key_id"
        " from ledger.release order by frozen_at"
    ).fetchall()
    found: list[_Release] = []
    for release_id, status, published, content, tables, manifest, signature, key_id in rows:
        signed = None if manifest is None else SignedManifest(manifest, str(signature), str(key_id))  # type: ignore[arg-type]
        seals = {mart: TableSeal(**seal) for mart, seal in tables.items()}  # type: ignore[attr-defined]
        found.append(_Release(str(release_id), str(status), bool(published), str(content), seals, signed))
    return found


def _exists(conn: Connection, schema: str, relation: str) -> bool:
    row = conn.execute(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname, c.relname) = (%s, %s)",
        (schema, relation),
    ).fetchone()
    return row is not None


def _view_text(conn: Connection, schema: str, view: str, mart: str) -> str:
    """Definition of a view on one mart, rid of what differs between versions of PostgreSQL."""
    row = conn.execute(
        "select pg_get_viewdef(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname, c.relname) = (%s, %s)",
        (schema, view),
    ).fetchone()
    text = " ".join(str(row[0] if row else "").rstrip(";").split())
    # up to version 15 every column is qualified
    text = re.sub(rf"(?<![\w.]){re.escape(mart)}\.", "", text)
    text = re.sub(
        r"SELECT \w+\.release_id FROM releases\.pointer( (?!WHERE)\w+)?(?=\)|$)",
        "SELECT release_id FROM releases.pointer",
        text,
    )
    return re.sub(r"\s*[()]\s*", " ", text).replace("  ", " ").strip()


def _is_plain_view(conn: Connection, schema: str, view: str) -> bool:
    """Whether it is a view, of the sealed owner, with no other rule or trigger than that of a view."""
    row = conn.execute(
        "select c.relkind = 'v' and pg_get_userbyid(c.relowner) = 'edupa_sealed' and not exists"
        " (select 1 from pg_trigger t where t.tgrelid = c.oid)"
        " and (select count(*) from pg_rewrite r where r.ev_class = c.oid) = 1"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace where (n.nspname, c.relname) = (%s, %s)",
        (schema, view),
    ).fetchone()
    return row is not None and bool(row[0])


def _table_problems(conn: Connection, release_id: str, mart: str, seal: TableSeal) -> list[str]:
    """What is wrong with the frozen table itself: owned, keyed, checked, guarded, explained as sealed?"""
    row = conn.execute(
        "select pg_get_userbyid(c.relowner), c.relrowsecurity,"
        " exists (select 1 from pg_constraint k where k.conrelid = c.oid and k.contype = 'p'),"
        " exists (select 1 from pg_constraint k where k.conrelid = c.oid and k.contype = 'c'"
        "   and pg_get_constraintdef(k.oid) = format('CHECK ((release_id = %%L::text))', %s::text)),"
        " (select coalesce(array_agg(t.tgname::text order by t.tgname) filter (where t.tgenabled in ('O', 'A')"
        "   and t.tgfoid = 'releases.refuse_change'::regproc), '{}') from pg_trigger t"
        "   where t.tgrelid = c.oid and not t.tgisinternal)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = 'releases' and c.relname = %s",
        (release_id, frozen_table_of(mart, release_id)),
    ).fetchone()
    if row is None:
        return ["gone"]
    owner, hides_rows, keyed, checked, guards = row
    problems: list[str] = []
    if owner != "edupa_sealed":
        problems.append(f"belongs to {owner}, not to edupa_sealed")
    if hides_rows:
        problems.append("hides rows from some readers (row security)")
    if not keyed:
        problems.append("its primary key is gone")
    if not checked:
        problems.append("its check on release_id is gone")
    if guards != ["frozen_rows", "frozen_table"]:
        problems.append("the triggers that refuse change are gone or disabled")
    texts = texts_of(conn, "releases", frozen_table_of(mart, release_id))
    if seal.texts_sha256 not in (None, texts_sha256(texts, seal.columns)):
        problems.append("comments differ from those frozen")
    return problems


def _row_findings(conn: Connection, release_id: str, mart: str, seal: TableSeal, reader: Reader) -> list[Finding]:
    """Compare the rows of a frozen table with their hashes; name the ranges that differ."""
    table = frozen_table_of(mart, release_id)
    place = ("releases", table) if reader == "publisher" else (schema_of(release_id), mart)
    try:
        now = hash_table(conn, *place, seal.columns, seal.key)
        if (now.sha256, now.rows) == (seal.sha256, seal.rows):
            return []
        whole = Finding(release_id, table, f"content differs: {now.rows} rows now, {seal.rows} frozen")
        if seal.rows and not seal.ranges:
            return [whole]
        findings: list[Finding] = []
        for before, rows, first, last in differing_ranges(conn, *place, seal):
            frozen = before.rows if before else 0
            findings.append(
                Finding(
                    release_id,
                    table,
                    f"content differs between {_key_text(seal.key, first)} and {_key_text(seal.key, last)}:"
                    f" {rows} rows now, {frozen} frozen",
                    tuple(first),
                    tuple(last),
                )
            )
        # every range equals but the whole does not: the header, that is a column's name
        return findings or [whole]
    except ReleaseError as error:
        return [Finding(release_id, table, str(error))]


def _key_text(key: Sequence[str], values: Sequence[str]) -> str:
    return "(" + ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True)) + ")"


def _difference(now: dict[str, Any], then: dict[str, Any], *, is_withdrawn: bool) -> str | None:
    """First difference between what readers see of a table and what was sealed."""
    # the notice of a withdrawal stands before the comment
    told = str(now["comment"] or "")
    if not (is_withdrawn and told.endswith(then["comment"] or "")) and now["comment"] != then["comment"]:
        return "the comment of the table was changed"
    have = {column["name"]: column for column in now["columns"]}
    for column in then["columns"]:
        name = column["name"]
        if name not in have:
            return f"column {name} is gone"
        if have[name]["type"] != column["type"]:
            return f"column {name} is {have[name]['type']} now, {column['type']} when it was frozen"
        if have[name]["comment"] != column["comment"]:
            return f"the comment of column {name} was changed"
    if [column["name"] for column in now["columns"]] != [column["name"] for column in then["columns"]]:
        return "its columns are others, or stand in another order"
    return None


def _pinned_findings(conn: Connection, release: _Release) -> list[Finding]:
    """Compare the views of release_<id> with what was sealed."""
    release_id, schema = release.release_id, schema_of(release.release_id)
    findings: list[Finding] = []
    present = {
        str(row[0])
        for row in conn.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s",
            (schema,),
        )
    }
    for extra in sorted(present - set(release.seals)):
        findings.append(Finding(release_id, f"{schema}.{extra}", "was not there when the release was frozen"))
    for mart, seal in release.seals.items():
        view = f"{schema}.{mart}"
        if mart not in present:
            findings.append(Finding(release_id, view, "gone"))
            continue
        expected = (
            f"SELECT {', '.join(['release_id', *seal.columns])} FROM releases.{frozen_table_of(mart, release_id)}"
        )
        if (
            not _is_plain_view(conn, schema, mart)
            or _view_text(conn, schema, mart, frozen_table_of(mart, release_id)) != expected
        ):
            findings.append(Finding(release_id, view, "the definition of the pinned view was replaced"))
        elif release.signed is not None:
            sealed = release.signed.manifest["tables"].get(mart)
            seen = readers_table(conn, release_id, mart)
            if sealed and (changed := _difference(seen, sealed, is_withdrawn=release.status == "withdrawn")):
                findings.append(Finding(release_id, view, changed))
    return findings


def _manifest_findings(
    conn: Connection, release: _Release, earlier: dict[str, _Release], keys: dict[str, Any], *, must_be_signed: bool
) -> list[Finding]:
    """Compare the ledger's entry with its manifest, and check the signature and the chain."""
    release_id = release.release_id
    marts = {mart: seal for mart, seal in release.seals.items() if mart not in COMPANIONS}
    findings: list[Finding] = []
    if content_sha256_of(marts) != release.content_sha256:
        findings.append(Finding(release_id, "ledger.release", "recorded hashes do not give the content hash"))
    if release.signed is None:
        if must_be_signed:
            findings.append(Finding(release_id, "manifest", "is missing: releases of its time were signed"))
        return findings
    manifest = release.signed.manifest
    if problem := signature_problem(release.signed, keys):
        findings.append(Finding(release_id, "manifest", problem))
    now = registered(conn, release_id) or {}
    for name, value in manifest["release"].items():
        if name in now and now[name] != value:
            findings.append(Finding(release_id, "ledger.release", f"{name} is not what the manifest says"))
    recorded = {mart: (seal.sha256, seal.rows, seal.key, seal.ranges) for mart, seal in release.seals.items()}
    sealed = {
        mart: (table["sha256"], table["rows"], table["key"], table["ranges"])
        for mart, table in manifest["tables"].items()
    }
    for mart in sorted(set(recorded) | set(sealed)):
        if recorded.get(mart) != sealed.get(mart):
            findings.append(Finding(release_id, "ledger.release", f"the hashes of {mart} are not the manifest's"))
    if before := manifest["previous"]:
        there = earlier.get(before["release_id"])
        if there is None or there.signed is None:
            findings.append(Finding(before["release_id"], "ledger.release", f"gone: {release_id} was frozen after it"))
        elif manifest_sha256(there.signed.manifest) != before["manifest_sha256"]:
            findings.append(
                Finding(before["release_id"], "manifest", f"is not the one that {release_id} names as before it")
            )
    return findings


def _shelf_findings(conn: Connection, mart: str, releases: Sequence[_Release], reader: Reader) -> list[Finding]:
    """Compare a shelf with the frozen tables whose rows it holds."""
    shelf = f"releases.{mart}"
    findings: list[Finding] = []
    row = conn.execute(
        "select pg_get_userbyid(c.relowner), c.relrowsecurity,"
        " array(select t.tgname::text from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal"
        "   and t.tgenabled in ('O', 'A') order by t.tgname)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname, c.relname) = ('releases', %s)",
        (mart,),
    ).fetchone()
    assert row is not None
    owner, hides_rows, guards = row
    if owner != "edupa_sealed":
        findings.append(Finding("*", shelf, f"belongs to {owner}, not to edupa_sealed"))
    if hides_rows:
        findings.append(Finding("*", shelf, "hides rows from some readers (row security)"))
    if guards != ["frozen_rows", "frozen_table", "late_rows"]:
        findings.append(Finding("*", shelf, "the triggers that refuse change are gone or disabled"))
    if reader == "auditor":
        return findings
    held = [release for release in releases if mart in release.seals]
    strange = conn.execute(
        sql.SQL("select release_id, count(*) from {} where release_id <> all (%s) group by 1 order by 1").format(
            sql.Identifier("releases", mart)
        ),
        ([release.release_id for release in held],),
    ).fetchall()
    findings += [
        Finding("*", shelf, f"holds {count} rows of {name}, which was never frozen") for name, count in strange
    ]
    for release in held:
        frozen = frozen_table_of(mart, release.release_id)
        if not _exists(conn, "releases", frozen):
            continue
        columns = sql.SQL(", ").join(map(sql.Identifier, release.seals[mart].columns))
        row = conn.execute(
            sql.SQL(
                "with shelf as (select {columns} from {shelf} where release_id = {release}),"
                " frozen as (select {columns} from {frozen} where release_id = {release})"
                " select (select count(*) from (table frozen except all table shelf) as lacking),"
                " (select count(*) from (table shelf except all table frozen) as more)"
            ).format(
                columns=columns,
                shelf=sql.Identifier("releases", mart),
                frozen=sql.Identifier("releases", frozen),
                release=sql.Literal(release.release_id),
            )
        ).fetchone()
        if row != (0, 0):
            lacking, more = row or (0, 0)
            findings.append(
                Finding(release.release_id, shelf, f"lacks {lacking} rows of {frozen} and holds {more} others")
            )
    return findings


def _shared_findings(conn: Connection, releases: Sequence[_Release], reader: Reader) -> list[Finding]:
    """What no single release answers for: the shelves, the permanent views and the pointer."""
    findings: list[Finding] = []
    row = conn.execute("select release_id from releases.pointer").fetchone()
    shown = next((release for release in releases if row and release.release_id == row[0]), None)
    for mart in sorted({mart for release in releases for mart in release.seals}):
        if not _exists(conn, "releases", mart):
            findings.append(Finding("*", f"releases.{mart}", "gone"))
            continue
        findings += _shelf_findings(conn, mart, releases, reader)
        published = [release for release in releases if release.was_published and mart in release.seals]
        if published:
            findings += _permanent_findings(conn, mart, published, shown)
    return findings + _pointer_findings(conn, releases)


def _permanent_findings(
    conn: Connection, mart: str, published: Sequence[_Release], shown: _Release | None
) -> list[Finding]:
    """Compare ``marts.<mart>`` with what it must be: all published columns, the pointer's rows, the shown texts."""
    view = f"marts.{mart}"
    if not _exists(conn, "marts", mart):
        return [Finding("*", view, "gone")]
    present = [name for name, _, _ in columns_of(conn, "marts", mart)]
    # a column that is frozen under embargo is on the shelf already, in the view not yet
    wanted = {"release_id"}.union(*(release.seals[mart].columns for release in published))
    expected = (
        f"SELECT {', '.join(present)} FROM releases.{mart} WHERE release_id = SELECT release_id FROM releases.pointer"
    )
    is_whole = wanted <= set(present) and _is_plain_view(conn, "marts", mart)
    if not is_whole or _view_text(conn, "marts", mart, mart) != expected:
        return [Finding("*", view, "the definition of the permanent view was replaced")]
    if mart in COMPANIONS or shown is None or shown.signed is None:
        return []
    sealed = shown.signed.manifest["tables"].get(mart)
    if sealed is None:
        return []
    texts = texts_of(conn, "marts", mart)
    if texts.get("") != sealed["comment"]:
        return [Finding("*", view, "the comment of the view was changed")]
    return [
        Finding("*", view, f"the comment of column {column['name']} was changed")
        for column in sealed["columns"]
        if texts.get(column["name"]) != column["comment"]
    ]


def _pointer_findings(conn: Connection, releases: Sequence[_Release]) -> list[Finding]:
    findings: list[Finding] = []
    moves = conn.execute(
        "select move_id, from_release, to_release from ledger.pointer_move order by move_id"
    ).fetchall()
    shown: object = None
    for move_id, before, after in moves:
        if before != shown:
            findings.append(
                Finding(str(after), f"ledger.pointer_move {move_id}", f"begins at {before}, not at {shown}")
            )
        shown = after
    rows = conn.execute("select release_id from releases.pointer").fetchall()
    now = rows[0][0] if rows else None
    if now != shown:
        findings.append(
            Finding(str(now), "releases.pointer", f"shows {now}, but the last recorded move leads to {shown}")
        )
    status = {release.release_id: release.status for release in releases}
    if now is not None and status.get(str(now)) != "published":
        findings.append(
            Finding(str(now), "releases.pointer", f"shows a release that is {status.get(str(now), 'unknown')}")
        )
    return findings


@dataclass(frozen=True)
class Verification:
    """What verifying found.

    Attributes:
        releases: releases checked.
        tables: tables hashed.
        findings: what is not as it was sealed.
        keys_from: whose public keys were trusted: files, secrets folder, or the ledger itself.
        unsigned: releases frozen before manifests were signed.
        unpublished: releases whose rows the auditor may not read yet; their manifests were checked.
    """

    releases: list[str]
    tables: int
    findings: list[Finding]
    keys_from: str
    unsigned: list[str]
    unpublished: list[str]


def verify_releases(
    config: WarehouseConfig,
    releases: Iterable[str] | None = None,
    *,
    public_keys: Sequence[Path] = (),
    reader: Reader = "publisher",
) -> Verification:
    """Check the named releases (None: all ever frozen) and what all of them share.

    Args:
        config: the warehouse.
        releases: ids.
        public_keys: PEM files of the keys to trust; none: those of the secrets folder, and where it holds none, those
            of the ledger.
        reader: database role that reads; the publisher sees also what is not published yet.

    Raises:
        ReleaseError: a named release does not exist.
        warehouse.seal.SealError: a key file cannot be read.
    """
    given = key_files(public_keys)
    findings: list[Finding] = []
    tables = 0
    with connect(reader, config) as conn:
        # one snapshot: what is published meanwhile is no finding
        conn.isolation_level = IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        # names in definitions are written out in full
        conn.execute("set search_path = pg_catalog")
        known = _releases(conn)
        by_id = {release.release_id: release for release in known}
        wanted = list(releases) if releases is not None else list(by_id)
        for release_id in wanted:
            if release_id not in by_id:
                raise ReleaseError(f"there is no release {release_id}: `edupa release list` names them")
        if given:
            keys, keys_from = given, "files"
        elif own := own_keys(config):
            keys, keys_from = own, "secrets"
        else:
            keys, keys_from = ledger_keys(conn), "ledger"
        signed_since = next((number for number, release in enumerate(known) if release.signed), len(known))
        unsigned: list[str] = []
        unpublished: list[str] = []
        for number, release in enumerate(known):
            if release.release_id not in wanted:
                continue
            if release.signed is None and number < signed_since and not given:
                unsigned.append(release.release_id)
            findings += _manifest_findings(
                conn, release, by_id, keys, must_be_signed=bool(given) or number >= signed_since
            )
            if reader == "auditor" and not release.was_published:
                unpublished.append(release.release_id)
                continue
            for mart, seal in release.seals.items():
                tables += 1
                problems = _table_problems(conn, release.release_id, mart, seal)
                table = frozen_table_of(mart, release.release_id)
                findings += [Finding(release.release_id, table, problem) for problem in problems]
                if problems != ["gone"]:
                    findings += _row_findings(conn, release.release_id, mart, seal, reader)
            findings += _pinned_findings(conn, release)
        findings += _shared_findings(conn, known, reader)
    return Verification(wanted, tables, findings, keys_from, unsigned, unpublished)


def verify(config: WarehouseConfig, releases: Iterable[str] | None = None) -> tuple[int, list[Finding]]:
    """Check the named releases (None: all ever frozen).

    Returns:
        Number of tables hashed, and what is not as it was sealed.

    Raises:
        ReleaseError: a named release does not exist.
    """
    done = verify_releases(config, releases)
    return done.tables, done.findings
