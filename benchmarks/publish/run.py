"""The benchmark of publishing: edupa's pointer and four rivals, each under busy readers in random order.

``make bench-publish`` prints a table and writes ``benchmarks/results/publish.json``. The server is fresh, fsync is on;
every way publishes the same marts to the same readers, one way after another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.publish.dumps import Dumps
from benchmarks.publish.readers import READERS, Readers, Seen
from benchmarks.publish.stalls import Stalls, measure
from benchmarks.publish.ways import RIVALS, Pointer, Way, publish_and_die
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.migrate import migrate
from warehouse.server import start, stop

RESULTS = PROJECT_ROOT / "benchmarks" / "results" / "publish.json"
#: fail points of the release step, in order
POINTS = (
    "release.freeze",
    "release.before_shelf",
    "release.after_shelf",
    "release.before_commit",
    "release.before_pointer",
    "release.in_pointer",
    "release.after_pointer",
)
QUIET_S = 10.0


def measure_way(
    config: WarehouseConfig, way: Way, publishes: int, *, kills: int = 0, first: int = 1, quiet_s: float = QUIET_S
) -> dict[str, Any]:
    """Publish again and again under readers.

    Args:
        config: the warehouse.
        way: how to publish; a first version must be there.
        publishes: how often.
        kills: deaths of the publisher at each fail point, spread over the publishes; each is followed by a rerun.
        first: number of the first version.
        quiet_s: seconds of readers alone, before.

    Returns:
        What was seen, fit for JSON.
    """
    failed: dict[str, int] = {}
    windows: list[tuple[float, float]] = []
    died = 0
    deaths = [point for _ in range(kills) for point in POINTS]
    every = max(1, publishes // len(deaths)) if deaths else 0
    with Readers(config, way.schema) as readers:
        began = time.monotonic()
        time.sleep(quiet_s)
        quiet = (began, time.monotonic())
        for version in range(first, first + publishes):
            way.build(version)
            due = len(deaths) and (version - first) % every == 0
            for _ in range(-(-len(deaths) // (publishes // every)) if due else 0):
                if died < len(deaths):
                    died += publish_and_die(config, version, deaths[died]) == 9
            start_of = time.monotonic()
            try:
                way.publish(version)
            except psycopg.Error as error:
                failed[error.sqlstate or "?"] = failed.get(error.sqlstate or "?", 0) + 1
            windows.append((start_of, time.monotonic()))
    seen, stalls = readers.seen, measure(readers.seen.spans, windows, quiet)
    return _entry(seen, stalls, windows, failed, died)


def _entry(
    seen: Seen, stalls: Stalls, windows: list[tuple[float, float]], failed: dict[str, int], died: int
) -> dict[str, Any]:
    lengths = sorted(end - start_of for start_of, end in windows)
    return {
        "publishes": len(windows),
        "publishes_failed": failed,
        "publisher_killed": died,
        "statements": seen.single,
        "transactions": seen.transactions,
        "torn_single": seen.torn_single,
        "torn_repeatable_read": seen.torn_repeatable_read,
        "empty_reads": seen.empty,
        "reader_errors": seen.errors,
        "median_publish_ms": round(1000 * lengths[len(lengths) // 2], 1),
        "median_stall_ms": round(stalls.median_ms, 2),
        "p95_stall_ms": round(stalls.p95_ms, 2),
        "worst_statement_ms": round(stalls.worst_ms, 1),
        "baseline_slowest_ms": round(stalls.baseline_ms, 2),
    }


def first_version(config: WarehouseConfig) -> Pointer:
    """Our way with version 0 published."""
    ours = Pointer(config)
    ours.build(0)
    ours.publish(0)
    return ours


def main() -> None:
    """Run all ways and tell."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--publishes", type=int, default=200)
    options.add_argument("--kills", type=int, default=20, help="of our publisher, at each fail point")
    options.add_argument("--rival-publishes", type=int, default=50)
    options.add_argument("--dumped-publishes", type=int, default=20, help="of ours, while pg_dump runs")
    options.add_argument("--output", type=Path, default=RESULTS)
    chosen = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="edupa-bench-"))
    home.chmod(0o755)
    config = WarehouseConfig(home=home, secrets_dir=home / "secrets")
    load_before = os.getloadavg()[0]
    start(config)
    try:
        migrate(config)
        ours = first_version(config)
        entries = {"ours": measure_way(config, ours, chosen.publishes, kills=chosen.kills)}
        # apart from the stalls, for a dump keeps a core busy
        with Dumps(config, home) as dumps:
            for version in range(chosen.publishes + 1, chosen.publishes + 1 + chosen.dumped_publishes):
                ours.build(version)
                ours.publish(version)
        entries["ours"] |= {"dumps": dumps.taken, "torn_dumps": len(dumps.faults)}
        print(_line("ours", entries["ours"]), flush=True)
        for name, make in RIVALS.items():
            entries[name] = measure_way(config, make(config), chosen.rival_publishes)
            print(_line(name, entries[name]), flush=True)
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_before": round(load_before, 2),
        "readers": READERS,
        **entries,
    }
    chosen.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {chosen.output}")


def _line(name: str, entry: dict[str, Any]) -> str:
    errors = sum(entry["reader_errors"].values()) + sum(entry["publishes_failed"].values())
    return (
        f"{name:16} {entry['publishes']:4} publishes, {entry['statements'] + entry['transactions']:6} reads:"
        f" torn {entry['torn_single']} single, {entry['torn_repeatable_read']} repeatable read;"
        f" {entry['empty_reads']} empty; {errors} errors; stall {entry['median_stall_ms']} ms median,"
        f" {entry['p95_stall_ms']} p95; {entry['publisher_killed']} kills"
    )


if __name__ == "__main__":
    main()
