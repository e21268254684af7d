"""What became of every line of the file in force, so that the next file's equal lines are not read again.

Beside the warehouse lies one file for each load in force: for every good line its hash, the key of its record and its
scope, and the keys of records that stay though their line was quarantined. It is a cache: without it a file is read in
full. It counts only while every scope of the load is in force by that very load, and the contract with its code lists,
the codes of the feeds it refers to, the token key, the columns of the file and what its name says are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from ingest.across import ACROSS_CHECKS
from ingest.contract import Contract
from ingest.duplicates import Hashes, Mask
from ingest.lookups import Lookup

#: hashes of line, record key and record, place of the scope in the list; line 0, 0: a record without a good line
_NAMES = ("line0", "line1", "key0", "key1", "record0", "record1")
ENTRY = np.dtype([*((name, "<u8") for name in _NAMES), ("scope", "<i4")])
Entries = np.ndarray[Any, np.dtype[np.void]]

#: smaller files are read in full in no time
LEAST_BYTES = 1 << 20
#: a file of which fewer lines are known is another file
_LEAST_KNOWN = 0.5
_VERSION = 2
#: entries that are copied at a time, so that copies take no memory to speak of
_AT_A_TIME = 1 << 16
#: ends a whole cache, after the length of its description in eight bytes
_MARK = b"edupa lines 2\n"


class StartOver(Exception):
    """A new line has the key of an unchanged one: which comes first matters, so the file is read in full."""


def hashes_to_text(halves: Hashes) -> list[str]:
    """Keys and hashes of records as landing holds them: 32 hex characters."""
    text = np.ascontiguousarray(halves).tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def text_to_hashes(texts: pl.Series) -> Hashes:
    """The two halves of keys or hashes of records."""
    raw = bytes.fromhex("".join(texts.to_list()))
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def scope_name(scope: Mapping[str, str]) -> str:
    """The scope key of a scope's values (see pipeline.scope_key)."""
    return "|".join(scope.values()) if scope else "*"


def allows(contract: Contract) -> bool:
    """Whether the outcome of a line depends on that line alone, and on the extract date as an upper bound at most."""
    if any(check.kind in ACROSS_CHECKS or "unless" in check.arguments for check in contract.checks):
        return False
    if any(column.watch for column in contract.columns):
        return False
    dated = [check.arguments for check in contract.checks] + [column.date_minimum for column in contract.columns]
    facts = [column.file_fact.fact for column in contract.columns if column.file_fact]
    return "extract_date" not in json.dumps([dated, facts], default=str)


def circumstances(
    contract: Contract,
    facts: Mapping[str, Any],
    columns: tuple[str, ...],
    key_id: str,
    references: Mapping[str, pl.Series],
    lookups: Mapping[str, Lookup],
) -> dict[str, Any]:
    """All that decides, beside the line itself, what becomes of a line."""
    codes = {
        name: hashlib.sha256("\n".join(series.to_list()).encode()).hexdigest() for name, series in references.items()
    }
    told = {name: str(value) for name, value in facts.items() if name not in ("extract_date", "suffix")}
    return {
        "version": _VERSION,
        "contract": contract.sha256,
        "facts": told,
        "columns": list(columns),
        "key_id": key_id,
        "references": codes,
        "lookups": {name: lookup.digest for name, lookup in lookups.items()},
    }


