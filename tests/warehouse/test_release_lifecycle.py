"""Restatement, embargo, withdrawal and rollback: who sees which release when, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.warehouse.candidates import Marts, asked, cells, changed, marts, new_database, publish
from warehouse.canonical import ReleaseError
from warehouse.clock import ZONE
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.registry import registry_entry
from warehouse.release import publish_due, rollback, withdraw
from warehouse.release_notes import embargo_time
from warehouse.verify import verify

REGISTRY = "select release_id, status, superseded_by, is_current from marts.release_registry order by frozen_at"


def valued(value: float, years: tuple[int, ...] = (2019,)) -> Marts:
    """Marts in which one value differs."""

    def set_value(found: Marts) -> None:
        cells(found, indicator_code="G1b", area_code="640424")[0]["value"] = value

    return changed(marts(years=years), set_value)


@pytest.fixture
def empty(warehouse: WarehouseConfig) -> WarehouseConfig:
    return new_database(warehouse)


def may_read(config: WarehouseConfig, role: str, relation: str) -> bool:
    try:
        asked(config, f"select * from {relation} limit 1", role)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def soon(config: WarehouseConfig, seconds: float) -> datetime:
    (now,) = asked(config, "select clock_timestamp()")[0]
    assert isinstance(now, datetime)
    return now + timedelta(seconds=seconds)


# --- restatement ----------------------------------------------------------------------------------------------------


def test_a_restatement_keeps_what_it_supersedes(empty: WarehouseConfig) -> None:
    with pytest.raises(ReleaseError, match="no release of 2019 was published: there is nothing to restate"):
        publish(empty, valued(70), kind="restatement")
    publish(empty, valued(70))
    with pytest.raises(ReleaseError, match="a restatement needs its own reason: say which figures are corrected"):
        publish(empty, valued(71), kind="restatement", reason="annual evaluation")
    with pytest.raises(ReleaseError, match="a release needs a reason"):
        publish(empty, reason=" ")
    assert asked(empty, REGISTRY) == [("2019.1.0", "published", None, True)]
    assert publish(empty, kind="restatement", reason="泾源县补报").release_id == "2019.2.0"
    assert asked(empty, REGISTRY) == [
        ("2019.1.0", "published", "2019.2.0", False),
        ("2019.2.0", "published", None, True),
    ]
    key = "where indicator_code = 'G1b' and area_code = '640424'"
    assert asked(empty, f"select value from release_2019_1_0.county_evaluation {key}") == [(70,)]
    assert asked(empty, "select text_zh from marts.release_notes where section in ('reason', 'restatement')") == [
        ("发布原因：泾源县补报",),
        ("本版本更正2019.1.0；原版本保留，可继续引用，登记为已被取代。",),
    ]


# --- embargo --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-12-01", datetime(2026, 11, 30, 16, tzinfo=UTC)),
        ("2026-12-01 09:00", datetime(2026, 12, 1, 1, tzinfo=UTC)),
        ("2026-12-01T01:00:00Z", datetime(2026, 12, 1, 1, tzinfo=UTC)),
        ("", None),
    ],
)
def test_an_embargo_is_told_in_the_provinces_time(text: str, meant: datetime | None) -> None:
    assert embargo_time(text) == meant


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ReleaseError, match="embargo 'morgen' is no time: write 2026-12-01"):
        embargo_time("morgen")


def test_under_embargo_one_role_reads_and_when_it_ends_all_do(empty: WarehouseConfig) -> None:
    publish(empty, valued(70))
    until = soon(empty, 3600)
    assert publish(empty, valued(71), embargo=until).outcome == "embargoed"
    pinned = "release_2019_2_0.county_evaluation"
    readers = ("evaluator", "auditor", "bi", "transform", "ingest")
    assert may_read(empty, "prerelease", pinned)
    assert not any(may_read(empty, role, pinned) for role in readers)
    assert not any(may_read(empty, role, "releases.county_evaluation") for role in (*readers, "prerelease"))
    assert asked(empty, "select distinct release_id from marts.county_evaluation", "prerelease") == [("2019.1.0",)]
    assert asked(empty, REGISTRY) == [("2019.1.0", "published", None, True)]

    assert publish_due(empty) == []
    told = until.astimezone(ZONE).strftime("%Y-%m-%d %H:%M Asia/Shanghai")
    with pytest.raises(ReleaseError, match=rf"2019.2.0 holds this content under embargo until {told}"):
        publish(empty)
    with pytest.raises(ReleaseError, match=r"release 2019.2.0 is frozen, not published"):
        rollback(empty, "2019.2.0")
    assert publish(empty, embargo=until).outcome == "embargoed"
    with connect("publisher", empty) as conn, pytest.raises(psycopg.errors.CheckViolation, match="before_its_embargo"):
        conn.execute("update ledger.release set status = 'published', published_at = clock_timestamp()"
                     " where release_id = '2019.2.0'")  # fmt: skip
    # what moved against it would show its figures
    with pytest.raises(ReleaseError, match=r"compared with it may not come out earlier; give it the same embargo"):
        publish(empty, valued(72))

    with connect("admin", empty) as conn:  # an hour passes
        conn.execute("update ledger.release set embargo_until = clock_timestamp() where release_id = '2019.2.0'")
    assert [done.release_id for done in publish_due(empty)] == ["2019.2.0"]
    assert publish_due(empty) == []
    assert all(may_read(empty, role, pinned) for role in ("evaluator", "auditor", "prerelease"))
    assert not may_read(empty, "bi", pinned)
    assert asked(empty, "select distinct release_id from marts.county_evaluation", "bi") == [("2019.2.0",)]
    # the clock was set by a superuser, and that does not go unnoticed
    assert [found.problem for found in verify(empty)[1]] == ["embargo_until is not what the manifest says"]


def test_an_embargo_in_the_past_is_refused(empty: WarehouseConfig) -> None:
    with pytest.raises(ReleaseError, match=r"the embargo lies in the past .* leave it out to publish at once"):
        publish(empty, valued(70), embargo=soon(empty, -60))
    with pytest.raises(ReleaseError, match="an embargo needs a time zone"):
        publish(empty, embargo=datetime(2031, 1, 1))
    assert asked(empty, "select count(*) from ledger.release", "auditor") == [(0,)]


def test_an_embargoed_release_withdrawn_is_never_published(empty: WarehouseConfig) -> None:
    publish(empty, valued(70))
    publish(empty, valued(71), embargo=soon(empty, 3600))
    assert withdraw(empty, "2019.2.0", "隆德县分子错误") == ("2019.1.0", "2019.1.0")
    assert publish_due(empty) == []
    assert not may_read(empty, "evaluator", "release_2019_2_0.county_evaluation")
    assert asked(empty, REGISTRY) == [("2019.1.0", "published", None, True)]
    assert asked(empty, "select count(*) from ledger.release_notice where event = 'withdraw'", "auditor") == [(0,)]
    # what was never shown is nothing to compare with
    done = publish(empty, valued(72))
    assert (done.release_id, done.semantic_version) == ("2019.3.0", "1.2.0")
    assert asked(empty, "select previous_release from marts.release_registry where is_current") == [("2019.1.0",)]


# --- withdrawal -----------------------------------------------------------------------------------------------------


def test_a_withdrawn_release_stays_citable_with_its_notice(empty: WarehouseConfig) -> None:
    publish(empty, valued(70))
    with pytest.raises(ReleaseError, match=r"2019.1.0 is the only published release and marts.* show it: publish its"):
        withdraw(empty, "2019.1.0", "分母错误")
    publish(empty, valued(71))
    with pytest.raises(ReleaseError, match="a withdrawal needs a reason"):
        withdraw(empty, "2019.2.0", " ")
    with pytest.raises(ReleaseError, match=r"there is no release 2031\.1\.0"):
        withdraw(empty, "2031.1.0", "分母错误")
    assert withdraw(empty, "2019.2.0", "分母错误") == ("2019.2.0", "2019.1.0")
    with pytest.raises(ReleaseError, match=r"2019.2.0 is withdrawn already: 分母错误"):
        withdraw(empty, "2019.2.0", "again")

    assert asked(empty, REGISTRY) == [
        ("2019.1.0", "published", None, True),
        ("2019.2.0", "withdrawn", None, False),
    ]
    assert asked(empty, "select distinct release_id from marts.county_evaluation", "bi") == [("2019.1.0",)]
    key = "where indicator_code = 'G1b' and area_code = '640424'"
    assert asked(empty, f"select value from release_2019_2_0.county_evaluation {key}") == [(71,)]
    for view in ("county_evaluation", "release_notes"):
        (comment,) = asked(empty, f"select obj_description('release_2019_2_0.{view}'::regclass)")[0]
        assert str(comment).startswith("【已撤回 WITHDRAWN：分母错误】 ")
    assert verify(empty)[1] == []
    with connect("auditor", empty) as conn:
        entry = registry_entry(conn, "2019.2.0")
    assert (entry["status"], entry["withdrawn_reason"]) == ("withdrawn", "分母错误")
    assert entry["input_sha256"] == {"enrollment_count": "e1", "population_age": "p1", "pupil": "u1"}
    with pytest.raises(ReleaseError, match=r"release 2019.2.0 is withdrawn, not published"):
        rollback(empty, "2019.2.0")


def test_withdrawn_content_does_not_come_back_by_a_rerun(empty: WarehouseConfig) -> None:
    publish(empty, valued(70))
    publish(empty, valued(71))
    withdraw(empty, "2019.2.0", "分母错误")
    with pytest.raises(ReleaseError, match=r"byte for byte, release 2019.2.0, which was withdrawn \(分母错误\)"):
        publish(empty)
    # readers saw the withdrawn release, so its correction says what moved against it
    done = publish(empty, valued(72), kind="restatement", reason="更正分母")
    assert (done.release_id, done.moved_pointer) == ("2019.3.0", True)
    assert asked(empty, "select old_value, new_value from marts.release_change") == [(71, 72)]
    assert asked(empty, REGISTRY)[1] == ("2019.2.0", "withdrawn", "2019.3.0", False)


# --- rollback -------------------------------------------------------------------------------------------------------


def test_rollback_refuses_what_it_cannot_show(empty: WarehouseConfig) -> None:
    with pytest.raises(ReleaseError, match="nothing is published yet: there is nothing to roll back"):
        rollback(empty)
    publish(empty, valued(70))
    with pytest.raises(ReleaseError, match=r"no release was shown before 2019.1.0: name one with --to"):
        rollback(empty)
    with pytest.raises(ReleaseError, match=r"release 2018.1.0 is unknown, not published"):
        rollback(empty, "2018.1.0")


def test_permanent_views_carry_the_texts_of_the_release_they_show(empty: WarehouseConfig) -> None:
    told = "select col_description('marts.county_evaluation'::regclass, attnum) from pg_attribute"
    told += " where attrelid = 'marts.county_evaluation'::regclass and attname = 'value'"

    def reword(found: Marts) -> None:
        found["county_evaluation"].comments["value"] = "指标值（修订）"

    publish(empty, valued(70))
    assert publish(empty, changed(valued(70), reword)).release_id == "2019.1.1"
    assert asked(empty, told) == [("指标值（修订）",)]
    assert rollback(empty) == ("2019.1.1", "2019.1.0")
    assert asked(empty, told) == [("指标值 — value",)]
    # the newer one is shown again by the next publication, not by a rerun of the old one
    assert publish(empty).outcome == "unchanged"
    assert asked(empty, "select release_id from releases.pointer", "auditor") == [("2019.1.0",)]


# --- rights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("revoke", "told"),
    [
        ("revoke edupa_sealed from edupa_publisher", "acting as edupa_sealed"),
        ("revoke insert on ledger.release_notice from edupa_publisher", "insert on ledger.release_notice"),
        ("revoke update on releases.pointer from edupa_publisher", "insert, update on releases.pointer"),
    ],
)
def test_a_publisher_without_a_right_fails_before_any_change(
    warehouse: WarehouseConfig, revoke: str, told: str
) -> None:
    config = new_database(warehouse)
    state = "select array_agg(oid::regclass::text order by 1) from pg_class where relnamespace::regnamespace::text"
    state += " in ('releases', 'marts', 'ledger')"
    grant = revoke.replace("revoke", "grant").replace(" from ", " to ")
    with connect("admin", config) as conn:
        conn.execute(revoke.encode())
        before = conn.execute(state.encode()).fetchall()
    try:
        with pytest.raises(ReleaseError, match=f"the publisher lacks: {told}. Grant what warehouse/roles.yaml says"):
            publish(config, valued(70))
    finally:
        with connect("admin", config) as conn:
            assert conn.execute(state.encode()).fetchall() == before
            conn.execute(grant.encode())
    assert publish(config).outcome == "published"
