"""How far an outsider can narrow withheld counts: by linear programs, and by whole possible worlds.

A *world* is a set of whole numbers that agrees with everything published. Two worlds in which a count differs by the
policy's width prove that nobody can narrow the count below that width, whatever method he uses: the proof holds against
whole-number reasoning and knowledge of the rules, not only against the relaxation that a linear program solves. One
world tells of all counts at once, so a few programs settle most of a table; only what stays open is asked one by one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from disclosure.model import UNBOUNDED, System

Sums = Mapping[str, Sequence[int]]
_ROUNDS = 10
_SECONDS = 20.0
# a world far out is as good as the farthest one, and is found sooner
_LOOSE = 0.5
_TOLERANCE = 1e-6
_REMEMBERED = 64
_TURNS = 12
_FAR = 1e7


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


class _Reduced:
    """A system without the unknowns whose value follows at once: shown counts, and what their sums leave for one more.

    Args:
        system: what is known.

    Raises:
        InfeasibleError: the values that follow contradict each other.
    """

    def __init__(self, system: System) -> None:
        matrix, smallest, largest = system.matrix()
        self.lower = np.array(system.lower)
        self.upper = np.minimum(np.array(system.upper), system.cap)
        entries = matrix.tocoo()
        row, column, weight = entries.row, entries.col, entries.data
        rows, size = matrix.shape
        self.is_free = np.ones(size, dtype=bool)
        self.value = np.zeros(size)
        equal = smallest == largest
        negative = np.bincount(row[weight < 0], minlength=rows) > 0
        while True:
            left = self.is_free[column]
            rest = smallest - matrix @ self.value
            unknowns = np.bincount(row[left], minlength=rows)
            empty = equal & ~negative & (np.abs(rest) < _TOLERANCE) & (unknowns > 0)
            single = equal & (unknowns == 1) & ~empty
            at = left & (single[row] | (empty[row] & (self.lower[column] == 0)))
            with np.errstate(invalid="ignore"):
                follows = np.where(empty[row], 0.0, rest[row] / weight)
                is_whole = np.abs(follows - np.rint(follows)) < _TOLERANCE
            # a fraction is no count: the programs find out that nothing agrees with it
            at &= is_whole
            if not at.any():
                break
            self.value[column[at]] = np.rint(follows[at])
            self.is_free[column[at]] = False
        known = ~self.is_free
        told = matrix @ self.value
        settled = unknowns == 0
        outside = (told < smallest - _TOLERANCE) | (told > largest + _TOLERANCE)
        if (outside & settled).any() or ((self.value < self.lower) | (self.value > self.upper))[known].any():
            raise InfeasibleError("what is published contradicts itself")
        self.matrix = matrix[~settled][:, self.is_free]
        self.smallest, self.largest = (smallest - told)[~settled], (largest - told)[~settled]
        self.lower, self.upper = self.lower[self.is_free], self.upper[self.is_free]
        self.size = int(self.is_free.sum())

    def whole_world(self, free: np.ndarray) -> np.ndarray:
        """Values of all unknowns from those of the free ones."""
        world = self.value.copy()
        world[self.is_free] = free
        return world


class Solver:
    """Programs over one system; the matrices are built once.

    Args:
        system: what is known.
        reduced: the same without what follows at once, where it was built already.

    Raises:
        InfeasibleError: what is published contradicts itself at first sight.
    """

    def __init__(self, system: System, reduced: _Reduced | None = None) -> None:
        self._reduced = _Reduced(system) if reduced is None else reduced
        self._farthest = np.minimum(np.array(system.upper)[self._reduced.is_free], _FAR)

    def world(self, objective: np.ndarray, *, whole: bool | Sequence[int] = True) -> np.ndarray | None:
        """Values that minimize the objective, None if there are none; below the system's cap.

        Args:
            objective: weight of each unknown.
            whole: whole numbers; False: the linear relaxation; a list: these unknowns only are whole.
        """
        reduced = self._reduced
        integrality = np.full(len(objective), float(whole is True))
        if not isinstance(whole, bool):
            integrality[list(whole)] = 1.0
        if not reduced.size:
            return reduced.whole_world(np.zeros(0))
        done = _solve(
            objective[reduced.is_free],
            integrality[reduced.is_free],
            (reduced.lower, reduced.upper),
            (reduced.matrix, reduced.smallest, reduced.largest),
        )
        return None if done is None else reduced.whole_world(np.rint(done) if whole is True else done)

    def bound(self, sums: Sequence[int], sign: int) -> float:
        """Smallest (sign 1) or largest (sign -1) value of a sum in the linear relaxation.

        Raises:
            InfeasibleError: no values agree with the constraints.
        """
        reduced = self._reduced
        objective = np.zeros(len(reduced.value))
        np.add.at(objective, list(sums), float(sign))
        found = np.zeros(0)
        if reduced.size:
            rows = reduced.matrix, reduced.smallest, reduced.largest
            solved = _solve(objective[reduced.is_free], np.zeros(reduced.size), (reduced.lower, self._farthest), rows)
            if solved is None:
                raise InfeasibleError("what is published contradicts itself")
            found = solved
        value = sign * float(objective @ reduced.whole_world(found))
        if sign == -1 and value >= _FAR:
            return UNBOUNDED
        # counts are whole numbers
        return float(math.ceil(value - 1e-6) if sign == 1 else math.floor(value + 1e-6))


def _solve(
    objective: np.ndarray,
    integrality: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    rows: tuple[sparse.csr_array, np.ndarray, np.ndarray],
    *,
    gap: float | None = None,
) -> np.ndarray | None:
    """Minimize; None where nothing agrees with the constraints.

    Raises:
        RuntimeError: the solver gave up.
    """
    done = milp(
        objective,
        integrality=integrality,
        bounds=Bounds(*bounds),
        constraints=LinearConstraint(*rows) if rows[0].shape[0] else None,
        options={"time_limit": _SECONDS} | ({} if gap is None else {"mip_rel_gap": gap}),
    )
    if done.status == 2:
        return None
    if done.x is None:
        raise RuntimeError(f"the solver found no world in {_SECONDS:.0f} s: {done.message}")
    return np.asarray(done.x)


class _Search:
    """Worlds seen so far of one system, and how far apart they lie in each watched sum."""

    def __init__(self, system: System, watched: Sums, width: float) -> None:
        self.system, self.width = system, width
        self.reduced = _Reduced(system)
        self.matrix, self.smallest, self.largest = system.matrix()
        size = len(system.lower)
        self.incidence = np.zeros((len(watched), size))
        for row, atoms in enumerate(watched.values()):
            np.add.at(self.incidence[row], list(atoms), 1.0)
        self.low, self.high = np.full(len(watched), UNBOUNDED), np.full(len(watched), -UNBOUNDED)
        self.counts = np.array(system.counts(), dtype=int)
        # one row per switch: the sum that it speaks of
        self.switches = np.array([switch for mark in system.marks for switch in mark.switches], dtype=int)
        self.limits = np.array([mark.threshold for mark in system.marks for _ in mark.switches], dtype=float)
        self.switched = np.zeros((len(self.switches), size))
        for row, atoms in enumerate(atoms for mark in system.marks for atoms in mark.sums):
            np.add.at(self.switched[row], list(atoms), 1.0)
        #: whole worlds that were checked against every constraint
        self.checked: list[np.ndarray] = []

    def see(self, world: np.ndarray) -> None:
        """Take note of a world that agrees with the system."""
        values = self.incidence @ world
        np.minimum(self.low, values, out=self.low)
        np.maximum(self.high, values, out=self.high)

    def open_ones(self) -> np.ndarray:
        """Watched sums that are not known to be wide enough."""
        return np.flatnonzero(~(self.high - self.low >= self.width))

    def offer(self, candidates: Sequence[np.ndarray]) -> int:
        """Look at values that may be a world: rounded, switches set as the counts have it, held against everything.

        Args:
            candidates: values of all counts, without those of switches.

        Returns:
            How many of them are worlds.
        """
        fitting = [one for one in candidates if len(one) == len(self.counts)]
        if not fitting:
            return 0
        worlds = np.zeros((len(self.system.lower), len(fitting)))
        worlds[self.counts] = np.rint(np.column_stack(fitting))
        if len(self.switches):
            sums = self.switched @ worlds
            worlds[self.switches] = (sums >= 1) & (sums <= self.limits[:, None] - 1)
        told = self.matrix @ worlds
        lower, upper = np.array(self.system.lower)[:, None], np.array(self.system.upper)[:, None]
        agrees = (
            (told >= self.smallest[:, None] - _TOLERANCE).all(axis=0)
            & (told <= self.largest[:, None] + _TOLERANCE).all(axis=0)
            & (worlds >= lower).all(axis=0)
            & (worlds <= upper).all(axis=0)
        )
        for number in np.flatnonzero(agrees):
            self.see(worlds[:, number])
            self.checked.append(worlds[:, number].copy())
        return int(agrees.sum())

    def take(self, world: np.ndarray) -> None:
        """Take note of what the solver calls a world; where it is one of whole numbers, it is remembered."""
        if not self.offer([world[self.counts]]):
            self.see(world)

    def settled(self, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the free unknowns with every switch fixed as in a world seen: what remains is all but a network."""
        lower, upper = self.reduced.lower.copy(), self.reduced.upper.copy()
        if not self.system.marks:
            return lower, upper
        base = self.checked[turn % len(self.checked)]
        chance = np.random.default_rng(turn)
        fixed = np.zeros(len(self.system.lower))
        for mark in self.system.marks:
            on = [switch for switch in mark.switches if base[switch] == 1]
            fixed[on[chance.integers(len(on))]] = 1.0
        is_switch = np.zeros(len(fixed), dtype=bool)
        is_switch[self.switches] = True
        free = is_switch[self.reduced.is_free]
        lower[free] = upper[free] = fixed[self.reduced.is_free][free]
        return lower, upper

    def pair(self, turn: int) -> bool:
        """Find two worlds in which as many open sums as possible lie ``width`` apart, each in a direction of its own.

        A sum further apart than ``width`` counts no more than one that is just so: the difference is spread over many
        sums instead of heaped on a few. Maximizes sum of s with s <= width and s <= sign * (sum in one world - in the
        other).

        Returns:
            Whether the solver found a pair.

        Raises:
            InfeasibleError: no world agrees with the system.
        """
        still, reduced = self.open_ones(), self.reduced
        size, count = reduced.size, len(still)
        spread = sparse.csr_array(_signs(turn, count)[:, None] * self.incidence[still][:, reduced.is_free])
        rows = reduced.matrix.shape[0]
        blocks = sparse.block_array(
            [[reduced.matrix, None, None], [None, reduced.matrix, None], [spread, -spread, -sparse.eye_array(count)]],
            format="csr",
        ) if rows else sparse.hstack([spread, -spread, -sparse.eye_array(count)], format="csr")  # fmt: skip
        lower, upper = reduced.lower, reduced.upper
        try:
            found = _solve(
                np.concatenate([np.zeros(2 * size), -np.ones(count)]),
                np.zeros(2 * size + count),
                (
                    np.concatenate([lower, lower, np.full(count, -2.0 * self.system.cap * size)]),
                    np.concatenate([upper, upper, np.full(count, self.width)]),
                ),
                (
                    blocks,
                    np.concatenate([reduced.smallest, reduced.smallest, np.zeros(count)]),
                    np.concatenate([reduced.largest, reduced.largest, np.full(count, UNBOUNDED)]),
                ),
                gap=_LOOSE,
            )
        except RuntimeError:
            return False
        if found is None:
            raise InfeasibleError("what is published contradicts itself")
        for half in (found[:size], found[size : 2 * size]):
            self.take(reduced.whole_world(half))
        return True

    def push(self, turn: int, rows: np.ndarray, *, fix: bool = True) -> None:
        """Look for two worlds around one that was seen, where the given sums lie far off, each its own way.

        With the switches fixed and bounds of whole numbers close around a whole world, corners of what remains are
        whole more often than not, and the differences spread over many sums because none can go far. With switches left
        free, the close bounds still make for small programs.
        """
        lower, upper = self.settled(turn) if fix else (self.reduced.lower.copy(), self.reduced.upper.copy())
        free = self.reduced.is_free
        base = self.checked[turn % len(self.checked)][free]
        reach = math.ceil(self.width) * (1 + turn % 2)
        is_count = np.zeros(len(free), dtype=bool)
        is_count[self.counts] = True
        near = is_count[free]
        lower[near] = np.maximum(lower[near], base[near] - reach)
        upper[near] = np.minimum(upper[near], base[near] + reach)
        weights = _signs(turn, len(rows)) * np.random.default_rng(turn).uniform(0.5, 1.5, len(rows))
        objective = (weights @ self.incidence[rows])[free]
        fractions, wholes = np.zeros(len(objective)), np.ones(len(objective))
        for sign in (1.0, -1.0):
            for integrality in (fractions, wholes) if fix else (wholes,):
                found = _solve(sign * objective, integrality, (lower, upper), self.rows, gap=_LOOSE)
                if found is None or self.offer([self.reduced.whole_world(found)[self.counts]]):
                    break

    def spread(self, solver: Solver) -> None:
        """Whole worlds around whole worlds: for all open sums at once, then for each of those that stay open."""
        if not self.checked:
            some = solver.world(np.zeros(len(self.system.lower)))
            if some is None:
                raise InfeasibleError("what is published contradicts itself")
            self.take(some)
            if not self.checked:
                return
        idle = 0
        for turn in range(_TURNS):
            still = self.open_ones()
            if not len(still) or idle == 3:
                break
            self.push(turn, still)
            idle = idle + 1 if len(self.open_ones()) > 0.9 * len(still) else 0
        for row in self.open_ones():
            for fix in (True, False):
                if self.high[row] - self.low[row] < self.width:
                    self.push(0, np.array([row]), fix=fix)

    @property
    def rows(self) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
        """Constraints on the free unknowns."""
        return self.reduced.matrix, self.reduced.smallest, self.reduced.largest

    def rounds(self) -> None:
        """Pairs in fractions, until they settle little more."""
        for turn in range(_ROUNDS):
            before = len(self.open_ones())
            if not before or not self.pair(turn):
                return
            if len(self.open_ones()) > 0.9 * before:
                return