@dataclass
class KnownLines:
    """The lines of the load in force, and which of them a new file holds."""

    load_id: int
    scopes: list[dict[str, str]]
    entries: Entries
    hit: Mask = field(init=False)
    found: Mask = field(init=False)
    unchanged: int = 0
    repeated: int = 0

    def __post_init__(self) -> None:
        """Sort the lines for look-up."""
        self.hit = np.zeros(len(self.entries), bool)
        #: records that a line stands for which was read
        self.found = np.zeros(len(self.entries), bool)
        self._by_key: tuple[np.ndarray[Any, np.dtype[np.int32]], Hashes] | None = None
        self._order, self._sorted = self._ordered("line0")
        self._asked = False
        self.is_used = True

    def _ordered(self, name: str) -> tuple[np.ndarray[Any, np.dtype[np.int32]], Hashes]:
        values = np.ascontiguousarray(self.entries[name])
        order = np.argsort(values).astype(np.int32)
        return order, values[order]

    def __call__(self, hashes: Hashes) -> Mask:
        """Which lines must be read (see tables.LineFilter)."""
        if not self.is_used or not len(self.entries):
            return np.ones(len(hashes), bool)
        asked = np.argsort(hashes[:, 0])
        first = hashes[asked, 0]
        place = np.minimum(np.searchsorted(self._sorted, first), len(self._sorted) - 1)
        known = self._sorted[place] == first
        found = self._order[place]
        known &= self.entries["line1"][found] == hashes[asked, 1]
        if not self._asked:
            self._asked = True
            self.is_used = bool(known.mean() >= _LEAST_KNOWN)
            if not self.is_used:
                return np.ones(len(hashes), bool)
        # equal lines stand side by side, and all are found in one place
        at = found[known]
        is_first = np.ones(len(at), bool)
        is_first[1:] = at[1:] != at[:-1]
        fresh = at[is_first]
        fresh = fresh[~self.hit[fresh]]
        self.hit[fresh] = True
        self.unchanged += len(fresh)
        self.repeated += len(at) - len(fresh)
        unknown = np.empty(len(hashes), bool)
        unknown[asked] = ~known
        return unknown

    def compare(self, keys: Hashes, records: Hashes, scope_keys: pl.Series) -> tuple[Mask, Mask]:
        """Compare rows that were read with the records of the load in force.

        Returns:
            Rows equal to the record of their key and scope, and rows that differ from it.
        """
        if self._by_key is None:
            self._by_key = self._ordered("key0")
        order, ordered = self._by_key
        place = np.minimum(np.searchsorted(ordered, keys[:, 0]), len(ordered) - 1)
        at = order[place]
        names = {scope_name(scope): number for number, scope in enumerate(self.scopes)}
        scopes = scope_keys.replace_strict(names, default=-1, return_dtype=pl.Int32).to_numpy()
        entries = self.entries[at]
        known = (entries["key0"] == keys[:, 0]) & (entries["key1"] == keys[:, 1]) & (entries["scope"] == scopes)
        self.found[at[known]] = True
        same = known & (entries["record0"] == records[:, 0]) & (entries["record1"] == records[:, 1])
        return same, known & ~same

    def refuse_conflicts(self, new_keys: Hashes) -> None:
        """Make sure that no new line has the key of an unchanged one.

        Raises:
            StartOver: one has.
        """
        if not len(new_keys):
            return
        if self._by_key is None:
            self._by_key = self._ordered("key0")
        order, ordered = self._by_key
        asked = new_keys[np.argsort(new_keys[:, 0])]
        begin = np.searchsorted(ordered, asked[:, 0])
        count = np.searchsorted(ordered, asked[:, 0], side="right") - begin
        # a key stands once in each scope, so nearly always once
        for further in range(int(count.max(initial=0))):
            some = count > further
            at = order[begin[some] + further]
            if (self.hit[at] & (self.entries["key1"][at] == asked[some, 1])).any():
                raise StartOver


class LineStore:
    """The folder with the caches of one warehouse."""

    def __init__(self, folder: Path) -> None:
        """The folder need not exist."""
        self._folder = folder

    def _path(self, feed: str, load_id: int) -> Path:
        return self._folder / feed / f"{load_id}.lines"

    def find(
        self, feed: str, given: dict[str, Any], extract_date: date, in_force: Mapping[str, tuple[int, str]]
    ) -> KnownLines | None:
        """The lines of a load that is wholly in force and was made under the same circumstances, the latest such load.

        Args:
            feed: contract id.
            given: circumstances of the new file.
            extract_date: of the new file; an earlier one would need other checks.
            in_force: scope key -> load id and file hash in force.
        """
        for path in sorted((self._folder / feed).glob("*.lines"), key=lambda item: int(item.stem), reverse=True):
            head = _description(path)
            if head is None or head["given"] != given or date.fromisoformat(head["extract_date"]) > extract_date:
                continue
            wanted = (head["load_id"], head["file_sha256"])
            if any(in_force.get(scope) != wanted for scope in head["scope_keys"]):
                continue
            return KnownLines(head["load_id"], head["scopes"], np.fromfile(path, ENTRY, head["entries"]))
        return None

    def writer(self, feed: str) -> LineWriter:
        """Begin the cache of a load."""
        folder = self._folder / feed
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return LineWriter(folder)

    def forget(self, feed: str, in_force: Mapping[str, tuple[int, str]]) -> None:
        """Remove caches of loads that are no longer in force anywhere."""
        ids = {load_id for load_id, _ in in_force.values()}
        for path in (self._folder / feed).glob("*.lines"):
            if int(path.stem) not in ids:
                path.unlink(missing_ok=True)


