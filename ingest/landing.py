"""Landing tables: one per contract, made from it.

They hold every version of every record; a version is appended and never changed, but for the load that ended it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from ingest.contract import Contract
from ingest.copy_text import COPY_OPTIONS, payload, to_copy_text
from ingest.lines import Entries, KnownLines, hashes_to_text, scope_name, text_to_hashes
from ingest.pipeline import COPY_LINE
from warehouse.silence import hung_up_when_silent

Connection = psycopg.Connection[tuple[object, ...]]

#: these stand before the landed columns, those of fixed width first: what indexes and nearly every query ask for is
#: found without walking through all the texts of a row
_META = (
    ("load_id", "bigint not null", "load that brought this version"),
    ("source_line", "bigint not null", "physical line (csv) or row (sheet) in the file, from 1"),
    ("ended_load_id", "bigint", "load that ended it; null: still valid"),
    ("scope_key", "text not null", "scope (e.g. school year and county) whose file speaks for the record"),
    ("record_key", "text not null", "hash of the key columns; names the record across versions"),
    ("record_hash", "text not null", "hash of the landed columns; equal hash means nothing changed"),
    ("source_sheet", "text", "sheet of the workbook"),
)
_TYPE_NAMES = {name: name for name in ("text", "integer", "bigint", "numeric", "date", "boolean")}


class LandingDriftError(RuntimeError):
    """A landing table is not what its contract says; someone changed one of the two."""


def _table(contract: Contract) -> sql.Identifier:
    return sql.Identifier("landing", contract.feed)


def ensure_landing(conn: Connection, contracts: dict[str, Contract]) -> None:
    """Create missing landing tables, columns, comments and indexes; idempotent. Commits.

    Args:
        conn: as role ingest.
        contracts: the contracts.

    Raises:
        LandingDriftError: a table has a column with another type than the contract, or one that no contract knows.
    """
    present: dict[str, dict[str, str]] = {}
    for table, column, kind in conn.execute(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'landing'"
    ).fetchall():
        present.setdefault(str(table), {})[str(column)] = str(kind)
    for contract in contracts.values():
        have = present.get(contract.feed)
        if have is None:
            _create(conn, contract)
        else:
            _compare(conn, contract, have)
    conn.commit()


def _create(conn: Connection, contract: Contract) -> None:
    table = _table(contract)
    parts: list[sql.Composable] = [sql.SQL("record_id bigint generated always as identity")]
    for name, kind, _ in (*_META, *contract.landed):
        parts.append(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)))
    conn.execute(sql.SQL("create table {} ({})").format(table, sql.SQL(", ").join(parts)))
    _index(conn, contract)
    grain = contract.model.schema_[0].dataGranularityDescription if contract.model.schema_ else ""
    comment = f"{contract.title_zh} | {contract.title_en}. grain: {grain}, per version"
    conn.execute(sql.SQL("comment on table {} is {}").format(table, sql.Literal(comment)))
    for name, _, text in (*contract.landed, *_META):
        _comment(conn, contract, name, text)


def _index(conn: Connection, contract: Contract) -> None:
    """Make the indexes of a landing table: primary key, current versions, and versions by load."""
    feed, table = contract.feed, _table(contract)
    for statement, name in (
        ("alter table {table} add constraint {name} primary key (record_id)", f"{feed}_pkey"),
        (
            "create unique index {name} on {table} (scope_key, record_key) where ended_load_id is null",
            f"{feed}_current",
        ),
        # loads are appended, so a block range index finds a load's rows at almost no cost
        ("create index {name} on {table} using brin (load_id)", f"{feed}_load"),
    ):
        conn.execute(sql.SQL(statement).format(table=table, name=sql.Identifier(name)))


def _drop_indexes(conn: Connection, contract: Contract) -> None:
    """Drop what ``_index`` makes; both in one transaction, so that no other ever sees the table without them."""
    feed, table = contract.feed, _table(contract)
    for statement, name in (
        ("alter table {table} drop constraint if exists {name}", f"{feed}_pkey"),
        ("drop index if exists landing.{name}", f"{feed}_current"),
        ("drop index if exists landing.{name}", f"{feed}_load"),
    ):
        conn.execute(sql.SQL(statement).format(table=table, name=sql.Identifier(name)))


def _is_empty(conn: Connection, contract: Contract) -> bool:
    return conn.execute(sql.SQL("select 1 from {} limit 1").format(_table(contract))).fetchone() is None


def _comment(conn: Connection, contract: Contract, name: str, text: str) -> None:
    conn.execute(
        sql.SQL("comment on column {} is {}").format(sql.Identifier("landing", contract.feed, name), sql.Literal(text))
    )


def _compare(conn: Connection, contract: Contract, have: dict[str, str]) -> None:
    wanted = {name: _TYPE_NAMES[kind] for name, kind, _ in contract.landed}
    for name, kind, text in contract.landed:
        if name not in have:
            conn.execute(
                sql.SQL("alter table {} add column {} {}").format(_table(contract), sql.Identifier(name), sql.SQL(kind))
            )
            _comment(conn, contract, name, text)
        elif have[name] != wanted[name]:
            raise LandingDriftError(
                f"landing.{contract.feed}.{name} is {have[name]}, the contract {contract.path.name} says {wanted[name]}"
            )
    meta = {"record_id", *(name for name, _, _ in _META)}
    for name in (column for column, _, _ in _META):
        if name not in have:
            raise LandingDriftError(f"landing.{contract.feed} has no column {name}")
    if unknown := sorted(set(have) - set(wanted) - meta):
        raise LandingDriftError(
            f"landing.{contract.feed} has column {unknown[0]}, which the contract {contract.path.name} does not know"
        )


def copy_in(conn: Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
    """COPY a frame into the table's columns of the same names."""
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("copy {} ({}) from stdin ({})").format(table, columns, sql.SQL(COPY_OPTIONS))
    text = to_copy_text(frame)
    with hung_up_when_silent(conn, "copying a batch"), conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text)


