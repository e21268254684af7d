"""Dumps taken while something is published: each must hold the release that its pointer names, whole."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from pathlib import Path

from benchmarks.publish.ways import MARTS, ROWS
from warehouse.config import WarehouseConfig
from warehouse.connection import dsn
from warehouse.server import read_state


def fault_of(dump: str) -> str | None:
    """What is wrong with a dump of the schema ``releases``; None: its pointer's release is in it, whole."""
    rows: dict[str, list[str]] = {}
    table: str | None = None
    for line in dump.splitlines():
        if line.startswith("COPY releases."):
            table = line.split()[1].removeprefix("releases.")
            rows[table] = []
        elif line == "\\.":
            table = None
        elif table is not None:
            rows[table].append(line)
    if not rows.get("pointer"):
        return "no pointer"
    release = rows["pointer"][0].split("\t")[1]
    for mart in MARTS:
        shelved = Counter(line.split("\t", 1)[0] for line in rows[mart])[release]
        frozen = len(rows.get(f"{mart}__{release.replace('.', '_')}", []))
        if (shelved, frozen) != (ROWS, ROWS):
            return f"{mart} of {release}: {shelved} rows on the shelf, {frozen} frozen"
    return None


class Dumps:
    """One pg_dump after another, in a thread; use as a context, then look at ``taken`` and ``faults``."""

    def __init__(self, config: WarehouseConfig, folder: Path) -> None:
        """Dumps of a warehouse with a release in it, written to a folder."""
        state = read_state(config)
        assert state is not None
        self.taken = 0
        self.faults: list[str] = []
        self._command = [
            f"{state.bin_dir}/pg_dump", "--dbname", dsn("admin", config), "--data-only", "--schema=releases",
        ]  # fmt: skip
        self._file = folder / "releases.sql"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            subprocess.run([*self._command, f"--file={self._file}"], check=True)
            if found := fault_of(self._file.read_text(encoding="utf-8")):
                self.faults.append(found)
            self.taken += 1

    def __enter__(self) -> Dumps:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the dump in hand."""
        self._stop.set()
        self._thread.join()
