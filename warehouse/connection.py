"""Connections to the warehouse, one database role for each kind of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from warehouse.config import ADMIN_USER, LOGIN_ROLES, ConfigError, WarehouseConfig, load_config
from warehouse.server import read_state

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True)
class ConnectionParts:
    """What a client needs to connect; ``password`` is never printed."""

    host: str
    port: int
    database: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password, so that no traceback or log shows it."""
        return f"ConnectionParts({self.user}@{self.host}:{self.port}/{self.database})"


def connection_parts(
    role: str, config: WarehouseConfig | None = None, *, database: str | None = None
) -> ConnectionParts:
    """Host, port, database, user and password for a role.

    Args:
        role: ``admin`` or one of warehouse.config.LOGIN_ROLES.
        config: the warehouse; None reads the environment.
        database: another database of the same server.

    Raises:
        ConfigError: unknown role, missing secret, or the embedded server was never started.
    """
    config = config or load_config()
    if role != "admin" and role not in LOGIN_ROLES:
        raise ConfigError(f"unknown role {role!r}: one of admin, {', '.join(LOGIN_ROLES)}")
    if config.url:
        given = conninfo_to_dict(config.url)
        host, port = str(given.get("host", "127.0.0.1")), int(given.get("port") or 5432)
        database = database or str(given.get("dbname") or config.database)
        if role == "admin":
            password = str(given.get("password") or "") or config.secret("admin")
            return ConnectionParts(host, port, database, str(given.get("user") or ADMIN_USER), password)
    else:
        state = read_state(config)
        if state is None:
            raise ConfigError("no warehouse yet: run `make run` or `edupa server start`")
        host, port, database = "127.0.0.1", state.port, database or config.database
    user = ADMIN_USER if role == "admin" else f"edupa_{role}"
    return ConnectionParts(host, port, database, user, config.secret(role))


def dsn(role: str, config: WarehouseConfig | None = None, *, show_password: bool = True) -> str:
    """A postgresql:// URL for a role."""
    parts = connection_parts(role, config)
    secret = f":{quote(parts.password, safe='')}" if show_password else ""
    return f"postgresql://{parts.user}{secret}@{parts.host}:{parts.port}/{parts.database}"


def connect(
    role: str,
    config: WarehouseConfig | None = None,
    *,
    autocommit: bool = False,
    database: str | None = None,
    application_name: str | None = None,
) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection.

    Raises:
        ConfigError: as connection_parts.
        psycopg.OperationalError: the server does not answer or refuses the role.
    """
    parts = connection_parts(role, config, database=database)
    return psycopg.connect(
        host=parts.host,
        port=parts.port,
        dbname=parts.database,
        user=parts.user,
        password=parts.password,
        autocommit=autocommit,
        application_name=application_name or f"edupa {role}",
        connect_timeout=10,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
    )


def engine(role: str, config: WarehouseConfig | None = None) -> Engine:
    """A SQLAlchemy engine for a role (psycopg 3)."""
    from sqlalchemy import URL, create_engine

    parts = connection_parts(role, config)
    url = URL.create(
        "postgresql+psycopg",
        username=parts.user,
        password=parts.password,
        host=parts.host,
        port=parts.port,
        database=parts.database,
    )
    return create_engine(url)
