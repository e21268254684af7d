"""What stands in each kind of worklist: which rows of which ledger, what is said of each, what is to be filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from ingest.codelists import CodeList
from ingest.contract import Contract

_ID_NUMBER = re.compile(r"[1-9]\d{16}[\dX]")
_SEMESTER = re.compile(r"(\d{4})-(spring|autumn)")

Row = dict[str, Any]
Value = str | int | Decimal | None


@dataclass(frozen=True)
class Place:
    """What the making of rows needs to know beside the rows.

    Attributes:
        lists: code lists, for labels.
        year: year of the review that the list is for.
        contract: of the feed as which the list comes back, if it does.
    """

    lists: Mapping[str, CodeList]
    year: int
    contract: Contract | None

    def label(self, code_list: str, code: object) -> str:
        """Chinese label of a code; the code itself where the list does not have it."""
        if code is None:
            return ""
        entry = self.lists[code_list].entries.get(str(code))
        return entry["label"] if entry else str(code)


@dataclass(frozen=True)
class Kind:
    """A kind of worklist.

    Attributes:
        title: name of the sheet.
        relation: restricted ledger that it is read from.
        query: what is asked of ``{relation}``, with the county as its parameter.
        cases: makes rows of the sheet (header → value) of the rows of the ledger.
        headers: columns in order; names are put in front, blanks to fill in behind.
        fill_in: columns for the county's own use, where the list does not come back as a feed.
        note: what the list is and what to do with it, Chinese first.
        feed: contract under which the filled-in list comes back.
    """

    title: str
    relation: str
    query: str
    cases: Callable[[Iterable[Row], Place], list[dict[str, Value]]]
    headers: tuple[str, ...]
    fill_in: tuple[str, ...]
    note: tuple[str, ...]
    feed: str | None = None


def semester_name(code: object) -> str:
    """2016-autumn as 2016年秋季学期."""
    found = _SEMESTER.fullmatch(str(code or ""))
    return f"{found[1]}年{'春' if found[2] == 'spring' else '秋'}季学期" if found else ""


def _school(row: Row, place: Place) -> dict[str, Value]:
    return {
        "学校": row["school_name"] or row["school_code"],
        "学段": place.label("aid_stage", row["stage_code"]),
        "年级": place.label("grade", row["grade_code"]) if row["grade_code"] != "-1" else "",
        "学校所在县": place.label("counties", row["school_county_code"]),
        "户籍所在县": place.label("counties", row["home_county_code"]),
    }


def _who(row: Row, token: str = "person_token") -> dict[str, Value]:
    """Who it is: a short code of the token always, name and ID number where they were asked for."""
    number = str(row.get("identifier") or "")
    return {
        "人员代号": str(row[token] or "")[:12],
        "姓名": row.get("person_name") or "",
        # what identifies a person without an ID number is no number to show
        "证件号码": number if _ID_NUMBER.fullmatch(number) else "",
    }


def _missed_case(row: Row) -> tuple[object, ...]:
    """What makes semesters one case: the same person, entitlement and fault, without an interruption."""
    return (row["person_token"], row["entitlement_code"], row["status"], row["missing_since"] or row["semester_code"])


def _missed_aid(rows: Iterable[Row], place: Place) -> list[dict[str, Value]]:
    cases: list[dict[str, Value]] = []
    for (_, _, status, since), group in groupby(rows, key=_missed_case):
        semesters = list(group)
        last = semesters[-1]
        due = sum((row["standard_yuan"] or Decimal(0) for row in semesters), Decimal(0))
        paid = sum((row["paid_yuan"] for row in semesters), Decimal(0))
        if status == "partly":
            wrong, todo = "少发：实发低于标准", "补发差额，更正后在资助发放表中报送"
        elif not last["is_matched"]:
            wrong, todo = "漏助：在建档立卡名单上，未对上学籍", "先核对学籍和证件号码，在读的补发，不在读的更正就学状况"
        else:
            wrong, todo = "漏助：应享受，未发放", "核实后补发；已经发放的，在资助发放表中补报"
        cases.append(
            {
                **_who(last),
                "问题": wrong,
                "资助项目": f"{last['entitlement_code']} {last['entitlement_name']}",
                "起始学期": semester_name(since),
                "最近学期": semester_name(last["semester_code"]),
                "学期数": len(semesters),
                "应发（元）": due,
                "实发（元）": paid,
                "差额（元）": due - paid,
                **_school(last, place),
                "认定依据": "建档立卡"
                if last["is_registered_poor"]
                else "学校认定"
                if not last["is_due_plan_strict"]
                else "全体学生",
                "怎么办": todo,
            }
        )
    return cases


def _wrong_aid(rows: Iterable[Row], place: Place) -> list[dict[str, Value]]:
    cases: list[dict[str, Value]] = []
    for row in rows:
        if row["status"] == "overpaid":
            wrong, todo = "多发：实发高于标准", "核对标准，多发部分退回"
            over = row["paid_yuan"] - row["standard_yuan"]
        else:
            wrong, todo = "错助：按名单、学籍和政策不应享受", "核对资格：确不符合的停发并追回，符合的补报名单或学籍"
            over = row["paid_yuan"]
        cases.append(
            {
                **_who(row),
                "问题": wrong,
                "资助项目": f"{row['entitlement_code']} {row['entitlement_name']}",
                "学期": semester_name(row["semester_code"]),
                "首次发放日期": _day(row["first_paid_date"]),
                "应发（元）": row["standard_yuan"],
                "实发（元）": row["paid_yuan"],
                "涉及金额（元）": over,
                **_school(row, place),
                "怎么办": todo,
            }
        )
    return cases


_CONTRADICTIONS = {
    "returned_on_no_roll": "填报已复学，但不在册",
    "returned_without_date": "填报已复学，无复学日期",
    "taught_at_home_without_visit": "送教上门，无送教记录",
    "open_but_on_roll": "未销号，但已在册",
    "lost_from_ledger": "未销号，后来的台账中没有",
}
_STAGES = {"found": "已发现", "verified": "已核实", "persuaded": "已劝返", "returned": "已复学", "closed": "已销号"}


def _day(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else ""


def _yes(value: object) -> str:
    return "" if value is None else "是" if value else "否"


def _dropouts(rows: Iterable[Row], place: Place) -> list[dict[str, Value]]:
    cases: list[dict[str, Value]] = []
    for row in rows:
        wrong = _CONTRADICTIONS.get(str(row["contradiction"]))
        stage = _STAGES.get(str(row["handling_stage"]), str(row["handling_stage"] or ""))
        cases.append(
            {
                **_who(row),
                "问题": f"台账矛盾：{wrong}" if wrong else f"失学未销号，{stage}",
                "发现日期": _day(row["found_date"]),
                "历时天数": row["days_open"],
                "失学原因": place.label("out_of_school_reason", row["out_of_school_reason"]),
                "核实日期": _day(row["verified_date"]),
                "最近劝返": _day(row["persuaded_date"]),
                "劝返次数": row["persuasion_count"],
                "送教次数": row["home_teaching_visit_count"],
                "原学校": row["last_school_name"] or row["last_school_code"],
                "原年级": place.label("grade", row["last_grade_code"]),
                "建档立卡": _yes(row["is_registered_poor"]),
                "其后在册": _yes(row["is_on_roll_again"]),
                "户籍所在县": place.label("counties", row["home_county_code"]),
                "台账编号": row["case_number"],
                "怎么办": row["what_next_zh"],
            }
        )
    return cases


def _unmatched(rows: Iterable[Row], place: Place) -> list[dict[str, Value]]:
    return [
        {
            **_who(row, "poor_person_token"),
            "问题": f"贫困人口未对上学籍：{row['likelihood_zh']}",
            "起始年度": str(row["since_year"]),
            "最近年度": str(row["poverty_year"]),
            "户编号": row["household_number"],
            "村代码": row["village_code"],
            "性别": place.label("sex", row["sex_code"]),
            "年龄": row["age_years"],
            "在校生状况": row["school_status"],
            "脱贫属性": place.label("poverty_status", row["poverty_status"]),
            "候选学生学校": row["candidate_school_name"] or row["candidate_school_code"],
            "候选学生学校所在县": place.label("counties", row["candidate_county_code"]),
            "候选学生年级": place.label("grade", row["candidate_grade_code"]),
            "可能性": row["match_score"],
            "比对依据": row["found_zh"],
            "怎么办": row["what_to_do_zh"],
            "年度": str(place.year),
            "县代码": row["county_code"],
            "比对编号": row["case_number"],
        }
        for row in rows
    ]


def _integrity(rows: Iterable[Row], place: Place) -> list[dict[str, Value]]:
    return [
        {
            **_who(row),
            "问题": row["description_zh"],
            "规则名称": row["rule_name_zh"],
            "起始日期": _day(row["since_date"]),
            "评价年度": str(row["evaluation_year"]),
            "学期": semester_name(row["semester_code"]),
            "学校": row["school_name"] or row["school_code"],
            "资助项目": row["entitlement_code"],
            "文号": row["document_number"],
            "涉及金额（元）": row["amount_at_risk_yuan"],
            "怎么办": row["what_to_do_zh"],
            "年度": str(place.year),
            "县代码": row["county_code"],
            "规则编号": row["rule_code"],
            "线索编号": row["case_number"],
            "证据码": row["evidence_code"],
            # an answer that stands but is not settled yet comes along, to be completed
            "核查结论": place.label("review_outcome", row["review_outcome"]),
            "说明": row["review_reason"],
            "核查日期": _day(row["reviewed_date"]),
            "处理日期": _day(row["handled_date"]),
            "追回金额": None if row["recovered_yuan"] is None else str(row["recovered_yuan"]),
        }
        for row in rows
    ]


_SCHOOL_HEADERS = ("学校", "学段", "年级", "学校所在县", "户籍所在县")
_BY_PERSON = "order by person_token, entitlement_code, status, missing_since, evaluation_year, term desc"

KINDS: dict[str, Kind] = {
    "missed-aid": Kind(
        title="漏助名单",
        relation="student_aid_ledger",
        query=f"select * from {{relation}} where county_code = %s and status in ('missing', 'partly') {_BY_PERSON}",
        cases=_missed_aid,
        headers=(
            "问题", "资助项目", "起始学期", "最近学期", "学期数", "应发（元）", "实发（元）", "差额（元）",
            *_SCHOOL_HEADERS, "认定依据", "怎么办",
        ),
        fill_in=("核实情况", "补发日期", "补发金额"),
        note=(
            "每行是一名学生应享受而没有足额享受的一项资助，“起始学期”起连续漏发。",
            "One row per student and entitlement not paid, or not in full, since 起始学期 without interruption.",
        ),
    ),
    "wrong-aid": Kind(
        title="错助名单",
        relation="student_aid_ledger",
        query="select * from {relation} where county_code = %s and status in ('not_expected', 'overpaid')"
        " order by evaluation_year, term desc, person_token, entitlement_code",
        cases=_wrong_aid,
        headers=(
            "问题", "资助项目", "学期", "首次发放日期", "应发（元）", "实发（元）", "涉及金额（元）", *_SCHOOL_HEADERS,
            "怎么办",
        ),
        fill_in=("核实情况", "处理日期", "追回金额"),
        note=(
            "每行是一名学生一个学期领到的、按现有名单和政策不应领或多领的一项资助。是线索，不是结论。",
            "One row per student, semester and entitlement paid without being due, or too high: leads, no findings.",
        ),
    ),
    "dropouts": Kind(
        title="失学儿童名单",
        relation="dropout_board",
        query="select * from {relation} where county_code = %s and (is_open or contradiction <> 'none')"
        " order by found_date, case_number",
        cases=_dropouts,
        headers=(
            "问题", "发现日期", "历时天数", "失学原因", "核实日期", "最近劝返", "劝返次数", "送教次数", "原学校",
            "原年级", "建档立卡", "其后在册", "户籍所在县", "台账编号", "怎么办",
        ),
        fill_in=("核实情况", "本次劝返日期", "结果"),
        note=(
            "每行是一名未销号的失学儿童，或台账自相矛盾的一件。更正后随控辍保学台账报送。",
            "One row per child out of school, or entry that contradicts itself; corrected in the ledger.",
        ),
    ),
    "unmatched": Kind(
        title="比对核查",
        relation="match_queue",
        query="select * from {relation} where county_code = %s"
        " order by case_kind, match_score desc, poor_person_token, case_number",
        cases=_unmatched,
        headers=(
            "问题", "起始年度", "最近年度", "户编号", "村代码", "性别", "年龄", "在校生状况", "脱贫属性",
            "候选学生学校", "候选学生学校所在县", "候选学生年级", "可能性", "比对依据", "怎么办",
            "年度", "县代码", "比对编号",
        ),
        fill_in=("比对结论", "说明", "核查日期"),
        note=(
            "每行是一名建档立卡人口和一名可能是同一人的学生，或没有找到任何学生的学龄儿童（结论留空，按“怎么办”处理）。",
            "One row per registered-poor person and a pupil who may be the same, or a child found on no roll.",
        ),
        feed="match_review",
    ),
    "integrity": Kind(
        title="线索核查",
        relation="funds_cases",
        # the county that has to act; the home county sees the case but does not answer it. What is settled is gone
        query="select * from {relation} where county_code = %s and county_relation <> 'home'"
        " and review_status not in ('handled', 'dismissed')"
        " order by rule_code, amount_at_risk_yuan desc nulls last, case_number",
        cases=_integrity,
        headers=(
            "问题", "规则名称", "起始日期", "评价年度", "学期", "学校", "资助项目", "文号", "涉及金额（元）", "怎么办",
            "年度", "县代码", "规则编号", "线索编号", "证据码",
        ),
        fill_in=("核查结论", "说明", "核查日期", "处理日期", "追回金额"),
        note=(
            "每行是一条资金线索：是线索，不是结论。核查不属实的写明说明，证据不变就不再提出；属实的处理后填处理日期。",
            "One row per lead, no finding. A lead found false stays away while its evidence is the same.",
        ),
        feed="integrity_review",
    ),
}  # fmt: skip
