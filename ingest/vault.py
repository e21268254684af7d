"""The vault: who is behind a token. Only what is new is written, and with one writer nothing can come between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from ingest.duplicates import Hashes, Mask, SeenHashes, row_hashes
from ingest.identity import TokenKey
from ingest.landing import copy_in

Connection = psycopg.Connection[tuple[object, ...]]

_IDENTITY = ["person_token", "identifier_kind", "identifier"]
_TABLE = sql.Identifier("vault", "person_identity")
_KEY = "person_identity_pkey"
#: second halves of hashes that wait in memory
_MOST_WAITING_BYTES = 1 << 22


class _Written:
    """Identities known to be in the vault, by both halves of a 128-bit hash."""

    def __init__(self) -> None:
        self._first = SeenHashes()
        self._second = SeenHashes()
        # second halves, sorted in only once the first half of some hash was seen before; a file takes what is many
        self._waiting = tempfile.SpooledTemporaryFile(_MOST_WAITING_BYTES, prefix="edupa-vault-")  # noqa: SIM115

    def _confirmed(self, suspected: Mask, hashes: Hashes) -> Mask:
        if not suspected.any():
            return suspected
        for waiting in self._waited():
            self._second.add(waiting)
        self._waiting.seek(0)
        self._waiting.truncate()
        return suspected & self._second.known(hashes[:, 1])

    def _wait(self, halves: Hashes) -> None:
        self._waiting.seek(0, os.SEEK_END)
        self._waiting.write(halves.tobytes())

    def _waited(self) -> Iterator[Hashes]:
        self._waiting.seek(0)
        while part := self._waiting.read(_MOST_WAITING_BYTES):
            yield np.frombuffer(part, np.uint64)

    def known(self, hashes: Hashes) -> Mask:
        return self._confirmed(self._first.known(hashes[:, 0]), hashes)

    def add(self, hashes: Hashes) -> Mask:
        suspected = self._first.add(hashes[:, 0])
        self._wait(hashes[~suspected, 1])
        repeated = self._confirmed(suspected, hashes)
        self._wait(hashes[suspected & ~repeated, 1])
        return repeated

    def update(self, other: _Written) -> None:
        self._first.update(other._first)
        self._second.update(other._second)
        for waiting in other._waited():
            self._wait(waiting)


def _hashes(identities: pl.DataFrame) -> Hashes:
    return row_hashes(identities.select(pl.concat_str(_IDENTITY, separator="\x1f")).to_series())


class Vault:
    """Writes identities over one connection; what it wrote it does not ask for again: most persons come every year."""

    def __init__(self, conn: Connection, key: TokenKey) -> None:
        """See whether there is anything in the vault."""
        self._conn = conn
        self._key = key
        self._written = _Written()
        self._pending = _Written()
        self._has_no_key = False
        self._was_empty = conn.execute("select 1 from vault.person_identity limit 1").fetchone() is None

    def begin(self, *, many: bool) -> None:
        """Begin a file.

        Args:
            many: the file is large; into an empty vault its identities go first and are indexed at the end.
        """
        self._pending = _Written()
        self._has_no_key = (
            many
            and self._was_empty
            and not self._conn.execute("select 1 from vault.person_identity limit 1").fetchone()
        )
        if self._has_no_key:
            self._conn.execute(sql.SQL("alter table {} drop constraint {}").format(_TABLE, sql.Identifier(_KEY)))

    def add(self, identities: pl.DataFrame, load_id: int) -> None:
        """Add identities of landed rows (pipeline.VAULT_SCHEMA) that the vault does not hold yet.

        What is there is looked up first and only the rest is copied in: COPY in key order takes a quarter of the time
        of ``insert … on conflict do nothing``.
        """
        if identities.is_empty():
            return
        hashes = _hashes(identities)
        fresh = ~self._written.known(hashes)
        fresh[fresh] = ~self._pending.add(hashes[fresh])
        new = identities.filter(pl.Series(fresh))
        if not new.is_empty() and not self._was_empty:
            new = new.join(self._held(new), on=_IDENTITY, how="anti")
        if new.is_empty():
            return
        columns = new.drop("record_key").with_columns(
            pl.lit(self._key.key_id).alias("key_id"), pl.lit(load_id).alias("first_load_id")
        )
        copy_in(self._conn, _TABLE, columns if self._has_no_key else columns.sort(_IDENTITY))

    def finish(self) -> None:
        """Index what went into an empty vault; before the commit."""
        if self._has_no_key:
            self._conn.execute(
                sql.SQL("alter table {} add constraint {} primary key ({})").format(
                    _TABLE, sql.Identifier(_KEY), sql.SQL(", ").join(map(sql.Identifier, _IDENTITY))
                )
            )

    def committed(self) -> None:
        """Remember what the committed file brought."""
        self._written.update(self._pending)
        self._pending = _Written()

    def _held(self, wanted: pl.DataFrame) -> pl.DataFrame:
        """Those of the tokens' identities that the vault holds."""
        found = self._conn.execute(
            "select person_token, identifier_kind, identifier from vault.person_identity where person_token = any(%s)",
            (wanted["person_token"].unique().sort().to_list(),),
        ).fetchall()
        return pl.DataFrame(found, schema=dict.fromkeys(_IDENTITY, pl.String), orient="row")
