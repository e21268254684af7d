"""Read csv as text, in blocks, with the physical line of every row.

Encoding is decided, never guessed: byte order mark, else strict UTF-8 over the whole file, else strict GB18030 over
the whole file, else the file is rejected with the byte offset. UTF-8 is tried first because UTF-8 bytes often
decode as GB18030 without an error, into other characters.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ingest.codelists import spelling
from ingest.contract import Contract
from ingest.problems import FileRejectedError
from ingest.tables import LINE, Batch, Table, WidthProblem, find_header

BLOCK_BYTES = 4 * 1024 * 1024
#: a quoted cell may span blocks up to this size, so that an unclosed quote cannot eat the memory
MAX_RECORD_BYTES = 64 * 1024 * 1024
#: no feed has nearly so many columns; a header beyond it is a broken file
MAX_COLUMNS = 2000

_LINE_END = re.compile(r"\r\n|\r|\n")

csv.field_size_limit(16 * 1024 * 1024)

_OTHER_DELIMITERS = {";": "a semicolon", "\t": "a tab", "|": "a vertical bar", "，": "a full-width comma"}
_OTHER_DELIMITERS_ZH = {";": "分号", "\t": "制表符", "|": "竖线", "，": "全角逗号"}
_HTML = re.compile(rb"^[\s\xef\xbb\xbf]*<(!doctype|html|table|head|\?xml|meta|script)", re.IGNORECASE)


def refuse_other_formats(start: bytes) -> None:
    """Reject what is no csv by its first bytes.

    Raises:
        FileRejectedError: file.empty, file.not_csv or file.encoding (UTF-16, UTF-32).
    """
    if not start:
        raise FileRejectedError("file.empty")
    if start.startswith(b"PK\x03\x04"):
        raise FileRejectedError("file.not_csv", "a zip or xlsx file", detail_zh="zip或xlsx文件")
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise FileRejectedError("file.not_csv", "an old Excel file (xls)", detail_zh="旧版Excel文件（xls）")
    if start.startswith(b"\x1f\x8b"):
        raise FileRejectedError("file.not_csv", "a gzip file", detail_zh="gzip文件")
    if start.startswith(b"%PDF"):
        raise FileRejectedError("file.not_csv", "a PDF file", detail_zh="PDF文件")
    if start.startswith(b"PAR1"):
        raise FileRejectedError("file.not_csv", "a parquet file", detail_zh="parquet文件")
    if _HTML.match(start):
        raise FileRejectedError("file.not_csv", "an HTML or XML page", detail_zh="HTML或XML网页")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or start.count(0) > len(start) // 4:
        raise FileRejectedError("file.encoding", "UTF-16, found at byte 0", detail_zh="UTF-16，位于第0字节")


def _first_error(path: Path, encoding: str, skip: int) -> tuple[int, int] | None:
    """Byte offset and line of the first byte that does not decode, or None."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset, line = skip, 1
    with path.open("rb") as handle:
        handle.seek(skip)
        while True:
            block = handle.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = offset - pending + error.start
                return at, line + block[: max(0, error.start - pending)].count(b"\n")
            if not block:
                return None
            offset += len(block)
            line += block.count(b"\n")


def detect_encoding(path: Path, allowed: tuple[str, ...] = ("utf-8", "gb18030")) -> tuple[str, int]:
    """Encoding of a csv file and the length of its byte order mark.

    Raises:
        FileRejectedError: file.encoding with the byte offset and line of the first byte that does not decode.
    """
    with path.open("rb") as handle:
        has_mark = handle.read(3) == codecs.BOM_UTF8
    skip = 3 if has_mark else 0
    utf8 = _first_error(path, "utf-8", skip)
    if utf8 is None:
        return ("utf-8-sig" if has_mark else "utf-8"), skip
    if has_mark or "gb18030" not in allowed:
        raise FileRejectedError(
            "file.encoding",
            f"not UTF-8: byte {utf8[0]} does not decode",
            detail_zh=f"不是UTF-8，第{utf8[0]}字节无法解码",
            line=utf8[1],
        )
    gb18030 = _first_error(path, "gb18030", 0)
    if gb18030 is None:
        return "gb18030", 0
    raise FileRejectedError(
        "file.encoding",
        f"neither UTF-8 (byte {utf8[0]} does not decode) nor GB18030 (byte {gb18030[0]} does not decode)",
        detail_zh=f"既不是UTF-8（第{utf8[0]}字节无法解码），也不是GB18030（第{gb18030[0]}字节无法解码）",
        line=max(utf8[1], gb18030[1]),
    )


