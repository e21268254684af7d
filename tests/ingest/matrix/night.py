"""One night at the loading dock: the golden delivery, ways to damage it, and what must hold whatever arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ingest
from expectations.gate import facts
from expectations.runner import EVERYWHERE, failing_cells
from expectations.snapshot import open_snapshot
from expectations.suite import load_suites
from ingest import Contract, LoadReport
from ingest.reports import FeedReport
from tests.ingest.golden import (
    EVENT_NAME,
    PERSON_NAME,
    PUPIL_NAME,
    VILLAGE,
    Row,
    csv_text,
    event,
    id_number,
    person,
    pupil,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

SCHOOL, OTHER_SCHOOL = "2164000123", "2164000124"
NAMES = {
    "admin_area": "E00_行政区划/行政区划_64_宁夏_2020_20201101.csv",
    "area_succession": "E00_行政区划/区划沿革_64_宁夏_2020_20201101.csv",
    "school": "E01_学校基础信息/学校信息_640422_西吉县_2016_20161020.csv",
    "enrollment_count": "E03_班级学生统计/学生统计_640422_西吉县_2016_20161020.csv",
    "pupil": f"E04_学籍/{PUPIL_NAME}",
    "student_event": f"E05_学籍异动/{EVENT_NAME}",
    "poor_household": "E07_建档立卡/建档立卡户_640422_西吉县_2016_20170110.csv",
    "poor_person": f"E07_建档立卡/{PERSON_NAME}",
    "poor_village": "E07_建档立卡/贫困村_64_宁夏_2016_20170110.csv",
    "population_age": "E08_分岁人口/分岁人口_64_宁夏_2016_常住_annual_20170110.csv",
    "disabled_child": "E09_残疾儿童/残疾儿童_640422_西吉县_2016_20170110.csv",
    "aid_recognition": "E10_资助对象认定/资助认定_640422_西吉县_2016_20170110.csv",
    "aid_payment": "E11_资助发放/资助发放_640422_西吉县_2016_20170110.csv",
    "nutrition_month": "E12_营养改善计划/营养改善_64_宁夏_2016_20170110.csv",
    "student_loan": "E13_生源地贷款/生源地贷款_64_宁夏_2016_20170110.csv",
    "fund_ledger": "E15_资金/资金台账_64_宁夏_2016_20170110.csv",
    "policy_document": "E25_政策文件/政策文件_64_宁夏_2016_20170110.csv",
    "dropout_case": "E28_控辍保学/控辍保学台账_640422_西吉县_2016_20170110.csv",
    "care_record": "E29_关爱档案/关爱档案_640422_西吉县_2016_20170110.csv",
    "liability_insurance": "E30_校方责任险/校方责任险_64_宁夏_2016_20170110.csv",
    "integrity_review": "E33_线索核查/线索核查_640422_西吉县_2016_20170110.csv",
    "match_review": "E34_比对核查/比对核查_640422_西吉县_2016_20170110.csv",
    "tried_grant": "E98_助学补助/助学补助_640422_西吉县_2016_20170110.csv",
}


_CHINESE = range(0x4E00, 0xA000)


def school(code: str = SCHOOL, **changes: Any) -> Row:
    """One clean school."""
    return {
        "学年": "2016/17", "县代码": "640422", "县名称": "西吉县", "学校标识码": code, "学校名称": "马莲乡中心小学",
        "办学类型码": "211", "举办者码": "", "驻地区划代码": VILLAGE, "城乡分类码": "220", "隶属中心校标识码": "",
        "民族学校": "否", "附设班类型": "", "变动类型": "", "变动日期": "", "原学校标识码": "", **changes,
    }  # fmt: skip


def area(code: str = VILLAGE, name: str = "马莲村", level: str = "村", **changes: Any) -> Row:
    """One clean administrative area."""
    return {
        "区划代码": code, "区划名称": name, "级别": level, "上级代码": code[:9] if len(code) == 12 else "",
        "城乡分类代码": "", "规划贫困县": "", "学前重点县": "", "贫困村": "", "退出批复日期": "",
        "启用日期": "2010-01-01",
        "停用日期": "", **changes,
    }  # fmt: skip


def count(index: int = 0, **changes: Any) -> Row:
    """One clean count: ``index`` picks school, grade and sex; figures differ and do not end in the same digit."""
    grade, sex = "一二三四五六"[index // 2 % 6], "男女"[index % 2]
    return {
        "学年": "2016/17", "县代码": "640422", "学校标识码": f"21640001{23 + index // 12:02d}",
        "学校名称": "马莲乡中心小学", "学段": "小学", "年级": f"{grade}年级", "性别": sex, "在校生数": 31 + index,
        "招生数": 30, "毕业生数": 0, "寄宿生数": 2, "转入": 1, "转出": 0, "死亡": 0, **changes,
    }  # fmt: skip


def household(index: int = 1, **changes: Any) -> Row:
    """One clean household; its number is that of the person of the same index."""
    return {
        "年度": "2016", "县代码": "640422", "行政村代码": VILLAGE, "户编号": f"64042200{index:02d}",
        "户主姓名": "马大山", "户主证件号码": id_number(index, "19700101"), "人数": "4", "贫困户属性": "一般贫困户",
        "主要致贫原因": "因学", "脱贫属性": "未脱贫", "脱贫年度": "", **changes,
    }  # fmt: skip


def village(index: int = 1, **changes: Any) -> Row:
    """One clean village of the poverty list."""
    return {
        "年度": "2016", "行政村代码": VILLAGE[:-2] + f"{index:02d}", "行政村": "马莲村", "贫困村标识": "是",
        "出列年度": "", **changes,
    }  # fmt: skip


def population(age: int = 6, sex: str = "男", **changes: Any) -> Row:
    """One clean figure of the population."""
    return {
        "年度": "2016", "区划代码": "640422", "年龄": str(age), "性别": sex, "人数": str(411 + age), "口径": "常住",
        "时点": "2016-09-01", "版本": "annual", **changes,
    }  # fmt: skip


def disabled(index: int = 1, **changes: Any) -> Row:
    """One clean child of the disability register."""
    return {
        "年度": "2016", "县代码": "640422", "残疾人证号": id_number(index, "20080315") + "11", "姓名": "马小康",
        "性别": "男", "残疾类别": "视力", "残疾等级": "一级", "多重残疾类别": "", "出生日期": "2008-03-15",
        "户籍村代码": VILLAGE, "就学状况": "随班就读", "康复": "是", **changes,
    }  # fmt: skip


def payment(index: int = 1, **changes: Any) -> Row:
    """One clean payment."""
    return {
        "年度": "2016", "发放编号": f"FF{index:05d}", "学期": "1", "姓名": "马小康", "证件号码": id_number(index),
        "金额": f"{1000 + index}.5", "中央资金": "800", "地方资金": f"{200 + index}.5", "出勤率": "96.5", "备注": "",
        **changes,
    }  # fmt: skip


_WHO = {"年度": "2016", "县代码": "640422"}


def _student(index: int) -> Row:
    """The columns that say which pupil a row is about."""
    number = id_number(index)
    return {"学籍号": f"G{number}", "姓名": "马小康", "证件类型": "居民身份证", "证件号码": number}


def recognition(index: int = 1) -> Row:
    """One pupil recognized as poor."""
    return {
        **_WHO, "学期": "秋季", "学校标识码": SCHOOL, "学段": "小学", **_student(index), "困难类型": "建档立卡",
        "困难等级": "困难", "认定日期": "2016-09-20", "认定依据": "村委会证明", "申请勤工助学": "否",
    }  # fmt: skip


def aid(index: int = 1) -> Row:
    """One payment of aid."""
    return {
        **_WHO, "学期": "秋季", "发放编号": f"FF{index:05d}", "批次号": "P01", "学校标识码": SCHOOL, **_student(index),
        "资助项目代码": "OR02P", "发放方式": "打卡", "资助标准": "500", "实发金额": "500", "发放日期": "2016-11-20",
        "账号": f"62284801000000{index:05d}", "持卡人证件号": id_number(index, "19800101"), "与学生关系": "父母",
        "回退标志": "否",
    }  # fmt: skip


def meals(index: int = 1) -> Row:
    """One school and month of the nutrition plan."""
    return {
        "年度": "2016", "月份": index % 12 + 1, "县代码": "640422", "学校标识码": f"21640001{23 + index // 12:02d}",
        "在校人数": 100, "受益人数": 99, "就餐天数": 20, "就餐人次": 1980, "标准": "4", "拨付": "8000", "支出": "7920",
        "结余": "-80.5",
    }  # fmt: skip


def loan(index: int = 1) -> Row:
    """One application for a loan."""
    return {
        **_WHO, "合同号": f"HT{index:05d}", "借款人": "马小康", "证件号码": id_number(index, "19980315"),
        "院校代码": "10749", "院校": "宁夏大学", "区内院校": "是", "层次": "本科", "申请日期": "2016-08-01",
        "审批结果": "已批准", "金额": "6000", "建档立卡": "是",
    }  # fmt: skip


def money(index: int = 1) -> Row:
    """One entry of the ledger of funds."""
    return {
        "预算年度": "2016", "凭证号": f"JZ{index:05d}", "文号": "宁财教〔2016〕12号", "资金名称": "学费",
        "资金项目": "学费收入", "学段": "普通高中", "资助项目代码": "EN06", "来源级次": "县", "收支类型": "收入",
        "县代码": "640422", "收款学校标识码": SCHOOL, "补助类别": "", "学生数": 1, "金额": "400",
        "日期": "2016-09-05", "缴费学生学籍号": f"G{id_number(index)}",
    }  # fmt: skip


def document(index: int = 1) -> Row:
    """One policy document."""
    return {
        "年度": "2016", "文件编号": f"ZC{index:05d}", "文号": "宁教〔2016〕12号", "标题": "资助办法", "发文级次": "县",
        "发文地区划代码": "640422", "文件类型": "资助政策", "学段": "普通高中", "资助项目代码": "EN07",
        "发文日期": "2016-03-01", "施行日期": "2016-09-01", "失效日期": "",
    }  # fmt: skip


def dropout(index: int = 1) -> Row:
    """One child out of school."""
    return {
        **_WHO, "编号": f"KC{index:05d}", **_student(index), "性别": "男", "出生日期": "2008-03-15",
        "原学校标识码": SCHOOL, "原年级": "三年级", "发现日期": "2016-03-01", "核实日期": "2016-03-05",
        "辍学原因": "厌学", "劝返日期": "2016-03-20", "劝返次数": 2, "复学日期": "2016-04-01",
        "销号日期": "2016-04-02", "销号方式": "复学", "送教次数": 0,
    }  # fmt: skip


def care(index: int = 1) -> Row:
    """One file of a left-behind child."""
    return {
        **_WHO, "学期": "秋季", "学校标识码": SCHOOL, **_student(index), "档案号": f"GA{index:05d}", "儿童类别": "留守",
        "监护情况": "祖父母", "建档日期": "2016-09-10", "销档日期": "", "走访次数": 2, "活动次数": 1, "申请寄宿": "是",
        "安排寄宿": "否", "接受康复": "否",
    }  # fmt: skip


def insurance(index: int = 1) -> Row:
    """One school under a policy."""
    return {
        **_WHO, "保单号": f"BD{index:05d}", "学校标识码": SCHOOL, "保险机构": "人保财险", "无过失责任": "是",
        "起期": "2016-09-01", "止期": "2017-08-31", "投保人数": 120, "保费": "600",
    }  # fmt: skip


def lead(index: int = 1) -> Row:
    """One lead looked into."""
    return {
        **_WHO, "规则编号": "I01", "线索编号": f"{index:016X}", "证据码": "00000000000000AB", "核查结论": "属实",
        "说明": "已追回", "核查日期": "2016-12-01", "处理日期": "2016-12-20", "追回金额": "500",
    }  # fmt: skip


def match(index: int = 1) -> Row:
    """One match looked into."""
    return {
        **_WHO, "比对编号": f"{index:016X}", "比对结论": "同一人", "说明": "村委会核实", "核查日期": "2016-12-01",
    }  # fmt: skip


def golden(feed: str, rows: int = 24) -> list[Row]:
    """The golden rows of a feed."""
    makers: dict[str, Callable[[int], Row]] = {
        "admin_area": lambda i: area(VILLAGE[:-2] + f"{i:02d}"),
        "area_succession": lambda i: {
            "原区划代码": f"6404222{i:02d}",
            "新区划代码": f"6404223{i:02d}",
            "变更类型": "更名",
            "变更日期": "2015-05-01",
        },
        "school": lambda i: school(f"21640001{22 + i:02d}"),
        "enrollment_count": lambda i: count(i - 1),
        "pupil": pupil,
        "student_event": event,
        "poor_household": household,
        "poor_person": person,
        "poor_village": village,
        "population_age": lambda i: population(i),
        "disabled_child": disabled,
        "aid_recognition": recognition,
        "aid_payment": aid,
        "nutrition_month": meals,
        "student_loan": loan,
        "fund_ledger": money,
        "policy_document": document,
        "dropout_case": dropout,
        "care_record": care,
        "liability_insurance": insurance,
        "integrity_review": lead,
        "match_review": match,
        "tried_grant": payment,
    }
    made = makers[feed]
    return [made(index) for index in range(1, rows + 1)]


@dataclass(frozen=True)
class Place:
    """Where a row broke which rule."""

    line: int
    column: str
    rule: str


class Night:
    """An extract root and an empty warehouse, with assertions about what became of files."""

    def __init__(self, root: Path, contracts: dict[str, Contract], config: WarehouseConfig) -> None:
        self.root = root
        self.contracts = contracts
        self.config = config

    # what arrives

    def raw(self, name: str, content: bytes) -> str:
        """A file of any bytes; returns its name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    def csv(
        self, feed: str, rows: Sequence[Row], name: str | None = None, *, encoding: str = "utf-8", end: str = "\r\n"
    ) -> str:
        """A csv file; returns its name."""
        return self.raw(name or NAMES[feed], csv_text(rows, end=end).encode(encoding))

    def text(self, feed: str, text: str, name: str | None = None, *, encoding: str = "utf-8") -> str:
        """A csv file of that very text."""
        return self.raw(name or NAMES[feed], text.encode(encoding))

    # what becomes of it

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query as role ingest."""
        with connect("ingest", self.config) as conn:
            return conn.execute(query, values).fetchall()

    def load(self, feed: str) -> FeedReport:
        """Load what lies there for a feed, and check what must hold whatever arrived."""
        report = ingest.load_feed(feed, self.root, self.contracts, self.config)
        json.dumps(report.to_json(), ensure_ascii=False)
        self.check_identity()
        return report

    def last(self, feed: str) -> LoadReport:
        """Load a feed; the report of its last file."""
        return self.load(feed).files[-1]

    def check_identity(self) -> None:
        """Every row of every file landed, unchanged, quarantined or a duplicate, in the ledger and in the tables."""
        versions = " union all ".join(
            f"select '{feed}' as feed, load_id, ended_load_id from landing.{feed}" for feed in self.contracts
        )
        landed = dict(self.sql(f"select load_id, count(*) from ({versions}) v group by 1"))
        ended = dict(self.sql(f"select ended_load_id, count(*) from ({versions}) v group by 1"))
        strangers = self.sql(f"select 1 from ({versions}) v join ledger.load l using (load_id) where l.feed <> v.feed")
        assert strangers == []
        quarantined = dict(
            self.sql(
                "select load_id, count(distinct (coalesce(sheet, ''), line_number)) from quarantine.rejected_row"
                " group by 1"
            )
        )
        for load_id, rows_in, came, same, bad, twice, gone, status in self.sql(
            "select load_id, rows_in, rows_landed, rows_unchanged, rows_quarantined, rows_exact_duplicate,"
            " rows_ended, status from ledger.load"
        ):
            assert rows_in == came + same + bad + twice
            assert landed.get(load_id, 0) == came
            assert quarantined.get(load_id, 0) == bad
            assert ended.get(load_id, 0) == gone
            assert status != "rejected" or rows_in == 0

    def rejected(
        self,
        feed: str,
        rule: str,
        *,
        en: str = "",
        zh: str = "",
        line: int | None = None,
        column: str | None = None,
        sheet: str | None = None,
        file: str | None = None,
    ) -> LoadReport:
        """The last file of the feed is rejected whole, says so in both languages, and lands nothing."""
        before = self.sql(f"select count(*) from landing.{feed}")
        report = self.last(feed)
        reason = report.rejection
        assert reason is not None, report
        assert (report.status, reason.rule, reason.line, reason.column, reason.sheet) == (
            "rejected", rule, line, column, sheet,
        ), reason  # fmt: skip
        assert reason.file == report.file_name
        assert file is None or reason.file == file
        assert en in reason.message_en, reason.message_en
        assert zh in reason.message_zh, reason.message_zh
        for text in (reason.message_zh, reason.what_to_do_zh):
            assert any(ord(character) in _CHINESE for character in text)
        assert reason.what_to_do
        assert reason.message_en
        assert self.sql("select rejection from ledger.load where load_id = %s", report.load_id) == [(reason.to_json(),)]
        assert self.sql(f"select count(*) from landing.{feed}") == before
        return report

    def quarantined(self, feed: str, rows: int, *places: Place, shown: str | None = None) -> LoadReport:
        """Exactly these places are quarantined, each explained in both languages; the other rows land."""
        report = self.last(feed)
        assert report.rejection is None, report.rejection
        entries = self.sql(
            "select line_number, column_name, rule, column_header, masked_value, message_en, message_zh, file_name"
            " from quarantine.rejected_row where load_id = %s order by 1, 2, 3",
            report.load_id,
        )
        assert {Place(*entry[:3]) for entry in entries} == set(places), report
        assert report.rows_in == rows
        assert report.rows_quarantined == len({place.line for place in places})
        for _, column, _, header, value, english, chinese, file in entries:
            assert file == report.file_name
            assert any(ord(character) in _CHINESE for character in chinese)
            assert ";" in english
            if column != "*":
                assert header in chinese
                assert column in english
            if shown is not None:
                assert value == shown
        return report

    def accepted(
        self,
        feed: str,
        rows: int,
        *,
        steps: dict[str, int] | None = None,
        skipped: int | None = None,
        warning: str = "",
    ) -> LoadReport:
        """All rows land (or are known), nothing is quarantined; what was changed is counted."""
        report = self.last(feed)
        assert report.rejection is None, report.rejection
        assert (report.rows_in, report.rows_quarantined) == (rows, 0), report
        for step, amount in (steps or {}).items():
            assert report.normalizations.get(step) == amount, report.normalizations
        assert skipped is None or report.rows_skipped == skipped
        assert not warning or any(warning in text for text in report.warnings), report.warnings
        return report

    def asked(self, rule: str, year: int = 2016) -> tuple[str, set[tuple[str, str]]]:
        """What a rule of the arrival gate's own suites says: severity, and the places (county, period) it blames."""
        _, suites = load_suites("arrival", facts(year, None))
        ((suite, expectation),) = [(s, e) for s in suites for e in s.expectations if e.id == rule]
        conn = open_snapshot("gatekeeper", self.config)
        try:
            cells = failing_cells(conn, suite, expectation)
        finally:
            conn.release()
        assert not any("unknown" in (cell.observed or "") for cell in cells), cells
        return expectation.severity, {(c.place, c.time) for c in cells if c.place != EVERYWHERE}

    def with_column(self, feed: str, name: str, **settings: Any) -> None:
        """Give a column of a feed's contract other settings."""
        contract = self.contracts[feed]
        columns = tuple(replace(column, **settings) if column.name == name else column for column in contract.columns)
        self.contracts = {**self.contracts, feed: replace(contract, columns=columns)}

    def changed(self, feed: str, **settings: Any) -> None:
        """Give a feed's contract other custom settings (encodings, arrival, manifest)."""
        contract = self.contracts[feed]
        self.contracts = {**self.contracts, feed: replace(contract, custom={**contract.custom, **settings})}
