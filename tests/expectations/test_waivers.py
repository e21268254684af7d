"""Waivers: every misuse is refused with its reason, and a valid one lets pass what it names and nothing else."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from expectations.decide import Verdict, decide
from expectations.gate import GateReport, run_gate
from expectations.report import Finding, Place
from expectations.suite import SUITES, SuiteError, Text, load_suites
from expectations.waivers import (
    Waiver,
    WaiverError,
    apply,
    approve,
    failed_run,
    may_be_waived,
    propose,
    revoke,
    waivers_of,
)
from tests.conftest import make_warehouse
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.login import connect_as
from warehouse.server import stop

RULE, GUARDED, MILD, HELD = "tried.rule", "tried.identity", "tried.mild", "tried.held"
PROBE = "tried.probe"
REASON = "泾源县补报中 the county is sending its file again"
# logins of people: one of each role, and one that may do both
PEOPLE = {"li": ("edupa_steward",), "ma": ("edupa_approver",), "hai": ("edupa_steward", "edupa_approver")}


@pytest.fixture(scope="module")
def house() -> Iterator[WarehouseConfig]:
    """A server of its own, with a login for each person."""
    home = Path(tempfile.mkdtemp(prefix="edupa-waiver-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    with connect("admin", config) as admin:
        for person, roles in PEOPLE.items():
            admin.execute(f"create role {person} login password '{config.ensure_secret(person)}'".encode())
            admin.execute(f"grant {', '.join(roles)} to {person}".encode())
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


def judged(config: WarehouseConfig, content: str, *, guarded: bool = False, days: int = 30) -> int:
    """A gate run as the gatekeeper writes it: a rule fails in three counties, one is guarded, one warns, one holds."""
    with connect("gatekeeper", config) as conn:
        row = conn.execute(
            "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision,"
            " waiver_days_max) values ('arrival', 'r', 2020, 'landing', %s, 'block', %s) returning gate_run_id",
            (content, days),
        ).fetchone()
        assert row
        run = int(str(row[0]))
        cells = [
            (RULE, "block", False, county, "2019", "1 (缺报)", not guarded) for county in ("640422", "640424", "640522")
        ]
        cells += [
            (GUARDED, "block", False, "*", "*", "3", False),
            (MILD, "warn", False, "640422", "2019", "1", True),
            (HELD, "block", True, "*", "*", None, False),
        ]
        for rule, severity, success, county, period, observed, waivable in cells:
            conn.execute(
                "insert into ledger.gate_result (gate_run_id, suite, expectation_id, severity, success, county_code,"
                " period, observed, waivable) values (%s, 'tried', %s, %s, %s, %s, %s, %s, %s)",
                (run, rule, severity, success, county, period, observed, waivable),
            )
    return run


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def proposed(config: WarehouseConfig, run: int, login: str = "li", *, county: str = "*", rule: str = RULE) -> int:
    with connect_as(login, config) as conn:
        return propose(
            conn, gate_run_id=run, expectation_id=rule, county_code=county, reason=REASON, expires_at=in_days(20)
        )


def state(config: WarehouseConfig, waiver: int) -> tuple[object, ...]:
    with connect("auditor", config) as conn:
        row = conn.execute(
            "select status, proposed_by, approved_by, revoked_by, is_void from ledger.waiver_state"
            " where waiver_id = %s",
            (waiver,),
        ).fetchone()
    assert row
    return row


def expire(config: WarehouseConfig, waiver: int) -> None:
    """Move a waiver into the past, as only a superuser who silences the triggers can."""
    with connect("admin", config) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute(
            "update ledger.waiver set proposed_at = now() - interval '9 days', expires_at = now() - interval '1 day'"
            " where waiver_id = %s",
            (waiver,),
        )


# --- proposing ----------------------------------------------------------------------------------------------------


def test_a_proposal_copies_the_cells_and_figures_that_were_seen(house: WarehouseConfig) -> None:
    run = judged(house, "a")
    waiver = proposed(house, run, county="640424")
    with connect("auditor", house) as conn:
        row = conn.execute(
            "select boundary, subject_hash, evaluation_year, suite, cells, proposed_by, approved_by from ledger.waiver"
            " where waiver_id = %s",
            (waiver,),
        ).fetchone()
    assert row == (
        "arrival", "a", 2020, "tried",
        [{"county_code": "640424", "period": "2019", "observed": "1 (缺报)"}], "li", None,
    )  # fmt: skip
    assert failed_run_of(house) == run


def failed_run_of(config: WarehouseConfig) -> int:
    with connect_as("li", config) as conn:
        with pytest.raises(WaiverError, match="the candidate gate never blocked evaluation year 2020"):
            failed_run(conn, 2020, "candidate")
        return failed_run(conn, 2020)


MISUSED_PROPOSALS: dict[str, tuple[dict[str, object], str]] = {
    "no such run": ({"gate_run_id": 999_999}, "there is no gate run 999999"),
    "no such rule": ({"expectation_id": "tried.nothing"}, "knows no rule tried.nothing"),
    "rule that held": ({"expectation_id": HELD}, "rule tried.held did not fail.*nothing to waive"),
    "rule that warns": ({"expectation_id": MILD}, "only warns: it stops nothing and needs no waiver"),
    "forbidden rule": ({"expectation_id": GUARDED}, "tried.identity may not be waived by anybody: it guards identity"),
    "county that did not fail": ({"county_code": "640104"}, "did not fail at county 640104.*it failed at: 640422"),
    "period that did not fail": ({"period": "2018"}, r"period 2018.*it failed at: 640422 2019, 640424 2019"),
    "expiry in the past": ({"expires_at": in_days(-1)}, "is not in the future"),
    "expiry too late": ({"expires_at": in_days(31)}, "later than the 30 days that the policy of gate run"),
    "expiry never": ({"expires_at": "infinity"}, "later than the 30 days"),
    "expiry no time": ({"expires_at": "soon"}, "invalid input syntax.*soon"),
    "no reason": ({"reason": "  because  "}, "the reason is too short: say in at least 10 characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(MISUSED_PROPOSALS))
def test_a_misused_proposal_is_refused_with_its_reason(house: WarehouseConfig, case: str) -> None:
    changes, message = MISUSED_PROPOSALS[case]
    asked = {
        "gate_run_id": judged(house, "misuse"),
        "expectation_id": RULE,
        "reason": REASON,
        "expires_at": in_days(20),
    } | changes
    before = count(house)
    with connect_as("li", house) as conn, pytest.raises(WaiverError, match=message):
        propose(conn, **asked)  # type: ignore[arg-type]
    assert count(house) == before


def count(config: WarehouseConfig) -> int:
    with connect("auditor", config) as conn:
        row = conn.execute("select count(*) from ledger.waiver").fetchone()
    assert row
    return int(str(row[0]))


def test_a_proposal_for_data_that_changed_is_refused(house: WarehouseConfig) -> None:
    run, newer = judged(house, "old"), judged(house, "new")
    with pytest.raises(WaiverError, match=rf"the data changed.*; look at gate run {newer} and begin again"):
        proposed(house, run)
    assert proposed(house, newer)


def test_a_run_of_a_policy_without_waivers_takes_none(house: WarehouseConfig) -> None:
    with pytest.raises(WaiverError, match="later than the 0 days"):
        proposed(house, judged(house, "strict", days=0))


@pytest.mark.parametrize("login", ["ma", "edupa_approver", "edupa_gatekeeper", "edupa_publisher"])
def test_whoever_is_no_steward_cannot_propose(house: WarehouseConfig, login: str) -> None:
    run = judged(house, "a")
    with pytest.raises(WaiverError, match="this login may not propose a waiver: permission denied"):
        proposed(house, run, login)


@pytest.mark.parametrize(
    "column", ["proposed_by", "proposed_at", "approved_by", "approved_at", "cells", "subject_hash", "boundary", "suite"]
)
def test_what_the_server_fills_in_cannot_be_sent(house: WarehouseConfig, column: str) -> None:
    run = judged(house, "a")
    with connect_as("hai", house) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(
            f"insert into ledger.waiver (gate_run_id, expectation_id, reason, expires_at, {column})"
            f" values ({run}, '{RULE}', '{REASON}', now() + interval '5 days', null)".encode()
        )


# --- approving and revoking ---------------------------------------------------------------------------------------


def test_two_people_make_a_waiver(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"))
    assert state(house, waiver)[:3] == ("proposed", "li", None)
    with connect_as("ma", house) as conn:
        approve(conn, waiver)
    assert state(house, waiver)[:3] == ("approved", "li", "ma")
    with connect_as("li", house) as conn:
        revoke(conn, waiver, "文件已补齐 the file has come")
    assert state(house, waiver)[:4] == ("revoked", "li", "ma", "li")


def test_a_login_that_may_do_both_cannot_approve_its_own(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"), "hai")
    with connect_as("hai", house) as conn:
        with pytest.raises(WaiverError, match=r"was proposed by hai: another person.*may do both still counts as one"):
            approve(conn, waiver)
        # acting as either role changes nothing: the session is still hai's
        conn.execute("set role edupa_approver")
        with pytest.raises(WaiverError, match="was proposed by hai: another person"):
            approve(conn, waiver)
    assert state(house, waiver)[:3] == ("proposed", "hai", None)


def test_a_login_cannot_lend_its_approval_another_name(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"))
    with connect_as("ma", house) as conn:
        conn.execute("update ledger.waiver set approved_by = 'somebody else' where waiver_id = %s", (waiver,))
    assert state(house, waiver)[2] == "ma"


@pytest.mark.parametrize("login", ["li", "edupa_steward"])
def test_a_steward_cannot_approve(house: WarehouseConfig, login: str) -> None:
    waiver = proposed(house, judged(house, "a"), "hai")
    with connect_as(login, house) as conn, pytest.raises(WaiverError, match="this login may not approve a waiver"):
        approve(conn, waiver)
    # nor by an update of the one column that a steward may write
    with (
        connect_as(login, house) as conn,
        pytest.raises(psycopg.errors.CheckViolation, match="neither an approval nor"),
    ):
        conn.execute("update ledger.waiver set revocation_reason = null where waiver_id = %s", (waiver,))
    assert state(house, waiver)[:3] == ("proposed", "hai", None)


def test_an_expired_proposal_cannot_be_approved(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"))
    expire(house, waiver)
    with (
        connect_as("ma", house) as conn,
        pytest.raises(WaiverError, match=f"waiver {waiver} expired on .*propose another"),
    ):
        approve(conn, waiver)


def test_a_revoked_waiver_is_over(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"))
    with connect_as("ma", house) as conn:
        with pytest.raises(WaiverError, match="say in at least 5 characters why it is revoked"):
            revoke(conn, waiver, "no")
        revoke(conn, waiver, "不同意 refused")
        for again in (lambda: approve(conn, waiver), lambda: revoke(conn, waiver, "once more")):
            with pytest.raises(WaiverError, match=f"waiver {waiver} was revoked on .*: nothing can be done"):
                again()


def test_an_approval_is_given_once(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "a"))
    with connect_as("ma", house) as conn:
        approve(conn, waiver)
    with connect_as("edupa_approver", house) as conn, pytest.raises(WaiverError, match="approved already, by ma"):
        approve(conn, waiver)


def test_a_proposal_cannot_be_approved_once_the_data_changed(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "before"))
    judged(house, "after")
    with connect_as("ma", house) as conn, pytest.raises(WaiverError, match="the data changed"):
        approve(conn, waiver)
    assert state(house, waiver)[4] is True


def test_a_rule_that_has_become_forbidden_cannot_be_approved(house: WarehouseConfig) -> None:
    waiver = proposed(house, judged(house, "same"))
    judged(house, "same", guarded=True)
    with connect_as("ma", house) as conn, pytest.raises(WaiverError, match="may not be waived by anybody"):
        approve(conn, waiver)


def test_a_waiver_that_is_not_there(house: WarehouseConfig) -> None:
    with connect_as("ma", house) as conn, pytest.raises(WaiverError, match="there is no waiver 999999"):
        approve(conn, 999_999)


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger.waiver set cells = '[{}]'",
        "update ledger.waiver set proposed_by = 'nobody'",
        "update ledger.waiver set expires_at = expires_at + interval '1 day'",
        "delete from ledger.waiver",
        "truncate ledger.waiver cascade",
    ],
)
def test_not_even_the_owner_changes_what_was_proposed(house: WarehouseConfig, statement: str) -> None:
    proposed(house, judged(house, "a"))
    with connect("admin", house) as conn, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        conn.execute(statement.encode())


@pytest.mark.parametrize(
    "case", ["proposed", "expired", "revoked", "other data", "other cell", "other figures", "forbidden"]
)
def test_the_server_takes_no_gate_result_with_a_waiver_that_does_not_cover_it(
    house: WarehouseConfig, case: str
) -> None:
    waiver = proposed(house, judged(house, "w"), county="640422")
    if case != "proposed":
        with connect_as("ma", house) as conn:
            approve(conn, waiver)
    if case == "expired":
        expire(house, waiver)
    if case == "revoked":
        with connect_as("ma", house) as conn:
            revoke(conn, waiver, "not any more")

    def insert(content: str, county: str, observed: str, waivable: bool) -> None:
        with connect("gatekeeper", house) as conn:
            conn.execute(
                "with run as (insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash,"
                " decision) values ('arrival', 'r', 2020, 'landing', %s, 'warn') returning gate_run_id)"
                " select gate_run_id from run",
                (content,),
            )
            conn.execute(
                "insert into ledger.gate_result (gate_run_id, suite, expectation_id, severity, success, county_code,"
                " period, observed, waivable, waiver_id) select max(gate_run_id), 'tried', %s, 'block', false, %s,"
                " '2019', %s, %s, %s from ledger.gate_run",
                (RULE, county, observed, waivable, waiver),
            )

    wrong = {
        "other data": ("x", "640422", "1 (缺报)", True),
        "other cell": ("w", "640424", "1 (缺报)", True),
        "other figures": ("w", "640422", "2 (缺报)", True),
        "forbidden": ("w", "640422", "1 (缺报)", False),
    }
    with pytest.raises(psycopg.errors.CheckViolation, match=f"waiver {waiver} does not cover rule tried.rule"):
        insert(*wrong.get(case, ("w", "640422", "1 (缺报)", True)))
    if case in wrong:
        insert("w", "640422", "1 (缺报)", True)


# --- the decision -------------------------------------------------------------------------------------------------

SAID = Text("试", "tried")


def finding(
    rule: str, cells: dict[tuple[str, str], int], *, waivable: bool = True, error: str | None = None
) -> Finding:
    places = tuple(Place(county, "", period, affected, None) for (county, period), affected in cells.items())
    return Finding("tried", SAID, rule, "block", SAID, SAID, SAID, SAID, error, places, waivable)


def waiver(number: int, rule: str, cells: dict[tuple[str, str], int], **changes: object) -> Waiver:
    made = Waiver(
        waiver_id=number,
        expectation_id=rule,
        subject_hash="h",
        status="approved",
        cells=frozenset((county, period, str(seen)) for (county, period), seen in cells.items()),
        reason=REASON,
        proposed_by="li",
        approved_by="ma",
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def decision(findings: list[Finding], waivers: list[Waiver]) -> str:
    made = [Verdict(each.expectation_id, each.severity, False, each.error) for each in findings]
    return decide(made, apply(findings, waivers, "h").rules)


A, B, C = ("640422", "2019"), ("640424", "2019"), ("640522", "2019")


def test_two_of_three_counties_waived_still_blocks_for_the_third() -> None:
    failed = [finding(RULE, {A: 1, B: 1, C: 1})]
    done = apply(failed, [waiver(7, RULE, {A: 1}), waiver(8, RULE, {B: 1})], "h")
    assert [place.waiver_id for place in done.findings[0].places] == [7, 8, None]
    assert done.rules == frozenset()
    assert decision(failed, [waiver(7, RULE, {A: 1}), waiver(8, RULE, {B: 1})]) == "block"
    assert decision(failed, [waiver(7, RULE, {A: 1, B: 1, C: 1})]) == "warn"


WITHOUT_EFFECT: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "not approved": ({"status": "proposed", "approved_by": None}, {}, "not approved yet"),
    "expired": ({"status": "expired"}, {}, "expired on 2030-01-01"),
    "revoked": ({"status": "revoked"}, {}, "revoked"),
    "changed data": ({"subject_hash": "other"}, {}, "void: the data changed"),
    "forbidden rule": ({}, {"waivable": False}, "may not be waived by anybody"),
    "not evaluated": ({}, {"error": "no result"}, "may not be waived by anybody"),
    "other figures": ({"cells": frozenset({(*A, "2")})}, {}, "given for other figures at 640422 2019"),
}


@pytest.mark.parametrize("case", sorted(WITHOUT_EFFECT))
def test_a_waiver_without_effect_says_why(case: str) -> None:
    of_waiver, of_finding, message = WITHOUT_EFFECT[case]
    failed, given_ = [finding(RULE, {A: 1}, **of_finding)], [replace(waiver(1, RULE, {A: 1}), **of_waiver)]  # type: ignore[arg-type]
    done = apply(failed, given_, "h")
    assert decision(failed, given_) == "block"
    assert done.findings == tuple(failed)
    assert [refusal.waiver_id for refusal in done.refused] == [1]
    assert message in done.refused[0].why.en
    assert done.refused[0].why.zh != done.refused[0].why.en


def test_what_nobody_counted_cannot_be_waived() -> None:
    assert not may_be_waived(finding(RULE, {("*", "*"): 0}))
    assert decision([finding(RULE, {("*", "*"): 0})], [waiver(1, RULE, {("*", "*"): 0})]) == "block"


def test_a_waiver_of_everything_at_once_covers_no_county_that_fails_by_name() -> None:
    assert decision([finding(RULE, {A: 1})], [waiver(1, RULE, {("*", "*"): 1})]) == "block"


def test_a_waiver_given_for_earlier_data_is_news_only_where_it_was_in_force_and_its_place_fails_again() -> None:
    elsewhere = [waiver(1, RULE, {B: 1}, subject_hash="x")]
    assert apply([finding(RULE, {A: 1})], elsewhere, "h").refused == ()
    over = [waiver(1, RULE, {A: 1}, subject_hash="x", status=status) for status in ("expired", "revoked", "proposed")]
    assert apply([finding(RULE, {A: 1})], over, "h").refused == ()


CELLS = st.tuples(st.sampled_from(["640104", "640422", "640424", "*"]), st.sampled_from(["2018", "2019", "*"]))
RULES = st.sampled_from(["tried.a", "tried.b", "tried.c"])
FAILED = st.dictionaries(
    RULES,
    st.tuples(
        st.dictionaries(CELLS, st.integers(0, 2), min_size=1, max_size=5),
        st.booleans(),
        st.sampled_from([None, None, None, "no result"]),
    ),
    max_size=3,
)
GIVEN = st.lists(
    st.tuples(
        RULES,
        st.dictionaries(CELLS, st.integers(0, 2), min_size=1, max_size=5),
        st.sampled_from(["approved", "approved", "approved", "proposed", "expired", "revoked"]),
        st.sampled_from(["h", "h", "other"]),
    ),
    max_size=6,
)


@given(FAILED, GIVEN)
def test_a_waiver_never_turns_another_cells_block(failed: dict, made: list) -> None:  # type: ignore[type-arg]
    """Against an account kept cell by cell: a rule passes if each of its cells was named by a waiver that counts."""
    findings = [finding(rule, cells, waivable=w, error=e) for rule, (cells, w, e) in failed.items()]
    waivers = [
        waiver(number, rule, cells, status=status, subject_hash=content)
        for number, (rule, cells, status, content) in enumerate(made)
    ]
    named = {
        (rule, *cell, seen)
        for rule, cells, status, content in made
        for cell, seen in cells.items()
        if status == "approved" and content == "h"
    }
    open_cells = {
        (rule, cell)
        for rule, (cells, waivable, error) in failed.items()
        for cell, seen in cells.items()
        if not waivable or error or 0 in cells.values() or (rule, *cell, seen) not in named
    }
    done = apply(findings, waivers, "h")
    left = {
        (each.expectation_id, (place.county_code, place.period))
        for each in done.findings
        for place in each.places
        if place.waiver_id is None
    }
    assert left == open_cells
    if findings:
        assert decision(findings, waivers) == ("block" if open_cells else "warn")
    for each in done.findings:
        for place in each.places:
            if place.waiver_id is not None:
                assert waivers[place.waiver_id].expectation_id == each.expectation_id
    assert [replace(f, places=()) for f in done.findings] == [replace(f, places=()) for f in findings]


# --- through the gate ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One suite with a rule that may be waived and one that may not; both read a table of the test's own."""
    folder = tmp_path_factory.mktemp("suites")
    (folder / "arrival").mkdir()
    shutil.copy(SUITES / "gate.yaml", folder / "gate.yaml")
    texts = {name: {"zh": "试", "en": "tried"} for name in ("what", "why", "how_to_fix")}
    rules = [
        {
            "id": f"tried.{name}",
            "type": "UnexpectedRowsExpectation",
            "arguments": {
                "unexpected_rows_query": "select county_code, '2019' as period, 1 as affected, '缺报' as observed"
                f" from {{batch}} where rule = '{name}'"
            },
            "severity": "block",
            "waivable": name != "locked",
            "seeded_defect": "select 1",
            **texts,
        }
        for name in ("probe", "locked")
    ]
    suite = {
        "title": texts["what"],
        "owner": texts["what"],
        "tables": ["landing.waiver_probe"],
        "batch": {"table": "landing.waiver_probe"},
        "expectations": rules,
    }
    (folder / "arrival" / "tried.yaml").write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    return folder


