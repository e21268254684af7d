"""Passwords: SCRAM only, in files only, renewed under running sessions; what dies half-way is finished."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from warehouse import connection, passwords
from warehouse.access import AccessError
from warehouse.config import LOGIN_ROLES, WarehouseConfig
from warehouse.connection import AuthenticationError, connect, connection_parts, dsn, engine
from warehouse.locks import LockBusyError, writer_lock
from warehouse.login import connect_as
from warehouse.migrate import migrate
from warehouse.passwords import finish_rotation, rotate, write_secret


@pytest.mark.parametrize("fault", ["F31"], ids=["fault[F31]"])
def test_a_password_renewed_in_mid_run_stops_nobody(warehouse: WarehouseConfig, fault: str) -> None:
    stop = threading.Event()
    counted = {"connections": 0}
    problems: list[str] = []

    def run() -> None:
        while not stop.is_set():
            try:
                with connect("auditor", warehouse) as conn:
                    conn.execute("select 1")
                counted["connections"] += 1
            except psycopg.Error as error:
                problems.append(str(error))

    with connect("auditor", warehouse, autocommit=True) as open_all_along, engine("auditor", warehouse).connect():
        runs = [threading.Thread(target=run) for _ in range(3)]
        for thread in runs:
            thread.start()
        seen = set()
        for _ in range(8):
            time.sleep(0.05)
            rotate(warehouse, "auditor")
            seen.add(warehouse.secret("auditor"))
        stop.set()
        for thread in runs:
            thread.join()
        assert open_all_along.execute("select 1").fetchone() == (1,)
    assert problems == []
    assert len(seen) == 8
    assert counted["connections"] > 20


@pytest.mark.parametrize("fault", ["F31"], ids=["fault[F31]"])
def test_a_refused_password_names_the_connection_and_no_password(
    warehouse: WarehouseConfig, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection, "_RENEWAL_S", 0.2)
    for name in ("evaluator",):
        (tmp_path / name).write_text("f" * 64)
    wrong = replace(warehouse, secrets_dir=tmp_path)
    with pytest.raises(AuthenticationError) as error:
        connect("evaluator", wrong)
    said = str(error.value)
    assert "edupa_evaluator" in said
    assert f"127.0.0.1:{connection_parts('evaluator', warehouse).port}" in said
    assert f"database {warehouse.database}" in said
    assert "f" * 64 not in said + repr(error.value.__cause__) + repr(error.value.__context__)

    # the retry is good as soon as the file is
    def put_right() -> None:
        time.sleep(0.1)
        write_secret(wrong, "evaluator", warehouse.secret("evaluator"))

    monkeypatch.setattr(connection, "_RENEWAL_S", 5.0)
    thread = threading.Thread(target=put_right)
    thread.start()
    with connect("evaluator", wrong) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    thread.join()


@pytest.mark.parametrize(
    ("login", "remedy"),
    [("edupa_auditor", "edupa server start"), ("edupa_county_longde", "rotate county_longde"), ("zhao", ".pgpass")],
)
def test_a_personal_login_is_refused_and_tried_again_like_any_other(
    warehouse: WarehouseConfig, login: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection, "_RENEWAL_S", 0.2)
    secret = login.removeprefix("edupa_")
    right = secrets.token_hex(16)
    with connect("admin", warehouse, autocommit=True) as conn:
        if login != "edupa_auditor":
            conn.execute(f"create role {login} login password '{right}' in role edupa_auditor".encode())
        else:
            right = warehouse.secret("auditor")
    own = replace(warehouse, secrets_dir=tmp_path)
    (tmp_path / secret).write_text("f" * 64)
    try:
        with pytest.raises(AuthenticationError) as error:
            connect_as(login, own)
        assert login in str(error.value)
        assert remedy in str(error.value)
        assert "f" * 64 not in str(error.value) + repr(error.value.__cause__) + repr(error.value.__context__)
        monkeypatch.setattr(connection, "_RENEWAL_S", 5.0)
        thread = threading.Thread(target=lambda: (time.sleep(0.1), write_secret(own, secret, right)))
        thread.start()
        with connect_as(login, own) as conn:
            assert conn.execute("select session_user").fetchone() == (login,)
        thread.join()
    finally:
        if login != "edupa_auditor":
            with connect("admin", warehouse, autocommit=True) as conn:
                conn.execute(f"drop role {login}".encode())


def test_another_refusal_is_not_tried_again(warehouse: WarehouseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_renewed", lambda *_: pytest.fail("read again"))
    with pytest.raises(psycopg.OperationalError, match="does not exist") as error:
        connect("evaluator", warehouse, database="nowhere")
    assert not isinstance(error.value, AuthenticationError)


def test_a_secret_keeps_its_file_so_that_a_mounted_one_shows_the_new_value(warehouse: WarehouseConfig) -> None:
    path = warehouse.secret_path("evaluator")
    before, old = path.stat(), path.read_text()
    rotate(warehouse, "evaluator")
    after = path.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)
    assert after.st_mode & 0o777 == 0o600
    assert path.read_text() != old
    assert list(warehouse.secrets_dir.glob("*.next")) == []


@pytest.mark.parametrize("dies", ["before the server knows", "after the server knows", "with a half-written file"])
def test_a_rotation_that_died_is_finished(
    warehouse: WarehouseConfig, dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = warehouse.secret("bi")

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    name = {"before": "set_password", "after": "write_secret", "with": "new_password"}[dies.split()[0]]
    with monkeypatch.context() as patched:
        if dies.startswith("with"):
            warehouse.secret_path("bi.next").write_text("")
        else:
            patched.setattr(passwords, name, die)
            with pytest.raises(Killed):
                rotate(warehouse, "bi")
    assert warehouse.secret("bi") == old
    assert warehouse.secret_path("bi.next").exists()
    migrate(warehouse)
    assert not warehouse.secret_path("bi.next").exists()
    assert (warehouse.secret("bi") == old) == (name != "write_secret")
    with connect("bi", warehouse) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    assert finish_rotation(warehouse) == []


def test_the_role_of_dbt_waits_for_a_build_in_progress(warehouse: WarehouseConfig) -> None:
    before = warehouse.secret("transform")
    with writer_lock(warehouse, "transform", "build", "test"), pytest.raises(LockBusyError):
        rotate(warehouse, "transform", wait_s=0)
    assert warehouse.secret("transform") == before
    rotate(warehouse, "transform", wait_s=5)
    assert warehouse.secret("transform") != before


def test_the_administrator_is_renewed_too_unless_the_url_carries_its_password(warehouse: WarehouseConfig) -> None:
    before = warehouse.secret("admin")
    rotate(warehouse, "admin")
    assert warehouse.secret("admin") != before
    with connect("admin", warehouse) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    named = replace(
        warehouse, url=f"postgresql://edupa_admin:x@127.0.0.1:{connection_parts('bi', warehouse).port}/edupa"
    )
    with pytest.raises(AccessError, match="EDUPA_WAREHOUSE_URL"):
        rotate(named, "admin")
    with pytest.raises(AccessError, match="unknown role 'nobody'"):
        rotate(warehouse, "nobody")
    with pytest.raises(AccessError, match="no secret county_nobody"):
        rotate(warehouse, "county_nobody")


def test_the_server_knows_scram_and_nothing_else(warehouse: WarehouseConfig) -> None:
    with connect("admin", warehouse) as conn:
        assert conn.execute("show password_encryption").fetchone() == ("scram-sha-256",)
        rules = conn.execute("select distinct auth_method, error from pg_hba_file_rules").fetchall()
        assert rules == [("scram-sha-256", None)]
        rows = conn.execute(
            "select rolname, rolpassword from pg_authid where rolcanlogin and rolname like 'edupa\\_%'"
        ).fetchall()
    assert {str(name).removeprefix("edupa_") for name, _ in rows} >= {"admin", *LOGIN_ROLES}
    assert [name for name, verifier in rows if not str(verifier).startswith("SCRAM-SHA-256$")] == []


def test_parameters_of_the_url_reach_every_client(warehouse: WarehouseConfig, tmp_path: Path) -> None:
    from warehouse.transform import dbt_environment

    port = connection_parts("bi", warehouse).port
    authority = tmp_path / "ca.pem"
    strict = replace(
        warehouse, url=f"postgresql://edupa_admin@127.0.0.1:{port}/edupa?sslmode=verify-full&sslrootcert={authority}"
    )
    assert connection_parts("bi", strict).options == {"sslmode": "verify-full", "sslrootcert": str(authority)}
    environment = dbt_environment(strict)
    assert environment["EDUPA_DBT_SSLMODE"] == "verify-full"
    assert environment["EDUPA_DBT_SSLROOTCERT"] == str(authority)
    assert "sslmode=verify-full" in dsn("bi", strict)
    # the embedded server speaks no TLS, so a client that insists on it must be told no
    authority.write_text("")
    for attempt in (lambda: connect("bi", strict), lambda: engine("bi", strict).connect()):
        with pytest.raises(Exception, match=r"SSL|root certificate"):
            attempt()
    easy = replace(
        strict, url=f"postgresql://edupa_admin@127.0.0.1:{port}/edupa?sslmode=prefer&options=-c%20work_mem%3D1MB"
    )
    with connect("bi", easy) as conn:
        assert conn.execute("show work_mem").fetchone() == ("1MB",)
