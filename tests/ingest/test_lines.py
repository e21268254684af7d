"""Lines that the file in force holds are not read again, and the outcome is that of reading everything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ingest
from ingest import Contract, LoadReport, duplicates
from ingest.ahead import ahead
from ingest.copy_text import payload, to_copy_lines
from ingest.duplicates import SeenHashes, row_hashes
from ingest.lines import LineStore, allows
from tests.ingest.golden import Row, csv_text, id_number, write_csv
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
NAMES = [f"登记_2016_201610{day}.csv" for day in range(20, 29)]
BENCH = Path(__file__).parents[2] / "benchmarks" / "ingest" / "contracts"


@pytest.fixture(scope="module")
def bench() -> Contracts:
    return ingest.load_contracts(BENCH)


@pytest.fixture(autouse=True)
def small_files_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.load.LEAST_BYTES", 1)
    monkeypatch.setattr("ingest.load.LARGE_BYTES", 1)


def entry(index: int, county: str = "640422", **changes: Any) -> Row:
    female = index % 2 == 0
    return {
        "学年": "2016/17", "县代码": county, "学校标识码": "2164000123", "登记号": f"1{index:011d}",
        "姓名": f"马小{chr(0x4E00 + index)}", "性别": "2" if female else "1", "出生日期": "2008-03-15", "证件类型": "1",
        "证件号码": id_number(index, female=female), "民族": "03",
        "户口所在地区划代码": "640422209201", "户口性质": "1",
        "学段": "primary", "年级": "P3", "班级": "01", "入学年月": "2014-09-01", "就读方式": "1", "残疾类型": "0",
        "随班就读": "0", "是否留守儿童": "0", "随迁子女": "0", "孤儿": "0", "监护人姓名": "白大山",
        "监护人关系": "父亲",
        "上学用时": "20", "营养餐补助": "800", "生活补助": "0", "体检日期": "2016-04-12", "身高": "1300",
        "家庭住址": "宁夏马莲乡红庄村", **changes,
    }  # fmt: skip


def load(root: Path, config: WarehouseConfig, contracts: Contracts, name: str) -> LoadReport:
    report = ingest.load_feed("bench_register", root, contracts, config, names=(name,)).files[0]
    assert report.rejection is None
    assert report.rows_in == (
        report.rows_landed + report.rows_unchanged + report.rows_quarantined + report.rows_exact_duplicate
    )
    return report


def content(config: WarehouseConfig) -> tuple[list[tuple[Any, ...]], ...]:
    """What the loads left, without the ids that count every row."""
    with connect("ingest", config) as conn:
        return (
            conn.execute(
                "select register_number, class_number, scope_key, record_key, record_hash, load_id, ended_load_id"
                " from landing.bench_register order by 1, 6, 2"
            ).fetchall(),
            conn.execute("select load_id, line_number, rule from quarantine.rejected_row order by 1, 2, 3").fetchall(),
            conn.execute(
                "select person_token, identifier, person_name from vault.person_identity order by 1"
            ).fetchall(),
            conn.execute(
                "select load_id, status, rows_in, rows_landed, rows_unchanged, rows_quarantined, rows_exact_duplicate,"
                " rows_ended, rows_skipped, scope_values from ledger.load order by 1"
            ).fetchall(),
        )


@pytest.fixture
def clean(empty: WarehouseConfig, bench: Contracts) -> WarehouseConfig:
    with connect("ingest", empty) as conn:
        conn.execute("drop table if exists landing.bench_register")
        conn.commit()
        ingest.ensure_landing(conn, bench)
    shutil.rmtree(empty.home / "lines", ignore_errors=True)
    return empty


def nights() -> list[list[Row]]:
    """Five nights of two counties in which everything happens that can happen to a line."""
    first = [entry(index, "640422" if index < 40 else "640423") for index in range(60)]
    second = [dict(row) for row in first]
    second[3]["班级"] = "02"  # changed
    del second[50]  # gone
    second.insert(7, entry(70))  # new
    second[12]["年级"] = "十三"  # quarantined: its last version stays
    third = [dict(row) for row in second]
    third.append(dict(third[0]))  # repeated exactly
    third[12]["民族"] = "汉族"  # still quarantined, otherwise written
    third[20]["性别"] = "女" if third[20]["性别"] == "2" else "男"  # written otherwise, the same record
    third[30]["县代码"] = "640423"  # moved to the other county
    fourth = [dict(row) for row in third if row["县代码"] == "640422"]  # the other county is silent
    fourth.append({**fourth[0], "班级": "09"})  # the key of a line that did not change, after it
    fourth.insert(1, {**fourth[5], "班级": "08"})  # and before it
    fifth = [dict(row) for row in first]
    return [first, second, third, fourth, fifth]


@pytest.mark.parametrize("block", [2_000, 4 * 1024 * 1024])
def test_the_outcome_is_that_of_reading_everything(
    block: int, root: Path, clean: WarehouseConfig, bench: Contracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.csv_reader.BLOCK_BYTES", block)
    for name, rows in zip(NAMES, nights(), strict=False):
        write_csv(root, rows, name, encoding="utf-8")
    read: list[int] = []
    whole = ingest.pipeline.FileChecker.check

    def counted(self: Any, batch: Any) -> Any:
        read.append(batch.frame.height)
        return whole(self, batch)

    monkeypatch.setattr("ingest.pipeline.FileChecker.check", counted)
    outcomes = []
    amounts = []
    for with_lines in (True, False):
        with connect("admin", clean) as conn:
            conn.execute(
                "truncate landing.bench_register, ledger.load, ledger.seen, ledger.file, vault.person_identity,"
                " quarantine.rejected_row restart identity cascade"
            )
        shutil.rmtree(clean.home / "lines", ignore_errors=True)
        if not with_lines:
            monkeypatch.setattr("ingest.lines.LineStore.find", lambda *given: None)
        read.clear()
        for name, _ in zip(NAMES, nights(), strict=False):
            load(root, clean, bench, name)
        outcomes.append(content(clean))
        amounts.append(sum(read))
    with_known, read_in_full = outcomes
    for known, full in zip(with_known, read_in_full, strict=True):
        assert known == full
    assert amounts[0] < amounts[1]


def test_only_changed_lines_are_read(
    root: Path, clean: WarehouseConfig, bench: Contracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [entry(index) for index in range(100)]
    write_csv(root, first, NAMES[0], encoding="utf-8")
    write_csv(root, [{**first[0], "班级": "07"}, *first[1:]], NAMES[1], encoding="gb18030")
    load(root, clean, bench, NAMES[0])
    read: list[int] = []
    whole = ingest.pipeline.FileChecker.check

    def counted(self: Any, batch: Any) -> Any:
        read.append(batch.frame.height)
        return whole(self, batch)

    monkeypatch.setattr("ingest.pipeline.FileChecker.check", counted)
    report = load(root, clean, bench, NAMES[1])
    assert (report.rows_in, report.rows_landed, report.rows_unchanged, report.rows_ended) == (100, 1, 99, 1)
    assert read == [1]


@pytest.mark.parametrize("reason", ["contract", "key", "columns", "earlier date", "half a cache"])
def test_lines_count_only_under_the_same_circumstances(
    reason: str, root: Path, clean: WarehouseConfig, bench: Contracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [entry(index) for index in range(50)]
    write_csv(root, rows, NAMES[0], encoding="utf-8")
    load(root, clean, bench, NAMES[0])
    found: list[bool] = []
    find = LineStore.find

    def watched(self: LineStore, feed: str, given: dict[str, Any], *rest: Any) -> Any:
        if reason == "key":
            given = {**given, "key_id": "0" * 16}
        if reason == "earlier date":
            rest = (rest[0].replace(year=2015), *rest[1:])
        found.append(find(self, feed, given, *rest) is not None)
        return None

    monkeypatch.setattr("ingest.lines.LineStore.find", watched)
    later = [{**rows[0], "班级": "05"}, *rows[1:]]
    contracts = bench
    if reason == "contract":
        contracts = {"bench_register": replace(bench["bench_register"], sha256="e" * 64)}
    if reason == "columns":
        later = [dict(reversed(row.items())) for row in later]
    if reason == "half a cache":
        for path in (clean.home / "lines").rglob("*.lines"):
            path.write_bytes(path.read_bytes()[:-100])
    write_csv(root, later, NAMES[1], encoding="utf-8")
    assert load(root, clean, contracts, NAMES[1]).rows_landed == 1
    assert found == [False]


def test_contracts_that_compare_rows_are_read_in_full(contracts: Contracts, bench: Contracts) -> None:
    assert allows(bench["bench_register"])
    column = replace(bench["bench_register"].columns[0], watch={"figures": True})
    assert not allows(replace(bench["bench_register"], columns=(column, *bench["bench_register"].columns[1:])))


def test_indexes_stand_after_a_large_first_load(root: Path, clean: WarehouseConfig, bench: Contracts) -> None:
    write_csv(root, [entry(index) for index in range(30)], NAMES[0], encoding="utf-8")
    load(root, clean, bench, NAMES[0])
    with connect("ingest", clean) as conn:
        names = conn.execute(
            "select indexname from pg_indexes where tablename in ('bench_register', 'person_identity') order by 1"
        ).fetchall()
    assert [name for (name,) in names] == [
        "bench_register_current", "bench_register_load", "bench_register_pkey", "person_identity_pkey",
    ]  # fmt: skip


def test_values_that_need_escapes_arrive_as_they_were(root: Path, clean: WarehouseConfig, bench: Contracts) -> None:
    odd = ['宁夏"红"村', "宁夏\\n村", "宁夏\\t", "宁夏,村"]
    write_csv(root, [entry(place, 家庭住址=text) for place, text in enumerate(odd)], NAMES[0], encoding="utf-8")
    load(root, clean, bench, NAMES[0])
    with connect("ingest", clean) as conn:
        stored = conn.execute("select home_address from landing.bench_register order by source_line").fetchall()
    assert [text for (text,) in stored] == odd


def test_lines_for_copy_are_one_a_row() -> None:
    frame = pl.DataFrame({"a": ["x\ty", None, 'q"\\'], "b": [1, None, 3], "c": [True, False, None]})
    lines = to_copy_lines(frame)
    assert lines.to_list() == ["x\\ty\t1\ttrue\n", "\t\tfalse\n", "q\\x22\\\\\t3\t\n"]
    assert bytes(payload(lines[1:])).decode() == "\t\tfalse\nq\\x22\\\\\t3\t\n"
    assert bytes(payload(lines[:0])) == b""


def test_seen_hashes_know_what_was_added() -> None:
    random = np.random.default_rng(1)
    seen, known = SeenHashes(), set[int]()
    for _ in range(200):
        values = random.integers(0, 5_000, 100).astype(np.uint64)
        expected = []
        for value in values.tolist():
            expected.append(value in known)
            known.add(value)
        assert seen.known(values[:0]).tolist() == []
        assert seen.add(values).tolist() == expected
    assert seen.known(np.arange(6_000, dtype=np.uint64)).tolist() == [value in known for value in range(6_000)]


def test_seen_hashes_go_to_a_file_and_are_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MOST_IN_MEMORY", 1_000)
    monkeypatch.setattr(duplicates, "_FILTER_ENTRIES", 5_000)
    monkeypatch.setattr(duplicates, "_FILTER_BITS", 1 << 14)  # narrow: many are suspected and found unknown in the file
    random = np.random.default_rng(2)
    batches = [random.integers(0, 1 << 63, 700).astype(np.uint64) for _ in range(30)]
    seen = SeenHashes()
    for batch in batches:
        assert not seen.add(batch).any()
    assert sum(map(len, seen._runs)) <= 1_000
    everything = np.concatenate(batches)
    assert seen.known(everything).all()
    assert not seen.known(everything + np.uint64(1)).any()
    assert seen.add(np.concatenate([batches[0], batches[-1]])).all()
    union = SeenHashes()
    union.add(batches[0][:10])
    union.update(seen)
    assert union.known(everything).all()
    assert not union.known(everything + np.uint64(1)).any()


def test_row_hashes_are_those_of_the_landing_table() -> None:
    hashes = row_hashes(pl.Series(["a", "b", "a"]))
    assert hashes.shape == (3, 2)
    assert hashes[0].tobytes() == hashes[2].tobytes() != hashes[1].tobytes()
    assert hashes[0].tobytes().hex() == "a96faf705af16834e6c632b61e964e1f"


def test_ahead_keeps_order_and_passes_errors_on() -> None:
    assert list(ahead(range(50))) == list(range(50))

    def broken() -> Any:
        yield 1
        raise ValueError("no more")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
    stopped = ahead(iter(int, 1))
    assert next(stopped) == 0
    stopped.close()


def test_rows_that_differ_only_in_how_they_are_quoted_are_one(bench: Contracts, tmp_path: Path) -> None:
    rows = [entry(1), entry(2)]
    text = csv_text(rows, end="\n")
    line = text.splitlines()[1]
    quoted = '"' + line.replace(",", '","') + '"'
    path = tmp_path / NAMES[0]
    path.write_text(text + quoted + "\n", encoding="utf-8")
    report = ingest.check_file(path, bench).report
    assert (report.rows_in, report.rows_landed, report.rows_exact_duplicate) == (3, 2, 1)
