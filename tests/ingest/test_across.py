"""Rows that contradict each other far apart in a file, or on a night on which only changes are read.

What: each pair is quarantined (or flagged) whole, whichever block its rows stand in and whichever of them is new.
Why: a county's file may be of any size, and what is found must not depend on where a row stands. How to fix: the
failing assertion names the lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ingest
from ingest import Contract
from ingest.across import AcrossCheck
from ingest.contract import Check
from ingest.lines import LEAST_BYTES
from tests.ingest.golden import PUPIL_NAME, csv_text, id_number, one_of_many
from tests.ingest.matrix.night import NAMES, OTHER_SCHOOL, Night, payment
from warehouse.config import WarehouseConfig

MATRIX_CONTRACTS = Path(__file__).parent / "matrix" / "contracts"
PUPIL = NAMES["pupil"]
#: so many golden pupils fill two blocks of 4 MiB and part of a third
MANY = 36_000


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    return {**ingest.load_contracts(), **ingest.load_contracts(MATRIX_CONTRACTS)}


@pytest.fixture
def night(root: Path, contracts: dict[str, Contract], empty: WarehouseConfig) -> Night:
    return Night(root, contracts, empty)


def entries(night: Night) -> set[tuple[int, str, str]]:
    return {
        (int(line), str(column), str(rule))
        for line, column, rule in night.sql("select line_number, column_name, rule from quarantine.entry where is_open")
    }


def test_pairs_in_a_file_of_several_blocks(night: Night) -> None:
    rows = [one_of_many(index, 孤儿="否" + " " * 60) for index in range(1, MANY + 1)]
    first, last = rows[2], rows[-3]
    rows.append({**first, "学校标识码": OTHER_SCHOOL, "姓名": "周扒皮"})  # 46: one ID number, two names
    rows.append({**last, "学校标识码": OTHER_SCHOOL})  # 45: one person in two schools, one block
    rows.append({**rows[4], "学校标识码": OTHER_SCHOOL})  # 45: the same, blocks apart
    text = csv_text(rows)
    assert len(text.encode()) > 2 * (4 << 20)
    night.text("pupil", text)
    report = night.last("pupil")
    assert entries(night) == {(4, "pupil_name", "pair.conflict"), (MANY + 2, "pupil_name", "pair.conflict")}
    (warning,) = [item for item in report.warnings if "person.two_schools" in item]
    lines = {int(number) for number in warning.split("lines ")[1].split(", ")}
    assert {4, 6, MANY - 1, MANY + 2, MANY + 3, MANY + 4} == lines
    assert (report.rows_in, report.rows_landed, report.rows_quarantined) == (MANY + 3, MANY + 1, 2)
    # a night on which nearly nothing changes: the new row contradicts one that is the same as the night before
    rows[10] = {**rows[10], "班级": "02"}
    rows.append({**rows[MANY // 2], "学校标识码": OTHER_SCHOOL, "姓名": "周扒皮"})
    night.text("pupil", csv_text(rows), PUPIL.replace("20161020", "20161120"))
    report = night.last("pupil")
    assert {(MANY // 2 + 2, "pupil_name", "pair.conflict"), (MANY + 5, "pupil_name", "pair.conflict")} <= entries(night)
    assert (report.rows_quarantined, report.rows_landed) == (4, 1)


def test_a_payment_made_twice_in_files_of_several_blocks(night: Night) -> None:
    rows = [
        payment(
            index % 400,
            发放编号=f"FF{index:05d}",
            证件号码=id_number(index % 400, area=f"6499{index // 400:02d}"),
            备注="现金" * 60,
        )
        for index in range(1, 20_001)
    ]
    rows.append({**rows[0], "发放编号": "FF99999"})
    text = csv_text(rows)
    assert len(text.encode()) > (4 << 20) > LEAST_BYTES
    night.with_column("tried_grant", "remark", words=frozenset())
    night.text("tried_grant", text)
    report = night.last("tried_grant")
    assert entries(night) == {(2, "id_number", "pair.repeated"), (20_002, "id_number", "pair.repeated")}
    assert report.rows_landed == 19_999


def test_a_dry_run_sees_the_whole_file(tmp_path: Path, contracts: dict[str, Contract]) -> None:
    rows = [one_of_many(index, 孤儿="否" + " " * 60) for index in range(1, MANY // 2 + 1)]
    rows.append({**rows[2], "学校标识码": OTHER_SCHOOL, "姓名": "周扒皮"})
    (tmp_path / PUPIL_NAME).write_text(csv_text(rows), encoding="utf-8")
    report = ingest.check_file(tmp_path / PUPIL_NAME, contracts)
    assert {(item.line, item.rule) for item in report.findings} == {
        (4, "pair.conflict"),
        (MANY // 2 + 2, "pair.conflict"),
    }
    assert report.report.rows_quarantined == 2


@pytest.mark.parametrize("kind", ["one_value", "only_once"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_where_the_blocks_end_does_not_matter(kind: str, size: int) -> None:
    check = Check("c", kind, "pair.conflict", "v", {"group": ["g"], **({"value": "v"} if kind == "one_value" else {})})
    rng = np.random.default_rng(size)
    groups = pl.Series("g", [None if n == 0 else f"g{n}" for n in rng.integers(0, 12, 40)], dtype=pl.String)
    values = pl.Series("v", [None if n == 0 else f"v{n}" for n in rng.integers(0, 3, 40)], dtype=pl.String)
    frame = pl.DataFrame([groups, values])
    given = pl.col("g").is_not_null()
    if kind == "one_value":
        given = given & pl.col("v").is_not_null()
        broken = pl.col("v").drop_nulls().n_unique().over("g") > 1
    else:
        broken = pl.len().over("g") > 1
    expected = frame.select((given & broken).fill_null(False)).to_series().to_list()
    assert any(expected)
    assert not all(expected)

    def read(judge: AcrossCheck) -> list[bool]:
        found: list[bool] = []
        for start in range(0, 40, size):
            part: Mapping[str, pl.Series] = frame[start : start + size].to_dict()
            mask, _ = judge.judge(part, pl.int_range(start, start + len(part["g"]), eager=True))
            found += [False] * len(part["g"]) if mask is None else mask.to_list()
        return found

    first = AcrossCheck(check, None)
    told = read(first)
    assert first.is_late == (told != expected)
    assert read(AcrossCheck(check, first.learned)) == expected
