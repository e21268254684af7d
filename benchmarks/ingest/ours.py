"""One load by edupa in a process of its own: ``ours.py HOME ROOT FILE``; prints seconds and counts as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import ingest
from benchmarks.ingest.server import CONTRACTS, FEED, config


def main() -> None:
    """Load the file and say how long it took, without the time to start Python."""
    home, root, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    contracts = ingest.load_contracts(CONTRACTS)
    started, used = time.monotonic(), time.process_time()
    report = ingest.load_feed(FEED, root, contracts, config(home), names=(name,)).files[0]
    wall, cpu = time.monotonic() - started, time.process_time() - used
    if report.status == "rejected":
        sys.exit(str(report.rejection))
    status = Path("/proc/self/status").read_text().splitlines()
    peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    answer = {"wall": wall, "cpu": cpu, "peak_kb": peak_kb, "status": report.status, "rows": report.rows_in}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
