"""DAG files import without error, hold wiring only, and tell their users what they do."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ingest
from edupa import pipeline
from warehouse.config import PROJECT_ROOT

DAGS = PROJECT_ROOT / "dags"
PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

def retries(task):
    return (getattr(task, "partial_kwargs", None) or {}).get("retries", getattr(task, "retries", None))

bag = DagBag(dag_folder=sys.argv[1])
dags = {
    dag.dag_id: {
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
        "tasks": {
            task.task_id: {
                "retries": retries(task),
                "downstream": sorted(task.downstream_task_ids),
                "outlets": len(getattr(task, "outlets", None) or []),
                "rule": getattr(task.trigger_rule, "value", task.trigger_rule),
            }
            for task in dag.tasks
        },
    }
    for dag in bag.dags.values()
}
print("PROBE" + json.dumps({"errors": bag.import_errors, "dags": dags}, default=str))
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of the DAG files, read in a process with a home of its own."""
    home = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(DAGS)],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(PROJECT_ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("PROBE")]
    assert lines, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("PROBE"))
    return found


def test_no_import_errors(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert sorted(bag["dags"]) == [
        "annual_evaluation", "housekeeping", "nightly_load", "nightly_verification", "release_housekeeping",
    ]  # fmt: skip


@pytest.mark.parametrize("dag_id", ["nightly_load", "annual_evaluation"])
def test_dag_is_documented_tagged_and_asks_for_its_period(bag: dict[str, Any], dag_id: str) -> None:
    dag = bag["dags"][dag_id]
    assert "edupa" in dag["tags"]
    assert len(dag["doc"]) > 200
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1
    year = dag["params"]["evaluation_year"]
    assert (year["type"], year["minimum"]) == ("integer", 2015)
    assert year["title"]


def test_nothing_follows_a_gate_that_did_not_pass(bag: dict[str, Any]) -> None:
    nightly, annual = (bag["dags"][name]["tasks"] for name in ("nightly_load", "annual_evaluation"))
    assert nightly["arrival_gate"]["downstream"] == ["build_core"]
    assert annual["candidate_gate"]["downstream"] == ["publish"]
    # a wave of loads may have no feed; nothing goes on after a failure
    lenient = {"replay_quarantine", *(f"feeds_{wave}" for wave in range(pipeline.WAVES))}
    for name, task in (*nightly.items(), *annual.items()):
        assert task["rule"] == ("none_failed" if name in lenient else "all_success"), name
    assert nightly["arrival_gate"]["retries"] == annual["candidate_gate"]["retries"] == 0


def test_feeds_are_loaded_in_waves_and_quarantine_is_replayed_and_persons_matched_before_the_gate(
    bag: dict[str, Any],
) -> None:
    tasks = bag["dags"]["nightly_load"]["tasks"]
    last = pipeline.WAVES - 1
    for wave in range(pipeline.WAVES):
        assert tasks[f"load_{wave}"]["retries"] == 2
        assert f"load_{wave}" in tasks[f"feeds_{wave}"]["downstream"]
        after = "replay_quarantine" if wave == last else f"feeds_{wave + 1}"
        assert tasks[f"load_{wave}"]["downstream"] == [after]
    assert tasks["replay_quarantine"]["downstream"] == ["match_persons"]
    assert tasks["match_persons"]["downstream"] == ["arrival_gate"]
    assert f"load_{pipeline.WAVES}" not in tasks


def test_each_wave_refers_to_earlier_waves_only(monkeypatch: pytest.MonkeyPatch) -> None:
    contracts = ingest.load_contracts()
    waves = pipeline.feed_waves()
    assert len(waves) == pipeline.WAVES
    assert sorted(feed for wave in waves for feed in wave) == sorted(contracts)
    seen: set[str] = set()
    for wave in waves:
        assert all(contracts[feed].depends_on <= seen for feed in wave)
        seen |= set(wave)
    monkeypatch.setattr(pipeline, "WAVES", 3)
    with pytest.raises(ingest.ContractError, match=r"student_event refers to others over 3 steps.*raise WAVES"):
        pipeline.feed_waves()


def test_a_release_is_asked_for_kind_reason_level_and_embargo(bag: dict[str, Any]) -> None:
    params = bag["dags"]["annual_evaluation"]["params"]
    assert params["kind"]["enum"] == ["annual", "restatement"]
    assert params["reason"]["minLength"] == 5
    assert params["declared_change"]["enum"] == ["computed", "patch", "minor", "major"]
    pattern = re.compile(params["embargo_until"]["pattern"])
    assert all(map(pattern.fullmatch, ("", "2026-12-01", "2026-12-01 09:00", "2026-12-01T01:00:00Z")))
    assert not any(map(pattern.fullmatch, ("tomorrow", "2026-12-01 9 Uhr", "01.12.2026")))
    due = bag["dags"]["release_housekeeping"]
    assert (due["catchup"], due["max_active_runs"], sorted(due["tasks"])) == (False, 1, ["publish_due"])


def test_each_dag_updates_its_asset(bag: dict[str, Any]) -> None:
    assert bag["dags"]["nightly_load"]["tasks"]["build_core"]["outlets"] == 1
    assert bag["dags"]["annual_evaluation"]["tasks"]["publish"]["outlets"] == 1


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_dag_file_holds_wiring_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {"__future__", "datetime", "pendulum", "airflow"}
    assert not path.name.startswith("dbt_")
    text = path.read_text(encoding="utf-8").lower()
    assert "select " not in text
    assert "now()" not in text


def test_housekeeping_verifies_first_and_removes_old_backups_last(bag: dict[str, Any]) -> None:
    weekly, nightly = (bag["dags"][name] for name in ("housekeeping", "nightly_verification"))
    order = ["verify", "sweep", "back_up", "drill", "retain", "finish"]
    assert {name: task["downstream"] for name, task in weekly["tasks"].items()} == dict(
        zip(order, [*([name] for name in order[1:]), []], strict=True)
    )
    assert {name: task["downstream"] for name, task in nightly["tasks"].items()} == {
        "verify": ["finish"],
        "finish": [],
    }
    for dag in (weekly, nightly):
        assert "edupa" in dag["tags"]
        assert len(dag["doc"]) > 200
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        assert dag["tasks"]["verify"]["retries"] == 0
        assert {task["rule"] for task in dag["tasks"].values()} == {"all_success"}
