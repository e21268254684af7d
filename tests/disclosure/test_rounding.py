"""Rounding with a secret threshold: alike everywhere, unbiased, silent about a person who moved; its key is guarded."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from disclosure.policy import PolicyError, RoundedCells
from disclosure.rounding import (
    SECRET,
    Rounder,
    RoundingKeyError,
    base_for,
    interval_of,
    open_rounder,
    protect_by_rounding,
)
from tests.disclosure.cubes import CLASS, POLICY
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

BASE = 10
CELLS = [f"county {number}|2020|all|inside" for number in range(2000)]


def keyed(number: int) -> Rounder:
    """A rounder with one of many keys."""
    return Rounder(BASE, f"key number {number} for tests only, long enough".encode())


def nearest(count: int) -> int:
    """Rounding that everybody can recompute."""
    return BASE * ((count + BASE // 2) // BASE)


def test_the_same_count_is_always_shown_alike_and_nought_stays_nought() -> None:
    one, again = keyed(1), keyed(1)
    for number, cell in enumerate(CELLS):
        assert one.round(cell, number % 37) == again.round(cell, number % 37)
        assert one.round(cell, 0) == 0
    assert [one.round(cell, 5) for cell in CELLS] != [keyed(2).round(cell, 5) for cell in CELLS]


def test_a_figure_lies_within_its_interval_whatever_the_threshold() -> None:
    for number, cell in enumerate(CELLS):
        low, high = interval_of(keyed(3).round(cell, number % 50), BASE)
        assert low <= number % 50 <= high
        assert high - low >= BASE - 1


def test_rounding_is_unbiased() -> None:
    mean = sum(keyed(4).round(cell, 3) for cell in CELLS) / len(CELLS)
    # standard error of the mean of 2,000 figures of 0 or 10 with chance 0.3: 0.1
    assert abs(mean - 3) < 0.5


def candidates(before: int, after: int, thresholds: range) -> set[int]:
    """Counts that an attacker must reckon with who saw two figures and knows that one person came."""

    def shown(count: int, threshold: int) -> int:
        return BASE * (count // BASE + (count % BASE > threshold))

    return {
        count for count in range(200) for u in thresholds if shown(count, u) == before and shown(count + 1, u) == after
    }


def test_one_person_moved_gives_the_count_away_by_nearest_rounding_and_not_by_ours() -> None:
    recovered = {"nearest": 0, "ours": 0}
    jumps = 0
    for number, cell in enumerate(CELLS):
        count = number % 50
        before, after = keyed(5).round(cell, count), keyed(5).round(cell, count + 1)
        jumps += before != after
        found = candidates(before, after, range(BASE))
        assert count in found
        assert max(found) - min(found) >= BASE - 2
        recovered["ours"] += len(found) == 1
        if nearest(count) != nearest(count + 1):
            known = candidates(nearest(count), nearest(count + 1), range(BASE // 2 - 1, BASE // 2))
            assert known == {count}
            recovered["nearest"] += 1
    print(f"one person came, {jumps} figures jumped: {recovered}")
    assert jumps > 0
    assert recovered["ours"] == 0
    assert recovered["nearest"] > 0


def test_fresh_noise_in_every_release_averages_out_and_ours_does_not() -> None:
    cells = CELLS[:50]
    fresh = sum(round(sum(keyed(release).round(cell, 7) for release in range(2000)) / 2000) == 7 for cell in cells)
    fixed = sum(round(sum(keyed(6).round(cell, 7) for _ in range(30)) / 30) == 7 for cell in cells)
    print(f"averaging over releases recovers {fresh} of {len(cells)} from fresh noise, {fixed} from ours")
    assert fresh > 40
    assert fixed == 0


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="round its parts"):
        keyed(1).round("x", -1)


def test_a_base_too_small_for_the_policy_is_refused() -> None:
    assert base_for(replace(POLICY, methods={"m": ("rounding", 4)}), "m") == 4
    # 3 leaves an interval 4 wide
    assert CLASS.min_width == 5
    with pytest.raises(PolicyError, match="take a base of 4"):
        base_for(replace(POLICY, methods={"m": ("rounding", 3)}), "m")
    with pytest.raises(PolicyError, match="not protected by rounding"):
        base_for(POLICY, "m")


def test_presence_is_kept_where_it_must_be() -> None:
    for number, cell in enumerate(CELLS):
        rounder = Rounder(5, f"key number {number % 7} for tests only, long enough".encode(), keeps_presence=True)
        count = number % 23
        shown = rounder.round(cell, count)
        assert (shown == 0) == (count == 0)
        low, high = interval_of(shown, 5, keeps_presence=True)
        assert low <= count <= high
        assert high - low == (8 if count else 0)
    # without it, small counts are shown as nought too
    assert {Rounder(5, b"a key for tests only, long enough").round(cell, 2) for cell in CELLS} == {0, 5}


def test_the_key_is_made_once_and_another_one_is_refused(warehouse: WarehouseConfig) -> None:
    first = open_rounder(warehouse, BASE)
    path = warehouse.secret_path(SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_rounder(warehouse, BASE) == first
    assert "key" not in repr(first).replace("key_id", "")
    kept = path.read_text(encoding="utf-8")
    try:
        path.write_text("f" * 64, encoding="utf-8")
        with pytest.raises(RoundingKeyError, match="put the old key back"):
            open_rounder(warehouse, BASE)
        path.write_text("short", encoding="utf-8")
        with pytest.raises(RoundingKeyError, match="shorter than 32"):
            open_rounder(warehouse, BASE)
    finally:
        path.write_text(kept, encoding="utf-8")


AID = replace(
    POLICY,
    methods={"aid": ("rounding", BASE)},
    cells={"aid": RoundedCells(("indicators", "aid_cell"), ("county", "stage"), ("covered", "missing"))},
)


def test_a_mart_reads_rounded_counts_of_the_cells_that_it_declares(warehouse: WarehouseConfig) -> None:
    with connect("transform", warehouse) as conn:
        conn.execute("create table indicators.aid_cell (county text, stage text, covered integer, missing integer)")
        conn.execute(
            "insert into indicators.aid_cell values ('640101', 'primary', 17, 0), ('640102', 'primary', 3, 12)"
        )
        conn.commit()
    try:
        # another table shows the same people under another name: both are rounded alike
        alike = replace(AID.cells["aid"], cell=("county",), counts=("covered",), identity="stage")
        protect_by_rounding(warehouse, replace(AID, cells={"aid": alike}), "aid")
        rounder = open_rounder(warehouse, BASE, keeps_presence=True)
        with connect("transform", warehouse) as conn:
            found = conn.execute("select cell, persons from disclosure.rounded where mart = 'aid'").fetchall()
        assert sorted(found) == [("640101", rounder.round("primary|covered", 17)), ("640102", BASE)]
        made = protect_by_rounding(warehouse, AID, "aid")
        with connect("transform", warehouse) as conn:
            found = conn.execute("select cell, part, persons from disclosure.rounded where mart = 'aid'").fetchall()
        assert made == 4
        assert {(cell, part): persons for cell, part, persons in found} == {
            ("640101|primary", "covered"): rounder.round("640101|primary|covered", 17),
            ("640101|primary", "missing"): 0,
            ("640102|primary", "covered"): BASE,
            ("640102|primary", "missing"): rounder.round("640102|primary|missing", 12),
        }
        with connect("transform", warehouse) as conn:
            conn.execute("insert into indicators.aid_cell values ('640103', null, 1, 1)")
            conn.commit()
        with pytest.raises(PolicyError, match="names a cell of aid is blank or holds a bar, in 640103"):
            protect_by_rounding(warehouse, AID, "aid")
        with connect("transform", warehouse) as conn:
            kept = conn.execute("select count(*) from disclosure.rounded where mart = 'aid'").fetchone()
        assert kept == (4,)
    finally:
        with connect("transform", warehouse) as conn:
            conn.execute("drop table indicators.aid_cell")
            conn.execute("delete from disclosure.rounded where mart = 'aid'")


def test_a_mart_without_cells_is_refused(warehouse: WarehouseConfig) -> None:
    with pytest.raises(PolicyError, match="other declares no relation"):
        protect_by_rounding(warehouse, AID, "other")
