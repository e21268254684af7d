"""Worklists: a county's cases as a spreadsheet, for its own login only; who took one is noted; reviews come back."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from python_calamine import CalamineWorkbook
from typer.testing import CliRunner

import ingest
from edupa.cli import app
from edupa.worklist import Taken, WorklistError, take
from edupa.worklist_kinds import KINDS
from tests.conftest import make_warehouse
from tests.ingest.golden import id_number
from warehouse.access import load_matrix
from warehouse.clock import ZONE
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.restricted import add_county_login
from warehouse.server import stop
from warehouse.watchdog import watch_once

OWN, OTHER = "640422", "640424"
NAME, NUMBER = "欧阳鑫垚", id_number(137, "20080229")
FORMULA = '=HYPERLINK("http://x","一中")'
NOW = datetime(2021, 3, 1, 9, 30, tzinfo=ZONE)
CASE = "00AB34CD56EF7890"

AID = {
    "person_token": "li", "entitlement_code": "OR03", "entitlement_name": "普通高中国家助学金", "county_code": OWN,
    "county_relation": "school_and_home", "stage_code": "senior", "grade_code": "S1", "school_county_code": OWN,
    "home_county_code": OWN, "school_code": "3464000001", "school_name": FORMULA, "is_registered_poor": True,
    "is_due_plan_strict": True, "is_due_national_broad": True, "standard_yuan": 1000, "paid_yuan": 0,
    "payment_count": 0, "status": "missing", "is_matched": True,
}  # fmt: skip
AID_ROWS: tuple[dict[str, object], ...] = (
    {"semester_code": "2019-autumn", "missing_since": "2019-autumn"},
    {"semester_code": "2020-spring", "missing_since": "2019-autumn"},
    {"semester_code": "2020-autumn", "status": "partly", "paid_yuan": 400, "payment_count": 1},
    {"semester_code": "2019-spring", "status": "paid", "paid_yuan": 1000, "payment_count": 1},
    {"semester_code": "2020-autumn", "entitlement_code": "EN06", "missing_since": "2020-autumn", "is_matched": False},
    {
        "semester_code": "2020-autumn", "person_token": "ma", "status": "not_expected", "standard_yuan": None,
        "paid_yuan": 1000, "first_paid_date": "2020-11-20", "is_registered_poor": False,
    },
    {
        "semester_code": "2020-autumn", "person_token": "ma", "entitlement_code": "EN06", "status": "overpaid",
        "standard_yuan": 400, "paid_yuan": 800, "payment_count": 2, "first_paid_date": "2020-11-20",
    },
    {"semester_code": "2020-autumn", "person_token": "he", "county_code": OTHER, "missing_since": "2020-autumn"},
    {
        "semester_code": "2019-autumn", "person_token": "he", "county_code": OTHER, "status": "overpaid",
        "paid_yuan": 1500,
    },
)  # fmt: skip
MATCH = {
    "county_code": OWN, "case_number": CASE, "poor_person_token": "li", "case_kind": "candidate", "poverty_year": 2020,
    "since_year": 2018, "age_years": 12, "candidate_person_token": "ma", "candidate_number": 1,
    "candidate_school_name": "二小", "candidate_grade_code": "P6", "match_score": 0.91,
    "likelihood_zh": "较可能是同一人", "found_zh": "姓名一致，出生日期一致", "what_to_do_zh": "核对",
}  # fmt: skip
LEAD = {
    "county_code": OWN, "county_relation": "acts_and_home", "case_number": CASE, "rule_code": "I01",
    "rule_name_zh": "重复发放", "evidence_code": "1234567890ABCDEF", "evaluation_year": 2020, "person_token": "li",
    "since_date": "2020-11-20", "amount_at_risk_yuan": 1000, "description_zh": "同一学期同一项目发放两次",
    "what_to_do_zh": "核对", "review_status": "open", "semester_code": "2020-autumn",
}  # fmt: skip
DROPOUT = {
    "county_code": OWN, "reported_county_code": OWN, "home_county_code": OWN, "case_number": "KC1",
    "person_token": "li", "ledger_year": 2020, "found_date": "2020-03-01", "days_open": 120, "is_open": True,
    "handling_stage": "persuaded", "out_of_school_reason": "unwilling", "persuasion_count": 2,
    "contradiction": "none", "what_next_zh": "继续劝返",
}  # fmt: skip


#: cases of both counties, one that is settled, and one that another county has to act on
CASES: dict[str, list[dict[str, object]]] = {
    "match_queue": [MATCH, {**MATCH, "county_code": OTHER, "case_number": f"{9:016d}", "poor_person_token": "he"}],
    "funds_cases": [
        LEAD,
        {**LEAD, "county_code": OTHER, "case_number": f"{9:016d}", "person_token": "he"},
        {**LEAD, "case_number": f"{7:016d}", "review_status": "handled"},
        {**LEAD, "case_number": f"{8:016d}", "county_relation": "home"},
    ],
    "dropout_board": [
        DROPOUT,
        {**DROPOUT, "county_code": OTHER, "case_number": "KC9", "person_token": "he"},
        {**DROPOUT, "case_number": "KC2", "is_open": False},
    ],
}


@dataclass(frozen=True)
class Office:
    """A warehouse with cases of two counties, and a folder to take worklists to."""

    config: WarehouseConfig
    folder: Path

    def take(self, kind: str, county: str = OWN, login: str = "xiji", **options: Any) -> Taken:
        """A worklist in a file of its own."""
        number = len(list(self.folder.iterdir()))
        out = self.folder / f"{kind}_{number}.xlsx"
        return take(self.config, kind, county, out, login=login, now=NOW, **options)

    def admin(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a statement of the administrator."""
        with connect("admin", self.config, autocommit=True) as conn:
            done = conn.execute(query.encode())
            return done.fetchall() if done.description else []