def _description(path: Path) -> dict[str, Any] | None:
    """What a cache says of itself at its end; None where it is not whole, or of another version."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        tail = 8 + len(_MARK)
        handle.seek(max(0, size - tail))
        end = handle.read()
        if len(end) < tail or end[8:] != _MARK:
            return None
        length = int.from_bytes(end[:8], "big")
        handle.seek(size - tail - length)
        head: dict[str, Any] = json.loads(handle.read(length))
    return head if head["entries"] * ENTRY.itemsize + length + tail == size else None


class LineWriter:
    """Writes the cache of one load as its batches pass; nothing is kept until ``commit``."""

    def __init__(self, folder: Path) -> None:
        """Begin a nameless part."""
        self._part = folder / f"{os.getpid()}.part"
        # a load that started over may still hold its own part open, with bytes that it will write when it is let go
        self._part.unlink(missing_ok=True)
        self._handle: BinaryIO = self._part.open("wb")
        self._scopes: dict[str, int] = {}
        self._count = 0

    def add(self, hashes: Hashes, keys: Hashes, records: Hashes, scope_keys: pl.Series) -> None:
        """Add good lines: hashes of line, key and record."""
        entries = np.empty(len(hashes), ENTRY)
        for place, name in enumerate(_NAMES):
            entries[name] = (hashes, keys, records)[place // 2][:, place % 2]
        for scope in scope_keys.unique().to_list():
            self._scopes.setdefault(scope, len(self._scopes))
        numbers = scope_keys.replace_strict(self._scopes, return_dtype=pl.Int32)
        entries["scope"] = numbers.to_numpy()
        self._write(entries)

    def add_known(self, known: KnownLines, kept: Entries, scope_key: Mapping[int, str]) -> None:
        """Add the unchanged lines of the load before, and records that stay without a good line."""
        kept["line0"] = kept["line1"] = 0
        place = np.full(len(known.scopes), -1, np.int32)
        for start in range(0, len(known.entries), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            self._add_known(known.entries[part][known.hit[part]], place, scope_key)
        self._add_known(kept, place, scope_key)

    def _add_known(
        self, entries: Entries, place: np.ndarray[Any, np.dtype[np.int32]], scope_key: Mapping[int, str]
    ) -> None:
        """Add copies of entries whose scopes are counted as in the cache before."""
        numbers = entries["scope"]
        for number in np.flatnonzero(np.bincount(numbers, minlength=len(place))):
            if place[number] < 0:
                place[number] = self._scopes.setdefault(scope_key[int(number)], len(self._scopes))
        entries["scope"] = place[numbers]
        self._write(entries)

    def add_kept(self, keys: pl.Series, records: pl.Series, scope_keys: pl.Series) -> None:
        """Add records that stay without a good line."""
        if len(keys):
            self.add(np.zeros((len(keys), 2), np.uint64), text_to_hashes(keys), text_to_hashes(records), scope_keys)

    def _write(self, entries: Entries) -> None:
        self._handle.write(entries.tobytes())
        self._count += len(entries)

    def commit(
        self, load_id: int, sha256: str, extract_date: date, given: dict[str, Any], scopes: Mapping[str, dict[str, str]]
    ) -> None:
        """Put the cache in place; only after the load was committed."""
        head = {
            "load_id": load_id,
            "file_sha256": sha256,
            "extract_date": extract_date.isoformat(),
            "given": given,
            "scope_keys": list(self._scopes),
            "scopes": [scopes[name] for name in self._scopes],
            "entries": self._count,
        }
        description = json.dumps(head, ensure_ascii=False).encode()
        self._handle.write(description + len(description).to_bytes(8, "big") + _MARK)
        self._handle.close()
        self._part.rename(self._part.with_name(f"{load_id}.lines"))
