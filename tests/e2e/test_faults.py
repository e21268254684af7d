"""dbt killed while it builds: an orphan that is swept, and not a byte of what is published moves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import Installation
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect

SCHEMA = "candidate_annual_2020"
TABLES = (
    "select n.oid, count(c.oid) from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind = 'r'"
    f" where n.nspname = '{SCHEMA}' group by n.oid"
)
BUILD = (
    "from edupa import pipeline; from edupa.settings import load_settings; s = load_settings();"
    "pipeline.begin_run(s, 'killed', 'annual_evaluation', {}); pipeline.build_candidate(s, 'killed', 2020)"
)


@pytest.mark.parametrize("fault", [pytest.param(3, id="fault[F3]")])
def test_dbt_killed_between_models(evaluated: Installation, fault: int) -> None:
    hashes = evaluated.hashes()
    config = WarehouseConfig(home=evaluated.home, secrets_dir=evaluated.home / "secrets", durable=False)
    environment = {
        **os.environ, "EDUPA_HOME": str(evaluated.home), "EDUPA_EXTRACTS": str(evaluated.extracts),
        "PYTHONPATH": str(PROJECT_ROOT),
    }  # fmt: skip
    with connect("transform", config, autocommit=True) as conn:
        before = conn.execute(TABLES.encode()).fetchone()
        building = subprocess.Popen([sys.executable, "-c", BUILD], env=environment, cwd=PROJECT_ROOT)
        deadline = time.monotonic() + 180
        while True:
            found = conn.execute(TABLES.encode()).fetchone()
            if found and (before is None or found[0] != before[0]) and found[1]:
                break
            assert building.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        building.kill()
        assert building.wait() == -signal.SIGKILL
    assert evaluated.hashes() == hashes
    assert "every hash is the one recorded" in evaluated.edupa("release", "verify").stdout
    swept = evaluated.edupa("housekeeping", "sweep")
    assert SCHEMA in swept.stdout + swept.stderr
    again = evaluated.edupa("release", "publish", "--year", "2020")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "unchanged" in again.stderr + again.stdout
    assert evaluated.hashes() == hashes
