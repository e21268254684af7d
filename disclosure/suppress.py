"""Complementary suppression: which cells to hide beside the small ones, at the least loss.

The search alternates two programs. One looks for a count of a hidden cell that an outsider could narrow below the
policy's width (``worlds.narrow``). The other finds the cheapest further cells whose hiding gives that count two values
the width apart, after Fischetti & Salazar-González (2001, complementary suppression as an integer program over the
tables that the attacker must reckon with). When nothing can be narrowed, every cell hidden on the way is tried again:
what is not needed any more is shown. The outcome holds against whole-number reasoning and knowledge of the policy, and
is minimal in that no single cell could be shown in addition.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from disclosure.cells import Cell, Group, Layout, Status, coding_of, require_cell, shown_counts
from disclosure.geography import Areas
from disclosure.model import CellKey, System
from disclosure.policy import Policy
from disclosure.worlds import InfeasibleError, Interval, Solver, narrow

#: a cell by what it is about, whatever code its area has: series, year and subgroup, and the smallest areas
Place = tuple[object, ...]


def place_of(key: CellKey, areas: Areas) -> Place:
    """What a cell is about: codes of areas change, the people behind them do not."""
    return (*key[:2], *key[3:], areas.paths.get(key.area_code))


@dataclass(frozen=True)
class EarlierTable:
    """Cells of one group and year as an earlier release shows them.

    Attributes:
        release_id: the release.
        areas: its areas in the smallest areas of today.
        cells: its cells as published.
    """

    release_id: str
    areas: Areas
    cells: dict[CellKey, Cell]

    def place(self, key: CellKey) -> Place:
        """What a cell of this table is about."""
        return place_of(key, self.areas)


@dataclass(frozen=True)
class Decision:
    """What is shown of a cell."""

    status: Status
    bound: str | None = None


@dataclass
class Knowledge:
    """All that an outsider knows of one group and year: this table, earlier ones, and how they hang together.

    Attributes:
        system: unknowns and constraints.
        layout: unknowns of this table.
        watched: name of a count of a hidden cell -> its unknowns.
        origin: name -> release (None: this table), cell, count.
        is_linked: an earlier table holds other figures, so that its unknowns stand beside ours.
    """

    system: System
    layout: Layout
    watched: dict[str, list[int]] = field(default_factory=dict)
    origin: dict[str, tuple[str | None, CellKey, str]] = field(default_factory=dict)
    is_linked: bool = False


def _watch(known: Knowledge, layout: Layout, cell: Cell, release: str | None) -> None:
    for count, atoms in layout.sums(cell.key).items():
        if count in layout.group.policy.protected:
            name = f"{release or ''}|{'|'.join(map(str, cell.key))}|{count}"
            known.watched[name] = atoms
            known.origin[name] = (release, cell.key, count)


def _agrees(cells: Mapping[CellKey, Cell], areas: Areas, earlier: EarlierTable) -> tuple[bool, int]:
    """Whether an outsider finds the same figures wherever both tables show them, and the largest difference."""
    by_area: dict[Place, dict[str, int]] = {}
    for key, cell in cells.items():
        if cell.status == "F":
            by_area[place_of(key, areas)] = shown_counts(cell)
    largest = 0
    for key, cell in earlier.cells.items():
        if cell.status != "F":
            continue
        ours = by_area.get(earlier.place(key))
        if ours is not None:
            theirs = shown_counts(cell)
            largest = max([largest, *(abs(ours[name] - value) for name, value in theirs.items() if name in ours)])
    return largest == 0, largest


def cap_for(tables: Iterable[Iterable[Cell]]) -> int:
    """A count that no withheld count reaches, as far as what is shown tells."""
    shown = [value for cells in tables for cell in cells for value in shown_counts(cell).values()]
    return 4 * max([50, *shown])


def know(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], earlier: Sequence[EarlierTable], *, same: bool = True
) -> Knowledge:
    """Everything an outsider knows of one group and year, earliest release first.

    Args:
        group: the series.
        areas: areas of this table.
        cells: this table as published: hidden cells hold no figures.
        earlier: earlier tables, oldest first.
        same: take figures that agree wherever both are shown as the same; False: as restated.
    """
    system = System(cap=cap_for([cells.values(), *(table.cells.values() for table in earlier)]))
    layout = Layout(group, areas, system)
    known = Knowledge(system, layout)
    marked: set[Place] = set()

    def tell(table: Mapping[CellKey, Cell], of: Layout) -> None:
        for key, cell in table.items():
            if not cell.is_measured or key.area_code not in of.areas.paths:
                continue
            place = place_of(key, of.areas)
            require_cell(system, cell, of, rule_known=place not in marked)
            if cell.status != "F":
                marked.add(place)

    hidden_now = {place_of(key, areas) for key, cell in cells.items() if cell.status != "F"}
    for table in earlier:
        agrees, largest = _agrees(cells, areas, table)
        if agrees and same:
            older = Layout(group, table.areas, system, layout.atoms)
            layout.atoms.update(older.atoms)
        else:
            older = Layout(group, table.areas, system)
            known.is_linked = True
            reach = max(group.policy.assumed_moves, largest)
            for atom, index in older.atoms.items():
                if atom in layout.atoms:
                    system.require({index: 1.0, layout.atoms[atom]: -1.0}, -reach, reach)
        for cell in table.cells.values():
            # where the figures are the same, a cell that is hidden in both is attacked once
            repeats = agrees and same and table.place(cell.key) in hidden_now
            if cell.status != "F" and not repeats and cell.key.area_code in table.areas.paths:
                _watch(known, older, cell, table.release_id)
        tell(table.cells, older)
    tell(cells, layout)
    for cell in cells.values():
        if cell.status != "F" and cell.is_measured and cell.key.area_code in areas.paths:
            _watch(known, layout, cell, None)
    return known


def _blank(cell: Cell, decision: Decision) -> Cell:
    if decision.status == "F":
        return cell
    return replace(cell, numerator=None, denominator=None, status=decision.status, bound=decision.bound)


#: name of a count, its interval, its cell, which count of the cell
Narrowed = tuple[str, Interval, CellKey, str]


class _Table:
    """The planner's view of one group and year: true figures, and what of them is hidden so far."""

    def __init__(
        self,
        group: Group,
        areas: Areas,
        cells: Mapping[CellKey, Cell],
        earlier: Sequence[EarlierTable],
        weight: Callable[[Cell], float],
    ) -> None:
        self.group, self.areas, self.cells, self.earlier = group, areas, dict(cells), earlier
        self.weight = weight
        self.layout = Layout(group, areas, System(cap=1))
        self.true_counts = {key: self._true_counts(cell) for key, cell in self.cells.items() if cell.is_measured}
        shown = {t.place(key) for t in earlier for key, cell in t.cells.items() if cell.status == "F"}
        self.shown_before = {key for key in self.cells if place_of(key, areas) in shown}
        self.known_before = {
            key for key in self.cells for t in earlier if place_of(key, areas) in {t.place(k) for k in t.cells}
        }
        self.decisions: dict[CellKey, Decision] = {}
        self.small: set[CellKey] = set()
        #: worlds seen on the way, without their switches: most still agree after the next step
        self.worlds: list[np.ndarray] = []
        #: counts that no further cell can protect, whatever is hidden beside it
        self.hopeless: set[str] = set()

    def _true_counts(self, cell: Cell) -> dict[str, int]:
        counts = shown_counts(cell)
        if "rest" in self.layout.sums(cell.key) and "rest" not in counts:
            (part,) = (one for one in self.group.series if one.nesting.part_of is not None)
            inner = self.cells.get(cell.key._replace(variant=part.code[1]))
            if inner is not None and inner.numerator is not None:
                counts["rest"] = counts["numerator"] - inner.numerator
        return counts

    def first(self) -> None:
        """Hide what must be hidden for itself: small counts, coded rates, what an earlier release hid, the margin."""
        policy = self.group.policy
        hidden: dict[Place, Cell] = {}
        for table in self.earlier:
            for key, cell in table.cells.items():
                if cell.status != "F":
                    hidden.setdefault(table.place(key), cell)
        before = {key: hidden[place] for key in self.cells if (place := place_of(key, self.areas)) in hidden}
        for key, counts in self.true_counts.items():
            values = [value for name, value in counts.items() if name in policy.protected]
            bound = coding_of(self.cells[key], self.group.coding)
            if key in before:
                self.decisions[key] = Decision(before[key].status, before[key].bound)
            elif any(0 < value < policy.min_count for value in values):
                self.small.add(key)
                self.decisions[key] = Decision("D")
            elif bound is not None or (
                key not in self.shown_before
                and any(policy.min_count <= value < policy.min_count + policy.restatement_margin for value in values)
            ):
                self.decisions[key] = Decision("D")
            else:
                self.decisions[key] = Decision("F")

    def repeats_the_last(self) -> bool:
        """Whether the one earlier table shows and hides exactly this: then nothing new can be learned from it."""
        if len(self.earlier) != 1:
            return False
        (old,) = self.earlier
        now = {place_of(key, self.areas): cell for key, cell in self.published().items() if cell.is_measured}
        then = {old.place(key): cell for key, cell in old.cells.items() if cell.is_measured}
        return {place: (c.numerator, c.denominator, c.status, c.bound) for place, c in now.items()} == {
            place: (c.numerator, c.denominator, c.status, c.bound) for place, c in then.items()
        }

    def published(self) -> dict[CellKey, Cell]:
        """The table as it would be published."""
        return {key: _blank(cell, self.decisions.get(key, Decision("F"))) for key, cell in self.cells.items()}

    def truth(self, known: Knowledge) -> list[np.ndarray]:
        """The true world, where each smallest area is one county of this table."""
        if known.is_linked or any(len(found) != 1 for found in self._county_paths().values()):
            return []
        world = np.zeros(len(known.system.counts()))
        for key, counts in self.true_counts.items():
            if key.area_code not in self._county_paths() or key.subgroup not in self.group.leaves():
                continue
            for name, atoms in known.layout.sums(key).items():
                if len(atoms) == 1 and name in counts:
                    world[atoms[0]] = counts[name]
        return [world]

    def _county_paths(self) -> dict[str, frozenset[tuple[str, ...]]]:
        counties = {key.area_code for key, cell in self.cells.items() if cell.area_level == "county"}
        return {area: found for area, found in self.areas.paths.items() if area in counties}

    def narrowed(self, *, whole: bool = False, first: bool = False, but: Collection[str] = ()) -> list[Narrowed]:
        """Counts that an outsider could narrow too far, the narrowest first.

        Args:
            whole: reason with whole numbers; False: with fractions, which is faster, and with a width that is larger by
                one, because whole numbers leave less room.
            first: name one such count only.
            but: counts that are not looked at then.
        """
        published, width = self.published(), self.group.policy.min_width + (0 if whole else 1)
        try:
            known = know(self.group, self.areas, published, self.earlier)
            self.worlds[:0] = self.truth(known)
            found = narrow(known.system, known.watched, width, memory=self.worlds, whole=whole, first=first, but=but)
        except InfeasibleError:
            known = know(self.group, self.areas, published, self.earlier, same=False)
            found = narrow(known.system, known.watched, width, memory=self.worlds, whole=whole, first=first, but=but)
        bad = [
            (name, interval, known.origin[name][1], known.origin[name][2])
            for name, interval in found.items()
            if interval.is_exact
        ]
        return sorted(bad, key=lambda item: (round(item[1].width, 6), item[0]))

    def partners(self, key: CellKey, count: str) -> list[CellKey]:
        """Cheapest further cells whose hiding lets a count of a hidden cell take two values far enough apart."""
        policy = self.group.policy
        cap = cap_for([self.cells.values()])
        system = System(cap=cap)
        switches: dict[CellKey, int] = {}
        worlds: list[Layout] = []
        for _ in range(2):
            layout = Layout(self.group, self.areas, system)
            worlds.append(layout)
            for cell_key, counts in self.true_counts.items():
                if self.decisions[cell_key].status != "F":
                    continue
                may_hide = any(counts.values()) and cell_key not in self.shown_before
                sums = layout.sums(cell_key)
                for name in ("numerator", "denominator"):
                    if name not in sums or name not in counts:
                        continue
                    atoms, value = sums[name], counts[name]
                    if not may_hide:
                        system.require_sum(atoms, value, value)
                        continue
                    if cell_key not in switches:
                        switches[cell_key] = system.unknown(0, 1)
                    terms = dict.fromkeys(atoms, 1.0)
                    system.require({**terms, switches[cell_key]: -float(cap)}, largest=value)
                    system.require({**terms, switches[cell_key]: float(value)}, smallest=value)
        difference = dict.fromkeys(worlds[0].sums(key)[count], 1.0)
        for atom in worlds[1].sums(key)[count]:
            difference[atom] = difference.get(atom, 0.0) - 1.0
        system.require(difference, smallest=policy.min_width)
        objective = np.zeros(len(system.lower))
        for cell_key, switch in switches.items():
            objective[switch] = self.weight(self.cells[cell_key])
        world = Solver(system).world(objective, whole=list(switches.values()))
        if world is None:
            return []
        return sorted(cell_key for cell_key, switch in switches.items() if world[switch] > 0.5)

    def hide_partners(self, bad: Sequence[Narrowed]) -> bool:
        """Hide the partners of the narrowest count that has any; whoever has none gets none later."""
        for name, _, key, count in bad:
            if name in self.hopeless:
                continue
            found = self.partners(key, count) if key in self.true_counts else []
            if found:
                for partner in found:
                    self.decisions[partner] = Decision("D")
                return True
            self.hopeless.add(name)
        return False

    def hide_more(self, bad: Sequence[Narrowed]) -> bool:
        """Hide the partners of the narrowest count, else the cheapest cell; False where nothing more can be hidden."""
        if self.hide_partners(bad):
            return True
        # what is shown already in earlier releases stays known; among the rest, the cheapest cell goes next
        left = [
            key
            for key, decision in self.decisions.items()
            if decision.status == "F" and key not in self.shown_before and any(self.true_counts[key].values())
        ]
        if not left:
            return False
        cheapest = min(left, key=lambda key: (self.weight(self.cells[key]), key))
        self.decisions[cheapest] = Decision("D")
        return True


