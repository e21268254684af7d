"""Canonical bytes of a table: what is hashed, sealed and compared, whatever database holds the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[object, ...]]
# frozen with a release and about it: not part of its content, which must not depend on what was published before
COMPANIONS = ("release_change", "release_notes")


class ReleaseError(RuntimeError):
    """The release cannot be frozen, published or rolled back; the message says why."""


@dataclass(frozen=True)
class TableSeal:
    """Hash of one table of a release.

    Attributes:
        sha256: over the canonical csv (see canonical_sha256).
        rows: number of rows.
        columns: hashed columns, in order, without release_id.
        key: primary key columns, in order, without release_id.
        texts_sha256: over what readers are told of the table and its columns (see texts_of); None: frozen before
            texts were sealed.
    """

    sha256: str
    rows: int
    columns: list[str]
    key: list[str]
    texts_sha256: str | None = None


def schema_of(release_id: str) -> str:
    """Schema of the pinned views of a release."""
    return "release_" + release_id.replace(".", "_")


def partition_of(mart: str, release_id: str) -> str:
    """Name of the frozen partition of a mart."""
    return f"{mart}__{release_id.replace('.', '_')}"


def columns_of(conn: Connection, schema: str, table: str) -> list[tuple[str, str, str | None]]:
    """Name, SQL type and comment of each column, in order."""
    rows = conn.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)"
        " from pg_attribute a where a.attrelid = format('%%I.%%I', %s::text, %s::text)::regclass"
        " and a.attnum > 0 and not a.attisdropped order by a.attnum",
        (schema, table),
    ).fetchall()
    return [(str(name), str(kind), None if note is None else str(note)) for name, kind, note in rows]


def key_of(conn: Connection, schema: str, table: str) -> list[str]:
    """Primary key columns in order.

    Raises:
        ReleaseError: the table has no primary key.
    """
    rows = conn.execute(
        "select a.attname from pg_constraint c cross join lateral unnest(c.conkey) with ordinality k(attnum, position)"
        " join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum"
        " where c.contype = 'p' and c.conrelid = format('%%I.%%I', %s::text, %s::text)::regclass order by k.position",
        (schema, table),
    ).fetchall()
    if not rows:
        raise ReleaseError(f"{schema}.{table} has no primary key: a mart without a key cannot be published")
    return [str(row[0]) for row in rows]


def canonical_sha256(
    conn: Connection, schema: str, table: str, columns: Sequence[str], key: Sequence[str]
) -> tuple[str, int]:
    """SHA-256 over the table as csv: named columns, ordered by the key in code-point order, header first.

    Returns:
        Hexadecimal digest and number of rows.
    """
    kinds = {name: kind for name, kind, _ in columns_of(conn, schema, table)}
    order = sql.SQL(", ").join(
        sql.SQL('{} collate "C"').format(sql.Identifier(name)) if kinds[name] == "text" else sql.Identifier(name)
        for name in key
    )
    query = sql.SQL("copy (select {columns} from {table} order by {order}) to stdout (format csv, header)").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=sql.Identifier(schema, table), order=order
    )
    digest = hashlib.sha256()
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for block in copy:
            digest.update(block)
    counted = conn.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))).fetchone()
    return digest.hexdigest(), int(str(counted[0])) if counted else 0


def texts_of(conn: Connection, schema: str, table: str) -> dict[str, str | None]:
    """Comments of a table (under the empty name) and of its columns.

    Read from the catalog by name, which everyone may, also those who may not look into the schema.
    """
    rows = conn.execute(
        "select coalesce(a.attname, ''), d.description from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass"
        " left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0"
        " where n.nspname = %s and c.relname = %s",
        (schema, table),
    ).fetchall()
    return {str(name): None if text is None else str(text) for name, text in rows}


def texts_sha256(texts: dict[str, str | None], columns: Sequence[str]) -> str:
    """SHA-256 over the comment of a table and of the named columns, in their order."""
    told = [texts.get(""), *((name, texts.get(name)) for name in columns)]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def seal_of(conn: Connection, schema: str, table: str) -> TableSeal:
    """Hash a table as it is, without its release_id.

    Raises:
        ReleaseError: the table has no primary key.
    """
    columns = [name for name, _, _ in columns_of(conn, schema, table) if name != "release_id"]
    key = [name for name in key_of(conn, schema, table) if name != "release_id"]
    digest, rows = canonical_sha256(conn, schema, table, columns, key)
    return TableSeal(digest, rows, columns, key, texts_sha256(texts_of(conn, schema, table), columns))


def content_sha256_of(seals: dict[str, TableSeal]) -> str:
    """One hash over the seals of all marts: their rows and the texts that explain them."""
    lines = "".join(
        f"{mart} {seal.sha256} {seal.rows}{f' {seal.texts_sha256}' if seal.texts_sha256 else ''}\n"
        for mart, seal in sorted(seals.items())
    )
    return hashlib.sha256(lines.encode()).hexdigest()
