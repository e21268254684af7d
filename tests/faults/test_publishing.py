"""What may befall a publication: whatever happens, readers see one whole release and running again converges."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from benchmarks.publish.run import POINTS
from tests.warehouse.candidates import Marts, asked, cells, changed, marts, new_database, offer, publish
from warehouse.canonical import ReleaseError
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, dsn
from warehouse.locks import LockBusyError, writer_lock
from warehouse.server import read_state
from warehouse.verify import verify


def fault(number: int) -> pytest.MarkDecorator:
    """Name a test by the number of the fault that it tries."""
    return pytest.mark.parametrize("fault", [pytest.param(number, id=f"fault[F{number}]")])


def valued(value: int) -> Marts:
    """Marts in which every cell has this value."""

    def change(found: Marts) -> None:
        for cell in cells(found):
            cell["value"] = value

    return changed(marts(), change)


def shown(config: WarehouseConfig) -> tuple[str, int] | None:
    """Release and value that readers see; a mixture of two fails here, not in the caller."""
    with connect("evaluator", config) as conn:
        found = conn.execute(
            "select distinct release_id, cast(value as integer) from marts.county_evaluation"
        ).fetchall()
        assert len(found) <= 1, found
        for other in ("evaluation_source", "indicator_dictionary", "release_notes"):
            there = conn.execute(f"select distinct release_id from marts.{other}".encode()).fetchall()
            assert there == [row[:1] for row in found]
    return (str(found[0][0]), int(str(found[0][1]))) if found else None


def die(action: Callable[[], object], **environment: str) -> int:
    """Do something in a forked process that an armed fail point ends.

    Returns:
        Its wait status: 9 where it was killed, 0 where it came to its end, 256 where it raised.
    """
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("point", [pytest.param(point, id=f"fault[F5]-{point}") for point in POINTS])
def test_publisher_killed(warehouse: WarehouseConfig, point: str) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    offer(config, valued(71))
    assert die(lambda: publish(config), EDUPA_FAILPOINT=point) == signal.SIGKILL
    died_late = point == "release.after_pointer"
    assert shown(config) == (("2019.2.0", 71) if died_late else ("2019.1.0", 70))
    publish(config)
    assert shown(config) == ("2019.2.0", 71)
    assert len(asked(config, "select 1 from ledger.release", "auditor")) == 2
    assert verify(config)[1] == []


@fault(40)
def test_publisher_killed_before_every_statement(warehouse: WarehouseConfig, fault: int) -> None:
    config = new_database(warehouse)
    publish(config, valued(1))
    offer(config, valued(2))
    before, statement, value = shown(config), 1, 2
    while die(lambda: publish(config), EDUPA_FAIL_STATEMENT=str(statement)) == signal.SIGKILL:
        after = shown(config)
        assert after in (before, (f"2019.{value}.0", value)), f"statement {statement}"
        if asked(config, "select count(*) from ledger.release", "auditor") != [(value - 1,)]:
            # frozen, perhaps published: running again ends what was begun
            assert publish(config).outcome in ("resumed", "unchanged")
            before = shown(config)
            assert before == (f"2019.{value}.0", value), f"statement {statement}"
            value += 1
            offer(config, valued(value))
        statement += 1
    assert shown(config) == (f"2019.{value}.0", value)
    releases = asked(config, "select count(*), count(distinct content_sha256) from ledger.release", "auditor")
    assert releases == [(value, value)]
    assert verify(config)[1] == []
    print(f"killed before each of {statement - 1} statements of a publication")
    assert statement > 50


@fault(19)
def test_of_two_publishers_of_one_candidate_one_wins_and_the_other_names_it(
    warehouse: WarehouseConfig, fault: int
) -> None:
    config = new_database(warehouse)
    offer(config, valued(70))
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(lambda _: publish(config), range(2)))
    assert sorted(outcome.outcome for outcome in done) == ["published", "unchanged"]
    assert {outcome.release_id for outcome in done} == {"2019.1.0"}
    with (
        writer_lock(config, "publisher", "publish", "annual-2019"),
        pytest.raises(LockBusyError, match="edupa publish annual-2019"),
        writer_lock(config, "publisher", "publish", "annual-2020", wait_s=0.1),
    ):
        pytest.fail("two publishers at once")


@fault(21)
def test_a_long_query_neither_delays_nor_notices_a_publication(warehouse: WarehouseConfig, fault: int) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    offer(config, valued(71))
    # the query goes on for as long as the lock is held
    slow = "select release_id, pg_advisory_xact_lock_shared(7) is null from marts.county_evaluation"
    waiting = "select 1 from pg_locks where locktype = 'advisory' and objid = 7 and not granted"
    with connect("admin", config) as holding, ThreadPoolExecutor(1) as dashboard:
        holding.execute("select pg_advisory_xact_lock(7)")
        reading = dashboard.submit(asked, config, slow, "bi")
        while not asked(config, waiting, "admin"):
            assert not reading.done()
            time.sleep(0.01)
        publish(config)
        assert not reading.done()
        (moved,) = asked(
            config,
            "select (m.moved_at - r.frozen_at) < interval '1 second' from ledger.pointer_move m"
            " join ledger.release r on r.release_id = m.to_release where m.to_release = '2019.2.0'",
            "auditor",
        )
        assert moved == (True,)
        holding.rollback()
        assert {row[0] for row in reading.result()} == {"2019.1.0"}
    assert shown(config) == ("2019.2.0", 71)


@fault(23)
def test_a_snapshot_and_a_dump_taken_before_see_the_old_release_whole(
    warehouse: WarehouseConfig, fault: int, tmp_path: Path
) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    offer(config, valued(71))
    state = read_state(config)
    assert state is not None
    with connect("evaluator", config) as reader, connect("admin", config) as dumping:
        reader.execute("set transaction isolation level repeatable read")
        before = reader.execute("select * from marts.county_evaluation order by 2, 3, 4, 5").fetchall()
        dumping.execute("set transaction isolation level repeatable read")
        row = dumping.execute("select pg_export_snapshot()").fetchone()
        assert row is not None
        publish(config)
        assert reader.execute("select * from marts.county_evaluation order by 2, 3, 4, 5").fetchall() == before
        assert len(before) == len(cells(marts()))
        dump = tmp_path / "releases.sql"
        subprocess.run(
            [
                f"{state.bin_dir}/pg_dump", "--dbname", dsn("admin", config), f"--snapshot={row[0]}", "--data-only",
                "--schema=releases", f"--file={dump}",
            ],
            check=True,
        )  # fmt: skip
    copied = dump.read_text(encoding="utf-8")
    pointer = copied.split("COPY releases.pointer ")[1].splitlines()[1]
    assert pointer.split("\t")[1] == "2019.1.0"
    rows = copied.split("COPY releases.county_evaluation__2019_1_0 ")[1].split("\n\\.\n")[0].splitlines()[1:]
    assert len(rows) == len(before)
    assert "2019.2.0" not in copied
    assert shown(config) == ("2019.2.0", 71)


@fault(33)
def test_a_publisher_whose_grants_are_gone_says_so_before_any_change(warehouse: WarehouseConfig, fault: int) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    offer(config, valued(71))
    with connect("admin", config) as conn:
        conn.execute("revoke insert on ledger.pointer_move from edupa_publisher")
    with pytest.raises(ReleaseError, match=r"lacks: insert on ledger\.pointer_move.*nothing was changed"):
        publish(config)
    assert len(asked(config, "select 1 from ledger.release", "auditor")) == 1
    assert shown(config) == ("2019.1.0", 70)
    with connect("admin", config) as conn:
        conn.execute("grant insert on ledger.pointer_move to edupa_publisher")
    publish(config)
    assert shown(config) == ("2019.2.0", 71)


@fault(37)
@pytest.mark.parametrize("ledger", ["ledger.release", "ledger.pointer_move", "ledger.release_notice"])
def test_what_cannot_be_written_down_is_not_published(warehouse: WarehouseConfig, fault: int, ledger: str) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    offer(config, valued(71))
    with connect("admin", config) as conn:
        conn.execute(
            "create function public.disk_is_full() returns trigger language plpgsql as $$ begin"
            " raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$"
        )
        conn.execute(
            f"create trigger full_disk before insert on {ledger} execute function public.disk_is_full()".encode()
        )
    with pytest.raises(psycopg.errors.DiskFull, match="No space left on device"):
        publish(config)
    assert shown(config) == ("2019.1.0", 70)
    with connect("admin", config) as conn:
        conn.execute(f"drop trigger full_disk on {ledger}".encode())
    publish(config)
    assert shown(config) == ("2019.2.0", 71)
    assert verify(config)[1] == []
