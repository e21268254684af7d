"""What an outsider can know of a set of counts, written as integer linear constraints.

Unknowns are *atoms*: persons of one smallest area, one smallest subgroup, one part of the indicator (for a rate those
in the numerator, and the rest of the denominator). Every published count is a sum of atoms. What is withheld leaves its
atoms open. The mark A ("hidden because one of its counts is small") is knowledge too, because the policy is published
with the release; the mark D ("hidden") claims nothing of the cell's own counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import sparse

#: how an unbounded end of an interval is written
UNBOUNDED = float("inf")


class CellKey(NamedTuple):
    """Key of a published cell, as in the mart."""

    indicator_code: str
    variant: str
    area_code: str
    evaluation_year: int
    subgroup: str
    basis: str

    def __str__(self) -> str:
        return " ".join(
            str(part) for part in (self.indicator_code, self.variant, self.area_code, self.evaluation_year,
                                   *(p for p in (self.subgroup, self.basis) if p not in ("all", "none")))
        )  # fmt: skip


class Mark(NamedTuple):
    """Some of these sums, each with its switch, lies between 1 and threshold - 1."""

    switches: list[int]
    sums: list[list[int]]
    threshold: int


@dataclass
class System:
    """Integer unknowns with bounds and linear constraints, built up step by step.

    Attributes:
        lower: smallest value of each unknown.
        upper: largest value of each unknown; UNBOUNDED where nothing is known.
        rows: constraints as (indices, coefficients, smallest, largest).
        marks: constraints of which one of several holds.
        cap: no count is larger than this; stands for infinity in constraints with a switch.
    """

    cap: int
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[tuple[list[int], list[float], float, float]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def unknown(self, lower: float = 0, upper: float = UNBOUNDED) -> int:
        """Add an unknown and return its index."""
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.lower) - 1

    def require(self, terms: Mapping[int, float], smallest: float = -UNBOUNDED, largest: float = UNBOUNDED) -> None:
        """Add smallest <= sum of terms <= largest."""
        self.rows.append((list(terms), list(terms.values()), smallest, largest))

    def require_sum(self, atoms: Iterable[int], smallest: float, largest: float) -> None:
        """Add smallest <= sum of atoms <= largest."""
        self.require(dict.fromkeys(atoms, 1.0), smallest, largest)

    def require_some_small(self, sums: Sequence[Sequence[int]], threshold: int) -> None:
        """At least one of the sums lies between 1 and threshold - 1 (a cell that is hidden for being small)."""
        if len(sums) == 1:
            self.require_sum(sums[0], 1, threshold - 1)
            return
        switches = []
        for atoms in sums:
            switch = self.unknown(0, 1)
            switches.append(switch)
            self.require({**dict.fromkeys(atoms, 1.0), switch: -1.0}, smallest=0)
            self.require({**dict.fromkeys(atoms, 1.0), switch: float(self.cap)}, largest=self.cap + threshold - 1)
        self.require_sum(switches, 1, UNBOUNDED)
        self.marks.append(Mark(switches, [list(atoms) for atoms in sums], threshold))

    def counts(self) -> list[int]:
        """Unknowns that are counts of persons: all but the switches."""
        switches = {switch for mark in self.marks for switch in mark.switches}
        return [index for index in range(len(self.lower)) if index not in switches]

    def matrix(self) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """Constraints as matrix, smallest and largest right-hand sides."""
        data: list[float] = []
        columns: list[int] = []
        starts = [0]
        for indices, coefficients, _, _ in self.rows:
            columns.extend(indices)
            data.extend(coefficients)
            starts.append(len(columns))
        matrix = sparse.csr_array((data, columns, starts), shape=(len(self.rows), len(self.lower)))
        return matrix, np.array([row[2] for row in self.rows]), np.array([row[3] for row in self.rows])
