"""Persons and their lives behind the small sample."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from simulator.frames import Frames, build_frames
from simulator.geography import POOR_VILLAGES, Geography
from simulator.plan import HISTORY_YEARS, YEARS
from simulator.poverty import steady_children
from simulator.pupils import J3, P1, ages_on, birth_dates
from simulator.world import World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    """Return the persons of a sample a little larger than the smallest."""
    return build_world(0.01, 11)


def test_birth_dates_give_the_wanted_age_on_1_september() -> None:
    rng = np.random.default_rng(5)
    wanted = rng.integers(0, 18, size=20_000)
    for year in YEARS:
        np.testing.assert_array_equal(ages_on(birth_dates(rng, wanted, year), year), wanted)


def test_birthday_on_1_september_counts() -> None:
    days = np.array(["2010-09-01", "2010-09-02", "2010-08-31"], dtype="datetime64[D]")
    assert ages_on(days, 2016).tolist() == [6, 5, 6]


def test_compulsory_cells_equal_the_plan(world: World) -> None:
    for year in YEARS:
        roll = world.children.rolls[year]
        assert len(np.unique(roll.person)) == len(roll.person)
        inside = (roll.grade >= P1) & (roll.grade <= J3)
        found = np.zeros((22, 9, 2), dtype=np.int64)
        sex = world.children.female[roll.person[inside]]
        np.add.at(found, (roll.county[inside], roll.grade[inside] - P1, sex), 1)
        np.testing.assert_array_equal(found, world.plan.compulsory[:, HISTORY_YEARS.index(year)])


def test_every_school_stands_where_its_pupils_are_and_is_open(world: World) -> None:
    for year in YEARS:
        for index in np.unique(world.seats[year]):
            assert world.schools[index].is_open(year)


def test_schools_change_as_planned(world: World) -> None:
    replaced = [s for s in world.schools if s.successor >= 0]
    category = [s for s in replaced if world.schools[s.successor].code[:2] != s.code[:2]]
    assert len(category) == 8
    assert len(replaced) - len(category) == world.plan.mergers
    assert len({s.code for s in world.schools}) == len(world.schools)
    special = [s for s in world.schools if s.kind == "special"]
    assert sum(s.is_open(2018) for s in special) == 13
    assert sum(s.is_open(2019) for s in special) == 14


def test_poor_children_are_on_a_roll_unless_they_are_the_known_lost_ones(world: World) -> None:
    steady = steady_children(world.children, world.on_roll, np.full(len(world.children.birth), 9999))
    assert steady.mean() > 0.5
    poor = world.poor
    listed = np.flatnonzero(poor.child >= 0)
    for y, year in enumerate(YEARS):
        present = listed[poor.present(year)[listed]]
        age = ages_on(poor.birth[present], year)
        child = poor.child[present]
        # Fifteen-year-olds may have graduated; the dead are gone; everybody else aged 6-14 learns somewhere.
        missing = (age >= 6) & (age <= 14) & (world.on_roll[child, y] < 0)
        lost = world.children.back_on_roll[child] > 0
        died = poor.listed_to[present] == year
        assert not (missing & ~lost & ~died).any()
        expected = int(world.plan.not_on_roll[:, y].sum())
        gone = (age >= 6) & (age <= 15) & lost & (world.on_roll[child, y] < 0)
        assert int(gone.sum()) == expected


def test_poverty_follows_the_plan_within_half_a_household_per_county(world: World) -> None:
    poor = world.poor
    exit_year = poor.exit_year[poor.household]
    for y, year in enumerate(YEARS):
        left = int((poor.present(year) & (exit_year > year)).sum())
        assert abs(left - int(world.plan.poor_remaining[:, y].sum())) <= 22 * 4
    assert not (poor.present(2020) & (exit_year > 2020)).any()


def test_three_type_enrollment_follows_the_plan(world: World) -> None:
    dis = world.disabled
    counted = (dis.component > 0) & dis.certified
    for y, year in enumerate(YEARS):
        age = ages_on(dis.birth, year)
        for county in range(22):
            group = counted & (age >= 6) & (age <= 14) & (dis.county == county)
            enrolled = (world.special[year] >= 0) | ((dis.child >= 0) & (world.on_roll[dis.child, y] >= 0))
            share = float(enrolled[group].mean())
            assert share == pytest.approx(world.plan.three_types_rate[county, y], abs=1.5 / group.sum())


def test_rare_groups_keep_their_real_numbers(world: World) -> None:
    dis = world.disabled
    age = ages_on(dis.birth, 2018)
    assert int(((dis.component > 0) & (age >= 6) & (age <= 14)).sum()) == pytest.approx(9 * 70 + 13 * 45, abs=10)
    assert (np.bincount(world.second.year - 2015, minlength=6) >= 35).all()


def test_areas_have_their_history(geo: Geography) -> None:
    change = geo.area_succession
    assert sum(v.is_poor for v in geo.villages) == POOR_VILLAGES
    villages = change.filter(change["from_area_code"].str.len_chars() == 12)
    assert villages.filter(villages["change_type"] == "合并").height == 17
    townships = change.filter(change["from_area_code"].str.len_chars() == 9)
    assert townships["to_area_code"].to_list() == ["640422103", "640521206"]
    crossing = change.filter(change["from_area_code"].str.slice(0, 6) != change["to_area_code"].str.slice(0, 6))
    assert crossing.height == 2
    codes = set(geo.admin_area["area_code"])
    assert set(change["from_area_code"]) | set(change["to_area_code"]) <= codes
    assert geo.admin_area["area_code"].is_unique().all()
    assert all(code[9:12] >= "271" for v in geo.villages for code in v.codes)


@pytest.fixture(scope="module")
def tables(world: World) -> Frames:
    """Return the canonical tables of that sample."""
    return build_frames(world)


@pytest.mark.parametrize(
    ("contract", "key"),
    [
        ("admin_area", ["area_code", "valid_from"]),
        ("area_succession", ["from_area_code", "to_area_code", "change_date"]),
        ("school", ["school_year", "school_code"]),
        ("enrollment_count", ["school_year", "county_code", "school_code", "stage", "grade", "sex"]),
        ("pupil", ["school_year", "school_code", "student_number"]),
        ("student_event", ["school_year", "event_number"]),
        ("poor_village", ["poverty_year", "village_code"]),
        ("poor_household", ["poverty_year", "household_number"]),
        ("poor_person", ["poverty_year", "person_number"]),
        ("population_age", ["reference_year", "population_basis", "population_vintage", "area_code", "age", "sex"]),
        ("disabled_child", ["reference_year", "certificate_number"]),
    ],
)
def test_business_keys_are_unique(tables: Frames, contract: str, key: list[str]) -> None:
    assert tables[contract].height > 0
    assert tables[contract].select(key).is_unique().all()


def test_every_area_and_school_that_is_named_exists(tables: Frames) -> None:
    areas = tables["admin_area"].select("area_code")
    for contract, column in (
        ("school", "village_code"),
        ("pupil", "home_area_code"),
        ("poor_person", "village_code"),
        ("poor_household", "village_code"),
        ("poor_village", "village_code"),
        ("disabled_child", "home_village_code"),
    ):
        named = tables[contract].select(area_code=column).unique()
        assert named.join(areas, on="area_code", how="anti").is_empty(), contract
    parents = tables["admin_area"].select(area_code="parent_code").drop_nulls()
    assert parents.join(areas, on="area_code", how="anti").is_empty()
    schools = tables["school"].select("school_year", "county_code", "school_code")
    for contract in ("pupil", "enrollment_count"):
        used = tables[contract].filter(pl.col("school_year") >= 2015).select(schools.columns).unique()
        assert used.join(schools, on=schools.columns, how="anti").is_empty(), contract


def test_statistics_count_every_pupil_once(tables: Frames) -> None:
    counted = tables["enrollment_count"].filter(pl.col("school_year") >= 2015)
    persons = tables["pupil"].select("school_year", "_token").unique()
    assert counted["enrollment_count"].sum() == persons.height < tables["pupil"].height


def test_households_hold_their_members_and_one_head(tables: Frames) -> None:
    people = tables["poor_person"]
    counts = people.group_by("poverty_year", "household_number").agg(
        pl.len().alias("members"), (pl.col("relation_to_head") == "户主").sum().alias("heads")
    )
    both = tables["poor_household"].join(counts, on=["poverty_year", "household_number"], how="full", coalesce=True)
    assert (both["member_count"] == both["members"]).all()
    assert (both["heads"] == 1).all()


def test_person_numbers_and_households_change_over_the_years(tables: Frames) -> None:
    people = tables["poor_person"].filter(pl.col("id_number").is_not_null())
    several = people.group_by("id_number").agg(
        pl.col("person_number").n_unique().alias("numbers"), pl.col("household_number").n_unique().alias("households")
    )
    assert 0.005 < float((several["numbers"] > 1).mean()) < 0.03  # type: ignore[arg-type]
    assert int((several["households"] > 1).sum()) >= 9


def test_some_poor_children_have_left_school_legitimately(tables: Frames) -> None:
    rolls = tables["pupil"].select("_token", poverty_year="school_year").unique()
    exits = tables["student_event"].filter(pl.col("approval_status") == "approved")
    aged = (
        tables["poor_person"]
        .filter((pl.col("poverty_year") - pl.col("birth_date").dt.year()).is_between(8, 15))
        .join(rolls, on=["_token", "poverty_year"], how="anti")
    )
    for kind in ("graduation", "death"):
        assert aged.join(exits.filter(pl.col("event_type") == kind), on="_token", how="semi").height > 0, kind
