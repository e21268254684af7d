"""The care side of the sample: it agrees with registers and list, grows over the years, and holds its planted cases."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest

from ingest import load_contracts
from simulator import care_layout
from simulator.care import add_care
from simulator.care_cases import MOST_MEAL_DAYS, care_cases
from simulator.care_schools import MEALS_SINCE, RURAL
from simulator.care_truth import care_values
from simulator.cases import Case, lead_values
from simulator.frames import build_frames
from simulator.id_damage import DAMAGES, damage_ids, person_match, with_lookalikes
from simulator.identity import is_valid_id
from simulator.run import areas_of
from simulator.truth import Areas, ValueTable, indicator_values, out_of_school, primary_rows
from simulator.world import World, build_world
from tests.simulator.conftest import SCALE, SEED

Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SCALE, SEED)


@pytest.fixture(scope="module")
def plain(world: World) -> Tables:
    """Tables without the care side."""
    return build_frames(world).tables


@pytest.fixture(scope="module")
def tables(world: World, plain: Tables) -> Tables:
    return add_care(world, plain)


@pytest.fixture(scope="module")
def cases(world: World, tables: Tables) -> list[Case]:
    return care_cases(tables, world.geo.current_county())


def with_home(world: World, tables: Tables) -> pl.DataFrame:
    homes = world.geo.current_county()
    return tables["poor_person"].with_columns(_home=pl.col("village_code").replace_strict(homes))


def test_files_look_as_the_contracts_ask() -> None:
    contracts = load_contracts()
    for feed, headers in care_layout.HEADERS.items():
        contract = contracts[feed]
        known = {column.name: column.header for column in contract.columns}
        assert headers.items() <= known.items(), feed
        assert care_layout.FOLDERS[feed] == contract.folder
        assert contract.stem.match(f"{care_layout.STEMS[feed]}_")


# what was there before


def test_other_tables_change_in_planted_rows_only(plain: Tables, tables: Tables) -> None:
    touched = {"pupil", "student_event", "enrollment_count", "poor_person"}
    for name in plain.keys() - touched:
        assert tables[name].equals(plain[name]), name
    for name in touched:
        assert tables[name].height == plain[name].height
        changed = [
            c for c in plain[name].columns if not tables[name][c].equals(plain[name][c])
        ]  # fmt: skip
        assert changed, name
    lists = tables["poor_person"], plain["poor_person"]
    assert {c for c in lists[0].columns if not lists[0][c].equals(lists[1][c])} == {
        "school_status", "out_of_school_reason", "labor_ability",
    }  # fmt: skip
    old, new = plain["enrollment_count"], tables["enrollment_count"]
    assert set(new.filter(new["enrollment_count"] != old["enrollment_count"])["stage"]) == {"special"}


def test_planted_rows_move_no_indicator_of_the_registers(world: World, plain: Tables, tables: Tables) -> None:
    areas, villages = areas_of(world.geo), world.geo.current_county()
    assert indicator_values(tables, areas, villages).equals(indicator_values(plain, areas, villages))


# dropouts


def test_every_poor_child_out_of_school_has_a_case_of_that_year(world: World, tables: Tables) -> None:
    missing = out_of_school(with_home(world, tables), tables["pupil"], tables["student_event"])
    assert missing.height > 20
    ledger = tables["dropout_case"].select("_token", poverty_year="ledger_year", _home="county_code")
    assert missing.join(ledger, on=["_token", "poverty_year", "_home"], how="anti").is_empty()


def test_returns_are_those_of_the_register(tables: Tables) -> None:
    back = tables["dropout_case"].filter(pl.col("closing_kind") == "returned").unique("_token")
    assert back.height >= 5
    resumed = tables["student_event"].filter(pl.col("event_type") == "resumption")
    both = back.join(resumed.select("_token", "event_date"), on="_token")
    assert both.height >= 5
    assert (both["returned_on"] == both["event_date"]).all()
    rolls = tables["pupil"].select("_token", _year="school_year").unique()
    at_school = back.with_columns(_year=pl.col("returned_on").dt.year().cast(pl.Int64))
    assert at_school.join(rolls, on=["_token", "_year"], how="anti").is_empty()


def test_nobody_with_an_open_case_is_on_the_register(tables: Tables) -> None:
    still = tables["dropout_case"].filter(pl.col("closed_on").is_null() & pl.col("returned_on").is_null())
    rolls = tables["pupil"].select("_token", ledger_year="school_year").unique()
    found = still.filter(pl.col("found_on") < pl.date(pl.col("ledger_year"), 9, 1))
    assert found.height > 20
    assert found.join(rolls, on=["_token", "ledger_year"], how="semi").is_empty()


def test_a_file_knows_nothing_of_later_days(tables: Tables) -> None:
    ledger = tables["dropout_case"]
    order = ("found_on", "verified_on", "returned_on", "closed_on")
    for column in (*order, "persuaded_on"):
        assert ledger.filter(pl.col(column) > pl.date(pl.col("ledger_year"), 12, 31)).is_empty(), column
    for first, later in pairwise(order):
        assert ledger.filter(pl.col(first) > pl.col(later)).is_empty()
    assert ledger.filter(pl.col("closed_on").dt.year().cast(pl.Int64) < pl.col("ledger_year")).is_empty()
    several = ledger.group_by("county_code", "case_number").agg(pl.col("_token").n_unique(), pl.len())
    assert (several["_token"] == 1).all()
    assert (several["len"] > 1).any()


def test_planted_counts_stay_beneath_the_checks_on_a_whole_county(tables: Tables) -> None:
    keys = ["school_year", "county_code"]
    counted = tables["enrollment_count"].group_by(keys).agg(counted=pl.col("enrollment_count").sum())
    both = counted.join(tables["pupil"].group_by(keys).agg(rolls=pl.len().cast(pl.Int64)), on=keys)
    gap = (pl.col("rolls") - pl.col("counted")).abs()
    assert both.filter((gap >= 15) & (50 * gap > pl.col("counted"))).is_empty()
    assert not tables["enrollment_count"].filter(pl.col("boarder_count") > pl.col("enrollment_count")).height


def test_a_closed_case_says_how(tables: Tables) -> None:
    ledger = tables["dropout_case"]
    assert (ledger["closed_on"].is_null() == ledger["closing_kind"].is_null()).all()
    assert ledger["closed_on"].is_null().any()
    assert ledger["closed_on"].is_not_null().any()


def test_home_teaching_and_moves_close_cases(tables: Tables) -> None:
    ledger = tables["dropout_case"]
    home = ledger.filter(pl.col("_kind") == "home_teaching").unique("_token")
    severe = tables["disabled_child"].filter(pl.col("disability_grade") == "1").select("_token")
    assert home.height >= 5
    assert home.join(severe, on="_token", how="anti").is_empty()
    assert home.join(tables["pupil"], on="_token", how="semi").is_empty()
    assert (home["home_teaching_visit_count"] > 0).all()
    poor = tables["poor_person"].select("_token").unique()
    others = ledger.filter(pl.col("_kind") == "withdrawn")
    assert others.height > 10
    assert others.join(poor, on="_token", how="semi").is_empty()
    assert {"moved", "home_teaching", "returned"} <= set(ledger["closing_kind"])


# care files


def test_care_files_belong_to_pupils_of_the_terms_register(tables: Tables) -> None:
    care = tables["care_record"]
    rolls = primary_rows(tables["pupil"], tables["student_event"]).select(
        "_token", "school_code", "student_number", "county_code", _register="school_year"
    )
    behind = care.with_columns(_register=pl.col("aid_year") - (pl.col("term") == "spring").cast(pl.Int64))
    assert behind.join(rolls, on=rolls.columns, how="anti").is_empty()
    assert care.select("aid_year", "county_code", "term", "student_number").is_unique().all()
    assert care.select("aid_year", "county_code").unique().height == 22 * 6
    assert set(care.filter(pl.col("aid_year") == 2015)["term"]) == {"autumn"}
    assert care.filter(pl.col("granted_boarding") & ~pl.col("asked_boarding")).is_empty()
    assert (care["is_in_rehabilitation"].is_not_null() == (care["child_kind"] == "disabled")).all()


def test_a_closed_care_file_is_not_opened_again(tables: Tables) -> None:
    place = pl.col("aid_year") * 2 + (pl.col("term") == "autumn").cast(pl.Int64)
    care = tables["care_record"].with_columns(_place=place)
    closed = care.filter(pl.col("closed_on").is_not_null())
    assert closed.height > 5
    assert (closed["closed_on"] > closed["opened_on"]).all()
    later = care.join(closed.select("_token", _end="_place"), on="_token").filter(pl.col("_place") > pl.col("_end"))
    assert later.is_empty()
    assert (care.group_by("_token").agg(pl.col("opened_on").n_unique())["opened_on"] == 1).all()


# meals and insurance


def test_meals_reach_eleven_counties_of_rural_schools(tables: Tables) -> None:
    meals = tables["nutrition_month"]
    assert len(MEALS_SINCE) == 11
    assert set(meals.filter(pl.col("aid_year") == 2015)["month"]) == {9, 10, 11, 12}
    assert set(meals.filter(pl.col("aid_year") == 2016)["month"]) == {3, 4, 5, 6, 9, 10, 11, 12}
    reached = meals.group_by("aid_year").agg(pl.col("county_code").n_unique()).sort("aid_year")["county_code"]
    assert reached.is_sorted()
    assert reached[0] < reached[-1] <= 11
    rural = tables["school"].filter(pl.col("urban_rural_code").is_in(RURAL)).select("school_code").unique()
    assert meals.join(rural, on="school_code", how="anti").is_empty()
    assert (meals["allocated_yuan"] - meals["spent_yuan"] == meals["balance_yuan"]).all()
    assert meals.select("aid_year", "month", "school_code").is_unique().all()


def test_insurance_spreads_from_the_plan_counties(tables: Tables, world: World) -> None:
    policies, schools = tables["liability_insurance"], tables["school"]
    plan = [c.code for c in world.geo.counties if c.is_plan]

    def share(year: int, inside: bool) -> float:
        which = pl.col("county_code").is_in(plan) == inside
        insured = policies.filter((pl.col("policy_year") == year) & which).height
        return insured / schools.filter((pl.col("school_year") == year) & which).height

    assert share(2015, True) > share(2015, False) + 0.2
    assert share(2020, False) > share(2017, False) > share(2015, False)
    assert share(2020, True) > 0.95
    assert policies.select("policy_year", "policy_number", "school_code").is_unique().all()


# planted cases


@pytest.mark.parametrize("rule", ["I08", "I09", "I11", "I12", "I19", "I22"])
def test_every_rule_has_two_cases_and_a_near_miss(cases: list[Case], rule: str) -> None:
    found = Counter(c.is_near_miss for c in cases if c.rule == rule)
    assert found[False] >= 2
    assert found[True] >= 1
    kinds = Counter(c.case_kind for c in cases if c.rule == rule and not c.is_near_miss)
    assert min(kinds.values()) >= 2
    assert not {c.subject for c in cases if c.rule == rule and c.is_near_miss and rule == "I08"} & {
        c.subject for c in cases if c.rule == rule and not c.is_near_miss
    }


def test_every_shape_of_a_contradiction_is_there(cases: list[Case]) -> None:
    assert {c.case_kind for c in cases if not c.is_near_miss} == {
        "inflated_roll", "meal_days_over", "beneficiaries_over", "identical_counts", "age_outside_stage", "two_rolls",
        "enrollment_jump", "skilled_pupil", "not_ill", "young_master", "working_pupil",
    }  # fmt: skip
    assert {"within_limit", "meal_days_at_limit", "full_attendance", "three_identical_months", "age_at_limit",
            "released_transfer", "register_confirms", "ordinary_labor", "grown_master"} <= {
        c.case_kind for c in cases if c.is_near_miss
    }  # fmt: skip


def test_cases_are_unique(cases: list[Case]) -> None:
    keys = Counter((c.rule, c.case_kind, c.year, c.subject) for c in cases)
    assert set(keys.values()) == {1}


def test_meals_outside_the_cases_are_possible(tables: Tables, cases: list[Case]) -> None:
    flagged = {(c.year, c.subject) for c in cases if c.rule == "I09" and not c.is_near_miss}
    fine = 0
    for row in tables["nutrition_month"].iter_rows(named=True):
        if (row["aid_year"], (row["school_code"], str(row["month"]))) in flagged:
            continue
        assert row["meal_day_count"] <= MOST_MEAL_DAYS
        assert row["beneficiary_count"] <= row["pupil_count"]
        assert row["meal_count"] <= row["beneficiary_count"] * row["meal_day_count"]
        fine += 1
    assert fine > 1000


def test_no_county_feeds_more_than_its_pupils(tables: Tables) -> None:
    pooled = tables["nutrition_month"].group_by("aid_year", "county_code").agg(
        pl.col("beneficiary_count").sum(), pl.col("pupil_count").sum()
    )  # fmt: skip
    assert (pooled["beneficiary_count"] <= pooled["pupil_count"]).all()


def test_leads_are_counted_by_county_and_year() -> None:
    table = ValueTable(Areas(("640422", "640402"), ("640422",), ()), [2019, 2020])
    lead_values(
        table,
        [
            Case("I09", "meal_days_over", 2020, "640422", ("a",), amount_yuan=Decimal("10.25")),
            Case("I09", "meal_days_over", 2020, "640422", ("b",), amount_yuan=Decimal("10.25")),
            Case("I09", "full_attendance", 2020, "640422", ("c",), is_near_miss=True, amount_yuan=Decimal(7)),
        ],
    )
    found = {(r[1], r[2], r[3]): r[6] for r in table.rows}
    assert found["leads", "640422", 2020] == found["leads", "64", 2020] == found["leads_open", "6404", 2020] == 2
    assert found["amount_at_risk", "64", 2020] == 21
    assert found["leads", "640422", 2019] == found["leads", "640402", 2020] == 0


# truth


@pytest.fixture(scope="module")
def fact(world: World, tables: Tables) -> pl.DataFrame:
    """The long fact of this side only."""
    areas, villages = areas_of(world.geo), world.geo.current_county()
    everything = indicator_values(tables, areas, villages, more=(care_values,))
    return everything.filter(pl.col("indicator_code").str.contains("^(A6|A7|W4)"))


def test_values_form_a_complete_matrix(fact: pl.DataFrame) -> None:
    areas = 22 + 5 + 2
    wanted = {
        "A6.3": 3, "A6.11": 2, "A7.2": 1, "A7.5": 2, "A7.6": 3, "A7.7": 3, "A7.8": 2, "A7.9": 1, "W4": 1,
    }  # fmt: skip
    assert dict(fact.group_by("indicator_code").len().iter_rows()) == {k: v * areas * 6 for k, v in wanted.items()}
    spring = fact.filter((pl.col("subgroup") == "spring") & (pl.col("evaluation_year") == 2015))
    assert spring.height == 2 * areas  # A7.6 and A7.7 by term
    assert spring["numerator"].is_null().all()
    assert spring["denominator"].is_null().all()
    assert fact.filter(pl.col("numerator") > pl.col("denominator")).is_empty()


def test_terms_add_up(fact: pl.DataFrame) -> None:
    key = ["variant", "area_code", "evaluation_year"]
    tracked = fact.filter(pl.col("indicator_code") == "A7.7")
    parts = tracked.filter(pl.col("subgroup") != "all").group_by(key).agg(pl.col("numerator", "denominator").sum())
    both = tracked.filter(pl.col("subgroup") == "all").join(parts, on=key, suffix="_parts")
    assert (both["numerator"] == both["numerator_parts"]).all()
    assert (both["denominator"] == both["denominator_parts"]).all()


def test_care_and_insurance_come_near_everybody(fact: pl.DataFrame) -> None:
    region = fact.filter((pl.col("area_code") == "64") & (pl.col("subgroup") == "all"))

    def rate(code: str, variant: str, year: int) -> float:
        row = region.filter(
            (pl.col("indicator_code") == code)
            & (pl.col("variant") == variant)
            & (pl.col("evaluation_year") == year)
        )  # fmt: skip
        return int(row["numerator"][0]) / int(row["denominator"][0])

    assert rate("A7.7", "tracked", 2015) < 0.75
    assert rate("A7.7", "tracked", 2020) > 0.95
    assert rate("A6.11", "schools_insured", 2015) < 0.45
    assert rate("A6.11", "schools_insured", 2020) > 0.8
    assert rate("A7.8", "left_behind", 2020) > max(rate("A7.8", "left_behind", 2015), 0.95)
    assert rate("W4", "poor_pupil_file", 2020) > 0.99


def test_a_policy_that_lapses_in_winter_insures_no_school_for_the_year(world: World, tables: Tables) -> None:
    areas = areas_of(world.geo)
    school = tables["school"].filter(pl.col("school_year") == 2018).head(3)
    codes = school["school_code"].to_list()
    policy = pl.DataFrame(
        {
            "school_code": codes,
            "is_no_fault": [True, True, False],
            "valid_from": [date(2018, 9, 1)] * 3,
            "valid_to": [date(2019, 3, 1), date(2019, 2, 28), date(2019, 8, 31)],
            "insured_count": [10_000, 1, 10_000],
        }
    )
    tiny = {**tables, "school": school, "liability_insurance": policy}
    now = pl.DataFrame({"_village": [], "_home": []}, schema={"_village": pl.String, "_home": pl.String})
    table = ValueTable(areas, [2018])
    care_values(table, tiny, now)
    found = {r[1]: (r[6], r[7]) for r in table.rows if r[0] == "A6.11" and r[2] == "64"}
    assert found["schools_insured"] == (1, 3)
    rolls = primary_rows(tables["pupil"], tables["student_event"]).filter(pl.col("school_year") == 2018)
    # heads above the pupils of the school do not count
    first = rolls.filter(pl.col("school_code") == codes[0]).height
    assert found["pupils_insured"] == (first + 1, rolls.height)


# ID numbers that do not join


@pytest.fixture(scope="module")
def resembling(plain: Tables) -> tuple[Tables, dict[str, str]]:
    return with_lookalikes(plain, SCALE, SEED)


def test_twins_and_namesakes(resembling: tuple[Tables, dict[str, str]]) -> None:
    tables, kinds = resembling
    pupil = tables["pupil"].unique("_token", keep="last", maintain_order=True)
    known = {r["_token"]: r for r in pupil.iter_rows(named=True)}
    pairs = list(zip(list(kinds)[::2], list(kinds)[1::2], strict=True))
    assert Counter(kinds.values()) == {"twin": 6, "namesake": 6}
    for one, other in pairs:
        first, second = known[one], known[other]
        assert kinds[one] == kinds[other]
        assert first["birth_date"] == second["birth_date"]
        same = kinds[one] == "twin"
        assert (first["guardian_id_number"] == second["guardian_id_number"]) == same
        assert (first["pupil_name"] == second["pupil_name"]) != same
        assert (first["home_area_code"] == second["home_area_code"]) == same
    for name in ("pupil", "poor_person"):
        table = tables[name].filter(pl.col("id_number").is_not_null())
        assert (table["id_number"].str.slice(6, 8) == table["birth_date"].dt.strftime("%Y%m%d")).all()
        assert (table["id_number"] == table["_token"]).all()


def test_damaged_numbers(world: World, resembling: tuple[Tables, dict[str, str]]) -> None:
    before, kinds = resembling
    before = add_care(world, before)
    tables, damage = damage_ids(before, 0.03, SEED, kinds)
    again, _ = damage_ids(before, 0.03, SEED, kinds)
    assert all(tables[name].equals(again[name]) for name in tables)
    poor, pupil = tables["poor_person"], tables["pupil"]
    children = pupil.join(poor, on="_token", how="semi")["_token"].n_unique()
    assert len(damage) == pytest.approx(0.03 * children, rel=0.06)
    assert max(Counter(damage.values()).values()) - min(Counter(damage.values()).values()) <= 1
    real = set(before["pupil"]["id_number"]) | set(before["poor_person"]["id_number"])
    for token, kind in damage.items():
        listed = poor.filter(pl.col("_token") == token)
        rolls = pupil.filter(pl.col("_token") == token)
        assert listed.height
        assert rolls.height
        if kind == "no_number":
            assert listed["id_number"].is_null().all()
            assert set(listed["id_type"]) == {"Z"}
        elif kind == "wrong_number":
            (number,) = set(listed["id_number"])
            assert is_valid_id(number)
            assert number not in real
            assert number[6:14] == token[6:14]
            assert int(number[16]) % 2 == int(token[16]) % 2
        else:
            assert set(listed["id_number"]) == {token}
            assert rolls["id_number"].is_null().all()
            (number,) = set(rolls["student_number"])
            assert number[0] in "JL"
            assert number[7:15] == token[6:14]
            care = tables["care_record"].filter(pl.col("_token") == token)
            assert set(care["student_number"]) <= {number}
    untouched = ~pl.col("_token").is_in(list(damage))
    for name in ("pupil", "poor_person", "care_record"):
        assert tables[name].filter(untouched).equals(before[name].filter(untouched)), name
    assert set(damage.values()) == set(DAMAGES)
    spelled = before["poor_person"]["person_name"] != poor["person_name"]
    assert spelled.sum() > 0
    # one of a pair of lookalikes is damaged, the other is the wrong answer
    _, everybody = damage_ids(before, 1.0, SEED, kinds)
    assert [t for t in list(kinds)[::2] if t in everybody] == []
    assert len([t for t in list(kinds)[1::2] if t in damage]) == 6


def test_the_truth_of_the_matching_names_the_number_on_the_register(
    world: World, resembling: tuple[Tables, dict[str, str]]
) -> None:
    before, kinds = resembling
    tables, damage = damage_ids(before, 0.03, SEED, kinds)
    truth = person_match(tables, damage, kinds)
    assert truth.select("poverty_year", "person_number").is_unique().all()
    found = truth.join(tables["poor_person"].select("poverty_year", "person_number", "_token"),
                       on=["poverty_year", "person_number"])  # fmt: skip
    rolls = tables["pupil"].select("_token", poverty_year="school_year").unique().with_columns(_there=pl.lit(1))
    found = found.join(rolls, on=["_token", "poverty_year"], how="left")
    assert (found["on_roll"] == found["_there"].fill_null(0)).all()
    assert found.filter((pl.col("on_roll") == 1) & pl.col("student_number").is_null()).is_empty()
    harmed = found.filter(pl.col("damage") == "register_without_number")
    assert set(harmed["student_number"].str.head(1)) == {"J", "L"}
