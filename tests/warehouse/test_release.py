"""Releases: frozen, published by one pointer move, unchanged content is no release, tampering is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.warehouse import candidates
from warehouse.canonical import ReleaseError
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect
from warehouse.release import (
    Provenance,
    candidate_sha256,
    current_release,
    publish_candidate,
    rollback,
    withdraw,
)
from warehouse.transform import make_candidate_schema
from warehouse.verify import verify

PROVENANCE = Provenance(git_commit=None, contracts_sha256="c", seeds_sha256="s", input_sha256={})
SCHEMA = "candidate_test"


def build_candidate(config: WarehouseConfig, value: float, *, years: tuple[int, ...] = (2019,)) -> None:
    """A tiny candidate with the columns that the release step itself reads."""
    make_candidate_schema(config, SCHEMA)
    with connect("transform", config) as conn:
        conn.execute(
            f"create table {SCHEMA}.county_evaluation (indicator_code text, variant text, area_code text,"
            " evaluation_year integer, subgroup text, basis text, value numeric(20,4), verdict text,"
            " conf_status text, assumption_id text, target_year integer, target_year_basis text,"
            " primary key (indicator_code, variant, area_code, evaluation_year, subgroup, basis))"
        )
        conn.execute(f"comment on table {SCHEMA}.county_evaluation is '县级年度评估'")
        for year in years:
            conn.execute(
                f"insert into {SCHEMA}.county_evaluation values"
                " ('G1b', 'ger3', '640424', %s, 'all', 'resident', %s, 'met', 'F', 'Y1', 2018, 'assumed')",
                (year, value),
            )


def judge(config: WarehouseConfig, decision: str = "pass") -> None:
    """Write the gate's word on the candidate as it is now."""
    content = candidate_sha256(config, SCHEMA)
    with connect("gatekeeper", config) as conn:
        conn.execute(
            "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision)"
            " values ('candidate', 'test', 2019, %s, %s, %s)",
            (SCHEMA, content, decision),
        )


def publish(config: WarehouseConfig, year: int) -> tuple[str, str]:
    done = publish_candidate(
        config, SCHEMA, evaluation_year=year, kind="annual", reason="test", provenance=PROVENANCE, run_id="test"
    )
    return done.outcome, done.release_id


@pytest.fixture(scope="module")
def published(warehouse: WarehouseConfig) -> Iterator[WarehouseConfig]:
    """A warehouse with releases 2019.1.0 and 2020.1.0."""
    build_candidate(warehouse, 70.0)
    judge(warehouse)
    assert publish(warehouse, 2019) == ("published", "2019.1.0")
    build_candidate(warehouse, 71.0, years=(2019, 2020))
    judge(warehouse)
    assert publish(warehouse, 2020) == ("published", "2020.1.0")
    yield warehouse
    with connect("admin", warehouse) as conn:
        conn.execute(f"drop schema if exists {SCHEMA} cascade")


def shown(config: WarehouseConfig, query: str) -> list[tuple[object, ...]]:
    with connect("evaluator", config) as conn:
        return conn.execute(query.encode()).fetchall()


def test_permanent_views_follow_the_pointer_and_pinned_views_do_not(published: WarehouseConfig) -> None:
    assert shown(published, "select distinct release_id from marts.county_evaluation") == [("2020.1.0",)]
    assert shown(published, "select value from release_2019_1_0.county_evaluation") == [(70,)]
    assert rollback(published) == ("2020.1.0", "2019.1.0")
    assert shown(published, "select value from marts.county_evaluation") == [(70,)]
    assert rollback(published, "2020.1.0") == ("2019.1.0", "2020.1.0")


def test_same_content_makes_no_second_release(published: WarehouseConfig) -> None:
    build_candidate(published, 71.0, years=(2019, 2020))
    judge(published)
    assert publish(published, 2020) == ("unchanged", "2020.1.0")


def test_release_notes_count_the_cells_that_moved(published: WarehouseConfig) -> None:
    notes = shown(published, "select text_en from release_2020_1_0.release_notes where section = 'change'")
    assert notes == [
        ("Against release 2019.1.0: 1 cells added, 1 changed, 0 gone, 0 told only as hidden.",),
        ("G1b: 1 cells added, 1 changed, 0 gone, 0 hidden; cause: new_year / unexplained.",),
    ]
    assumptions = shown(published, "select text_en from release_2020_1_0.release_notes where section = 'assumption'")
    assert assumptions == [("The plan's text hides a target year as XX; 2018 is assumed (assumption Y1).",)]


def test_nothing_is_published_without_the_gates_word_on_this_content(published: WarehouseConfig) -> None:
    build_candidate(published, 55.0, years=(2019, 2020))
    with pytest.raises(ReleaseError, match="changed after the gate"):
        publish(published, 2020)
    judge(published, "block")
    with pytest.raises(ReleaseError, match="blocks"):
        publish(published, 2020)
    assert shown(published, "select distinct release_id from marts.county_evaluation") == [("2020.1.0",)]


