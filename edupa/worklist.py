"""Worklists: the cases of one county as a spreadsheet, read while logged in as that county, and noted in the ledger.

The county role sees rows of its own county only, and names only through the views of restricted ledgers; so whatever
this module asks for, the server hands out no other county's row. What a county looks into comes back as a feed: such a
sheet has the contract's columns, and only one sheet with cells (the note is a text box), so that it loads as it is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import xlsxwriter
from psycopg.rows import dict_row

from edupa.worklist_kinds import KINDS, Kind, Place, Value
from ingest.codelists import CodeList
from ingest.contract import SUFFIX, Contract, contract_folders, known_code_lists, parse_contract
from warehouse import clock
from warehouse.canonical import Connection
from warehouse.config import WarehouseConfig
from warehouse.login import connect_as, own_login
from warehouse.restricted import county_role

MAX_CASES = 1_048_575
_MAX_CELL = 32_767


class WorklistError(RuntimeError):
    """A worklist is refused; the message says why and what to do. No file was written."""


@dataclass(frozen=True)
class Taken:
    """What was handed out."""

    path: Path
    cases: int
    login: str
    file_sha256: str


_WRAPPED = ("问题", "怎么办", "比对依据")


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
            "一份文件只更新其中列出的线索，以前报送的结论继续有效。",
            f"Fill in the yellow columns, save as {file_name} and send it with the other data.",
            "A file speaks for the cases it lists; answers sent before stay in force.",
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
        number = book.add_format({**text, "num_format": "0"})
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
                if value in (None, ""):
                    sheet.write_blank(line, at, None, own if header in fill_in else plain)
                elif header in fill_in:
                    sheet.write_string(line, at, str(value), own)
                elif isinstance(value, Decimal):
                    sheet.write_number(line, at, float(value), money)
                elif isinstance(value, int):
                    sheet.write_number(line, at, value, number)
                else:
                    style = wrapped if header in _WRAPPED else plain
                    sheet.write_string(line, at, str(value)[:_MAX_CELL], style)
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


def _contract_of(feed: str, lists: dict[str, CodeList]) -> Contract:
    """The contract under which a list comes back; the others are not read."""
    paths = [folder / f"{feed}{SUFFIX}" for folder in contract_folders()]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise WorklistError(f"no contract {feed}{SUFFIX} in {', '.join(map(str, contract_folders()))}")
    return parse_contract(found, lists)


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
    now = now or clock.now()
    contract = _contract_of(kind.feed, lists) if kind.feed else None
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
