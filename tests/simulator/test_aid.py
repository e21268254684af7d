"""The money side: coverage as planned, sums that agree, cases and their neighbors, tables of others untouched."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date

import polars as pl
import pytest

from simulator import SimulationReport
from simulator.aid_cases import aid_cases, villages_now
from simulator.aid_documents import policy_documents
from simulator.aid_due import ROW, covered_keys, due_rows, policies_in_force
from simulator.aid_funds import SHORT_COUNTY, SHORT_YEAR
from simulator.aid_payments import COVERED_PERSONS
from simulator.aid_rules import ITEM
from simulator.cases import Case
from simulator.frames import Frames, build_frames
from simulator.geography import Geography
from simulator.identity import is_valid_id
from simulator.plan import YEARS
from simulator.world import World, build_world
from tests.simulator.conftest import SCALE, SEED

RULES = ("I01", "I02", "I03", "I04", "I05", "I06", "I07", "I10", "I14", "I17", "I21")


@pytest.fixture(scope="module")
def world() -> World:
    """Return the persons of the smallest sample."""
    return build_world(SCALE, SEED)


@pytest.fixture(scope="module")
def tables(world: World) -> Frames:
    """Return its canonical tables."""
    return build_frames(world)


@pytest.fixture(scope="module")
def cases(tables: Frames) -> list[Case]:
    """Return the cases of the rules on money."""
    return aid_cases(tables.tables)


@pytest.fixture(scope="module")
def cells(clean: SimulationReport) -> dict[tuple[str, str, str, int, str, str], tuple[int | None, int | None]]:
    """Return the truth of the same sample."""
    with (clean.truth / "indicator_values.csv").open(encoding="utf-8", newline="") as handle:
        return {
            (r["indicator_code"], r["variant"], r["area_code"], int(r["evaluation_year"]), r["subgroup"], r["basis"]): (
                int(r["numerator"]) if r["numerator"] else None,
                int(r["denominator"]) if r["denominator"] else None,
            )
            for r in csv.DictReader(handle)
        }


Cells = dict[tuple[str, str, str, int, str, str], tuple[int, int]]


@pytest.mark.parametrize(("year", "share"), COVERED_PERSONS.items())
def test_coverage_of_persons_follows_the_plan_to_one_person(cells: Cells, year: int, share: float) -> None:
    covered, due = cells["G13", "covered_persons", "64", year, "all", "plan_strict"]
    assert due > 250
    assert covered == int(share * due + 0.5)


def test_worse_counties_miss_more(cells: Cells) -> None:
    def missed(county: str) -> float:
        pairs = [cells["G13", "covered_persons", county, year, "all", "plan_strict"] for year in YEARS]
        return 1 - sum(n for n, _ in pairs) / sum(d for _, d in pairs)

    region = missed("64")
    assert sum(missed(c) > region for c in ("640522", "640422", "640324")) >= 2


def test_terms_add_up_and_the_spring_before_the_first_register_is_unknown(cells: Cells) -> None:
    compared = 0
    for (code, variant, area, year, subgroup, basis), (top, bottom) in cells.items():
        if subgroup != "all" or (code, variant, area, year, "spring", basis) not in cells:
            continue
        spring = cells[code, variant, area, year, "spring", basis]
        autumn = cells[code, variant, area, year, "autumn", basis]
        if year == YEARS[0]:
            assert spring == (None, None)
            assert autumn == (top, bottom)
        else:
            assert spring[0] + autumn[0] == top
            assert bottom is None or spring[1] + autumn[1] == bottom
        compared += 1
    assert compared > 3000


def test_national_basis_holds_the_basis_of_the_plan(cells: Cells) -> None:
    wider = 0
    for (code, variant, area, year, subgroup, basis), (top, bottom) in cells.items():
        if basis == "plan_strict" and top is not None:
            broad = cells[code, variant, area, year, subgroup, "national_broad"]
            assert broad[1] >= bottom
            wider += broad[1] > bottom
    assert wider > 500


def test_what_came_is_what_was_paid(tables: Frames, cells: Cells) -> None:
    """Every payment that counts is covered aid, aid that was not expected, or a second payment of the same."""
    counted = covered_keys(tables["aid_payment"]).height
    rows = sum(cells["G13", "covered_entitlements", "64", year, "all", "national_broad"][0] for year in YEARS)
    wrong = sum(cells["G13", "not_expected", "64", year, "all", "none"][0] for year in YEARS)
    assert rows + wrong == counted
    by_school = [cells["G13", "covered_by_school_county", "64", year, "all", "national_broad"] for year in YEARS]
    by_home = [cells["G13", "covered_entitlements", "64", year, "all", "national_broad"] for year in YEARS]
    assert by_school == by_home
    one_county = [
        cells["G13", "covered_by_school_county", "640402", year, "all", "plan_strict"][1]
        - cells["G13", "covered_entitlements", "640402", year, "all", "plan_strict"][1]
        for year in YEARS
    ]
    assert any(one_county)


def test_poor_on_no_roll_stay_in_the_denominator(cells: Cells) -> None:
    pairs = [cells["G13", "matched_rate", "64", year, "all", "none"] for year in YEARS]
    assert all(n <= d for n, d in pairs)
    assert sum(d - n for n, d in pairs) >= 5
    assert pairs[-1][1] - pairs[-1][0] <= 3


def test_every_rule_has_cases_and_a_neighbor(cases: list[Case]) -> None:
    found = Counter(c.rule for c in cases if not c.is_near_miss)
    near = Counter(c.rule for c in cases if c.is_near_miss)
    assert set(found) | set(near) == set(RULES)
    assert {rule: found[rule] for rule in RULES if found[rule] < 2} == {}
    assert {rule: near[rule] for rule in RULES if not near[rule]} == {}
    kinds = {(c.rule, c.case_kind) for c in cases if not c.is_near_miss}
    assert {("I02", "not_on_roll"), ("I02", "after_leaving"), ("I14", "idle"), ("I14", "outside_scope"),
            ("I14", "school_account")} <= kinds  # fmt: skip


def test_no_subject_is_case_and_neighbor_of_one_rule(cases: list[Case]) -> None:
    flagged = {(c.rule, c.subject) for c in cases if not c.is_near_miss}
    assert len(flagged) == sum(not c.is_near_miss for c in cases)
    assert [c for c in cases if c.is_near_miss and (c.rule, c.subject) in flagged] == []


def test_cases_are_few_beside_what_is_in_order(tables: Frames, cases: list[Case]) -> None:
    wrong = Counter(c.rule for c in cases if not c.is_near_miss and c.rule != "I05")
    assert max(wrong.values()) <= 10
    twice = tables["aid_payment"].filter(~pl.col("is_reversed")).group_by(ROW).len().filter(pl.col("len") > 1)
    assert twice.height == wrong["I01"]
    off = tables["aid_payment"].filter(pl.col("amount_yuan") != pl.col("standard_yuan"))
    assert off.height == wrong["I06"]


def test_grants_of_special_education_fall_short_in_one_county_and_year(cells: Cells) -> None:
    for kind in ("special_school", "inclusive"):
        for (code, variant, area, year, _, _), (yuan, pupils) in cells.items():
            if (code, variant) == ("A7.4", kind) and len(area) == 6 and pupils:
                is_short = year < 2016 or (area, year) == (SHORT_COUNTY, SHORT_YEAR)
                assert (yuan < 6000 * pupils) == is_short, (kind, area, year)


def test_stages_with_funded_aid_grow_from_four_to_six(cells: Cells) -> None:
    stages = [cells["G15", "funded_stages", "64", year, "all", "none"][0] for year in YEARS]
    assert stages[0] == 4 * 22
    assert stages == sorted(stages)
    assert stages[-1] == 6 * 22


def test_documents_come_into_force_on_their_day(geo: Geography) -> None:
    documents = policy_documents(geo, SEED)
    assert documents["document_id"].is_unique().all()
    counties = [c.code for c in geo.counties]
    valid = set(policies_in_force(documents, counties).iter_rows())
    # in force on the cut-off day itself, and a day after it
    assert ("640521", 2020, "spring", "EN02") in valid
    assert ("640302", 2019, "spring", "EN02") not in valid
    assert ("640302", 2019, "autumn", "EN02") in valid
    # ends on the cut-off day of a semester; the next document comes a year later
    assert ("640106", 2018, "autumn", "EN02") in valid
    assert ("640106", 2019, "spring", "EN02") not in valid
    # a document of the city holds in its counties, one of the region everywhere
    assert {("640205", 2018, "spring", "EN02"), ("640423", 2019, "autumn", "EN07")} <= valid


def test_a_rule_reads_age_grade_place_and_wish() -> None:
    def person(**cells: object) -> dict[str, object]:
        base: dict[str, object] = {
            "aid_year": 2017, "term": "autumn", "start": 2017, "order": 4035, "cut_off": date(2017, 10, 15),
            "_token": "t", "stage": "preschool", "grade": "PRE3", "boards": False, "school_code": "1",
            "school_county": "640422", "home": "640422", "is_poor": True, "is_broad": False, "asked": False,
            "is_matched": True,
        }  # fmt: skip
        return base | cells

    people = pl.DataFrame(
        [
            person(_token="a"),
            person(_token="b", school_county="640104"),
            person(_token="c", is_poor=False, is_broad=True),
            person(_token="d", is_poor=False),
            person(_token="e", stage="vocational", grade="V1", is_poor=False, school_county="640402"),
            person(_token="f", stage="higher", grade=None, asked=True),
            person(_token="g", stage="higher", grade=None),
            person(_token="h", aid_year=2015, order=4031),
        ],
        schema_overrides={"aid_year": pl.Int64, "order": pl.Int64},
    )
    none = pl.DataFrame(
        schema={
            "document_type": pl.String, "entitlement_code": pl.String, "area_code": pl.String,
            "effective_from": pl.Date, "effective_to": pl.Date,
        }
    )  # fmt: skip
    due = due_rows(people, none, ["640422", "640104", "640402"], ["640422"])
    found = {(t, s): [] for t, s in due.select("_token", "strict").iter_rows()}
    for token, code, strict in due.select("_token", "entitlement_code", "strict").iter_rows():
        found[token, strict].append(code)
    assert found == {
        ("a", True): ["EN01", "OR01"], ("b", True): ["OR01"], ("c", False): ["EN01", "OR01"],
        ("e", True): ["EN08A", "EN08B", "EN08C"], ("f", True): ["EN10A", "EN10B", "EN11", "OR05"],
        ("g", True): ["EN10A", "EN10B", "OR05"], ("h", True): ["OR01"],
    }  # fmt: skip


def test_other_tables_stay_as_they_are_without_aid(
    world: World, tables: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.frames.add_aid", lambda _, found: found)
    before = build_frames(world)
    assert set(before.tables) < set(tables.tables)
    for name, table in before.tables.items():
        after = tables[name]
        if name == "school":
            colleges = after.filter(pl.col("school_code").str.starts_with("41"))
            assert colleges.height == 5 * len(YEARS)
            after = after.head(table.height)
        if name == "poor_person":
            changed = (table["school_status"] != after["school_status"]).fill_null(value=False)
            assert 0 < changed.sum() < 0.002 * table.height
            assert set(table.filter(changed)["school_status"]) == {"非在校生"}
            table, after = table.drop("school_status"), after.drop("school_status")
        assert after.equals(table), name


def test_villages_are_mapped_as_the_areas_say(world: World, tables: Frames) -> None:
    assert dict(villages_now(tables.tables).iter_rows()) == world.geo.current_county()


@pytest.mark.parametrize(
    ("contract", "key"),
    [
        ("aid_recognition", ["aid_year", "county_code", "term", "student_number"]),
        ("aid_payment", ["aid_year", "county_code", "payment_number"]),
        ("student_loan", ["aid_year", "contract_number"]),
        ("fund_ledger", ["fiscal_year", "entry_number"]),
        ("policy_document", ["document_year", "document_id"]),
    ],
)
def test_keys_of_aid_are_unique_and_numbers_are_valid(tables: Frames, contract: str, key: list[str]) -> None:
    table = tables[contract]
    assert table.height > 100
    assert table.select(key).is_unique().all()
    for column in ("id_number", "cardholder_id_number"):
        if column in table.columns:
            numbers = table[column].drop_nulls().unique()
            assert all(is_valid_id(n) and n.startswith("6499") for n in numbers)


def test_every_county_sends_both_files_of_aid_every_year(tables: Frames) -> None:
    for contract in ("aid_recognition", "aid_payment"):
        assert tables[contract].select("_file_county", "_file_year").unique().height == 22 * len(YEARS)
    assert set(tables["aid_payment"]["entitlement_code"]) == set(ITEM)


def test_missed_aid_is_what_is_due_and_has_not_come(clean: SimulationReport, cells: Cells) -> None:
    text = dict.fromkeys(("home_county_code", "school_county_code", "school_code", "number"), pl.String)
    due = pl.read_csv(clean.truth / "entitlements_due.csv", schema_overrides=text)
    missed = pl.read_csv(clean.truth / "missed_aid.csv", schema_overrides=text)
    strict = due.filter(pl.col("is_due_plan_strict") == 1)
    keys = ["aid_year", "term", "number", "entitlement_code"]
    assert due.select(keys).is_unique().all()
    assert missed.equals(strict.filter(pl.col("is_covered") == 0))
    for year in YEARS:
        covered, wanted = cells["G13", "covered_entitlements", "64", year, "all", "plan_strict"]
        assert strict.filter(pl.col("aid_year") == year).height == wanted
        assert missed.filter(pl.col("aid_year") == year).height == wanted - covered
