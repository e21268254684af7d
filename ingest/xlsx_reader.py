"""Read xlsx and old xls with typed cells.

A number in a column of ID numbers has lost digits before we see it, and every reader that returns text returns a
plausible wrong ID. So cells keep their type until the contract has said what the column is: a numeric cell in a
column of long numbers or dates carries the mark values.NUMERIC_CELL.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from ingest.contract import Contract
from ingest.problems import FileRejectedError
from ingest.tables import LINE, Batch, HeaderMatch, Table, WidthProblem, find_header
from ingest.values import NUMERIC_CELL

BATCH_ROWS = 50_000
MAX_CELLS = 100_000_000
MAX_UNPACKED_BYTES = 2 * 1024**3
MAX_RATIO = 300

_DATE_1904 = re.compile(rb"date1904\s*=\s*[\"'](1|true)[\"']")
#: a formula whose result was never stored: <f>…</f> or <f/> directly followed by the end of the cell
_UNCACHED = re.compile(rb"<c r=\"([A-Z]+\d+)\"[^>]*>\s*<f[^>]*?(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")


#: up to so many cells a sheet may be as empty as it likes
SMALL_SHEET_CELLS = 5_000_000
#: a larger one must hold a value in one of so many cells
EMPTIEST = 40
MAX_ROW = 1_048_576
_FAR_COLUMN = re.compile(rb"<(?:\w+:)?c\b[^>]*?\br=\"([A-Z]{3,}\d+)\"[^>]*(?<!/)>")
_ROW_NUMBER = re.compile(rb"<(?:\w+:)?row\b[^>]*?\br=\"(\d+)\"")
_CELL_NUMBER = re.compile(rb"\br=\"[A-Z]+(\d{8,})\"")


def _refuse_far_cells(content: bytes) -> None:
    """Refuse a sheet of which a stray cell far out would take all the memory there is, and the process with it.

    The reader lays a sheet out as a full grid; one value in the last cell of an empty sheet asks for half a terabyte.

    Raises:
        FileRejectedError: file.damaged naming the place.
    """

    def far(place: str, line: int | None) -> FileRejectedError:
        return FileRejectedError(
            "file.damaged",
            f"a cell lies far outside the table: {place}; delete it and save the file",
            detail_zh=f"表格之外有多余的单元格{place}，请删除后重新保存",
            line=line,
        )

    if b'r="' in content and re.search(rb'r="[A-Z]{3}', content) and (found := _FAR_COLUMN.search(content)):
        place = found[1].decode()
        raise far(place, int(re.sub(r"\D", "", place)))
    if found := _CELL_NUMBER.search(content):
        raise far(f"row {found[1].decode()[:20]}", None)
    rows = max(map(int, _ROW_NUMBER.findall(content)), default=0)
    wide = 702 if re.search(rb'r="[B-Z][A-Z]\d', content) else 52 if re.search(rb'r="A[A-Z]\d', content) else 26
    filled = max(1, content.count(b":c ") + content.count(b"<c ") + content.count(b"<c>"))
    if rows > MAX_ROW or (rows * wide > SMALL_SHEET_CELLS and rows * wide > EMPTIEST * filled):
        raise far(f"row {rows}", rows if rows <= MAX_ROW else None)


#: run in a process of its own: reads every sheet of a workbook and says nothing
_TRIAL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from python_calamine import CalamineWorkbook
workbook = CalamineWorkbook.from_path(sys.argv[1])
for name in workbook.sheet_names:
    workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
"""
_TRIAL_SECONDS = 120