def fill(conn: psycopg.Connection[Any], relation: str, row: Mapping[str, object]) -> None:
    """A row of a restricted ledger, as the refresh after a build would put it there."""
    known = load_matrix().restricted[relation]["columns"]
    assert set(row) <= set(known)
    names = ", ".join(row)
    marks = ", ".join("%s" for _ in row)
    conn.execute(f"insert into restricted.{relation} ({names}) values ({marks})".encode(), list(row.values()))


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    home = Path(tempfile.mkdtemp(prefix="edupa-worklist-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    ingest.ensure_token_key(config)
    with connect("ingest", config) as conn:
        ingest.ensure_landing(conn, ingest.load_contracts())
    with connect("admin", config) as conn:
        for token, name, number in (
            ("li", NAME, NUMBER),
            ("ma", "马小康", id_number(3)),
            ("he", "何秀英", id_number(5)),
        ):
            conn.execute(
                "insert into vault.person_identity values (%s, 'k', 'id_number', %s, %s, 'id_number', 1)",
                (token, number, name),
            )
        for row in AID_ROWS:
            term = str(row["semester_code"])
            fill(conn, "student_aid_ledger", {**AID, "evaluation_year": int(term[:4]), "term": term[5:], **row})
        for relation, rows in CASES.items():
            for row in rows:
                fill(conn, relation, row)
    add_county_login(config, "xiji", [OWN])
    add_county_login(config, "jingyuan", [OTHER])
    assert watch_once(config).problem is None
    folder = home / "taken"
    folder.mkdir()
    yield Office(config, folder)
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


def sheet(path: Path, name: str) -> list[dict[str, object]]:
    """Rows of a sheet by header."""
    header, *rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_name(name).to_python()
    assert len(set(header)) == len(header)
    return [dict(zip((str(cell) for cell in header), row, strict=True)) for row in rows]


def content(path: Path) -> str:
    """Everything that stands in a workbook."""
    with zipfile.ZipFile(path) as parts:
        return "\n".join(parts.read(name).decode("utf-8") for name in parts.namelist())


# --- what is in it -------------------------------------------------------------------------------------------------


def test_semesters_missed_one_after_the_other_are_one_case_with_since_when_and_what_to_do(office: Office) -> None:
    taken = office.take("missed-aid")
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600
    rows = sheet(taken.path, "漏助名单")
    assert [
        (row["资助项目"], row["起始学期"], row["最近学期"], row["学期数"], row["差额（元）"]) for row in rows
    ] == [
        ("EN06 普通高中国家助学金", "2020年秋季学期", "2020年秋季学期", 1, 1000),
        ("OR03 普通高中国家助学金", "2019年秋季学期", "2020年春季学期", 2, 2000),
        ("OR03 普通高中国家助学金", "2020年秋季学期", "2020年秋季学期", 1, 600),
    ]  # fmt: skip
    assert [str(row["问题"])[:2] for row in rows] == ["漏助", "漏助", "少发"]
    assert "未对上学籍" in str(rows[0]["问题"])
    assert all(row["怎么办"] and row["姓名"] == NAME and row["证件号码"] == NUMBER for row in rows)
    assert (rows[1]["学校所在县"], rows[1]["学段"], rows[1]["年级"]) == ("西吉县", "普通高中", "高一")
    assert {row["核实情况"] for row in rows} == {""}
    assert taken.cases == len(rows) == 3


def test_aid_that_was_not_due_or_too_high_is_a_lead_with_the_amount(office: Office) -> None:
    rows = sheet(office.take("wrong-aid").path, "错助名单")
    assert [(row["姓名"], str(row["问题"])[:2], row["涉及金额（元）"], row["首次发放日期"]) for row in rows] == [
        ("马小康", "多发", 400, "2020-11-20"),
        ("马小康", "错助", 1000, "2020-11-20"),
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "dropouts",
            {
                "问题": "失学未销号，已劝返", "发现日期": "2020-03-01", "失学原因": "厌学", "历时天数": 120,
                "怎么办": "继续劝返",
            },
        ),
        ("unmatched", {"比对编号": CASE, "年度": "2021", "县代码": OWN, "起始年度": "2018", "可能性": 0.91}),
        # what is settled is gone, and what another county has to act on is not this one's to answer
        ("integrity", {"线索编号": CASE, "证据码": "1234567890ABCDEF", "规则编号": "I01", "涉及金额（元）": 1000}),
    ],
)  # fmt: skip
def test_a_case_has_one_row_with_what_since_when_and_what_to_do(
    office: Office, kind: str, expected: dict[str, object]
) -> None:
    (row,) = sheet(office.take(kind).path, KINDS[kind].title)
    assert {header: row[header] for header in expected} == expected
    assert row["问题"]
    assert row["怎么办"]


