"""Read csv as text, in blocks, with the physical line of every row.

Encoding is decided, never guessed: byte order mark, else strict UTF-8 over the whole file, else strict GB18030 over
the whole file, else the file is rejected with the byte offset. UTF-8 is tried first because UTF-8 bytes often
decode as GB18030 without an error, into other characters.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.codelists import spelling
from ingest.contract import Contract
from ingest.copy_text import payload
from ingest.duplicates import Hashes, row_hashes
from ingest.problems import FileRejectedError
from ingest.tables import LINE, Batch, LineFilter, Table, WidthProblem, find_header

BLOCK_BYTES = 2 * 1024 * 1024
#: where most lines are known, so many bytes of others make a batch: the server works on it while reading goes on
_FEW_BYTES = BLOCK_BYTES // 4
#: a quoted cell may span blocks up to this size, so that an unclosed quote cannot eat the memory
MAX_RECORD_BYTES = 64 * 1024 * 1024
#: no feed has nearly so many columns; a header beyond it is a broken file
MAX_COLUMNS = 2000

_BREAK = ord("\n")
_COMMA = ord(",")
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


def _is_utf8(path: Path, skip: int) -> bool:
    """Whether a file is UTF-8 throughout; arrow looks at it eight times as fast as Python decodes it."""
    rest = b""
    with path.open("rb") as handle:
        handle.seek(skip)
        while block := handle.read(BLOCK_BYTES):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > MAX_RECORD_BYTES or not _all_utf8(block[:cut]):
                return False
    return _all_utf8(rest)


def _all_utf8(data: bytes) -> bool:
    try:
        offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
        pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def detect_encoding(path: Path, allowed: tuple[str, ...] = ("utf-8", "gb18030")) -> tuple[str, int]:
    """Encoding of a csv file and the length of its byte order mark.

    Raises:
        FileRejectedError: file.encoding with the byte offset and line of the first byte that does not decode.
    """
    with path.open("rb") as handle:
        has_mark = handle.read(3) == codecs.BOM_UTF8
    skip = 3 if has_mark else 0
    utf8 = None if _is_utf8(path, skip) else _first_error(path, "utf-8", skip)
    if utf8 is None:
        return ("utf-8-sig" if has_mark else "utf-8"), skip
    if has_mark or "gb18030" not in allowed:
        is_gb18030 = not has_mark and _first_error(path, "gb18030", 0) is None
        guess, guess_zh = ("; it decodes as GB18030", "；可按GB18030解码") if is_gb18030 else ("", "")
        raise FileRejectedError(
            "file.encoding",
            f"not UTF-8: byte {utf8[0]} does not decode{guess}",
            detail_zh=f"不是UTF-8，第{utf8[0]}字节无法解码{guess_zh}",
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
            while cut and b'"' in data and data.count(b'"', 0, cut) % 2:
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


@dataclass(frozen=True)
class _Lines:
    """Lines of one row each, all of the right width, as they stand in the file."""

    data: bytes
    texts: pl.Series
    numbers: pl.Series
    hashes: Hashes
    has_control: bool
    unchanged: int = 0

    def batch(self, columns: tuple[str, ...]) -> Batch:
        """The lines split into fields."""
        schema = dict.fromkeys(columns, pl.String)
        if self.data:
            frame = pl.read_csv(
                self.data, has_header=False, schema=schema, quote_char=None, infer_schema=False, low_memory=False
            )
        else:
            frame = pl.DataFrame(schema=schema)
        return Batch(
            frame.with_columns(self.numbers),
            lines=self.texts,
            hashes=self.hashes,
            content=self.data,
            has_control=self.has_control,
        )


def _together(parts: list[_Lines]) -> _Lines:
    return _Lines(
        b"".join(part.data for part in parts),
        pl.concat([part.texts for part in parts]),
        pl.concat([part.numbers for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        any(part.has_control for part in parts),
        sum(part.unchanged for part in parts),
    )


def _plain_lines(
    data: bytes, first_line: int, columns: tuple[str, ...], line_filter: LineFilter | None
) -> tuple[_Lines | Batch, int]:
    """A block without quotes, in which one line is one row, and its number of lines.

    Lines that the filter knows were found good before: they are left out and not looked at.
    """
    if not data.endswith(b"\n"):
        data += b"\n"
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == _BREAK)
    count = len(breaks)
    starts = np.concatenate([[0], breaks + 1])
    texts = pl.Series(pa.LargeStringArray.from_buffers(count, pa.py_buffer(starts), pa.py_buffer(data)))
    numbers = pl.int_range(first_line, first_line + count, dtype=pl.Int64, eager=True).alias(LINE)
    hashes = row_hashes(texts)
    wanted = line_filter(hashes) if line_filter else np.ones(count, bool)
    unchanged = count - int(np.count_nonzero(wanted))
    if unchanged:
        kept = pl.Series(wanted)
        texts, numbers, hashes = texts.filter(kept), numbers.filter(kept), hashes[wanted]
        data = bytes(payload(texts))
        starts = np.concatenate([[0], np.flatnonzero(np.frombuffer(data, np.uint8) == _BREAK) + 1])
    if not data:
        return _Lines(data, texts, numbers, hashes, False, unchanged), count
    raw = np.frombuffer(data, np.uint8)
    width = len(columns)
    commas = np.add.reduceat((raw == _COMMA).view(np.int8), starts[:-1], dtype=np.int16)
    if width == 1 or (commas != width - 1).any():
        rows = [line.split(",") for line in data.decode()[:-1].split("\n")]
        return _rows_to_batch(rows, numbers.to_list(), columns), count
    has_control = int(np.count_nonzero(raw < 32)) > len(texts) + data.count(b"\t") or b"\x7f" in data
    return _Lines(data, texts, numbers, hashes, has_control, unchanged), count


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

    def decoded() -> Iterator[bytes]:
        for block in blocks:
            data = block if codec == "utf-8" else block.decode(codec).encode()
            if b"\r" in data and b'"' not in data:
                data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield data

    contents = decoded()
    first = next(contents, b"").decode()
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
        batch: Batch | None = None
        waiting: list[_Lines] = []

        def flushed() -> Iterator[Batch]:
            """What is left of blocks whose lines are mostly known, as one batch."""
            nonlocal batch
            if waiting:
                batch = _together(waiting).batch(header.columns)
                waiting.clear()
                yield batch

        for data in itertools.chain([rest.encode()], contents):
            if not data:
                continue
            if b'"' in data:
                if data.count(b'"') % 2:
                    raise _unclosed(data.decode(), line)
                text = data.decode()
                rows, lines = _records(text, line)
                yield from flushed()
                batch = _rows_to_batch(rows, lines, header.columns)
                yield batch
                line += len(_LINE_END.findall(text))
            else:
                found, count = _plain_lines(data, line, header.columns, table.line_filter)
                line += count
                if isinstance(found, _Lines) and table.line_filter:
                    waiting.append(found)
                    batch = None if found.unchanged == count else batch
                    if sum(len(part.data) for part in waiting) < _FEW_BYTES:
                        continue
                yield from flushed()
                if isinstance(found, Batch) or not table.line_filter:
                    batch = found if isinstance(found, Batch) else found.batch(header.columns)
                    yield batch
        yield from flushed()
        if batch is not None and _ends_open(path):
            _refuse_half_a_row(batch, contract)

    table = Table(encoding, None, header, data_row - header.rows, batches())
    return table


def _ends_open(path: Path) -> bool:
    """Whether the file does not end in a line end."""
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) not in b"\r\n"


def _refuse_half_a_row(last: Batch, contract: Contract) -> None:
    """Reject a file that stops inside its last row; a footer may stand there.

    Raises:
        FileRejectedError: file.damaged with the line.
    """
    if not last.width_problems:
        return
    row = last.width_problems[-1]
    if row.fields >= row.expected or (last.frame.height and (last.frame[LINE][-1] or 0) > row.line):
        return
    footers = [pattern for pattern in (contract.skip_any_cell, contract.skip_first_cell) if pattern]
    if any(re.search(pattern, row.text, re.MULTILINE) for pattern in footers):
        return
    raise FileRejectedError(
        "file.damaged",
        f"it ends inside a row: {row.fields} of {row.expected} fields",
        detail_zh=f"文件在一行中间截断：{row.expected}列中只有{row.fields}列",
        line=row.line,
    )


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
