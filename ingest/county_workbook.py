"""A county's own file back as a workbook, with its wrong rows marked and the reasons in Chinese.

It is made from the county's file, not from the quarantine, which holds masked values only. So it holds personal
values: it is written for its owner only (mode 0600), never below the extracts, and sent back to nobody but the county.
Corrected and renamed it can be delivered as it is: the two columns in front are ignored when it is loaded.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import xlsxwriter

from ingest.contract import Contract
from ingest.load import open_table
from ingest.names import base_name, parse_name
from ingest.pipeline import CompiledContract
from ingest.problems import FileRejectedError
from ingest.profile import header_texts
from ingest.quarantine import OpenFile, QuarantineError, as_loaded
from ingest.sources import Intake
from ingest.tables import LINE, Table
from ingest.values import NUMERIC_CELL

Connection = psycopg.Connection[tuple[object, ...]]

#: rows of a sheet, without title and header
MAX_ROWS = 1_048_576 - 3
MAX_CELL = 32_767
_MARKS = ("原文件行号", "需要修改的问题")
_PREFIX = "退回_"
_TITLE = (
    "退回修改：{file}。共{total}行，其中{wrong}行有问题（黄色为问题行，红色为问题单元格，原因见“需要修改的问题”列）。"
)
_ADVICE = "请直接在本表修改，改好后按“{example}”的名称保存（日期用修改当日），放回原目录重新报送。前两列删不删都可以。"
_ONLY_WRONG = "行数过多，本表只列出有问题的行：请在原文件中修改。"


@dataclass(frozen=True)
class Workbook:
    """What was written. ``rows_marked`` counts rows with at least one open entry."""

    path: Path
    file_name: str
    rows: int
    rows_marked: int


@dataclass(frozen=True)
class _Mark:
    column: str
    message: str


def _marks(conn: Connection, load_id: int) -> dict[int, list[_Mark]]:
    """Line -> what is wrong with it, of the open entries of a load."""
    marks: dict[int, list[_Mark]] = defaultdict(list)
    for line, column, message in conn.execute(
        "select line_number, column_name, message_zh from quarantine.entry where load_id = %s and is_open"
        " order by line_number, rejected_row_id",
        (load_id,),
    ).fetchall():
        marks[int(str(line))].append(_Mark(str(column), str(message)))
    return dict(marks)


def _rows(table: Table, compiled: CompiledContract) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of every data row in the order of the file; blank rows, totals and footers are left out."""
    for batch in table.batches:
        lines = batch.frame[LINE].to_list()
        cells = batch.frame.drop(LINE).iter_rows()
        rows = [
            (line, [(cell or "").removeprefix(NUMERIC_CELL) for cell in row])
            for line, row in zip(lines, cells, strict=True)
        ]
        rows += [(problem.line, problem.text.split("\n")) for problem in batch.width_problems]
        for line, row in sorted(rows, key=lambda item: item[0]):
            text = "\n".join(row)
            if text.strip() and not compiled.is_skipped(text):
                yield line, row


def workbook_name(file_name: str) -> str:
    """Name of the workbook for a file; no contract's stem fits it, so it is never loaded by mistake."""
    return f"{_PREFIX}{Path(base_name(file_name)).stem}.xlsx"


def require_outside(folder: Path, root: Path) -> None:
    """Make sure that workbooks are not written where files are loaded from.

    Raises:
        QuarantineError: the folder lies below the root.
    """
    if folder.resolve().is_relative_to(root.resolve()):
        raise QuarantineError(f"{folder} lies below {root}: name another folder, what lies there is loaded")


def _new_name(file_name: str, contract: Contract) -> str:
    """The name under which the corrected workbook is to be sent: the old one with another extract date."""
    base = base_name(file_name)
    found = contract.file_pattern.match(base)
    begin = found.start("extract_date") if found else len(base)
    return f"{base[:begin]}年月日8位.xlsx"


