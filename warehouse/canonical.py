"""Canonical bytes of a table: what is hashed, sealed and compared, whatever database holds the rows.

The bytes depend on the rows alone. Everything in a server or a session that could change how a value is written down
is pinned while they are read, rows stand in the order of their key by code points, and types whose text depends on
anything else are refused. docs/seal.md describes the format for whoever wants to recompute a hash without this code.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[object, ...]]
# frozen with a release and about it: not part of its content, which must not depend on what was published before
COMPANIONS = ("release_change", "release_notes")

RANGE_ROWS = 1000
FORMAT = "edupa-canonical-1"

# settings of a session that change the text of a value
_PINNED = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
}
_COLLATED = re.compile(r"text|character varying(\(\d+\))?|character(\(\d+\))?")
_WHOLE = ("smallint", "integer", "bigint")
_WRITTEN_ALIKE = re.compile(
    rf"({_COLLATED.pattern}|{'|'.join(_WHOLE)}|numeric(\(\d+,-?\d+\))?|real|double precision|boolean|date|uuid"
    r"|timestamp(\(\d\))? with(out)? time zone)(\[\])?"
)


class ReleaseError(RuntimeError):
    """The release cannot be frozen, published or rolled back; the message says why."""


@dataclass(frozen=True)
class RowRange:
    """Hash of neighboring rows of a table.

    Attributes:
        first: key of the first row, as text.
        last: key of the last row, as text.
        rows: number of rows.
        sha256: over the canonical bytes of these rows, without the header.
    """

    first: list[str]
    last: list[str]
    rows: int
    sha256: str


@dataclass(frozen=True)
class TableSeal:
    """Hash of one table of a release.

    Attributes:
        sha256: over the canonical csv (see canonical_rows).
        rows: number of rows.
        columns: hashed columns, in order, without release_id.
        key: primary key columns, in order, without release_id.
        texts_sha256: over what readers are told of the table and its columns (see texts_of); None: frozen before
            texts were sealed.
        ranges: RowRange of every RANGE_ROWS rows in the order of the key, as dictionaries; none where the release was
            frozen by a version that kept none.
    """

    sha256: str
    rows: int
    columns: list[str]
    key: list[str]
    texts_sha256: str | None = None
    ranges: list[dict[str, Any]] = field(default_factory=list)

    def row_ranges(self) -> list[RowRange]:
        """The ranges."""
        return [RowRange(**one) for one in self.ranges]


def schema_of(release_id: str) -> str:
    """Schema of the pinned views of a release."""
    return "release_" + release_id.replace(".", "_")


def frozen_table_of(mart: str, release_id: str) -> str:
    """Name of the frozen table of a mart."""
    return f"{mart}__{release_id.replace('.', '_')}"


def columns_of(conn: Connection, schema: str, table: str) -> list[tuple[str, str, str | None]]:
    """Name, SQL type and comment of each column, in order; none where there is no such table."""
    # looked up by name, not as regclass: that would ask for rights on the schema
    rows = conn.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)"
        " from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname, c.relname) = (%s, %s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
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


@contextmanager
def pinned_session(conn: Connection) -> Iterator[None]:
    """Hold every setting that changes the text of a value at its canonical value, in a transaction or savepoint.

    Raises:
        ReleaseError: the database is not encoded in UTF-8, so that code-point order would be another one.
    """
    with conn.transaction():
        names = list(_PINNED)
        settings = sql.SQL(", ").join(sql.SQL("current_setting({})").format(sql.Literal(name)) for name in names)
        row = conn.execute(sql.SQL("select current_setting('server_encoding'), {}").format(settings)).fetchone()
        assert row is not None
        if row[0] != "UTF8":
            raise ReleaseError(f"the database is encoded in {row[0]}: hashes are defined for UTF8 only")
        for name, value in _PINNED.items():
            conn.execute("select set_config(%s, %s, true)", (name, value))
        yield
        # the caller's transaction may go on
        for name, before in zip(names, row[1:], strict=True):
            conn.execute("select set_config(%s, %s, true)", (name, str(before)))


def key_values(line: bytes, positions: Sequence[int]) -> list[str]:
    """Values of the key columns of a canonical row, as text."""
    values = next(csv.reader([line.decode()]))
    return [values[position] for position in positions]


def sort_value(kind: str, text: str) -> str | int | Decimal:
    """What a key value of an SQL type sorts by in canonical order."""
    if kind in _WHOLE:
        return int(text)
    # dates and times of the four-digit years sort as their text does, and so do false and true
    return Decimal(text) if kind.startswith(("numeric", "double", "real")) else text


def canonical_rows(
    conn: Connection, schema: str, table: str, columns: Sequence[str], key: Sequence[str]
) -> Iterator[bytes]:
    """Canonical bytes of a table: the header, then one item per row, in the order of the key by code points.

    Raises:
        ReleaseError: the table or a column is gone, or a column has a type whose text depends on more than its value.
    """
    kinds = {name: kind for name, kind, _ in columns_of(conn, schema, table)}
    if not kinds:
        raise ReleaseError(f"there is no table {schema}.{table}")
    for name in (*columns, *key):
        if name not in kinds:
            raise ReleaseError(f"{schema}.{table} has no column {name}")
        if not _WRITTEN_ALIKE.fullmatch(kinds[name]):
            raise ReleaseError(
                f"{schema}.{table}.{name} is of type {kinds[name]}, for which no canonical text is defined:"
                " cast it in the mart to text, a number, a date, a time or boolean"
            )
    order = sql.SQL(", ").join(
        sql.SQL('{} collate "C"').format(sql.Identifier(name))
        if _COLLATED.fullmatch(kinds[name])
        else sql.Identifier(name)
        for name in key
    )
    query = sql.SQL("copy (select {columns} from {table} order by {order}) to stdout (format csv, header)").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=sql.Identifier(schema, table), order=order
    )
    # the protocol promises one message per row
    with pinned_session(conn), conn.cursor() as cursor, cursor.copy(query) as copy:
        for block in copy:
            yield bytes(block)


def hash_table(conn: Connection, schema: str, table: str, columns: Sequence[str], key: Sequence[str]) -> TableSeal:
    """Hash a table whole and by ranges of RANGE_ROWS rows.

    Raises:
        ReleaseError: as canonical_rows.
    """
    positions = [list(columns).index(name) for name in key]
    digest = hashlib.sha256()
    ranges: list[dict[str, Any]] = []
    chunk: list[bytes] = []

    def close() -> None:
        if chunk:
            first, last = key_values(chunk[0], positions), key_values(chunk[-1], positions)
            ranges.append(
                {
                    "first": first,
                    "last": last,
                    "rows": len(chunk),
                    "sha256": hashlib.sha256(b"".join(chunk)).hexdigest(),
                }
            )
            chunk.clear()

    rows = -1
    for line in canonical_rows(conn, schema, table, columns, key):
        digest.update(line)
        rows += 1
        if rows:
            chunk.append(line)
            if len(chunk) == RANGE_ROWS:
                close()
    close()
    return TableSeal(digest.hexdigest(), rows, list(columns), list(key), ranges=ranges)


def canonical_sha256(
    conn: Connection, schema: str, table: str, columns: Sequence[str], key: Sequence[str]
) -> tuple[str, int]:
    """SHA-256 over the canonical bytes of a table, and its number of rows.

    Raises:
        ReleaseError: as canonical_rows.
    """
    seal = hash_table(conn, schema, table, columns, key)
    return seal.sha256, seal.rows


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
        ReleaseError: the table has no primary key, or a column without canonical text.
    """
    columns = [name for name, _, _ in columns_of(conn, schema, table) if name != "release_id"]
    key = [name for name in key_of(conn, schema, table) if name != "release_id"]
    texts = texts_sha256(texts_of(conn, schema, table), columns)
    return replace(hash_table(conn, schema, table, columns, key), texts_sha256=texts)


