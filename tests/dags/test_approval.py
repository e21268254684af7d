"""Approval in Airflow: where it stands in the DAG, what a yes, a no and no answer at all lead to."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edupa import main_job, pipeline
from edupa.cli_common import out
from edupa.settings import Settings, load_settings
from tests.conftest import make_warehouse
from tests.warehouse.test_release import PROVENANCE, SCHEMA, build_candidate
from warehouse.approval import ApprovalError, Demand
from warehouse.config import PROJECT_ROOT, ConfigError, WarehouseConfig
from warehouse.connection import connect
from warehouse.release import candidate_sha256, publish_candidate
from warehouse.server import stop

YEAR = 2019
PROBE = """
import json, sys
from datetime import datetime, timezone
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(dag_folder=sys.argv[1])
dag = bag.dags.get("annual_evaluation")
task = dag.get_task("approval")
# what the scheduler hands to the task when the deadline has passed
event = {
    "chosen_options": task.defaults, "params_input": {}, "responded_at": datetime.now(timezone.utc),
    "responded_by_user": None, "timedout": True,
}
found = {
    "errors": bag.import_errors,
    "tasks": {t.task_id: sorted(t.downstream_task_ids) for t in dag.tasks},
    "kind": type(task).__name__, "options": task.options, "defaults": task.defaults, "retries": task.retries,
    "hours": task.response_timeout.total_seconds() / 3600,
    "rules": sorted({t.trigger_rule.value for t in dag.tasks}),
    "unanswered": task.execute_complete({}, event),
}
print("PROBE" + json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAG as Airflow reads it where an approval is asked for; test_dags reads it where none is."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(PROJECT_ROOT / "dags" / "annual_evaluation.py")],
        env={
            **os.environ,
            "EDUPA_APPROVAL": "airflow",
            "EDUPA_APPROVAL_HOURS": "0.5",
            "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
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


def test_the_answer_is_asked_for_between_gate_and_publication_and_written_down_first(asked: dict[str, Any]) -> None:
    assert asked["errors"] == {}
    assert asked["tasks"] == {
        "build_candidate": ["candidate_gate"],
        "candidate_gate": ["approval"],
        "approval": ["record_decision"],
        "record_decision": ["publish"],
        "publish": [],
    }
    # an operator that skips what follows a no would leave the no unrecorded
    assert asked["kind"] == "HITLOperator"
    assert asked["rules"] == ["all_success"]
    assert (asked["hours"], asked["retries"]) == (0.5, 0)
    assert asked["defaults"] == [asked["options"][1]] == ["驳回 Reject"]


# --- what an answer leads to ----------------------------------------------------------------------------------------


# later than any year before it: what is published becomes what is shown
_years = itertools.count(2021)


@pytest.fixture(scope="module")
def server() -> Iterator[WarehouseConfig]:
    """A server of its own: other tests say which release is shown on the shared one."""
    home = Path(tempfile.mkdtemp(prefix="edupa-approval-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def settings(server: WarehouseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A published release of a year of the test's own, and a newer candidate that the gate has passed."""
    found = Settings(server, tmp_path, tmp_path, next(_years), "airflow")
    monkeypatch.setenv("EDUPA_PROGRESS", str(tmp_path / "progress"))
    build_candidate(server, 70.0)
    judge(found, "first")
    assert publish(found, "none") == "published"
    build_candidate(server, 71.0)
    judge(found, run_id(found))
    return found


def run_id(settings: Settings) -> str:
    return f"approval-{settings.evaluation_year}"


def judge(settings: Settings, name: str) -> None:
    content = candidate_sha256(settings.warehouse, SCHEMA)
    with connect("gatekeeper", settings.warehouse) as conn:
        conn.execute(
            "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision,"
            " approval_days_max) values ('candidate', %s, %s, %s, %s, 'pass', 14)",
            (name, settings.evaluation_year, SCHEMA, content),
        )


def publish(settings: Settings, approval: Demand) -> str:
    return publish_candidate(
        settings.warehouse, SCHEMA, evaluation_year=settings.evaluation_year, kind="annual", reason="test",
        provenance=PROVENANCE, run_id=run_id(settings), approval=approval,
    ).outcome  # fmt: skip


def shown(settings: Settings) -> list[tuple[object, ...]]:
    with connect("evaluator", settings.warehouse) as conn:
        return conn.execute("select release_id, value from marts.county_evaluation").fetchall()


def decisions(settings: Settings) -> list[tuple[object, ...]]:
    with connect("auditor", settings.warehouse) as conn:
        return conn.execute(
            "select channel, decision, decided_by, requested_by, remark from ledger.approval"
            " where evaluation_year = %s",
            (settings.evaluation_year,),
        ).fetchall()


@pytest.mark.parametrize("name", [pytest.param("F38", id="fault[F38]")])
def test_an_approval_never_answered_expires_to_a_no_and_the_marts_stay(
    name: str, asked: dict[str, Any], settings: Settings
) -> None:
    answer = asked["unanswered"]
    # the task ends well: only what was chosen tells the no
    assert answer["responded_by_user"] is None
    approved = answer["chosen_options"] == [asked["options"][0]]
    with pytest.raises(ApprovalError, match=r"rejected .nobody answered in time"):
        pipeline.record_airflow_approval(
            settings, run_id(settings), approved=approved, decided_by=None, requested_by="wang"
        )
    assert decisions(settings) == [("airflow", "reject", None, "wang", "nobody answered in time")]
    # cleared by hand or not, publication reads the ledger
    with pytest.raises(ApprovalError, match="rejected: nobody answered in time"):
        publish(settings, "airflow")
    assert shown(settings) == [(f"{settings.evaluation_year}.1.0", 70)], name


def test_a_yes_is_written_down_and_lets_the_candidate_out(settings: Settings) -> None:
    pipeline.record_airflow_approval(settings, run_id(settings), approved=True, decided_by="wang", requested_by="li")
    assert decisions(settings) == [("airflow", "approve", "wang", "li", "answered in Airflow")]
    assert publish(settings, "airflow") == "published"
    assert shown(settings) == [(f"{settings.evaluation_year}.2.0", 71)]


def test_a_no_ends_the_run_as_blocked(settings: Settings) -> None:
    pipeline.begin_run(settings, run_id(settings), "annual_evaluation", {})
    with (
        pytest.raises(ApprovalError, match=r"rejected .by wang"),
        pipeline.noting_failure(settings, run_id(settings), "annual_evaluation"),
    ):
        pipeline.record_airflow_approval(
            settings, run_id(settings), approved=False, decided_by="wang", requested_by="li"
        )
    with connect("auditor", settings.warehouse) as conn:
        assert conn.execute("select status from ledger.run where run_id = %s", (run_id(settings),)).fetchall() == [
            ("blocked",)
        ]
    with pytest.raises(ApprovalError, match="rejected by wang"):
        publish(settings, "airflow")


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EDUPA_APPROVAL", "yes"),
        ("EDUPA_APPROVAL", "Airflow"),
        ("EDUPA_APPROVAL_HOURS", "0"),
        ("EDUPA_APPROVAL_HOURS", "soon"),
    ],
)
def test_a_mistyped_setting_never_means_that_no_approval_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name} is '{value}'"):
        load_settings()


def test_the_main_job_says_at_once_that_it_cannot_wait_for_an_answer(tmp_path: Path) -> None:
    nowhere = Settings(WarehouseConfig(tmp_path, tmp_path), tmp_path / "extracts", tmp_path, YEAR, "airflow")
    with pytest.raises(main_job.MainJobError, match="EDUPA_APPROVAL=airflow asks for an answer in Airflow's web UI"):
        main_job.run_main_job(nowhere, [YEAR], out, plain=False, scale=0.01)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_nobody_touched_ask_for_no_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDUPA_APPROVAL", "EDUPA_APPROVAL_HOURS"):
        monkeypatch.delenv(name, raising=False)
    assert (load_settings().approval, load_settings().approval_hours) == ("none", 72)
