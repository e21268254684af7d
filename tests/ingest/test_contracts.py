"""Contracts are valid ODCS, complete, and understandable."""

from __future__ import annotations

import ast
import json
import re
import shutil
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

import ingest
from ingest import Contract, ContractError, load_contracts
from ingest.across import ACROSS_CHECKS
from ingest.checks import CHECKS
from ingest.codelists import CodeListError, load_code_list, load_code_lists
from ingest.contract import FOLDER, LOOKUP_CHECKS, parse_contract

FEEDS = (
    "admin_area",
    "area_succession",
    "school",
    "enrollment_count",
    "pupil",
    "student_event",
    "poor_village",
    "poor_household",
    "poor_person",
    "population_age",
    "disabled_child",
    "aid_recognition",
    "aid_payment",
    "nutrition_month",
    "student_loan",
    "fund_ledger",
    "dropout_case",
    "care_record",
    "liability_insurance",
    "policy_document",
    "integrity_review",
    "match_review",
)
HAN = re.compile(r"[\u4e00-\u9fff]")


def test_every_feed_has_a_contract(contracts: dict[str, Contract]) -> None:
    assert sorted(contracts) == sorted(FEEDS)


@pytest.mark.parametrize("feed", FEEDS)
def test_contract_fits_the_published_schema_of_the_standard(feed: str) -> None:
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    document = yaml.safe_load((FOLDER / f"{feed}.odcs.yaml").read_text(encoding="utf-8"))
    errors = list(jsonschema.validators.validator_for(schema)(schema).iter_errors(document))
    assert [error.message for error in errors] == []
    assert document["apiVersion"].startswith("v3.")


@pytest.mark.parametrize("feed", FEEDS)
def test_contract_is_documented_in_both_languages(feed: str, contracts: dict[str, Contract]) -> None:
    contract = contracts[feed]
    assert HAN.search(contract.title_zh)
    assert contract.title_en.isascii()
    assert contract.model.team.description.count(" | ") == 1
    for column in contract.columns:
        chinese, bar, english = column.description.partition(" | ")
        assert bar, f"{feed}.{column.name}: description needs Chinese | English"
        assert HAN.search(chinese), f"{feed}.{column.name}: no Chinese"
        assert re.search(r"[a-zA-Z]{2}", english), f"{feed}.{column.name}: no English"
        assert HAN.search(column.header), f"{feed}.{column.name}: header is not the Chinese one"
        if column.kind == "integer":
            assert column.unit, f"{feed}.{column.name}: a number needs a unit"
            assert column.minimum is not None, f"{feed}.{column.name}: a number needs a lower bound"
        assert column.normalizers or column.derived


@pytest.mark.parametrize("feed", FEEDS)
def test_no_personal_column_lands(feed: str, contracts: dict[str, Contract]) -> None:
    landed = {name for name, _, _ in contracts[feed].landed}
    for column in contracts[feed].columns:
        if column.is_personal:
            assert column.name not in landed
        # the number of an entry in the books (凭证号) is no number of a document
        if re.search(r"(姓名|证件号|(?<!凭)证号|学籍号$|账号|借款人)", column.header):
            assert column.is_personal, f"{feed}.{column.name} looks personal and is not protected"


@pytest.mark.parametrize("feed", FEEDS)
def test_the_example_name_fits_the_pattern_and_one_stem(feed: str, contracts: dict[str, Contract]) -> None:
    contract = contracts[feed]
    example = contract.custom["fileName"]["example"]
    assert contract.file_pattern.match(example)
    assert [other for other, known in contracts.items() if known.stem.match(example)] == [feed]


def test_feeds_come_after_those_they_refer_to(contracts: dict[str, Contract]) -> None:
    order = list(contracts)
    assert any(contract.depends_on for contract in contracts.values())
    for feed, contract in contracts.items():
        assert all(order.index(other) < order.index(feed) for other in contract.depends_on)


def test_every_check_is_used_and_exists(contracts: dict[str, Contract]) -> None:
    # the matrix brings a feed that this release does not have, for checks that only such feeds need
    others = ingest.load_contracts(Path(__file__).parent / "matrix" / "contracts")
    used = {check.kind for contract in [*contracts.values(), *others.values()] for check in contract.checks}
    assert used == {*CHECKS, *ACROSS_CHECKS, *LOOKUP_CHECKS}


def test_a_lookup_that_names_what_the_other_feed_lacks_is_refused(tmp_path: Path) -> None:
    for source in FOLDER.glob("*.odcs.yaml"):
        shutil.copy(source, tmp_path)
    path = tmp_path / "student_event.odcs.yaml"
    whole = path.read_text(encoding="utf-8")
    for old, new, words in (
        ("id_number: person_token}", "id_number: id_number}", "feed pupil has no 'id_number'"),
        (
            "- {school_year: {fact: period, schoolYear: true, years: -1}, county",
            "- {county",
            "has no 'scope county_code'",
        ),
        ("          feed: pupil\n", "          feed: pupils\n", "refers to unknown feed 'pupils'"),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new), encoding="utf-8")
        with pytest.raises(ingest.ContractError, match=words):
            ingest.load_contracts(tmp_path)


