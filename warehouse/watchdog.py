"""The watchdog: ends what exceeds the policy of roles.yaml, whatever a session set for itself; keeps the trail alive.

It acts as a role that may signal other sessions and sees how long they have been at what, never a statement.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import psycopg

from warehouse.access import AccessError, Connection, Matrix, load_matrix
from warehouse.audit import Collected, prove_and_collect
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.limits import watch_of

Reason = Literal["statement", "idle_in_transaction", "connections"]
WARN_AT = 0.5


@dataclass(frozen=True)
class Excess:
    """A session that exceeds, or is about to exceed, what its role is allowed.

    Attributes:
        since: begin of the statement, of the idle transaction, or of the session.
        allowed: the limit, e.g. ``600 s``.
        action: warn at half of a time limit, end beyond it.
    """

    login: str
    application_name: str
    pid: int
    backend_start: datetime
    since: datetime
    reason: Reason
    allowed: str
    action: Literal["warn", "end"]


@dataclass(frozen=True)
class Round:
    """What one round of the watchdog did; ``trail`` None: the trail could not be proved, ``problem`` says why."""

    warned: list[Excess] = field(default_factory=list)
    ended: list[Excess] = field(default_factory=list)
    trail: Collected | None = None
    problem: str | None = None


def _sessions(conn: Connection) -> list[tuple[int, str, str, str, datetime, datetime, datetime, datetime, datetime]]:
    rows = conn.execute(
        "select pid, login, application_name, state, backend_start, xact_start, query_start, state_change,"
        " clock_timestamp() from access.sessions() where state is not null"
    ).fetchall()
    return rows  # type: ignore[return-value]


def excesses(conn: Connection, matrix: Matrix | None = None) -> list[Excess]:
    """Sessions beyond half of what the policy allows them; of surplus connections the longest idle ones."""
    matrix = matrix or load_matrix()
    found: list[Excess] = []
    idle: dict[str, list[Excess]] = defaultdict(list)
    count: dict[str, int] = defaultdict(int)
    for pid, login, application, state, started, _, query_start, changed, now in _sessions(conn):
        watch = watch_of(login, matrix)
        if watch is None:
            continue
        count[login] += 1
        reason: Reason
        if state == "active":
            reason, limit, since = "statement", watch.statement_s, query_start
        elif state.startswith("idle in transaction"):
            reason, limit, since = "idle_in_transaction", watch.idle_in_transaction_s, changed
        else:
            if watch.connections is not None:
                allowed = f"{watch.connections} sessions"
                idle[login].append(Excess(login, application, pid, started, changed, "connections", allowed, "end"))
            continue
        lasted = (now - since).total_seconds()
        if limit is not None and lasted > limit * WARN_AT:
            action: Literal["warn", "end"] = "end" if lasted > limit else "warn"
            found.append(Excess(login, application, pid, started, since, reason, f"{limit:g} s", action))
    for login, sessions in idle.items():
        watch = watch_of(login, matrix)
        surplus = count[login] - (watch.connections or 0) if watch else 0
        found += sorted(sessions, key=lambda session: session.since)[: max(surplus, 0)]
    return found


def _note(conn: Connection, excess: Excess) -> bool:
    """Write a notice once per session, excess and action; whether it is new."""
    done = conn.execute(
        "insert into ledger.session_notice"
        " (login, application_name, backend_pid, backend_start, since, reason, action, allowed)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (
            excess.login, excess.application_name, excess.pid, excess.backend_start, excess.since, excess.reason,
            excess.action, excess.allowed,
        ),
    )  # fmt: skip
    return done.rowcount == 1


def _end(conn: Connection, excess: Excess) -> bool:
    """End a session if it is still in the same excess; one that moved on is left alone."""
    column = "query_start" if excess.reason == "statement" else "state_change"
    done = conn.execute(
        f"select pg_terminate_backend(pid, 2000) from access.sessions()"
        f" where pid = %s and backend_start = %s and {column} = %s".encode(),
        (excess.pid, excess.backend_start, excess.since),
    ).fetchone()
    return bool(done and done[0])


def watch_once(config: WarehouseConfig, matrix: Matrix | None = None) -> Round:
    """One round: warn and end sessions, prove and collect the trail of restricted reads.

    A trail that cannot be proved does not keep sessions from being ended; it is told in ``problem``.
    """
    warned: list[Excess] = []
    ended: list[Excess] = []
    with connect("watchdog", config, autocommit=True) as conn:
        for excess in excesses(conn, matrix):
            if excess.action == "warn":
                if _note(conn, excess):
                    warned.append(excess)
            elif _end(conn, excess):
                _note(conn, excess)
                ended.append(excess)
        try:
            return Round(warned, ended, prove_and_collect(conn))
        except (AccessError, psycopg.Error) as error:
            return Round(warned, ended, None, str(error).splitlines()[0])


def watch(
    config: WarehouseConfig,
    *,
    interval_s: float,
    say: Callable[[Round], None],
    rounds: int | None = None,
) -> None:
    """Watch until told to stop; a server that is away is waited for.

    Args:
        config: the warehouse.
        interval_s: seconds between rounds.
        say: told of every round.
        rounds: stop after so many; None: never.
    """
    done = 0
    while rounds is None or done < rounds:
        try:
            say(watch_once(config))
        except psycopg.OperationalError as error:
            say(Round(problem=str(error).splitlines()[0]))
        done += 1
        if rounds is None or done < rounds:
            time.sleep(interval_s)
