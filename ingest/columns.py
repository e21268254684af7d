"""Apply a column's normalizers and checks to a whole column.

Most values are canonical already: one regular expression says so and they are cast as they are. Only the others
go, each distinct spelling once, through the parsers of values.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from ingest import values
from ingest.codelists import spelling
from ingest.contract import Column, Condition, resolve_bound
from ingest.values import NUMERIC_CELL, Parsed

_MEMO_LIMIT = 50_000
_INT32_MAX = 2_147_483_647
#: text that no text normalizer changes
_PLAIN_TEXT = r"^[\p{Han}A-Za-z0-9·()（）《》“”]+$"
_PLAIN_CODE = r"^[0-9A-Z]*[0-9][0-9A-Z]*$"
_PLAIN_DECIMAL = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{0,5}[1-9])?$"
#: eleven digits in free text are worth a second look: a mobile number has so many, an ID number more
_LONG_DIGITS = "[0-9]{11}"
_LIST = "、"
_SOME_ID = "649901200803150035"
#: stands in landing for a remark that is none of the contract's words
WITHHELD = "（略）"
_NO_DATE = frozenset({"9999-12-31", "1900-01-00", "0000-00-00", "1899-12-31"})


def ascii_pattern(pattern: str) -> str:
    r"""A contract's pattern for ASCII digits only: ``\d`` alone would let full-width digits pass as canonical."""
    return pattern.replace(r"[\dX]", "[0-9X]").replace(r"\d", "[0-9]")


@dataclass
class ColumnResult:
    """What became of a column.

    Attributes:
        values: typed, null where there is no value or a wrong one.
        problems: rule -> rows that break it; a row breaks at most one rule of its column.
        null_words: rows whose text is a spelling of "no value".
        counts: normalizer -> number of values it changed.
    """

    values: pl.Series
    problems: dict[str, pl.Series] = field(default_factory=dict)
    null_words: pl.Series | None = None
    counts: Counter[str] = field(default_factory=Counter)


def _none(length: int) -> pl.Series:
    return pl.repeat(False, length, eager=True, dtype=pl.Boolean)


def condition_mask(condition: Condition, frame: Mapping[str, pl.Series]) -> pl.Series:
    """Rows for which a contract's condition holds."""
    series = frame[condition.column]
    wanted = list(condition.values)
    mask = series == wanted[0] if len(wanted) == 1 else series.is_in(wanted)
    if not series.null_count():
        return mask
    mask = mask.fill_null(False)
    return mask | series.is_null() if condition.or_null else mask


#: step that a warning tells: a code with a non-breaking, zero-width or ideographic space before or behind it
ODD_BLANK = "odd_blank"
_CODES = ("code", "id_number", "school_year")
_NO_NUMBER = "0" * 18
_ID_LENGTH = len(_NO_NUMBER)
#: days of month 1 to 12; no other month has any
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] + [0] * 87)
#: where year, month and day of birth stand in an ID number, and what each digit counts
_BIRTH_PLACES = (
    (slice(6, 10), np.array([1000, 100, 10, 1])),
    (slice(10, 12), np.array([10, 1])),
    (slice(12, 14), np.array([10, 1])),
)


def _id_digits(numbers: pl.Series) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Digits of ID numbers of 18 characters, one row each; X = 10, a missing number is all 0."""
    text = numbers.fill_null(_NO_NUMBER).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
    raw = np.frombuffer(text.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _ID_LENGTH)
    digits = raw.astype(np.int16) - ord("0")
    digits[raw[:, -1] == ord("X"), -1] = 10
    return digits


def check_values(first_17: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Value that the check character of ID numbers must have (X = 10), ISO 7064 MOD 11-2 over the first 17 digits."""
    total = np.zeros(len(first_17), dtype=np.int64)
    rest = first_17
    for weight in reversed(values.ID_WEIGHTS):
        rest, digit = np.divmod(rest, 10)
        total += digit * weight
    return (12 - total % 11) % 11


def id_problems(numbers: pl.Series, latest: date | None) -> dict[str, pl.Series]:
    """Check ID numbers of the right form, GB 11643-1999.

    Args:
        numbers: 18 characters each, or null.
        latest: last day on which a birth can lie; None: unchecked.

    Returns:
        id.excel_truncated (ends in 000 and fails the check digit), id.impossible_date, id.checksum -> rows.
    """
    if not len(numbers):
        return {}
    given = numbers.is_not_null().to_numpy()
    digits = _id_digits(numbers)
    expected = (12 - digits[:, :-1] @ np.array(values.ID_WEIGHTS, np.int16) % 11) % 11
    wrong = (expected != digits[:, -1]) & given
    truncated = wrong & (digits[:, -3:] == 0).all(axis=1)
    year, month, day = (digits[:, at] @ power for at, power in _BIRTH_PLACES)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days = _MONTH_DAYS[month] + ((month == 2) & is_leap)
    impossible = (year < 1900) | (day < 1) | (day > days)
    if latest is not None:
        impossible |= year * 10_000 + month * 100 + day > latest.year * 10_000 + latest.month * 100 + latest.day
    impossible &= given & ~truncated
    return {
        "id.excel_truncated": pl.Series(truncated),
        "id.impossible_date": pl.Series(impossible),
        "id.checksum": pl.Series(wrong & ~truncated & ~impossible),
    }


