"""Byte-identical CSV and xlsx files from frames of strings, fast enough for a hundred thousand rows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl

ZIP_TIME = (2020, 1, 1, 0, 0, 0)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


@dataclass(frozen=True)
class Sheet:
    """One worksheet: rows above the data, the data, rows below it.

    Attributes:
        name: sheet name.
        above: rows before the data (title, unit, header), cells or None.
        merges: merged ranges such as ``A1:F1``.
        data: all columns String.
        numeric: names of columns written as numbers where the text is a plain integer.
        below: rows after the data; integers are written as numbers.
    """

    name: str
    above: Sequence[Sequence[str | None]]
    data: pl.DataFrame
    merges: Sequence[str] = ()
    numeric: frozenset[str] = frozenset()
    below: Sequence[Sequence[str | int | None]] = field(default_factory=list)


def column_letter(index: int) -> str:
    """Return the letters of a zero-based column index."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def write_csv(
    path: Path,
    headers: Sequence[str],
    data: pl.DataFrame,
    encoding: str,
    *,
    line_end: str = "\r\n",
    cut_rows: dict[int, int] | None = None,
) -> None:
    """Write a CSV file.

    Args:
        path: target file.
        headers: header cells.
        data: all columns String; null is an empty cell.
        encoding: ``utf-8``, ``utf-8-sig`` or ``gb18030``.
        line_end: line terminator.
        cut_rows: data rows (from 0) of which only the first n fields are written.
    """
    renamed = data.rename(dict(zip(data.columns, headers, strict=True))) if len(set(headers)) == len(headers) else data
    text = renamed.write_csv(line_terminator=line_end, quote_style="necessary", null_value="")
    if cut_rows:
        lines = text.split(line_end)
        for row, fields in cut_rows.items():
            lines[row + 1] = ",".join(lines[row + 1].split(",")[:fields])
        text = line_end.join(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def _cell(column: int, row: int, value: str | int | None) -> str:
    if value is None:
        return ""
    place = f"{column_letter(column)}{row}"
    if isinstance(value, int):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def _row(number: int, cells: Sequence[str | int | None]) -> str:
    return f'<row r="{number}">' + "".join(_cell(i, number, c) for i, c in enumerate(cells)) + "</row>"


def _escaped(column: str) -> pl.Expr:
    text = pl.col(column)
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\u0001", "_x0001_")):
        text = text.str.replace_all(raw, entity, literal=True)
    return text


def _data_rows(sheet: Sheet, first_row: int) -> tuple[str, list[str]]:
    """Return the XML of the data rows and the shared strings."""
    data = sheet.data
    if data.is_empty():
        return "", []
    names = data.columns
    texts = [c for c in names if c not in sheet.numeric]
    table = data.with_columns(_escaped(c) for c in names)
    strings = pl.concat([table[c].alias("text") for c in texts]).drop_nulls().unique(maintain_order=True)
    # Numbers stay numbers only when they are plain; a damaged count is a text cell, as in a real workbook.
    odd = pl.concat(
        [
            table[c].filter(~table[c].str.contains(r"^-?[0-9]{1,15}$").fill_null(True)).alias("text")
            for c in names
            if c in sheet.numeric
        ]
        or [pl.Series("text", [], dtype=pl.String)]
    )
    strings = pl.concat([strings, odd]).unique(maintain_order=True)
    lookup = pl.DataFrame({"text": strings, "place": pl.int_range(len(strings), eager=True).cast(pl.String)})
    table = table.with_columns(row=pl.int_range(first_row, first_row + pl.len()).cast(pl.String))
    parts: list[pl.Expr] = [pl.lit('<row r="') + pl.col("row") + pl.lit('">')]
    for i, name in enumerate(names):
        letter = column_letter(i)
        # A left join keeps the order of the left side.
        place = table.select(text=pl.col(name)).join(lookup, on="text", how="left", maintain_order="left")["place"]
        table = table.with_columns(place.alias(f"_{i}"))
        head = pl.lit(f'<c r="{letter}') + pl.col("row")
        shared = head + pl.lit('" t="s"><v>') + pl.col(f"_{i}") + pl.lit("</v></c>")
        if name in sheet.numeric:
            number = head + pl.lit('"><v>') + pl.col(name) + pl.lit("</v></c>")
            shared = pl.when(pl.col(name).str.contains(r"^-?[0-9]{1,15}$")).then(number).otherwise(shared)
        parts.append(shared.fill_null(""))
    parts.append(pl.lit("</row>"))
    return "".join(table.select(pl.concat_str(parts))[:, 0].to_list()), strings.to_list()


def write_xlsx(path: Path, sheets: Sequence[Sheet]) -> None:
    """Write a workbook with fixed zip times and no creation date, so that equal content gives equal bytes."""
    bodies: list[str] = []
    shared: list[str] = []
    for sheet in sheets:
        number = len(sheet.above)
        above = "".join(_row(i + 1, cells) for i, cells in enumerate(sheet.above))
        if shared and not sheet.data.is_empty():
            raise ValueError("only one sheet of a workbook may hold data rows")
        rows, strings = _data_rows(sheet, number + 1)
        shared = shared or strings
        number += sheet.data.height
        below = "".join(_row(number + 1 + i, cells) for i, cells in enumerate(sheet.below))
        merges = "".join(f'<mergeCell ref="{m}"/>' for m in sheet.merges)
        merge_block = f'<mergeCells count="{len(sheet.merges)}">{merges}</mergeCells>' if merges else ""
        bodies.append(
            f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>{above}{rows}{below}</sheetData>{merge_block}</worksheet>'
        )
    files = _package(sheets, bodies, shared)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content.encode("utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def _package(sheets: Sequence[Sheet], bodies: Sequence[str], shared: Sequence[str]) -> list[tuple[str, str]]:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    count = len(sheets)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{i + 1}.xml" ContentType="{kind}.worksheet+xml"/>'
        for i in range(count)
    )
    links = "".join(
        f'<Relationship Id="rId{i + 1}" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet{i + 1}.xml"/>'
        for i in range(count)
    )
    tabs = "".join(
        f'<sheet name="{escape(s.name)}" sheetId="{i + 1}" r:id="rId{i + 1}"/>' for i, s in enumerate(sheets)
    )
    items = "".join(f'<si><t xml:space="preserve">{s}</t></si>' for s in shared)
    return [
        (
            "[Content_Types].xml",
            f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/styles.xml" ContentType="{kind}.styles+xml"/>'
            f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}.sharedStrings+xml"/>{overrides}</Types>',
        ),
        (
            "_rels/.rels",
            f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
            f'<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        ),
        (
            "xl/workbook.xml",
            f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>{tabs}</sheets></workbook>',
        ),
        (
            "xl/_rels/workbook.xml.rels",
            f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{links}'
            f'<Relationship Id="rId{count + 1}" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
            f'<Relationship Id="rId{count + 2}" Type="{_RELATIONS}/sharedStrings" Target="sharedStrings.xml"/>'
            "</Relationships>",
        ),
        (
            "xl/styles.xml",
            f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="1"><font><sz val="11"/><name val="宋体"/></font></fonts>'
            '<fills count="1"><fill><patternFill patternType="none"/></fill></fills>'
            '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
            '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
            '<cellXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/></cellXfs>'
            '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
        ),
        (
            "xl/sharedStrings.xml",
            f'{_XML}<sst xmlns="{_MAIN}" count="{len(shared)}" uniqueCount="{len(shared)}">{items}</sst>',
        ),
        *((f"xl/worksheets/sheet{i + 1}.xml", body) for i, body in enumerate(bodies)),
    ]
