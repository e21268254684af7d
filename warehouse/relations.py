"""The relations of a release: frozen tables with their pinned views, shelves with the permanent views.

A frozen table holds one mart of one release; it is what is hashed, sealed and cited. A shelf holds a mart of every
release, for the permanent views: one table whatever the number of releases, so that a query costs the same after two
hundred releases as after one, and no plan made before a release can lack its rows after it.

Readers are never made to wait for a freeze. What takes an exclusive lock on a relation that they use (a new column of
a shelf, of a permanent view) happens only when a mart really changed, in a transaction of its own that holds one
such lock and gives it up after LOCK_TIMEOUT_MS, to try again: one lock at a time cannot deadlock, and nobody queues
behind it for longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from warehouse.access import load_matrix
from warehouse.canonical import Connection, ReleaseError, columns_of, frozen_table_of, key_of, schema_of, texts_of
from warehouse.failpoint import hit

READERS = load_matrix().holders("marts")
CITERS = load_matrix().holders("pinned release")
LOCK_TIMEOUT_MS = 20
GIVE_UP_AFTER_S = 120.0
DEADLOCK_RETRIES = 3


def _holders(conn: Connection, relation: str) -> str:
    rows = conn.execute(
        "select distinct a.application_name, a.pid, a.usename from pg_locks l join pg_stat_activity a using (pid)"
        " where l.relation = to_regclass(%s) and l.granted and a.pid <> pg_backend_pid() order by a.pid limit 5",
        (relation,),
    ).fetchall()
    return ", ".join(f"{name or user} (backend {pid})" for name, pid, user in rows) or "a session that has just ended"


def with_brief_lock(conn: Connection, relation: str, action: Callable[[], None]) -> None:
    """Run an action that takes an exclusive lock on one relation, in short tries.

    Raises:
        ReleaseError: readers held the relation for GIVE_UP_AFTER_S; the message names them.
    """
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    while True:
        try:
            with conn.transaction():
                conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_MS}ms'".encode())
                action()
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() >= deadline:
                raise ReleaseError(
                    f"{relation} must get a new column, but {_holders(conn, relation)} held it for"
                    f" {GIVE_UP_AFTER_S:.0f} s: end that session or publish later; readers see what they saw"
                ) from None
        time.sleep(random.uniform(0.05, 0.25))


def in_transaction(conn: Connection, what: str, action: Callable[[], None]) -> None:
    """Run an action in one transaction; a deadlock is tried again, with jitter, DEADLOCK_RETRIES times.

    Raises:
        ReleaseError: it deadlocked every time.
    """
    for attempt in range(DEADLOCK_RETRIES + 1):
        try:
            with conn.transaction():
                conn.execute("set local lock_timeout = '60s'")
                action()
            return
        except psycopg.errors.DeadlockDetected as error:
            if attempt == DEADLOCK_RETRIES:
                raise ReleaseError(
                    f"{what} deadlocked {attempt + 1} times ({error.diag.message_detail}): nothing was changed;"
                    " find the other session in the server's log and run again"
                ) from None
        except psycopg.errors.LockNotAvailable:
            raise ReleaseError(
                f"{what} waited 60 s for a lock: another session changes the same release tables; nothing was changed"
            ) from None
        time.sleep(random.uniform(0.05, 0.25))


def exists(conn: Connection, schema: str, relation: str) -> bool:
    """Whether a relation exists."""
    row = conn.execute("select to_regclass(format('%%I.%%I', %s::text, %s::text))", (schema, relation)).fetchone()
    return bool(row and row[0])


def missing_columns(conn: Connection, schema: str, mart: str, key: Sequence[str]) -> list[tuple[str, str]]:
    """Columns of a candidate's mart that its shelf has not got yet: name and type. Changes nothing.

    Raises:
        ReleaseError: a column changed its type, or the key changed.
    """
    if not exists(conn, "releases", mart):
        return []
    present = {name: kind for name, kind, _ in columns_of(conn, "releases", mart)}
    missing = []
    for name, kind, _ in columns_of(conn, schema, mart):
        if name not in present:
            missing.append((name, kind))
        elif present[name] != kind:
            raise ReleaseError(
                f"{mart}.{name} changed from {present[name]} to {kind}: published columns keep their type,"
                " give the new one another name (a major change)"
            )
    known_key = [name for name in key_of(conn, "releases", mart) if name != "release_id"]
    if known_key != list(key):
        raise ReleaseError(f"the key of {mart} changed from {known_key} to {list(key)}: publish it under a new name")
    return missing


def widen_shelf(conn: Connection, mart: str, columns: Sequence[tuple[str, str]]) -> None:
    """Add columns to a shelf; earlier releases have nulls there, their frozen tables stay as they are."""
    if not columns:
        return
    hit("release.before_widen")

    def widen() -> None:
        conn.execute("set local role edupa_sealed")
        conn.execute(
            sql.SQL("alter table {} {}").format(
                sql.Identifier("releases", mart),
                sql.SQL(", ").join(
                    sql.SQL("add column {} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns
                ),
            )
        )
        conn.execute("reset role")

    with_brief_lock(conn, f"releases.{mart}", widen)


def _comment(
    conn: Connection, kind: str, schema: str, relation: str, texts: dict[str, str | None], columns: Sequence[str]
) -> None:
    """Give a relation the named texts where it has others; the lock that it takes does not disturb readers."""
    present = texts_of(conn, schema, relation)
    thing = sql.Identifier(schema, relation)
    if present.get("") != texts.get(""):
        conn.execute(sql.SQL("comment on {} {} is {}").format(sql.SQL(kind), thing, sql.Literal(texts.get(""))))
    for name in columns:
        if present.get(name) != texts.get(name):
            conn.execute(
                sql.SQL("comment on column {}.{} is {}").format(
                    thing, sql.Identifier(name), sql.Literal(texts.get(name))
                )
            )


def prepare_shelf(conn: Connection, schema: str, mart: str, key: Sequence[str]) -> None:
    """Create the shelf of a new mart; give a known one the candidate's texts.

    The caller's transaction; a known shelf has got its columns before (``widen_shelf``).
    """
    wanted = columns_of(conn, schema, mart)
    texts = texts_of(conn, schema, mart)
    is_new = not exists(conn, "releases", mart)
    conn.execute("set local role edupa_sealed")
    shelf = sql.Identifier("releases", mart)
    if is_new:
        conn.execute(
            sql.SQL("create table {} (release_id text not null, {}, primary key (release_id, {}))").format(
                shelf,
                sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k, _ in wanted),
                sql.SQL(", ").join(map(sql.Identifier, key)),
            )
        )
        conn.execute(sql.SQL("grant select on {} to edupa_publisher, edupa_gatekeeper").format(shelf))
        conn.execute("select releases.guard_shelf(%s)", (mart,))
    texts["release_id"] = "版本号 — release"
    _comment(conn, "table", "releases", mart, texts, ["release_id", *(name for name, _, _ in wanted)])
    conn.execute("reset role")


def freeze_table(conn: Connection, release_id: str, mart: str, key: Sequence[str], rows_from: sql.Composable) -> None:
    """Build one frozen table and put its rows on the shelf."""
    frozen = sql.Identifier("releases", frozen_table_of(mart, release_id))
    shelf = sql.Identifier("releases", mart)
    release = sql.Literal(release_id)
    conn.execute("set local role edupa_sealed")
    conn.execute(sql.SQL("create table {} (like {} including comments including constraints)").format(frozen, shelf))
    # "including comments" means those of the columns
    _comment(conn, "table", "releases", frozen_table_of(mart, release_id), texts_of(conn, "releases", mart), [])
    conn.execute(sql.SQL("grant insert, select on {} to edupa_publisher").format(frozen))
    conn.execute("reset role")
    # the publisher reads the candidate; the sealed role never does
    conn.execute(sql.SQL("insert into {} {}").format(frozen, rows_from))
    conn.execute("set local role edupa_sealed")
    conn.execute(sql.SQL("revoke insert on {} from edupa_publisher").format(frozen))
    conn.execute(
        sql.SQL("alter table {} add primary key (release_id, {}), add check (release_id = {})").format(
            frozen, sql.SQL(", ").join(map(sql.Identifier, key)), release
        )
    )
    hit("release.before_shelf")
    conn.execute(sql.SQL("insert into {} select * from {}").format(shelf, frozen))
    hit("release.after_shelf")
    conn.execute(
        sql.SQL(
            "create trigger frozen_rows before insert or update or delete on {0} for each row"
            " execute function releases.refuse_change();"
            " create trigger frozen_table before truncate on {0} for each statement"
            " execute function releases.refuse_change()"
        ).format(frozen)
    )
    conn.execute("reset role")


def make_pinned_schema(conn: Connection, release_id: str) -> None:
    """Schema for the pinned views of a release; nobody may look into it yet."""
    conn.execute("set local role edupa_sealed")
    conn.execute(sql.SQL("create schema {}").format(sql.Identifier(schema_of(release_id))))
    conn.execute("reset role")


def pin_view(conn: Connection, release_id: str, mart: str, columns: Sequence[str]) -> None:
    """Create the pinned view of a mart of a release."""
    conn.execute("set local role edupa_sealed")
    schema = schema_of(release_id)
    conn.execute(
        sql.SQL("create view {} as select {} from {}").format(
            sql.Identifier(schema, mart),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier("releases", frozen_table_of(mart, release_id)),
        )
    )
    _comment(conn, "view", schema, mart, texts_of(conn, "releases", frozen_table_of(mart, release_id)), columns)
    conn.execute("reset role")


def open_pinned(conn: Connection, release_id: str, roles: Sequence[str]) -> None:
    """Let roles read the pinned views of a release."""
    schema = sql.Identifier(schema_of(release_id))
    to = sql.SQL(", ").join(map(sql.Identifier, roles))
    conn.execute("set local role edupa_sealed")
    conn.execute(sql.SQL("grant usage on schema {} to {}").format(schema, to))
    conn.execute(sql.SQL("grant select on all tables in schema {} to {}").format(schema, to))
    conn.execute("reset role")


def mark_pinned(conn: Connection, release_id: str, notice: str) -> None:
    """Put a notice before the comment of every pinned view of a release; what is frozen stays as it is."""
    schema = schema_of(release_id)
    views = conn.execute(
        "select c.relname, obj_description(c.oid, 'pg_class') from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relkind = 'v' order by c.relname",
        (schema,),
    ).fetchall()
    conn.execute("set local role edupa_sealed")
    for view, comment in views:
        conn.execute(
            sql.SQL("comment on view {} is {}").format(
                sql.Identifier(schema, str(view)), sql.Literal(f"{notice} {comment or ''}".strip())
            )
        )
    conn.execute("reset role")


def provide_permanent_view(conn: Connection, mart: str) -> None:
    """Create or widen ``marts.<mart>``; new columns go to the end, so that clients keep theirs.

    Nothing is done, and no lock taken, where the view has all columns of the shelf.
    """
    columns = [name for name, _, _ in columns_of(conn, "releases", mart)]
    if exists(conn, "marts", mart) and [name for name, _, _ in columns_of(conn, "marts", mart)] == columns:
        return

    def replace() -> None:
        conn.execute("set local role edupa_sealed")
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
        conn.execute(
            sql.SQL("grant select on {} to {}").format(
                sql.Identifier("marts", mart), sql.SQL(", ").join(map(sql.Identifier, READERS))
            )
        )
        conn.execute("reset role")

    with_brief_lock(conn, f"marts.{mart}", replace)


def explain_permanent_view(conn: Connection, mart: str, release_id: str) -> None:
    """Give ``marts.<mart>`` the texts that were frozen with the release which it is to show."""
    texts = texts_of(conn, "releases", frozen_table_of(mart, release_id))
    columns = [name for name, _, _ in columns_of(conn, "marts", mart) if name in texts]
    conn.execute("set local role edupa_sealed")
    _comment(conn, "view", "marts", mart, texts, columns)
    conn.execute("reset role")