class ColumnParser:
    """A column of a contract made ready for use: compiled patterns, and what is known of spellings seen before."""

    def __init__(self, column: Column) -> None:
        """Compile the column's rules."""
        self.column = column
        self.pattern = re.compile(ascii_pattern(column.pattern)) if column.pattern else None
        # a code without a form of its own must not be an ID number, unless the contract says that it is long
        self._may_hold_id = (
            column.kind == "code"
            and not (column.code_list or column.is_personal or column.long_number or column.derived)
            and (self.pattern is None or self.pattern.match(_SOME_ID) is not None)
        )
        self._memo: dict[str, Parsed] = {}
        self._canonical = self._canonical_pattern()
        self._suspects = self._suspect_words()
        self._is_null = column.null_words
        listed = column.code_list.entries if column.code_list and not column.multi else {}
        #: codes of the list that stand for themselves and for nothing else
        self._plain_codes = sorted(code for code in listed if self.parse(code) == Parsed(code, None, ()))

    def _canonical_pattern(self) -> str | None:
        column = self.column
        if column.code_list or column.kind in ("boolean", "school_year") or column.multi:
            return None
        if column.kind == "code":
            return ascii_pattern(column.pattern) if column.pattern else _PLAIN_CODE
        return {
            "id_number": values.ID_PATTERN,
            "integer": r"^(0|[1-9][0-9]{0,17})$",
            "decimal": _PLAIN_DECIMAL,
            "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "text": _PLAIN_TEXT,
        }[column.kind]

    def _suspect_words(self) -> list[str]:
        """Texts that look canonical but are not: words for "no value", test words, placeholder numbers."""
        column = self.column
        words = {variant for word in column.null_words for variant in (word, word.lower(), word.title())}
        words |= {case for word in column.test_words for case in (word, word.lower(), word.upper(), word.title())}
        if column.kind == "id_number":
            words |= set(values.ID_PLACEHOLDERS)
        canonical = self._canonical
        return sorted(word for word in words if canonical and re.match(canonical.replace(r"\p{Han}", "㐀-鿿"), word))

    def parse(self, raw: str) -> Parsed:
        """Canonical text of one value (see values.py), by the kind of the column."""
        parsed = self._parse(raw)
        if self.column.kind in _CODES and values.has_odd_blank(raw):
            # what looks right and is not: people must hear of it, not only find it counted
            return parsed._replace(steps=(*parsed.steps, ODD_BLANK))
        return parsed

    def _parse(self, raw: str) -> Parsed:
        column = self.column
        numeric = raw.startswith(NUMERIC_CELL)
        if column.multi and values.is_null_word(raw, self._is_null):
            # before the list is split: #N/A would become two values
            return Parsed(None, None, ("null_word",) if raw else ())
        text, steps = values.normalize(raw.removeprefix(NUMERIC_CELL), column.normalizers)
        if column.code_list:
            return self._parse_listed(text, steps)
        if column.kind == "boolean":
            answer = values.parse_boolean(text)
            if answer is None and values.is_null_word(text, self._is_null):
                return Parsed(None, None, steps)
            changed = answer is not None and answer != text
            return Parsed(answer, None if answer else "type.bool", (*steps, "boolean") if changed else steps)
        if values.is_null_word(text, self._is_null):
            return Parsed(None, None, (*steps, "null_word") if text else steps)
        if column.kind == "text":
            rule = self._text_rule(text)
            if rule is None and column.words:
                squeezed = values.no_space(text)
                if not set(squeezed.split(_LIST) if column.multi else [squeezed]) <= column.words:
                    # remarks may name people: what the contract does not expect is not kept
                    return Parsed(WITHHELD, None, (*steps, "withheld"))
                text = squeezed
            return Parsed(text, rule, steps)
        if column.kind == "integer":
            number, rule = values.parse_integer(text)
            return Parsed(number, rule, steps)
        if column.kind == "decimal":
            number, rule = values.parse_decimal(text)
            return Parsed(number, rule, steps)
        if column.kind == "date":
            return self._parse_date(text, numeric, steps)
        if column.kind == "school_year":
            year = values.parse_school_year(text)
            return Parsed(year, None if year else "code.pattern", (*steps, "school_year") if year != text else steps)
        if numeric and column.long_number:
            return Parsed(text, "id.excel_truncated", steps)
        if column.kind == "id_number":
            number, rule = values.parse_id(text)
            return Parsed(number, rule, steps)
        return self._parse_code(text, steps)

    def _text_rule(self, text: str) -> str | None:
        """The rule that a text breaks, if any."""
        column = self.column
        if text.lower() in {word.lower() for word in column.test_words}:
            return "text.test_data"
        if not column.is_personal and values.holds_personal_number(text):
            return "text.personal"
        if self.pattern is not None and not self.pattern.search(text):
            return "code.pattern"
        return None

    def _parse_listed(self, text: str, steps: tuple[str, ...]) -> Parsed:
        column = self.column
        assert column.code_list is not None
        code = column.code_list.find(text)
        if code is not None:
            return Parsed(code, None, steps if code == text else (*steps, "code_list"))
        if values.is_null_word(text, self._is_null):
            return Parsed(None, None, (*steps, "null_word") if text else steps)
        padded = text.zfill(column.code_length) if column.code_length and text.isdigit() else text
        lost = padded != text and column.code_list.find(padded) is not None
        return Parsed(None, "code.leading_zero_lost" if lost else "code.unknown", steps)

    def _parse_code(self, text: str, steps: tuple[str, ...]) -> Parsed:
        column = self.column
        if self._may_hold_id and values.holds_id_number(text):
            return Parsed(None, "text.personal", steps)
        if self.pattern is None or self.pattern.match(text):
            return Parsed(text, None, steps)
        if column.long_number and values.is_scientific(text):
            return Parsed(None, "id.scientific", steps)
        if column.code_length and text.isdigit() and self.pattern.match(text.zfill(column.code_length)):
            return Parsed(None, "code.leading_zero_lost", steps)
        return Parsed(None, "code.pattern", steps)

    def _parse_date(self, text: str, numeric: bool, steps: tuple[str, ...]) -> Parsed:
        if text in _NO_DATE:
            return Parsed(None, None, (*steps, "null_word"))
        found = values.parse_date(text, month_allowed=self.column.month_allowed)
        if found is None and numeric:
            serial = values.excel_serial(float(text))
            found = serial.isoformat() if serial else None
        changed = found is not None and found != text
        return Parsed(found, None if found else "type.date", (*steps, "date_form") if changed else steps)

    def _cached(self, raw: str) -> Parsed:
        parsed = self._memo.get(raw)
        if parsed is None:
            parsed = self.parse(raw)
            # personal values are not kept beyond the batch
            if not self.column.is_personal and len(self._memo) < _MEMO_LIMIT:
                self._memo[raw] = parsed
        return parsed

    def clean_expression(self) -> pl.Expr | None:
        """Per value: whether it is canonical already; None where every spelling has to be looked up."""
        raw = pl.col(self.column.name)
        if self._canonical is None:
            return raw.is_in(self._plain_codes) | raw.is_null() if self._plain_codes else None
        clean = raw.str.contains(self._canonical)
        if self._suspects:
            clean &= ~raw.is_in(self._suspects)
        if self.column.kind == "text" and not self.column.is_personal:
            clean &= ~raw.str.contains(_LONG_DIGITS)
            if self.column.pattern:
                clean &= raw.str.contains(ascii_pattern(self.column.pattern))
            if self.column.words:
                clean &= raw.is_in(sorted(self.column.words))
        if self._may_hold_id:
            clean &= ~raw.str.contains(values.ID_SHAPE.replace(r"\d", "[0-9]"))
        if self.column.kind == "date":
            clean &= raw.str.to_date("%Y-%m-%d", strict=False, cache=False).is_not_null() & ~raw.str.starts_with("9999")
        return clean.fill_null(False) | raw.is_null()

    def apply(self, raw: pl.Series, facts: dict[str, Any], *, is_clean: bool = False) -> ColumnResult:
        """Normalize and check a column.

        Args:
            raw: text as delivered; null for an empty cell.
            facts: what the file's name says, for date bounds.
            is_clean: all values are known to be canonical.

        Returns:
            Typed values and the rows that break a rule. Of ID numbers the text is kept where only its form is wrong,
            so that the caller can decide for other documents (see pipeline.py).
        """
        result = ColumnResult(raw)
        text = raw if is_clean else self._normalized(raw, result)
        kind = self.column.kind
        if kind == "integer":
            result.values = text.cast(pl.Int64, strict=False)
            self._integer_range(result)
        elif kind == "decimal":
            result.values = text.cast(pl.Decimal(38, values.DECIMAL_SCALE), strict=False)
            self._decimal_range(result)
        elif kind == "date":
            result.values = text.str.to_date("%Y-%m-%d", strict=False, cache=False)
            self._date_range(result, facts)
        elif kind == "boolean":
            result.values = text.replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
        else:
            result.values = text
        return result

    def _normalized(self, raw: pl.Series, result: ColumnResult) -> pl.Series:
        """Canonical text of every value; fills problems, null words and counts."""
        expression = self.clean_expression()
        if expression is None:
            odd = raw.drop_nulls()
        else:
            odd = raw.to_frame().select(pl.col(raw.name).filter(~expression)).to_series()
        if odd.is_empty():
            return raw
        counted = odd.value_counts(name="?n")
        spellings: list[str] = counted.to_series(0).to_list()
        amounts: list[int] = counted.to_series(1).to_list()
        new: list[str | None] = []
        broken: dict[str, list[str]] = {}
        nothing: list[str] = []
        for text, amount in zip(spellings, amounts, strict=True):
            parsed = self._cached(text)
            for step in parsed.steps:
                result.counts[step] += amount
            keeps_text = parsed.rule is None or self.column.kind == "id_number"
            new.append(parsed.text if keeps_text else None)
            if parsed.rule:
                broken.setdefault(parsed.rule, []).append(text)
            elif parsed.text is None:
                nothing.append(text)
        for rule, texts in broken.items():
            result.problems[rule] = raw.is_in(texts).fill_null(False)
        if nothing:
            result.null_words = raw.is_in(nothing).fill_null(False)
        changed = [(old, text) for old, text in zip(spellings, new, strict=True) if old != text]
        if not changed:
            return raw
        return raw.replace(
            pl.Series([old for old, _ in changed], dtype=pl.String),
            pl.Series([text for _, text in changed], dtype=pl.String),
        )

    def _add(self, result: ColumnResult, rule: str, mask: pl.Series) -> None:
        if mask.any():
            mask = mask.fill_null(False)
            result.problems[rule] = result.problems[rule] | mask if rule in result.problems else mask
            result.values = pl.select(pl.when(~mask).then(result.values)).to_series()

    def _integer_range(self, result: ColumnResult) -> None:
        column = self.column
        limit = column.maximum if column.maximum is not None else _INT32_MAX
        if column.physical_type == "integer":
            limit = min(limit, _INT32_MAX)
        if column.minimum is not None and column.minimum >= 0:
            self._add(result, "number.negative", result.values < 0)
        if column.minimum is not None:
            self._add(result, "number.out_of_range", result.values < column.minimum)
        self._add(result, "number.out_of_range", result.values > limit)

    def _decimal_range(self, result: ColumnResult) -> None:
        column = self.column
        if column.minimum is not None and column.minimum >= 0:
            self._add(result, "number.negative", result.values < 0)
        if column.minimum is not None:
            self._add(result, "number.out_of_range", result.values < column.minimum)
        if column.maximum is not None:
            self._add(result, "number.out_of_range", result.values > column.maximum)

    def _date_range(self, result: ColumnResult, facts: dict[str, Any]) -> None:
        lower = resolve_bound(_as_date(self.column.date_minimum), facts)
        upper = resolve_bound(_as_date(self.column.date_maximum), facts)
        if lower is not None:
            self._add(result, "date.out_of_range", result.values < lower)
        if upper is not None:
            self._add(result, "date.out_of_range", result.values > upper)


