"""Checks of a row against what another feed has landed, as a contract asks for them; no feed is named here.

``listed``: the row must be found among some deliveries of the other feed (a pupil who leaves, in the register of the
year before). It is asked only where every one of those deliveries has landed: what has not arrived proves nothing.

``not_ended``: the other feed says of what the row names that it had ended by a day (a closed school). Its last word up
to the file's period counts: the entry's own row, or the row of another entry that took its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from ingest.columns import condition_mask
from ingest.contract import Check, Contract, compile_condition, resolve_bound
from ingest.duplicates import Hashes, Mask, SeenHashes, row_hashes
from ingest.identity import TokenKey

Connection = psycopg.Connection[tuple[object, ...]]
Typed = Mapping[str, pl.Series]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Lookup:
    """What the other feed says for the file at hand: hashes of the values that are listed, or that have ended."""

    hashes: Hashes

    @property
    def digest(self) -> str:
        """Names the content, so that a file is read anew when it has changed."""
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def holds(self, values: pl.Series) -> Mask:
        """Whether each value is there; a null never is."""
        if not len(self.hashes):
            return np.zeros(len(values), bool)
        asked = _hashes(values)
        place = np.minimum(np.searchsorted(self.hashes, asked), len(self.hashes) - 1)
        found: Mask = (self.hashes[place] == asked) & values.is_not_null().to_numpy()
        return found


def _hashes(values: pl.Series) -> Hashes:
    first: Hashes = row_hashes(values.cast(pl.String).fill_null(""))[:, 0]
    return np.ascontiguousarray(first)


def _lookup(values: list[str]) -> Lookup:
    return Lookup(np.unique(_hashes(pl.Series(values, dtype=pl.String))))


def _fact_text(given: Mapping[str, Any], facts: Facts) -> str | None:
    """A fact of the file's name, ``years`` later, as text; ``schoolYear``: a year n as n/n+1."""
    value = facts.get(str(given["fact"]))
    if value is None:
        return None
    if given.get("years") or given.get("schoolYear"):
        value = int(value) + int(given.get("years", 0))
    return f"{value}/{(int(value) + 1) % 100:02d}" if given.get("schoolYear") else str(value)


def _deliveries(check: Check, facts: Facts) -> list[str] | None:
    """Scope keys of the deliveries that are asked; None where the file's name does not say which."""
    found = []
    for scope in check.arguments["among"]:
        values = [_fact_text(given, facts) for given in scope.values()]
        if any(value is None for value in values):
            return None
        found.append("|".join(str(value) for value in values))
    return found


def _read_listed(conn: Connection, check: Check, facts: Facts) -> Lookup | None:
    deliveries = _deliveries(check, facts)
    if deliveries is None:
        return None
    names = sorted(set(check.arguments["match"].values()))
    statement = sql.SQL("select scope_key, {} from {} where ended_load_id is null and scope_key = any(%s)").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names),
        sql.Identifier("landing", check.arguments["feed"]),
    )
    rows = conn.execute(statement, (deliveries,)).fetchall()
    if {str(row[0]) for row in rows} != set(deliveries):
        return None
    return _lookup([str(value) for row in rows for value in row[1:] if value is not None])


def _read_ended(conn: Connection, check: Check, facts: Facts) -> Lookup | None:
    arguments = check.arguments
    until = _fact_text(arguments["asOf"], facts)
    day = resolve_bound(arguments["on"], dict(facts))
    if until is None or day is None:
        return None
    match, as_of = sql.Identifier(arguments["match"]), sql.Identifier(arguments["asOf"]["column"])
    table = sql.Identifier("landing", arguments["feed"])
    said: list[sql.Composable] = []
    own: sql.Composable = sql.SQL("false")
    values: dict[str, Any] = {"until": until, "day": day}
    for number, end in enumerate(arguments["ends"]):
        values[f"words{number}"] = [str(word) for word in end["in"]]
        ended = sql.SQL("coalesce({} = any({}) and {} <= %(day)s, false)").format(
            sql.Identifier(end["when"]), sql.Placeholder(f"words{number}"), sql.Identifier(arguments["endDate"])
        )
        if end["column"] == arguments["match"]:
            own = sql.SQL("{} or {}").format(own, ended)
            continue
        said.append(
            sql.SQL(
                "select other, {as_of}, 0, true from {table}, unnest(string_to_array({column}, '、')) as other"
                " where ended_load_id is null and {as_of} <= %(until)s and {ended} and other <> {match}"
            ).format(as_of=as_of, table=table, column=sql.Identifier(end["column"]), ended=ended, match=match)
        )
    said.insert(
        0,
        sql.SQL(
            "select {match} as code, {as_of} as moment, 1 as is_own, {own} as is_ended from {table}"
            " where ended_load_id is null and {as_of} <= %(until)s"
        ).format(match=match, as_of=as_of, own=own, table=table),
    )
    statement = sql.SQL(
        "select code from (select distinct on (code) code, is_ended from ({}) as said"
        " order by code, moment desc, is_own desc, is_ended desc) as last_word where is_ended"
    ).format(sql.SQL(" union all ").join(said))
    return _lookup([str(code) for (code,) in conn.execute(statement, values).fetchall()])