@dataclass(frozen=True)
class Plan:
    """Decisions for one group and year.

    Attributes:
        decisions: every measured cell -> what is shown.
        exposed: counts that earlier releases give away whatever this one hides.
    """

    decisions: dict[CellKey, Decision]
    exposed: tuple[str, ...] = ()


def plan_table(
    group: Group,
    areas: Areas,
    cells: Mapping[CellKey, Cell],
    earlier: Sequence[EarlierTable],
    policy: Policy,
) -> Plan:
    """Decide what to hide in one group and year.

    Args:
        group: the series.
        areas: areas of this table.
        cells: every cell with its true figures.
        earlier: the same year in earlier releases, oldest first.
        policy: the policy, for the weights.
    """
    table = _Table(group, areas, cells, earlier, lambda cell: policy.weight(cell.area_level, cell.is_headline))
    table.first()
    if table.repeats_the_last():
        return Plan(dict(table.decisions))
    needed = {key for key, decision in table.decisions.items() if decision.status != "F"}
    exposed: list[str] = []
    # one at a time: the cells hidden for one protect others too
    while one := table.narrowed(first=True, but=table.hopeless):
        table.hide_partners(one)
    while bad := table.narrowed():
        if not table.hide_more(bad):
            exposed = [name for name, *_ in bad]
            break
    if not exposed:
        _show_what_need_not_be_hidden(table, needed)
        _show_bounds(table)
        _show_marks(table)
        exposed = _hold_against_whole_numbers(table)
    if exposed and earlier:
        exposed = _withhold_whole(table)
    return Plan(dict(table.decisions), tuple(exposed))


