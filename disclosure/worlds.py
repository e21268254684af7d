"""How far an outsider can narrow withheld counts: by linear programs, and by whole possible worlds.

A *world* is a set of whole numbers that agrees with everything published. Two worlds in which a count differs by the
policy's width prove that nobody can narrow the count below that width, whatever method he uses: the proof holds against
whole-number reasoning and knowledge of the rules, not only against the relaxation that a linear program solves. One
world tells of all counts at once, so a few programs settle most of a table; only what stays open is asked one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from disclosure.model import UNBOUNDED, System

Sums = Mapping[str, Sequence[int]]
_ROUNDS = 10
_SECONDS = 20.0
# a world far out is as good as the farthest one, and is found sooner
_LOOSE = 0.5


class InfeasibleError(RuntimeError):
    """What is published contradicts itself: no world agrees with it."""


@dataclass(frozen=True)
class Interval:
    """Smallest and largest value that a count can have.

    Attributes:
        low: smallest value; for a settled count the smallest value seen.
        high: largest value.
        is_exact: nothing outside is possible; otherwise the true interval is at least this wide.
    """

    low: float
    high: float
    is_exact: bool

    @property
    def width(self) -> float:
        """Difference of the ends (persons)."""
        return self.high - self.low


class Solver:
    """Programs over one system; the matrices are built once."""

    def __init__(self, system: System) -> None:
        self._size = len(system.lower)
        matrix, smallest, largest = system.matrix()
        self._constraints = LinearConstraint(matrix, smallest, largest)
        self._bounds = Bounds(np.array(system.lower), np.array(system.upper))
        self._cap = system.cap

    def world(self, objective: np.ndarray, *, whole: bool | Sequence[int] = True) -> np.ndarray | None:
        """Values that minimize the objective, None if there are none; below the system's cap.

        Args:
            objective: weight of each unknown.
            whole: whole numbers; False: the linear relaxation; a list: these unknowns only are whole.
        """
        integrality = np.full(self._size, float(whole is True))
        if not isinstance(whole, bool):
            integrality[list(whole)] = 1.0
        done = milp(
            objective,
            integrality=integrality,
            bounds=Bounds(self._bounds.lb, np.minimum(self._bounds.ub, self._cap)),
            constraints=self._constraints,
            options={"time_limit": _SECONDS},
        )
        if done.status == 2:
            return None
        if done.x is None:
            raise RuntimeError(f"the solver found no world in {_SECONDS:.0f} s: {done.message}")
        return np.asarray(np.rint(done.x) if whole is True else done.x)

    def bound(self, sums: Sequence[int], sign: int) -> float:
        """Smallest (sign 1) or largest (sign -1) value of a sum in the linear relaxation.

        Raises:
            InfeasibleError: no values agree with the constraints.
        """
        objective = np.zeros(self._size)
        np.add.at(objective, list(sums), float(sign))
        matrix, smallest, largest = self._constraints.A, self._constraints.lb, self._constraints.ub
        equal = np.isclose(smallest, largest)
        above, below = ~equal & np.isfinite(largest), ~equal & np.isfinite(smallest)
        inequalities = sparse.vstack([matrix[above], -matrix[below]]) if (above | below).any() else None
        done = linprog(
            objective,
            A_ub=inequalities,
            b_ub=np.concatenate([largest[above], -smallest[below]]) if inequalities is not None else None,
            A_eq=matrix[equal] if equal.any() else None,
            b_eq=smallest[equal] if equal.any() else None,
            bounds=np.column_stack([self._bounds.lb, self._bounds.ub]),
            method="highs",
        )
        if done.status == 2:
            raise InfeasibleError("what is published contradicts itself")
        if done.status == 3:
            return -sign * UNBOUNDED
        value = sign * float(done.fun)
        # counts are whole numbers
        return float(math.ceil(value - 1e-6) if sign == 1 else math.floor(value + 1e-6))


def _signs(seed: int, count: int) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(count) < 0.5, -1.0, 1.0)


def _pair(system: System, incidence: np.ndarray, signs: np.ndarray, width: float, *, whole: bool) -> np.ndarray | None:
    """Two worlds in which as many of the given sums as possible lie ``width`` apart, each in the direction of its sign.

    A sum further apart than ``width`` counts no more than one that is just so: the difference is spread over many sums
    instead of heaped on a few. Maximizes sum of s with s <= width and s <= sign * (sum in one world - in the other).

    Args:
        system: what is known.
        incidence: sums x unknowns.
        signs: one per sum.
        width: enough of a difference.
        whole: whole numbers; False: the linear relaxation.
    """
    matrix, smallest, largest = system.matrix()
    size, count = len(system.lower), len(incidence)
    spread = sparse.csr_array(signs[:, None] * incidence)
    blocks = sparse.block_array(
        [[matrix, None, None], [None, matrix, None], [spread, -spread, -sparse.eye_array(count)]], format="csr"
    )
    upper = np.minimum(np.array(system.upper), system.cap)
    done = milp(
        np.concatenate([np.zeros(2 * size), -np.ones(count)]),
        integrality=np.concatenate([np.full(2 * size, float(whole)), np.zeros(count)]),
        bounds=Bounds(
            np.concatenate([system.lower, system.lower, np.full(count, -2.0 * system.cap * size)]),
            np.concatenate([upper, upper, np.full(count, width)]),
        ),
        constraints=LinearConstraint(
            blocks,
            np.concatenate([smallest, smallest, np.zeros(count)]),
            np.concatenate([largest, largest, np.full(count, UNBOUNDED)]),
        ),
        options={"mip_rel_gap": _LOOSE, "time_limit": _SECONDS},
    )
    if done.status == 2:
        raise InfeasibleError("what is published contradicts itself")
    return None if done.x is None else np.asarray(np.rint(done.x[: 2 * size]) if whole else done.x[: 2 * size])


def narrow(
    system: System, watched: Sums, width: float, *, known: Sequence[np.ndarray] = (), whole: bool = True
) -> dict[str, Interval]:
    """Interval of every watched sum: exact where it is narrower than ``width``, at least ``width`` wide otherwise.

    Args:
        system: what is known.
        watched: name -> atoms whose sum is watched.
        width: a count that was seen this far apart (persons) is settled and not asked further.
        known: worlds that are known to agree with the system (the planner knows the true one).
        whole: worlds of whole numbers; False: the linear relaxation, which is faster and never narrower.

    Raises:
        InfeasibleError: no world agrees with the system.
    """
    names = list(watched)
    if not names:
        return {}
    size = len(system.lower)
    incidence = np.zeros((len(names), size))
    for row, name in enumerate(names):
        np.add.at(incidence[row], list(watched[name]), 1.0)
    low, high = np.full(len(names), UNBOUNDED), np.full(len(names), -UNBOUNDED)

    def see(world: np.ndarray) -> None:
        values = incidence @ world[:size]
        np.minimum(low, values, out=low)
        np.maximum(high, values, out=high)

    def open_ones() -> np.ndarray:
        return np.flatnonzero(~(high - low >= width))

    for world in known:
        see(world)
    for attempt in range(_ROUNDS):
        still = open_ones()
        pair = _pair(system, incidence[still], _signs(attempt, len(still)), width, whole=whole) if len(still) else None
        if pair is None:
            break
        see(pair[:size])
        see(pair[size:])
        if len(open_ones()) > 0.9 * len(still):
            break
    solver = Solver(system)
    exact = np.zeros(len(names), dtype=bool)
    for row in open_ones():
        for sign in (1.0, -1.0):
            if high[row] - low[row] >= width:
                break
            world_or_none = solver.world(sign * incidence[row], whole=whole)
            if world_or_none is None:
                raise InfeasibleError("what is published contradicts itself")
            see(world_or_none)
        exact[row] = high[row] - low[row] < width
    return {name: Interval(low[row], high[row], bool(exact[row])) for row, name in enumerate(names)}
