"""Drafting a contract: it parses, protects persons, loads its own file, and nothing before somebody has read it."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import ingest
from ingest import CodeListError, Contract, ContractError, check_file, discover, load_contracts, load_feed
from ingest.authoring import AuthoringError, Draft, draft_contract, guess_name, translate, write_draft
from ingest.contract import CODE_LISTS, FOLDER, contract_folders, known_code_lists
from ingest.profile import guess_header
from tests.ingest.golden import (
    COUNT_NAME,
    EVENT_NAME,
    PERSON_NAME,
    PUPIL_NAME,
    Row,
    count_row,
    counts,
    event,
    id_number,
    person,
    pupils,
    write_csv,
    write_xlsx,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
LISTS = known_code_lists()
NAME = "教师培训_640422_西吉县_2019_20191015.csv"


def training(count: int = 24) -> list[Row]:
    return [
        {
            "年度": "2019",
            "县代码": "640422",
            "学校标识码": f"21640001{index % 4:02d}",
            "培训编号": f"PX{index:04d}",
            "教师姓名": f"马{'建国秀兰志强小花'[index % 8]}{chr(0x4E00 + index)}",
            "教师身份证号": id_number(index, "19800101"),
            "联系电话": f"138{index:08d}",
            "培训类别": ("国培", "区培", "县培")[index % 3],
            "开始日期": "2019-03-01" if index % 2 else "2019年4月8日",
            "学时": str(8 + index),
            "费用": f"{index * 100}.50",
            "是否结业": "是" if index % 5 else "否",
            "备注": "",
        }
        for index in range(1, count + 1)
    ]


def read(draft: Draft, folder: Path) -> Contract:
    """The draft as a contract, by the way it would be read."""
    write_draft(draft, folder)
    lists = known_code_lists([folder])
    return load_contracts(folder, lists, drafts=True)[draft.feed]


def test_a_draft_says_what_can_be_seen(tmp_path: Path, contracts: Contracts) -> None:
    path = write_csv(tmp_path / "T01_教师培训", training(), NAME)
    draft = draft_contract(path, contracts, LISTS)
    contract = read(draft, tmp_path / "contracts")
    assert (draft.feed, contract.is_draft) == ("teacher_training", True)
    assert {column.name: column.kind for column in contract.columns} == {
        "year": "integer",
        "county_code": "code",
        "school_code": "code",
        "training_number": "code",
        "teacher_name": "text",
        "teacher_id_number": "id_number",
        "contact_phone": "text",
        "training_category": "code",
        "start_date": "date",
        "hours": "integer",
        "cost": "decimal",
        "column_12": "boolean",
        "remark": "text",
    }
    assert [column.name for column in contract.key] == ["year", "county_code", "training_number"]
    assert contract.scope == ("year", "county_code")
    assert {column.name for column in contract.columns if column.pii} == {"teacher_name", "contact_phone", "remark"}
    assert contract.by_name["teacher_id_number"].token == "person_token"
    assert contract.identity is not None
    assert contract.identity.surrogate_from == ("teacher_name",)
    listed = contract.by_name["training_category"].code_list
    assert listed is not None
    assert set(listed.entries) == {"国培", "区培", "县培"}
    assert contract.by_name["school_code"].pattern == contracts["school"].by_name["school_code"].pattern
    assert contract.folder == "T01_教师培训"
    report = check_file(path, {draft.feed: contract}).report
    assert (report.status, report.rows_landed, report.rows_quarantined) == ("checked", 24, 0)


def test_a_draft_is_a_contract_of_the_standard_and_holds_no_persons_values(
    tmp_path: Path, contracts: Contracts
) -> None:
    rows = training()
    draft = draft_contract(write_csv(tmp_path, rows, NAME), contracts, LISTS)
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(yaml.safe_load(draft.text))
    assert [error.message for error in errors] == []
    everything = draft.text + "".join(draft.code_lists.values()) + "".join(draft.notes)
    for header in ("教师姓名", "教师身份证号", "联系电话", "培训编号"):
        assert not [row[header] for row in rows if row[header] in everything]
    assert draft.text.count("# edit") > 10


@pytest.mark.parametrize(
    ("feed", "rows", "name"),
    [
        ("pupil", pupils(40), PUPIL_NAME),
        ("poor_person", [person(index) for index in range(1, 41)], PERSON_NAME),
        ("student_event", [event(index) for index in range(1, 41)], EVENT_NAME),
    ],
)
def test_every_personal_column_is_protected_though_no_contract_is_known(
    tmp_path: Path, contracts: Contracts, feed: str, rows: list[Row], name: str
) -> None:
    draft = draft_contract(write_csv(tmp_path, rows, name), {}, LISTS, feed="unknown_feed")
    personal = {column.header for column in contracts[feed].columns if column.is_personal and column.derived is None}
    protected = {column.header for column in draft.columns if column.block["classification"] != "internal"}
    assert personal <= protected
    contract = read(draft, tmp_path / "contracts")
    landed = {name for name, _, _ in contract.landed}
    assert not landed & {column.name for column in contract.columns if column.is_personal}
    assert check_file(tmp_path / name, {"unknown_feed": contract}).report.rows_landed == len(rows)


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("甲", [id_number(index) for index in range(1, 31)]),
        ("甲", [f"139{index:08d}" for index in range(30)]),
        ("甲", [f"王{chr(0x4E00 + index)}{chr(0x4E50 + index)}" for index in range(30)]),
        ("甲", ["好", *[f"电话139{index:08d}请联系" for index in range(3)], *["好"] * 26]),
        ("班主任姓名", ["甲"] * 30),
        ("家庭住址", [f"{index}号" for index in range(30)]),
        ("情况说明", ["正常"] * 30),
        ("银行卡号", [f"62284800{index:011d}" for index in range(30)]),
    ],
)
def test_what_may_be_about_a_person_does_not_land(tmp_path: Path, header: str, values: list[str]) -> None:
    rows = [{"序号": str(number), header: value, "学年": "2019/20"} for number, value in enumerate(values)]
    draft = draft_contract(write_csv(tmp_path, rows, "甲表_2019_20191015.csv"), {}, LISTS)
    (column,) = [column for column in draft.columns if column.header == header]
    assert column.block["classification"] != "internal", column.note


def test_a_workbook_with_title_unit_and_two_header_rows_is_understood(tmp_path: Path) -> None:
    path = write_xlsx(
        tmp_path,
        [*counts(), count_row(school="2164000777")],
        COUNT_NAME,
        groups={"学生数": ("在校生数", "招生数", "毕业生数")},
    )
    draft = draft_contract(path, {}, LISTS, feed="counts")
    assert [column.header for column in draft.columns] == list(counts()[0])
    assert draft.rows == 13
    kinds = {column.header: column.properties["kind"] for column in draft.columns}
    assert (kinds["在校生数"], kinds["学年"], kinds["性别"]) == ("integer", "school_year", "code")
    report = check_file(path, {"counts": read(draft, tmp_path / "contracts")}).report
    assert (report.status, report.rows_landed) == ("checked", 13)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("教师培训_640422_西吉县_2019.csv", "must end in the extract date"),
        ("教师培训_20191345.csv", "is no date"),
        ("教师培训_20191015.docx", "the format must be one of"),
        (PUPIL_NAME, "contract pupil.odcs.yaml recognizes this name already"),
    ],
)
def test_a_name_that_says_too_little_is_refused_with_a_sentence(
    tmp_path: Path, contracts: Contracts, name: str, sentence: str
) -> None:
    with pytest.raises(AuthoringError, match=sentence):
        draft_contract(write_csv(tmp_path, training(), name), contracts, LISTS)


def test_files_that_make_no_contract_are_refused_with_a_sentence(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / NAME
    path.write_text("1,2,3\n4,5,6\n", encoding="utf-8")
    with pytest.raises(AuthoringError, match="no header row"):
        draft_contract(path, contracts, LISTS)
    path.write_text("甲,乙,（甲）\n甲甲,乙,丙\n", encoding="utf-8")
    path.write_text("年度,县代码,年 度\n2019,640422,1\n", encoding="utf-8")
    with pytest.raises(AuthoringError, match="two columns have the header"):
        draft_contract(path, contracts, LISTS)
    write_csv(tmp_path, training(), NAME)
    with pytest.raises(AuthoringError, match="there is a feed pupil already"):
        draft_contract(path, contracts, LISTS, feed="pupil")
    with pytest.raises(AuthoringError, match="must be like teacher_training"):
        draft_contract(path, contracts, LISTS, feed="Lehrer!")
    draft = draft_contract(path, contracts, LISTS)
    write_draft(draft, tmp_path / "contracts")
    with pytest.raises(AuthoringError, match="is there already"):
        write_draft(draft, tmp_path / "contracts")


def test_a_file_without_its_county_in_the_rows_is_a_warning(tmp_path: Path, contracts: Contracts) -> None:
    rows = [{name: value for name, value in row.items() if name != "县代码"} for row in training()]
    draft = draft_contract(write_csv(tmp_path, rows, NAME), contracts, LISTS)
    assert draft.scope == ("year",)
    assert any("would end the rows of all others" in note for note in draft.notes)
    other = draft_contract(write_csv(tmp_path, training(), "教师培训_国培_2019_20191015.csv"), contracts, LISTS)
    assert any("the file's name also holds 国培" in note for note in other.notes)


def test_names_are_read_part_by_part() -> None:
    named = guess_name("E9/教师培训_640422_西吉县_2019_20191015(最终版).xlsx", LISTS)
    assert (named.county_code, named.period, named.file_format) == ("640422", 2019, "xlsx")
    assert re.fullmatch(named.pattern, "教师培训_640423_隆德县_2020_20201015(2).csv")
    assert re.fullmatch(named.pattern, "教师培训_2020_20201015.csv") is None


@pytest.mark.parametrize(
    ("header", "english"),
    [("教师姓名", "teacher_name"), ("资助金额（元）", "aid_amount"), ("*学校名称", "school_name"), ("XXBSM", "xxbsm")],
)
def test_headers_are_translated_word_by_word(header: str, english: str) -> None:
    assert translate(header) == english
    assert translate(header + "魑魅") is None


def test_the_header_is_the_first_row_of_words() -> None:
    plain = guess_header(
        [["2019年统计表", "", ""], ["单位：人", "", ""], ["年度", "学校", "人数"], ["2019", "甲", "3"]]
    )
    assert plain is not None
    assert (plain.row, plain.depth, plain.names) == (2, 1, ("年度", "学校", "人数"))
    double = guess_header([["年度", "学校", "学生", ""], ["", "", "男生", "女生"], ["2019", "甲", "3", "4"]])
    assert double is not None
    assert (double.depth, double.names) == (2, ("年度", "学校", "男生", "女生"))
    assert guess_header([["1", "2"], ["3", "4"]]) is None


def test_a_draft_loads_nothing_until_it_is_active(
    root: Path, tmp_path: Path, contracts: Contracts, empty: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    path = write_csv(root / "T01_教师培训", training(), NAME)
    written = write_draft(draft_contract(path, contracts, LISTS), own)
    monkeypatch.setenv("EDUPA_CONTRACTS", f"ingest/contracts:{own}")
    assert contract_folders() == (FOLDER, own)
    assert "teacher_training" not in load_contracts()
    assert discover(root, load_contracts()).unrecognized == (f"T01_教师培训/{NAME}",)
    written[0].write_text(written[0].read_text(encoding="utf-8").replace("status: draft", "status: active"), "utf-8")
    active = load_contracts()
    assert set(active) == {*contracts, "teacher_training"}
    report = load_feed("teacher_training", root, active, empty)
    assert (report.total("rows_landed"), report.total("rows_quarantined")) == (24, 0)
    again = load_feed("teacher_training", root, active, empty)
    assert [file.status for file in again.files] == ["same_content"]
    with connect("ingest", empty) as conn:
        columns = conn.execute(
            "select column_name from information_schema.columns where table_schema = 'landing'"
            " and table_name = 'teacher_training'"
        ).fetchall()
        stored: Any = conn.execute("select string_agg(t::text, ' ') from landing.teacher_training t").fetchone()
        known = conn.execute(
            "select count(*) from vault.person_identity where identifier_kind = 'id_number'"
        ).fetchone()
        conn.execute("drop table landing.teacher_training")
    assert not {"teacher_name", "teacher_id_number", "contact_phone", "remark"} & {str(name) for (name,) in columns}
    assert not [row for row in training() if row["教师姓名"] in stored[0] or row["教师身份证号"] in stored[0]]
    assert known == (24,)


def test_folders_of_contracts_are_a_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("EDUPA_CONTRACTS", str(own))
    assert load_contracts() == {}
    (own / "poor_village.odcs.yaml").write_bytes((FOLDER / "poor_village.odcs.yaml").read_bytes())
    monkeypatch.setenv("EDUPA_CONTRACTS", f"ingest/contracts:{own}")
    with pytest.raises(ContractError, match="feed 'poor_village' has another contract already"):
        load_contracts()
    monkeypatch.setenv("EDUPA_CONTRACTS", f"ingest/contracts:{tmp_path / 'nowhere'}")
    with pytest.raises(ContractError, match="there is no such folder"):
        load_contracts()
    (own / CODE_LISTS).mkdir()
    (own / CODE_LISTS / "sex.csv").write_text("code,label,aliases\n1,男,\n", encoding="utf-8")
    with pytest.raises(CodeListError, match="there is a code list sex already"):
        known_code_lists([own])
    monkeypatch.delenv("EDUPA_CONTRACTS")
    assert contract_folders() == (FOLDER,)
    assert set(ingest.load_contracts()) == set(load_contracts(FOLDER))