def _withhold_whole(table: _Table) -> list[str]:
    """Show nothing of the table: then nobody learns more than earlier releases have told; names of what they told.

    Where one moved person makes a cell small that was shown before, the figures around it give either the cell or its
    past away, whatever else is hidden.
    """
    for key in table.decisions:
        table.decisions[key] = Decision("D")
    known = {f"|{'|'.join(map(str, key))}|" for key in table.shown_before}
    return [name for name, *_ in table.narrowed(whole=True) if name[: name.rindex("|") + 1] not in known]


def _show_what_need_not_be_hidden(table: _Table, needed: set[CellKey]) -> None:
    extra = [key for key, decision in table.decisions.items() if decision.status != "F" and key not in needed]
    for key in sorted(extra, key=lambda key: (-table.weight(table.cells[key]), key)):
        table.decisions[key] = Decision("F")
        if table.narrowed(first=True):
            table.decisions[key] = Decision("D")


def _show_bounds(table: _Table) -> None:
    """Show the rates of small groups as bounds, unless a bound narrows a count."""
    coded = {
        key: bound
        for key in table.true_counts
        if table.decisions[key].bound is None
        and key not in table.known_before
        and table.decisions[key].status != "F"
        and (bound := coding_of(table.cells[key], table.group.coding)) is not None
    }
    before = {key: table.decisions[key] for key in coded}
    for key, bound in coded.items():
        table.decisions[key] = Decision("A", bound)
    while coded and (bad := table.narrowed()):
        guilty = {key for _, _, key, _ in bad} & set(coded) or set(coded)
        for key in guilty:
            table.decisions[key] = before[key]
            del coded[key]


