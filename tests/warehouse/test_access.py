"""Restricted ledgers: a county's own login finds its children, nobody else does; every read is noted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import ingest
from tests.conftest import make_warehouse
from tests.ingest.golden import csv_text, id_number, pupil
from tests.warehouse.test_release import build_candidate, judge, publish
from warehouse.access import AccessError, apply_grants, differences, load_matrix
from warehouse.audit import prove_and_collect
from warehouse.config import LOGIN_ROLES, WarehouseConfig
from warehouse.connection import connect
from warehouse.restricted import (
    add_county_login,
    ensure_restricted,
    list_county_logins,
    refresh_all,
    refresh_restricted,
    remove_county_login,
)
from warehouse.server import read_state, stop
from warehouse.watchdog import watch_once

OWN, OTHER = "640422", "640424"
CANARY, CANARY_ID = "欧阳鑫垚", id_number(137, "20080229")
NAMED = "restricted.pupil_ledger_named"
LEDGER = "restricted.pupil_ledger"
Connection = psycopg.Connection[tuple[object, ...]]

SOURCE = """
create view restricted_source.pupil_ledger as
select school_year, person_token, seen.county_code, 'school'::text as county_relation,
       p.county_code as school_county_code, substr(home_area_code, 1, 6) as home_county_code, school_code,
       null::text as school_name, stage as stage_code, grade as grade_code, class_number, sex as sex_code,
       8 as age_years, boarding_code, false as is_registered_poor, null::text as poverty_status, disability_code
from landing.pupil p
cross join lateral (
    select distinct c from (values (p.county_code), (substr(home_area_code, 1, 6))) v (c)
) seen (county_code)
where ended_load_id is null
"""
#: every other ledger that roles.yaml names
OTHERS = {name: about for name, about in load_matrix().restricted.items() if name != "pupil_ledger"}


def source_of(name: str, token: str) -> str:
    """A source for a ledger: one row of the canary for its own county, one of somebody else for another county."""
    about = OTHERS[name]
    rows = []
    for county, person in ((OWN, token), (OTHER, "0" * 64)):
        values = []
        for column, (kind, _) in about["columns"].items():
            value = f"'{1 if kind != 'text' else county}'" if column in about["key"] and kind != "date" else "null"
            value = "'2016-09-01'" if column in about["key"] and kind == "date" else value
            value = f"'{person}'" if column == about.get("person") else value
            value = f"'{county}'" if column == about["county"] else value
            values.append(f"{value}::{kind} as {column}")
        rows.append(f"select {', '.join(values)}")
    return f"create view restricted_source.{name} as {' union all '.join(rows)}"


@dataclass(frozen=True)
class Place:
    """A warehouse with a canary child in one county, a child of another county at its school, and a release."""

    config: WarehouseConfig

    def county(self, name: str, *, autocommit: bool = True) -> Connection:
        """Connection of a county's login."""
        return connect(f"county_{name}", self.config, autocommit=autocommit)

    def admin(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of a statement of the administrator."""
        with connect("admin", self.config, autocommit=True) as conn:
            done = conn.execute(statement.encode(), values)
            return done.fetchall() if done.description else []

    def logs(self) -> dict[str, str]:
        """Everything that the server wrote to its logs."""
        state = read_state(self.config)
        assert state is not None
        data = Path(state.data_dir)
        found = {path.name: path.read_bytes().decode() for path in [data / "server.log", *(data / "log").iterdir()]}
        assert any(name.endswith(".json") for name in found)
        return found


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="edupa-access-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    contracts = {name: ingest.load_contracts()[name] for name in ("pupil",)}
    ingest.ensure_token_key(config)
    with connect("ingest", config) as conn:
        ingest.ensure_landing(conn, ingest.load_contracts())
    canary = {"姓名": CANARY, "证件号码": CANARY_ID, "学籍号": f"G{CANARY_ID}", "出生日期": "2008-02-29"}
    rows = [
        pupil(1),
        pupil(137, **canary, 性别="男"),
        pupil(3, **{"户口所在地区划代码": "640424100201"}),
        # the canary again, in rows that are rejected
        pupil(4, **{"姓名": CANARY, "证件号码": f"{CANARY_ID}9", "班级": CANARY}),
    ]
    root = home / "extracts" / "E04_学籍"
    root.mkdir(parents=True)
    (root / "学籍_640422_西吉县_2016_20161020.csv").write_text(csv_text(rows), encoding="utf-8")
    report = ingest.load_feed("pupil", root.parent, contracts, config)
    assert report.total("rows_landed") == 3, report
    assert report.total("rows_quarantined") == 1
    with connect("admin", config) as conn:
        row = conn.execute(
            "select person_token from vault.person_identity where identifier = %s", (CANARY_ID,)
        ).fetchone()
    assert row is not None
    with connect("transform", config) as conn:
        conn.execute(SOURCE.encode())
        for name in OTHERS:
            conn.execute(source_of(name, str(row[0])).encode())
    build_candidate(config, 70.0)
    judge(config)
    assert publish(config, 2019)[0] == "published"
    filled = {done.relation: (done.removed, done.added, done.held) for done in refresh_all(config)}
    assert filled == {"pupil_ledger": (0, 4, 4), **dict.fromkeys(OTHERS, (0, 2, 2))}
    add_county_login(config, "xiji", [OWN])
    add_county_login(config, "jingyuan", [OTHER])
    assert watch_once(config).problem is None
    yield Place(config)
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


def refused(conn: Connection, statement: str) -> str:
    """Message of the server that refuses a statement."""
    with pytest.raises(psycopg.Error) as error:
        conn.execute(statement.encode())
    conn.rollback()
    return str(error.value)


# --- who finds the child ------------------------------------------------------------------------------------------


def found_in(conn: Connection, needles: list[str]) -> tuple[set[str], int]:
    """Relations, the system's too, in which a session finds one of the texts in any column; how many it could read."""
    relations = conn.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p', 'v', 'm', 'f') and (n.nspname !~ '^(pg_|information_schema)' or c.relname ~"
        " '^(pg_stat|pg_large|pg_description|pg_shdescription|pg_cursors|pg_prepared|pg_settings|pg_db_role)')"
        " order by 1, 2"
    ).fetchall()
    found: set[str] = set()
    read = 0
    for schema, name in relations:
        try:
            row = conn.execute(
                sql.SQL("select count(*) from {} as t where t::text like any (%s)").format(
                    sql.Identifier(str(schema), str(name))
                ),
                (needles,),
            ).fetchone()
        except psycopg.Error:
            continue
        read += 1
        if row != (0,):
            found.add(f"{schema}.{name}")
    return found, read