def _blocks(path: Path, skip: int) -> Iterator[bytes]:
    """Blocks of whole records, cut at a line end outside quotes.

    Bytes may be cut before they are decoded: in UTF-8 and GB18030 no part of a longer character is a line end or quote.
    """
    carry = b""
    with path.open("rb") as handle:
        handle.seek(skip)
        while True:
            chunk = handle.read(BLOCK_BYTES)
            data = carry + chunk
            if not chunk:
                if data:
                    yield data
                return
            cut = data.rfind(b"\n") + 1
            if not cut:
                # carriage returns only; the last byte may be the first half of \r\n
                cut = data.rfind(b"\r", 0, len(data) - 1) + 1
            while cut and data.count(b'"', 0, cut) % 2:
                # the cut lies inside a quoted cell: go back to the line end before its quote
                cut = data.rfind(b"\n", 0, data.rfind(b'"', 0, cut)) + 1
            if cut:
                yield data[:cut]
            carry = data[cut:]
            if len(carry) > MAX_RECORD_BYTES:
                yield carry
                carry = b""


def _unclosed(text: str, first_line: int) -> FileRejectedError:
    """The error for a block whose quotes do not pair, naming the line where the trouble starts."""
    line = first_line
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for _ in reader:
            start = reader.line_num + 1
    except csv.Error:
        line = first_line + start - 1
    else:
        for number, content in enumerate(text.split("\n")):
            if content.count('"') % 2:
                line = first_line + number
                break
    return FileRejectedError(
        "file.damaged", "a quotation mark is opened and never closed", detail_zh="引号未闭合", line=line
    )