def content_sha256_of(seals: dict[str, TableSeal]) -> str:
    """One hash over the seals of all marts: their rows and the texts that explain them."""
    lines = "".join(
        f"{mart} {seal.sha256} {seal.rows}{f' {seal.texts_sha256}' if seal.texts_sha256 else ''}\n"
        for mart, seal in sorted(seals.items())
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def differing_ranges(
    conn: Connection, schema: str, table: str, seal: TableSeal
) -> list[tuple[RowRange | None, int, list[str], list[str]]]:
    """Ranges of a table that are not what was sealed.

    Rows are assigned to the sealed ranges by their key, so that a row that is gone or new spoils its own range only.

    Returns:
        For each range: the sealed range (None: the table was sealed empty), rows now, and its first and last key,
        whether of a sealed row or of a row found now.

    Raises:
        ReleaseError: as canonical_rows.
    """
    kinds = {name: kind for name, kind, _ in columns_of(conn, schema, table)}
    key_kinds = [kinds[name] for name in seal.key]
    positions = [seal.columns.index(name) for name in seal.key]
    sealed = seal.row_ranges()

    def sort_key(values: Sequence[str]) -> tuple[str | int | Decimal, ...]:
        return tuple(sort_value(kind, value) for kind, value in zip(key_kinds, values, strict=True))

    bounds = [sort_key(one.last) for one in sealed]
    found: list[list[bytes]] = [[] for _ in range(max(1, len(sealed)))]
    current = 0
    lines = canonical_rows(conn, schema, table, seal.columns, seal.key)
    next(lines)
    for line in lines:
        while current < len(bounds) - 1 and sort_key(key_values(line, positions)) > bounds[current]:
            current += 1
        found[current].append(line)
    differing: list[tuple[RowRange | None, int, list[str], list[str]]] = []
    for number, rows in enumerate(found):
        before = sealed[number] if sealed else None
        if before is not None and hashlib.sha256(b"".join(rows)).hexdigest() == before.sha256:
            continue
        if before is None and not rows:
            continue
        keys = [
            *([before.first, before.last] if before else []),
            *(key_values(r, positions) for r in rows[:1] + rows[-1:]),
        ]
        differing.append((before, len(rows), min(keys, key=sort_key), max(keys, key=sort_key)))
    return differing
