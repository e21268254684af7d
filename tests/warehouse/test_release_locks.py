"""Readers do not wait for publications: not for usual ones, and not for long where a mart gets a new column."""

from __future__ import annotations

import random
import threading
import time

import psycopg
import pytest

from tests.warehouse.candidates import Marts, asked, changed, marts, new_database, publish
from warehouse import relations
from warehouse.canonical import ReleaseError
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.relations import in_transaction

VIEWS = ("county_evaluation", "evaluation_source", "indicator_dictionary", "release_notes")


def valued(value: float, *columns: str) -> Marts:
    """Marts with one value and further columns."""

    def change(found: Marts) -> None:
        found["county_evaluation"].rows[0]["value"] = value
        for column in columns:
            found["county_evaluation"].columns[column] = "numeric(20,4)"

    return changed(marts(), change)


def test_a_publication_waits_for_no_reader_and_no_reader_waits_for_it(warehouse: WarehouseConfig) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    with connect("evaluator", config) as old, connect("bi", config) as other:
        old.execute("set transaction isolation level repeatable read")
        seen = [old.execute(f"select distinct release_id from marts.{view}".encode()).fetchall() for view in VIEWS]
        other.execute("select count(*) from marts.county_evaluation")  # idle in transaction from here on
        began = time.monotonic()
        assert publish(config, valued(71)).moved_pointer
        assert time.monotonic() - began < 10
        again = [old.execute(f"select distinct release_id from marts.{view}".encode()).fetchall() for view in VIEWS]
        assert again == seen == [[("2019.1.0",)]] * len(VIEWS)
    assert asked(config, "select distinct release_id from marts.county_evaluation") == [("2019.2.0",)]


def test_a_new_column_is_given_up_with_the_readers_name_and_others_hardly_wait(
    warehouse: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_database(warehouse)
    publish(config, valued(70))
    monkeypatch.setattr(relations, "GIVE_UP_AFTER_S", 1.0)
    waits: list[float] = []
    stop = threading.Event()

    def read() -> None:
        with connect("bi", config, autocommit=True) as conn:
            while not stop.is_set():
                began = time.monotonic()
                conn.execute("select count(*) from marts.county_evaluation")
                waits.append(time.monotonic() - began)

    reader = threading.Thread(target=read)
    with connect("evaluator", config, application_name="a report that runs for hours") as holder:
        holder.execute("select count(*) from marts.county_evaluation")
        reader.start()
        with pytest.raises(ReleaseError) as refused:
            publish(config, valued(71, "gap_to_region"))
        stop.set()
        reader.join()
    assert "releases.county_evaluation must get a new column, but a report that runs for hours (backend" in str(
        refused.value
    )
    assert "end that session or publish later; readers see what they saw" in str(refused.value)
    assert max(waits) < 0.7, "a reader queued behind the publisher for longer than one short try"
    assert asked(config, "select count(*) from ledger.release", "auditor") == [(1,)]

    assert publish(config).release_id == "2019.2.0"
    columns = asked(
        config,
        "select attname from pg_attribute where attrelid = 'marts.county_evaluation'::regclass order by attnum",
    )
    assert columns[-1] == ("gap_to_region",)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        asked(config, "select gap_to_region from release_2019_1_0.county_evaluation")


def test_busy_readers_see_whole_releases_while_marts_grow(warehouse: WarehouseConfig) -> None:
    """Four readers in random order, REPEATABLE READ, through publications of which every second adds a column."""
    config = new_database(warehouse)
    publish(config, valued(70))
    stop = threading.Event()
    transactions: list[set[object]] = []
    errors: list[str] = []

    def read(seed: int) -> None:
        order = random.Random(seed)
        with connect("evaluator", config, autocommit=True) as conn:
            while not stop.is_set():
                try:
                    with conn.transaction():
                        conn.execute("set transaction isolation level repeatable read")
                        seen = set()
                        for view in order.sample(VIEWS, len(VIEWS)):
                            rows = conn.execute(f"select distinct release_id from marts.{view}".encode()).fetchall()
                            seen |= {row[0] for row in rows} or {"nothing"}
                    transactions.append(seen)
                except psycopg.Error as error:
                    errors.append(f"{type(error).__name__}: {error}")

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(4):
            publish(config, valued(71 + number, *(f"extra_{extra}" for extra in range((number + 1) // 2))))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    print(f"{len(transactions)} reading transactions through 4 publications, 2 of which added a column")
    assert errors == []
    assert [seen for seen in transactions if len(seen) != 1] == []
    assert not any("nothing" in seen for seen in transactions)
    assert len({next(iter(seen)) for seen in transactions}) >= 3


@pytest.mark.parametrize("fault", [pytest.param(24, id="fault[F24]")])
def test_a_deadlock_is_tried_again_and_then_named(warehouse: WarehouseConfig, fault: int) -> None:
    tries: list[int] = []

    def deadlock(until: int) -> None:
        tries.append(1)
        if len(tries) <= until:
            raise psycopg.errors.DeadlockDetected("injected")

    with connect("publisher", warehouse, autocommit=True) as conn:
        in_transaction(conn, "publishing", lambda: deadlock(3))
        assert len(tries) == 4
        tries.clear()
        with pytest.raises(ReleaseError, match=r"publishing deadlocked 4 times .* nothing was changed"):
            in_transaction(conn, "publishing", lambda: deadlock(9))
        assert len(tries) == 4
