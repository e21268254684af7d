"""Loading: versions, ledger, vault, quarantine, same content, superseding, crash safety."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest
from ingest import Contract, FeedReport, TokenKeyError, load_feed
from ingest.identity import TokenKey, check_canary
from ingest.landing import LandingDriftError
from tests.ingest.golden import (
    COUNT_NAME,
    EVENT_NAME,
    PERSON_NAME,
    PUPIL_NAME,
    VILLAGE,
    Row,
    counts,
    csv_text,
    event,
    id_number,
    person,
    pupil,
    pupils,
    write_csv,
    write_xlsx,
)
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
LATER = PUPIL_NAME.replace("20161020", "20161120")


def rows(config: WarehouseConfig, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with connect("ingest", config) as conn:
        return conn.execute(query, values).fetchall()  # type: ignore[arg-type]


def current(config: WarehouseConfig, feed: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return rows(config, f"select {columns} from landing.{feed} where ended_load_id is null order by source_line")


def load(feed: str, root: Path, contracts: Contracts, config: WarehouseConfig) -> FeedReport:
    report = load_feed(feed, root, contracts, config)
    for file in report.files:
        if not file.is_repeated:
            assert file.rows_in == (
                file.rows_landed + file.rows_unchanged + file.rows_quarantined + file.rows_exact_duplicate
            )
    json.dumps(report.to_json())
    return report


def test_a_clean_file_lands_with_tokens_and_ledger(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(10))
    seen: list[str] = []
    report = load_feed("pupil", root, contracts, empty, progress=lambda file: seen.append(file.status))
    assert seen == ["landed"]
    assert report.total("rows_landed") == 10
    assert report.files[0].scopes == ({"school_year": "2016/17", "county_code": "640422"},)
    row = rows(
        empty,
        "select school_year, county_code, school_code, student_number_type, sex, birth_date::text, id_type,"
        " ethnicity_code, stage, grade, class_number, enrolled_on::text, boarding_code, is_orphan, token_basis,"
        " scope_key, source_line from landing.pupil order by record_id limit 1",
    )[0]
    assert row == (
        "2016/17", "640422", "2164000123", "G", "1", "2008-03-15", "1", "03", "primary", "P3", "01", "2014-09-01", "1",
        False, "id_number", "2016/17|640422", 2,
    )  # fmt: skip
    load_row = rows(
        empty,
        "select status, rows_in, rows_landed, encoding, extract_date::text, scope_values, contract_sha256, file_name"
        " from ledger.load",
    )
    assert load_row == [
        (
            "landed", 10, 10, "gb18030", "2016-10-20", [{"school_year": "2016/17", "county_code": "640422"}],
            contracts["pupil"].sha256, f"E04_学籍/{PUPIL_NAME}",
        )
    ]  # fmt: skip
    comment = rows(
        empty,
        "select col_description(attrelid, attnum) from pg_attribute"
        " where attrelid = 'landing.pupil'::regclass and attname = 'school_code'",
    )[0][0]
    assert "学校标识码" in comment


def test_tokens_join_across_feeds_and_hide_the_number(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    lower = [pupil(index) for index in (1, 2, 3)]
    for row in lower:  # written otherwise, the same person
        row["证件号码"] = "'" + "".join(chr(ord(c) + 0xFEE0) for c in row["证件号码"].lower())
    write_csv(root / "E04_学籍", lower)
    write_csv(root / "E05_学籍异动", [event(index) for index in (1, 2, 3)], EVENT_NAME)
    write_csv(root / "E07_建档立卡", [person(index) for index in (1, 2, 3)], PERSON_NAME)
    for feed in ("pupil", "student_event", "poor_person"):
        assert load(feed, root, contracts, empty).total("rows_landed") == 3
    joined = rows(
        empty,
        "select count(*) from landing.pupil p join landing.poor_person q using (person_token)"
        " join landing.student_event e using (person_token, student_number_token)",
    )
    assert joined == [(3,)]
    key = ingest.read_token_key(empty)
    token = rows(empty, "select person_token from landing.pupil order by source_line limit 1")[0][0]
    assert token == key.token(id_number(1))
    vault = rows(
        empty, "select identifier, person_name, token_basis from vault.person_identity where person_token = %s", token
    )
    assert vault == [(id_number(1), "马小丁", "id_number")]


def test_people_without_a_number_get_a_flagged_token(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    none: list[Row] = [
        pupil(1, 证件类型="其他", 证件号码="", 学籍号="L640422200803150001"),
        pupil(2, 证件类型="其他", 证件号码="无", 学籍号="L640422200803150002"),
        pupil(3, 证件类型="护照", 证件号码="E12345678", 学籍号="L640422200803150003"),
    ]
    write_csv(root / "E04_学籍", none)
    write_csv(root / "E07_建档立卡", [person(1, 证件类型="Z", 证件号码="")], PERSON_NAME)
    assert load("pupil", root, contracts, empty).total("rows_landed") == 3
    load("poor_person", root, contracts, empty)
    assert [basis for (basis,) in current(empty, "pupil", "token_basis")] == ["surrogate", "surrogate", "id_number"]
    assert len(set(current(empty, "pupil", "person_token"))) == 3
    assert rows(empty, "select count(*) from landing.pupil join landing.poor_person using (person_token)") == [(0,)]


def test_a_later_file_changes_ends_and_adds(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(10))
    load("pupil", root, contracts, empty)
    later = [pupil(index) for index in range(1, 12) if index != 4]
    later[0]["就读方式"] = "住校"
    write_csv(root / "E04_学籍", later, LATER)
    report = load("pupil", root, contracts, empty)
    assert [file.status for file in report.files] == ["same_content", "landed"]
    changed = report.files[1]
    assert (changed.rows_in, changed.rows_landed, changed.rows_unchanged, changed.rows_ended) == (10, 2, 8, 2)
    assert len(current(empty, "pupil")) == 10
    first, second = (load_id for (load_id,) in rows(empty, "select load_id from ledger.load order by load_id"))
    known_at = (
        "select count(*) from landing.pupil where load_id <= %s and (ended_load_id is null or ended_load_id > %s)"
    )
    assert rows(empty, known_at, first, first) == [(10,)]
    assert rows(empty, known_at, second, second) == [(10,)]
    versions = rows(
        empty, "select boarding_code, ended_load_id from landing.pupil where source_line = 2 order by record_id"
    )
    assert versions == [("1", second), ("2", None)]


def test_rows_written_otherwise_are_unchanged(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(6))
    load("pupil", root, contracts, empty)
    again = [
        pupil(index, 民族="03", 性别="1" if index % 2 else "2", 出生日期="2008年3月15日") for index in range(6, 0, -1)
    ]
    write_csv(root / "E04_学籍", again, LATER, encoding="utf-8-sig")
    report = load("pupil", root, contracts, empty)
    assert report.files[1].status == "unchanged"
    assert (report.files[1].rows_unchanged, report.files[1].rows_ended) == (6, 0)


def test_the_same_again_ten_times_is_nothing(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(5))
    path = write_csv(root / "E04_学籍", pupils(5)[:2], PUPIL_NAME.replace("640422_西吉县", "640423_隆德县"))
    path.write_bytes(b"")  # a file that is rejected stays rejected, and is written down once
    load("pupil", root, contracts, empty)
    state = (
        "select (select count(*) from ledger.load), (select count(*) from ledger.seen),"
        " (select max(record_id) from landing.pupil)"
    )
    before = rows(empty, state)
    for _ in range(10):
        report = load("pupil", root, contracts, empty)
        assert sorted(file.status for file in report.files) == ["rejected", "same_content"]
        assert all(file.is_repeated for file in report.files)
    assert rows(empty, state) == before


def test_another_name_for_known_content_is_a_warning(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(5))
    load("pupil", root, contracts, empty)
    write_csv(root / "E04_学籍", pupils(5), PUPIL_NAME.replace(".csv", "(最终版).csv"))
    report = load("pupil", root, contracts, empty)
    assert [file.status for file in report.files] == ["same_content", "same_content"]
    assert "same content as" in report.files[1].warnings[0]
    assert rows(empty, "select outcome, count(*) from ledger.seen group by 1 order by 1") == [
        ("loaded", 1),
        ("same_content", 1),
    ]


def test_suffix_and_date_decide_which_extract_is_later(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    for name, mode in (
        (PUPIL_NAME, "走读"),
        (PUPIL_NAME.replace(".csv", "(2).csv"), "住校"),
        (PUPIL_NAME.replace(".csv", "(10).csv"), "走读"),
        (PUPIL_NAME.replace(".csv", "（最终版）.csv"), "住校"),
    ):
        write_csv(root / "E04_学籍", [pupil(1, 就读方式=mode, 班级=f"{len(name):02d}")], name)
    report = load("pupil", root, contracts, empty)
    assert [file.status for file in report.files] == ["landed"] * 4
    assert report.files[-1].file_name.endswith("（最终版）.csv")
    assert current(empty, "pupil", "boarding_code") == [("2",)]


def test_an_older_extract_changes_nothing_and_says_so(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(5), LATER)
    load("pupil", root, contracts, empty)
    write_csv(root / "E04_学籍", pupils(3), PUPIL_NAME)
    report = load("pupil", root, contracts, empty)
    (rejection,) = report.rejections
    assert rejection.rule == "file.superseded"
    assert LATER in rejection.message_en
    assert len(current(empty, "pupil")) == 5
    assert rows(empty, "select count(*) from quarantine.rejected_row") == [(0,)]


def test_a_later_extract_may_go_back_to_earlier_content(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E04_学籍", pupils(5))
    write_csv(root / "E04_学籍", pupils(3), LATER)
    load("pupil", root, contracts, empty)
    assert len(current(empty, "pupil")) == 3
    write_csv(root / "E04_学籍", pupils(5), PUPIL_NAME.replace("20161020", "20161220"))
    assert load("pupil", root, contracts, empty).files[-1].status == "landed"
    assert len(current(empty, "pupil")) == 5
    assert [file.status for file in load("pupil", root, contracts, empty).files] == ["same_content"] * 3


def test_one_county_never_ends_another_countys_rows(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(5))
    other = [pupil(index, 县代码="640423", 学校标识码="2164000999") for index in range(6, 9)]
    write_csv(root / "E04_学籍", other, PUPIL_NAME.replace("640422_西吉县", "640423_隆德县"))
    assert load("pupil", root, contracts, empty).total("rows_ended") == 0
    assert len(current(empty, "pupil")) == 8


def test_a_rejected_file_stops_no_other_and_explains_itself(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    path = write_xlsx(root / "E03_班级学生统计", [{k: v for k, v in row.items() if k != "性别"} for row in counts()])
    write_xlsx(
        root / "E03_班级学生统计",
        [{**row, "县代码": "隆德"} for row in counts()],
        COUNT_NAME.replace("640422_西吉县", "640423_隆德县"),
    )
    report = load("enrollment_count", root, contracts, empty)
    assert sorted(file.status for file in report.files) == ["landed", "rejected"]
    (rejection,) = report.rejections
    assert (rejection.file, rejection.sheet, rejection.line, rejection.column, rejection.rule) == (
        f"E03_班级学生统计/{path.name}", "统计表", 3, "sex", "header.missing_column",
    )  # fmt: skip
    stored = rows(empty, "select rejection, rows_in from ledger.load where status = 'rejected'")
    assert stored == [(rejection.to_json(), 0)]
    assert {"rule", "sheet", "line", "column", "message_en", "message_zh", "what_to_do"} <= set(stored[0][0])
    corrected = write_xlsx(root / "E03_班级学生统计", counts())
    assert corrected == path
    assert load("enrollment_count", root, contracts, empty).count("landed") == 1


def test_bad_rows_go_to_quarantine_with_place_and_reason(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    bad = pupils(8)
    bad[0]["证件号码"] = bad[0]["证件号码"][:17] + ("X" if bad[0]["证件号码"][17] != "X" else "1")
    bad[1]["性别"] = "男"
    bad[2]["出生日期"] = "2008-03-16"
    bad[3]["学籍号"] = f"G{id_number(400)}"
    bad[4]["县代码"] = "隆德县"
    bad[5]["年级"] = "九年级"
    bad[6]["姓名"] = "测试"
    bad.append(dict(bad[7], 班级="02"))
    bad.append(dict(bad[7]))
    write_csv(root / "E04_学籍", bad)
    report = load("pupil", root, contracts, empty).files[0]
    assert (report.rows_in, report.rows_landed, report.rows_quarantined, report.rows_exact_duplicate) == (10, 1, 8, 1)
    found = rows(empty, "select line_number, column_name, rule from quarantine.rejected_row order by line_number, rule")
    assert found == [
        (2, "id_number", "id.checksum"),
        (3, "id_number", "id.sex_mismatch"),
        (4, "id_number", "id.birth_mismatch"),
        (5, "student_number", "student_number.mismatch"),
        (6, "county_code", "county.mismatch"),
        (7, "grade", "age.implausible"),
        (8, "pupil_name", "text.test_data"),
        (10, "*", "duplicate.key"),
    ]
    header, english, chinese = rows(
        empty, "select column_header, message_en, message_zh from quarantine.rejected_row where line_number = 7"
    )[0]
    assert header == "年级"
    assert "check date of birth and grade" in english
    assert "请核对出生日期和年级" in chinese


def test_unknown_villages_are_quarantined_once_areas_are_known(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E07_建档立卡", [person(1), person(2, 行政村代码="640422209999")], PERSON_NAME)
    assert load("poor_person", root, contracts, empty).total("rows_quarantined") == 0
    area = {"区划代码": VILLAGE, "区划名称": "马莲村", "级别": "村", "上级代码": "640422209", "启用日期": "2000-01-01"}
    write_csv(root / "E00_行政区划", [area], "行政区划_64_宁夏_2020_20201101.csv")
    load("admin_area", root, contracts, empty)
    later = PERSON_NAME.replace("20170110", "20170210")
    write_csv(root / "E07_建档立卡", [person(1), person(2, 行政村代码="640422209999"), person(3)], later)
    # the codes are whole only when the successions are known too
    assert load("poor_person", root, contracts, empty).total("rows_quarantined") == 0
    renamed = {"原区划代码": "640422209998", "新区划代码": VILLAGE, "变更类型": "重编码", "变更日期": "2018-01-01"}
    write_csv(root / "E00_行政区划", [renamed], "区划沿革_64_宁夏_2020_20201101.csv")
    load("area_succession", root, contracts, empty)
    later = PERSON_NAME.replace("20170110", "20170310")
    write_csv(root / "E07_建档立卡", [person(1), person(2, 行政村代码="640422209999"), person(4)], later)
    assert load("poor_person", root, contracts, empty).files[-1].quarantined_by_rule == {"reference.unknown_village": 1}


def test_the_last_good_version_of_a_quarantined_row_stays(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E04_学籍", pupils(3))
    load("pupil", root, contracts, empty)
    later = pupils(3)
    later[1]["年级"] = "十三年级"
    later[2]["班级"] = "05"
    write_csv(root / "E04_学籍", later, LATER)
    report = load("pupil", root, contracts, empty).files[-1]
    assert (report.rows_landed, report.rows_unchanged, report.rows_quarantined, report.rows_ended) == (1, 1, 1, 1)
    assert current(empty, "pupil", "grade") == [("P3",)] * 3


def test_a_changed_contract_reads_known_files_again(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(4))
    load("pupil", root, contracts, empty)
    stricter = replace(contracts["pupil"], sha256="f" * 64)
    report = load("pupil", root, {**contracts, "pupil": stricter}, empty)
    assert report.files[0].status == "unchanged"
    assert load("pupil", root, {**contracts, "pupil": stricter}, empty).files[0].status == "same_content"


def test_archives_are_loaded_member_by_member(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    with zipfile.ZipFile(root / "西吉.zip", "w") as archive:
        archive.writestr(PUPIL_NAME, csv_text(pupils(3)).encode("gb18030"))
        archive.writestr("读我.txt", "x")
    report = load("pupil", root, contracts, empty)
    assert report.files[0].file_name == f"西吉.zip!{PUPIL_NAME}"
    assert report.total("rows_landed") == 3


def test_unrecognized_and_refused_files_are_written_down_once(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    (root / "会议通知.docx").write_bytes(b"x")
    with zipfile.ZipFile(root / "坏.zip", "w") as archive:
        archive.writestr("../x.csv", "x")
    found = ingest.discover(root, contracts)
    assert ingest.record_unrecognized(root, found, empty) == 2
    assert ingest.record_unrecognized(root, found, empty) == 0
    assert rows(empty, "select file_name, status, rejection ->> 'rule' from ledger.load order by load_id") == [
        ("会议通知.docx", "unrecognized", None),
        ("坏.zip", "rejected", "file.zip_unsafe"),
    ]
    write_csv(root / "E04_学籍", pupils(3))
    assert load("pupil", root, contracts, empty).files[0].load_id == 3


def test_load_file_by_path(root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    path = write_csv(root / "E04_学籍", pupils(3))
    assert ingest.load_file(path, root, contracts, empty).status == "landed"
    assert ingest.load_file(path, root, contracts, empty).status == "same_content"
    with pytest.raises(ValueError, match="no contract recognizes"):
        ingest.load_file(root / "x.csv", root, contracts, empty)


def test_a_wrong_key_is_refused_before_anything_is_read(
    root: Path, contracts: Contracts, empty: WarehouseConfig
) -> None:
    write_csv(root / "E04_学籍", pupils(3))
    load("pupil", root, contracts, empty)
    with tempfile.TemporaryDirectory() as folder:
        secrets = Path(folder)
        for secret in empty.secrets_dir.iterdir():
            (secrets / secret.name).write_bytes(secret.read_bytes())
        other = replace(empty, secrets_dir=secrets)
        (secrets / "token_key").write_text("e" * 64, encoding="utf-8")
        write_csv(root / "E04_学籍", pupils(4), LATER)
        with pytest.raises(TokenKeyError, match="wrong token key"):
            load_feed("pupil", root, contracts, other)
        (secrets / "token_key").unlink()
        with pytest.raises(TokenKeyError, match="missing"):
            load_feed("pupil", root, contracts, other)
    assert rows(empty, "select count(*) from ledger.load") == [(1,)]
    with connect("ingest", empty) as conn:
        check_canary(conn, ingest.read_token_key(empty))
        with pytest.raises(TokenKeyError):
            check_canary(conn, TokenKey("f" * 64))


def test_the_key_file_is_private_and_made_once(empty: WarehouseConfig) -> None:
    key = ingest.ensure_token_key(empty)
    assert empty.secret_path("token_key").stat().st_mode & 0o777 == 0o600
    assert ingest.ensure_token_key(empty) == key
    assert key.key not in repr(key)


def test_landing_tables_follow_the_contract(contracts: Contracts, fresh_warehouse: WarehouseConfig) -> None:
    with connect("ingest", fresh_warehouse) as conn:
        ingest.ensure_landing(conn, contracts)
        ingest.ensure_landing(conn, contracts)
        conn.execute("alter table landing.school drop column change_date")
        ingest.ensure_landing(conn, contracts)
        conn.execute("alter table landing.school alter column change_date type text")
        with pytest.raises(LandingDriftError, match=r"landing\.school\.change_date is text"):
            ingest.ensure_landing(conn, contracts)
        conn.rollback()
        conn.execute("alter table landing.school alter column change_date type date using null")
        conn.execute("alter table landing.school add column note text")
        with pytest.raises(LandingDriftError, match="note"):
            ingest.ensure_landing(conn, contracts)
        conn.rollback()
    with connect("transform", fresh_warehouse) as conn:
        assert conn.execute("select count(*) from landing.pupil").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("insert into landing.poor_village (poverty_year) values (2016)")


@pytest.mark.parametrize("point", ["load.before_commit", "load.after_commit"])
def test_kill_and_run_again_loads_once(point: str, root: Path, contracts: Contracts, empty: WarehouseConfig) -> None:
    write_csv(root / "E04_学籍", pupils(10))
    code = (
        "import sys; from pathlib import Path; import ingest; from warehouse.config import WarehouseConfig\n"
        "home = Path(sys.argv[2]); config = WarehouseConfig(home=home, secrets_dir=home / 'secrets', durable=False)\n"
        "ingest.load_feed('pupil', Path(sys.argv[1]), ingest.load_contracts(), config)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(empty.home)],
        env={**os.environ, "EDUPA_FAILPOINT": point},
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert done.returncode == -9
    expected = 0 if point == "load.before_commit" else 10
    assert len(current(empty, "pupil")) == expected
    assert rows(empty, "select count(*) from ledger.load") == [(1 if expected else 0,)]
    load("pupil", root, contracts, empty)
    assert len(rows(empty, "select 1 from landing.pupil")) == 10
    assert rows(empty, "select count(*), max(load_id) from ledger.load") == [(1, 1)]


CANARY_NAME = "欧阳鑫垚"
CANARY_ID = "649987199902290042"


def test_no_personal_value_leaves_the_vault(
    root: Path,
    contracts: Contracts,
    empty: WarehouseConfig,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A name and a number are planted in every column of three feeds, one row for each column."""
    for feed, name, make in (
        ("pupil", PUPIL_NAME, pupil),
        ("poor_person", PERSON_NAME, person),
        ("student_event", EVENT_NAME, event),
    ):
        base = [make(index) for index in range(1, 40)]
        planted = []
        for offset, header in enumerate(base[0]):
            for canary in (CANARY_NAME, CANARY_ID):
                row = make(100 + offset)
                row[header] = canary
                planted.append(row)
        write_csv(root, [*base, *planted, {**make(300), next(iter(base[0])): CANARY_NAME, "姓名": CANARY_NAME}], name)
        text = csv_text([*base, *planted]).splitlines()
        broken = [line + "," + CANARY_NAME for line in text[1:30]]
        (root / name.replace("20161020", "20161021").replace("20170110", "20170111")).write_bytes(
            "\n".join([text[0], *broken]).encode("gb18030")
        )
        report = load(feed, root, contracts, empty)
        assert report.total("rows_quarantined") >= 20
        said = json.dumps(report.to_json(), ensure_ascii=False) + repr(report)
        assert CANARY_NAME not in said
        assert CANARY_ID not in said
    for table in ("ledger.load", "ledger.file", "ledger.seen", "quarantine.rejected_row"):
        content = "\n".join(str(row) for row in rows(empty, f"select * from {table}"))
        assert content
        assert CANARY_NAME not in content
        assert CANARY_ID not in content
    output = capfd.readouterr()
    assert CANARY_NAME not in caplog.text + output.out + output.err
    assert CANARY_ID not in caplog.text + output.out + output.err