def test_rules_named_in_contracts_have_messages(contracts: dict[str, Contract]) -> None:
    for contract in contracts.values():
        named = {check.rule for check in contract.checks} | {t.rule for t in contract.thresholds}
        named |= {column.file_fact.rule for column in contract.columns if column.file_fact}
        assert named <= set(ingest.row_rules())


def test_no_python_file_of_ingest_names_a_feed_a_column_or_a_county(contracts: dict[str, Contract]) -> None:
    feeds = set(contracts)
    columns = {column.name for contract in contracts.values() for column in contract.columns}
    # words that are a kind, a file fact or a plain concept as well as a column
    columns -= {"id_number", "school_year", "county_code", "county_name"}
    columns -= {"person_name"}  # a column of the vault as well
    columns -= {"month"}  # of a date bound
    # matching has tables of its own, and compares persons whatever the feeds call their columns
    of_matching = {"sex", "poverty_year", "case_number"}
    counties = set(load_code_lists()["counties"].lookup)
    for path in sorted(Path(ingest.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        strings = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        known = columns - of_matching if path.name.startswith("match") else columns
        assert sorted(strings & (feeds | known | counties)) == [], path


def test_code_lists_cover_their_spellings() -> None:
    lists = load_code_lists()
    assert len(lists["counties"].entries) == 22
    for spelled, code in {
        "红寺堡": "640303",
        "红寺堡开发区": "640303",
        "吴忠市红寺堡区": "640303",
        "原州": "640402",
        "固原市原州区": "640402",
        "海源县": "640522",
        "640522": "640522",
    }.items():
        assert lists["counties"].find(spelled) == code
    for spelled, code in {
        "一年级": "P1",
        "1年级": "P1",
        "小一": "P1",
        "小学一年级": "P1",
        "七年级": "J1",
        "初一": "J1",
        "初中一年级": "J1",
        "高一": "S1",
        "高中一年级": "S1",
        "大班": "PRE3",
        "学前班": "PRE3",
        "１年级": "P1",
    }.items():
        assert lists["grade"].find(spelled) == code
    assert len(lists["grade"].entries) == 19
    assert all(int(row["age_min"]) < int(row["age_max"]) for row in lists["grade"].entries.values())
    assert len([code for code in lists["ethnicity"].entries if int(code) <= 56]) == 56
    assert lists["ethnicity"].find("回") == lists["ethnicity"].find("回族") == "03"
    assert {"111", "119", "211", "218", "312", "345", "361", "514", "519"} <= set(lists["school_type"].entries)
    assert lists["poverty_status"].find("已脱贫（享受政策）") == "exited_with_policy"


def test_broken_yaml_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "school.odcs.yaml"
    path.write_text("apiVersion: v3.1.0\nkind: DataContract\nid: [school\n", encoding="utf-8")
    with pytest.raises(ContractError, match=r"school\.odcs\.yaml:\d+: not YAML"):
        load_contracts(tmp_path)


def test_unknown_field_is_named_with_file_and_line(tmp_path: Path) -> None:
    text = (FOLDER / "school.odcs.yaml").read_text(encoding="utf-8")
    path = tmp_path / "school.odcs.yaml"
    path.write_text(text.replace("domain: education", "domane: education"), encoding="utf-8")
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "domain: education" in row)
    with pytest.raises(ContractError, match=rf"school\.odcs\.yaml:{line}: not ODCS v3: domane"):
        load_contracts(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("codeList, value: school_type", "codeList, value: no_such_list", "no code list"),
        ("value: [trim, collapse_space]", "value: [trim, polish]", "unknown normalizer 'polish'"),
        ("kind, value: school_year", "kind, value: schoolyear", "kind must be one of"),
        ("{property: codeList, value: owner}", "{property: codelist, value: owner}", "unknown custom property"),
        ("pattern: '^(11|21", "pattern: '^(11|21(", "pattern"),
        ("name: school\n", "name: schools\n", "must equal the file's name"),
    ],
)
def test_mistakes_in_a_contract_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (FOLDER / "school.odcs.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "school.odcs.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ContractError, match=re.escape(message)):
        parse_contract(path, load_code_lists())


def test_a_comment_changes_no_hash_but_a_rule_does(tmp_path: Path) -> None:
    lists = load_code_lists()
    text = (FOLDER / "school.odcs.yaml").read_text(encoding="utf-8")
    path = tmp_path / "school.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    first = parse_contract(path, lists).sha256
    path.write_text(f"# a remark\n{text}", encoding="utf-8")
    assert parse_contract(path, lists).sha256 == first
    path.write_text(text.replace("required: false", "required: true", 1), encoding="utf-8")
    assert parse_contract(path, lists).sha256 != first


def test_one_spelling_for_two_codes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("code,label,aliases\n1,男,M\n2,女,Ｍ\n", encoding="utf-8")
    with pytest.raises(CodeListError, match=r"list\.csv:3: 'Ｍ' stands for '1' and for '2'"):
        load_code_list(path)