def test_a_sheet_has_a_frozen_header_filters_widths_and_a_note_and_no_formula(office: Office) -> None:
    path = office.take("missed-aid").path
    assert CalamineWorkbook.from_path(str(path)).sheet_names == ["说明", "漏助名单"]
    text = content(path)
    for part in ("<pane ", "<autoFilter ", "<cols>", "西吉县 640422", "领取已登记", "用后删除"):
        assert part in text
    assert "<f>" not in text
    assert sheet(path, "漏助名单")[0]["学校"] == FORMULA


@pytest.mark.parametrize("kind", KINDS)
def test_without_names_there_are_none(office: Office, kind: str) -> None:
    named, plain = (content(office.take(kind, with_names=names).path) for names in (True, False))
    assert "欧阳鑫垚" in named or "马小康" in named
    for needle in (NAME, NUMBER, "马小康", id_number(3), "何秀英"):
        assert needle not in plain


# --- who may take it, and that it is noted -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_another_county_is_refused_and_gets_no_file(office: Office, kind: str) -> None:
    before = office.admin("select count(*) from ledger.worklist")
    files = sorted(office.folder.iterdir())
    with pytest.raises(WorklistError, match=f"edupa_county_xiji sees {OWN}, not {OTHER}"):
        office.take(kind, OTHER)
    assert sorted(office.folder.iterdir()) == files
    assert office.admin("select count(*) from ledger.worklist") == before
    # nor does a list hold a row of the other
    own, other = content(office.take(kind).path), content(office.take(kind, OTHER, "jingyuan").path)
    assert "何秀英" in other
    assert "何秀英" not in own
    assert NAME not in other
    assert "马小康" not in other


def test_who_took_what_is_noted_with_the_hash_of_the_file(office: Office) -> None:
    taken = office.take("wrong-aid", with_names=False)
    assert taken.file_sha256 == hashlib.sha256(taken.path.read_bytes()).hexdigest()
    with connect("auditor", office.config) as conn:
        row = conn.execute(
            "select login, county_code, kind, with_names, row_count, file_sha256 from ledger.worklist"
            " order by worklist_id desc limit 1"
        ).fetchone()
    assert row == ("edupa_county_xiji", OWN, "wrong-aid", False, 2, taken.file_sha256)


INSERT = (
    "insert into ledger.worklist (county_code, kind, with_names, row_count, file_sha256{})"
    " values ('{}', 'dropouts', false, 0, repeat('a', 64){})"
)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (INSERT.format("", OTHER, ""), f"does not belong to county {OTHER}"),
        (INSERT.format(", login", OWN, ", 'edupa_county_jingyuan'"), "permission denied"),
        (INSERT.format(", taken_at", OWN, ", '2001-01-01'"), "permission denied"),
        ("select * from ledger.worklist", "permission denied"),
        ("update ledger.worklist set row_count = 0", "permission denied"),
        ("delete from ledger.worklist", "permission denied"),
    ],
)
def test_a_county_writes_its_own_entry_and_nothing_else(office: Office, statement: str, message: str) -> None:
    with connect("county_xiji", office.config) as conn, pytest.raises(psycopg.Error, match=message):
        conn.execute(statement.encode())
    with connect("admin", office.config) as conn, pytest.raises(psycopg.Error, match="keeps everything"):
        conn.execute("delete from ledger.worklist")


