"""What a file that no contract describes looks like: its header, and what its columns hold.

Used to draft and to amend contracts. Nothing here keeps a value: profiles are kinds, counts and patterns, and the
values of short lists of codes.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineWorkbook

from ingest import values
from ingest.columns import ColumnParser
from ingest.contract import Column, Contract
from ingest.csv_reader import detect_encoding, refuse_other_formats
from ingest.load import open_table
from ingest.pipeline import CompiledContract
from ingest.problems import FileRejectedError
from ingest.tables import EXTRA, LINE, Table
from ingest.values import NUMERIC_CELL

HEAD_ROWS = 15
_HEAD_BYTES = 256 * 1024
#: rows that are looked at; a column that changes its nature later is found when the file is tested
SAMPLE_ROWS = 100_000
_MAX_DISTINCT = 5_000

#: shares of values beyond which a column is taken to be of a kind
MOST = 0.9
MANY = 0.5

_PERSON_HEADER = re.compile(
    r"姓名|名字|监护人|户主|家长|父亲|母亲|联系人|负责人|经办人|填报人|填表人|审核人|校长$|教师$|学生$|法人|法定代表"
)
_CONTACT_HEADER = re.compile(
    r"电话|手机|联系方式|住址|地址|门牌|邮箱|信箱|微信|QQ|银行|卡号|账号|账户|照片|指纹", re.IGNORECASE
)
_ID_HEADER = re.compile(r"身份证|证件号")
_NUMBER_OF_PERSON_HEADER = re.compile(r"学籍号|学号|残疾人证|护照|户口簿号|社保号|医保号|教师资格证|工号|准考证")
_FREE_HEADER = re.compile(r"备注|说明|情况|描述|意见|事由")
_DATE_HEADER = re.compile(r"日期|年月|时间")
_CODE_HEADER = re.compile(r"(码|编号|代号|序号|号)$")
_ID = re.compile(values.ID_PATTERN)
_MOBILE = re.compile(r"^(\+?86)?1[3-9][0-9]{9}$")
_BANK_CARD = re.compile(r"^[0-9]{16,19}$")
_NAME = re.compile(r"^[\u4e00-\u9fff]{2,4}$|^[\u4e00-\u9fff]{1,8}·[\u4e00-\u9fff·]{1,16}$")
_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田"
    "任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文兰哈撒妥纳穆海米买摆咸禹虎拜丰"
)
_BOOLEAN_PAIRS = ({"是", "否"}, {"√", "×"}, {"有", "无"}, {"Y", "N"}, {"TRUE", "FALSE"})
_DECIMAL = re.compile(r"^-?[0-9]+\.[0-9]+$")


@dataclass(frozen=True)
class HeaderGuess:
    """Where the header of an unknown file seems to stand; ``names`` has an empty text for a column without one."""

    row: int
    depth: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """What a column seems to hold.

    Attributes:
        kind: one of contract.KINDS.
        personal: what of a person it may hold (name, contact, id, number, text), or None.
        pattern: for codes of one length.
        codes: distinct values of a short list, or none.
        months: dates without a day occur.
        rows, filled, distinct: counts.
        share: part of the filled values that fit the kind.
    """

    header: str
    kind: str
    personal: str | None
    pattern: str | None
    codes: tuple[str, ...]
    months: bool
    rows: int
    filled: int
    distinct: int
    share: float


def head_of(path: Path, file_format: str) -> list[list[str]]:
    """The first rows of a file as text.

    Raises:
        FileRejectedError: the file is not what its extension says.
    """
    if file_format == "csv":
        with path.open("rb") as handle:
            refuse_other_formats(handle.read(4096))
        encoding, skip = detect_encoding(path)
        with path.open("rb") as handle:
            handle.seek(skip)
            data = handle.read(_HEAD_BYTES)
        text = codecs.getincrementaldecoder(encoding.removesuffix("-sig"))().decode(data)
        try:
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise FileRejectedError("file.damaged", str(error)) from None
        return rows[:HEAD_ROWS]
    if file_format == "parquet":
        return [list(pq.ParquetFile(path).schema_arrow.names)]
    try:
        workbook = CalamineWorkbook.from_path(path)
        for name in workbook.sheet_names:
            sheet = workbook.get_sheet_by_name(name)
            if sheet.start is not None:
                found = sheet.to_python(skip_empty_area=False, nrows=HEAD_ROWS)
                return [[str(cell) for cell in row] for row in found]
    except (CalamineError, OSError, ValueError) as error:
        raise FileRejectedError(
            "file.damaged", f"the workbook cannot be read ({type(error).__name__})", detail_zh="工作簿无法读取"
        ) from None
    raise FileRejectedError("file.empty")


def _is_label(text: str) -> bool:
    return not re.fullmatch(r"[\d\s.,:/+%-]+", text)


def guess_header(rows: Sequence[Sequence[str]]) -> HeaderGuess | None:
    """The first row that is mostly filled with distinct words; None where there is no such row."""
    width = max((len(row) for row in rows), default=0)
    grid = [[cell.strip() for cell in row] + [""] * (width - len(row)) for row in rows]
    most = max((sum(bool(cell) for cell in row) for row in grid), default=0)
    for index, row in enumerate(grid):
        words = [cell for cell in row if cell]
        if len(words) < max(1, 0.5 * most) or (most > 1 and len(words) == 1):
            continue
        if len(set(words)) < len(words) or not all(map(_is_label, words)):
            continue
        below = grid[index + 1] if index + 1 < len(grid) else []
        gaps = [position for position, cell in enumerate(row) if not cell]
        fills = [position for position, cell in enumerate(below) if cell]
        # a merged header: what stands below fills the gaps; where it does not reach, the upper cell names the column
        is_double = bool(gaps and fills) and set(gaps) <= set(fills) and len(fills) < len(words) + len(gaps)
        if is_double and all(_is_label(below[position]) for position in fills):
            return HeaderGuess(index, 2, tuple(lower or upper for upper, lower in zip(row, below, strict=True)))
        while row and not row[-1]:
            row.pop()
        return HeaderGuess(index, 1, tuple(row))
    return None


def header_texts(table: Table) -> list[str]:
    """The header as it stands in the file, with the position for columns without one."""
    unknown = list(table.header.unknown)
    extras = [name for name in table.header.columns if name.startswith(EXTRA)]
    are_named = len(unknown) == len(extras)
    result = []
    for position, name in enumerate(table.header.columns, 1):
        if name.startswith(EXTRA):
            result.append(unknown.pop(0) if are_named else f"第{position}列")
        else:
            result.append(table.header.headers[name])
    return result


def sample(path: Path, contract: Contract, file_format: str) -> tuple[Table, pl.DataFrame]:
    """Header and first rows of a file; blank rows, totals and footers are left out.

    Raises:
        FileRejectedError: the reader refuses the file.
    """
    table = open_table(path, contract, file_format)
    compiled = CompiledContract(contract)
    frames: list[pl.DataFrame] = []
    height = 0
    for batch in table.batches:
        names = [name for name in batch.frame.columns if name != LINE]
        joined = batch.frame.select(pl.concat_str(pl.col(names).fill_null(""), separator="\n").alias("?row"))["?row"]
        skip = [not text.strip() or compiled.is_skipped(text) for text in joined]
        frames.append(batch.frame.filter([not each for each in skip]))
        height += frames[-1].height
        if height >= SAMPLE_ROWS:
            break
    frame = pl.concat(frames) if frames else pl.DataFrame({name: [] for name in (*table.header.columns, LINE)})
    return table, frame.head(SAMPLE_ROWS)


def _counted(series: pl.Series) -> dict[str, int]:
    """Distinct texts with their number, without spellings of "no value"; of very many the most frequent."""
    counted = series.drop_nulls().alias("?v").value_counts(sort=True).head(_MAX_DISTINCT)
    result: dict[str, int] = {}
    for raw, amount in counted.iter_rows():
        text = values.trim(values.nfkc(values.apostrophe(values.trim(raw.removeprefix(NUMERIC_CELL)))))
        if not values.is_null_word(text):
            result[text] = result.get(text, 0) + amount
    return result


def fit(series: pl.Series, column: Column) -> tuple[float, dict[str, int]]:
    """How well values fit a column of a contract.

    Returns:
        Share of filled values that break no rule of the column, and the number of values by broken rule.
    """
    parser = ColumnParser(column)
    broken: dict[str, int] = {}
    total = 0
    counted = series.drop_nulls().alias("?v").value_counts(sort=True).head(_MAX_DISTINCT)
    for raw, amount in counted.iter_rows():
        total += amount
        if rule := parser.parse(raw).rule:
            broken[rule] = broken.get(rule, 0) + amount
    return (1 - sum(broken.values()) / total if total else 1.0), broken


def _personal(header: str, counted: dict[str, int], total: int) -> str | None:
    """What of a person a column may hold. In doubt it does: a draft that protects too much is easily corrected."""

    def share(matches: re.Pattern[str]) -> float:
        return sum(amount for text, amount in counted.items() if matches.match(text.upper())) / max(1, total)

    ids = share(_ID)
    if ids >= MANY or _ID_HEADER.search(header):
        return "id"
    if _NUMBER_OF_PERSON_HEADER.search(header):
        return "number"
    if _CONTACT_HEADER.search(header) or share(_MOBILE) >= MANY or share(_BANK_CARD) >= MANY:
        return "contact"
    if _PERSON_HEADER.search(header) and not _CODE_HEADER.search(header) and not header.endswith(("数", "时")):
        return "name"
    if counted:
        named = sum(
            amount for text, amount in counted.items() if _NAME.match(text) and (text[0] in _SURNAMES or "·" in text)
        )
        if named >= 0.6 * total and len(counted) > 0.3 * total and len(counted) > 5:
            return "name"
    # an ID number, a mobile number or a run of text in a few cells is enough to distrust a text column
    if any(re.search(r"[1-9][0-9]{16}[0-9X]|(?<![0-9])1[3-9][0-9]{9}(?![0-9])", text.upper()) for text in counted):
        return "number" if all(len(text) <= 20 for text in counted) else "text"
    longest = max(map(len, counted), default=0)
    if _FREE_HEADER.search(header) or (longest > 30 and len(counted) > 0.3 * total):
        return "text"
    return None


def profile(header: str, series: pl.Series) -> Profile:
    """Say what a column seems to hold.

    Args:
        header: as written in the file.
        series: its text; null for an empty cell.
    """
    counted = _counted(series)
    total = sum(counted.values())
    personal = _personal(header, counted, total)

    def share(accepts: object) -> float:
        assert callable(accepts)
        return sum(amount for text, amount in counted.items() if accepts(text)) / max(1, total)

    def made(
        kind: str, part: float, pattern: str | None = None, codes: tuple[str, ...] = (), *, months: bool = False
    ) -> Profile:
        return Profile(header, kind, personal, pattern, codes, months, len(series), total, len(counted), part)

    if personal == "id":
        return made("id_number", share(lambda text: _ID.match(text.upper())))
    if personal or not counted:
        return made("text", 1.0)
    years = share(lambda text: values.parse_school_year(text))
    if years >= MOST:
        return made("school_year", years)
    words = {text.upper() for text in counted}
    if len(words) <= 2 and any(words <= pair for pair in _BOOLEAN_PAIRS):
        return made("boolean", 1.0)
    plain = share(lambda text: re.fullmatch(r"[0-9]+", text))
    lengths = {len(text) for text in counted}
    has_zero = any(len(text) > 1 and text.startswith("0") for text in counted)
    is_code = bool(_CODE_HEADER.search(header)) or has_zero or max(lengths) > 9
    dates = share(lambda text: values.parse_date(text, month_allowed=True))
    is_bare = plain >= MOST and (is_code or not (lengths == {8} or _DATE_HEADER.search(header)))
    if dates >= MOST and not is_bare:
        return made("date", dates, months=share(values.parse_date) < MOST)
    if plain >= MOST and is_code:
        return made("code", plain, rf"^\d{{{lengths.pop()}}}$" if len(lengths) == 1 and plain == 1.0 else None)
    numbers = share(lambda text: values.parse_integer(values.thousands(values.decimal_zero(text)))[0] is not None)
    # 600.00 beside 1200.50: one fraction is enough, for a whole number is a decimal number too
    has_fraction = any(_DECIMAL.match(text) and not text.endswith(".0") for text in counted)
    if numbers >= MOST and not has_fraction:
        return made("integer", numbers)
    decimals = share(lambda text: _DECIMAL.match(text) or values.parse_integer(text)[0] is not None)
    if decimals >= MOST:
        return made("decimal", decimals)
    if _CODE_HEADER.search(header) and share(lambda text: re.fullmatch(r"[0-9A-Za-z-]+", text)) >= MOST:
        return made("code", 1.0)
    is_list = 2 <= len(counted) <= 30 and 4 * len(counted) <= total and max(lengths) <= 20
    return made("text", 1.0, None, tuple(sorted(counted)) if is_list else ())
