"""The benchmark of the nightly build: wall time, memory and spill of every model on one school year of the province.

``make bench-models`` writes a province of 1.4 million pupils for one evaluation year, loads it as the nightly run does,
builds with one thread, prints the slowest models and writes ``benchmarks/results/models.json``. The server is fresh and
has the settings of the embedded one, fsync is on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.models.memory import Sample, Watch
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect
from warehouse.server import stop
from warehouse.transform import run_dbt

RESULTS = PROJECT_ROOT / "benchmarks" / "results" / "models.json"
#: a model is listed on the terminal where it is among the slowest so many
LISTED = 15


@dataclass
class Steps:
    """Wall seconds and peak memory of the processes that come before the build."""

    home: Path
    extracts: Path
    seen: dict[str, dict[str, float]] = field(default_factory=dict)

    def edupa(self, step: str, *arguments: str) -> None:
        """Run one edupa command in a process of its own and note what it took."""
        environment = {**os.environ, "EDUPA_HOME": str(self.home), "EDUPA_EXTRACTS": str(self.extracts)}
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "edupa", *arguments], env=environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"edupa {' '.join(arguments)} ended with {process.returncode}")
        self.seen[step] = {"wall_s": round(time.monotonic() - began, 1), "peak_mb": round(used.ru_maxrss / 1024)}
        print(f"{step}: {self.seen[step]['wall_s']:.1f} s, {self.seen[step]['peak_mb']:.0f} MB", flush=True)


def measured_models(results: dict[str, Any], samples: list[Sample], config: WarehouseConfig) -> list[dict[str, Any]]:
    """One entry per model, the slowest first.

    Args:
        results: dbt's run_results.
        samples: memory and spill of the server while dbt ran.
        config: the warehouse, asked for what the models hold.

    Returns:
        model, wall_s (execution in the database), backend_mb (private memory of the sessions at work above what they
        held before), spill_mb (temporary files), relation_mb (with indexes), rows.
    """
    with connect("transform", config) as conn:
        sizes = {
            (str(schema), str(name)): (int(str(size)), int(str(rows)))
            for schema, name, size, rows in conn.execute(
                "select n.nspname, c.relname, pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint"
                " from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm')"
            )
        }
    found = []
    for result in results["results"]:
        timing = {step["name"]: step for step in result["timing"]}
        if not result["unique_id"].startswith("model.") or "execute" not in timing:
            continue
        first, last = (
            datetime.fromisoformat(timing["execute"][end].replace("Z", "+00:00")).timestamp()
            for end in ("started_at", "completed_at")
        )
        during = [sample for sample in samples if first <= sample.at <= last]
        schema, name = (part.strip('"') for part in result["relation_name"].split(".")[-2:])
        size, rows = sizes.get((schema, name), (0, 0))
        found.append(
            {
                "model": name,
                "wall_s": round(last - first, 2),
                "backend_mb": round(max((s.private_bytes for s in during), default=0) / 2**20),
                "spill_mb": round(max((s.spill_bytes for s in during), default=0) / 2**20),
                "relation_mb": round(size / 2**20, 1),
                "rows": rows,
            }
        )
    return sorted(found, key=lambda entry: -entry["wall_s"])


def build(config: WarehouseConfig) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Build seeds, staging, core and indicators with one thread, tests afterwards, watching the server.

    Returns:
        the models, and wall seconds of the build and of its tests.
    """
    chosen = ["--exclude", "path:models/marts", "--threads", "1"]
    run_dbt(["seed", "--threads", "1"], config)
    with connect("admin", config, autocommit=True) as conn:
        # as after a night of normal loads: autovacuum has been there
        conn.execute("analyze")
    watch = Watch(config)
    thread = threading.Thread(target=watch.run, daemon=True)
    began = time.monotonic()
    thread.start()
    run_dbt(["run", *chosen], config)
    watch.stop()
    thread.join()
    built_s = time.monotonic() - began
    results = json.loads((config.home / "dbt" / "target" / "run_results.json").read_text(encoding="utf-8"))
    models = measured_models(results, watch.samples, config)
    began = time.monotonic()
    run_dbt(["test", *chosen, "--exclude-resource-type", "unit_test"], config)
    return models, {"build_s": round(built_s, 1), "tests_s": round(time.monotonic() - began, 1)}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the real province")
    parser.add_argument("--year", type=int, default=2020, help="evaluation year")
    parser.add_argument("--seed", type=int, default=640000)
    parser.add_argument("--folder", type=Path, help="keep extracts here, and take those that lie here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()

    home = Path(tempfile.mkdtemp(prefix="edupa-bench-"))
    home.chmod(0o755)
    extracts = asked.folder or home / "extracts"
    config = WarehouseConfig(home=home / "home", secrets_dir=home / "home" / "secrets")
    steps = Steps(config.home, extracts)
    load_before = os.getloadavg()[0]
    try:
        if not extracts.exists():
            years = f"{asked.year}-{asked.year}"
            given = ("--scale", str(asked.scale), "--years", years, "--seed", str(asked.seed))
            steps.edupa("simulate", "simulate", "--no-defects", "--out", str(extracts), *given)
        steps.edupa("server", "server", "start")
        steps.edupa("load", "load")
        steps.edupa("match", "match", "run")
        models, whole = build(config)
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)

    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(load_before, 2)},
        "scale": asked.scale,
        "evaluation_year": asked.year,
        "steps": steps.seen,
        **whole,
        "models": models,
    }
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(models)} models in {whole['build_s']:.0f} s, their tests in {whole['tests_s']:.0f} s\n")
    print(f"{'model':40} {'rows':>11} {'wall s':>8} {'backend MB':>11} {'spill MB':>9} {'on disk MB':>11}")
    for entry in models[:LISTED]:
        print(
            f"{entry['model']:40} {entry['rows']:>11,} {entry['wall_s']:>8.1f} {entry['backend_mb']:>11}"
            f" {entry['spill_mb']:>9} {entry['relation_mb']:>11.1f}"
        )


if __name__ == "__main__":
    main()