def _signs(seed: int, count: int) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(count) < 0.5, -1.0, 1.0)


def narrow(
    system: System,
    watched: Sums,
    width: float,
    *,
    memory: list[np.ndarray] | None = None,
    whole: bool = True,
    first: bool = False,
    but: Collection[str] = (),
) -> dict[str, Interval]:
    """Interval of every watched sum: exact where it is narrower than ``width``, at least ``width`` wide otherwise.

    Args:
        system: what is known.
        watched: name -> atoms whose sum is watched.
        width: a count that was seen this far apart (persons) is settled and not asked further.
        memory: worlds that may agree with the system, without their switches (the planner knows the true one, and those
            of the step before); each is held against the system, and those found here are added.
        whole: worlds of whole numbers; False: the linear relaxation, which is faster and never narrower.
        first: stop at the first sum that is narrower, those that look narrowest first; what is then neither exact nor
            wide was not looked at.
        but: names that are not looked at (with ``first``).

    Raises:
        InfeasibleError: no world agrees with the system.
    """
    names = list(watched)
    if not names:
        return {}
    search = _Search(system, watched, width)
    search.offer(memory or ())
    remembered = len(search.checked)
    solver = Solver(system, search.reduced)
    if search.reduced.size:
        if whole:
            search.spread(solver)
        else:
            search.rounds()
    else:
        search.see(search.reduced.value)
    if memory is not None:
        memory[:] = [world[search.counts] for world in search.checked[remembered:]] + memory
        del memory[_REMEMBERED:]
    exact = np.zeros(len(names), dtype=bool)
    left = search.open_ones()
    if first:
        left = left[np.argsort((search.high - search.low)[left], kind="stable")]
        left = left[[names[row] not in but for row in left]]
    for row in left:
        for sign in (1.0, -1.0):
            if search.high[row] - search.low[row] >= width:
                break
            world = solver.world(sign * search.incidence[row], whole=whole)
            if world is None:
                raise InfeasibleError("what is published contradicts itself")
            search.take(world)
        exact[row] = search.high[row] - search.low[row] < width
        if first and exact[row]:
            break
    return {name: Interval(search.low[row], search.high[row], bool(exact[row])) for row, name in enumerate(names)}
