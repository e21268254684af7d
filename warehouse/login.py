"""Connections as a person's own login: where it matters who acts, the server records the login, nothing else."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict

from warehouse.canonical import Connection
from warehouse.config import ADMIN_USER, LOGIN_ROLES, ConfigError, WarehouseConfig, load_config
from warehouse.connection import ConnectionParts, connect, connect_with_secret
from warehouse.server import read_state


def connect_as(
    login: str | None, config: WarehouseConfig | None = None, *, otherwise: str = "edupa_auditor"
) -> Connection:
    """Open a connection as a person's own login; no other secret is needed for it.

    The password is the file of the login's name below the secrets folder (of ours and the counties', without
    ``edupa_``), or stands in EDUPA_WAREHOUSE_URL; without either, libpq looks where it always does (PGPASSFILE,
    ~/.pgpass). A password that is being renewed is read again, and the connection tried once more.

    Args:
        login: database role; one of ours is named with its ``edupa_``. None: the user of EDUPA_WAREHOUSE_URL, unless
            that is the administrator.
        config: the warehouse; None reads the environment.
        otherwise: login where neither names one.

    Raises:
        ConfigError: the embedded server was never started, or the password of one of our roles is missing.
        AuthenticationError: the server refuses the password.
        psycopg.OperationalError: the server does not answer or refuses the login.
    """
    config = config or load_config()
    given = {name: str(value) for name, value in conninfo_to_dict(config.url or "").items() if value is not None}
    of_url, its_password = given.pop("user", ""), given.pop("password", "")
    login = login or own_login(config) or otherwise
    role = login.removeprefix("edupa_")
    if login != role and (role in LOGIN_ROLES or (role.startswith("county_") and config.secret_path(role).is_file())):
        return connect(role, config)
    if not config.url:
        state = read_state(config)
        if state is None:
            raise ConfigError("no warehouse yet: run `make run` or `edupa server start`")
        given = {"host": "127.0.0.1", "port": str(state.port)}
    own = config.secret(login) if config.secret_path(login).is_file() else None
    parts = ConnectionParts(
        given.pop("host", "127.0.0.1"),
        int(given.pop("port", "5432")),
        given.pop("dbname", config.database),
        login,
        own or (its_password if login == of_url else ""),
        given,
    )
    return connect_with_secret(parts, login, config, application_name=f"edupa {login}"[:63])


def own_login(config: WarehouseConfig) -> str | None:
    """The user that EDUPA_WAREHOUSE_URL names, unless it is the administrator."""
    user = conninfo_to_dict(config.url or "").get("user")
    return str(user) if user and user != ADMIN_USER else None