def _records(text: str, first_line: int) -> tuple[list[list[str]], list[int]]:
    """Rows of a block with quotes, and the physical line on which each starts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = first_line
    try:
        for row in reader:
            rows.append(row)
            lines.append(start)
            start = first_line + reader.line_num
    except csv.Error:
        raise FileRejectedError(
            "file.damaged", "a quotation mark stands inside a cell", detail_zh="单元格内有多余的引号", line=start
        ) from None
    return rows, lines


def _rows_to_batch(rows: list[list[str]], lines: list[int], columns: tuple[str, ...]) -> Batch:
    width = len(columns)
    problems: list[WidthProblem] = []
    kept: list[list[str]] = []
    kept_lines: list[int] = []
    for row, line in zip(rows, lines, strict=True):
        if len(row) > width and not any(row[width:]):
            row = row[:width]
        if len(row) == width:
            kept.append(row)
            kept_lines.append(line)
        elif any(cell.strip() for cell in row):
            problems.append(WidthProblem(line, len(row), width, "\n".join(row)))
        else:
            kept.append([""] * width)
            kept_lines.append(line)
    series = [pl.Series(name, [row[index] for row in kept], dtype=pl.String) for index, name in enumerate(columns)]
    frame = pl.DataFrame([*series, pl.Series(LINE, kept_lines, dtype=pl.Int64)])
    frame = frame.with_columns(pl.col(pl.String).replace("", None))
    return Batch(frame, tuple(problems))


def _plain_batch(text: str, first_line: int, columns: tuple[str, ...]) -> tuple[Batch, int]:
    """A block without quotes: one line is one row, so polars splits the fields and lines are counted for free."""
    if text.endswith("\n"):
        text = text[:-1]
    lines = text.split("\n")
    count = len(lines)
    commas = len(columns) - 1
    counted = pl.Series(lines, dtype=pl.String).str.count_matches(",", literal=True)
    if (counted != commas).any() or commas == 0:
        return _rows_to_batch(
            [line.split(",") for line in lines], list(range(first_line, first_line + count)), columns
        ), count
    frame = pl.read_csv(
        text.encode(),
        has_header=False,
        schema=dict.fromkeys(columns, pl.String),
        quote_char=None,
        infer_schema=False,
        low_memory=False,
    )
    if frame.height != count:  # polars leaves out a line that holds nothing at all
        return _rows_to_batch(
            [line.split(",") for line in lines], list(range(first_line, first_line + count)), columns
        ), count
    return Batch(frame.with_columns(pl.int_range(first_line, first_line + count, dtype=pl.Int64).alias(LINE))), count


def _split_delimiter(rows: list[str], contract: Contract, line: int) -> None:
    """Reject the file if another delimiter explains its header.

    Raises:
        FileRejectedError: delimiter.unexpected naming what was found.
    """
    known = contract.headers
    for row in rows[: contract.header_search_rows]:
        for delimiter, name in _OTHER_DELIMITERS.items():
            cells = [cell.strip("\"' ") for cell in row.split(delimiter)]
            if len(cells) > 2 and sum(spelling(cell) in known for cell in cells) > len(cells) // 2:
                raise FileRejectedError(
                    "delimiter.unexpected", name, detail_zh=_OTHER_DELIMITERS_ZH[delimiter], line=line
                )


def read_csv(path: Path, contract: Contract) -> Table:
    """Open a csv file: decide its encoding, find its header, hand out batches.

    Raises:
        FileRejectedError: file.empty, file.not_csv, file.encoding, file.damaged, delimiter.unexpected,
            header.missing_column, header.duplicate; while batches are read: file.damaged.
    """
    with path.open("rb") as handle:
        refuse_other_formats(handle.read(4096))
    allowed = tuple(contract.custom.get("encodings", ("utf-8", "gb18030")))
    encoding, skip = detect_encoding(path, allowed)
    codec = "gb18030" if encoding == "gb18030" else "utf-8"
    blocks = _blocks(path, skip)

    def decoded() -> Iterator[str]:
        for block in blocks:
            text = block.decode(codec)
            if "\r" in text and '"' not in text:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            yield text

    texts = decoded()
    first = next(texts, "")
    if not first.strip():
        raise FileRejectedError("file.empty")
    if first.count('"') % 2:
        raise _unclosed(first, 1)
    head = _head(first, contract.header_search_rows + 1)
    head_rows, head_lines = _records(head, 1) if '"' in head else _plain_rows(head)
    if max(map(len, head_rows)) > MAX_COLUMNS:
        raise FileRejectedError(
            "file.damaged", f"more than {MAX_COLUMNS} columns", detail_zh=f"超过{MAX_COLUMNS}列", line=1
        )
    try:
        header = find_header(head_rows, contract, lines=head_lines)
    except FileRejectedError as error:
        if error.rule == "header.missing_column":
            _split_delimiter(head.split("\n"), contract, error.line or 1)
        raise
    data_row = header.first_row + header.rows
    # text of the first block from the first data row on
    start_line = head_lines[data_row] if data_row < len(head_lines) else head_lines[-1] + 1
    rest = _after_lines(first, start_line - 1)

    def batches() -> Iterator[Batch]:
        line = start_line
        for text in _chain(rest, texts):
            if not text:
                continue
            if text.count('"') % 2:
                raise _unclosed(text, line)
            if '"' in text:
                rows, lines = _records(text, line)
                yield _rows_to_batch(rows, lines, header.columns)
                line += len(_LINE_END.findall(text))
            else:
                batch, count = _plain_batch(text, line, header.columns)
                line += count
                yield batch

    return Table(encoding, None, header, data_row - header.rows, batches())


def _chain(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _plain_rows(text: str) -> tuple[list[list[str]], list[int]]:
    lines = text.split("\n")
    return [line.split(",") for line in lines], list(range(1, len(lines) + 1))


def _head(text: str, rows: int) -> str:
    """The first lines of a text, more where a quoted cell spans lines."""
    position = 0
    for _ in range(rows):
        end = text.find("\n", position)
        if end < 0:
            return text
        position = end + 1
    while text.count('"', 0, position) % 2:
        end = text.find("\n", position)
        if end < 0:
            return text
        position = end + 1
    return text[: position - 1] if position else text


def _after_lines(text: str, lines: int) -> str:
    """Text after so many physical lines (a carriage return alone ends a line too)."""
    position = 0
    for number, end in enumerate(_LINE_END.finditer(text), 1):
        if number > lines:
            break
        position = end.end()
    return text[position:] if lines else text
