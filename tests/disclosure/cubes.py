"""Small worlds for the attack suite: random cubes, and tables made from counts written by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from disclosure.cells import Cell, Group, Series
from disclosure.geography import Areas, Succession, all_paths, areas_of
from disclosure.model import CellKey
from disclosure.policy import ClassPolicy, Coding, Nesting, Policy

CLASS = ClassPolicy("sensitive", 10, ("numerator", "denominator", "rest"), 5, 1, 1)
CODING = (Coding(10, 24, 25, 75), Coding(25, 49, 15, 85), Coding(50, 99, 10, 90))
POLICY = Policy(
    classes={"sensitive": CLASS},
    coding={"sensitive": CODING},
    structure={},
    weights={"county": (2, 1), "city": (4, 2), "group": (16, 8), "region": (24, 12)},
    methods={},
    tables={},
)
YEAR = 2020
Atoms = dict[tuple[str, str, str], int]


def rate(*subgroups: str) -> Group:
    """A rate; with subgroups, they add up to all."""
    series = Series(
        ("R1", "rate", "none"),
        ("all", *subgroups),
        True,
        True,
        "sensitive",
        Nesting(subgroups_partition=bool(subgroups)),
    )
    return Group((series,), CLASS, CODING)


def nested_counts() -> Group:
    """A count and the count that it is a part of."""
    inner = Series(("N1", "inner", "none"), ("all",), False, True, "sensitive", Nesting(part_of="outer"))
    outer = Series(("N1", "outer", "none"), ("all",), False, False, "sensitive", Nesting())
    return Group((inner, outer), CLASS, ())


@dataclass
class Province:
    """Counties in cities, a group of counties, and the smallest areas behind them."""

    parents: dict[str, str | None]
    plan: frozenset[str]
    successions: tuple[Succession, ...] = ()
    today: frozenset[str] = frozenset()
    areas: Areas = field(init=False)

    def __post_init__(self) -> None:
        """Work out the smallest areas, with the counties of ``today`` where the province is one of the past."""
        today = self.today or frozenset(self.parents)
        paths = all_paths({*self.parents, *today}, self.successions, today)
        self.areas = areas_of(self.parents, {"G": self.plan}, "64", paths, self.successions)

    def level(self, area: str) -> str:
        """Level of an area."""
        return "county" if area in self.parents else "region" if area == "64" else "group" if area == "G" else "city"

    def members(self, area: str) -> list[str]:
        """Counties of an area."""
        if area in self.parents:
            return [area]
        if area == "64":
            return sorted(self.parents)
        return sorted(c for c in self.parents if (c in self.plan if area == "G" else self.parents[c] == area))


def table(group: Group, province: Province, atoms: Mapping[tuple[str, str, str], int]) -> dict[CellKey, Cell]:
    """Every published cell of a group, added up from counts of county × smallest subgroup × part."""
    found: dict[CellKey, Cell] = {}
    areas = [*province.parents, *sorted({str(p) for p in province.parents.values()}), "64", "G"]
    for series in group.series:
        for subgroup in series.subgroups:
            leaves = group.leaves() if subgroup == "all" and series.nesting.subgroups_partition else [subgroup]
            for area in areas:
                counts = {
                    name: sum(
                        atoms.get((county, leaf, part), 0)
                        for county in province.members(area)
                        for leaf in leaves
                        for part in parts
                    )
                    for name, parts in group.counts_of(series).items()
                }
                key = CellKey(*series.code[:2], area, YEAR, subgroup, series.code[2])
                headline = series.is_headline and subgroup == "all"
                found[key] = Cell(
                    key, province.level(area), headline, counts["numerator"], counts.get("denominator"), "F"
                )
    return found


def random_cube(seed: int) -> tuple[Group, Province, Atoms]:
    """A random group of series over a random province with many small counts."""
    chance = random.Random(seed)
    counties = {
        f"64{city:02}{number:02}": f"64{city:02}" for city in (1, 2, 3) for number in range(chance.randint(2, 4))
    }
    province = Province(dict(counties), frozenset(chance.sample(sorted(counties), len(counties) // 2)))
    group = (rate, lambda: rate("x", "y"), nested_counts)[seed % 3]()
    size = chance.choice((4, 8, 15, 40))
    atoms = {
        (county, leaf, part): 0 if chance.random() < 0.2 else int(chance.expovariate(1 / size))
        for county in counties
        for leaf in group.leaves()
        for part in group.parts()
    }
    return group, province, atoms


def move_one(atoms: Atoms, seed: int) -> Atoms:
    """One person moves from one county to another, between places that are not empty."""
    chance = random.Random(1000 + seed)
    filled = sorted(place for place, count in atoms.items() if count > 1)
    origin = chance.choice(filled)
    target = chance.choice([place for place in filled if place[0] != origin[0] and place[1:] == origin[1:]] or filled)
    return {place: count - (place == origin) + (place == target) for place, count in atoms.items()}
