"""Fifty random cubes, protected, restated with one person moved, and attacked; naive protections run beside ours."""

from __future__ import annotations

import math

import pytest

from disclosure.attack import Loot, attack, ours, primary_only, publish, table_by_table, without_memory
from disclosure.model import System
from disclosure.rounding import Rounder, interval_of, round_cells
from disclosure.suppress import EarlierTable, know, plan_table
from disclosure.worlds import Solver, narrow
from tests.disclosure.cubes import CLASS, POLICY, move_one, random_cube, table

CUBES = range(50)
BASE = 10


def test_suppression_holds_on_fifty_cubes_and_their_restatements(capsys: pytest.CaptureFixture[str]) -> None:
    loot = dict.fromkeys(("ours", "primary only", "table by table", "ours, restated", "blind to the past"), Loot())
    for seed in CUBES:
        group, province, atoms = random_cube(seed)
        cells, areas = table(group, province, atoms), province.areas
        published = publish(cells, ours(group, areas, cells, (), POLICY))
        loot["ours"] += attack(group, areas, published)
        for name, naive in (("primary only", primary_only), ("table by table", table_by_table)):
            loot[name] += attack(group, areas, publish(cells, naive(group, areas, cells, (), POLICY)), whole=False)
        old = EarlierTable("1", areas, published)
        restated = table(group, province, move_one(atoms, seed))
        plan = plan_table(group, areas, restated, [old], POLICY)
        assert plan.exposed == (), seed
        loot["ours, restated"] += attack(group, areas, publish(restated, plan.decisions), [old])
        blind = publish(restated, without_memory(group, areas, restated, (), POLICY))
        loot["blind to the past"] += attack(group, areas, blind, [old], whole=False)
    with capsys.disabled():
        print(*(f"\n  {name}: {found}" for name, found in loot.items()))
    for name, found in loot.items():
        assert found.counts > 1000
        if name.startswith("ours"):
            assert (found.recovered, found.narrowed) == (0, 0), name
        else:
            assert found.recovered > 0, name


def test_linear_programs_never_narrow_a_hidden_count_below_the_policy() -> None:
    """The exact ends by linear program, on a part of the cubes: never inside what the possible worlds have shown."""
    narrowest = math.inf
    for seed in CUBES[::7]:
        group, province, atoms = random_cube(seed)
        cells = table(group, province, atoms)
        known = know(group, province.areas, publish(cells, ours(group, province.areas, cells, (), POLICY)), ())
        solver = Solver(known.system)
        for sums in known.watched.values():
            narrowest = min(narrowest, solver.bound(sums, -1) - solver.bound(sums, 1))
    assert CLASS.min_width <= narrowest < 100


def test_secret_rounding_holds_on_fifty_cubes_and_nearest_rounding_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    rounder = Rounder(BASE, b"a key for tests only, 32 characters")
    narrowed = {"secret thresholds": 0, "to the nearest, totals apart": 0}
    cells_seen = 0
    for seed in CUBES:
        group, _, atoms = random_cube(seed)
        shown = {place: rounder.round("|".join(place), count) for place, count in atoms.items()}
        nearest = {place: BASE * ((count + BASE // 2) // BASE) for place, count in atoms.items()}
        total = {part: BASE * round(sum(c for p, c in atoms.items() if p[2] == part) / BASE) for part in group.parts()}
        cells_seen += len(atoms)
        for name, figures in (("secret thresholds", shown), ("to the nearest, totals apart", nearest)):
            system = System(cap=10_000)
            index = {place: system.unknown() for place in atoms}
            for place, figure in figures.items():
                low, high = (
                    interval_of(figure, BASE)
                    if name.startswith("secret")
                    else (figure - BASE // 2, figure + BASE // 2 - 1)
                )
                system.require_sum([index[place]], low, high)
            for part in group.parts():
                parts = [index[place] for place in atoms if place[2] == part]
                if name.startswith("secret"):
                    # a published total is the sum of what is published: it says nothing new
                    assert sum(figures[place] for place in atoms if place[2] == part) % BASE == 0
                else:
                    system.require_sum(parts, total[part] - BASE // 2, total[part] + BASE // 2)
            watched = {"|".join(place): [index[place]] for place in atoms}
            found = narrow(system, watched, CLASS.min_width, whole=False)
            narrowed[name] += sum(int(interval.width < CLASS.min_width) for interval in found.values())
    with capsys.disabled():
        print(f"\n  rounding, {cells_seen} cells narrowed too far: {narrowed}")
    assert narrowed["secret thresholds"] == 0
    assert narrowed["to the nearest, totals apart"] > 0


def test_rounded_cells_add_up_and_no_rate_passes_100_percent() -> None:
    rounder = Rounder(BASE, b"a key for tests only, 32 characters")
    seen = 0
    for seed in CUBES:
        group, province, atoms = random_cube(seed)
        cells = table(group, province, atoms)
        rounded = round_cells(group, province.areas, cells, rounder)
        assert round_cells(group, province.areas, dict(reversed(cells.items())), rounder) == rounded
        for key, (numerator, denominator) in rounded.items():
            assert denominator is None or 0 <= numerator <= denominator
            if key.area_code == "64":
                counties = [rounded[key._replace(area_code=county)][0] for county in province.parents]
                assert numerator == sum(counties)
                seen += 1
    assert seen >= len(CUBES)