def test_the_canary_child_is_found_by_its_own_county_only(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    needles = [f"%{text}%" for text in (CANARY, CANARY_ID, CANARY_ID[6:])]
    # statements that make the server complain about the very value
    with place.county("xiji") as conn:
        assert "欧阳" in refused(conn, f"select person_name::integer from {NAMED} where person_name = '{CANARY}'")
    with connect("ingest", place.config) as conn:
        assert "欧阳" in refused(
            conn, f"select person_name::integer from vault.person_identity where person_name = '{CANARY}'"
        )
    searched = 0
    for role in (*LOGIN_ROLES, "county_jingyuan", "county_xiji"):
        with connect(role, place.config, autocommit=True) as conn:
            found, read = found_in(conn, needles)
        named = {NAMED, *(f"restricted.{name}_named" for name, about in OTHERS.items() if "person" in about)}
        expected = {"ingest": {"vault.person_identity"}, "county_xiji": named}.get(role, set())
        assert found == expected, role
        assert read > 40, role
        searched += read
    for name, text in place.logs().items():
        for needle in (CANARY, CANARY_ID, CANARY_ID[6:]):
            assert needle not in text, name
    with capsys.disabled():
        print(f"\ncanary: {searched} readable relations searched by {len(LOGIN_ROLES) + 2} logins")


def test_a_county_sees_its_schools_pupils_and_its_households_pupils(place: Place) -> None:
    with place.county("xiji") as conn:
        assert conn.execute(f"select count(*) from {LEDGER}".encode()).fetchone() == (3,)
        row = conn.execute(f"select person_name, identifier from {NAMED} where person_name = %s".encode(), (CANARY,))
        assert row.fetchall() == [(CANARY, CANARY_ID)]
    with place.county("jingyuan") as conn:
        rows = conn.execute(
            f"select home_county_code, school_county_code, person_name from {NAMED}".encode()
        ).fetchall()
        assert [row[:2] for row in rows] == [(OTHER, OWN)]
        assert rows[0][2] not in (None, CANARY)


@pytest.mark.parametrize("name", OTHERS)
def test_every_restricted_ledger_shows_a_county_its_own_rows_and_no_other(place: Place, name: str) -> None:
    about = OTHERS[name]
    relations = [f"restricted.{name}", *([f"restricted.{name}_named"] if "person" in about else [])]
    for login, county in (("xiji", OWN), ("jingyuan", OTHER)):
        with place.county(login) as conn:
            for relation in relations:
                rows = conn.execute(f"select {about['county']} from {relation}".encode()).fetchall()
                assert rows == [(county,)], relation
    for role in LOGIN_ROLES:
        with connect(role, place.config, autocommit=True) as conn:
            for relation in relations:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(f"select * from {relation}".encode())


# --- what a login of another county may try -----------------------------------------------------------------------


LEAK = f"select count(*) from {NAMED} where "
ATTEMPTS: dict[str, str] = {
    "vault": "select * from vault.person_identity",
    "core": "select * from restricted_source.pupil_ledger",
    "landing": "select * from landing.pupil",
    "own register": "select * from access.county_login",
    "own proof": "update access.audit_proof set proved_at = 'infinity'",
    "policy": f"alter table {LEDGER} disable row level security",
    "row security off": f"set row_security = off; select * from {LEDGER}",
    "group": "set role edupa_county",
    "namer": "set role edupa_namer",
    "other county": "set role edupa_county_xiji",
    "authorization": "set session authorization edupa_county_xiji",
    "function": "create function public.peek(text) returns boolean language sql as 'select true'",
    "temporary function": "create function pg_temp.peek(text) returns boolean language sql as 'select true'",
    "anonymous block": "do $$ begin raise notice 'x'; end $$",
    "temporary table": f"create temporary table mine as select * from {NAMED}",
    "schema": "create schema mine",
    "large object": "select lo_from_bytea(0, 'x')",
    "large object, empty": "select lo_create(0)",
    "file": "select pg_read_file('server.log')",
    "log": "select * from access.read_log('edupa-01.json', 0)",
    "log folder": "select * from pg_ls_logdir()",
    "copy to file": f"copy (select * from {NAMED}) to '/tmp/edupa-peek'",
    "quiet log": "set log_min_messages = 'panic'",
    "quiet log at login": "alter role edupa_county_jingyuan set log_min_messages = 'panic'",
    "longer at login": "alter role edupa_county_jingyuan connection limit 100",
    "triggers": "set session_replication_role = replica",
    "write": f"delete from {LEDGER}",
    "lock": f"lock table {LEDGER} in exclusive mode",
    "truncate": f"truncate {LEDGER}",
    "refresh": "select * from access.refresh_restricted('pupil_ledger')",
    "note to others": "select access.mark_log(repeat('a', 32))",
    "unknown ledger": "select access.reader_counties('restricted.x')",
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_another_county_is_refused(place: Place, name: str) -> None:
    with place.county("jingyuan", autocommit=False) as conn:
        message = refused(conn, ATTEMPTS[name])
    assert any(
        words in message
        for words in (
            "permission denied",
            "must be owner",
            "row-level security",
            "no restricted ledger",
            "only roles with",
        )
    ), message


@pytest.mark.parametrize(
    "condition",
    [
        f"1 / (case when person_name = '{CANARY}' then 0 else 1 end) = 1",
        "person_name::integer = 1 and false",
        f"1 / position('x' in case when identifier = '{CANARY_ID}' then '' else 'x' end) = 1",
        f"'x' ~ case when person_name = '{CANARY}' then '(' else 'x' end",
    ],
)
def test_no_condition_is_asked_of_rows_that_are_not_shown(place: Place, condition: str) -> None:
    with place.county("jingyuan") as conn:
        conn.execute((LEAK + f"person_token = 'x' and {condition}").encode())
        shown = conn.execute((LEAK + f"person_name = '{CANARY}'").encode()).fetchone()
        assert shown == (0,)
        # against all rows that it is shown: the same, unless its own rows are at fault
        if "::integer" not in condition:
            conn.execute((LEAK + condition).encode())


def test_neither_plans_nor_statistics_tell_of_others(place: Place) -> None:
    place.admin("analyze")
    with place.county("jingyuan") as conn:

        def plan(name: str, token: str) -> list[tuple[object, ...]]:
            return conn.execute(
                f"explain select * from {NAMED} where person_name = '{name}' or person_token = '{token}'".encode()
            ).fetchall()

        token = str(place.admin("select person_token from vault.person_identity where person_name = %s", CANARY)[0][0])
        there = [str(line[0]).replace(CANARY, "?").replace(token, "?") for line in plan(CANARY, token)]
        away = [str(line[0]).replace("无此人", "?").replace("0" * 64, "?") for line in plan("无此人", "0" * 64)]
        assert there == away
        stats = conn.execute("select schemaname, tablename from pg_stats where schemaname !~ '^(pg_|information)'")
        assert stats.fetchall() == []
        with place.county("xiji") as busy:
            busy.execute(f"select 1 from {NAMED} where person_name = '{CANARY}'".encode())
            seen = conn.execute("select query from pg_stat_activity where usename = 'edupa_county_xiji'").fetchall()
        assert seen == [("<insufficient privilege>",)]


@pytest.mark.parametrize("way", ["cursor", "cursor with hold", "prepared", "copy", "subquery", "array"])
def test_every_way_to_read_shows_the_own_rows(place: Place, way: str) -> None:
    query = f"select home_county_code from {NAMED}"
    with place.county("jingyuan", autocommit=False) as conn:
        if way.startswith("cursor"):
            hold = "with hold" if "hold" in way else ""
            conn.execute(f"declare mine scroll cursor {hold} for {query}".encode())
            if hold:
                conn.commit()
            rows = conn.execute("fetch all from mine").fetchall()
        elif way == "prepared":
            conn.execute(f"prepare mine as {query}".encode())
            for _ in range(7):
                rows = conn.execute("execute mine").fetchall()
        elif way == "copy":
            with conn.cursor().copy(f"copy ({query}) to stdout".encode()) as copied:
                rows = [tuple(bytes(line).decode().split()) for line in copied]
        elif way == "subquery":
            rows = conn.execute(f"select (select home_county_code from {LEDGER} limit 1)".encode()).fetchall()
        else:
            rows = conn.execute(f"select unnest(array({query})) union all {query} where false".encode()).fetchall()
    assert rows == [(OTHER,)]


# --- the trail ----------------------------------------------------------------------------------------------------


def collected(place: Place) -> list[tuple[object, ...]]:
    with connect("watchdog", place.config, autocommit=True) as conn:
        prove_and_collect(conn)
    return place.admin(
        "select login, relation, county_codes, application_name, client from ledger.restricted_read order by read_id"
    )


def begin_rollback(conn: Connection) -> None:
    conn.execute("begin")
    conn.execute(f"select 1 from {NAMED}".encode())
    conn.execute("rollback")


def read_only(conn: Connection) -> None:
    conn.execute("begin transaction read only")
    conn.execute(f"select 1 from {LEDGER}".encode())
    conn.execute("commit")


def fails(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute(f"select 1 / (age_years - age_years) from {LEDGER}".encode())


def explained(conn: Connection) -> None:
    conn.execute(f"explain select * from {NAMED}".encode())


def silenced(conn: Connection) -> None:
    conn.execute("set client_min_messages = error")
    conn.execute(f"select 1 from {LEDGER}".encode())


@pytest.mark.parametrize(
    ("read", "relations"),
    [
        (begin_rollback, {NAMED, LEDGER}),
        (read_only, {LEDGER}),
        (fails, {LEDGER}),
        (silenced, {LEDGER}),
        (explained, set()),
    ],
)
def test_the_trail_survives_whatever_the_reader_does(
    place: Place, read: Callable[[Connection], None], relations: set[str]
) -> None:
    before = len(collected(place))
    with connect("county_xiji", place.config, autocommit=True, application_name="Excel 西吉") as conn:
        read(conn)
    new = collected(place)[before:]
    assert {str(row[1]) for row in new} == relations
    assert len(new) == len(relations)
    for login, _, counties, application, client in new:
        assert (login, counties, client) == ("edupa_county_xiji", [OWN], "127.0.0.1")
        assert str(application).startswith("Excel")
    assert len(collected(place)) == before + len(new), "collected twice"


def test_without_a_trail_nothing_is_read(place: Place) -> None:
    place.admin("update access.audit_proof set proved_at = now() - interval '16 minutes'")
    try:
        with place.county("xiji") as conn:
            for relation in (LEDGER, NAMED):
                message = refused(conn, f"select * from {relation}")
                assert "without it" in message
                assert "edupa watchdog run" in message
    finally:
        collected(place)
    with place.county("xiji") as conn:
        assert conn.execute(f"select count(*) from {LEDGER}".encode()).fetchone() == (3,)


def test_a_server_that_writes_no_json_log_cannot_prove_its_trail(place: Place) -> None:
    place.admin("alter system set log_destination = 'stderr'")
    place.admin("select pg_reload_conf()")
    try:
        before = place.admin("select proved_at from access.audit_proof")
        for _ in range(20):
            done = watch_once(place.config)
            if done.problem is not None:
                break
        assert done.problem is not None
        assert "log" in done.problem
        assert place.admin("select proved_at from access.audit_proof") >= before
    finally:
        place.admin("alter system reset log_destination")
        place.admin("select pg_reload_conf()")
    for _ in range(20):
        if watch_once(place.config).problem is None:
            break
    assert watch_once(place.config).problem is None


def test_a_foreign_entry_is_told_from_ours_and_stops_nothing(place: Place) -> None:
    before = len(collected(place))
    place.admin("do $$ begin raise log 'edupa read of my own'; end $$")
    assert [row[1] for row in collected(place)[before:]] == ["?"]


def test_a_log_name_used_again_is_read_from_its_beginning(place: Place) -> None:
    (position,) = place.admin("select log_file, next_byte from access.audit_position order by next_byte desc limit 1")
    before = len(collected(place))
    with place.county("xiji") as conn:
        conn.execute(f"select 1 from {LEDGER}".encode())
    # as if the file of last month had been longer, or another one
    for change in ("next_byte = 1::bigint << 40", "log_head = repeat('0', 64)"):
        place.admin("truncate ledger.restricted_read")
        place.admin(f"update access.audit_position set {change} where log_file = %s", position[0])
        assert len(collected(place)) > before, change


# --- logins -------------------------------------------------------------------------------------------------------


def test_a_login_that_holds_no_more_or_not_yet_reads_nothing(place: Place) -> None:
    today = "(now() at time zone 'Asia/Shanghai')::date"
    with place.county("xiji") as conn:
        for change in (f"valid_to = {today}", f"valid_from = {today} + 1, valid_to = null"):
            place.admin(f"update access.county_login set {change} where login = 'edupa_county_xiji'")
            assert "belongs to no county today" in refused(conn, f"select * from {LEDGER}")
        # the zone of the session is its own; the day is the province's
        conn.execute("set timezone = 'Pacific/Kiritimati'")
        place.admin(
            f"update access.county_login set valid_from = {today}, valid_to = null where login = 'edupa_county_xiji'"
        )
        assert conn.execute(f"select count(*) from {LEDGER}".encode()).fetchone() == (3,)


def test_a_login_comes_and_goes_with_its_secret(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    secret = add_county_login(place.config, "two_counties", [OTHER, OWN])
    path = place.config.secret_path(secret)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() not in capsys.readouterr().out
    (stored,) = place.admin(
        "select rolpassword, rolconnlimit from pg_authid where rolname = 'edupa_county_two_counties'"
    )
    assert str(stored[0]).startswith("SCRAM-SHA-256$")
    assert stored[1] == load_matrix().limits["county"]["connections"]
    with place.county("two_counties") as conn:
        assert conn.execute(f"select count(*) from {LEDGER}".encode()).fetchone() == (4,)
        with pytest.raises(AccessError, match="exists already"):
            add_county_login(place.config, "two_counties", [OWN])
        assert remove_county_login(place.config, "two_counties") == 1
        with pytest.raises(psycopg.OperationalError):
            conn.execute("select 1")
    assert not path.exists()
    assert {entry.valid_to is None for entry in list_county_logins(place.config) if "two" in entry.login} == {False}
    with pytest.raises(AccessError, match="there is no login"):
        remove_county_login(place.config, "two_counties")
    with pytest.raises(AccessError, match="six digits"):
        add_county_login(place.config, "xx", ["西吉"])
    with pytest.raises(AccessError, match="no name of a login"):
        add_county_login(place.config, "x; drop", [OWN])


# --- ledgers are data ---------------------------------------------------------------------------------------------


def test_a_further_ledger_is_one_entry_and_keeps_every_rule(place: Place) -> None:
    matrix = load_matrix()
    aid = {
        "comment": "资助台账 — aid",
        "key": ["aid_number"],
        "county": "county_code",
        "person": "person_token",
        "columns": {
            "aid_number": ["integer", "序号 — number"],
            "county_code": ["text", "县 — county"],
            "person_token": ["text", "令牌 — token"],
        },
    }
    wider = replace(matrix, restricted={**matrix.restricted, "aid_ledger": aid})
    with connect("admin", place.config, autocommit=True) as conn:
        assert ensure_restricted(conn, wider) == ["aid_ledger"]
        assert ensure_restricted(conn, wider) == []
        apply_grants(conn)
        assert differences(conn) == []
    with connect("transform", place.config) as conn:
        conn.execute(
            "create view restricted_source.aid_ledger as select row_number() over ()::integer as aid_number,"
            " county_code, person_token from landing.pupil"
        )
    assert refresh_restricted(place.config, "aid_ledger").held == 3
    with place.county("jingyuan") as conn:
        assert conn.execute("select count(*) from restricted.aid_ledger_named").fetchone() == (0,)
    with place.county("xiji") as conn:
        rows = conn.execute("select person_name from restricted.aid_ledger_named").fetchall()
        assert (CANARY,) in rows
    with connect("admin", place.config, autocommit=True) as conn:
        assert ensure_restricted(conn) == ["aid_ledger"]
        assert conn.execute("select to_regclass('restricted.aid_ledger')").fetchone() == (None,)
        with pytest.raises(AccessError, match="aid_ledger has no column nobody"):
            ensure_restricted(conn, replace(matrix, restricted={"aid_ledger": {**aid, "person": "nobody"}}))


def test_a_refresh_touches_what_differs_and_shows_nothing_half(place: Place) -> None:
    assert refresh_restricted(place.config, "pupil_ledger").added == 0
    before = place.admin(f"select xmin, ctid from {LEDGER} order by 2")
    assert refresh_restricted(place.config, "pupil_ledger").removed == 0
    assert place.admin(f"select xmin, ctid from {LEDGER} order by 2") == before
    place.admin(f"update {LEDGER} set grade_code = 'x' where county_code = '{OTHER}'")
    place.admin(f"delete from {LEDGER} where ctid = (select min(ctid) from {LEDGER} where county_code = '{OWN}')")
    with place.county("jingyuan", autocommit=False) as reader:
        reader.execute("set transaction isolation level repeatable read")
        assert reader.execute(f"select grade_code from {LEDGER}".encode()).fetchone() == ("x",)
        done = refresh_restricted(place.config, "pupil_ledger")
        assert (done.removed, done.added, done.held) == (1, 2, 4)
        assert reader.execute(f"select grade_code from {LEDGER}".encode()).fetchone() == ("x",)
        reader.commit()
        assert reader.execute(f"select grade_code from {LEDGER}".encode()).fetchone() != ("x",)


def test_a_source_with_other_columns_changes_nothing(place: Place) -> None:
    with connect("transform", place.config) as conn:
        conn.execute("alter view restricted_source.pupil_ledger rename column grade_code to grade")
    try:
        with pytest.raises(psycopg.Error, match="grade_code is missing, not text"):
            refresh_restricted(place.config, "pupil_ledger")
        assert place.admin(f"select count(*) from {LEDGER}") == [(4,)]
    finally:
        with connect("transform", place.config) as conn:
            conn.execute("alter view restricted_source.pupil_ledger rename column grade to grade_code")


def test_the_owners_of_restricted_things_are_bound_too(place: Place) -> None:
    rows = place.admin(
        "select c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'restricted' and c.relkind = 'r'"
    )
    assert set(rows) == {(name, True, True, "edupa_custodian") for name in load_matrix().restricted}
    assert place.admin(
        "select pg_get_userbyid(relowner), reloptions from pg_class where oid = %s::regclass", NAMED
    ) == [("edupa_namer", ["security_barrier=true"])]
    powers = place.admin(
        "select rolname from pg_roles where rolname = any(%s)"
        " and (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole)",
        ["edupa_custodian", "edupa_namer", "edupa_observer", "edupa_county"],
    )
    assert powers == []
