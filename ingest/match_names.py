"""Names, dates and numbers compared: many pairs at once, as arrays of code points."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Points = np.ndarray[Any, np.dtype[np.uint32]]
Texts = np.ndarray[Any, np.dtype[np.str_]]

#: stands in a key for a character that did not survive an export
UNREADABLE = "\ufffd"
# dots of all widths between the parts of a name, blanks, and what has no width
_SEPARATORS = r"[\s\p{Cf}·•‧∙⋅・･．.。]+"
_DESCRIBED = r"[{｛\[【][^}｝\]】]{1,6}[}｝\]】]"
_LOST = r"[?？〓□■�*＊\p{Co}]"


def name_key(column: str) -> pl.Expr:
    """Key under which two spellings of a name meet: no dots or blanks, one width, lost characters marked."""
    return (
        pl.col(column)
        .str.normalize("NFKC")
        .str.replace_all(_DESCRIBED, UNREADABLE)
        .str.replace_all(_LOST, UNREADABLE)
        .str.replace_all(_SEPARATORS, "")
        .str.to_uppercase()
    )


def _points(texts: pl.Series) -> tuple[Points, np.ndarray[Any, np.dtype[np.int64]]]:
    """Code points of texts, padded with zeros, and their lengths; null: no character."""
    made: Texts = np.asarray(texts.fill_null("").to_list(), dtype=np.str_)
    width = max(made.dtype.itemsize // 4, 1)
    points = np.ascontiguousarray(made.astype(f"<U{width}")).view(np.uint32).reshape(len(made), width)
    return points, np.asarray((points != 0).sum(axis=1), dtype=np.int64)


def _same_width(left: Points, right: Points) -> tuple[Points, Points]:
    width = max(left.shape[1], right.shape[1])
    return (
        np.pad(left, ((0, 0), (0, width - left.shape[1]))),
        np.pad(right, ((0, 0), (0, width - right.shape[1]))),
    )


def _runs(equal: Mask) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Length of the run of equal characters from the start of each row."""
    return np.asarray(np.cumprod(equal, axis=1, dtype=np.int64).sum(axis=1), dtype=np.int64)


def _reversed(points: Points, lengths: np.ndarray[Any, np.dtype[np.int64]]) -> Points:
    """Rows read from their last character."""
    place = lengths[:, None] - 1 - np.arange(points.shape[1])[None, :]
    taken = np.take_along_axis(points, np.maximum(place, 0), axis=1)
    return np.where(place >= 0, taken, 0).astype(np.uint32)


def one_character_off(left: pl.Series, right: pl.Series) -> Mask:
    """Pairs of texts that one insertion, deletion or exchange of a character turns into each other, or that are equal.

    Texts shorter than two characters are never near to anything but themselves.
    """
    if not len(left):
        return np.zeros(0, bool)
    first, first_length = _points(left)
    second, second_length = _points(right)
    first, second = _same_width(first, second)
    shorter, longer = np.minimum(first_length, second_length), np.maximum(first_length, second_length)
    head = np.minimum(_runs(first == second), shorter)
    tail = np.minimum(_runs(_reversed(first, first_length) == _reversed(second, second_length)), shorter - head)
    equal = (first == second).all(axis=1)
    near = (longer - shorter <= 1) & (head + tail >= longer - 1) & (shorter >= 2)
    return np.asarray(near | equal, dtype=bool)


def fits_but_unreadable(left: pl.Series, right: pl.Series) -> Mask:
    """Pairs of keys of one length that agree wherever both are readable, in at least one character."""
    if not len(left):
        return np.zeros(0, bool)
    first, first_length = _points(left)
    second, second_length = _points(right)
    first, second = _same_width(first, second)
    lost = ord(UNREADABLE)
    is_lost = (first == lost) | (second == lost)
    agrees = (first == second) | is_lost
    readable = (first == second) & ~is_lost & (first != 0)
    return np.asarray(
        (first_length == second_length) & agrees.all(axis=1) & readable.any(axis=1) & is_lost.any(axis=1), dtype=bool
    )


def digits_off(left: pl.Series, right: pl.Series, length: int) -> tuple[Mask, Mask]:
    """Compare digit strings of one length.

    Args:
        left: digits; rows that are shorter than ``length`` are near to nothing.
        right: the others.
        length: digits that count, from the start.

    Returns:
        Pairs that differ in exactly one digit, and pairs in which two neighbors changed places.
    """
    none = np.zeros(len(left), bool)
    if not len(left):
        return none, none
    first, first_length = _points(left.str.slice(0, length))
    second, second_length = _points(right.str.slice(0, length))
    first, second = _same_width(first, second)
    whole = (first_length == length) & (second_length == length)
    unequal = first != second
    count = unequal.sum(axis=1)
    crossed = (first[:, :-1] == second[:, 1:]) & (first[:, 1:] == second[:, :-1]) & unequal[:, :-1] & unequal[:, 1:]
    return whole & (count == 1), whole & (count == 2) & crossed.any(axis=1)