def _show_marks(table: _Table) -> None:
    """Mark small cells as such where that narrows nothing: everywhere, else in counties only, else nowhere.

    Small counts of an area that are known to be small add up: a region below ten with five counties above nought leaves
    each county little room. Where it is so, the mark D, which claims nothing, stands for A.
    """
    marks = {key for key in table.small if table.decisions[key] == Decision("D")}
    for chosen in (marks, {key for key in marks if table.cells[key].area_level == "county"}):
        for key in chosen:
            table.decisions[key] = Decision("A")
        if not table.narrowed(first=True):
            return
        for key in chosen:
            table.decisions[key] = Decision("D")


def _hold_against_whole_numbers(table: _Table) -> list[str]:
    """Take back bounds, then marks, then cells, until whole-number reasoning narrows nothing; names of what it does."""
    while bad := table.narrowed(whole=True):
        bounds = {key for key, decision in table.decisions.items() if decision.bound is not None} - table.known_before
        marks = {key for key, decision in table.decisions.items() if decision.status == "A"} - table.known_before
        narrowed = {key for _, _, key, _ in bad}
        for chosen in (bounds & narrowed, (marks - bounds) & narrowed, marks - bounds, bounds):
            if chosen:
                for key in chosen:
                    table.decisions[key] = Decision("D")
                break
        else:
            if not table.hide_more(bad):
                return [name for name, *_ in bad]
    return []