cells = st.sampled_from(
    ["", " ", "无", "x", "-1", "640422", "2016/17", "2017-02-30", "\x07", "测试", "６", "1e9", "十", "男"]
)
mutations = st.lists(
    st.one_of(
        st.tuples(st.just("cell"), st.integers(0, 19), st.integers(0, 23), cells),
        st.tuples(st.just("copy"), st.integers(0, 19), st.just(0), st.just("")),
        st.tuples(st.just("short"), st.integers(0, 19), st.integers(1, 10), st.just("")),
        st.tuples(st.just("long"), st.integers(0, 19), st.just(0), cells),
        st.tuples(st.just("blank"), st.integers(0, 19), st.just(0), st.just("")),
        st.tuples(st.just("total"), st.integers(0, 19), st.just(0), st.just("")),
        st.tuples(st.just("drop"), st.integers(0, 19), st.just(0), st.just("")),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations, st.sampled_from(["utf-8", "gb18030", "utf-8-sig"]), st.sampled_from(["\n", "\r\n"]))
def test_no_row_is_ever_lost(
    contracts: Contracts, tmp_path: Path, changes: list[tuple[str, int, int, str]], encoding: str, end: str
) -> None:
    """Rows in = landed + quarantined + exact duplicates, whatever is done to a file."""
    lines = [list(row.values()) for row in pupils(20)]
    kinds = ["row"] * 20
    for kind, index, column, text in changes:
        place = index % len(lines) if lines else 0
        if kind == "cell" and kinds[place] == "row" and column < len(lines[place]):
            lines[place][column] = text
        elif kind == "copy":
            lines.insert(place, list(lines[place]))
            kinds.insert(place, kinds[place])
        elif kind == "short" and kinds[place] == "row":
            lines[place] = lines[place][:column]
        elif kind == "long" and kinds[place] == "row":
            lines[place] = [*lines[place], text]
        elif kind in ("blank", "total"):
            lines.insert(place, [""] * 24 if kind == "blank" else ["", "", "合计", *[""] * 21])
            kinds.insert(place, "skip")
        elif kind == "drop" and len(lines) > 1:
            del lines[place], kinds[place]
    body = [",".join(f'"{cell}"' if "," in str(cell) else str(cell) for cell in line) for line in lines]
    content = end.join([",".join(pupil(1)), *body, ""])
    path = tmp_path / PUPIL_NAME
    path.write_bytes(content.encode(encoding))
    result = ingest.check_file(path, contracts).report
    if result.status == "rejected":
        assert result.rejection is not None
        assert result.rejection.rule in ("file.header_only", "file.too_many_bad_rows")
        return
    written = sum(
        kind == "row" and any(str(cell).strip() for cell in line) for kind, line in zip(kinds, lines, strict=True)
    )
    assert result.rows_in == written
    assert result.rows_in + result.rows_skipped == len(lines)
    assert result.rows_landed + result.rows_quarantined + result.rows_exact_duplicate == written
    assert result.rows_landed >= 0


def test_a_long_file_streams(
    root: Path, contracts: Contracts, empty: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty batches give the same rows as one; duplicates are seen across batches."""
    base = [row for index in range(1, 400) for row in [pupil(index)]]
    whole = [*base, base[3], dict(base[5], 班级="77")]
    monkeypatch.setattr("ingest.csv_reader.BLOCK_BYTES", 4096)
    write_csv(root, whole)
    report = load("pupil", root, contracts, empty).files[0]
    assert (report.rows_landed, report.rows_exact_duplicate, report.rows_quarantined) == (399, 1, 1)
    assert rows(empty, "select line_number, rule from quarantine.rejected_row") == [(402, "duplicate.key")]
    lines = [line for (line,) in current(empty, "pupil", "source_line")]
    assert lines == list(range(2, 401))
    assert pl.Series(lines).is_sorted()
