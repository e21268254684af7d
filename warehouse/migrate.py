"""Schema migrations: numbered SQL files, each applied once, in one transaction, and never edited afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
from psycopg import sql

from warehouse.access import apply_grants
from warehouse.config import LOGIN_ROLES, ConfigError, WarehouseConfig
from warehouse.connection import AuthenticationError, connect, connect_parts, connection_parts
from warehouse.limits import apply_limits
from warehouse.passwords import finish_rotation, set_password
from warehouse.restricted import ensure_restricted

MIGRATIONS = Path(__file__).parent / "migrations"


class MigrationError(RuntimeError):
    """An applied migration differs from its file, or a file is missing."""


def _ensure_database(config: WarehouseConfig) -> None:
    if config.url:
        return
    with connect("admin", config, database="postgres", autocommit=True) as server:
        for name in (config.database, "airflow"):
            found = server.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if not found:
                server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))


def _set_passwords(config: WarehouseConfig, admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Give every login role the password of its secret file.

    It is set only where the role has no password yet or refuses ours, so that an unchanged night changes nothing. A
    rotation that died is finished first.
    """
    finish_rotation(config)
    for role in LOGIN_ROLES:
        config.ensure_secret(role)
        parts = connection_parts(role, config)
        try:
            with connect_parts(parts):
                continue
        except AuthenticationError:
            set_password(admin, parts.user, parts.password)


def migrate(config: WarehouseConfig, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the warehouse to the newest schema and its privileges to the matrix (warehouse/roles.yaml).

    Returns:
        Names of the migrations applied now, in order.

    Raises:
        MigrationError: an applied file was changed or is gone.
        psycopg.Error: a statement failed; the transaction of its file is undone.
    """
    _ensure_database(config)
    applied_now: list[str] = []
    with connect("admin", config, autocommit=True) as admin:
        admin.execute("select pg_advisory_lock(hashtext('edupa.migrate'))")
        admin.execute(
            "create schema if not exists migration;"
            "create table if not exists migration.applied ("
            " name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
        )
        rows = admin.execute("select name, sha256 from migration.applied order by name").fetchall()
        applied = {str(name): str(digest) for name, digest in rows}
        files = {path.name: path for path in sorted(folder.glob("*.sql"))}
        for gone in sorted(set(applied) - set(files)):
            raise MigrationError(f"migration {gone} was applied to this warehouse but its file is missing")
        for name, path in files.items():
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name in applied:
                if applied[name] != digest:
                    raise MigrationError(f"{name} was changed after it had been applied: add a new migration instead")
                continue
            with admin.transaction():
                admin.execute(text.encode())
                admin.execute("insert into migration.applied (name, sha256) values (%s, %s)", (name, digest))
            applied_now.append(name)
        ensure_restricted(admin)
        apply_grants(admin)
        apply_limits(admin)
        _set_passwords(config, admin)
    return applied_now


def ensure_airflow_database(config: WarehouseConfig) -> str:
    """Role and database for Airflow's own metadata on the embedded server; returns the SQLAlchemy URL.

    Raises:
        ConfigError: the warehouse is external; Airflow's database is then the operator's to name.
    """
    if config.url:
        raise ConfigError(
            "with EDUPA_WAREHOUSE_URL set, name Airflow's database in AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        )
    password = config.ensure_secret("airflow")
    with connect("admin", config, database="airflow", autocommit=True) as admin:
        if not admin.execute("select 1 from pg_roles where rolname = 'edupa_airflow'").fetchone():
            admin.execute("create role edupa_airflow login")
            set_password(admin, "edupa_airflow", password)
        admin.execute("alter database airflow owner to edupa_airflow")
        admin.execute("revoke all on database airflow from public")
        admin.execute("alter schema public owner to edupa_airflow")
    parts = connection_parts("admin", config)
    return f"postgresql+psycopg2://edupa_airflow:{password}@{parts.host}:{parts.port}/airflow"
