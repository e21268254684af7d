"""Worklists: the cases of one county as a spreadsheet, read while logged in as that county, and noted in the ledger.

The county role sees rows of its own county only, and names only through the views of restricted ledgers; so whatever
this module asks for, the server hands out no other county's row. What a county looks into comes back as a feed: such a
sheet has the contract's columns, and only one sheet with cells (the note is a text box), so that it loads as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import xlsxwriter
from psycopg.rows import dict_row

from ingest.codelists import CodeList
from ingest.contract import Contract, known_code_lists, load_contracts
from warehouse.canonical import Connection
from warehouse.config import WarehouseConfig
from warehouse.login import connect_as, own_login
from warehouse.restricted import county_role

MAX_CASES = 1_048_575
_MAX_CELL = 32_767
_ID_NUMBER = re.compile(r"[1-9]\d{16}[\dX]")
_SEMESTER = re.compile(r"(\d{4})-(spring|autumn)")

Row = dict[str, Any]
Value = str | int | Decimal | None


class WorklistError(RuntimeError):
    """A worklist is refused; the message says why and what to do. No file was written."""


@dataclass(frozen=True)
class Taken:
    """What was handed out."""

    path: Path
    cases: int
    login: str
    file_sha256: str


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


def _who(row: Row) -> dict[str, Value]:
    """Who it is: a short code of the token always, name and ID number where they were asked for."""
    number = str(row.get("identifier") or "")
    return {
        "人员代号": str(row["person_token"] or "")[:12],
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
        due = sum((row["standard_yuan"] for row in semesters), Decimal(0))
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
                "首次发放日期": row["first_paid_date"].isoformat() if row["first_paid_date"] else "",
                "应发（元）": row["standard_yuan"],
                "实发（元）": row["paid_yuan"],
                "涉及金额（元）": over,
                **_school(row, place),
                "怎么办": todo,
            }
        )
    return cases


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
}  # fmt: skip


# --- the file -----------------------------------------------------------------------------------------------------


def _note(kind: Kind, county: str, login: str, cases: int, now: datetime, file_name: str | None) -> str:
    lines = [
        f"{kind.title} · {county}",
        f"共{cases}件，{now:%Y-%m-%d %H:%M}由{login}领取；领取已登记。 {cases} cases; who took them is on record.",
        "",
        *kind.note,
        "",
    ]
    if file_name:
        lines += [
            "黄色列请填写，其余列不要改动；没有核查完的行留空即可。",
            f"填好后按“{file_name}”的名称保存（日期为报送当日），随其他数据一起报送。",
            "同一年度再次报送时，以前填过的行要一并保留：新文件替代旧文件。",
            f"Fill in the yellow columns, save as {file_name} and send it with the other data.",
            "A file of the same year replaces the one before it: keep the rows that were filled in.",
        ]
    else:
        lines += [
            "黄色列供本县登记办理情况，不需报送。",
            "The yellow columns are for the county's own notes and are not sent.",
        ]
    lines += ["", "内含个人信息，只供本县办理使用，用后删除。 Holds personal data: for the county's own work only."]
    return "\n".join(lines)


def _widths(header: str, values: Sequence[Value]) -> float:
    longest = max((len(str(value)) for value in values[:200] if value is not None), default=0)
    return float(min(44, max(2 * len(header) + 3, 1.6 * longest + 2)))


def _fill_ins(kind: Kind, place: Place) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Headers to fill in, and for some of them the words to choose from."""
    if place.contract is None:
        return kind.fill_in, {}
    choices: dict[str, list[str]] = {}
    for column in place.contract.columns:
        if column.header not in kind.fill_in:
            continue
        if column.code_list is not None:
            choices[column.header] = [entry["label"] for entry in column.code_list.entries.values()]
        elif column.words:
            choices[column.header] = sorted(column.words)
    return kind.fill_in, choices


def _write(
    path: Path, kind: Kind, cases: Sequence[Mapping[str, Value]], place: Place, note: str, *, with_names: bool
) -> None:
    """Write the workbook: a note without cells, then the list; every text is a string, whatever it begins with."""
    fill_in, choices = _fill_ins(kind, place)
    who = ("姓名", "证件号码", "人员代号") if with_names else ("人员代号",)
    headers = ["序号", *who, *(header for header in kind.headers if header not in fill_in), *fill_in]
    text = {"num_format": "@", "font_name": "宋体", "font_size": 10, "valign": "top"}
    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        # a quote prefix: what looks like a formula is none, also after the cell was edited
        plain = book.add_format({**text, "quote_prefix": True})
        wrapped = book.add_format({**text, "quote_prefix": True, "text_wrap": True})
        money = book.add_format({**text, "num_format": "#,##0.00"})
        head = book.add_format({**text, "bold": True, "bg_color": "#DDEBF7", "border": 1, "text_wrap": True})
        own_head = book.add_format({**text, "bold": True, "bg_color": "#FFE699", "border": 1, "text_wrap": True})
        own = book.add_format({**text, "bg_color": "#FFF9E5", "border": 1, "border_color": "#D9D9D9"})
        about = book.add_worksheet("说明")
        about.hide_gridlines(2)
        about.insert_textbox(
            1,
            1,
            note,
            {"width": 820, "height": 420, "font": {"name": "宋体", "size": 12}, "line": {"color": "#9DC3E6"}},
        )
        sheet = book.add_worksheet(kind.title)
        for at, header in enumerate(headers):
            sheet.write_string(0, at, header, own_head if header in fill_in else head)
            values: list[Value] = [case.get(header) for case in cases]
            sheet.set_column(at, at, 6 if header == "序号" else _widths(header, values))
        for line, case in enumerate(cases, 1):
            for at, header in enumerate(headers):
                value: Value = line if header == "序号" else case.get(header)
                if header in fill_in:
                    sheet.write_string(line, at, "" if value is None else str(value), own)
                elif isinstance(value, Decimal):
                    sheet.write_number(line, at, float(value), money)
                elif isinstance(value, int) and header in ("序号", "学期数"):
                    sheet.write_number(line, at, value)
                else:
                    style = wrapped if header in ("问题", "怎么办") else plain
                    sheet.write_string(line, at, ("" if value is None else str(value))[:_MAX_CELL], style)
        for header, words in choices.items():
            at = headers.index(header)
            sheet.data_validation(
                1, at, max(1, len(cases)), at,
                {"validate": "list", "source": words, "error_title": "请选择", "error_message": "请从下拉列表中选择"},
            )  # fmt: skip
        sheet.freeze_panes(1, 1 + len(who))
        sheet.autofilter(0, 0, max(1, len(cases)), len(headers) - 1)
        sheet.set_landscape()
        sheet.repeat_rows(0)
        sheet.fit_to_pages(1, 0)


