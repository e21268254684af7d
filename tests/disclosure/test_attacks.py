"""Attacks across releases and boundaries on tables written by hand: what naive protections give away, ours holds."""

from __future__ import annotations

from disclosure.attack import Loot, attack, ours, primary_only, publish, table_by_table, without_memory
from disclosure.cells import Cell, Group
from disclosure.geography import Succession
from disclosure.model import CellKey
from disclosure.suppress import Decision, EarlierTable, know, plan_table
from disclosure.worlds import Solver, narrow
from tests.disclosure.cubes import POLICY, YEAR, Province, nested_counts, rate, table

COUNTIES: dict[str, str | None] = {
    "640101": "6401", "640102": "6401", "640103": "6401", "640201": "6402", "640202": "6402", "640203": "6402",
}  # fmt: skip
PROVINCE = Province(COUNTIES, frozenset({"640101", "640201", "640202"}))
PLAIN = nested_counts()


def counts(*, inner: list[int], other: list[int]) -> dict[tuple[str, str, str], int]:
    """Counts inside and outside of the inner variant, county by county."""
    made = {(county, "all", "inside"): count for county, count in zip(COUNTIES, inner, strict=True)}
    return made | {(county, "all", "other"): count for county, count in zip(COUNTIES, other, strict=True)}


BIG = [60, 40, 70, 55, 30, 45]


def inner_key(area: str) -> CellKey:
    """Key of the inner variant."""
    return CellKey("N1", "inner", area, YEAR, "all", "none")


def recover(
    group: Group, province: Province, cells: dict[CellKey, Cell], earlier: list[EarlierTable]
) -> dict[str, float]:
    """Counts that an outsider knows exactly, by cell and count."""
    known = know(group, province.areas, cells, earlier)
    return {
        f"{known.origin[name][1].area_code} {known.origin[name][2]}": found.low
        for name, found in narrow(known.system, known.watched, 1).items()
        if found.width == 0
    }


def test_differencing_inside_a_release_recovers_a_primary_cell_and_not_ours() -> None:
    cells = table(PLAIN, PROVINCE, counts(inner=[4, 30, 25, 40, 20, 35], other=BIG))
    naive = publish(cells, primary_only(PLAIN, PROVINCE.areas, cells, (), POLICY))
    # city 6401 less its other counties
    assert recover(PLAIN, PROVINCE, naive, [])["640101 numerator"] == 4
    plan = plan_table(PLAIN, PROVINCE.areas, cells, (), POLICY)
    found = attack(PLAIN, PROVINCE.areas, publish(cells, plan.decisions))
    print(f"differencing: naive recovers 640101, ours {found}")
    assert found.counts > 0
    assert found == Loot(found.counts, 0, 0)


def test_protection_loses_no_cell_that_could_be_shown() -> None:
    cells = table(PLAIN, PROVINCE, counts(inner=[4, 30, 25, 40, 20, 35], other=BIG))
    plan = plan_table(PLAIN, PROVINCE.areas, cells, (), POLICY)
    extra = [key for key, decision in plan.decisions.items() if decision.status == "D"]
    # one sister in the same city cannot do: the group of counties holds 640101 and not its sisters
    assert len(extra) >= 2
    assert all(cells[key].area_level == "county" for key in extra)
    for key in extra:
        shown = plan.decisions | {key: Decision("F")}
        assert attack(PLAIN, PROVINCE.areas, publish(cells, shown)).narrowed > 0, key


def test_totals_of_subgroups_give_away_what_is_hidden_table_by_table() -> None:
    group = rate("x", "y")
    atoms = {
        (county, leaf, part): 20 + 3 * index + (7 if leaf == "x" else 0)
        for index, county in enumerate(COUNTIES)
        for leaf in ("x", "y")
        for part in ("numerator", "rest")
    }
    atoms["640101", "x", "rest"] = 3
    cells = table(group, PROVINCE, atoms)
    naive = publish(cells, table_by_table(group, PROVINCE.areas, cells, (), POLICY))
    loot = attack(group, PROVINCE.areas, naive)
    own = attack(group, PROVINCE.areas, publish(cells, ours(group, PROVINCE.areas, cells, (), POLICY)))
    print(f"totals: table by table {loot}; ours {own}")
    assert loot.recovered > 0
    assert (own.recovered, own.narrowed) == (0, 0)


def test_rates_and_marks_do_not_narrow_what_is_hidden() -> None:
    group = rate()
    atoms = {(county, "all", "numerator"): 18 + index for index, county in enumerate(COUNTIES)}
    atoms |= {(county, "all", "rest"): 14 for county in COUNTIES}
    atoms["640101", "all", "rest"], atoms["640202", "all", "rest"] = 1, 0
    cells = table(group, PROVINCE, atoms)
    decisions = ours(group, PROVINCE.areas, cells, (), POLICY)
    coded = {key.area_code: decision.bound for key, decision in decisions.items() if decision.bound}
    # 18 of 19 and 22 of 22: the bound does not tell one from the other
    assert coded == {"640101": ">=75", "640202": ">=75"}
    assert attack(group, PROVINCE.areas, publish(cells, decisions)).narrowed == 0
    # all rates of small groups that are exactly 100 percent would be a mark of their own
    bare = {key: Decision("A" if decision.bound else decision.status) for key, decision in decisions.items()}
    assert publish(cells, bare) != publish(cells, decisions)


