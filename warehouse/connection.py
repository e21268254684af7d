"""Connections to the warehouse, one database role for each kind of work.

A password may be renewed at any time (warehouse/passwords.py): a refused connection reads its secret again and tries
once more, so a run in progress goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from warehouse.config import ADMIN_USER, LOGIN_ROLES, ConfigError, WarehouseConfig, load_config
from warehouse.failpoint import DyingCursor, statement_is_armed
from warehouse.server import read_state

if TYPE_CHECKING:
    from sqlalchemy import Engine

# between the server's learning of a new password and its secret file lies one write to disk
_RENEWAL_S = 2.0
_POLL_S = 0.05
# parts of the URL that have a place of their own
_OWN = ("host", "port", "dbname", "user", "password")


class AuthenticationError(psycopg.OperationalError):
    """The server refuses the password; the message names role, host and database, never the password."""


#: seconds after which a connection that does not answer is given up, by the client and by the server
TIMEOUT_VARIABLE = "EDUPA_NETWORK_TIMEOUT_S"


@dataclass(frozen=True)
class ConnectionParts:
    """What a client needs to connect; ``password`` is never printed.

    Attributes:
        options: what the warehouse's URL says beside these, e.g. sslmode and sslrootcert.
    """

    host: str
    port: int
    database: str
    user: str
    password: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the password, so that no traceback or log shows it."""
        return f"ConnectionParts({self.user}@{self.host}:{self.port}/{self.database})"

    def with_login(self, user: str, password: str) -> ConnectionParts:
        """The same server and database for another login."""
        return replace(self, user=user, password=password)


def connection_parts(
    role: str, config: WarehouseConfig | None = None, *, database: str | None = None
) -> ConnectionParts:
    """Host, port, database, user and password for a role.

    Args:
        role: ``admin``, one of warehouse.config.LOGIN_ROLES, or ``county_<login>``.
        config: the warehouse; None reads the environment.
        database: another database of the same server.

    Raises:
        ConfigError: unknown role, missing secret, or the embedded server was never started.
    """
    config = config or load_config()
    if role != "admin" and role not in LOGIN_ROLES and not role.startswith("county_"):
        raise ConfigError(f"unknown role {role!r}: one of admin, {', '.join(LOGIN_ROLES)}, county_<login>")
    options: dict[str, str] = {}
    if config.url:
        given = conninfo_to_dict(config.url)
        options = {name: str(value) for name, value in given.items() if name not in _OWN and value is not None}
        host, port = str(given.get("host", "127.0.0.1")), int(given.get("port") or 5432)
        database = database or str(given.get("dbname") or config.database)
        if role == "admin":
            password = str(given.get("password") or "") or config.secret("admin")
            return ConnectionParts(host, port, database, str(given.get("user") or ADMIN_USER), password, options)
    else:
        state = read_state(config)
        if state is None:
            raise ConfigError("no warehouse yet: run `make run` or `edupa server start`")
        host, port, database = "127.0.0.1", state.port, database or config.database
    user = ADMIN_USER if role == "admin" else f"edupa_{role}"
    return ConnectionParts(host, port, database, user, config.secret(role), options)


def dsn(role: str, config: WarehouseConfig | None = None, *, show_password: bool = True) -> str:
    """A postgresql:// URL for a role."""
    parts = connection_parts(role, config)
    secret = f":{quote(parts.password, safe='')}" if show_password else ""
    query = f"?{urlencode(parts.options)}" if parts.options else ""
    return f"postgresql://{parts.user}{secret}@{parts.host}:{parts.port}/{parts.database}{query}"


def network_timeout_s() -> int:
    """Seconds after which a silent peer is held for dead.

    Raises:
        ConfigError: EDUPA_NETWORK_TIMEOUT_S is no number of seconds from 2 on.
    """
    given = os.environ.get(TIMEOUT_VARIABLE, "60")
    if not given.isdecimal() or int(given) < 2:
        raise ConfigError(f"{TIMEOUT_VARIABLE} must be a whole number of seconds, 2 or more, not {given!r}")
    return int(given)


