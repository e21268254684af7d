"""Busy readers and dumps see whole releases while publishers publish and die (`make bench-publish` does it longer)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.publish.dumps import Dumps, fault_of
from benchmarks.publish.run import POINTS, first_version, measure_way
from benchmarks.publish.ways import MARTS, ROWS, TruncateInsert
from warehouse.config import WarehouseConfig
from warehouse.verify import verify


def test_readers_and_dumps_see_whole_releases(fresh_warehouse: WarehouseConfig, tmp_path: Path) -> None:
    config = fresh_warehouse
    ours = first_version(config)
    seen = measure_way(config, ours, 24, kills=2, quiet_s=1)
    print(seen)
    assert seen["publisher_killed"] == 2 * len(POINTS)
    assert seen["statements"] > 100
    assert seen["transactions"] > 100
    assert (seen["torn_single"], seen["torn_repeatable_read"], seen["empty_reads"]) == (0, 0, 0)
    assert (seen["reader_errors"], seen["publishes_failed"]) == ({}, {})
    with Dumps(config, tmp_path) as dumps:
        for version in range(25, 30):
            ours.build(version)
            ours.publish(version)
    assert dumps.taken > 0
    assert dumps.faults == []
    assert verify(config)[1] == []


def test_the_readers_notice_emptied_tables(fresh_warehouse: WarehouseConfig) -> None:
    emptied = measure_way(fresh_warehouse, TruncateInsert(fresh_warehouse), 4, quiet_s=2)
    assert emptied["empty_reads"] or emptied["reader_errors"] or emptied["publishes_failed"]


def test_a_dump_without_the_pointers_release_is_noticed() -> None:
    row = "2020.1.0\tG1b"
    whole = "".join(
        f"COPY releases.{name} (release_id) FROM stdin;\n" + f"{row}\n" * ROWS + "\\.\n"
        for mart in MARTS
        for name in (mart, f"{mart}__2020_1_0")
    )
    pointer = "COPY releases.pointer (is_current, release_id) FROM stdin;\nt\t{}\n\\.\n"
    assert fault_of(whole + pointer.format("2020.1.0")) is None
    assert fault_of(whole + pointer.format("2020.2.0")) == f"{MARTS[0]} of 2020.2.0: 0 rows on the shelf, 0 frozen"
    assert fault_of(whole) == "no pointer"
