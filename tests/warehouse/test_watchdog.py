"""The watchdog warns, then ends what exceeds policy, and leaves alone what does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.warehouse.test_release import build_candidate, judge, publish
from warehouse.access import ROLES_FILE, AccessError, Matrix, load_matrix, read_matrix
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.limits import apply_limits, seconds, watch_of
from warehouse.watchdog import Round, excesses, watch, watch_once

Connection = psycopg.Connection[tuple[object, ...]]


def policy(role: str, **watch: Any) -> Matrix:
    """The matrix with another policy for one role and none for the others."""
    return replace(load_matrix(), limits={role: {"watch": watch}})


@pytest.fixture
def reader(warehouse: WarehouseConfig) -> Iterator[Connection]:
    """A reader that has freed itself of every limit that a session may lift."""
    conn = connect("bi", warehouse, application_name="dashboard")
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
        conn.execute(f"set {setting} = 0".encode())
    conn.commit()
    yield conn
    conn.close()


def notices(config: WarehouseConfig, pid: int) -> list[tuple[object, ...]]:
    with connect("auditor", config) as conn:
        return conn.execute(
            "select reason, action, login, application_name from ledger.session_notice where backend_pid = %s"
            " order by notice_id",
            (pid,),
        ).fetchall()


def alive(conn: Connection) -> bool:
    try:
        conn.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("fault", ["F22"], ids=["fault[F22]"])
def test_a_reader_idle_in_its_transaction_stops_no_release_and_is_warned_then_ended(
    warehouse: WarehouseConfig, reader: Connection, fault: str
) -> None:
    build_candidate(warehouse, 70.0)
    judge(warehouse)
    publish(warehouse, 2018)
    reader.execute("begin isolation level repeatable read")
    first = reader.execute("select release_id, value from marts.county_evaluation").fetchall()
    for value in (71.0, 72.0):
        build_candidate(warehouse, value)
        judge(warehouse)
        began = time.monotonic()
        assert publish(warehouse, 2018)[0] == "published"
        assert time.monotonic() - began < 10
        assert reader.execute("select release_id, value from marts.county_evaluation").fetchall() == first
    pid = reader.info.backend_pid
    time.sleep(1.1)
    assert [found.pid for found in watch_once(warehouse, policy("bi", idle_in_transaction="2s")).warned] == [pid]
    # once is enough
    assert watch_once(warehouse, policy("bi", idle_in_transaction="2s")).warned == []
    assert notices(warehouse, pid) == [("idle_in_transaction", "warn", "edupa_bi", "dashboard")]
    time.sleep(1.0)
    done = watch_once(warehouse, policy("bi", idle_in_transaction="2s"))
    assert [(found.pid, found.reason, found.allowed) for found in done.ended] == [(pid, "idle_in_transaction", "2 s")]
    assert not alive(reader)
    assert [row[:2] for row in notices(warehouse, pid)] == [
        ("idle_in_transaction", "warn"),
        ("idle_in_transaction", "end"),
    ]


def test_a_long_statement_is_ended_though_its_session_lifted_the_timeout(
    warehouse: WarehouseConfig, reader: Connection
) -> None:
    sender = reader.pgconn
    sender.send_query(b"select pg_sleep(60)")
    time.sleep(0.4)
    done = watch_once(warehouse, policy("bi", statement="0.3s"))
    assert [(found.login, found.reason) for found in done.ended] == [("edupa_bi", "statement")]
    sender.get_result()
    assert not alive(reader)


def test_writers_and_what_keeps_within_policy_are_left_alone(warehouse: WarehouseConfig, reader: Connection) -> None:
    with connect("ingest", warehouse) as writer:
        writer.execute("select 1")
        reader.execute("select 1")
        time.sleep(0.2)
        strict = policy("bi", idle_in_transaction="10min", statement="10min", connections=5)
        assert watch_once(warehouse, strict).ended == []
        assert watch_once(warehouse).ended == []
        assert alive(writer)
        assert alive(reader)
    assert watch_of("edupa_ingest") is not None
    assert watch_of("edupa_ingest").statement_s is None  # type: ignore[union-attr]
    assert watch_of("edupa_admin") is None
    assert watch_of("somebody") is None
    assert watch_of("edupa_county_xiji") == watch_of("edupa_county")


def test_surplus_sessions_lose_the_longest_idle_ones(warehouse: WarehouseConfig) -> None:
    sessions = [connect("evaluator", warehouse, autocommit=True) for _ in range(4)]
    try:
        for session in sessions:
            session.execute("select 1")
        done = watch_once(warehouse, policy("evaluator", connections=2))
        assert sorted(found.pid for found in done.ended) == sorted(s.info.backend_pid for s in sessions[:2])
        assert [alive(session) for session in sessions] == [False, False, True, True]
    finally:
        for session in sessions:
            session.close()


def test_a_session_that_moved_on_is_not_ended(warehouse: WarehouseConfig, reader: Connection) -> None:
    from warehouse import watchdog

    reader.execute("select 1")
    time.sleep(0.1)
    with connect("watchdog", warehouse, autocommit=True) as conn:
        (found,) = excesses(conn, policy("bi", idle_in_transaction="0.05s"))
        reader.commit()
        assert watchdog._end(conn, found) is False
    assert alive(reader)


def test_the_watchdog_holds_one_power_and_sees_no_statement(warehouse: WarehouseConfig, reader: Connection) -> None:
    reader.execute("select 'a personal value'")
    with connect("watchdog", warehouse, autocommit=True) as conn:
        groups = conn.execute(
            "select pg_get_userbyid(roleid) from pg_auth_members where pg_get_userbyid(member) = current_user"
        ).fetchall()
        assert groups == [("pg_signal_backend",)]
        columns = conn.execute("select * from access.sessions() limit 0").description
        assert columns is not None
        assert not {"query", "client_addr"} & {column.name for column in columns}
        for statement in (
            "select * from marts.release_notes",
            "select pg_read_file('PG_VERSION')",
            "select pg_ls_logdir()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement.encode())


def test_rounds_go_on_where_the_server_is_away(warehouse: WarehouseConfig, tmp_path: Any) -> None:
    told: list[Round] = []
    # port 1 of this machine: nobody listens there
    away = replace(warehouse, url="postgresql://edupa_admin@127.0.0.1:1/edupa")
    watch(away, interval_s=0, say=told.append, rounds=2)
    assert [bool(done.problem) for done in told] == [True, True]
    watch(warehouse, interval_s=0, say=told.append, rounds=1)
    assert told[-1].problem is None


def test_limits_are_those_of_the_file_and_follow_it(warehouse: WarehouseConfig) -> None:
    matrix = load_matrix()
    with connect("admin", warehouse, autocommit=True) as admin:
        assert apply_limits(admin) == {}
        changed = replace(matrix, limits={**matrix.limits, "bi": {"connections": 7, "settings": {"work_mem": "8MB"}}})
        done = apply_limits(admin, changed)
        assert set(done) == {"edupa_bi"}
        assert set(done["edupa_bi"]) >= {"connections", "work_mem", "statement_timeout"}
        try:
            with connect("bi", warehouse) as conn:
                assert conn.execute("show work_mem").fetchone() == ("8MB",)
                assert conn.execute("show statement_timeout").fetchone() == ("0",)
        finally:
            apply_limits(admin)
    with connect("bi", warehouse) as conn:
        for setting, value in matrix.limits["bi"]["settings"].items():
            assert conn.execute(f"show {setting}".encode()).fetchone() == (value,)
        # nor may a session take more disk than its role is given
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("set temp_file_limit = -1")


def test_a_role_connects_no_more_often_than_it_may(warehouse: WarehouseConfig) -> None:
    limit = load_matrix().limits["watchdog"]["connections"]
    sessions: list[Connection] = []
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            sessions.extend(connect("watchdog", warehouse) for _ in range(limit + 1))
        assert len(sessions) <= limit
    finally:
        for session in sessions:
            session.close()


def test_a_limit_that_is_none_is_refused() -> None:
    assert [seconds(text) for text in ("90s", "1.5min", "2h", "1d")] == [90, 90, 7200, 86400]
    for text in ("90", "5 min", "-1s", "forever"):
        with pytest.raises(AccessError, match="no duration"):
            seconds(text)
    text = ROLES_FILE.read_text(encoding="utf-8").replace("\nlimits:\n", "\nlimits:\n  nobody: {}\n")
    with pytest.raises(AccessError, match=r"limits names no role.*nobody"):
        read_matrix(text)
