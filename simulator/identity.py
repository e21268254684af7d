"""Invented names and numbers: ID numbers on the unassigned area prefix 6499xx, student numbers, school codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

ID_AREA_BASE = 649900
_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], dtype=np.int64)
_CHECKS = np.array(list("10X98765432"), dtype=object)

SURNAMES = (
    ("马", 20), ("王", 12), ("李", 11), ("杨", 9), ("张", 9), ("刘", 6), ("田", 4), ("罗", 4), ("丁", 4), ("陈", 4),
    ("赵", 3), ("苏", 3), ("金", 2), ("海", 2), ("虎", 1), ("撒", 1), ("买", 1), ("摆", 1), ("妥", 1), ("白", 2),
)  # fmt: skip
GIVEN = tuple("明丽强静伟芳军霞平燕龙娟刚梅波兰勇玲辉洁虹佳宁雪晨阳雨欣思涵梓萱浩然子轩嘉怡俊杰文博")
DOTTED_FIRST = ("阿依舍", "法图麦", "尔撒", "伊布拉", "海迪哲", "优素福", "赛买", "哈利麦", "艾米乃", "穆萨")
DOTTED_LAST = ("买买提", "哈山", "阿丹", "达吾德", "苏来曼", "尔里")
# In GB18030 (four bytes) but not in GBK.
RARE_CHARACTERS = ("\u4dae", "\u36c3", "\U0002cb6c", "\u3402", "\U00020087")
DOTTED_SHARE = 0.02
RARE_SHARE = 0.003
MIDDLE_DOT = "\u00b7"


def check_characters(bodies: IntArray) -> NDArray[np.object_]:
    """Return the check character of each 17-digit body (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = np.zeros(len(bodies), dtype=np.int64)
    rest = bodies.copy()
    for weight in _WEIGHTS[::-1]:
        total += rest % 10 * weight
        rest //= 10
    return np.asarray(_CHECKS[total % 11], dtype=object)


def check_character(body: str) -> str:
    """Return the check character of one 17-digit body."""
    return str(check_characters(np.array([int(body)], dtype=np.int64))[0])


def is_valid_id(number: str) -> bool:
    """Tell whether an 18-character ID has the right shape and check character (not whether its date exists)."""
    return (
        len(number) == 18
        and number[:17].isascii()
        and number[:17].isdigit()
        and check_character(number[:17]) == number[17]
    )


def as_numbers(days: NDArray[np.datetime64]) -> IntArray:
    """Turn dates into the integers YYYYMMDD."""
    years = days.astype("datetime64[Y]")
    months = days.astype("datetime64[M]")
    return np.asarray(
        (years.astype(np.int64) + 1970) * 10000
        + ((months - years).astype(np.int64) + 1) * 100
        + (days.astype("datetime64[D]") - months).astype(np.int64)
        + 1,
        dtype=np.int64,
    )


def running_count(keys: IntArray) -> IntArray:
    """Return for each element how many equal elements stand before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]] if len(keys) else np.zeros(0, dtype=bool)
    first = np.flatnonzero(starts)
    position = np.arange(len(keys)) - np.repeat(first, np.diff(np.r_[first, len(keys)]))
    result = np.empty(len(keys), dtype=np.int64)
    result[order] = position
    return result


def make_ids(area: IntArray, birth: NDArray[np.datetime64], female: IntArray) -> NDArray[np.object_]:
    """Make one valid, unique ID per person.

    Args:
        area: last two digits of the area prefix (1-99); callers keep the ranges of two populations apart.
        birth: birth dates (datetime64[D]).
        female: 0 male, 1 female; the sequence is odd for males and even for females.

    Raises:
        ValueError: more than 499 persons of one sex share prefix and birthday.
    """
    numbers = (ID_AREA_BASE + area) * 10**8 + as_numbers(birth)
    count = running_count(numbers * 2 + female)
    if len(count) and int(count.max()) > 498:
        raise ValueError("more than 499 persons of one sex share an ID prefix and a birthday")
    # Spread the sequence so that not every ID ends in 001x or 002x.
    spread = (count + numbers % 97 * 5) % 499
    bodies = numbers * 1000 + 2 * spread + 1 + female
    return np.asarray(bodies.astype(str).astype(object) + check_characters(bodies), dtype=object)


def make_names(rng: np.random.Generator, count: int) -> NDArray[np.object_]:
    """Make invented names: 2 % with a middle dot, 0.3 % with a character outside GBK."""
    surnames = np.array([s for s, _ in SURNAMES], dtype=object)
    weights = np.array([w for _, w in SURNAMES], dtype=float)
    given = np.array(GIVEN, dtype=object)
    names = surnames[rng.choice(len(surnames), count, p=weights / weights.sum())]
    names = names + given[rng.integers(len(given), size=count)]
    two = rng.random(count) < 0.75
    names[two] = names[two] + given[rng.integers(len(given), size=int(two.sum()))]
    dotted = np.flatnonzero(rng.random(count) < DOTTED_SHARE)
    first, last = np.array(DOTTED_FIRST, dtype=object), np.array(DOTTED_LAST, dtype=object)
    names[dotted] = (
        first[rng.integers(len(first), size=len(dotted))] + MIDDLE_DOT + last[rng.integers(len(last), size=len(dotted))]
    )
    rare = np.flatnonzero(rng.random(count) < RARE_SHARE)
    odd = np.array(RARE_CHARACTERS, dtype=object)
    names[rare] = (
        surnames[rng.choice(len(surnames), len(rare), p=weights / weights.sum())]
        + odd[rng.integers(len(odd), size=len(rare))]
    )
    return np.asarray(names, dtype=object)


def only(mask: NDArray[np.bool_], values: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the values where the mask holds and None elsewhere."""
    result = np.full(len(values), None, dtype=object)
    result[mask] = values[mask]
    return result


def student_numbers(
    kind: NDArray[np.object_],
    ids: NDArray[np.object_],
    county: IntArray,
    birth: NDArray[np.datetime64],
) -> NDArray[np.object_]:
    """Make student numbers: G + the ID; J + 17 digits + check; L + 18 digits.

    Args:
        kind: "G", "J" or "L" per person.
        ids: 18-character IDs (used for G only).
        county: county index; J and L carry an area prefix of their own (6499 + 51 + index modulo 49).
        birth: birth dates.

    Raises:
        ValueError: a J or L sequence runs out (999 per prefix and birthday).
    """
    numbers = (ID_AREA_BASE + 51 + county % 49) * 10**8 + as_numbers(birth)
    result = np.empty(len(kind), dtype=object)
    confirmed = kind == "G"
    result[confirmed] = "G" + ids[confirmed]
    for letter in ("J", "L"):
        picked = np.flatnonzero(kind == letter)
        if not len(picked):
            continue
        count = running_count(numbers[picked]) + 1
        if int(count.max()) > 999:
            raise ValueError(f"more than 999 {letter} numbers share a prefix and a birthday")
        bodies = numbers[picked] * 1000 + count
        tail = check_characters(bodies) if letter == "J" else (bodies % 10).astype(str).astype(object)
        result[picked] = letter + bodies.astype(str).astype(object) + tail
    return result
