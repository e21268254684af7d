"""One writer of a kind at a time, held by the session: a dead holder frees its lock with no manual step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import psycopg

from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.silence import hung_up_when_silent

Kind = Literal["load", "build", "publish", "reproduce"]


class LockBusyError(RuntimeError):
    """Another run holds the lock and did not let go in time."""


def _holder(conn: psycopg.Connection[tuple[object, ...]], kind: Kind) -> str:
    row = conn.execute(
        "select a.application_name, a.pid, a.backend_start from pg_locks l join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database"
        " where datname = current_database()) and l.classid = hashtext('edupa')::oid"
        " and l.objid = hashtext(%s)::oid",
        (kind,),
    ).fetchone()
    return f"{row[0]} (backend {row[1]}, since {row[2]})" if row else "a run that has just ended"


@contextmanager
def writer_lock(
    config: WarehouseConfig, role: str, kind: Kind, run_id: str, *, wait_s: float = 3600, shared: bool = False
) -> Iterator[None]:
    """Hold the lock of a writer kind for the length of the block, on a connection of its own.

    Args:
        config: the warehouse.
        role: database role of the writer.
        kind: ``load``, ``build``, ``publish`` or ``reproduce``.
        run_id: shown to whoever has to wait.
        wait_s: seconds to wait for another holder.
        shared: keep writers of the kind out, but not others who only want them kept out.

    Raises:
        LockBusyError: still held after ``wait_s``; the message names the holder.
    """
    take, give = ("pg_try_advisory_lock", "pg_advisory_unlock") if not shared else (
        "pg_try_advisory_lock_shared", "pg_advisory_unlock_shared"
    )  # fmt: skip
    with connect(role, config, autocommit=True, application_name=f"edupa {kind} {run_id}"[:63]) as conn:
        deadline = time.monotonic() + wait_s
        while True:
            got = conn.execute(f"select {take}(hashtext('edupa'), hashtext(%s))".encode(), (kind,)).fetchone()
            if got and got[0]:
                break
            if time.monotonic() >= deadline:
                raise LockBusyError(f"{_holder(conn, kind)} holds the {kind!r} lock; gave up after {wait_s:.0f} s")
            time.sleep(0.5)
        try:
            yield
        finally:
            # a lock whose connection is gone is free already
            with suppress(psycopg.OperationalError), hung_up_when_silent(conn, f"giving back the {kind} lock"):
                conn.execute(f"select {give}(hashtext('edupa'), hashtext(%s))".encode(), (kind,))
