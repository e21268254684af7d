"""The benchmark of ingest: edupa against a bare copy by psql and four peers, interleaved, medians.

``make bench-ingest`` prints a table and writes ``benchmarks/results/ingest.json``. Every load is a process of its own,
so that its peak memory is its own; wall time is that of the load, without the time to start Python and to import
libraries. The server is fresh, fsync is on, a checkpoint is made before each load. The parts can be run one at a time
(``--only``), each replaces its part of the results file; with ``--folder`` the files are kept for the next part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ingest import server
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import dsn
from warehouse.server import read_state

RESULTS = PROJECT_ROOT / "benchmarks" / "results" / "ingest.json"
PEER_PYTHON = PROJECT_ROOT / ".venv-bench" / "bin" / "python"
ROWS = 1_400_000
GROWTH = (140_000, 1_400_000, 7_000_000)
#: peers that would take many minutes for all rows get a tenth of them
PEER_ROWS = {"polars_adbc": ROWS, "pandas_to_sql": ROWS // 10, "dlt": ROWS // 10, "earthmover": ROWS // 10}
PARTS = ("nights", "peers", "growth")
FIRST, LATER = "登记_2016_20161020.csv", "登记_2016_20161021.csv"


@dataclass(frozen=True)
class Run:
    """What one load took: seconds of the clock, of client's and server's processors, and the client's peak MB."""

    wall: float
    client_cpu: float
    server_cpu: float
    client_peak_mb: float


def _tree_kb(pid: int) -> int:
    """Resident size of a process and of all that it started, now; of a process alone the highest size so far."""
    processes, total = [pid], 0
    for process in processes:
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
            status = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue  # it has ended
        sizes = {name: int(line.split()[1]) for line in status if (name := line[:5]) in ("VmHWM", "VmRSS")}
        total += sizes.get("VmRSS" if len(processes) > 1 else "VmHWM", 0)
    return total


class Bench:
    """A fresh server, the files, and ways to load them."""

    def __init__(self, settings: WarehouseConfig, folder: Path) -> None:
        """Use a started warehouse and a folder for the files."""
        self.settings = settings
        self.folder = folder
        state = read_state(settings)
        assert state is not None
        self.psql = str(Path(state.bin_dir) / "psql")
        self.dsn = dsn("admin", settings)

    def files(self, rows: int) -> Path:
        """The folder with the files of so many rows."""
        folder = self.folder / str(rows)
        if not (folder / "whole").exists():
            folder.mkdir(exist_ok=True)
            code = "import sys; from pathlib import Path; from benchmarks.ingest.generate import write\n"
            code += "write(Path(sys.argv[1]), int(sys.argv[2]), changed=sys.argv[3] == '1')"
            wanted = [(FIRST, "0"), (LATER, "1")] if rows == ROWS else [(FIRST, "0")]
            for name, changed in wanted:
                subprocess.run(
                    [sys.executable, "-c", code, str(folder / name), str(rows), changed], check=True, cwd=PROJECT_ROOT
                )
            (folder / "whole").touch()
        return folder

    def _timed(self, command: list[str]) -> tuple[Run, dict[str, object]]:
        before = server.cpu_seconds(self.settings)
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(
                command,
                stdout=output,
                stderr=errors,
                cwd=PROJECT_ROOT,
                env={**os.environ, "EDUPA_BENCH_PSQL": self.psql, "DO_NOT_TRACK": "1"},
            )
            # ru_maxrss would count what this process held when it forked
            peak_kb = 0
            while True:
                peak_kb = max(peak_kb, _tree_kb(child.pid))
                ended, status, usage = os.wait4(child.pid, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.005)
            wall = time.monotonic() - started
            output.seek(0)
            errors.seek(0)
            said = output.read().strip().splitlines()
            if status:
                raise RuntimeError(f"{command[1:4]} failed: {errors.read()[-1500:]}")
        answer = json.loads(said[-1]) if said and said[-1].startswith("{") else {}
        run = Run(
            float(answer.get("wall", wall)),
            # of the process and of all that it started and waited for
            float(answer.get("cpu", usage.ru_utime + usage.ru_stime)),
            server.cpu_seconds(self.settings) - before,
            float(answer.get("peak_kb", peak_kb)) / 1024,
        )
        return run, answer

    def copy(self, rows: int) -> Run:
        """Bare copy of the file by psql into a plain typed table without index: the limit."""
        path = self.files(rows) / FIRST
        server.empty(self.settings, is_ours=False)
        command = f"\\copy bench.plain from '{path}' with (format csv, header)"
        return self._timed([self.psql, self.dsn, "-q", "-v", "ON_ERROR_STOP=1", "-c", command])[0]

    def ours(self, rows: int, name: str, status: str, *, fresh: bool) -> Run:
        """One load by edupa."""
        folder = self.files(rows)
        server.empty(self.settings, is_ours=fresh)
        run, answer = self._timed(
            [sys.executable, "-m", "benchmarks.ingest.ours", str(self.settings.home), str(folder), name]
        )
        if answer["status"] != status:
            raise RuntimeError(f"{name}: {answer['status']}, expected {status}")
        return run

    def peer(self, name: str) -> Run:
        """One load by a peer."""
        path = self.files(PEER_ROWS[name]) / FIRST
        server.empty(self.settings, is_ours=False)
        script = Path(__file__).with_name("peers.py")
        return self._timed([str(PEER_PYTHON), str(script), name, self.dsn, str(path)])[0]


