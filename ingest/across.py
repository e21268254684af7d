"""Checks over all rows of a file: rows that contradict each other, however far apart they stand.

What was seen is kept as hashes, at most sixteen bytes a row and check. Where a row contradicts one of an earlier batch,
which has passed already, the file is read a second time, with what the first reading has learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ingest.contract import Check
from ingest.duplicates import Hashes, SeenHashes, row_hashes

Typed = Mapping[str, pl.Series]
#: check name -> hashes that a second reading knows from the start
Learned = dict[str, Hashes]

#: one_value: rows that share ``group`` hold one value in ``value``; only_once: no two rows share ``group``
ACROSS_CHECKS = ("one_value", "only_once")
_UNIT = "\x1f"


class ReadAgain(Exception):
    """A row contradicts one that has passed: the file must be read again, knowing what was learned."""

    def __init__(self, learned: Learned) -> None:
        """Carry what was learned to the second reading."""
        super().__init__()
        self.learned = learned


def _joined(columns: list[pl.Series]) -> Hashes:
    frame = pl.DataFrame([series.cast(pl.String).alias(str(number)) for number, series in enumerate(columns)])
    first: Hashes = row_hashes(frame.select(pl.concat_str(pl.all(), separator=_UNIT)).to_series())[:, 0]
    return np.ascontiguousarray(first)


class AcrossCheck:
    """One such check over one file."""

    def __init__(self, check: Check, learned: Hashes | None) -> None:
        """Bind the check.

        Args:
            check: of a kind in ACROSS_CHECKS.
            learned: groups in conflict, known from a first reading; None: this is the first.
        """
        self.check = check
        self._is_again = learned is not None and not check.is_warning
        self._groups, self._pairs = SeenHashes(), SeenHashes()
        self._conflicts = SeenHashes()
        self._learned: list[Hashes] = []
        if self._is_again and learned is not None and len(learned):
            self._conflicts.add(learned)
        # a warning needs no second reading: lines are kept to name the earlier ones
        self._lines: list[tuple[Hashes, pl.Series]] = []
        #: whether a row has passed that must not
        self.is_late = False

    @property
    def learned(self) -> Hashes:
        """Groups in conflict."""
        return np.concatenate(self._learned) if self._learned else np.empty(0, np.uint64)

    def judge(self, typed: Typed, lines: pl.Series) -> tuple[pl.Series | None, list[int]]:
        """Judge the rows of a batch.

        Args:
            typed: the typed columns.
            lines: physical line of each row.

        Returns:
            Rows in conflict (None: there are none), and, for a warning, lines of earlier rows that are so too.
        """
        names = list(self.check.arguments["group"])
        if self.check.kind == "one_value":
            names.append(self.check.arguments["value"])
        whole = (
            ~pl.DataFrame([typed[name].is_null().alias(name) for name in dict.fromkeys(names)])
            .select(pl.any_horizontal(pl.all()))
            .to_series()
        )
        if not whole.any():
            return None, []
        columns = [typed[name].filter(whole) for name in names]
        groups = _joined(columns[: len(self.check.arguments["group"])])
        earlier: list[int] = []
        if not self._is_again:
            earlier = self._learn(groups, columns, lines.filter(whole))
        broken = self._conflicts.known(groups)
        if not broken.any():
            return None, earlier
        mask = np.zeros(len(whole), bool)
        mask[np.flatnonzero(whole.to_numpy())[broken]] = True
        return pl.Series(mask), earlier

    def _learn(self, groups: Hashes, columns: list[pl.Series], lines: pl.Series) -> list[int]:
        """Find new conflicts; returns the earlier lines that they concern, for a warning."""
        before = self._groups.known(groups)
        if self.check.kind == "only_once":
            conflicts = groups[self._groups.add(groups)]
        else:
            # a value that is new, of a group that is not
            candidates = groups[~self._pairs.add(_joined(columns))]
            conflicts = candidates[self._groups.add(candidates)]
        passed: list[int] = []
        fresh = np.unique(conflicts[~self._conflicts.known(conflicts)])
        if len(fresh):
            late = np.intersect1d(fresh, groups[before])
            if len(late) and self.check.is_warning:
                passed = [
                    line for seen, of in self._lines for line in of.filter(pl.Series(np.isin(seen, late))).to_list()
                ]
            self.is_late = self.is_late or bool(len(late))
            self._conflicts.add(fresh)
            self._learned.append(fresh)
        if self.check.is_warning:
            self._lines.append((groups, lines.cast(pl.UInt32)))
        return passed
