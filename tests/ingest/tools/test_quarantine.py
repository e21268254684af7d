"""The quarantine: filters, one entry with its trail, the county's workbook, replay, and how entries are settled."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

import ingest
from edupa import pipeline
from edupa.settings import load_settings
from ingest import Contract, load_feed
from ingest.county_workbook import export, workbook_name
from ingest.quarantine import QuarantineError, as_loaded, count_rows, get_entry, list_groups, open_files, replay
from tests.ingest.golden import (
    COUNT_NAME,
    PERSON_NAME,
    PUPIL_NAME,
    VILLAGE,
    Row,
    count_row,
    counts,
    person,
    pupil,
    pupils,
    write_csv,
    write_xlsx,
)
from tests.ingest.matrix.night import NAMES, OTHER_SCHOOL, Night, golden, school
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
LATER = PUPIL_NAME.replace("20161020", "20161120")
FORMULA = "=cmd|' /C calc'!A0"


def bad_pupils() -> list[Row]:
    """Ten pupils, three of them wrong: no sex; an unknown stage and a wrong birth date; a formula for a name."""
    rows = pupils(10)
    rows[2]["性别"] = ""
    rows[4]["学段"] = "大学"
    rows[4]["出生日期"] = "2007-01-01"
    rows[6]["班级"] = FORMULA
    return rows


def load(feed: str, root: Path, contracts: Contracts, config: WarehouseConfig) -> Any:
    return load_feed(feed, root, contracts, config)


def outcomes(config: WarehouseConfig) -> list[tuple[Any, ...]]:
    with connect("auditor", config) as conn:
        return conn.execute(
            "select load_id, coalesce(outcome, 'open'), cleared_by_load_id, count(*) from quarantine.entry"
            " group by 1, 2, 3 order by 1, 2, 3"
        ).fetchall()


@pytest.fixture
def three_wrong(root: Path, contracts: Contracts, empty: WarehouseConfig) -> WarehouseConfig:
    write_csv(root / "E04_学籍", bad_pupils())
    assert load("pupil", root, contracts, empty).total("rows_quarantined") == 3
    return empty


def test_groups_name_file_rule_and_column_and_filters_narrow_them(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig
) -> None:
    other = [pupil(index, 县代码="640423", 学校标识码="2164000999") for index in range(21, 24)]
    other[0]["性别"] = "女性别"
    write_csv(root / "E04_学籍", other, PUPIL_NAME.replace("640422_西吉县", "640423_隆德县"))
    write_xlsx(root / "E03_班级学生统计", [*counts(), count_row(school="2164000777", 在校生数=-1)])
    load("pupil", root, contracts, three_wrong)
    load("enrollment_count", root, contracts, three_wrong)
    with connect("auditor", three_wrong) as conn:
        every = list_groups(conn, contracts)
        assert {(group.feed, group.county, group.period) for group in every} == {
            ("pupil", "640422", 2016),
            ("pupil", "640423", 2016),
            ("enrollment_count", "640422", 2016),
        }
        assert count_rows(conn, every) == 5

        def rules(**filters: Any) -> set[tuple[str, str]]:
            return {(group.county or "", group.rule) for group in list_groups(conn, contracts, **filters)}

        assert rules(feed="enrollment_count") == {("640422", "number.negative")}
        assert rules(county="隆德县") == {("640423", "code.unknown")} == rules(county="640423")
        assert rules(rule="required.missing") == {("640422", "required.missing")}
        assert ("640422", "id.birth_mismatch") in rules(rule="id")
        assert rules(period=2017) == set() == rules(state="cleared")
        assert rules(state="all") == rules()
        with pytest.raises(QuarantineError, match="no feed 'pupils'"):
            list_groups(conn, contracts, feed="pupils")
        with pytest.raises(QuarantineError, match="no county '西安'"):
            list_groups(conn, contracts, county="西安")
        entry = get_entry(conn, next(group.first_id for group in every if group.rule == "required.missing"))
        assert (entry.line, entry.column, entry.header, entry.outcome) == (4, "sex", "性别", None)
        assert "必填" in entry.message_zh
        with pytest.raises(QuarantineError, match="no quarantine entry 99999"):
            get_entry(conn, 99999)


def test_a_corrected_file_settles_its_entries_and_the_trail_stays(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig
) -> None:
    better = bad_pupils()
    better[2]["性别"] = "男"
    del better[4]
    write_csv(root / "E04_学籍", better, LATER)
    load("pupil", root, contracts, three_wrong)
    found = outcomes(three_wrong)
    assert [(load_id, outcome, by) for load_id, outcome, by, _ in found] == [
        (1, "corrected", 2),
        (1, "rejected_again", 2),
        (1, "withdrawn", 2),
        (2, "open", None),
    ]
    with connect("auditor", three_wrong) as conn:
        cleared = list_groups(conn, contracts, state="cleared")
        assert {group.load_id for group in cleared} == {1}
        assert {group.load_id for group in list_groups(conn, contracts)} == {2}
        entry = get_entry(conn, next(group.first_id for group in cleared if group.rule == "required.missing"))
        assert (entry.outcome, entry.cleared_by_load_id) == ("corrected", 2)
        assert entry.cleared_by_file == f"E04_学籍/{LATER}"
    write_csv(root / "E04_学籍", pupils(10), LATER.replace("20161120", "20161220"))
    load("pupil", root, contracts, three_wrong)
    assert all(outcome != "open" for _, outcome, _, _ in outcomes(three_wrong))
    with connect("admin", three_wrong) as conn:
        assert conn.execute("select count(*) from quarantine.rejected_row").fetchone() == (
            sum(amount for *_, amount in found),
        )


def test_a_row_whose_key_cannot_be_read_is_only_known_to_be_gone(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    rows = pupils(10)
    rows[3]["学籍号"] = ""
    write_csv(root / "E04_学籍", rows)
    load("pupil", root, contracts, empty)
    write_csv(root / "E04_学籍", pupils(10), LATER)
    load("pupil", root, contracts, empty)
    assert [(load_id, outcome) for load_id, outcome, _, _ in outcomes(empty)] == [(1, "replaced")]


def test_only_the_same_delivery_settles_entries(root: Path, contracts: Contracts, three_wrong: WarehouseConfig) -> None:
    before = outcomes(three_wrong)
    other = [pupil(index, 县代码="640423", 学校标识码="2164000999") for index in range(21, 24)]
    write_csv(root / "E04_学籍", other, PUPIL_NAME.replace("640422_西吉县", "640423_隆德县"))
    next_year = PUPIL_NAME.replace("2016_20161020", "2017_20171020")
    write_csv(root / "E04_学籍", [pupil(1, 学年="2017/18", 年级="四年级")], next_year)
    (root / "E04_学籍" / LATER).write_bytes(b"")
    report = load("pupil", root, contracts, three_wrong)
    assert sorted(file.status for file in report.files) == ["landed", "landed", "rejected", "same_content"]
    assert outcomes(three_wrong) == before


def test_a_load_that_does_not_commit_settles_nothing(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = outcomes(three_wrong)
    write_csv(root / "E04_学籍", pupils(10), LATER)

    def stop(name: str) -> None:
        raise ConnectionError(name)

    with monkeypatch.context() as patch:
        patch.setattr("ingest.load.failpoint.hit", stop)
        with pytest.raises(ConnectionError):
            load("pupil", root, contracts, three_wrong)
    assert outcomes(three_wrong) == before
    load("pupil", root, contracts, three_wrong)
    assert all(outcome == "corrected" for _, outcome, _, _ in outcomes(three_wrong))


def make_workbook(root: Path, contracts: Contracts, config: WarehouseConfig, folder: Path, feed: str = "pupil") -> Path:
    with connect("ingest", config) as conn:
        groups = list_groups(conn, contracts, feed=feed)
        (file,) = open_files(conn, [group.load_id for group in groups])
        done = export(conn, contracts[feed], root, file, folder)
    return done.path


def test_the_workbook_is_the_countys_file_with_rows_marked_and_reasons_in_chinese(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig, tmp_path: Path
) -> None:
    path = make_workbook(root, contracts, three_wrong, tmp_path / "out")
    assert path.name == f"退回_{Path(PUPIL_NAME).stem}.xlsx" == workbook_name(f"E04_学籍/{PUPIL_NAME}")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    sheet = openpyxl.load_workbook(path)["退回修改"]
    original = bad_pupils()
    headers = [cell.value for cell in sheet[3]]
    assert headers == ["原文件行号", "需要修改的问题", *original[0]]
    assert "共10行，其中3行有问题" in str(sheet["A1"].value)
    for number, row in enumerate(original, 4):
        shown = {header: sheet.cell(number, column).value for column, header in enumerate(headers, 1)}
        assert shown["原文件行号"] == str(number - 2)
        assert {header: shown[header] or "" for header in row} == row
        is_wrong = number - 4 in (2, 4, 6)
        assert bool(shown["需要修改的问题"]) == is_wrong
    sex = sheet.cell(6, headers.index("性别") + 1)
    name = sheet.cell(6, headers.index("姓名") + 1)
    assert (sex.fill.fgColor.rgb, name.fill.fgColor.rgb) == ("FFF8CBAD", "FFFFF2CC")
    assert sheet.cell(5, headers.index("性别") + 1).fill.fill_type is None
    reasons = str(sheet.cell(8, 2).value)
    assert reasons.startswith("1. ")
    assert "学段不在代码表中" in reasons
    assert "证件号码与出生日期不一致" in reasons


def test_text_that_starts_like_a_formula_is_none_in_the_workbook(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig, tmp_path: Path
) -> None:
    path = make_workbook(root, contracts, three_wrong, tmp_path / "out")
    sheet = openpyxl.load_workbook(path)["退回修改"]
    (cell,) = [cell for row in sheet.iter_rows() for cell in row if cell.value == FORMULA]
    assert cell.data_type == "s"
    assert cell.quotePrefix
    with zipfile.ZipFile(path) as package:
        xml = b"".join(package.read(name) for name in package.namelist() if name.startswith("xl/worksheets/"))
    assert re.search(rb"<f[ >/]|<hyperlink", xml) is None
    # a second library reads the same: IDs keep all their digits
    frame = pl.read_excel(path, engine="calamine", read_options={"header_row": 2}, infer_schema_length=0)
    assert frame["证件号码"].to_list() == [row["证件号码"] for row in bad_pupils()]


def test_the_corrected_workbook_loads_and_settles(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig, tmp_path: Path
) -> None:
    path = make_workbook(root, contracts, three_wrong, tmp_path / "out")
    book = openpyxl.load_workbook(path)
    sheet = book["退回修改"]
    headers = [cell.value for cell in sheet[3]]
    for number, changes in ((6, {"性别": "男"}), (8, {"学段": "小学", "出生日期": "2008-03-15"}), (10, {"班级": "02"})):
        for header, text in changes.items():
            sheet.cell(number, headers.index(header) + 1).value = text
    book.save(root / "E04_学籍" / LATER.replace(".csv", ".xlsx"))
    last = load("pupil", root, contracts, three_wrong).files[-1]
    assert (last.status, last.rows_in, last.rows_quarantined, last.rows_unchanged) == ("landed", 10, 0, 7)
    assert {outcome for _, outcome, _, _ in outcomes(three_wrong)} == {"corrected"}


def test_rows_of_another_width_and_a_workbook_with_two_header_rows_are_given_back(
    root: Path, contracts: Contracts, empty: WarehouseConfig, tmp_path: Path
) -> None:
    path = write_csv(root / "E04_学籍", pupils(5))
    lines = path.read_bytes().split(b"\r\n")
    lines[3] += b",surplus"
    path.write_bytes(b"\r\n".join(lines))
    load("pupil", root, contracts, empty)
    sheet = openpyxl.load_workbook(make_workbook(root, contracts, empty, tmp_path / "out"))["退回修改"]
    assert [row[0].value for row in sheet.iter_rows(min_row=4)] == ["2", "3", "4", "5", "6"]
    assert "字段数不符" in str(sheet.cell(6, 2).value)
    assert sheet.cell(6, len(pupils(1)[0]) + 3).value == "surplus"
    write_xlsx(
        root / "E03_班级学生统计",
        [*counts(), count_row(school="2164000777", 在校生数=-1)],
        COUNT_NAME,
        groups={"学生数": ("在校生数", "招生数", "毕业生数")},
    )
    load("enrollment_count", root, contracts, empty)
    path = make_workbook(root, contracts, empty, tmp_path / "out", "enrollment_count")
    sheet = openpyxl.load_workbook(path)["退回修改"]
    assert [cell.value for cell in sheet[3]][2:] == list(counts()[0])
    assert sheet.max_row == 3 + 13, "totals and footer are left out"
    assert "在校生数为负数" in str(sheet.cell(16, 2).value)


def test_no_workbook_of_a_file_that_is_gone_or_changed_or_into_the_extracts(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig, tmp_path: Path
) -> None:
    path = root / "E04_学籍" / PUPIL_NAME
    with connect("ingest", three_wrong) as conn:
        (file,) = open_files(conn, [1])
        with pytest.raises(QuarantineError, match="what lies there is loaded"):
            export(conn, contracts["pupil"], root, file, root / "out")
        path.write_bytes(path.read_bytes() + b"\r\n")
        with pytest.raises(QuarantineError, match="has changed since load 1"):
            export(conn, contracts["pupil"], root, file, tmp_path / "out")
        path.unlink()
        with pytest.raises(QuarantineError, match="is no longer in"):
            export(conn, contracts["pupil"], root, file, tmp_path / "out")
        with pytest.raises(QuarantineError, match="is no longer in"), as_loaded(root, file):
            pass
    assert not (tmp_path / "out").exists()


AREA_NAME = "行政区划_64_宁夏_2020_20201101.csv"


def areas(*villages: str) -> list[Row]:
    return [
        {"区划代码": code, "区划名称": "村", "级别": "村", "上级代码": "640422209", "启用日期": "2010-01-01"}
        for code in villages
    ]


def test_rows_of_an_unknown_village_pass_when_the_areas_catch_up(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    new = "640422209299"
    write_csv(root / "E00_行政区划", areas(VILLAGE), AREA_NAME)
    persons = [person(index) for index in range(1, 7)]
    persons[1]["行政村代码"] = new
    persons[2]["性别"] = ""
    write_csv(root / "E07_建档立卡", persons, PERSON_NAME)
    renamed = {"原区划代码": "640422209298", "新区划代码": VILLAGE, "变更类型": "重编码", "变更日期": "2018-01-01"}
    write_csv(root / "E00_行政区划", [renamed], "区划沿革_64_宁夏_2020_20201101.csv")
    load("area_succession", root, contracts, empty)
    load("admin_area", root, contracts, empty)
    first = load("poor_person", root, contracts, empty).files[0]
    assert first.quarantined_by_rule == {"reference.unknown_village": 1, "required.missing": 1}
    (nothing,) = replay(root, contracts, empty, [first.load_id])
    assert (nothing.why, nothing.report, nothing.refusal) == ("", None, None)
    write_csv(root / "E00_行政区划", areas(VILLAGE, new), AREA_NAME.replace("20201101", "20201102"))
    load("admin_area", root, contracts, empty)
    assert load("poor_person", root, contracts, empty).files[0].status == "same_content"
    (planned,) = replay(root, contracts, empty, [first.load_id], dry_run=True)
    assert (planned.why, planned.report) == ("admin_area has been loaded since", None)
    (done,) = replay(root, contracts, empty, [first.load_id])
    assert done.report is not None
    assert (done.report.rows_landed, done.report.rows_unchanged, done.report.rows_quarantined) == (1, 4, 1)
    with connect("auditor", empty) as conn:
        trail = conn.execute("select rule, coalesce(outcome, 'open') from quarantine.entry order by 1, 2").fetchall()
        current = [group.load_id for group in list_groups(conn, contracts)]
    assert trail == [
        ("reference.unknown_village", "passed"),
        ("required.missing", "open"),
        ("required.missing", "rejected_again"),
    ]
    assert current == [done.report.load_id]
    assert replay(root, contracts, empty, current)[0].why == ""


def test_rows_pass_when_a_code_list_learns_their_spelling_and_a_changed_file_is_refused(
    root: Path, contracts: Contracts, three_wrong: WarehouseConfig
) -> None:
    lists = ingest.load_code_lists()
    stage = lists["stage"]
    primary = next(code for code, entry in stage.entries.items() if entry["label"] == "小学")
    taught = type(stage)(
        stage.name,
        {**stage.entries, primary: {**stage.entries[primary], "aliases": "大学"}},
        {**stage.lookup, "大学": primary},
        stage.vocabulary | set("大学"),
    )
    newer = ingest.load_contracts(code_lists={**lists, "stage": taught})
    assert newer["pupil"].sha256 != contracts["pupil"].sha256
    (done,) = replay(root, newer, three_wrong, [1])
    assert done.why == "the contract or one of its code lists has changed"
    with connect("auditor", three_wrong) as conn:
        passed = conn.execute("select rule from quarantine.entry where outcome = 'passed'").fetchall()
    assert passed == [("code.unknown",)]
    path = root / "E04_学籍" / PUPIL_NAME
    path.write_bytes(path.read_bytes() + b"\r\n")
    before = outcomes(three_wrong)
    (refused,) = replay(root, contracts, three_wrong, [2])
    assert refused.refusal is not None
    assert "has changed since load 2" in refused.refusal
    assert refused.report is None
    assert outcomes(three_wrong) == before


def test_a_file_in_an_archive_is_given_back_too(
    root: Path, contracts: Contracts, empty: WarehouseConfig, tmp_path: Path
) -> None:
    plain = write_csv(tmp_path / "plain", bad_pupils())
    with zipfile.ZipFile(root / "西吉县.zip", "w") as archive:
        archive.write(plain, PUPIL_NAME)
    load("pupil", root, contracts, empty)
    path = make_workbook(root, contracts, empty, tmp_path / "out")
    assert path.name == f"退回_{Path(PUPIL_NAME).stem}.xlsx"
    assert openpyxl.load_workbook(path)["退回修改"].max_row == 13
    (root / "西吉县.zip").unlink()
    with pytest.raises(QuarantineError, match="is no longer in"):
        make_workbook(root, contracts, empty, tmp_path / "out")


def test_what_is_still_wrong_stays_open_where_only_new_lines_are_read(
    root: Path, contracts: Contracts, empty: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.load.LEAST_BYTES", 0)
    write_csv(root / "E04_学籍", bad_pupils())
    load("pupil", root, contracts, empty)
    better = bad_pupils()
    better[2]["性别"] = "男"
    write_csv(root / "E04_学籍", better, LATER)
    last = load("pupil", root, contracts, empty).files[-1]
    assert (last.rows_quarantined, last.rows_landed) == (2, 1)
    found = {(load_id, outcome) for load_id, outcome, _, _ in outcomes(empty)}
    assert found == {(1, "corrected"), (1, "rejected_again"), (2, "open")}
    (again,) = replay(root, contracts, empty, [2], even_if_nothing_changed=True)
    assert again.report is not None
    assert again.report.rows_quarantined == 2


def test_the_night_releases_what_waited_for_another_feed(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    night = Night(root, contracts, empty)
    settings = dataclasses.replace(load_settings(), warehouse=empty, extracts=root)
    night.csv("school", [school()])
    night.load("school")
    rows = golden("pupil")
    rows[2]["学校标识码"] = OTHER_SCHOOL
    rows[4]["性别"] = "未知"
    night.csv("pupil", rows)
    assert night.last("pupil").rows_quarantined == 2
    # nothing has landed since: nothing is read
    assert pipeline.replay_quarantine(settings) == {"files": 0, "released": 0, "refused": 0}
    night.csv("school", [school(), school(OTHER_SCHOOL)], NAMES["school"].replace("20161020", "20161120"))
    night.load("school")
    assert pipeline.replay_quarantine(settings) == {"files": 1, "released": 1, "refused": 0}
    trail = night.sql("select rule, outcome, is_open from quarantine.entry order by rejected_row_id")
    assert trail == [
        ("code.unknown", "rejected_again", False),
        ("reference.unknown_school", "passed", False),
        ("code.unknown", None, True),
    ]
    night.check_identity()
    # and once
    assert pipeline.replay_quarantine(settings) == {"files": 0, "released": 0, "refused": 0}