def median(runs: list[Run]) -> dict[str, float]:
    """Medians of each measure, and the spread of the wall time."""
    result = {name: statistics.median(asdict(run)[name] for run in runs) for name in asdict(runs[0])}
    walls = [run.wall for run in runs]
    return {
        name: round(value, 3) for name, value in (result | {"wall_min": min(walls), "wall_max": max(walls)}).items()
    }


def _interleaved(jobs: dict[str, Callable[[], Run]], repetitions: int) -> dict[str, list[Run]]:
    """Each job in turn, so many times: noise of the machine hits all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in jobs}
    for repetition in range(repetitions):
        for name, job in jobs.items():
            runs[name].append(job())
            print(f"{repetition + 1}/{repetitions} {name:16} {runs[name][-1].wall:8.2f} s", file=sys.stderr, flush=True)
    return runs


def _ratios(runs: list[Run], bare: list[Run]) -> dict[str, float]:
    """Medians of the ratios of wall and processor time to the copy of the same turn."""
    pairs = list(zip(runs, bare, strict=True))
    return {
        "ratio_to_copy": round(statistics.median(run.wall / copy.wall for run, copy in pairs), 3),
        "cpu_ratio_to_copy": round(statistics.median(_cpu(run) / _cpu(copy) for run, copy in pairs), 3),
    }


def _nights(bench: Bench, repetitions: int) -> dict[str, object]:
    """The copy, and our full load, changed night and unchanged night."""
    runs = _interleaved(
        {
            "copy": lambda: bench.copy(ROWS),
            "full": lambda: bench.ours(ROWS, FIRST, "landed", fresh=True),
            "changed_2pct": lambda: bench.ours(ROWS, LATER, "landed", fresh=False),
            "unchanged": lambda: bench.ours(ROWS, LATER, "same_content", fresh=False),
        },
        repetitions,
    )
    summary: dict[str, object] = {
        name: median(mine) | (_ratios(mine, runs["copy"]) if name != "copy" else {}) for name, mine in runs.items()
    }
    file_mb = round((bench.files(ROWS) / FIRST).stat().st_size / 1e6, 1)
    return {"rows": ROWS, "columns": 30, "file_mb": file_mb, "repetitions": repetitions, **summary}


def _cpu(run: Run) -> float:
    return run.client_cpu + run.server_cpu


def _peers(bench: Bench, repetitions: int) -> dict[str, object]:
    """Peers beside a bare copy of as many rows; a peer that fails is named with its error, not left out."""
    result: dict[str, object] = {}
    for name, rows in PEER_ROWS.items():
        pair = {"copy": lambda rows=rows: bench.copy(rows), name: lambda name=name: bench.peer(name)}
        try:
            runs = _interleaved(pair, repetitions)  # type: ignore[arg-type]
        except RuntimeError as error:
            result[name] = {"rows": rows, "error": str(error)[-400:]}
            continue
        result[name] = {"rows": rows, **median(runs[name]), **_ratios(runs[name], runs["copy"])}
    return {"peer_repetitions": repetitions, "peers": result}


def _growth(bench: Bench, sizes: tuple[int, ...], repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Copy and full load at several sizes, medians."""
    result: list[dict[str, Any]] = []
    for rows in sizes:
        runs = _interleaved(
            {
                "copy": lambda rows=rows: bench.copy(rows),  # type: ignore[misc]
                "full": lambda rows=rows: bench.ours(rows, FIRST, "landed", fresh=True),  # type: ignore[misc]
            },
            repetitions,
        )
        full = median(runs["full"])
        result.append(
            {
                "rows": rows,
                "repetitions": repetitions,
                "copy_wall": median(runs["copy"])["wall"],
                "full_wall": full["wall"],
                **_ratios(runs["full"], runs["copy"]),
                "microseconds_per_row": round(full["wall"] / rows * 1e6, 3),
                "client_peak_mb": full["client_peak_mb"],
            }
        )
    return {"growth": result}