def test_without_a_living_trail_nothing_is_handed_out(office: Office) -> None:
    office.admin("update access.audit_proof set proved_at = now() - interval '1 hour'")
    try:
        with pytest.raises(WorklistError, match="edupa watchdog once"):
            office.take("missed-aid")
    finally:
        assert watch_once(office.config).problem is None


def test_the_command_says_what_it_did_or_in_one_sentence_why_not(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDUPA_HOME", str(office.config.home))
    monkeypatch.setenv("EDUPA_EXTRACTS", str(tmp_path / "extracts"))
    out = office.folder / "西吉.xlsx"

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["worklist", *arguments])
        return done.exit_code, done.output

    def asked(kind: str = "missed-aid", county: str = OWN, path: Path = out, login: str = "xiji") -> tuple[int, str]:
        return call(kind, "--county", county, "--out", str(path), "--login", login)

    code, said = asked()
    assert code == 0
    assert "3 cases, taken by edupa_county_xiji" in said
    for (code, said), words in (
        (asked(), "is there already"),
        (asked("missing"), "one of missed-aid, wrong-aid, dropouts, unmatched, integrity"),
        (asked(county="999999", path=tmp_path / "a.xlsx"), "no code of a county"),
        (asked(county=OTHER, path=tmp_path / "a.xlsx"), f"sees {OWN}, not {OTHER}"),
        (asked(path=tmp_path / "a.csv"), "must end in .xlsx"),
        (asked(path=tmp_path / "extracts" / "a.xlsx"), "what lies there is loaded"),
        (asked(login="nobody", path=tmp_path / "a.xlsx"), "nobody"),
        (call("missed-aid", "--county", OWN, "--out", str(tmp_path / "a.xlsx")), "--login"),
    ):
        assert code == 1
        assert words in said
        assert "Traceback" not in said
    assert list(tmp_path.rglob("*.xlsx")) == []
    listed = CliRunner().invoke(app, ["access", "worklists", "--limit", "1"])
    assert "missed-aid" in listed.output
    assert "edupa_county_xiji" in listed.output


# --- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "answers", "landed"),
    [
        (
            "integrity", "E33_线索核查/线索核查_640422_西吉县_2021_20210601.xlsx",
            {"核查结论": "不属实", "说明": "转学当期发放", "核查日期": "2021/5/20"},
            (CASE, "1234567890ABCDEF", "false_positive", "转学当期发放", "2021-05-20"),
        ),
        (
            "unmatched", "E34_比对核查/比对核查_640422_西吉县_2021_20210601.xlsx",
            {"比对结论": "同一人", "说明": "村委会核实", "核查日期": "20210520"},
            (CASE, "same_person", "村委会核实", "2021-05-20"),
        ),
    ],
)  # fmt: skip
def test_a_filled_in_list_loads_as_the_feed_of_reviews(
    office: Office, tmp_path: Path, kind: str, name: str, answers: dict[str, str], landed: tuple[str, ...]
) -> None:
    taken = office.take(kind)
    feed = KINDS[kind].feed
    assert feed
    contracts = ingest.load_contracts()
    # the name that the note asks for, with a date
    assert Path(name).name.replace("20210601", "年月日8位") in content(taken.path)
    assert contracts[feed].file_pattern.match(Path(name).name)
    path = tmp_path / name
    path.parent.mkdir()
    # sent back as it was taken: nothing is answered, nothing is wrong
    shutil.copy(taken.path, path)
    assert ingest.check_file(path, contracts).findings == ()
    answer(path, KINDS[kind].title, answers)
    report = ingest.load_feed(feed, tmp_path, contracts, office.config)
    assert (report.total("rows_landed"), report.total("rows_quarantined")) == (1, 0), report
    columns = "case_number, evidence_code" if kind == "integrity" else "case_number"
    found = office.admin(f"select {columns}, outcome, reason, reviewed_on::text from landing.{feed}")
    assert found == [landed]


def answer(path: Path, title: str, answers: Mapping[str, str]) -> None:
    """Fill in the first case of a list as an officer would, leaving everything else of the file as it is."""
    header = list(sheet(path, title)[0])
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    text = content["xl/worksheets/sheet2.xml"].decode("utf-8")
    for name, value in answers.items():
        at = header.index(name)
        cell = f"{chr(65 + at)}2" if at < 26 else f"A{chr(65 + at - 26)}2"
        begin = text.index(f'<c r="{cell}"')
        end = text.index("/>", begin)
        style = text[begin:end].partition(' s="')[2].partition('"')[0]
        filled = f'<c r="{cell}" s="{style}" t="inlineStr"><is><t>{value}</t></is></c>'
        text = text[:begin] + filled + text[end + 2 :]
    content["xl/worksheets/sheet2.xml"] = text.encode("utf-8")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, data in content.items():
            parts.writestr(name, data)
