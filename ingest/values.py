"""Normalizers and parsers of single values: pure functions from the text of a cell to canonical text.

They see only what is not canonical already (see columns.py), so they may be plain Python. What was changed
is named, never hidden: each parser returns the normalizers that had an effect.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

#: put by the xlsx reader before the text of a numeric cell where the type of the cell matters
NUMERIC_CELL = "\x00n:"

#: spellings of "no value", compared after trimming, NFKC and upper-casing
NULL_WORDS = frozenset(
    {"", "空", "无", "暂无", "NULL", "NONE", "N/A", "NA", "#N/A", "#VALUE!", "#REF!", "#NULL!"}
    | {"-", "--", "—", "——", "/", "\\N"}
)

_BLANKS = " \t\r\n\v\f\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_TRIM = _BLANKS + _INVISIBLE
_ODD_BLANKS = frozenset(_TRIM) - frozenset(" \t\r\n\v\f")
_SPACES = re.compile(f"[{_BLANKS}]+")
_ALL_SPACE = re.compile(f"[{_TRIM}]+")
_HAN_SPACE = re.compile(
    f"(?<=[\u3400-\u9fff\U00020000-\U0003ffff])[{_BLANKS}]+(?=[\u3400-\u9fff\U00020000-\U0003ffff])"
)
_MIDDLE_DOT = re.compile(r"\s*[\u00b7\u2022\u30fb\uff0e\u2027\u22c5\u25cf\uff65\u2219.]\s*")
_CHINESE_TIME = timezone(timedelta(hours=8))


class Parsed(NamedTuple):
    """Outcome for one value: canonical text (None: no value), the rule it breaks, the normalizers that changed it."""

    text: str | None
    rule: str | None
    steps: tuple[str, ...]


def trim(text: str) -> str:
    """Without blanks, ideographic spaces and invisible characters at both ends."""
    return text.strip(_TRIM)


def has_odd_blank(text: str) -> bool:
    """Whether a blank that cannot be told from none, or from an ordinary one, stands at either end."""
    return len(text.strip(_TRIM)) != len(text) and bool(
        set(text[: len(text) - len(text.lstrip(_TRIM))] + text[len(text.rstrip(_TRIM)) :]) & _ODD_BLANKS
    )


def nfkc(text: str) -> str:
    """Full-width letters, digits and punctuation as their ordinary forms."""
    return unicodedata.normalize("NFKC", text)


def apostrophe(text: str) -> str:
    """Without the apostrophe that spreadsheets use to mark text."""
    return text.lstrip("'`’‘")


def upper(text: str) -> str:
    """Upper case: the check character of an ID number is X."""
    return text.upper()


def no_space(text: str) -> str:
    """Without any blank or invisible character."""
    return _ALL_SPACE.sub("", text)


def decimal_zero(text: str) -> str:
    """Without the ``.0`` that a program adds to whole numbers."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def thousands(text: str) -> str:
    """Without thousands separators; other commas stay and fail the type check."""
    return text.replace(",", "") if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text) else text


def collapse_space(text: str) -> str:
    """Runs of blanks and line breaks as one space."""
    return _SPACES.sub(" ", text)


def han_space(text: str) -> str:
    """Without blanks between Chinese characters, used to stretch two-character names."""
    return _HAN_SPACE.sub("", text)


def middle_dot(text: str) -> str:
    """The separator in names of minority people as U+00B7 (GB18030 A1A4)."""
    return _MIDDLE_DOT.sub("\u00b7", text)


def pad_two(text: str) -> str:
    """A single digit with its leading zero."""
    return f"0{text}" if re.fullmatch(r"\d", text) else text


def list_separator(text: str) -> str:
    """Several values in one cell separated by 、 whatever was typed."""
    return "、".join(part for part in (trim(piece) for piece in re.split("[、,，;；/|]", text)) if part)


NORMALIZERS: dict[str, Callable[[str], str]] = {
    "trim": trim,
    "nfkc": nfkc,
    "apostrophe": apostrophe,
    "upper": upper,
    "no_space": no_space,
    "decimal_zero": decimal_zero,
    "thousands": thousands,
    "collapse_space": collapse_space,
    "han_space": han_space,
    "middle_dot": middle_dot,
    "pad_two": pad_two,
    "list_separator": list_separator,
}


