"""ID numbers, student numbers and names."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.identity import (
    MIDDLE_DOT,
    RARE_CHARACTERS,
    is_valid_id,
    make_ids,
    make_names,
    student_numbers,
)


@pytest.mark.parametrize(
    "number",
    ["649901201203150011", "64990120120315002X", "649901201009080144", "649902198506113017", "649903200511300075",
     "34052419800101001X"],
)  # fmt: skip
def test_golden_numbers_are_valid(number: str) -> None:
    assert is_valid_id(number)


@pytest.mark.parametrize(
    "number", ["649901201203150000", "649901201203149952", "64990120120315001", "64990120120315002x"]
)
def test_damaged_numbers_are_not(number: str) -> None:
    assert not is_valid_id(number)


def test_made_numbers_are_unique_valid_and_tell_birth_and_sex() -> None:
    rng = np.random.default_rng(3)
    birth = np.datetime64("2008-01-01") + rng.integers(0, 20, size=4_000)
    female = rng.integers(0, 2, size=4_000)
    ids = make_ids(rng.integers(1, 23, size=4_000), birth, female)
    assert len(set(ids)) == 4_000
    for number, day, sex in zip(ids, birth, female, strict=True):
        assert is_valid_id(number)
        assert number.startswith("6499")
        assert number[6:14] == str(day).replace("-", "")
        assert int(number[16]) % 2 == 1 - sex


def test_too_many_birthdays_are_refused() -> None:
    birth = np.full(500, np.datetime64("2010-01-01"))
    with pytest.raises(ValueError, match="more than 499"):
        make_ids(np.ones(500, dtype=np.int64), birth, np.zeros(500, dtype=np.int64))


def test_student_numbers_have_their_three_forms() -> None:
    birth = np.array(["2010-03-05"] * 3, dtype="datetime64[D]")
    ids = make_ids(np.array([1, 1, 1]), birth, np.array([0, 1, 0]))
    numbers = student_numbers(np.array(["G", "J", "L"], dtype=object), ids, np.array([0, 0, 0]), birth)
    assert numbers[0] == "G" + ids[0]
    assert numbers[1][0] == "J"
    assert is_valid_id(numbers[1][1:])
    assert numbers[2][0] == "L"
    assert len(numbers[2]) == 19
    assert all(n[1:5] == "6499" and n[7:15] == "20100305" for n in numbers)


def test_names_hold_dots_and_characters_outside_gbk() -> None:
    names = make_names(np.random.default_rng(1), 20_000)
    assert np.mean([MIDDLE_DOT in n for n in names]) == pytest.approx(0.02, abs=0.004)
    rare = [n for n in names if any(c in n for c in RARE_CHARACTERS)]
    assert len(rare) / len(names) == pytest.approx(0.003, abs=0.0015)
    for name in rare:
        assert name.encode("gb18030").decode("gb18030") == name
        with pytest.raises(UnicodeEncodeError):
            name.encode("gbk")