def _as_date(bound: object) -> object:
    if isinstance(bound, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", bound):
        return date.fromisoformat(bound)
    return bound


def shape(text: str) -> str:
    """Shape of a personal value: 9 for a digit, A for a letter, 某 for a Chinese character; at most 40 characters."""
    text = text.removeprefix(NUMERIC_CELL)
    kinds = []
    for character in text[:40]:
        if character.isdigit():
            kinds.append("9")
        elif "\u3400" <= character <= "\u9fff" or ord(character) >= 0x20000:
            kinds.append("某")
        elif character.isalpha():
            kinds.append("A")
        else:
            kinds.append(character if character.isprintable() else "?")
    return "".join(kinds) + ("…" if len(text) > 40 else "")


def masked(text: str | None, column: Column | None) -> str:
    """A value as it may be shown.

    Of personal columns the shape only. A name or number can slip into any other column too, so there the first six
    digits of a run are shown, and of Chinese characters and letters only those that the column's code list uses.
    """
    if text is None:
        return ""
    if column is None or column.is_personal or values.holds_personal_number(text.removeprefix(NUMERIC_CELL)):
        return shape(text)
    text = text.removeprefix(NUMERIC_CELL)[:40]
    text = re.sub(r"(\d{6})(\d+)", lambda found: found[1] + "#" * len(found[2]), text)
    vocabulary = column.code_list.vocabulary if column.code_list else frozenset("年月日万约千百元人个岁以上下无空")
    return "".join(
        shape(character)
        if not character.isprintable() or (character.isalpha() and spelling(character) not in vocabulary)
        else character
        for character in text
    )
