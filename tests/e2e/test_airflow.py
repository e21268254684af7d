"""Both DAGs under Airflow: imported, run in process as ``make run`` does, and run by a real scheduler."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Installation, installed


@pytest.fixture(scope="module")
def through_airflow(sample: Path) -> Iterator[Installation]:
    """An installation whose main job ran through ``airflow dags test``."""
    with installed(sample) as installation:
        done = installation.edupa("run")
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Airflow nightly_load succeeded" in done.stderr
        assert done.stderr.count("Airflow annual_evaluation succeeded") == 2
        for told in ("G1b 学前三年毛入园率", "红寺堡区 640303", "release 2020.1.0", "edupa explain"):
            assert told in done.stdout
        yield installation


def test_airflow_gives_the_same_releases_as_the_plain_run(
    through_airflow: Installation, undisturbed_hashes: dict[str, str]
) -> None:
    assert through_airflow.hashes() == undisturbed_hashes


def test_no_personal_value_reaches_airflows_logs(through_airflow: Installation) -> None:
    """IDs of the sample start with 6499 and have 18 characters: no log may hold one."""
    import re

    pattern = re.compile(rb"(?<![0-9A-Fa-f])6499\d{13}[\dXx](?![0-9A-Fa-f])")
    looked_at = 0
    for folder in ("runs", "airflow", "dbt"):
        for path in (through_airflow.home / folder).rglob("*"):
            if path.is_file():
                looked_at += 1
                assert not pattern.search(path.read_bytes()), path
    assert looked_at > 10


def test_a_real_scheduler_runs_both_dags(through_airflow: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setitem(os.environ, "EDUPA_AIRFLOW_PORT", str(probe.getsockname()[1]))
    done = through_airflow.edupa("airflow", "up")
    assert done.returncode == 0, done.stderr
    try:
        for dag_id, conf in (("nightly_load", {}), ("annual_evaluation", {"evaluation_year": 2020})):
            started = time.monotonic()
            triggered = through_airflow.edupa(
                "airflow", "cli", "dags", "trigger", dag_id, "--run-id", f"e2e-{dag_id}", "--conf", json.dumps(conf)
            )
            assert triggered.returncode == 0, triggered.stderr[-2000:]
            status = ""
            while status not in ("succeeded", "failed", "blocked") and time.monotonic() - started < 600:
                time.sleep(2)
                rows = through_airflow.query(f"select status from ledger.run where run_id = 'e2e-{dag_id}'", "auditor")
                status = rows[0]["status"] if rows else "not begun"
            assert status == "succeeded", (dag_id, status)
    finally:
        down = through_airflow.edupa("airflow", "down")
    assert "scheduler" in down.stdout
