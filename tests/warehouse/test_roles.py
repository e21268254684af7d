"""Every cell of warehouse/roles.yaml, named or not, tried on a server with a published release."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.conftest import make_warehouse
from tests.warehouse.test_release import SCHEMA, build_candidate, judge, publish
from warehouse.config import LOGIN_ROLES, PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect
from warehouse.server import stop

MATRIX: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "warehouse" / "roles.yaml").read_text(encoding="utf-8"))
PROBE = "role_probe"
PLACES = {
    "<feed>": PROBE,
    "<seed>": PROBE,
    "<model>": PROBE,
    "<candidate>": SCHEMA,
    "<partition>": "releases.county_evaluation__2019_1_0",
    "<pinned>": "release_2019_1_0",
}


def placed(name: str) -> str:
    for mark, real in PLACES.items():
        name = name.replace(mark, real)
    return name


@pytest.fixture(scope="module")
def published() -> Iterator[WarehouseConfig]:
    """A server of its own with one published release, and one table in each schema, made by the role that fills it."""
    home = Path(tempfile.mkdtemp(prefix="edupa-roles-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    try:
        for role, schemas in {
            "ingest": ("landing",),
            "transform": ("reference", "staging", "core", "indicators"),
        }.items():
            with connect(role, config) as conn:
                for schema in schemas:
                    conn.execute(f"create table {schema}.{PROBE} (value integer)".encode())
        build_candidate(config, 70.0)
        judge(config)
        assert publish(config, 2019) == ("published", "2019.1.0")
        yield config
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)


def allowed(conn: psycopg.Connection[tuple[object, ...]], statement: str) -> bool:
    """Whether the server lets the session do it; whatever it did is undone.

    A broken constraint means that the privilege was there. A frozen table, a view that takes no rows and a missing
    privilege all refuse.
    """
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement.encode())
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.WrongObjectType,
    ):
        return False
    except psycopg.errors.IntegrityError:
        return True
    return True


def granted(role: str, thing: str, relation: str) -> dict[str, set[str] | None]:
    """Verbs that the matrix grants on a relation; columns of a partial update, None: the whole row."""
    said = MATRIX["grants"][role].get(thing, [])
    if isinstance(said, dict):
        said = said.get(relation, [])
    found: dict[str, set[str] | None] = {}
    for verb in said:
        if verb == "all":
            return dict.fromkeys(MATRIX["verbs"])
        if part := re.fullmatch(r"(\w+)\((.+)\)", verb):
            found[part[1]] = {column.strip() for column in part[2].split(",")}
        else:
            assert verb in MATRIX["verbs"], verb
            found[verb] = None
    return found


def test_matrix_names_every_role_and_every_schema(published: WarehouseConfig) -> None:
    assert set(MATRIX["roles"]) == set(MATRIX["grants"]) == set(LOGIN_ROLES)
    for role, grants in MATRIX["grants"].items():
        assert set(grants) <= set(MATRIX["objects"]), role
    with connect("admin", published) as conn:
        schemas = {
            str(row[0])
            for row in conn.execute(
                "select nspname from pg_namespace where nspname !~ '^pg_'"
                " and nspname not in ('information_schema', 'public')"
            )
        }
        tables = {
            f"{row[0]}.{row[1]}"
            for row in conn.execute(
                "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname in ('vault', 'quarantine', 'ledger', 'marts', 'migration')"
                " and c.relkind in ('r', 'v', 'p')"
            )
        }
    assert schemas == {placed(thing["schema"]) for thing in MATRIX["objects"].values()}
    tried = {placed(relation) for thing in MATRIX["objects"].values() for relation in thing["relations"]}
    assert tables <= tried, f"not in the matrix: {tables - tried}"


def test_every_cell_of_the_matrix_is_what_the_server_does(
    published: WarehouseConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, wrong = 0, []
    with connect("admin", published) as admin:
        rows = admin.execute(
            "select n.nspname || '.' || c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " join pg_namespace n on n.oid = c.relnamespace where a.attnum > 0 and not a.attisdropped"
        ).fetchall()
    columns: dict[str, list[str]] = {}
    for relation, column in rows:
        columns.setdefault(str(relation), []).append(str(column))
    for role in LOGIN_ROLES:
        with connect(role, published) as conn:
            # each cell is a savepoint in one transaction
            conn.execute("set lock_timeout = '5s'")
            for thing, about in MATRIX["objects"].items():
                schema = placed(about["schema"])
                for template in about["relations"]:
                    relation = placed(template)
                    grants = granted(role, thing, template)
                    statements = {
                        "select": f"select * from {relation} limit 0",
                        "insert": f"insert into {relation} default values",
                        "delete": f"delete from {relation} where false",
                        "truncate": f"truncate {relation} cascade"
                        if thing in ("vault", "quarantine")
                        else f"truncate {relation}",
                        "create": f"create table {schema}.{PROBE}_made ()",
                    }
                    for verb, statement in statements.items():
                        cells += 1
                        if allowed(conn, statement) != (verb in grants):
                            wrong.append(f"{role} {verb} {relation}: matrix says {verb in grants}")
                    for column in columns[relation]:
                        cells += 1
                        named = grants.get("update", set())
                        expected = "update" in grants and (named is None or column in named)
                        if allowed(conn, f'update {relation} set "{column}" = default where false') != expected:
                            wrong.append(f"{role} update {relation}.{column}: matrix says {expected}")
            cells += 2
            if allowed(conn, "create schema role_probe_made") != (role in MATRIX["create_schema"]):
                wrong.append(f"{role} create schema")
            if allowed(conn, "set local role edupa_sealed") != (role in MATRIX["act_as_sealed"]):
                wrong.append(f"{role} acts as edupa_sealed")
    with capsys.disabled():
        print(f"\nroles: {cells} cells tried, {len(wrong)} wrong")
    assert wrong == []
    assert cells > 1500


def test_nobody_logs_in_as_the_owner_of_releases(published: WarehouseConfig) -> None:
    with connect("admin", published) as conn:
        row = conn.execute("select rolcanlogin from pg_roles where rolname = 'edupa_sealed'").fetchone()
        assert row == (False,)
        powers = conn.execute(
            "select rolname from pg_roles where rolname like 'edupa\\_%' and rolname <> 'edupa_admin'"
            " and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
        ).fetchall()
    assert powers == []


def test_public_has_nothing(published: WarehouseConfig) -> None:
    with connect("admin", published) as conn:
        relations = conn.execute(
            "select c.oid::regclass::text, x.privilege_type from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) x"
            " where x.grantee = 0 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        ).fetchall()
        schemas = conn.execute(
            "select n.nspname, x.privilege_type from pg_namespace n cross join lateral aclexplode(n.nspacl) x"
            " where x.grantee = 0 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        ).fetchall()
        database = conn.execute(
            "select x.privilege_type from pg_database d cross join lateral aclexplode(d.datacl) x"
            " where x.grantee = 0 and d.datname = current_database()"
        ).fetchall()
    assert relations == []
    assert schemas == []
    assert database == []


def test_a_role_of_the_server_without_a_grant_cannot_even_connect(published: WarehouseConfig) -> None:
    with connect("admin", published, autocommit=True) as conn:
        conn.execute("create role stranger login password 'only-in-this-test'")
    parts = psycopg.conninfo.conninfo_to_dict(f"host=127.0.0.1 port={_port(published)} dbname={published.database}")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(**parts, user="stranger", password="only-in-this-test")  # type: ignore[arg-type]


def _port(config: WarehouseConfig) -> int:
    from warehouse.connection import connection_parts

    return connection_parts("admin", config).port