def table(result: dict[str, object]) -> str:
    """The results as a table."""
    head = "| load | rows | wall s | × copy | CPU s client + server | CPU × copy | client MB |"
    rule = "|---|--:|--:|--:|--:|--:|--:|"
    lines = [head, rule]

    def line(name: str, rows: object, entry: dict[str, float]) -> str:
        cpu = f"{entry['client_cpu']:.1f} + {entry['server_cpu']:.1f}"
        ratio, cpu_ratio = entry.get("ratio_to_copy", 1.0), entry.get("cpu_ratio_to_copy", 1.0)
        wall, peak = entry["wall"], entry["client_peak_mb"]
        return f"| {name} | {rows:,} | {wall:.2f} | {ratio:.2f} | {cpu} | {cpu_ratio:.2f} | {peak:.0f} |"

    names = {
        "copy": "bare `psql \\copy`",
        "full": "edupa, full load",
        "changed_2pct": "edupa, 2 % changed",
        "unchanged": "edupa, unchanged",
    }
    for name, title in names.items():
        if name in result:
            lines.append(line(title, result["rows"], result[name]))  # type: ignore[arg-type]
    peers = result.get("peers", {})
    assert isinstance(peers, dict)
    for name, entry in peers.items():
        lines.append(
            f"| {name} | {entry['rows']:,} | failed: {entry['error'][-80:]} | | | | |"
            if "error" in entry
            else line(name, entry["rows"], entry)
        )
    growth = result.get("growth", [])
    assert isinstance(growth, list)
    if growth:
        lines += ["", "| rows | `\\copy` s | edupa s | × copy | µs a row | client MB |", "|--:|--:|--:|--:|--:|--:|"]
    lines += [
        f"| {item['rows']:,} | {item['copy_wall']:.2f} | {item['full_wall']:.2f} | {item['ratio_to_copy']:.2f} |"
        f" {item['microseconds_per_row']:.2f} | {item['client_peak_mb']:.0f} |"
        for item in growth
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--peer-repetitions", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", default=list(GROWTH))
    parser.add_argument("--growth-repetitions", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="keep the files here; default: a folder that is removed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    parts: dict[str, Callable[[Bench], dict[str, Any]]] = {
        "nights": lambda bench: _nights(bench, given.repetitions),
        "peers": lambda bench: _peers(bench, given.peer_repetitions),
        "growth": lambda bench: _growth(bench, tuple(given.growth), given.growth_repetitions),
    }
    result: dict[str, Any] = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {}
    with tempfile.TemporaryDirectory(prefix="edupa-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        settings = server.begin(folder / "home")
        try:
            bench = Bench(settings, given.folder or folder)
            for part in given.only:
                load = os.getloadavg()
                measured = parts[part](bench)
                if part == "growth":
                    # sizes that were not run this time stay, each says how often it was run
                    others = [size for size in result.get("growth", []) if size["rows"] not in given.growth]
                    measured = {"growth": sorted(others + measured["growth"], key=lambda size: size["rows"])}
                result |= measured
                result[f"{part}_measured"] = {
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "load_before": load,
                    "load_after": os.getloadavg(),
                    "cores": os.cpu_count(),
                    "machine": platform.machine(),
                }
        finally:
            server.end(settings)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
