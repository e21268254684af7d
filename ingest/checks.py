"""Cross-field checks, by the name under which a contract asks for them.

Each takes the check's arguments and the facts of the file's name and returns an expression over the typed columns
of a batch: true where the row breaks the rule. A missing or already wrong value makes it null: not blamed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl

from ingest.codelists import CodeList
from ingest.contract import resolve_bound
from ingest.values import ID_WEIGHTS

Facts = dict[str, Any]
CheckFunction = Callable[[dict[str, Any], Facts], pl.Expr]


def not_greater(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """``left`` is greater than ``right``."""
    return pl.col(arguments["left"]) > pl.col(arguments["right"])


def id_birth(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """Birth date in the ID number (characters 7–14) differs from column ``birth``."""
    born = pl.col(arguments["id"]).str.slice(6, 8).str.to_date("%Y%m%d", strict=False, cache=False)
    return born != pl.col(arguments["birth"])


def id_sex(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """Parity of the 17th digit (odd: male, GB 11643-1999) differs from column ``sexColumn``."""
    digit = pl.col(arguments["id"]).str.slice(16, 1).cast(pl.Int8, strict=False)
    expected = (
        pl.when(digit % 2 == 1).then(pl.lit(arguments["male"])).when(digit % 2 == 0).then(pl.lit(arguments["female"]))
    )
    return expected != pl.col(arguments["sexColumn"])


def number_body(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """A number with ``idLetter`` differs from the ID number; without an ID number its birth digits from ``birth``."""
    number = pl.col(arguments["number"])
    body = number.str.slice(1, 18)
    wrong = number.str.starts_with(arguments["idLetter"]) & (body != pl.col(arguments["id"]))
    if "birth" in arguments:
        born = body.str.slice(6, 8)
        other = pl.col(arguments["id"]).is_null() & (born != pl.col(arguments["birth"]).dt.strftime("%Y%m%d"))
        wrong = wrong.fill_null(False) | other
    return wrong


def check_digit(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """The last character of a number that starts with one of ``letters`` fails ISO 7064 MOD 11-2."""
    number = pl.col(arguments["number"])
    concerned = number.str.slice(0, 1).is_in(arguments["letters"])
    first = number.str.slice(1, 17).cast(pl.Int64, strict=False)
    total = pl.sum_horizontal(
        [(first // 10 ** (16 - position)) % 10 * weight for position, weight in enumerate(ID_WEIGHTS)]
    )
    last = number.str.slice(18, 1).replace("X", "10").cast(pl.Int64, strict=False)
    return concerned & ((12 - total % 11) % 11 != last)


def age_by_code(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """Age in completed years on a day of the file's period lies outside the code list's band for ``code``."""
    day = resolve_bound(arguments["at"], facts)
    if not isinstance(day, date):
        return pl.lit(False)
    codes: CodeList = arguments["codeList"]
    bands = {
        code: (int(row[arguments["minimum"]]), int(row[arguments["maximum"]])) for code, row in codes.entries.items()
    }
    birth = pl.col(arguments["birth"])
    before_birthday = (birth.dt.month() > day.month) | ((birth.dt.month() == day.month) & (birth.dt.day() > day.day))
    age = day.year - birth.dt.year() - before_birthday.cast(pl.Int32)
    code = pl.col(arguments["code"])
    lower = code.replace_strict({name: band[0] for name, band in bands.items()}, default=None, return_dtype=pl.Int32)
    upper = code.replace_strict({name: band[1] for name, band in bands.items()}, default=None, return_dtype=pl.Int32)
    return (age < lower) | (age > upper)


def label_of_code(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """Column ``label`` names another entry of the code list than column ``code``, or none at all."""
    codes: CodeList = arguments["codeList"]
    label = pl.col(arguments["label"]).str.replace_all(r"\s", "")
    return label.replace_strict(codes.lookup, default="", return_dtype=pl.String) != pl.col(arguments["code"])


def empty_when(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """``value`` is given though column ``when`` has one of the values ``in`` that leave it empty."""
    return pl.col(arguments["value"]).is_not_null() & pl.col(arguments["when"]).is_in(list(arguments["in"]))


def parts_total(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """``total`` differs from the sum of the columns ``parts``; unknown where one of them is missing."""
    return pl.col(arguments["total"]) != pl.sum_horizontal(
        [pl.col(name) for name in arguments["parts"]], ignore_nulls=False
    )


def no_name(arguments: dict[str, Any], facts: Facts) -> pl.Expr:
    """Text ``text`` holds the name of a person of the same row (columns ``names``, two characters or more)."""
    text = pl.col(arguments["text"])
    return pl.any_horizontal(
        [
            (pl.col(name).str.len_chars() >= 2) & text.str.contains(pl.col(name), literal=True)
            for name in arguments["names"]
        ]
    )


def parts_difference(arguments: dict[str, Any]) -> pl.Expr:
    """By how much ``total`` exceeds the sum of ``parts``, as text with its sign."""
    parts = pl.sum_horizontal([pl.col(name) for name in arguments["parts"]], ignore_nulls=False)
    amount = pl.col(arguments["total"]) - parts
    text = amount.cast(pl.String)
    plain = pl.when(text.str.contains(".", literal=True)).then(text.str.replace(r"\.?0+$", "")).otherwise(text)
    return pl.when(amount > 0).then(pl.lit("+")).otherwise(pl.lit("")) + plain


#: check -> text of the difference that its message tells
DIFFERENCES: dict[str, Callable[[dict[str, Any]], pl.Expr]] = {"parts_total": parts_difference}

CHECKS: dict[str, CheckFunction] = {
    "not_greater": not_greater,
    "id_birth": id_birth,
    "id_sex": id_sex,
    "number_body": number_body,
    "check_digit": check_digit,
    "age_by_code": age_by_code,
    "label_of_code": label_of_code,
    "empty_when": empty_when,
    "parts_total": parts_total,
    "no_name": no_name,
}