def export(conn: Connection, contract: Contract, root: Path | Intake, file: OpenFile, folder: Path) -> Workbook:
    """Write the workbook for one file with open entries.

    Args:
        conn: as ingest, the only role that handles what counties send.
        contract: of the file's feed.
        root: folder below which the file lies, or an intake that knows the feed's source.
        file: the file as it was loaded.
        folder: where to write; made for its owner only if it is missing.

    Returns:
        Path and counts.

    Raises:
        QuarantineError: the file is gone, changed or unreadable, or the folder lies below the extracts.
    """
    require_outside(folder, root.root if isinstance(root, Intake) else root)
    marks = _marks(conn, file.load_id)
    with as_loaded(root, file) as source:
        try:
            facts = parse_name(file.file_name, contract).facts
            table = open_table(source, contract, str(facts["format"]))
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return _write(folder / workbook_name(file.file_name), table, contract, file.file_name, marks)
        except FileRejectedError as error:
            raise QuarantineError(
                f"{file.file_name} cannot be read under the contract as it is now:"
                f" {error.rejection(file.file_name).message_en}"
            ) from None


def _write(path: Path, table: Table, contract: Contract, file_name: str, marks: dict[int, list[_Mark]]) -> Workbook:
    compiled = CompiledContract(contract)
    rows = list(_rows(table, compiled))
    total = len(rows)
    is_cut = total > MAX_ROWS
    if is_cut:
        rows = [row for row in rows if row[0] in marks][:MAX_ROWS]
    headers = header_texts(table)
    position = {name: index for index, name in enumerate(table.header.columns)}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(descriptor)
    path.chmod(0o600)
    # every cell is a string with a quote prefix: an ID keeps its digits, and what looks like a formula is none
    text = {"quote_prefix": True, "num_format": "@", "font_name": "宋体", "font_size": 10}
    with xlsxwriter.Workbook(
        str(path), {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    ) as book:
        sheet = book.add_worksheet("退回修改")
        plain = book.add_format(text)
        title = book.add_format({**text, "bold": True, "font_size": 12})
        head = book.add_format({**text, "bold": True, "bg_color": "#DDEBF7", "border": 1})
        wrong_row = book.add_format({**text, "bg_color": "#FFF2CC"})
        wrong_cell = book.add_format({**text, "bg_color": "#F8CBAD", "bold": True, "border": 2, "border_color": "red"})
        wrapped = book.add_format({**text, "bg_color": "#FFF2CC", "text_wrap": True, "font_color": "#C00000"})
        marked = {line for line, _ in rows} & set(marks)
        sheet.write_string(0, 0, _TITLE.format(file=base_name(file_name), total=total, wrong=len(marks)), title)
        example = _new_name(file_name, contract)
        sheet.write_string(1, 0, _ONLY_WRONG if is_cut else _ADVICE.format(example=example), plain)
        for column, header in enumerate([*_MARKS, *headers]):
            sheet.write_string(2, column, header[:MAX_CELL], head)
        offset = len(_MARKS)
        for at, (line, cells) in enumerate(rows, 3):
            problems = marks.get(line, [])
            base = wrong_row if problems else plain
            sheet.write_string(at, 0, str(line), base)
            if problems:
                messages = [problem.message for problem in problems]
                numbered = (
                    messages if len(messages) == 1 else [f"{number}. {one}" for number, one in enumerate(messages, 1)]
                )
                sheet.write_string(at, 1, "\n".join(numbered)[:MAX_CELL], wrapped)
            blamed = {position[problem.column] for problem in problems if problem.column in position}
            for column, cell in enumerate(cells):
                style = wrong_cell if column in blamed else base
                if cell:
                    sheet.write_string(at, offset + column, cell[:MAX_CELL], style)
                elif problems:
                    sheet.write_blank(at, offset + column, None, style)
        sheet.freeze_panes(3, offset)
        sheet.set_column(0, 0, 10)
        sheet.set_column(1, 1, 48)
        for column, header in enumerate(headers, offset):
            longest = max(
                (len(cells[column - offset]) for _, cells in rows[:200] if column - offset < len(cells)), default=0
            )
            sheet.set_column(column, column, min(30, max(2 * len(header), longest) + 2))
        if rows:
            sheet.autofilter(2, 0, 2 + len(rows), offset + len(headers) - 1)
    return Workbook(path, file_name, len(rows), len(marked))
