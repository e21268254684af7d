"""Connections as a person's own login: where it matters who acts, the server records the login, nothing else."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict

from warehouse.canonical import Connection
from warehouse.config import ADMIN_USER, LOGIN_ROLES, ConfigError, WarehouseConfig, load_config
from warehouse.connection import connect
from warehouse.server import read_state


def connect_as(
    login: str | None, config: WarehouseConfig | None = None, *, otherwise: str = "edupa_auditor"
) -> Connection:
    """Open a connection as a person's own login; no other secret is needed for it.

    The password is the file of the login's name below the secrets folder, or stands in EDUPA_WAREHOUSE_URL; without
    either, libpq looks where it always does (PGPASSFILE, ~/.pgpass).

    Args:
        login: database role; one of ours is named with its ``edupa_``. None: the user of EDUPA_WAREHOUSE_URL, unless
            that is the administrator.
        config: the warehouse; None reads the environment.
        otherwise: login where neither names one.

    Raises:
        ConfigError: the embedded server was never started, or the password of one of our roles is missing.
        psycopg.OperationalError: the server does not answer or refuses the login.
    """
    config = config or load_config()
    given = {name: value for name, value in conninfo_to_dict(config.url or "").items() if value is not None}
    of_url, its_password = str(given.pop("user", "")), given.pop("password", None)
    login = login or (of_url if of_url not in ("", ADMIN_USER) else otherwise)
    role = login.removeprefix("edupa_")
    if login != role and role in LOGIN_ROLES:
        return connect(role, config)
    if not config.url:
        state = read_state(config)
        if state is None:
            raise ConfigError("no warehouse yet: run `make run` or `edupa server start`")
        given = {"host": "127.0.0.1", "port": state.port}
    own = config.secret(login) if config.secret_path(login).is_file() else None
    return psycopg.connect(
        "",
        **{"dbname": config.database, "connect_timeout": 10, "application_name": f"edupa {login}"[:63], **given},  # type: ignore[arg-type]
        user=login,
        password=own or (its_password if login == of_url else None),
    )