class Versions:
    """The versions of a feed's records that are valid before a load, and what the load does to them."""

    def __init__(
        self,
        conn: Connection,
        contract: Contract,
        load_id: int,
        sheet: str | None,
        *,
        known: KnownLines | None = None,
        many: bool = False,
    ) -> None:
        """Begin a load; nothing is read before the first batch says which scopes the file speaks for.

        Args:
            conn: as role ingest.
            contract: the feed's contract.
            load_id: of this load.
            sheet: of the workbook.
            known: lines of the load in force, which are not read again.
            many: the file is large; in an empty table its rows are indexed at the end.
        """
        self._known = known
        self._index_later = many and _is_empty(conn, contract)
        if self._index_later:
            # built from all rows at once they take less than when each row is added to them
            _drop_indexes(conn, contract)
        #: records of the scopes that stay though the file holds no good line for them
        self.kept_entries: Entries | None = None
        self.kept_rows: pl.DataFrame | None = None
        self._conn = conn
        self._contract = contract
        self._load_id = load_id
        self._sheet = sheet
        self._current: pl.DataFrame | None = None
        self._kept: list[pl.Series] = []
        self._kept_keys: list[pl.Series] = []
        self.scopes: dict[str, dict[str, str]] = {}
        self.landed = 0
        self.unchanged = 0
        self.ended = 0

    def _read_scopes(self, rows: pl.DataFrame) -> None:
        """Read the current versions of the scopes that appear for the first time."""
        names = ["scope_key", *self._contract.scope]
        new = rows.select(names).unique().filter(~pl.col("scope_key").is_in(list(self.scopes)))
        for values in new.iter_rows(named=True):
            self.scopes[values["scope_key"]] = {name: str(values[name]) for name in self._contract.scope}
        if self._uses_known:
            new = new.filter(~pl.col("scope_key").is_in(self._known_scope_keys()))
        if new.is_empty() or self._index_later:
            return
        statement = sql.SQL(
            "copy (select record_id, scope_key, record_key, record_hash from {}"
            " where ended_load_id is null and scope_key in ({})) to stdout (format csv)"
        ).format(_table(self._contract), sql.SQL(", ").join(map(sql.Literal, new["scope_key"].to_list())))
        with self._conn.cursor() as cursor, cursor.copy(statement) as copy:
            data = b"".join(copy)
        if not data:
            return
        found = pl.read_csv(
            data,
            has_header=False,
            schema={"?id": pl.Int64, "scope_key": pl.String, "record_key": pl.String, "?hash": pl.String},
        )
        self._current = found if self._current is None else pl.concat([self._current, found])

    def _end(self, ids: Iterable[int]) -> None:
        listed = list(ids)
        if listed:
            self._conn.execute(
                sql.SQL("update {} set ended_load_id = %s where record_id = any(%s)").format(_table(self._contract)),
                (self._load_id, listed),
            )
            self.ended += len(listed)

    def add(self, rows: pl.DataFrame, known_keys: pl.Series) -> pl.DataFrame:
        """Land what is new or changed in a batch.

        Args:
            rows: good rows with record_key, scope_key, record_hash and the scope columns.
            known_keys: keys of quarantined rows, whose last good version stays.

        Returns:
            The rows that landed.
        """
        if rows.is_empty() and known_keys.is_empty():
            return rows
        self._read_scopes(rows)
        changed: list[int] = []
        if self._uses_known and not rows.is_empty():
            rows = self._without_unchanged(rows)
        current = self._current
        if current is not None:
            rows = rows.join(current, on=["scope_key", "record_key"], how="left", maintain_order="left")
            same = (pl.col("?hash") == pl.col("record_hash")).fill_null(False)
            kept = rows.filter(same)["?id"]
            if len(kept):
                self._kept.append(kept)
                self.unchanged += len(kept)
            rows = rows.filter(~same)
            changed = rows["?id"].drop_nulls().to_list()
            rows = rows.drop("?id", "?hash")
        if len(known_keys):
            # looked up at the end, when all scopes of the file are known
            self._kept_keys.append(known_keys)
        if changed:
            self._end(changed)
            self._kept.append(pl.Series("?id", changed, dtype=pl.Int64))
        if not rows.is_empty():
            self._copy(rows)
            self.landed += rows.height
        return rows

    def _copy(self, rows: pl.DataFrame) -> None:
        """Send rows: what ingest adds stands before the text that the pipeline has made of the landed columns."""
        added = ["record_key", "scope_key", "record_hash", "source_line", "load_id"]
        values: list[pl.Expr] = [pl.col(name) for name in added[:-1]]
        values.append(pl.lit(str(self._load_id)))
        if self._sheet is not None:
            added.append("source_sheet")
            values.append(pl.lit(to_copy_text(pl.DataFrame({"sheet": [self._sheet]})).decode().removesuffix("\n")))
        lines = rows.select(pl.concat_str([*values, pl.col(COPY_LINE)], separator="\t")).to_series()
        names = [*added, *(name for name, _, _ in self._contract.landed)]
        statement = sql.SQL("copy {} ({}) from stdin ({})").format(
            _table(self._contract), sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(COPY_OPTIONS)
        )
        text = payload(lines)
        with (
            hung_up_when_silent(self._conn, "copying a batch"),
            self._conn.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            copy.write(text)

    @property
    def _uses_known(self) -> bool:
        return self._known is not None and self._known.is_used

    def _known_scope_keys(self) -> list[str]:
        assert self._known is not None
        return [scope_name(scope) for scope in self._known.scopes]

    def _without_unchanged(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Compare rows with the lines of the load in force; ends the versions that are replaced."""
        assert self._known is not None
        same, differs = self._known.compare(
            text_to_hashes(rows["record_key"]), text_to_hashes(rows["record_hash"]), rows["scope_key"]
        )
        self.unchanged += int(same.sum())
        replaced = rows.filter(pl.Series(differs))
        self._end_records(replaced["scope_key"], replaced["record_key"])
        return rows.filter(pl.Series(~same))

    def _end_records(self, scope_keys: pl.Series, record_keys: pl.Series) -> None:
        if scope_keys.is_empty():
            return
        # a fresh table has no statistics yet, and a few rows of many are looked up in the index anyway
        self._conn.execute("set local enable_hashjoin = off")
        self._conn.execute("set local enable_mergejoin = off")
        self.ended += self._conn.execute(
            sql.SQL(
                "update {} c set ended_load_id = %s from unnest(%s::text[], %s::text[]) as w (scope_key, record_key)"
                " where c.scope_key = w.scope_key and c.record_key = w.record_key and c.ended_load_id is null"
            ).format(_table(self._contract)),
            (self._load_id, scope_keys.to_list(), record_keys.to_list()),
        ).rowcount

    def take_known(self) -> None:
        """Take in the lines that were not read: unchanged rows, and scopes for which the file speaks by them."""
        if not self._uses_known:
            return
        assert self._known is not None
        self.unchanged += self._known.unchanged
        for number in np.flatnonzero(np.bincount(self._known.entries["scope"][self._known.hit])):
            scope = self._known.scopes[int(number)]
            self.scopes.setdefault(scope_name(scope), scope)

    def _finish_known(self) -> None:
        """End records whose line is gone from their scope, whose key no new line has, and no quarantined one."""
        assert self._known is not None
        keys = self._known_scope_keys()
        spoken = np.array([key in self.scopes for key in keys])
        is_open = ~self._known.hit & ~self._known.found & spoken[self._known.entries["scope"]]
        rest = self._known.entries[is_open]
        frame = pl.DataFrame(
            {
                "record_key": pl.Series(
                    hashes_to_text(np.stack([rest["key0"], rest["key1"]], axis=1)), dtype=pl.String
                ),
                "scope_key": pl.Series([keys[number] for number in rest["scope"]], dtype=pl.String),
            }
        )
        stays = pl.concat(self._kept_keys) if self._kept_keys else pl.Series([], dtype=pl.String)
        is_kept = frame["record_key"].is_in(stays.implode())
        self.kept_entries = rest[is_kept.to_numpy()]
        gone = frame.filter(~is_kept)
        self._end_records(gone["scope_key"], gone["record_key"])

    def finish(self) -> None:
        """End what the file no longer holds of its scopes; index a table that was empty before."""
        if self._index_later:
            _index(self._conn, self._contract)
        if self._uses_known:
            self._finish_known()
        if self._current is None:
            return
        gone = self._current
        if self._kept:
            gone = gone.filter(~pl.col("?id").is_in(pl.concat(self._kept).implode()))
        if self._kept_keys:
            stays = pl.col("record_key").is_in(pl.concat(self._kept_keys).implode())
            self.kept_rows = gone.filter(stays)
            gone = gone.filter(~stays)
        self._end(gone["?id"].to_list())


def reference_codes(conn: Connection, contract: Contract) -> dict[str, pl.Series]:
    """Codes that the contract's reference columns may hold: what the feeds they refer to have ever landed.

    Where any of the feeds it refers to has landed nothing, the codes are not known in full: then the column is not in
    the result and not checked.
    """
    read: dict[tuple[str, str], list[Any]] = {}
    result: dict[str, pl.Series] = {}
    for column in contract.columns:
        codes: set[Any] = set()
        is_whole = bool(column.references)
        for feed, name in column.references:
            if (feed, name) not in read:
                statement = sql.SQL("select distinct {} from {}").format(
                    sql.Identifier(name), sql.Identifier("landing", feed)
                )
                read[feed, name] = [row[0] for row in conn.execute(statement).fetchall()]
            codes |= set(read[feed, name])
            is_whole = is_whole and bool(read[feed, name])
        if is_whole:
            result[column.name] = pl.Series(column.name, sorted(codes), dtype=pl.String)
    return result