def test_through_the_gate_waived_named_and_void_when_the_data_change(
    house: WarehouseConfig, suites: Path, tmp_path: Path
) -> None:
    def ask(content: str) -> GateReport:
        return run_gate(
            "arrival", config=house, run_id="g", evaluation_year=2020, out_dir=tmp_path, subject_hash=content,
            suites_folder=suites,
        )  # fmt: skip

    with connect("ingest", house) as conn:
        conn.execute("create table landing.waiver_probe (rule text, county_code text)")
        conn.execute(
            "insert into landing.waiver_probe values ('probe', '640422'), ('probe', '640424'), ('probe', '640522')"
        )
    first = ask("first")
    assert first.decision == "block"
    for county in ("640422", "640424"):
        number = proposed(house, first.gate_run_id, county=county, rule=PROBE)
        with connect_as("ma", house) as conn:
            approve(conn, number)

    partly = ask("first")
    assert partly.decision == "block"
    assert partly.reasons() == ["block tried.probe: 640522 2019; 2 more waived (试 tried)"]

    third = proposed(house, first.gate_run_id, county="640522", rule=PROBE)
    assert ask("first").refused[0].why.en == "not approved yet"
    with connect_as("ma", house) as conn:
        approve(conn, third)
    wholly = ask("first")
    assert (wholly.decision, wholly.summary()) == ("warn", "0 blocking, 0 warnings, 1 waived")
    assert wholly.reasons()[0].startswith("waived tried.probe: 640422 2019; 640424 2019; 640522 2019")
    page = wholly.page.read_text(encoding="utf-8")
    for said in ("已豁免", "豁免 <strong>1</strong> 条", REASON, "li", "ma", f"豁免号 {third}"):
        assert said in page, said
    told = json.loads(wholly.page.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["findings"][0]["waived"] is True
    assert told["counties"] == []
    assert told["waivers"]["used"][-1]["waiver_id"] == third
    assert told["waivers"]["used"][-1]["places"][0]["figures"] == "1 (缺报)"
    with connect("auditor", house) as conn:
        stored = conn.execute(
            "select county_code, success, waivable, waiver_id is not null from ledger.gate_result"
            " where gate_run_id = %s and expectation_id = 'tried.probe' order by county_code",
            (wholly.gate_run_id,),
        ).fetchall()
        policy = conn.execute(
            "select judged_by, waiver_days_max > 0, approval_days_max > 0 from ledger.gate_run where gate_run_id = %s",
            (wholly.gate_run_id,),
        ).fetchone()
    assert stored == [(county, False, True, True) for county in ("640422", "640424", "640522")]
    assert policy == ("edupa_gatekeeper", True, True)

    changed = ask("second")
    assert changed.decision == "block"
    assert [refusal.why.en for refusal in changed.refused] == [
        "void: the data changed since it was given; propose another one"
    ] * 3
    assert "数据在批准之后变了" in changed.page.read_text(encoding="utf-8")

    expire(house, third)
    assert ask("first").decision == "block"

    with connect("ingest", house) as conn:
        conn.execute("insert into landing.waiver_probe values ('locked', '640422')")
    guarded = ask("first")
    with pytest.raises(WaiverError, match=r"rule tried.locked may not be waived by anybody"):
        proposed(house, guarded.gate_run_id, rule="tried.locked")
    with connect("auditor", house) as conn:
        assert {each.status for each in waivers_of(conn, "arrival", ["tried.probe"])} >= {"approved", "expired"}


@pytest.mark.parametrize("said", ["waiver_days: soon", "waiver_days: -1", "waiver_days: true"])
def test_a_policy_that_is_no_number_of_days_is_refused(tmp_path: Path, suites: Path, said: str) -> None:
    folder = tmp_path / "suites"
    shutil.copytree(suites, folder)
    text = (folder / "gate.yaml").read_text(encoding="utf-8")
    assert "waiver_days: 92" in text
    (folder / "gate.yaml").write_text(text.replace("waiver_days: 92", said), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"waiver_days is .*not a number of days"):
        load_suites("arrival", {"evaluation_year": 2020, "landing": "landing", "ledger": "ledger"}, folder)
