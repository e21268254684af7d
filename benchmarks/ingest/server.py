"""The benchmark's own warehouse, and what its server has used of the processor."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import ingest
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.migrate import migrate
from warehouse.server import read_state, start, stop

CONTRACTS = Path(__file__).parent / "contracts"
FEED = "bench_register"
_TICKS = os.sysconf("SC_CLK_TCK")


def config(home: Path) -> WarehouseConfig:
    """Settings of the benchmark's warehouse; fsync is on, as in earnest."""
    return WarehouseConfig(home=home, secrets_dir=home / "secrets")


def begin(home: Path) -> WarehouseConfig:
    """Start a fresh warehouse with the newest schema."""
    home.mkdir(parents=True)
    home.chmod(0o755)
    settings = config(home)
    start(settings)
    migrate(settings)
    ingest.ensure_token_key(settings)
    return settings


def end(settings: WarehouseConfig) -> None:
    """Stop the server and remove all that it kept."""
    stop(settings, mode="immediate")
    shutil.rmtree(settings.home, ignore_errors=True)


def empty(settings: WarehouseConfig, *, is_ours: bool) -> None:
    """Empty what the next run fills, and write out what is pending, so that no run pays for another."""
    contract = ingest.load_contracts(CONTRACTS)[FEED]
    columns = ", ".join(f"{column.name} {column.physical_type}" for column in contract.columns)
    with connect("admin", settings, autocommit=True) as conn:
        conn.execute("drop schema if exists bench cascade")
        conn.execute("create schema bench")
        conn.execute(f"create table bench.plain ({columns})")
        if is_ours:
            conn.execute(f"drop table if exists landing.{FEED}")
            conn.execute(
                "truncate vault.person_identity, ledger.load, ledger.file, ledger.seen, quarantine.rejected_row cascade"
            )
            shutil.rmtree(settings.home / "lines", ignore_errors=True)
            with connect("ingest", settings) as own:
                ingest.ensure_landing(own, ingest.load_contracts(CONTRACTS))
        conn.execute("checkpoint")


def cpu_seconds(settings: WarehouseConfig) -> float:
    """Processor seconds of the server so far: the postmaster, its children, and those that have ended.

    A child that ends while it is counted is missed or counted twice: so it is counted until two counts agree.
    """
    state = read_state(settings)
    assert state is not None
    postmaster = int((Path(state.data_dir) / "postmaster.pid").read_text().split()[0])
    before = -1
    while (ticks := _ticks(postmaster)) != before:
        before = ticks
        time.sleep(0.05)
    return ticks / _TICKS


def _ticks(postmaster: int) -> int:
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.name) == postmaster:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += sum(map(int, fields[11:13]))
    return total