def normalize(text: str, names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Apply normalizers in order.

    Returns:
        The text and the names of those that changed it.
    """
    changed = []
    for name in names:
        after = NORMALIZERS[name](text)
        if after != text:
            changed.append(name)
            text = after
    return text, tuple(changed)


def is_null_word(text: str, words: frozenset[str] = NULL_WORDS) -> bool:
    """Whether the text is a spelling of "no value"."""
    return nfkc(trim(text)).upper() in words


_CHINESE_DIGITS = {character: str(digit) for digit, character in enumerate("〇一二三四五六七八九")} | {
    "零": "0",
    "○": "0",
    "O": "0",
}


def _chinese_number(text: str) -> int | None:
    """A month or day in Chinese numerals: 一 … 三十一."""
    if not text or any(character not in "〇零○一二三四五六七八九十" for character in text):
        return None
    tens, ten, ones = text.partition("十")
    if not ten:
        return int("".join(_CHINESE_DIGITS[character] for character in text))
    return (int(_CHINESE_DIGITS[tens]) if tens else 1) * 10 + (int(_CHINESE_DIGITS[ones]) if ones else 0)


_YMD = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|年(\d{1,2})月(\d{1,2})[日号]?|(\d{2})(\d{2}))")
_YM = re.compile(r"(\d{4})(?:[-/.](\d{1,2})|年(\d{1,2})月(?:份)?|(\d{2}))")
_CHINESE_DATE = re.compile(
    r"([〇零○一二三四五六七八九]{4})年([一二三四五六七八九十]{1,3})月(?:([一二三四五六七八九十]{1,3})[日号]?)?"
)
_MIDNIGHT = re.compile(r"[ T]0{1,2}:00(:00(\.0+)?)?$")


def excel_serial(serial: float) -> date | None:
    """Date of a spreadsheet serial number (1900 system; 60 is the 29 February 1900 that never was)."""
    if not 61 <= serial < 2958466 or serial != int(serial):
        return None
    return date(1899, 12, 30) + timedelta(days=int(serial))


def parse_date(text: str, *, month_allowed: bool = False) -> str | None:
    """ISO date of a text in one of the listed forms, in Chinese time; None where it is no such date.

    Forms: 2017-09-01, 2017/9/1, 2017.9.1, 2017年9月1日, 20170901, 二〇一七年九月一日, each with or without midnight;
    a UTC timestamp (2017-08-31T16:00:00Z is 1 September in China); with ``month_allowed`` also 201709, 2017-09,
    2017年9月, 二〇一七年九月 as the first of the month. Two-digit years and day-first dates are ambiguous: None.
    """
    text = _MIDNIGHT.sub("", text)
    year: int
    month: int
    day: int
    if found := _YMD.fullmatch(text):
        year = int(found[1])
        month = int(found[3] or found[5] or found[7])
        day = int(found[4] or found[6] or found[8])
    elif found := _CHINESE_DATE.fullmatch(text):
        year = int("".join(_CHINESE_DIGITS[character] for character in found[1]))
        if found[3] is None and not month_allowed:
            return None
        month = _chinese_number(found[2]) or 0
        day = 1 if found[3] is None else _chinese_number(found[3]) or 0
    elif month_allowed and (found := _YM.fullmatch(text)):
        year, month, day = int(found[1]), int(found[2] or found[3] or found[4]), 1
    elif re.fullmatch(r"\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:?\d{2})", text):
        try:
            return datetime.fromisoformat(text).astimezone(_CHINESE_TIME).date().isoformat()
        except ValueError:
            return None
    else:
        return None
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


_SCHOOL_YEAR = re.compile(r"(\d{4})\s*[-/—–~至]\s*(\d{4}|\d{2})(?:学年度?|年度?)?")


def parse_school_year(text: str) -> str | None:
    """``2016/17`` from 2016/17, 2016-2017, 2016/2017, 2016-2017学年; None where the two years do not follow."""
    found = _SCHOOL_YEAR.fullmatch(text)
    if not found:
        return None
    first, second = int(found[1]), int(found[2])
    if second != (first + 1 if len(found[2]) == 4 else (first + 1) % 100):
        return None
    return f"{first}/{(first + 1) % 100:02d}"


_TRUE = frozenset({"是", "1", "Y", "YES", "TRUE", "T", "√", "✓", "✔", "☑", "有"})
_FALSE = frozenset({"否", "0", "N", "NO", "FALSE", "F", "×", "X", "✗", "✘", "☐", "无", "非", "不是"})


def parse_boolean(text: str) -> str | None:
    """``true`` or ``false``; None where the text is neither."""
    upper_text = text.upper()
    if upper_text in _TRUE:
        return "true"
    return "false" if upper_text in _FALSE else None


_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"([+-]?)0*(\d+)(?:\.(\d+))?")
#: digits after the point that a decimal column keeps
DECIMAL_SCALE = 6


def is_scientific(text: str) -> bool:
    """Whether the text is a number in scientific notation such as 6.49901E+17."""
    return _SCIENTIFIC.fullmatch(text) is not None


def parse_integer(text: str) -> tuple[str | None, str | None]:
    """Canonical digits of a whole number, or the rule that the text breaks.

    Words or units beside digits (12人, 约300, 1.5万): ``number.unit_text``; over 18 digits: ``number.out_of_range``.
    """
    if _INTEGER.fullmatch(text):
        number = int(text) if len(text) < 40 else 10**18
        return (str(number), None) if abs(number) < 10**18 else (None, "number.out_of_range")
    if is_scientific(text):
        return None, "type.integer"
    has_word = re.search(r"[^\d.,+\-\s]", text)
    return None, "number.unit_text" if has_word and re.search(r"\d", text) else "type.integer"


def parse_decimal(text: str) -> tuple[str | None, str | None]:
    """Canonical text of a decimal number, or the rule that the text breaks.

    Not a number, infinite or in scientific notation: ``type.decimal``; over 18 digits before or 6 after the point:
    ``number.out_of_range``; words or units beside digits: ``number.unit_text``.
    """
    found = _DECIMAL.fullmatch(text)
    if found:
        sign, whole, rest = found[1], found[2], (found[3] or "").rstrip("0")
        if len(whole) > 18 or len(rest) > DECIMAL_SCALE:
            return None, "number.out_of_range"
        return f"{'-' if sign == '-' else ''}{whole}{'.' + rest if rest else ''}", None
    if is_scientific(text):
        return None, "type.decimal"
    has_word = re.search(r"[^\d.,+\-\s]", text)
    return None, "number.unit_text" if has_word and re.search(r"\d", text) else "type.decimal"


_MOBILE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)")
_ID_IN_TEXT = re.compile(
    r"(?<!\d)[1-9]\d{5}(?:(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"|\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}(?!\d))"
)
#: an ID number of 18 characters anywhere in a code; by chance one code in many looks so, its check digit decides
ID_SHAPE = r"[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
_ID_SHAPES = re.compile(f"(?=({ID_SHAPE}))")


def holds_id_number(code: str) -> bool:
    """Whether a code holds an ID number: form, date and check digit are right."""
    return any(id_check_character(found[:17]) == found[17].upper() for found in _ID_SHAPES.findall(code))


def holds_personal_number(text: str) -> bool:
    """Whether free text holds something of the form of an ID number (18 or 15 characters) or a mobile number.

    Blanks and hyphens between digits do not hide it: ``138 0000 0000``.
    """
    squeezed = re.sub(r"(?<=\d)[\s\-_.·]+(?=[\dXx])", "", no_space(nfkc(text)))
    return _ID_IN_TEXT.search(squeezed) is not None or _MOBILE.search(squeezed) is not None


#: weights of the 17 digits, GB 11643-1999
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_PATTERN = r"^[1-9][0-9]{16}[0-9X]$"
#: numbers typed to get past a required field
ID_PLACEHOLDERS = (
    *(str(digit) * 18 for digit in range(10)),
    "123456789012345678",
    "111111111111111110",
    "999999999999999990",
)


def id_check_character(first_17: str) -> str:
    """Check character of an ID number, ISO 7064 MOD 11-2 as GB 11643-1999 prescribes."""
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, first_17, strict=True))
    return "10X98765432"[total % 11]


def parse_id(text: str) -> tuple[str, str | None]:
    """Form of an ID number; date and check digit are checked on whole columns.

    Returns:
        The text and ``id.placeholder``, ``id.scientific``, ``id.excel_truncated`` (``.0``) or ``id.pattern``, or None.
    """
    if is_scientific(text):
        return text, "id.scientific"
    if re.fullmatch(r"\d+\.\d+", text):
        return text, "id.excel_truncated"
    if text in ID_PLACEHOLDERS or re.fullmatch(r"(.)\1{4,}", text):
        return text, "id.placeholder"
    return text, None if re.match(ID_PATTERN, text) else "id.pattern"
