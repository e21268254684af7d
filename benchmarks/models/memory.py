"""Private memory and temporary files of a PostgreSQL server, sampled while it works."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from warehouse.config import WarehouseConfig
from warehouse.connection import connect

EVERY_S = 0.05


@dataclass(frozen=True)
class Sample:
    """What the server held at one moment (Unix time)."""

    at: float
    private_bytes: int
    spill_bytes: int


def _private_bytes(process: int) -> int:
    """Anonymous memory of a process: its own, without the buffers that all sessions share."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def _children(process: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


@dataclass
class Watch:
    """Samples a server on this machine until told to stop; needs the right to read its data folder."""

    config: WarehouseConfig
    samples: list[Sample] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Sample every ``EVERY_S`` seconds: memory above that of the idle server, and files of sorts and hashes."""
        with connect("admin", self.config) as conn:
            row = conn.execute("select current_setting('data_directory')").fetchone()
        assert row is not None
        data = Path(str(row[0]))
        postmaster = int((data / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
        spilled = data / "base" / "pgsql_tmp"
        idle = sum(_private_bytes(process) for process in _children(postmaster))
        while not self._over.wait(EVERY_S):
            held = sum(_private_bytes(process) for process in _children(postmaster))
            self.samples.append(Sample(time.time(), max(0, held - idle), _bytes_below(spilled)))

    def stop(self) -> None:
        """End the sampling."""
        self._over.set()
