"""What a reader hands on, whatever the format: batches of text columns with the line that each row came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from ingest.codelists import spelling
from ingest.contract import Contract
from ingest.duplicates import Hashes, Mask
from ingest.problems import FileRejectedError
from ingest.values import holds_personal_number, nfkc

#: name of the column with the physical line (csv) or sheet row (xlsx), counted from 1
LINE = "?line"
#: prefix of columns that the contract does not know; they count for row equality and nothing else
EXTRA = "?extra"
_MEMO_LIMIT = 10_000


@dataclass(frozen=True)
class WidthProblem:
    """A row with another number of fields than the header."""

    line: int
    fields: int
    expected: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """Some rows of a table.

    Attributes:
        frame: text columns named canonically, extra columns, and LINE; an empty cell is null.
        width_problems: rows that could not be split into the header's columns.
        lines: the rows as they stand in the file, cells separated by commas, no quotes, line break included; None where
            a row is not a line.
        content: ``lines`` as bytes, to see at once what no row holds.
        hashes: of ``lines``, two times 64 bits each.
        has_control: whether a cell may hold a control character.
    """

    frame: pl.DataFrame
    width_problems: tuple[WidthProblem, ...] = ()
    lines: pl.Series | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    hashes: Hashes | None = field(default=None, repr=False)
    has_control: bool = True


#: takes hashes of lines, says which of them must be read
LineFilter = Callable[[Hashes], Mask]


@dataclass(frozen=True)
class HeaderMatch:
    """A header found in the first rows of a table.

    Attributes:
        columns: canonical name, or EXTRA + position, for each column of the file.
        first_row: index of the first header row.
        rows: number of header rows (1 or 2).
        headers: canonical name -> header as written in the file.
        unknown: headers that the contract does not know.
    """

    columns: tuple[str, ...]
    first_row: int
    rows: int
    headers: dict[str, str]
    unknown: tuple[str, ...]


@dataclass
class Table:
    """One table of a file, ready to be streamed.

    ``skipped`` counts rows before the header; blank, total and footer rows after it are counted by the pipeline.
    ``line_filter`` is set before the first batch is asked for; a reader may heed it.
    """

    encoding: str | None
    sheet: str | None
    header: HeaderMatch
    skipped: int
    batches: Iterator[Batch]
    line_filter: LineFilter | None = None


def _shown(text: str) -> str:
    """A header that the contract does not know, as it may be shown: it may be a person's number out of place."""
    return re.sub(r"[0-9]", "9", nfkc(text)) if holds_personal_number(text) else text


def _without_unit(text: str) -> str:
    """A header without a trailing parenthesis, which mostly holds the unit."""
    if text.endswith(")") and "(" in text:
        return text[: text.rindex("(")]
    return text


def _find(text: str, contract: Contract) -> str | None:
    """Canonical column for a header; headers repeat from file to file, so what was found is kept."""
    memo = contract.header_memo
    if text not in memo:
        if len(memo) > _MEMO_LIMIT:
            memo.clear()
        key = spelling(text).strip("*")
        memo[text] = contract.headers.get(key) or contract.headers.get(_without_unit(key))
    return memo[text]


def _match_row(cells: Sequence[str], contract: Contract) -> list[str | None]:
    return [_find(cell, contract) if cell else None for cell in cells]


def _match_two(top: Sequence[str], bottom: Sequence[str], contract: Contract) -> list[str | None]:
    """Two header rows: the lower cell names the column; where it is empty the upper one reaches down."""
    result: list[str | None] = []
    for upper, lower in zip(top, bottom, strict=True):
        found = _find(lower, contract) if lower else None
        if found is None and upper and lower:
            found = _find(upper + lower, contract)
        if found is None and upper and not lower:
            found = _find(upper, contract)
        result.append(found)
    return result


def find_header(
    rows: Sequence[Sequence[str]], contract: Contract, *, sheet: str | None = None, lines: Sequence[int] | None = None
) -> HeaderMatch:
    """Find the header among the first rows of a table, one or two rows deep.

    Args:
        rows: the first rows, texts of equal or unequal length.
        contract: names and aliases of the columns.
        sheet: for messages.
        lines: physical line of each row, for messages; default: position + 1.

    Raises:
        FileRejectedError: header.missing_column or header.duplicate.
    """
    required = [column for column in contract.columns if column.required and column.derived is None]
    searched = rows[: contract.header_search_rows]
    width = max((len(row) for row in searched), default=0)
    grid = [[str(cell).strip() for cell in row] + [""] * (width - len(row)) for row in searched]
    best: tuple[int, int, int, list[str | None]] | None = None
    for index, row in enumerate(grid):
        single = _match_row(row, contract)
        score = len({name for name in single if name})
        if score and (best is None or score > best[0]):
            best = (score, index, 1, single)
    # a second header row adds the columns that it names; a title above or data below adds nothing
    for upper in (best[1] - 1, best[1]) if best else ():
        if 0 <= upper < len(grid) - 1 and best:
            double = _match_two(grid[upper], grid[upper + 1], contract)
            score = len({name for name in double if name})
            if score > best[0]:
                best = (score, upper, 2, double)
    # a title may hold one header word by chance; a header holds most of the required columns
    if best is None or best[0] < max(1, len(required) // 2):
        names = "、".join(column.header for column in required)
        raise FileRejectedError(
            "header.missing_column",
            f"no header row was found in the first {len(searched)} rows; expected {names}",
            detail_zh=f"前{len(searched)}行未找到表头，应有：{names}",
            sheet=sheet,
            line=lines[0] if lines else 1,
        )
    _, index, depth, matched = best
    line = lines[index] if lines else index + 1
    written = [
        (grid[index + 1][position] or grid[index][position]) if depth == 2 else grid[index][position]
        for position in range(width)
    ]
    headers: dict[str, str] = {}
    for name, text in zip(matched, written, strict=True):
        if name is None:
            continue
        if name in headers:
            raise FileRejectedError(
                "header.duplicate",
                f"{headers[name]!r} and {text!r} both stand for {name}",
                detail_zh=f"“{headers[name]}”与“{text}”",
                sheet=sheet,
                line=line,
                column=name,
            )
        headers[name] = text
    extra_texts = [_shown(text) for name, text in zip(matched, written, strict=True) if name is None and text]
    if missing := [column for column in required if column.name not in headers]:
        first = missing[0]
        close = difflib.get_close_matches(first.header, extra_texts, 1, 0.4)
        hint = f"; the file has {close[0]!r}" if close else ""
        hint_zh = f"；文件中有“{close[0]}”" if close else ""
        raise FileRejectedError(
            "header.missing_column",
            ", ".join(f"{column.header} ({column.name})" for column in missing) + hint,
            detail_zh="、".join(column.header for column in missing) + hint_zh,
            sheet=sheet,
            line=line,
            column=first.name,
        )
    last = max(position for position, text in enumerate(written) if text)
    columns = tuple(name or f"{EXTRA}{position}" for position, name in enumerate(matched[: last + 1]))
    return HeaderMatch(columns, index, depth, headers, tuple(extra_texts))
