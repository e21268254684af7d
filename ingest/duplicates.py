"""What was seen before in a file, at eight bytes a row however long the file is."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import polars_hash as plh
import pyarrow as pa

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

#: sorted runs grow by merging up to this length; a merge needs its own length once more
_LONGEST_MERGE = 1 << 20


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


class SeenHashes:
    """A growing set of 64-bit hashes: a few sorted runs of falling length, searched with sorted questions."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._runs: list[Hashes] = []

    def __contains__(self, value: int) -> bool:
        """Whether one hash was added."""
        return bool(self.known(np.array([value], np.uint64))[0])

    def known(self, values: Hashes) -> Mask:
        """Which hashes were added before; adds nothing."""
        if not self._runs:
            return np.zeros(len(values), bool)
        order = np.argsort(values)
        found = np.empty(len(values), bool)
        found[order] = self._known_sorted(values[order])
        return found

    def _known_sorted(self, ordered: Hashes) -> Mask:
        found = np.zeros(len(ordered), bool)
        for run in self._runs:
            at = np.searchsorted(run, ordered)
            found |= run[np.minimum(at, len(run) - 1)] == ordered
        return found

    def update(self, other: SeenHashes) -> None:
        """Add what another set holds and this one does not."""
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