def test_many_small_marks_below_a_small_total_are_not_published_as_marks() -> None:
    cells = table(PLAIN, PROVINCE, counts(inner=[1, 1, 2, 1, 1, 2], other=[0] * 6))
    naive = publish(cells, primary_only(PLAIN, PROVINCE.areas, cells, (), POLICY))
    # a region below ten with six counties above nought: each has at most four
    assert attack(PLAIN, PROVINCE.areas, naive).narrowed > 0
    decisions = ours(PLAIN, PROVINCE.areas, cells, (), POLICY)
    assert attack(PLAIN, PROVINCE.areas, publish(cells, decisions)).narrowed == 0
    assert decisions[inner_key("64")].status == "D"


def test_one_person_moved_between_two_releases_tells_nothing() -> None:
    before = counts(inner=[9, 30, 25, 40, 12, 35], other=BIG)
    after = before | {("640101", "all", "inside"): 10, ("640102", "all", "inside"): 29}
    first = table(PLAIN, PROVINCE, before)
    published = publish(first, ours(PLAIN, PROVINCE.areas, first, (), POLICY))
    old = EarlierTable("2020.1.0", PROVINCE.areas, published)
    second = table(PLAIN, PROVINCE, after)
    naive = publish(
        second, {key: Decision("F") if value.numerator != 9 else Decision("A") for key, value in second.items()}
    )
    # with the restated cell shown, who knows that one person moved knows that there were nine
    known = know(PLAIN, PROVINCE.areas, naive, [old])
    watched = next(name for name, (release, key, _) in known.origin.items() if release and key == inner_key("640101"))
    solver = Solver(known.system)
    assert (solver.bound(known.watched[watched], 1), solver.bound(known.watched[watched], -1)) == (9, 9)
    decisions = ours(PLAIN, PROVINCE.areas, second, [old], POLICY)
    # what was hidden stays hidden, under the same mark
    assert decisions[inner_key("640101")].status == published[inner_key("640101")].status == "A"
    loot = attack(PLAIN, PROVINCE.areas, publish(second, decisions), [old])
    print(f"one person moved: naive recovers 640101, ours {loot}")
    assert loot.counts > 0
    assert loot.narrowed == 0


def test_the_same_figures_again_get_the_same_protection() -> None:
    cells = table(PLAIN, PROVINCE, counts(inner=[4, 30, 0, 40, 9, 35], other=BIG))
    first = ours(PLAIN, PROVINCE.areas, cells, (), POLICY)
    assert ours(PLAIN, PROVINCE.areas, cells, (), POLICY) == first
    old = EarlierTable("2020.1.0", PROVINCE.areas, publish(cells, first))
    assert ours(PLAIN, PROVINCE.areas, cells, [old], POLICY) == first


def test_a_county_split_gives_nothing_away() -> None:
    new: dict[str, str | None] = {**COUNTIES, "640104": "6401"}
    links = (Succession("640101", "640104"),)
    old_map = Province(COUNTIES, PROVINCE.plan, links, today=frozenset(new))
    new_map = Province(new, PROVINCE.plan, links)
    before = counts(inner=[17, 5, 6, 40, 20, 35], other=BIG)
    after = before | {
        ("640101", "all", "inside"): 15, ("640104", "all", "inside"): 2,
        ("640101", "all", "other"): 35, ("640104", "all", "other"): 25,
    }  # fmt: skip
    first = table(PLAIN, old_map, before)
    old = EarlierTable("2019.1.0", old_map.areas, publish(first, ours(PLAIN, old_map.areas, first, (), POLICY)))
    assert old.cells[inner_key("640101")].numerator == 17
    second = table(PLAIN, new_map, after)
    naive = publish(second, primary_only(PLAIN, new_map.areas, second, (), POLICY))
    # 17 in the old county, 15 in what is left of it
    assert (
        recover(PLAIN, new_map, {k: v for k, v in naive.items() if v.area_level == "county"}, [old])["640104 numerator"]
        == 2
    )
    blind = attack(
        PLAIN, new_map.areas, publish(second, without_memory(PLAIN, new_map.areas, second, (), POLICY)), [old]
    )
    assert blind.recovered > 0
    decisions = ours(PLAIN, new_map.areas, second, [old], POLICY)
    loot = attack(PLAIN, new_map.areas, publish(second, decisions), [old])
    print(f"county split: blind to the old boundary {blind}; ours {loot}")
    assert decisions[inner_key("640101")].status != "F"
    assert loot.counts > 0
    assert loot.narrowed == 0


def test_a_merged_county_is_the_sum_of_the_old_ones() -> None:
    old_counties: dict[str, str | None] = {**COUNTIES, "640105": "6401"}
    links = (Succession("640105", "640101", existed=True),)
    old_map = Province(old_counties, PROVINCE.plan | {"640105"}, links, today=frozenset(COUNTIES))
    new_map = Province(COUNTIES, PROVINCE.plan, links)
    assert new_map.areas.paths["640101"] == {("640101",), ("640105", "640101")}
    assert old_map.areas.paths["640105"] == {("640105", "640101")}
    before = counts(inner=[3, 30, 25, 40, 20, 35], other=BIG) | {
        ("640105", "all", "inside"): 14, ("640105", "all", "other"): 20,
    }  # fmt: skip
    first = table(PLAIN, old_map, before)
    old = EarlierTable("2019.1.0", old_map.areas, publish(first, ours(PLAIN, old_map.areas, first, (), POLICY)))
    merged = before | {("640101", "all", "inside"): 17, ("640101", "all", "other"): 80}
    second = table(PLAIN, new_map, {place: count for place, count in merged.items() if place[0] in COUNTIES})
    loot = attack(PLAIN, new_map.areas, publish(second, ours(PLAIN, new_map.areas, second, [old], POLICY)), [old])
    assert loot.counts > 0
    assert loot.narrowed == 0
