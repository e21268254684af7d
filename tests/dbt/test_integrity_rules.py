"""The integrity rules: every planted case of the sample province is a lead, and nothing else is."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path

import pytest

from tests.dbt.conftest import PROJECT, ROOT, Dbt
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

THRESHOLD = re.compile(r"threshold\('(\w+)', '(\w+)'\)")


def seed(name: str) -> list[dict[str, str]]:
    """Rows of a seed."""
    with (PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_thresholds_are_data_and_all_are_used() -> None:
    """A name that the seed does not have would silence its rule; one that no model reads changes nothing."""
    used = {
        (str(match[1]), str(match[2]))
        for path in (PROJECT / "models" / "indicators" / "integrity").glob("*.sql")
        for match in THRESHOLD.finditer(path.read_text(encoding="utf-8"))
    }
    assert used == {(row["rule_code"], row["threshold_code"]) for row in seed("integrity_thresholds")}


def test_the_page_of_the_rules_says_what_the_seed_says() -> None:
    page = (ROOT / "docs" / "integrity.md").read_text(encoding="utf-8")
    rows = [
        f"| {r['rule_code']} | {r['name_zh']} {r['name_en']} | {r['compares_zh']} | {r['does_not_prove_zh']} |"
        for r in seed("integrity_rules")
    ]
    assert [row for row in rows if row not in page] == []


def test_rules_are_complete_and_name_feeds_that_exist(offline_dbt: Dbt) -> None:
    rules = seed("integrity_rules")
    assert [row["rule_code"] for row in rules] == [f"I{number:02}" for number in range(1, 23)]
    known = {s["name"] for s in offline_dbt.manifest()["sources"].values() if s["schema"] == "landing"}
    for row in rules:
        needed = {feed for column in ("needs_feeds", "needs_region_feeds") for feed in row[column].split(";") if feed}
        assert needed, row["rule_code"]
        # a rule can be checked exactly where every feed that it needs is taken in
        assert (needed <= known) == (row["is_measurable"] == "true"), row["rule_code"]


Row = tuple[str, str, int, str, Decimal, str]
CASES = " union all ".join(
    f"select rule_code, case_kind, evaluation_year, county_code, amount_at_risk_yuan, case_key from indicators.{model}"
    for model in (
        "int_integrity_payment", "int_integrity_payment_check", "int_integrity_register", "int_integrity_nutrition",
        "int_integrity_money", "int_integrity_poverty_list",
    )
)  # fmt: skip


def tokens(config: WarehouseConfig) -> dict[str, str]:
    """Person token (of a card: its own) of every raw number that the truth may name."""
    with connect("admin", config) as connection:
        known = connection.execute("select identifier_kind, identifier, person_token from vault.person_identity")
        rows = known.fetchall()
        owners = connection.execute(
            "select student_number_token, person_token from core.bridge_student_identifier where is_latest_person"
        ).fetchall()
    owner = {str(number): str(person) for number, person in owners}
    return {str(number): owner.get(str(token), str(token)) for _, number, token in rows}


def key_of(case: dict[str, str], token_of: dict[str, str]) -> str:
    """The key that the models give a case of the truth."""
    rule, kind, year, subject = case["rule"], case["case_kind"], case["year"], case["subject"].split("|")
    if rule in ("I01", "I02", "I03", "I04", "I05", "I21", "I07"):
        return "|".join([token_of[subject[0]], *subject[1:]])
    if rule in ("I11", "I12"):
        return f"{token_of[subject[0]]}|{year}"
    if rule == "I08":
        return f"{subject[0]}|{year}"
    if rule == "I09":
        return f"{subject[0]}|{year}|{subject[1]}|{kind}"
    if rule == "I14":
        return f"idle|{subject[0]}|{subject[1]}" if len(subject) == 2 else f"{kind}|{subject[0]}|{year}|{subject[2]}"
    if rule == "I19":
        return f"enrollment|{subject[0]}|{subject[1]}|{year}"
    if rule == "I22":
        return f"{case['county_code']}|{subject[0]}|{year}|{kind}"
    return "|".join(subject)


@pytest.fixture(scope="module")
def truth(province: Path) -> list[dict[str, str]]:
    """Cases and near-misses of the sample province as the simulator knows them."""
    with (province / ".truth" / "integrity_cases.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def found(dbt: Dbt, loaded_warehouse: WarehouseConfig) -> list[Row]:
    """Every lead that the models raise."""
    with connect("transform", loaded_warehouse) as connection:
        rows: list[Row] = list(connection.execute(CASES.encode()).fetchall())  # type: ignore[arg-type]
        flags = connection.execute("select count(*) from indicators.fct_integrity_flag").fetchone()
    assert flags == (len(rows),)
    return rows


def test_every_planted_case_is_a_lead_and_nothing_else_is(
    truth: list[dict[str, str]],
    found: list[Row],
    loaded_warehouse: WarehouseConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token_of = tokens(loaded_warehouse)
    wanted = {
        (case["rule"], case["case_kind"], int(case["year"]), case["county_code"], Decimal(case["amount_yuan"]),
         key_of(case, token_of))
        for case in truth
        if case["is_near_miss"] == "0"
    }  # fmt: skip
    raised = set(found)
    rules = [row["rule_code"] for row in seed("integrity_rules") if row["is_measurable"] == "true"]
    with capsys.disabled():
        print()
        for rule in rules:
            mine, planted = {f for f in raised if f[0] == rule}, {w for w in wanted if w[0] == rule}
            hits = len(mine & planted)
            print(
                f"{rule}: {len(planted)} cases, {len(mine)} leads, recall {hits / len(planted):.3f},"
                f" precision {hits / max(len(mine), 1):.3f}"
            )
    assert raised == wanted
    assert {case[0] for case in wanted} == set(rules)


def test_no_near_miss_is_a_lead(
    truth: list[dict[str, str]], found: list[Row], loaded_warehouse: WarehouseConfig
) -> None:
    token_of = tokens(loaded_warehouse)
    near = [case for case in truth if case["is_near_miss"] == "1"]
    leads = {(row[0], row[5]) for row in found}
    assert [case for case in near if (case["rule"], key_of(case, token_of)) in leads] == []
    measurable = {row["rule_code"] for row in seed("integrity_rules") if row["is_measurable"] == "true"}
    assert {case["rule"] for case in near} == measurable


def test_no_description_holds_a_personal_value(found: list[Row], loaded_warehouse: WarehouseConfig) -> None:
    """Neither a number of anybody nor a token stands in what people read."""
    with connect("transform", loaded_warehouse) as connection:
        texts = connection.execute("select description_zh, description_en from indicators.fct_integrity_flag")
        bad = [pair for pair in texts.fetchall() if re.search(r"\d{17}[\dX]|[0-9a-f]{32}", " ".join(map(str, pair)))]
    assert found
    assert bad == []


def test_a_case_is_seen_by_the_county_that_acts_and_the_home_county(
    dbt: Dbt, found: list[Row], loaded_warehouse: WarehouseConfig
) -> None:
    dbt.run("run", "--select", "funds_cases")
    with connect("transform", loaded_warehouse) as connection:
        rows = connection.execute(
            "select f.case_number, f.county_code, f.home_county_code, array_agg(c.county_code order by c.county_code)"
            " from indicators.fct_integrity_flag f left join restricted_source.funds_cases c using (case_number)"
            " group by 1, 2, 3"
        ).fetchall()
    assert len(rows) == len(found)
    assert [row for row in rows if row[3] != sorted({str(c) for c in row[1:3] if c is not None})] == []
    assert any(row[1] != row[2] and row[2] is not None for row in rows)


#: what a county failed to send, as a condition on the rows it would have become: the roll of the autumn and of the
#: spring after it, the list, the recognitions and the payments of a year
NOT_SENT = {
    "core.fct_enrollment_pupil": "school_start_year = 2019 and county_code in ('640422', '640104')",
    "core.fct_poverty_person": "poverty_year = 2019 and county_code in ('640423', '640522')",
    "core.fct_aid_recognition": "aid_year = 2020 and county_code in ('640424', '640324')",
    "core.fct_aid_payment": "aid_year = 2018 and county_code in ('640425', '640323')",
}


def test_what_was_not_sent_makes_no_lead(dbt: Dbt, found: list[Row], loaded_warehouse: WarehouseConfig) -> None:
    """Nobody is off a register, a list or a payroll that is not there; every lead that is left was one before."""
    rebuild = ("run", "--select", "path:models/indicators")
    with connect("admin", loaded_warehouse) as connection:
        for number, (table, condition) in enumerate(NOT_SENT.items()):
            kept = f"create table public.kept_{number} as select * from {table} where {condition}"
            assert connection.execute(kept.encode()).rowcount > 50
            connection.execute(f"delete from {table} where {condition}".encode())
    try:
        dbt.run(*rebuild)
        with connect("transform", loaded_warehouse) as connection:
            left: list[Row] = list(connection.execute(CASES.encode()).fetchall())  # type: ignore[arg-type]
    finally:
        with connect("admin", loaded_warehouse) as connection:
            for number, table in enumerate(NOT_SENT):
                connection.execute(f"insert into {table} select * from public.kept_{number}".encode())
                connection.execute(f"drop table public.kept_{number}".encode())
        dbt.run(*rebuild)
    assert set(left) - set(found) == set()
    silent = set(found) - set(left)
    assert {row[0] for row in silent} >= {"I05", "I12"}
    assert len(left) > len(found) / 2