def _return_name(contract: Contract, county: str, county_name: str, year: int) -> str:
    """Name under which a filled-in list is to be sent, but for the date."""
    example = str(contract.custom["fileName"]["example"])
    stem = example.partition("_")[0]
    return f"{stem}_{county}_{county_name}_{year}_年月日8位.xlsx"


# --- taking one ---------------------------------------------------------------------------------------------------


def _login_of(login: str | None, config: WarehouseConfig) -> str:
    named = county_role(login.removeprefix("edupa_county_")) if login else own_login(config)
    if named is None:
        raise WorklistError(
            "a worklist is written as a county's own login: name it with --login (`edupa access list` names those"
            " that are, `edupa access add-county` makes one)"
        )
    return named


def _readable_counties(conn: Connection, relation: str, login: str) -> list[str]:
    """Counties that the login sees; the server says so, and notes that it was asked."""
    try:
        row = conn.execute("select access.reader_counties(%s)", (f"restricted.{relation}",)).fetchone()
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise WorklistError(f"{str(error).splitlines()[0]}; `edupa watchdog once` proves it") from None
    except psycopg.errors.InsufficientPrivilege:
        raise WorklistError(
            f"{login} belongs to no county today: `edupa access list` names the logins of counties"
        ) from None
    return list(row[0]) if row and isinstance(row[0], list) else []


def take(
    config: WarehouseConfig,
    kind_name: str,
    county: str,
    out: Path,
    *,
    login: str | None = None,
    with_names: bool = True,
    extracts: Path | None = None,
    now: datetime | None = None,
) -> Taken:
    """Write a county's worklist, and note in the ledger who took it before the file is there.

    Args:
        config: the warehouse.
        kind_name: one of KINDS.
        county: six digits.
        out: file to write; must not exist, and must not lie where extracts are loaded from.
        login: of the county, e.g. ``xiji``; None: the user of EDUPA_WAREHOUSE_URL.
        with_names: names and ID numbers, by the county's right to see them.
        extracts: folder of the extracts.
        now: time of taking; default: now, in Chinese time.

    Returns:
        Path, number of cases, login, hash of the file.

    Raises:
        WorklistError: unknown kind or county, a county that the login does not see, a file that is there already.
    """
    if kind_name not in KINDS:
        raise WorklistError(f"there is no worklist {kind_name!r}: one of {', '.join(KINDS)}")
    kind = KINDS[kind_name]
    lists = known_code_lists()
    if county not in lists["counties"].entries:
        raise WorklistError(f"{county!r} is no code of a county: six digits, e.g. 640422")
    _refuse_place(out, extracts)
    who = _login_of(login, config)
    now = now or datetime.now(ZoneInfo("Asia/Shanghai"))
    contract = load_contracts()[kind.feed] if kind.feed else None
    with connect_as(who, config) as conn:
        seen = _readable_counties(conn, kind.relation, who)
        if county not in seen:
            raise WorklistError(
                f"{who} sees {', '.join(seen)}, not {county}: its worklist is for a login of that county only"
            )
        relation = f"restricted.{kind.relation}" + ("_named" if with_names else "")
        with conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(kind.query.format(relation=relation).encode(), (county,)).fetchall()
        place = Place(lists, now.year, contract)
        cases = kind.cases(rows, place)
        if len(cases) > MAX_CASES:
            raise WorklistError(f"{len(cases)} cases do not fit into one sheet; at most {MAX_CASES}")
        county_name = place.label("counties", county)
        file_name = _return_name(contract, county, county_name, now.year) if contract else None
        note = _note(kind, f"{county_name} {county}", who, len(cases), now, file_name)
        out.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp: for its owner only
        descriptor, made = tempfile.mkstemp(dir=out.parent, prefix=".worklist-", suffix=".xlsx")
        os.close(descriptor)
        path = Path(made)
        try:
            _write(path, kind, cases, place, note, with_names=with_names)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            conn.execute(
                "insert into ledger.worklist (county_code, kind, with_names, row_count, file_sha256)"
                " values (%s, %s, %s, %s, %s)",
                (county, kind_name, with_names, len(cases), digest),
            )
            conn.commit()
            path.replace(out)
        finally:
            path.unlink(missing_ok=True)
    return Taken(out, len(cases), who, digest)


def _refuse_place(out: Path, extracts: Path | None) -> None:
    if out.suffix.lower() != ".xlsx":
        raise WorklistError(f"{out.name} is no name of a workbook: it must end in .xlsx")
    if out.exists():
        raise WorklistError(f"{out} is there already, and may have been filled in: choose another name")
    if extracts is not None and out.resolve().is_relative_to(extracts.resolve()):
        raise WorklistError(f"{out} lies below {extracts}: choose another folder, what lies there is loaded")
