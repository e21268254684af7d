"""Fixtures of the dbt tests: a throw-away warehouse with empty landing tables, and dbt in process."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner

from disclosure.plan import plan_candidate
from ingest import ensure_landing, ensure_token_key, load_contracts, load_feed
from simulator.run import SimulationReport, simulate
from tests.conftest import make_warehouse
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, connection_parts
from warehouse.server import stop

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "dbt_project"
SCALE = 0.005
NIGHTLY = ("build", "--select", "staging", "core", "indicators", "--exclude-resource-type", "unit_test")


@dataclass
class Dbt:
    """dbt in this process, against one warehouse (or none, for commands that need no database).

    Attributes:
        work: folder for target and logs, outside the repository.
        environment: what the profile reads.
        project: folder of the project.
    """

    work: Path
    environment: dict[str, str] = field(default_factory=dict)
    project: Path = PROJECT

    def call(self, *arguments: str) -> tuple[bool, list[Any]]:
        """Run one command; success and the results of its nodes."""
        settings = {
            "DO_NOT_TRACK": "1",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_TARGET_PATH": str(self.work / "target"),
            "DBT_LOG_PATH": str(self.work / "logs"),
            **self.environment,
        }
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            place = ["--project-dir", str(self.project), "--profiles-dir", str(self.project), "--quiet"]
            result = dbtRunner().invoke([arguments[0], *place, *arguments[1:]])
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        if result.exception:
            raise result.exception
        return result.success, list(getattr(result.result, "results", None) or [])

    def run(self, *arguments: str) -> list[Any]:
        """Run one command that must succeed; the messages of failed nodes are in the assertion."""
        success, results = self.call(*arguments)
        bad = [f"{r.node.unique_id}: {r.message}" for r in results if r.status in ("error", "fail", "runtime error")]
        assert success, "\n".join(bad)
        return results

    def manifest(self) -> dict[str, Any]:
        """The manifest of the last command."""
        parsed: dict[str, Any] = json.loads((self.work / "target" / "manifest.json").read_text(encoding="utf-8"))
        return parsed


def environment_of(config: WarehouseConfig) -> dict[str, str]:
    """What the profile needs to reach a warehouse as edupa_transform."""
    parts = connection_parts("transform", config)
    return {
        "EDUPA_DBT_HOST": parts.host,
        "EDUPA_DBT_PORT": str(parts.port),
        "EDUPA_DBT_DBNAME": parts.database,
        "EDUPA_DBT_USER": parts.user,
        "EDUPA_DBT_PASSWORD": parts.password,
    }


def prepare(config: WarehouseConfig) -> None:
    """Empty landing tables from the contracts."""
    ensure_token_key(config)
    with connect("ingest", config) as connection:
        ensure_landing(connection, load_contracts())
        connection.commit()


@pytest.fixture(scope="session")
def offline_dbt(tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """Hold the project after `dbt parse`, without any database."""
    dbt = Dbt(tmp_path_factory.mktemp("dbt_offline"))
    dbt.run("parse")
    return dbt


def _warehouse() -> Iterator[WarehouseConfig]:
    home = Path(tempfile.mkdtemp(prefix="edupa-dbt-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    prepare(config)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_warehouse() -> Iterator[WarehouseConfig]:
    """A warehouse whose landing tables are empty; tests that fill them roll back."""
    yield from _warehouse()


@pytest.fixture(scope="session")
def empty_dbt(empty_warehouse: WarehouseConfig, tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """Run dbt on a warehouse with every model built from empty landing tables."""
    dbt = Dbt(tmp_path_factory.mktemp("dbt_empty"), environment_of(empty_warehouse))
    dbt.run("seed")
    dbt.run("run")
    return dbt


@pytest.fixture(scope="session")
def loaded_warehouse() -> Iterator[WarehouseConfig]:
    """A second warehouse, filled by the value test with a sample province."""
    yield from _warehouse()


def build_marts(dbt: Dbt, config: WarehouseConfig, year: int, schema: str) -> None:
    """The plan of protection and the marts of one evaluation, in a candidate schema of their own."""
    plan_candidate(config, year)
    dbt.run("build", "--select", "marts", "--exclude-resource-type", "unit_test",
            "--vars", f"{{evaluation_year: {year}, candidate_schema: {schema}}}")  # fmt: skip


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """A small sample province, and what was written of it."""
    return simulate(tmp_path_factory.mktemp("province"), scale=SCALE)


@pytest.fixture(scope="session")
def province(sample: SimulationReport) -> Path:
    """Feeds and truth of the sample province."""
    return sample.out


@pytest.fixture(scope="session")
def dbt(loaded_warehouse: WarehouseConfig, sample: SimulationReport, tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """Run dbt for a night and the evaluation of 2020."""
    contracts = load_contracts()
    for feed in contracts:
        report = load_feed(feed, sample.out, contracts, loaded_warehouse)
        # no reviews came back yet: a sample has no file of them
        assert bool(report.files) == (feed in sample.rows), feed
    made = Dbt(tmp_path_factory.mktemp("dbt_values"), environment_of(loaded_warehouse))
    made.run("seed")
    made.run(*NIGHTLY)
    build_marts(made, loaded_warehouse, 2020, "candidate_all")
    return made