def _try_elsewhere(path: Path) -> None:
    """Read an old workbook in another process first: a damaged one can make the reader abort, and us with it.

    Raises:
        FileRejectedError: file.damaged.
    """
    try:
        subprocess.run(
            [sys.executable, "-I", "-c", _TRIAL, str(path)],
            check=True,
            timeout=_TRIAL_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise FileRejectedError("file.damaged", "the workbook cannot be read", detail_zh="工作簿无法读取") from None


def _inspect_package(path: Path) -> None:
    """Refuse a damaged or oversized package, the 1904 date system, and formulas without a stored result.

    Raises:
        FileRejectedError: file.damaged.
    """
    try:
        with zipfile.ZipFile(path) as package:
            entries = package.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            packed = max(1, sum(entry.compress_size for entry in entries))
            if unpacked > MAX_UNPACKED_BYTES or (unpacked > 50 * 1024**2 and unpacked / packed > MAX_RATIO):
                raise FileRejectedError("file.zip_unsafe", "it unpacks to an unreasonable size", detail_zh="解压后过大")
            names = {entry.filename for entry in entries}
            if "xl/workbook.xml" not in names:
                raise FileRejectedError("file.damaged", "no xlsx workbook inside", detail_zh="不是xlsx工作簿")
            if _DATE_1904.search(package.read("xl/workbook.xml")):
                raise FileRejectedError(
                    "file.damaged", "its dates count from 1904", detail_zh="使用1904日期系统，日期不可靠"
                )
            for name in sorted(names):
                if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                    content = package.read(name)
                    _refuse_far_cells(content)
                    if b"<f" in content and (found := _UNCACHED.search(content)):
                        raise FileRejectedError(
                            "file.damaged",
                            f"formula in cell {found[1].decode()} has no stored result; open and save the file",
                            detail_zh=f"单元格{found[1].decode()}的公式没有计算结果，请打开后重新保存",
                            line=int(re.sub(rb"\D", b"", found[1])),
                        )
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise FileRejectedError(
            "file.damaged", f"not a readable xlsx package ({type(error).__name__})", detail_zh="不是可读的xlsx文件"
        ) from None


#: start of the globals of an old workbook (BIFF8), and its records for the date system and the end
_BIFF_GLOBALS = b"\x09\x08\x10\x00\x00\x06\x05\x00"
_BIFF_DATEMODE, _BIFF_END = 0x0022, 0x000A


def _inspect_old(path: Path) -> None:
    """Refuse an old workbook whose dates count from 1904.

    Raises:
        FileRejectedError: file.damaged.
    """
    with path.open("rb") as handle:
        content = handle.read(64 * 1024**2)
    position = content.find(_BIFF_GLOBALS)
    while 0 <= position <= len(content) - 6:
        kind, length = struct.unpack_from("<HH", content, position)
        if kind == _BIFF_DATEMODE and content[position + 4] == 1:
            raise FileRejectedError(
                "file.damaged", "its dates count from 1904", detail_zh="使用1904日期系统，日期不可靠"
            )
        if kind == _BIFF_END:
            return
        position += 4 + length


def _has_data(sheet: CalamineSheet) -> bool:
    return sheet.start is not None


def _only_sheet(workbook: CalamineWorkbook) -> CalamineSheet:
    """The one sheet with data.

    Raises:
        FileRejectedError: file.sheets (several, or a hidden one), file.empty.
    """
    found: list[tuple[str, bool]] = []
    sheets: list[CalamineSheet] = []
    for meta in workbook.sheets_metadata:
        if meta.typ != SheetTypeEnum.WorkSheet:
            continue
        sheet = workbook.get_sheet_by_name(meta.name)
        if _has_data(sheet):
            found.append((meta.name, meta.visible == SheetVisibleEnum.Visible))
            sheets.append(sheet)
    if not found:
        raise FileRejectedError("file.empty")
    hidden = [name for name, visible in found if not visible]
    if len(found) > 1 or hidden:
        names = ", ".join(f"{name} (hidden)" if name in hidden else name for name, _ in found)
        names_zh = "、".join(f"{name}（隐藏）" if name in hidden else name for name, _ in found)
        raise FileRejectedError("file.sheets", names, detail_zh=names_zh, sheet=(hidden or [found[1][0]])[0])
    return sheets[0]


def _number_text(value: float) -> str:
    """A number as spreadsheets show it: whole numbers without ``.0``."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e18:
        return str(int(value))
    return repr(value)


def _cell_text(value: Any, mark_numbers: bool) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        text = _number_text(value)
        return NUMERIC_CELL + text if mark_numbers else text
    if isinstance(value, datetime):
        midnight = value.time() == time(0)
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        # calamine gives a day count below one day so; it is a number that was formatted as a duration
        return _number_text(value / timedelta(days=1))
    return None


def _fill_merged(rows: list[list[Any]], sheet: CalamineSheet, first_data: int) -> None:
    """Give every row of a vertically merged cell its value; the header's own merges are left alone."""
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or []:
        if top < first_data or bottom >= len(rows) or right != left or bottom == top:
            continue
        for row in range(top + 1, bottom + 1):
            if rows[row][left] == "":
                rows[row][left] = rows[top][left]


def _require_start(path: Path, magic: bytes, suffix: str) -> None:
    with path.open("rb") as handle:
        start = handle.read(8)
    if not start:
        raise FileRejectedError("file.empty")
    if not start.startswith(magic):
        raise FileRejectedError(
            "file.damaged",
            f"the name says {suffix} but the content is another format",
            detail_zh=f"扩展名为{suffix}，内容不是",
        )


def read_xlsx(path: Path, contract: Contract) -> Table:
    """Open an xlsx file: its one sheet with data, its header, batches of rows.

    Raises:
        FileRejectedError: file.empty, file.damaged, file.zip_unsafe, file.sheets, header.missing_column,
            header.duplicate.
    """
    _require_start(path, b"PK", "xlsx")
    _inspect_package(path)
    return _read_workbook(path, contract)


def read_xls(path: Path, contract: Contract) -> Table:
    """Open an old xls file, as read_xlsx does.

    Raises:
        FileRejectedError: as read_xlsx.
    """
    _require_start(path, b"\xd0\xcf\x11\xe0", "xls")
    _inspect_old(path)
    _try_elsewhere(path)
    return _read_workbook(path, contract)


def _read_workbook(path: Path, contract: Contract) -> Table:
    try:
        workbook = CalamineWorkbook.from_path(path)
        sheet = _only_sheet(workbook)
        if sheet.total_height * sheet.total_width > MAX_CELLS:
            raise FileRejectedError("file.damaged", "the sheet spans too many cells", detail_zh="工作表范围过大")
        rows = sheet.to_python(skip_empty_area=False)
    except FileRejectedError:
        raise
    except BaseException as error:
        # a damaged file makes the reader's Rust code panic; that error is no Exception
        if not isinstance(error, CalamineError | OSError | ValueError) and type(error).__name__ != "PanicException":
            raise
        raise FileRejectedError(
            "file.damaged", f"the workbook cannot be read ({type(error).__name__})", detail_zh="工作簿无法读取"
        ) from None
    head = [[_cell_text(cell, False) or "" for cell in row] for row in rows[: contract.header_search_rows + 1]]
    header = find_header(head, contract, sheet=sheet.name)
    first_data = header.first_row + header.rows
    _fill_merged(rows, sheet, first_data)
    return Table(None, sheet.name, header, header.first_row, _batches(rows, first_data, header, contract))


def _batches(rows: list[list[Any]], first_data: int, header: HeaderMatch, contract: Contract) -> Iterator[Batch]:
    width = len(header.columns)
    marked = {column.name for column in contract.columns if column.long_number or column.kind in ("date", "id_number")}
    total_width = max(map(len, rows), default=0)
    for begin in range(first_data, len(rows), BATCH_ROWS):
        part = rows[begin : begin + BATCH_ROWS]
        lines = list(range(begin + 1, begin + len(part) + 1))
        problems: list[WidthProblem] = []
        if total_width > width:
            beyond = {index for index, row in enumerate(part) if any(cell != "" for cell in row[width:])}
            for index in sorted(beyond):
                used = max(position for position, cell in enumerate(part[index]) if cell != "") + 1
                text = "\n".join(_cell_text(cell, False) or "" for cell in part[index])
                problems.append(WidthProblem(lines[index], used, width, text))
            part = [row for index, row in enumerate(part) if index not in beyond]
            lines = [line for index, line in enumerate(lines) if index not in beyond]
        series = []
        for position, name in enumerate(header.columns):
            values = [row[position] if position < len(row) else "" for row in part]
            if not all(type(value) is str for value in values):
                values = [_cell_text(value, name in marked) for value in values]
            series.append(pl.Series(name, values, dtype=pl.String))
        frame = pl.DataFrame([*series, pl.Series(LINE, lines, dtype=pl.Int64)])
        yield Batch(frame.with_columns(pl.col(pl.String).replace("", None)), tuple(problems))