_READERS = {"listed": _read_listed, "not_ended": _read_ended}


def read_lookups(conn: Connection, contract: Contract, facts: Facts) -> dict[str, Lookup]:
    """What other feeds say for a file: check name -> lookup; a check that cannot be asked yet is not in it."""
    found = {}
    for check in contract.lookups:
        lookup = _READERS[check.kind](conn, check, facts)
        if lookup is not None:
            found[check.name] = lookup
    return found


class LookupCheck:
    """One such check over a file; remembers who arrived in it, for who leaves may have come within the year."""

    def __init__(self, check: Check, contract: Contract, lookup: Lookup, key: TokenKey, learned: Hashes | None) -> None:
        """Bind the check.

        Args:
            check: of kind listed or not_ended.
            contract: of the file's own feed.
            lookup: what the other feed says.
            key: makes the tokens by which the other feed knows people.
            learned: arrivals of the whole file, known from a first reading.
        """
        self.check = check
        self._contract = contract
        self._lookup = lookup
        self._key = key
        self._is_again = learned is not None
        self._arrived = SeenHashes()
        if learned is not None and len(learned):
            self._arrived.add(learned)
        self._blamed = SeenHashes()
        self._learned: list[Hashes] = []
        #: whether a row was blamed before the arrival that excuses it was read
        self.is_late = False
        arguments = check.arguments
        self._when = compile_condition(arguments.get("when"))
        self._unless = compile_condition(arguments.get("unless"))
        match = arguments["match"]
        self._match: dict[str, str] = match if isinstance(match, dict) else {check.column: match}

    @property
    def learned(self) -> Hashes:
        """What a second reading must know from the start."""
        return np.concatenate(self._learned) if self._learned else np.empty(0, np.uint64)

    def judge(self, typed: Typed, identifiers: Typed) -> pl.Series | None:
        """Rows that break the check; None: no row does."""
        if self.check.kind == "not_ended":
            broken = self._lookup.holds(typed[self.check.column])
            return pl.Series(broken) if broken.any() else None
        if self._unless is not None:
            self._take_arrivals(typed, identifiers, condition_mask(self._unless, typed))
        height = len(typed[self.check.column])
        concerned = condition_mask(self._when, typed) if self._when else pl.repeat(True, height, eager=True)
        if not concerned.any():
            return None
        given, found = np.zeros(int(concerned.sum()), bool), np.zeros(int(concerned.sum()), bool)
        marks = []
        for name in self._match:
            values = identifiers.get(name, typed[name]).filter(concerned)
            is_given = values.is_not_null().to_numpy()
            given |= is_given
            found |= self._lookup.holds(self._as_landed(name, values))
            mark = self._marks(name, values)
            found |= self._arrived.known(mark) & is_given
            marks.append(mark)
        blamed = given & ~found
        if not blamed.any():
            return None
        if self._unless is not None:
            for mark in marks:
                self._blamed.add(mark[blamed])
        rows = np.zeros(height, bool)
        rows[np.flatnonzero(concerned.to_numpy())[blamed]] = True
        return pl.Series(rows)

    def _take_arrivals(self, typed: Typed, identifiers: Typed, arriving: pl.Series) -> None:
        if self._is_again or not arriving.any():
            return
        for name in self._match:
            values = identifiers.get(name, typed[name]).filter(arriving).drop_nulls()
            if len(values):
                marks = self._marks(name, values)
                self.is_late = self.is_late or bool(self._blamed.known(marks).any())
                self._arrived.add(marks)
                self._learned.append(marks)

    def _marks(self, name: str, values: pl.Series) -> Hashes:
        """Hashes under which rows of this file that concern one and the same meet."""
        return _hashes(pl.select(pl.concat_str([pl.lit(name), values.cast(pl.String)], separator="\x1f")).to_series())

    def _as_landed(self, name: str, values: pl.Series) -> pl.Series:
        if self._contract.by_name[name].token is None:
            return values
        return values.alias(name).to_frame().select(self._key.hmac_expression(name)).to_series()
