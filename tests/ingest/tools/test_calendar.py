"""The delivery calendar: due, arrived, late, partial, missing, as of a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest import Contract, ContractError, load_feed
from ingest.calendar import STATES, Delivery, calendar, due_date, summarize
from ingest.contract import known_code_lists, parse_contract
from tests.ingest.golden import PERSON_NAME, PUPIL_NAME, person, pupil, pupils, write_csv
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]


def look(
    config: WarehouseConfig, contracts: Contracts, as_of: date, feed: str = "pupil"
) -> dict[tuple[int, str], Delivery]:
    with connect("auditor", config) as conn:
        found = calendar(conn, contracts, known_code_lists(), as_of, feed)
    result = {(item.period, item.unit): item for item in found}
    assert len(result) == len(found)
    return result


def test_due_dates_follow_the_contract(contracts: Contracts) -> None:
    assert due_date(contracts["pupil"], 2016) == date(2016, 11, 30)
    assert due_date(contracts["poor_person"], 2016) == date(2017, 1, 31)
    assert due_date(contracts["population_age"], 2016) == date(2017, 3, 31)


def test_a_service_level_that_is_no_day_is_named(contracts: Contracts, tmp_path: Path) -> None:
    path = tmp_path / "pupil.odcs.yaml"
    path.write_text(
        contracts["pupil"].path.read_text(encoding="utf-8").replace("'11-30'", "'November'"), encoding="utf-8"
    )
    broken = parse_contract(path, known_code_lists())
    with pytest.raises(ContractError, match="must be like '11-30', not 'November'"):
        due_date(broken, 2016)


def test_every_county_and_period_has_one_state_as_of_a_day(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    folder = root / "E04_学籍"
    write_csv(folder, pupils(5))
    late = [pupil(index, 县代码="640423", 学校标识码="2164000999") for index in range(21, 24)]
    write_csv(folder, late, "学籍_640423_隆德县_2016_20161205.csv")
    poor = [pupil(index, 县代码="640424", 学校标识码="2164000998") for index in range(31, 35)]
    poor[0]["性别"] = ""
    write_csv(folder, poor, "学籍_640424_泾源县_2016_20161021.csv")
    (folder / "学籍_640425_彭阳县_2016_20161021.csv").write_bytes(b"")
    load_feed("pupil", root, contracts, empty)

    def states(day: date) -> dict[str, str]:
        return {unit: item.state for (period, unit), item in look(empty, contracts, day).items() if period == 2016}

    counties = known_code_lists()["counties"].entries
    before, after = states(date(2016, 11, 30)), states(date(2016, 12, 31))
    assert set(before) == set(after) == set(counties)
    names = ("640422", "640423", "640424", "640425", "640402")
    assert [before[unit] for unit in names] == ["arrived", "due", "partial", "due", "due"]
    assert [after[unit] for unit in names] == ["arrived", "late", "partial", "missing", "missing"]
    assert set(states(date(2016, 10, 19)).values()) == {"due"}
    assert {period for period, _ in look(empty, contracts, date(2016, 12, 31))} == {2015, 2016}
    found = look(empty, contracts, date(2016, 12, 31))
    assert found[2016, "640424"].remark == "1 of 4 rows in quarantine"
    assert found[2016, "640425"].remark == "1 file(s) rejected: file.empty ×1"
    assert found[2016, "640423"].remark == "5 days after it was due"
    assert (found[2016, "640422"].rows, found[2016, "640422"].arrived_on) == (5, date(2016, 10, 20))
    cells = summarize(found.values())
    assert sum(cells["pupil", 2016].values()) == len(counties)
    assert cells["pupil", 2015] == {"missing": len(counties)}
    assert set(STATES) >= {state for cell in cells.values() for state in cell}


def test_a_correction_after_the_day_does_not_make_a_delivery_late(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E04_学籍", pupils(5))
    write_csv(root / "E04_学籍", pupils(6), PUPIL_NAME.replace("20161020", "20170301"))
    load_feed("pupil", root, contracts, empty)
    found = look(empty, contracts, date(2017, 6, 1))[2016, "640422"]
    assert (found.state, found.files, found.rows, found.arrived_on) == ("arrived", 1, 6, date(2016, 10, 20))


def population(basis: str) -> list[dict[str, Any]]:
    return [
        {
            "年度": "2016", "区划代码": "640422", "年龄": str(age), "性别": "男", "人数": "10", "口径": basis,
            "时点": "2016-09-01", "版本": "annual",
        }
        for age in range(3)
    ]  # fmt: skip


def test_of_several_files_a_period_is_partial_until_the_last_has_arrived(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    name = "分岁人口_64_宁夏_2016_{}_annual_{}.csv"
    write_csv(root / "E08", population("常住"), name.format("常住", "20170301"))
    write_csv(root / "E08", population("常住")[:2], name.format("常住", "20170305"))
    load_feed("population_age", root, contracts, empty)
    found = look(empty, contracts, date(2017, 3, 15), "population_age")[2016, "*"]
    assert (found.state, found.remark) == ("partial", "1 of 2 files")
    write_csv(root / "E08", population("户籍"), name.format("户籍", "20170402"))
    load_feed("population_age", root, contracts, empty)
    assert look(empty, contracts, date(2017, 3, 15), "population_age")[2016, "*"].state == "partial"
    whole = look(empty, contracts, date(2017, 4, 15), "population_age")[2016, "*"]
    assert (whole.state, whole.files, whole.arrived_on) == ("late", 2, date(2017, 4, 2))


def test_every_contract_that_expects_files_is_in_the_calendar(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E07_建档立卡", [person(1)], PERSON_NAME)
    load_feed("poor_person", root, contracts, empty)
    with connect("auditor", empty) as conn:
        found = calendar(conn, contracts, known_code_lists(), date(2021, 12, 31))
    expecting = {feed for feed, contract in contracts.items() if contract.custom.get("expected")}
    assert {"pupil", "aid_payment"} <= expecting < set(contracts)
    assert {item.feed for item in found} == expecting
    assert [item.unit for item in found if item.state == "arrived"] == ["640422"]
