"""Attacks on protected tables, and the naive protections that they break.

Kept in the package, not only in the tests, so that anyone can repeat them on his own release (``edupa disclosure
attack``): what a method is worth shows beside what fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from disclosure.cells import Cell, Group, Layout, read_registry, shown_counts
from disclosure.geography import Areas
from disclosure.model import CellKey, System
from disclosure.plan import read_decisions, read_truth
from disclosure.policy import Policy, policy_from_warehouse
from disclosure.sources import read_geography, read_registry_rows
from disclosure.suppress import Decision, EarlierTable, know, place_of, plan_table
from disclosure.worlds import InfeasibleError, narrow
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Protection = Callable[[Group, Areas, Mapping[CellKey, Cell], Sequence[EarlierTable], Policy], dict[CellKey, Decision]]


@dataclass(frozen=True)
class Loot:
    """What an attack brought.

    Attributes:
        counts: counts of withheld cells that were attacked.
        recovered: of them known exactly.
        narrowed: of them known more closely than the policy allows (the recovered ones included).
    """

    counts: int = 0
    recovered: int = 0
    narrowed: int = 0

    def __add__(self, other: Loot) -> Loot:
        """Loot of two attacks together."""
        return Loot(self.counts + other.counts, self.recovered + other.recovered, self.narrowed + other.narrowed)

    def __str__(self) -> str:
        """For people."""
        return f"{self.recovered} of {self.counts} recovered, {self.narrowed} narrowed too far"


def publish(cells: Mapping[CellKey, Cell], decisions: Mapping[CellKey, Decision]) -> dict[CellKey, Cell]:
    """A table as readers get it: what is withheld holds no figures."""
    return {
        key: cell
        if (made := decisions.get(key, Decision("F"))).status == "F"
        else replace(cell, numerator=None, denominator=None, status=made.status, bound=made.bound)
        for key, cell in cells.items()
    }


def attack(
    group: Group,
    areas: Areas,
    published: Mapping[CellKey, Cell],
    earlier: Sequence[EarlierTable] = (),
    *,
    whole: bool = True,
) -> Loot:
    """Everything that sums, differences, rates, marks and earlier releases give away, by linear and integer programs.

    Args:
        group: the series.
        areas: areas of the table.
        published: the table as readers have it.
        earlier: earlier tables as readers have them.
        whole: reason with whole numbers too (slower).
    """
    width = group.policy.min_width
    try:
        known = know(group, areas, published, earlier)
        found = narrow(known.system, known.watched, width, whole=whole)
    except InfeasibleError:
        known = know(group, areas, published, earlier, same=False)
        found = narrow(known.system, known.watched, width, whole=whole)
    # what an earlier release has shown openly is no secret of this one
    open_before = {table.place(key) for table in earlier for key, cell in table.cells.items() if cell.status == "F"}
    found = {
        name: interval
        for name, interval in found.items()
        if known.origin[name][0] is not None or place_of(known.origin[name][1], areas) not in open_before
    }
    return Loot(
        len(found),
        sum(interval.width < 0.5 for interval in found.values()),
        sum(interval.width < width - 1e-6 for interval in found.values()),
    )


def ours(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], earlier: Sequence[EarlierTable], policy: Policy
) -> dict[CellKey, Decision]:
    """The protection of this package."""
    return plan_table(group, areas, cells, earlier, policy).decisions


def primary_only(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], _: Sequence[EarlierTable], __: Policy
) -> dict[CellKey, Decision]:
    """Naive: hide small cells and nothing else."""
    layout, policy = Layout(group, areas, System(cap=1)), group.policy
    found = {}
    for key, cell in cells.items():
        counts = {name: value for name, value in shown_counts(cell).items() if name in layout.sums(key)}
        small = any(0 < value < policy.min_count for name, value in counts.items() if name in policy.protected)
        found[key] = Decision("A" if small else "F")
    return found


def table_by_table(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], _: Sequence[EarlierTable], policy: Policy
) -> dict[CellKey, Decision]:
    """Naive: complementary suppression for each subgroup and variant by itself, blind to how they hang together."""
    found: dict[CellKey, Decision] = {}
    for one in group.series:
        for subgroup in one.subgroups:
            nesting = replace(one.nesting, subgroups_partition=False, part_of=None)
            alone = Group((replace(one, subgroups=(subgroup,), nesting=nesting),), group.policy, ())
            mine = {
                key: cell
                for key, cell in cells.items()
                if key.subgroup == subgroup and (key.indicator_code, key.variant, key.basis) == one.code
            }
            found |= plan_table(alone, areas, mine, (), policy).decisions
    # the marks are left out: what is recovered is recovered from sums alone
    return {key: Decision("F" if made.status == "F" else "D") for key, made in found.items()}


def without_memory(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], _: Sequence[EarlierTable], policy: Policy
) -> dict[CellKey, Decision]:
    """Naive: the protection of this package, but blind to earlier releases."""
    return plan_table(group, areas, cells, (), policy).decisions


@dataclass(frozen=True)
class Comparison:
    """What an attacker gets from the same cells under several protections."""

    naive: dict[str, Loot]
    own: Loot


def compare_protections(config: WarehouseConfig, evaluation_year: int) -> Comparison:
    """Attack the cells of a candidate as planned, and as naive protections would publish them.

    Reads true figures as gatekeeper; gives counts only.
    """
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        groups, _ = read_registry(read_registry_rows(conn), policy)
        cells, current = read_truth(conn, evaluation_year, policy)
        geography = read_geography(conn)
        decisions = read_decisions(conn, evaluation_year)
    areas = geography.areas(current, geography.paths(current, ()))
    naive, own = {"primary only": Loot(), "table by table": Loot()}, Loot()
    for group in groups:
        codes = {one.code for one in group.series}
        for year in sorted({key.evaluation_year for key in cells}):
            table = {
                key: cell
                for key, cell in cells.items()
                if (key.indicator_code, key.variant, key.basis) in codes and key.evaluation_year == year
            }
            if not table:
                continue
            own += attack(group, areas, publish(table, decisions))
            for name, protection in (("primary only", primary_only), ("table by table", table_by_table)):
                shown = publish(table, protection(group, areas, table, (), policy))
                naive[name] += attack(group, areas, shown, whole=False)
    return Comparison(naive, own)
