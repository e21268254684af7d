"""What was seen before in a file: a few megabytes of memory for every eight million rows, the rest in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import polars_hash as plh
import pyarrow as pa

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

#: sorted runs grow by merging up to this length; a merge needs its own length once more
_LONGEST_MERGE = 1 << 20
#: hashes of a set that stay in memory; older ones lie sorted in a temporary file
_MOST_IN_MEMORY = 1 << 18
#: a filter of 2^26 bits (8 MiB) stands before so many filed hashes: two in a hundred unknown ones are looked up in vain
_FILTER_BITS = 1 << 26
_FILTER_ENTRIES = 1 << 23
_FILTER_PROBES = 4


def row_hashes(texts: pl.Series) -> Hashes:
    """XXH3-128 of texts (no nulls) as two columns of 64 bits, the same on every machine and version."""
    digest = plh.col("?t").nchash.xxh3_128(return_binary=True, byte_order="big")
    return binary_halves(texts.alias("?t").to_frame().select(digest).to_series())


def binary_halves(binary: pl.Series) -> Hashes:
    """16-byte values (no nulls) as two columns of 64 bits."""
    if not len(binary):
        return np.empty((0, 2), np.uint64)
    chunk = binary.rechunk().to_arrow().cast(pa.large_binary())
    start = chunk.offset * 16
    raw = np.frombuffer(chunk.buffers()[2], np.uint8, len(binary) * 16, start)
    return raw.view(np.uint64).reshape(-1, 2)


class _FiledHashes:
    """Sorted runs of hashes in a nameless file, behind a Bloom filter that answers most questions in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="edupa-seen-")  # noqa: SIM115 — lives as long as the set
        self._runs: list[tuple[int, int]] = []
        self._bits = np.zeros(_FILTER_BITS // 8, np.uint8)
        self.count = 0

    @staticmethod
    def _places(values: Hashes, probe: int) -> Hashes:
        # double hashing: the values are hashes, so their halves are two independent ones
        places: Hashes = (values + np.uint64(probe) * ((values >> np.uint64(32)) | np.uint64(1))) % np.uint64(
            _FILTER_BITS
        )
        return places

    def take(self, run: Hashes) -> None:
        """Add a sorted run."""
        self._runs.append((self._file.seek(0, 2), len(run)))
        run.tofile(self._file)
        self._file.flush()
        for probe in range(_FILTER_PROBES):
            places = self._places(run, probe)
            np.bitwise_or.at(
                self._bits, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)
            )
        self.count += len(run)

    def runs(self) -> Iterator[Hashes]:
        """Each run; the pages of one that was read are given back with it."""
        for start, length in self._runs:
            yield np.memmap(self._file, np.uint64, "r", start, (length,))

    def known_sorted(self, ordered: Hashes) -> Mask:
        """Which of sorted hashes were added."""
        suspected = np.arange(len(ordered))
        for probe in range(_FILTER_PROBES):
            places = self._places(ordered[suspected], probe)
            is_set = (self._bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
            suspected = suspected[is_set == 1]
        found = np.zeros(len(ordered), bool)
        if len(suspected):
            found[suspected] = _in_runs(self.runs(), ordered[suspected])
        return found


def _in_runs(runs: Iterator[Hashes], ordered: Hashes) -> Mask:
    found = np.zeros(len(ordered), bool)
    for run in runs:
        at = np.searchsorted(run, ordered)
        found |= run[np.minimum(at, len(run) - 1)] == ordered
    return found


class SeenHashes:
    """A growing set of 64-bit hashes: a few sorted runs of falling length, searched with sorted questions."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._runs: list[Hashes] = []
        self._filed: list[_FiledHashes] = []

    def __contains__(self, value: int) -> bool:
        """Whether one hash was added."""
        return bool(self.known(np.array([value], np.uint64))[0])

    def known(self, values: Hashes) -> Mask:
        """Which hashes were added before; adds nothing."""
        if not self._runs and not self._filed:
            return np.zeros(len(values), bool)
        order = np.argsort(values)
        found = np.empty(len(values), bool)
        found[order] = self._known_sorted(values[order])
        return found

    def _known_sorted(self, ordered: Hashes) -> Mask:
        found = _in_runs(iter(self._runs), ordered)
        for filed in self._filed:
            found |= filed.known_sorted(ordered)
        return found

    def update(self, other: SeenHashes) -> None:
        """Add what another set holds and this one does not."""
        for filed in other._filed:
            for run in filed.runs():
                self._take(np.array(run))
        for run in other._runs:
            self._take(run)

    def _take(self, run: Hashes) -> None:
        """Add a sorted run of hashes that are not there yet."""
        if not len(run):
            return
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]) <= _LONGEST_MERGE:
            newer = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], newer]))
        if sum(map(len, self._runs)) > _MOST_IN_MEMORY:
            self._file_runs()

    def _file_runs(self) -> None:
        """Move all runs out of memory, as one."""
        if not self._filed or self._filed[-1].count >= _FILTER_ENTRIES:
            self._filed.append(_FiledHashes())
        self._filed[-1].take(np.sort(np.concatenate(self._runs)))
        self._runs.clear()

    def add(self, values: Hashes) -> Mask:
        """Add hashes.

        Returns:
            For each, whether it was added before or stands earlier in ``values``.
        """
        order = np.argsort(values)
        ordered = values[order]
        within = ordered[1:] == ordered[:-1]
        if within.any():
            # only then it matters which of equal ones comes first, and a stable order takes thrice the time
            order = np.argsort(values, kind="stable")
        repeated = self._known_sorted(ordered)
        repeated[1:] |= within
        self._take(ordered[~repeated])
        result = np.empty(len(values), bool)
        result[order] = repeated
        return result
