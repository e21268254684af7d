"""Feeds of aid, money, dropouts, care and reviews: clean rows pass, each rule is broken once, no number or name lands.

A dry run shows which row broke which rule; what lands is looked at in a database, once for all feeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import ingest
from ingest import Contract
from tests.ingest.golden import csv_text, id_number
from tests.ingest.matrix.night import NAMES, Night, golden

FEEDS = (
    "aid_recognition", "aid_payment", "nutrition_month", "student_loan", "fund_ledger", "policy_document",
    "dropout_case", "care_record", "liability_insurance", "integrity_review", "match_review",
)  # fmt: skip

#: feed, what the second row says instead, column and rule that it breaks (None: it lands)
CASES: tuple[tuple[str, dict[str, str], str | None, str], ...] = (
    ("aid_recognition", {"学期": "冬季"}, "term", "code.unknown"),
    ("aid_recognition", {"学期": "春"}, None, ""),
    ("aid_recognition", {"学段": "高等教育", "学校标识码": "4164000001"}, None, ""),
    ("aid_recognition", {"县代码": "640522"}, "county_code", "county.mismatch"),
    ("aid_recognition", {"证件类型": "其他", "证件号码": ""}, None, ""),
    ("aid_recognition", {"证件号码": ""}, "id_number", "required.missing"),
    ("aid_recognition", {"证件号码": id_number(77)}, "student_number", "student_number.mismatch"),
    ("aid_recognition", {"认定日期": "2017-03-01"}, "recognized_on", "date.out_of_range"),
    # whose number stands in a payment is for the checks of the money
    ("aid_payment", {"证件号码": id_number(77)}, None, ""),
    ("aid_payment", {"实发金额": "-500"}, "amount_yuan", "number.negative"),
    ("aid_payment", {"实发金额": "1,500.50"}, None, ""),
    ("aid_payment", {"资助项目代码": "EN99"}, "entitlement_code", "code.unknown"),
    ("aid_payment", {"资助项目代码": "普通高中国家助学金"}, None, ""),
    ("aid_payment", {"账号": "6.22848E+18"}, "card_number", "id.scientific"),
    ("aid_payment", {"账号": "", "持卡人证件号": "", "与学生关系": ""}, None, ""),
    ("aid_payment", {"持卡人证件号": id_number(5)[:-1]}, "cardholder_id_number", "id.pattern"),
    ("nutrition_month", {"月份": "13"}, "month", "number.out_of_range"),
    ("nutrition_month", {"受益人数": "101"}, None, ""),
    ("student_loan", {"审批结果": "审批中", "金额": ""}, None, ""),
    ("student_loan", {"证件号码": ""}, "id_number", "required.missing"),
    ("fund_ledger", {"金额": "-1"}, "amount_yuan", "number.negative"),
    ("fund_ledger", {"资助项目代码": "EN6"}, "entitlement_code", "code.pattern"),
    ("policy_document", {"失效日期": "2016-08-31"}, "effective_to", "compare.greater_than"),
    ("policy_document", {"发文地区划代码": "640422209"}, None, ""),
    ("policy_document", {"发文地区划代码": "610422"}, "area_code", "code.pattern"),
    ("dropout_case", {"销号日期": "2016-02-01"}, "closed_on", "compare.greater_than"),
    ("dropout_case", {"复学日期": "2016-02-01"}, "returned_on", "compare.greater_than"),
    ("dropout_case", {"性别": "女"}, "id_number", "id.sex_mismatch"),
    ("dropout_case", {"学籍号": "", "证件类型": "其他", "证件号码": ""}, None, ""),
    ("care_record", {"销档日期": "2016-09-01"}, "closed_on", "compare.greater_than"),
    ("care_record", {"申请寄宿": "否", "安排寄宿": "是"}, None, ""),
    ("liability_insurance", {"止期": "2016-08-31"}, "valid_to", "compare.greater_than"),
    ("integrity_review", {"规则编号": "I23"}, "rule_code", "code.pattern"),
    ("integrity_review", {"线索编号": "12"}, "case_number", "code.pattern"),
    # a worklist that came back half filled in
    ("integrity_review", {"核查结论": "", "说明": "", "核查日期": "", "处理日期": "", "追回金额": ""}, None, ""),
    ("integrity_review", {"核查日期": ""}, "reviewed_on", "required.missing"),
    ("match_review", {"核查日期": ""}, "reviewed_on", "required.missing"),
    ("match_review", {"比对结论": "不确定"}, "outcome", "code.unknown"),
)  # fmt: skip


@pytest.mark.parametrize("feed", FEEDS)
def test_clean_rows_pass(feed: str, contracts: dict[str, Contract], tmp_path: Path) -> None:
    path = tmp_path / Path(NAMES[feed]).name
    path.write_text(csv_text(golden(feed)), encoding="utf-8")
    checked = ingest.check_file(path, contracts)
    assert [(finding.line, finding.column, finding.rule) for finding in checked.findings] == []
    assert checked.report.rows_landed == 24


@pytest.mark.parametrize(("feed", "changes", "column", "rule"), CASES)
def test_a_row_that_breaks_a_rule_is_held_back(
    feed: str, changes: dict[str, str], column: str | None, rule: str, contracts: dict[str, Contract], tmp_path: Path
) -> None:
    first, second, third = golden(feed, 3)
    assert set(changes) <= set(second)
    path = tmp_path / Path(NAMES[feed]).name
    path.write_text(csv_text([first, {**second, **changes}, third]), encoding="utf-8")
    checked = ingest.check_file(path, contracts)
    found = [(finding.line, finding.column, finding.rule) for finding in checked.findings]
    assert found == ([(3, column, rule)] if column else [])


def test_numbers_and_names_are_tokens_or_do_not_land(night: Night) -> None:
    for feed in FEEDS:
        night.csv(feed, golden(feed, 3))
        assert night.load(feed).total("rows_landed") == 3
    text = "\n".join(
        str(row) for feed in FEEDS for row in night.sql(f"select to_jsonb(t)::text from landing.{feed} as t")
    )
    assert "6228480100000" not in text
    assert id_number(1)[6:] not in text
    assert "马小康" not in text
    # the same person has the same token wherever the ID number stands
    tokens = {
        feed: night.sql(f"select {column} from landing.{feed} where record_id = 1")[0][0]
        for feed, column in (
            ("aid_recognition", "person_token"), ("aid_payment", "person_token"), ("dropout_case", "person_token"),
            ("care_record", "person_token"),
        )
    }  # fmt: skip
    assert len(set(tokens.values())) == 1
    cards = night.sql("select card_token, cardholder_token, student_number_token from landing.aid_payment")
    assert all(len(token) == 64 for row in cards for token in row)
    assert (
        night.sql("select payer_student_number_token from landing.fund_ledger where record_id = 1")[0][0] == cards[0][2]
    )


def test_a_reason_in_free_words_does_not_land(night: Night) -> None:
    rows = golden("integrity_review", 2)
    night.csv("integrity_review", [{**rows[0], "说明": "马小康的父亲代领"}, rows[1]])
    assert night.load("integrity_review").total("rows_landed") == 2
    found = {reason for (reason,) in night.sql("select reason from landing.integrity_review")}
    assert "已追回" in found
    assert not any("马小康" in reason for reason in found)
