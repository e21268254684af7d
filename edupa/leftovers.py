"""Schemas that a dead run left behind: candidates, and what was built to reproduce a release.

A schema is swept only if the run that made it is over or dead. While a build, a publication or a reproduction is going
on, its lock is held, and nothing of its kind is swept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import sql

from edupa.progress import say
from edupa.settings import Settings
from warehouse.connection import connect
from warehouse.locks import LockBusyError, writer_lock
from warehouse.reproduce import PREFIX, drop_schemas, schemas_of
from warehouse.transform import candidate_origin

# the candidate of a run that was blocked may still be let through by a waiver
KEPT_AFTER_RUN = timedelta(days=14)

# run id -> whether it is running; None: not known
IsRunning = Callable[[str], bool | None]


def as_airflow_says(state_of: Callable[[str], str]) -> IsRunning:
    """Whether a run is running, by Airflow's word; it knows nothing of runs without Airflow, and of purged ones."""

    def is_running(run_id: str) -> bool | None:
        if "__" not in run_id:
            return None
        try:
            return state_of(run_id) in ("queued", "running")
        except Exception as error:  # whatever Airflow's API raises for a run that it does not know
            say(f"  ! Airflow does not know {run_id}: {type(error).__name__}")
            return None

    return is_running


def _began(pid: int) -> str | None:
    """When a process of this machine began, in ticks; None: there is none, or the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def maker_of(run_id: str) -> dict[str, Any]:
    """Who makes a schema: run, machine and process, so that it can be told later whether it lives."""
    return {
        "run_id": run_id,
        "made_at": datetime.now(UTC).isoformat(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_began": _began(os.getpid()),
    }


def _process_lives(maker: dict[str, Any]) -> bool | None:
    """Whether the process that made a schema lives; None: it is one of another machine."""
    if maker.get("host") != socket.gethostname() or not isinstance(maker.get("pid"), int):
        return None
    try:
        os.kill(maker["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = _began(maker["pid"])
    return began is None or began == maker.get("process_began")


def _is_over(
    maker: dict[str, Any], status: str | None, ended: datetime | None, is_running: IsRunning | None, now: datetime
) -> bool:
    """Whether the run of a schema is dead, or has been over for long enough."""
    made = datetime.fromisoformat(maker["made_at"])
    if status == "failed":
        return True
    if status in ("succeeded", "blocked"):
        return now - (ended or made) > KEPT_AFTER_RUN
    run_id = str(maker["run_id"])
    known = is_running(run_id) if is_running else None
    # only Airflow knows whether its runs, named kind__time, live: their tasks are processes of their own
    if known is None and "__" not in run_id:
        known = _process_lives(maker)
    if status == "running":
        return known is False
    # `edupa release publish` keeps no run in the ledger; its process may end in a block
    return known is False and now - made > KEPT_AFTER_RUN


def _candidates(settings: Settings) -> list[tuple[str, str | None, datetime | None, dict[str, Any]]]:
    """Candidate schemas with the status of their run, its end, and their maker."""
    with connect("transform", settings.warehouse) as conn:
        names = [
            str(row[0])
            for row in conn.execute(
                "select nspname from pg_namespace where starts_with(nspname, 'candidate_')"
                " and pg_get_userbyid(nspowner) = 'edupa_transform' order by nspname"
            )
        ]
        found = []
        for name in names:
            maker = candidate_origin(settings.warehouse, name)
            row = conn.execute(
                "select status, finished_at from ledger.run where run_id = %s", (maker.get("run_id"),)
            ).fetchone()
            status, ended = (str(row[0]), row[1]) if row else (None, None)
            found.append((name, status, ended if isinstance(ended, datetime) else None, maker))
    return found


def sweep(settings: Settings, *, is_running: IsRunning | None = None, now: datetime | None = None) -> list[str]:
    """Drop the candidates of dead runs, candidates long over, and what dead reproductions left.

    Args:
        settings: where the warehouse is.
        is_running: what Airflow knows of its runs.
        now: the time to go by; None: the clock.

    Returns:
        Schemas dropped.
    """
    now = now or datetime.now(UTC)
    dropped: list[str] = []
    try:
        with (
            writer_lock(settings.warehouse, "transform", "build", "sweep", wait_s=0),
            writer_lock(settings.warehouse, "transform", "publish", "sweep", wait_s=0),
        ):
            for name, status, ended, maker in _candidates(settings):
                if not maker:
                    say(f"  ! {name}: does not say which run made it, it is left alone")
                elif _is_over(maker, status, ended, is_running, now):
                    with connect("transform", settings.warehouse) as conn:
                        conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
                    dropped.append(name)
    except LockBusyError as error:
        say(f"  ! candidates are left for the next time: {error}")
    with suppress(LockBusyError), writer_lock(settings.warehouse, "transform", "reproduce", "sweep", wait_s=0):
        if schemas_of(settings.warehouse, PREFIX):
            dropped += drop_schemas(settings.warehouse, PREFIX)
    say(f"sweep: {', '.join(dropped) if dropped else 'nothing left behind'}")
    return dropped