@pytest.mark.parametrize(
    "statement",
    [
        "update releases.county_evaluation set value = 1",
        "delete from releases.county_evaluation where release_id = '2019.1.0'",
        "truncate releases.county_evaluation",
        "insert into releases.county_evaluation (release_id, indicator_code, variant, area_code, evaluation_year,"
        " subgroup, basis) values ('2019.1.0', 'G9', 'x', '640424', 2019, 'all', 'resident')",
        'insert into releases."county_evaluation__2019_1_0" select * from releases.county_evaluation limit 1',
        'update releases."county_evaluation__2019_1_0" set value = 1',
        "update releases.release_notes set text_en = ''",
    ],
)
def test_a_frozen_release_refuses_change_even_from_its_owner(published: WarehouseConfig, statement: str) -> None:
    with connect("admin", published) as conn:
        conn.execute("set role edupa_sealed")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is frozen"):
            conn.execute(statement.encode())


def test_verify_finds_a_change_by_a_superuser(published: WarehouseConfig) -> None:
    checked, findings = verify(published)
    assert checked == 6  # the mart, its notes and its moved cells, twice
    assert findings == []
    with connect("admin", published) as conn:
        conn.execute("set session_replication_role = replica")  # a superuser can silence the triggers
        conn.execute('update releases."county_evaluation__2019_1_0" set value = value + 0.0001')
    _, findings = verify(published)
    assert [(found.release_id, found.table) for found in findings] == [
        ("2019.1.0", "county_evaluation__2019_1_0"),
        ("2019.1.0", "releases.county_evaluation"),  # what the permanent views read is not what is frozen any more
    ]
    with connect("admin", published) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute('update releases."county_evaluation__2019_1_0" set value = value - 0.0001')
    assert verify(published)[1] == []


@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("release.freeze", "published"),
        ("release.before_widen", "published"),
        ("release.before_shelf", "published"),
        ("release.after_shelf", "published"),
        ("release.before_commit", "published"),
        ("release.before_pointer", "resumed"),
        ("release.in_pointer", "resumed"),
        ("release.after_pointer", "unchanged"),
    ],
)
def test_publisher_killed_then_run_again(warehouse: WarehouseConfig, point: str, outcome: str) -> None:
    config = candidates.new_database(warehouse)
    candidates.publish(config, candidates.marts())
    wider = candidates.marts()
    wider["county_evaluation"].columns["gap_to_region"] = "numeric(20,4)"
    candidates.offer(config, wider)
    assert _killed(config, point, "publish(config)") == -signal.SIGKILL
    done_before = point == "release.after_pointer"
    with connect("publisher", config) as conn:
        assert current_release(conn) == ("2019.2.0" if done_before else "2019.1.0")
    notices = "select event, release_id from ledger.release_notice order by notice_id"
    assert len(candidates.asked(config, notices, "auditor")) == (2 if done_before else 1)
    done = candidates.publish(config)
    assert (done.outcome, done.release_id, done.semantic_version) == (outcome, "2019.2.0", "1.1.0")
    with connect("publisher", config) as conn:
        assert current_release(conn) == "2019.2.0"
    assert candidates.asked(config, notices, "auditor") == [("publish", "2019.1.0"), ("publish", "2019.2.0")]
    assert verify(config)[1] == []


def test_killed_while_withdrawing_then_run_again(warehouse: WarehouseConfig) -> None:
    config = candidates.new_database(warehouse)
    candidates.publish(config, candidates.marts())
    candidates.publish(config, candidates.marts(years=(2018, 2019)))
    assert _killed(config, "release.withdraw", "withdraw(config, '2019.2.0', '分母错误')") == -signal.SIGKILL
    state = "select release_id, status, is_current from marts.release_registry order by frozen_at"
    assert candidates.asked(config, state)[1] == ("2019.2.0", "published", True)
    assert withdraw(config, "2019.2.0", "分母错误") == ("2019.2.0", "2019.1.0")
    assert candidates.asked(config, state)[1] == ("2019.2.0", "withdrawn", False)
    assert verify(config)[1] == []


def _killed(config: WarehouseConfig, point: str, call: str) -> int:
    """Exit code of a process that makes a call and dies at a fail point."""
    script = (
        "import sys; from pathlib import Path; from warehouse.config import WarehouseConfig;"
        "from tests.warehouse.candidates import publish; from warehouse.release import withdraw;"
        "home = Path(sys.argv[1]);"
        f"config = WarehouseConfig(home, home / 'secrets', database=sys.argv[2]); {call}"
    )
    return subprocess.run(
        [sys.executable, "-c", script, str(config.home), config.database],
        env={**os.environ, "EDUPA_FAILPOINT": point, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=PROJECT_ROOT,
        check=False,
    ).returncode


def test_a_restated_earlier_year_does_not_hide_the_later_one(warehouse: WarehouseConfig) -> None:
    config = candidates.new_database(warehouse)
    build_candidate(config, 70.0, years=(2019, 2020))
    judge(config)
    assert publish(config, 2020) == ("published", "2020.1.0")
    build_candidate(config, 69.0)
    judge(config)
    assert publish(config, 2019) == ("published", "2019.1.0")
    assert shown(config, "select distinct release_id from marts.county_evaluation") == [("2020.1.0",)]
    assert shown(config, "select value from release_2019_1_0.county_evaluation") == [(69,)]
