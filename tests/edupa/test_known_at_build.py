"""A release says what its marts knew, not what had landed by the time it was published."""

from __future__ import annotations

import pytest

from disclosure import policy
from edupa import pipeline
from edupa.settings import Settings
from tests.warehouse.test_release import SCHEMA, build_candidate, judge
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect
from warehouse.locks import LockBusyError, writer_lock


def land(config: WarehouseConfig, digit: str) -> int:
    """Write a load into the ledger; returns its id."""
    with connect("ingest", config) as conn:
        row = conn.execute(
            "with f as (insert into ledger.file (file_sha256, feed, file_name, file_bytes) values (%s, 'pupil', %s, 1)"
            " returning file_id) insert into ledger.load (file_id, feed, file_name, status)"
            " select file_id, 'pupil', 'x', 'landed' from f returning load_id",
            (digit * 64, digit),
        ).fetchone()
    assert row
    return int(str(row[0]))


def test_a_release_records_the_load_and_the_files_of_its_build(
    fresh_warehouse: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fresh_warehouse
    settings = Settings(config, config.home / "extracts", config.home / "runs", 2019)
    known = land(config, "a")
    build_candidate(config, 70.0)
    with connect("transform", config) as conn:
        conn.execute(f"comment on schema {SCHEMA} is '{{\"as_of_load_id\": {known}}}'".encode())
    judge(config)
    before = pipeline._input_sha256(settings, None)
    land(config, "b")
    assert pipeline._input_sha256(settings, None) != before
    monkeypatch.setattr(pipeline, "candidate_schema", lambda year: SCHEMA)
    # no dbt has run here that would have brought the seeds
    seeds = policy.policy_from_seeds(PROJECT_ROOT / "dbt_project" / "seeds")
    monkeypatch.setattr(policy, "policy_from_warehouse", lambda conn: seeds)
    pipeline.publish(settings, "test", 2019)
    with connect("auditor", config) as conn:
        row = conn.execute("select as_of_load_id, input_sha256, manifest from ledger.release").fetchone()
    assert row is not None
    assert row[:2] == (known, before)
    assert row[2]["release"]["as_of_load_id"] == known  # type: ignore[index]

    # while core is built no load lands, and builds that only keep loads out do not keep out each other
    with writer_lock(config, "transform", "load", "one build", wait_s=0, shared=True):
        with writer_lock(config, "transform", "load", "another", wait_s=0, shared=True):
            pass
        with (
            pytest.raises(LockBusyError, match="edupa load one build"),
            writer_lock(config, "ingest", "load", "a load", wait_s=0),
        ):
            raise AssertionError("a load began while core was being built")
    with (
        writer_lock(config, "ingest", "load", "a load", wait_s=0),
        pytest.raises(LockBusyError, match="edupa load a load"),
        writer_lock(config, "transform", "load", "a build", wait_s=0, shared=True),
    ):
        raise AssertionError("core was built while a load was going on")
