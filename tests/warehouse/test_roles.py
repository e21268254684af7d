"""Every cell of warehouse/roles.yaml, named or not, tried on a server with a published release."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import make_warehouse
from tests.warehouse.test_release import SCHEMA, build_candidate, judge, publish
from warehouse.access import ROLES_FILE, AccessError, apply_grants, database_role, differences, load_matrix, read_matrix
from warehouse.config import LOGIN_ROLES, WarehouseConfig
from warehouse.connection import connect
from warehouse.server import stop

MATRIX = load_matrix()
PROBE = "role_probe"
PLACES = {
    "<feed>": PROBE,
    "<seed>": PROBE,
    "<model>": PROBE,
    "<candidate>": SCHEMA,
    "<frozen>": "releases.county_evaluation__2019_1_0",
    "<mart>": "county_evaluation",
    "<pinned>": "release_2019_1_0",
}


#: marks that stand for several relations
LEDGERS = {
    "<ledger>": list(MATRIX.restricted),
    "<named>": [f"{name}_named" for name, about in MATRIX.restricted.items() if "person" in about],
}


def relations(template: str) -> list[str]:
    for mark, names in LEDGERS.items():
        if mark in template:
            return [template.replace(mark, name) for name in names]
    return [placed(template)]


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
            "transform": ("reference", "staging", "core", "indicators", "restricted_source"),
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


def holds(
    conn: psycopg.Connection[tuple[object, ...]], role: str, verb: str, on: str, column: str | None = None
) -> bool:
    """Whether a role that nobody logs in as has a privilege: trying would not tell, a view of its own takes no rows."""
    who = database_role(role)
    if "." not in on:
        done = conn.execute("select has_schema_privilege(%s, %s, %s)", (who, on, verb))
    elif column is not None:
        done = conn.execute("select has_column_privilege(%s, %s, %s, %s)", (who, on, column, verb))
    elif verb in ("select", "insert"):
        done = conn.execute("select has_any_column_privilege(%s, %s, %s)", (who, on, verb))
    else:
        done = conn.execute("select has_table_privilege(%s, %s, %s)", (who, on, verb))
    return done.fetchone() == (True,)


def test_matrix_names_every_role_and_every_schema(published: WarehouseConfig) -> None:
    assert set(MATRIX.login_roles()) == set(LOGIN_ROLES)
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
                " where n.nspname in ('vault', 'quarantine', 'ledger', 'marts', 'migration', 'access', 'restricted')"
                " and c.relkind in ('r', 'v', 'p')"
            )
        }
    assert schemas == {placed(thing["schema"]) for thing in MATRIX.objects.values()}
    tried = {one for thing in MATRIX.objects.values() for template in thing["relations"] for one in relations(template)}
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
    with connect("admin", published) as admin:
        functions = {
            str(row[0]): (int(str(row[1])), str(row[2]))
            for row in admin.execute(
                "select n.nspname || '.' || p.proname, p.oid, pg_get_userbyid(p.proowner) from pg_proc p"
                " join pg_namespace n on n.oid = p.pronamespace"
                " where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public')"
            )
        }
    assert set(MATRIX.functions) <= set(functions)
    for role, about in MATRIX.roles.items():
        logs_in = about.get("login", True)
        with connect(role if logs_in else "admin", published) as conn:
            # each cell is a savepoint in one transaction
            conn.execute("set lock_timeout = '5s'")
            for thing, about in MATRIX.objects.items():
                schema = placed(about["schema"])
                for template, relation in ((one, place) for one in about["relations"] for place in relations(one)):
                    grants = MATRIX.verbs(role, thing, template)
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
                        asked = schema if verb == "create" else relation
                        does = allowed(conn, statement) if logs_in else holds(conn, role, verb, asked)
                        if does != (verb in grants):
                            wrong.append(f"{role} {verb} {relation}: matrix says {verb in grants}")
                    for column in columns[relation]:
                        cells += 1
                        named = grants.get("update", frozenset())
                        expected = named is None or column in named
                        statement = f'update {relation} set "{column}" = default where false'
                        does = allowed(conn, statement) if logs_in else holds(conn, role, "update", relation, column)
                        if does != expected:
                            wrong.append(f"{role} update {relation}.{column}: matrix says {expected}")
            for name, (function, owner) in functions.items():
                cells += 1
                row = conn.execute(
                    "select has_function_privilege(%s, %s::oid, 'execute')", (database_role(role), function)
                )
                expected = role in MATRIX.functions.get(name, ()) or owner == database_role(role)
                if row.fetchone() != (expected,):
                    wrong.append(f"{role} execute {name}: matrix says {expected}")
            if not logs_in:
                continue
            cells += 2
            if allowed(conn, "create schema role_probe_made") != (role in MATRIX.create_schema):
                wrong.append(f"{role} create schema")
            if allowed(conn, "create temporary table role_probe_made ()") != (role in MATRIX.temporary):
                wrong.append(f"{role} create temporary table")
            for other in set(MATRIX.roles) - {role}:
                cells += 1
                expected = other in MATRIX.memberships.get(role, ())
                if allowed(conn, f"set local role {database_role(other)}") != expected:
                    wrong.append(f"{role} acts as {other}")
    with capsys.disabled():
        print(f"\nroles: {cells} cells tried, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert cells > 3104


def test_what_the_matrix_does_not_name_is_taken_away_and_what_it_names_is_given(published: WarehouseConfig) -> None:
    with connect("admin", published, autocommit=True) as conn:
        assert differences(conn) == []
        conn.execute(
            "create role passer_by;"
            "grant select on core.role_probe to edupa_bi, public;"
            "grant select on vault.person_identity to passer_by with grant option;"
            "grant update (status, reason) on ledger.release to edupa_gatekeeper, edupa_publisher;"
            "grant insert (feed) on ledger.load to edupa_auditor;"
            "grant usage, create on schema core to edupa_bi;"
            "grant usage on schema vault to public;"
            "grant edupa_ingest to edupa_bi;"
            "grant execute on function releases.refuse_change() to public;"
            "alter default privileges for role edupa_transform grant select on tables to edupa_bi;"
            "alter default privileges for role edupa_ingest in schema vault grant select on tables to edupa_bi;"
            "revoke select on marts.county_evaluation from edupa_bi;"
            "revoke usage on schema marts from edupa_evaluator;"
            "revoke update (published_at) on ledger.release from edupa_publisher;"
            "revoke edupa_sealed from edupa_publisher"
        )
        try:
            found = apply_grants(conn)
            texts = [change.text for change in found]
            assert len(found) == 17, texts
            # PUBLIC loses first
            assert [text.endswith("from public") for text in texts][:3] == [True, True, True]
            assert differences(conn) == []
            assert apply_grants(conn) == []
        finally:
            conn.execute("drop owned by passer_by; drop role passer_by")
    with connect("bi", published) as reader:
        assert allowed(reader, "select * from marts.county_evaluation")
        assert not allowed(reader, "select * from core.role_probe")


def test_a_matrix_that_names_what_it_does_not_know_is_refused() -> None:
    text = ROLES_FILE.read_text(encoding="utf-8")
    for wrong, message in (
        (text.replace("    vault: [all]", "    vaults: [all]"), "grants of ingest name no object.*vaults"),
        (text.replace("    vault: [all]", "    vault: [peek]"), "ingest, vault: unknown verb peek"),
        (text.replace("temporary: [ingest", "temporary: [nobody"), "temporary names no role.*nobody"),
        (text.replace("      ledger.file: [select]", "      ledger.fil: [select]"), "no such relation: ledger.fil"),
        (text.replace("\n  bi:\n", "\n  bj:\n"), "roles and grants differ: bi, bj"),
    ):
        assert wrong != text
        with pytest.raises(AccessError, match=message):
            read_matrix(wrong)


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
