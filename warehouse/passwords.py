"""Passwords of database roles: in secret files only, renewed while others are connected.

A new password lies beside the old one (``<name>.next``) before the server learns it, so that whatever dies between
can be finished. The secret itself is then overwritten in place: an equal number of bytes in one write. The file keeps
its inode, because a container mounts a secret by it and would see the old content of a file that was replaced.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psycopg
from psycopg import sql

from warehouse.access import AccessError, Connection, database_role
from warehouse.config import ADMIN_USER, LOGIN_ROLES, ConfigError, WarehouseConfig
from warehouse.connection import connect
from warehouse.locks import writer_lock


def new_password() -> str:
    """A random password: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def county_secret(name: str) -> str:
    """Name of the secret file of a county's login."""
    return f"county_{name}"


def set_password(conn: Connection, user: str, password: str) -> None:
    """Give a role a password; only its SCRAM verifier, computed here, travels to the server."""
    verifier = conn.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    conn.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(user), sql.Literal(verifier)))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: Path, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(value)
        handle.flush()
        os.fsync(handle.fileno())
    _sync_folder(path.parent)


def write_secret(config: WarehouseConfig, name: str, value: str) -> None:
    """Write a secret so that a reader sees the old value or the new one, also after a crash.

    A secret of equal length is overwritten in one write and keeps its inode, owner and mode; another one is replaced.
    """
    config.secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = config.secret_path(name)
    if path.exists() and path.stat().st_size == len(value.encode()):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, value.encode(), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return
    part = path.with_name(f".{name}.part")
    _write_new(part, value)
    part.replace(path)
    _sync_folder(path.parent)


def drop_secret(config: WarehouseConfig, name: str) -> None:
    """Remove a secret that nobody needs any more."""
    config.secret_path(name).unlink(missing_ok=True)


def database_user(role: str) -> str:
    """Role of the database behind a name of the command line: admin, a role of roles.yaml, or county_<login>.

    Raises:
        AccessError: there is no such role.
    """
    if role == "admin":
        return ADMIN_USER
    if role not in LOGIN_ROLES and not role.startswith("county_"):
        raise AccessError(f"unknown role {role!r}: one of admin, {', '.join(LOGIN_ROLES)}, county_<login>")
    return database_role(role)


def _accepted(config: WarehouseConfig, role: str, user: str, password: str) -> bool:
    from warehouse.connection import connect_parts, connection_parts

    try:
        with connect_parts(connection_parts(role, config).with_login(user, password)):
            return True
    except psycopg.OperationalError:
        return False


def rotate(config: WarehouseConfig, role: str, *, wait_s: float = 3600) -> None:
    """Give one role a new password while others are connected.

    Sessions that are open stay open. Who connects between the two steps is refused once and tries again with the file
    read anew (warehouse.connection.connect). dbt reads its password once per run, so the role of dbt waits for a build
    in progress.

    Args:
        config: the warehouse.
        role: admin, one of LOGIN_ROLES, or county_<login>.
        wait_s: seconds to wait for a build in progress (role transform).

    Raises:
        AccessError: unknown role, or its password does not come from a file.
        LockBusyError: a build held on for longer.
    """
    user = database_user(role)
    if role == "admin" and config.url and psycopg.conninfo.conninfo_to_dict(config.url).get("password"):
        raise AccessError("the administrator's password stands in EDUPA_WAREHOUSE_URL: take it out and write a secret")
    if not config.secret_path(role).exists():
        raise AccessError(f"there is no secret {role} in {config.secrets_dir}: nothing to renew")
    if role == "transform":
        with writer_lock(config, "transform", "build", "rotate", wait_s=wait_s):
            _rotate(config, role, user)
    else:
        _rotate(config, role, user)


def _rotate(config: WarehouseConfig, role: str, user: str) -> None:
    waiting = config.secret_path(f"{role}.next")
    password = new_password()
    _write_new(waiting, password)
    with connect("admin", config, autocommit=True) as conn:
        set_password(conn, user, password)
    write_secret(config, role, password)
    waiting.unlink()


def finish_rotation(config: WarehouseConfig) -> list[str]:
    """Finish what a rotation left that died: the new password is kept if the server knows it already.

    Returns:
        Roles that were put right.
    """
    done: list[str] = []
    for waiting in sorted(config.secrets_dir.glob("*.next")):
        role = waiting.name.removesuffix(".next")
        try:
            user, password = database_user(role), config.secret(waiting.name)
        except (AccessError, ConfigError):
            waiting.unlink()
            continue
        if _accepted(config, role, user, password):
            write_secret(config, role, password)
        waiting.unlink()
        done.append(role)
    return done