def _patience() -> dict[str, str | int]:
    """How long either side waits for the other before it holds it for dead, as libpq and the server want it.

    Raises:
        ConfigError: as network_timeout_s.
    """
    total = network_timeout_s()
    idle, interval = max(1, total // 2), max(1, total // 6)
    # a server that does not hear of its client's death keeps the client's locks
    server = {
        "tcp_keepalives_idle": idle,
        "tcp_keepalives_interval": interval,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": total * 1000,
    }
    options = " ".join(f"-c {name}={value}" for name, value in server.items())
    return {
        "keepalives_idle": idle,
        "keepalives_interval": interval,
        "keepalives_count": 3,
        "tcp_user_timeout": total * 1000,
        "options": f"{os.environ.get('PGOPTIONS', '')} {options}".strip(),
    }


def connect_parts(
    parts: ConnectionParts, *, autocommit: bool = False, application_name: str = "edupa"
) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection once.

    Raises:
        AuthenticationError: the server refuses the password, or asks for one and there is none.
        psycopg.OperationalError: the server does not answer or refuses the role.
    """
    settings: dict[str, str | int] = {
        "connect_timeout": 10,
        **_patience(),
        **parts.options,
    }
    try:
        return psycopg.connect(
            "",
            host=parts.host,
            port=parts.port,
            dbname=parts.database,
            user=parts.user,
            password=parts.password or None,
            autocommit=autocommit,
            application_name=application_name,
            cursor_factory=DyingCursor if statement_is_armed() else None,
            **settings,  # type: ignore[arg-type]
        )
    except psycopg.OperationalError as error:
        if not any(words in str(error) for words in ("authentication failed", "no password supplied")):
            raise
        raise AuthenticationError(
            f"{parts.host}:{parts.port}, database {parts.database}, does not accept the password of {parts.user}:"
            f" {_remedy(parts.user)}"
        ) from None


def _remedy(user: str) -> str:
    """What to do about a password that the server refuses, by whose it is."""
    role = user.removeprefix("edupa_")
    if user == ADMIN_USER or (role != user and role in LOGIN_ROLES):
        return "its secret file is not what the server knows; `edupa server start` sets it anew"
    if role.startswith("county_"):
        return f"`edupa access rotate {role}` gives the login a new one"
    return "check the file of that name below the secrets folder, EDUPA_WAREHOUSE_URL or ~/.pgpass"


def _renewed(parts: ConnectionParts, secret: str, config: WarehouseConfig) -> ConnectionParts | None:
    """The same with the secret read anew, once it differs; None: it stays what it was."""
    deadline = time.monotonic() + _RENEWAL_S
    while True:
        password = config.secret(secret)
        if password != parts.password:
            return replace(parts, password=password)
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_S)


def connect(
    role: str,
    config: WarehouseConfig | None = None,
    *,
    autocommit: bool = False,
    database: str | None = None,
    application_name: str | None = None,
) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection; a password that is being renewed is read again, and the connection tried once more.

    Raises:
        ConfigError: as connection_parts.
        AuthenticationError: the server refuses the role's password, also as its secret now says it.
        psycopg.OperationalError: the server does not answer or refuses the role.
    """
    config = config or load_config()
    parts = connection_parts(role, config, database=database)
    return connect_with_secret(
        parts, role, config, autocommit=autocommit, application_name=application_name or f"edupa {role}"
    )


def connect_with_secret(
    parts: ConnectionParts,
    secret: str,
    config: WarehouseConfig,
    *,
    autocommit: bool = False,
    application_name: str = "edupa",
) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection; refused, it reads the file of the secret again, if there is one, and tries once more.

    Raises:
        AuthenticationError, psycopg.OperationalError: as connect_parts.
    """
    try:
        return connect_parts(parts, autocommit=autocommit, application_name=application_name)
    except AuthenticationError:
        renewed = _renewed(parts, secret, config) if config.secret_path(secret).is_file() else None
        if renewed is None:
            raise
        return connect_parts(renewed, autocommit=autocommit, application_name=application_name)


def engine(role: str, config: WarehouseConfig | None = None) -> Engine:
    """A SQLAlchemy engine for a role (psycopg 3); every connection of its pool reads the secret anew."""
    from sqlalchemy import URL, create_engine

    parts = connection_parts(role, config)
    shown = URL.create(
        "postgresql+psycopg", username=parts.user, host=parts.host, port=parts.port, database=parts.database
    )
    return create_engine(shown, creator=lambda: connect(role, config))
