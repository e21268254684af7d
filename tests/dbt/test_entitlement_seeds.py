"""A changed row of a seed of entitlements changes exactly the values that rest on it, and the test names them.

Two counties written by hand, every year alike, so that each expected cell can be said in words: Xiji (a plan county of
Guyuan) with a poor upper-secondary pupil, a poor child in kindergarten and a vocational pupil; Xingqing with a poor
college student from Xiji. Everybody is paid everything that the seeds of the project say.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.conftest import make_warehouse
from tests.dbt.conftest import PROJECT, Dbt, environment_of, prepare
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.server import stop

Cell = tuple[str, str, str, int, str, str]
Row = dict[str, Any]

XIJI, XINGQING = "640422", "640104"
#: areas that a person of Xiji counts in
AT_HOME = (XIJI, "6404", "64", "PLAN9")
YEARS = range(2015, 2021)
HIGH, NURSERY, TRADE, COLLEGE = "3464220001", "1164220001", "3664220001", "4164000001"
#: person -> stage, grade, school, words of the poverty list, age in 2015, what is paid in a semester of full aid
PUPILS = {
    "senior": ("senior", "S2", HIGH, "高中二年级", 16),
    "child": ("preschool", "PRE2", NURSERY, "学前教育", 4),
    "trainee": ("vocational", "V1", TRADE, None, 16),
}
PAID = {
    "senior": {"OR03": 1000, "EN06": 400},
    "child": {"OR01": 500, "EN01": 900},
    "trainee": {"EN08A": 200, "EN08B": 200, "EN08C": 750},
    "student": {"OR05": 1500, "EN10A": 2100, "EN10B": 1500},
}
#: first semester in which an item is paid; the others from autumn 2015 on
STARTS = {
    "EN01": (2016, "spring"), "EN06": (2016, "autumn"), "EN08A": (2016, "autumn"), "EN08B": (2016, "autumn"),
    "EN08C": (2016, "autumn"), "EN10A": (2016, "autumn"), "EN10B": (2016, "autumn"),
}  # fmt: skip


def semesters() -> Iterator[tuple[int, str]]:
    """Semesters that are measured."""
    yield from ((y, t) for y in YEARS for t in ("spring", "autumn") if (y, t) != (2015, "spring"))


def is_paid(item: str, semester: tuple[int, str]) -> bool:
    """Whether an item had begun by a semester."""
    order = {"spring": 0, "autumn": 1}
    start = STARTS.get(item, (2015, "autumn"))
    return (semester[0], order[semester[1]]) >= (start[0], order[start[1]])


def rows() -> dict[str, list[Row]]:
    """Landing rows of the two counties."""
    areas = [
        {"area_code": code, "area_name": code, "area_level": level, "parent_code": parent, "is_plan_county": plan}
        for code, level, parent, plan in (
            ("64", "region", None, False), ("6404", "city", "64", False), ("6401", "city", "64", False),
            (XIJI, "county", "6404", True), (XINGQING, "county", "6401", False),
        )
    ]  # fmt: skip
    for area in areas:
        area["valid_from"] = "2000-01-01"
    landing: dict[str, list[Row]] = {"admin_area": areas, "school": [], "pupil": [], "poor_person": []}
    landing |= {"aid_recognition": [], "aid_payment": [], "policy_document": []}
    for year in YEARS:
        school_year = f"{year}/{(year + 1) % 100:02}"
        for code, county, kind in ((HIGH, XIJI, "342"), (NURSERY, XIJI, "111"), (TRADE, XIJI, "365"),
                                   (COLLEGE, XINGQING, "415"), ("2164010001", XINGQING, "211")):  # fmt: skip
            landing["school"].append(
                {
                    "school_year": school_year,
                    "county_code": county,
                    "school_code": code,
                    "school_name": code,
                    "school_type_code": kind,
                    "village_code": f"{county}100201",
                }
            )
        for person, (stage, grade, school, words, age) in PUPILS.items():
            landing["pupil"].append(_pupil(school_year, XIJI, person, stage, grade, school, age))
            if words:
                landing["poor_person"].append(_poor(year, XIJI, person, words, age))
        # a pupil of Xingqing and a poor family of its own: both counties deliver every feed
        landing["pupil"].append(_pupil(school_year, XINGQING, "other", "primary", "P1", "2164010001", 7))
        landing["poor_person"] += [_poor(year, XINGQING, "elder", None, 60), _poor(year, XIJI, "student", None, 19)]
    for year, term in semesters():
        for person, stage, school, county in (
            ("student", "higher", COLLEGE, XINGQING),
            ("senior", "senior", HIGH, XIJI),
        ):
            landing["aid_recognition"].append(
                {
                    "aid_year": year,
                    "county_code": county,
                    "term": term,
                    "school_code": school,
                    "stage": stage,
                    "student_number_token": f"n-{person}",
                    "person_token": person,
                    "token_basis": "id_number",
                    "hardship_type": "registered_poor",
                    "recognized_on": f"{year}-03-01",
                }
            )
        for person, items in PAID.items():
            for item, yuan in items.items():
                if is_paid(item, (year, term)):
                    county = XINGQING if person == "student" else XIJI
                    landing["aid_payment"].append(
                        {
                            "aid_year": year,
                            "county_code": county,
                            "term": term,
                            "payment_number": f"{term}-{person}-{item}",
                            "school_code": COLLEGE if person == "student" else PUPILS[person][2],
                            "student_number_token": f"n-{person}",
                            "person_token": person,
                            "token_basis": "id_number",
                            "entitlement_code": item,
                            "payment_type": "card",
                            "amount_yuan": yuan,
                            "paid_on": f"{year}-12-01",
                        }
                    )
    landing["policy_document"].append(
        {
            "document_year": 2016,
            "document_id": "d1",
            "title": "t",
            "issuer_level": "region",
            "area_code": "64",
            "document_type": "other",
            "issued_on": "2016-01-01",
            "effective_from": "2016-01-01",
        }
    )
    return landing


def _pupil(school_year: str, county: str, person: str, stage: str, grade: str, school: str, age: int) -> Row:
    born = int(school_year[:4]) - age
    return {
        "school_year": school_year,
        "county_code": county,
        "school_code": school,
        "student_number_token": f"n-{person}",
        "person_token": person,
        "token_basis": "id_number",
        "sex": "1",
        "birth_date": f"{born}-03-01",
        "home_area_code": f"{county}100201",
        "stage": stage,
        "grade": grade,
        "enrolled_on": f"{school_year[:4]}-09-01",
        "boarding_code": "1",
        "disability_code": "0",
    }


def _poor(year: int, county: str, person: str, words: str | None, age: int) -> Row:
    return {
        "poverty_year": year,
        "county_code": county,
        "village_code": f"{county}100201",
        "household_number": person,
        "person_number": person,
        "person_token": person,
        "token_basis": "id_number",
        "sex": "1",
        "birth_date": f"{year - age}-03-01",
        "school_status": words,
        "poverty_status": "in_poverty",
    }


def land(config: WarehouseConfig, landing: dict[str, list[Row]]) -> None:
    """Write rows into landing as one load."""
    with connect("ingest", config) as connection, connection.cursor() as cursor:
        for table, records in landing.items():
            for number, record in enumerate(records):
                full = record | {"record_key": f"{table}-{number}", "scope_key": "s", "record_hash": "h", "load_id": 1,
                                 "source_line": number + 1}  # fmt: skip
                cursor.execute(
                    sql.SQL("insert into landing.{} ({}) values ({})").format(
                        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, full)),
                        sql.SQL(", ").join([sql.Placeholder()] * len(full)),
                    ),
                    list(full.values()),
                )  # fmt: skip
        connection.commit()


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dbt, WarehouseConfig]]:
    """The two counties, built once from the project's own seeds."""
    home = Path(tempfile.mkdtemp(prefix="edupa-seeds-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    prepare(config)
    land(config, rows())
    project = tmp_path_factory.mktemp("project") / "dbt_project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    made = Dbt(tmp_path_factory.mktemp("dbt_seeds"), environment_of(config), project)
    made.run("seed")
    made.run("run", "--select", "+fct_indicator_value")
    yield made, config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def before(dbt: tuple[Dbt, WarehouseConfig]) -> dict[Cell, tuple[Any, ...]]:
    """Every value, as the seeds of the project give it."""
    return values(dbt[1])


def values(config: WarehouseConfig) -> dict[Cell, tuple[Any, ...]]:
    """Figures of every cell."""
    with connect("transform", config) as connection:
        found = connection.execute(
            "select indicator_code, variant, area_code, evaluation_year, subgroup, basis, numerator, denominator"
            " from indicators.fct_indicator_value"
        ).fetchall()
    return {tuple(r[:6]): tuple(r[6:]) for r in found}  # type: ignore[misc]


def change(project: Path, seed: str, edit: Callable[[list[dict[str, str]]], None]) -> None:
    """Edit the rows of a seed of the copy."""
    with (PROJECT / "seeds" / f"{seed}.csv").open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    header = list(table[0])
    edit(table)
    with (project / "seeds" / f"{seed}.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def amount(table: list[dict[str, str]]) -> None:
    """Tuition of upper secondary: 500 yuan instead of 400."""
    next(r for r in table if r["entitlement_code"] == "EN06")["standard_yuan"] = "500.00"


def assumed_year(table: list[dict[str, str]]) -> None:
    """The redacted year of free upper-secondary tuition: 2017 instead of 2016."""
    next(r for r in table if r["assumption_id"] == "Y7")["assumed_value"] = "2017"


def start_year(table: list[dict[str, str]]) -> None:
    """Living allowance of colleges from autumn 2017 instead of autumn 2016."""
    next(r for r in table if r["entitlement_code"] == "EN10B")["from_year"] = "2017"


def new_row(table: list[dict[str, str]]) -> None:
    """A new item for poor upper-secondary pupils, from spring 2020, which nobody was paid yet."""
    known = next(r for r in table if r["entitlement_code"] == "OR03")
    added = {"entitlement_code": "OR06", "component": "meals", "standard_yuan": "300.00"}
    table.append(known | added | {"from_term": "spring", "from_year": "2020", "display_order": "99"})


def second_version(table: list[dict[str, str]]) -> None:
    """The national grant of upper secondary: 1,100 yuan from autumn 2019 on, by a second version of its rule."""
    first = next(r for r in table if r["entitlement_code"] == "OR03")
    second = {"rule_version": "2", "standard_yuan": "1100.00", "from_term": "autumn", "from_year": "2019"}
    table.append(first | second)
    first |= {"to_term": "spring", "to_year": "2019"}


BOTH = ("plan_strict", "national_broad")


def cells(code: str, variants: tuple[str, ...], semesters_of: dict[int, tuple[str, ...]], bases: tuple[str, ...],
          areas: tuple[str, ...] = AT_HOME) -> set[Cell]:  # fmt: skip
    """Named cells: subgroups by year."""
    return {
        (code, variant, area, year, subgroup, basis)
        for variant, basis, area, (year, subgroups) in product(variants, bases, areas, semesters_of.items())
        for subgroup in subgroups
    }


EVERY = ("all", "spring", "autumn")
FROM_AUTUMN_2016 = {2016: ("all", "autumn"), **dict.fromkeys(range(2017, 2021), EVERY)}
#: autumn 2016 and spring 2017: what a start one year later takes away
ONE_YEAR = {2016: ("all", "autumn"), 2017: ("all", "spring")}
AT_COLLEGE = (XINGQING, "6401", "64")


def leads(*years: int) -> set[Cell]:
    """Every figure of W9 in some years."""
    return cells("W9", ("leads", "leads_open", "amount_at_risk"), dict.fromkeys(years, ("all",)), ("none",))


EXPECTED: dict[str, tuple[str, Callable[[list[dict[str, str]]], None], set[Cell]]] = {
    # the yuan that were due; who was due what, and was covered, is as before
    # what was paid is another amount than the standard now, and each such payment is a lead
    "amount": (
        "entitlements",
        amount,
        cells("G13", ("adequacy",), FROM_AUTUMN_2016, BOTH) | leads(*range(2016, 2021)),
    ),
    # two semesters less of free tuition: the item itself, everything that counts items or yuan, and two payments that
    # nothing entitles to any more. Whoever was covered entirely still is: no person changes.
    "assumed_year": (
        "assumptions",
        assumed_year,
        cells("A6.4", ("waived",), ONE_YEAR, BOTH)
        | cells("A6.0", ("ordinary_first",), ONE_YEAR, ("none",))
        | cells("G13", ("covered_entitlements", "covered_by_school_county", "adequacy"), ONE_YEAR, BOTH)
        | cells("G13", ("not_expected",), ONE_YEAR, ("none",)),
    ),
    # the student lives in Xiji and learns in Xingqing: coverage at home, workload where the college is. Tuition is
    # still a tilt that was received, so A6.0 stands.
    "start_year": (
        "entitlements",
        start_year,
        cells("A6.8", ("living",), ONE_YEAR, ("none",))
        | cells("G13", ("covered_entitlements", "adequacy"), ONE_YEAR, BOTH)
        | cells("G13", ("covered_by_school_county",), ONE_YEAR, BOTH, AT_COLLEGE)
        | cells("G13", ("not_expected",), ONE_YEAR, ("none",)),
    ),
    "second_version": (
        "entitlements",
        second_version,
        cells("G13", ("adequacy",), {2019: ("all", "autumn"), 2020: EVERY}, BOTH) | leads(2019, 2020),
    ),
    # due and not paid: the pupil is no longer covered entirely, and what he has of the tilt came before the ordinary
    "new_row": (
        "entitlements",
        new_row,
        cells(
            "G13",
            ("covered_persons", "covered_entitlements", "covered_by_school_county", "adequacy"),
            {2020: EVERY},
            BOTH,
        )
        | cells("A6.0", ("ordinary_first",), {2020: EVERY}, ("none",))
        # a missed entitlement is a lead
        | leads(2020),
    ),
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_changed_seed_row_changes_what_rests_on_it(
    dbt: tuple[Dbt, WarehouseConfig], before: dict[Cell, tuple[Any, ...]], name: str
) -> None:
    made, config = dbt
    seed, edit, expected = EXPECTED[name]
    for other in ("entitlements", "assumptions"):
        change(made.project, other, edit if other == seed else lambda table: None)
    resting = ("entitlements", "assumptions", "dim_entitlement+,+fct_indicator_value")
    made.run("build", "--select", *resting, "--exclude-resource-type", "test", "unit_test")
    after = values(config)
    assert after.keys() == before.keys()
    changed = {cell for cell in before if before[cell] != after[cell]}
    assert changed == expected
