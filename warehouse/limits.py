"""Limits of a role's sessions, from roles.yaml: settings and connections, written to the role where they differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from warehouse.access import AccessError, Connection, Matrix, database_role, load_matrix

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Watch:
    """What the watchdog allows a role: seconds and sessions, None: anything."""

    statement_s: float | None
    idle_in_transaction_s: float | None
    connections: int | None


def seconds(text: str) -> float:
    """Seconds of ``90s``, ``5min``, ``2h``, ``1d``.

    Raises:
        AccessError: the text is no such duration.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d)", str(text))
    if not found:
        raise AccessError(f"{text!r} is no duration: a number with s, min, h or d")
    return float(found[1]) * _UNITS[found[2]]


def watch_of(login: str, matrix: Matrix | None = None) -> Watch | None:
    """Policy for a login of the database; a county's login has that of its group. None: nothing is watched."""
    matrix = matrix or load_matrix()
    role = login.removeprefix("edupa_")
    if role.startswith("county_"):
        role = "county"
    said: Mapping[str, Any] = matrix.limits.get(role, {}).get("watch", {})
    if not login.startswith("edupa_") or not said:
        return None
    return Watch(
        seconds(said["statement"]) if "statement" in said else None,
        seconds(said["idle_in_transaction"]) if "idle_in_transaction" in said else None,
        int(said["connections"]) if "connections" in said else None,
    )


def apply_login_limits(conn: Connection, login: str, role: str, matrix: Matrix | None = None) -> list[str]:
    """Write a role's limits to one login; what is not named is reset.

    Args:
        conn: the administrator's connection.
        login: name in the database.
        role: whose limits, as in roles.yaml.
        matrix: another matrix than that of this installation.

    Returns:
        Names of the settings that changed.
    """
    said: Mapping[str, Any] = (matrix or load_matrix()).limits.get(role, {})
    row = conn.execute(
        "select r.rolconnlimit, coalesce(s.setconfig, '{}') from pg_roles r"
        " left join pg_db_role_setting s on s.setrole = r.oid and s.setdatabase = 0 where r.rolname = %s",
        (login,),
    ).fetchone()
    if row is None:
        raise AccessError(f"there is no role {login}")
    present = dict(entry.split("=", 1) for entry in row[1])  # type: ignore[attr-defined]
    wanted = {name: str(value) for name, value in said.get("settings", {}).items()}
    changed: list[str] = []
    name = sql.Identifier(login)
    connections = int(said.get("connections", -1))
    if row[0] != connections:
        conn.execute(sql.SQL("alter role {} connection limit {}").format(name, sql.Literal(connections)))
        changed.append("connections")
    for setting in sorted({*present, *wanted}):
        if present.get(setting) == wanted.get(setting):
            continue
        if setting in wanted:
            conn.execute(
                sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(wanted[setting]))
            )
        else:
            conn.execute(sql.SQL("alter role {} reset {}").format(name, sql.Identifier(setting)))
        changed.append(setting)
    return changed


def apply_limits(conn: Connection, matrix: Matrix | None = None) -> dict[str, list[str]]:
    """Write the limits of every role and of every county's login; where nothing differs, nothing is written.

    Returns:
        Login -> names of the settings that changed.
    """
    matrix = matrix or load_matrix()
    logins = {database_role(role): role for role in matrix.login_roles()}
    rows = conn.execute(
        "select pg_get_userbyid(m.member)::text from pg_auth_members m where pg_get_userbyid(m.roleid) = 'edupa_county'"
    ).fetchall()
    logins |= {str(row[0]): "county" for row in rows if str(row[0]).startswith("edupa_county_")}
    with conn.transaction():
        done = {login: apply_login_limits(conn, login, role, matrix) for login, role in sorted(logins.items())}
    return {login: changed for login, changed in done.items() if changed}
