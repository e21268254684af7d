"""Ledgers of persons that only the logins of a row's county see: made from roles.yaml, filled after every dbt build.

dbt makes its tables anew and a new table has no row-level security. So a ledger is a permanent table of a role that
nobody logs in as, with row-level security that binds its owner too, and a function of that role brings it to what dbt
built, in one transaction. Names are added by a view of another such role, the only reader of the vault beside ingest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from warehouse.access import AccessError, Connection, Matrix, load_matrix
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.limits import apply_login_limits
from warehouse.passwords import county_secret, drop_secret, new_password, set_password, write_secret

COUNTY_GROUP = "edupa_county"
_LOGIN = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True)
class Refreshed:
    """How many rows of a ledger were taken out, put in, and lie in it now."""

    relation: str
    removed: int
    added: int
    held: int


# --- the ledgers themselves ---------------------------------------------------------------------------------------


def _statements(name: str, about: Mapping[str, Any]) -> list[sql.Composed]:
    """Everything that makes a ledger and its view."""
    table = sql.Identifier("restricted", name)
    columns: Mapping[str, Sequence[str]] = about["columns"]
    county = sql.Identifier(about["county"])
    made = [
        sql.SQL("create table {} ({}, primary key ({}))").format(
            table,
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, (kind, _) in columns.items()
            ),
            sql.SQL(", ").join(map(sql.Identifier, about["key"])),
        ),
        sql.SQL("create index on {} ({})").format(table, county),
        sql.SQL("alter table {} owner to edupa_custodian").format(table),
        sql.SQL("alter table {} enable row level security").format(table),
        sql.SQL("alter table {} force row level security").format(table),
        sql.SQL("create policy filled on {} to edupa_custodian using (true) with check (true)").format(table),
        # a subquery: asked, and noted in the trail, once per statement
        sql.SQL(
            "create policy own_county on {} for select to edupa_county, edupa_namer"
            " using ({} = any ((select access.reader_counties({}))::text[]))"
        ).format(table, county, sql.Literal(f"restricted.{name}")),
        sql.SQL("comment on table {} is {}").format(table, sql.Literal(about["comment"])),
    ]
    for column, (_, comment) in columns.items():
        made.append(
            sql.SQL("comment on column {}.{} is {}").format(table, sql.Identifier(column), sql.Literal(comment))
        )
        if column != about["county"]:
            # EXPLAIN estimates from statistics over all counties, whatever the policy says
            made.append(
                sql.SQL("alter table {} alter column {} set statistics 0").format(table, sql.Identifier(column))
            )
    if "person" in about:
        view = sql.Identifier("restricted", f"{name}_named")
        made += [
            sql.SQL(
                "create view {} with (security_barrier) as select {}, known.person_name, known.identifier"
                " from {} as l left join lateral ("
                " select (array_agg(v.person_name order by v.first_load_id desc, v.identifier)"
                " filter (where v.person_name is not null))[1] as person_name,"
                " (array_agg(v.identifier order by v.identifier_kind <> 'id_number', v.first_load_id desc,"
                " v.identifier))[1] as identifier"
                " from vault.person_identity as v where v.person_token = l.{}) as known on true"
                " where l.{} = any ((select access.reader_counties({}))::text[])"
            ).format(
                view,
                sql.SQL(", ").join(sql.SQL("l.{}").format(sql.Identifier(column)) for column in columns),
                table,
                sql.Identifier(about["person"]),
                county,
                sql.Literal(f"restricted.{name}_named"),
            ),
            sql.SQL("alter view {} owner to edupa_namer").format(view),
            sql.SQL("comment on view {} is {}").format(
                view, sql.Literal(f"{about['comment']}；含姓名 with names; every read is noted")
            ),
        ]
    return made


def ensure_restricted(conn: Connection, matrix: Matrix | None = None) -> list[str]:
    """Make what roles.yaml names under ``restricted`` and is not there as it says, in one transaction.

    A ledger whose definition changed is made anew and empty: the next build fills it. One that is named no more goes.

    Args:
        conn: the administrator's connection.
        matrix: another matrix than that of this installation.

    Returns:
        Ledgers that were made or dropped.

    Raises:
        AccessError: a key, county or person column is not among the columns.
    """
    matrix = matrix or load_matrix()
    changed: list[str] = []
    with conn.transaction():
        rows = conn.execute("select relation, definition from access.restricted_relation").fetchall()
        known = {str(name): definition for name, definition in rows}
        for name, about in matrix.restricted.items():
            columns = set(about["columns"])
            if missing := {*about["key"], about["county"], about.get("person", about["county"])} - columns:
                raise AccessError(f"roles.yaml: restricted.{name} has no column {', '.join(sorted(missing))}")
        for name in sorted({*known, *matrix.restricted}):
            wanted = matrix.restricted.get(name)
            if wanted is not None and known.get(name) == dict(wanted):
                continue
            conn.execute(sql.SQL("drop view if exists {}").format(sql.Identifier("restricted", f"{name}_named")))
            conn.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("restricted", name)))
            conn.execute("delete from access.restricted_relation where relation = %s", (name,))
            if wanted is not None:
                for statement in _statements(name, wanted):
                    conn.execute(statement)
                conn.execute(
                    "insert into access.restricted_relation (relation, source, key_columns, columns, definition)"
                    " values (%s, %s, %s, %s, %s)",
                    (
                        name,
                        f"restricted_source.{name}",
                        list(wanted["key"]),
                        list(wanted["columns"]),
                        Jsonb(dict(wanted)),
                    ),
                )
            changed.append(name)
        conn.execute(
            "update access.audit_proof set max_silence = %(is)s::interval where max_silence <> %(is)s::interval",
            {"is": matrix.audit["max_silence"]},
        )
    return changed


def refresh_restricted(config: WarehouseConfig, relation: str) -> Refreshed:
    """Bring one ledger to what dbt built in ``restricted_source``; readers see the old rows or the new ones.

    Raises:
        psycopg.Error: the source is missing or has other columns; nothing changed.
    """
    with connect("transform", config) as conn:
        row = conn.execute("select removed, added, held from access.refresh_restricted(%s)", (relation,)).fetchone()
    if row is None:
        raise AccessError(f"restricted.{relation} was not refreshed")
    return Refreshed(relation, int(str(row[0])), int(str(row[1])), int(str(row[2])))


def refresh_all(config: WarehouseConfig) -> list[Refreshed]:
    """Bring every restricted ledger to what dbt built."""
    return [refresh_restricted(config, relation) for relation in load_matrix().restricted]


# --- logins of counties -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CountyLogin:
    """A login of a county; valid_to None: still holds."""

    login: str
    county_code: str
    valid_from: str
    valid_to: str | None


def county_role(name: str) -> str:
    """Database role of a county login.

    Raises:
        AccessError: the name cannot be one.
    """
    if not _LOGIN.fullmatch(name):
        raise AccessError(f"{name!r} is no name of a login: two to forty small letters, digits or _, a letter first")
    return f"{COUNTY_GROUP}_{name}"


def add_county_login(config: WarehouseConfig, name: str, counties: Sequence[str]) -> str:
    """Make a login that sees the restricted ledgers of its counties; its password goes to a secret file, nowhere else.

    Returns:
        Name of the secret, below EDUPA_SECRETS_DIR.

    Raises:
        AccessError: the name or a county code is none, or the login exists already.
    """
    role = county_role(name)
    for code in counties:
        if not re.fullmatch(r"\d{6}", code):
            raise AccessError(f"{code!r} is no county code: six digits, e.g. 640422")
    if not counties:
        raise AccessError("name at least one county")
    password = new_password()
    secret = county_secret(name)
    with connect("admin", config) as conn:
        if conn.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
            raise AccessError(
                f"login {role} exists already: `edupa access remove {name}` first, or choose another name"
            )
        identifier = sql.Identifier(role)
        conn.execute(sql.SQL("create role {} login").format(identifier))
        option = " with inherit true, set false" if conn.info.server_version >= 160000 else ""
        conn.execute(sql.SQL("grant edupa_county to {}" + option).format(identifier))
        set_password(conn, role, password)
        for code in sorted(set(counties)):
            conn.execute(
                "insert into access.county_login (login, county_code, valid_from)"
                " values (%s, %s, (now() at time zone 'Asia/Shanghai')::date)"
                " on conflict (login, county_code, valid_from) do update set valid_to = null",
                (role, code),
            )
        apply_login_limits(conn, role, "county")
        write_secret(config, secret, password)
    return secret


def remove_county_login(config: WarehouseConfig, name: str) -> int:
    """End a login of a county: its sessions, its role, its secret. What it read stays in the ledger.

    Returns:
        Sessions that were ended.

    Raises:
        AccessError: there is no such login.
    """
    role = county_role(name)
    with connect("admin", config) as conn:
        if not conn.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
            raise AccessError(f"there is no login {role}: `edupa access list` names those that are")
        conn.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(role)))
        conn.execute(
            "update access.county_login set valid_to = greatest(valid_from, (now() at time zone 'Asia/Shanghai')::date)"
            " where login = %s and valid_to is null",
            (role,),
        )
        conn.commit()
        ended = conn.execute(
            "select count(*) filter (where pg_terminate_backend(pid, 5000)) from pg_stat_activity where usename = %s",
            (role,),
        ).fetchone()
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    drop_secret(config, county_secret(name))
    return int(str(ended[0])) if ended else 0


def list_county_logins(config: WarehouseConfig) -> list[CountyLogin]:
    """Every login that a county ever had."""
    with connect("auditor", config) as conn:
        rows = conn.execute(
            "select login, county_code, valid_from::text, valid_to::text from access.county_login order by 1, 2, 3"
        ).fetchall()
    return [CountyLogin(str(a), str(b), str(c), None if d is None else str(d)) for a, b, c, d in rows]
