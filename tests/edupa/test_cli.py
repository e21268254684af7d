"""The command line: every command shows an example, and misuse ends with one clear sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edupa.cli import app
from warehouse.config import PROJECT_ROOT, WarehouseConfig

COMMANDS = [
    ["server", "start"],
    ["server", "stop"],
    ["server", "status"],
    ["server", "dsn"],
    ["sql"],
    ["simulate"],
    ["load"],
    ["run"],
    ["status"],
    ["explain"],
    ["release", "list"],
    ["release", "publish"],
    ["release", "approve"],
    ["waiver", "propose"],
    ["waiver", "approve"],
    ["waiver", "revoke"],
    ["waiver", "list"],
    ["waiver", "show"],
    ["release", "show"],
    ["release", "publish-due"],
    ["release", "diff"],
    ["release", "rollback"],
    ["release", "withdraw"],
    ["release", "notify"],
    ["release", "verify"],
    ["airflow", "up"],
    ["airflow", "down"],
    ["airflow", "cli"],
    ["quarantine", "list"],
    ["quarantine", "show"],
    ["quarantine", "export"],
    ["quarantine", "replay"],
    ["contract", "new"],
    ["contract", "diff"],
    ["contract", "test"],
    ["worklist"],
    ["access", "worklists"],
]


def edupa(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edupa", *arguments],
        env={**os.environ, "EDUPA_HOME": str(home), "COLUMNS": "200"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert f"Example: edupa {' '.join(command)}" in done.output or "Example: psql" in done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sql", "select 1"], "no warehouse yet"),
        (["sql", "--role", "king", "select 1"], "unknown role 'king'"),
        (["explain", "G1b", "--area", "64", "--year", "2020"], "no warehouse yet"),
        (["status"], "no warehouse yet"),
        (["release", "list"], "no warehouse yet"),
        (["simulate", "--out", "tests"], "is not empty"),
        (["simulate", "--out", "/tmp/never", "--years", "2020"], "two years such as 2015-2020"),
        (["simulate", "--out", "/tmp/never", "--scale", "7"], "should be less than or equal to 1"),
        (["quarantine", "list"], "no warehouse yet"),
        (["dance"], "No such command 'dance'"),
    ],
)
def test_misuse_ends_with_one_clear_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = edupa(tmp_path / "home", *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_server_status_says_that_nothing_runs(tmp_path: Path) -> None:
    done = edupa(tmp_path / "home", "server", "status")
    assert (done.returncode, done.stdout) == (3, "not running\n")


def test_sql_prints_csv_and_passes_on_the_servers_message(warehouse: WarehouseConfig) -> None:
    done = edupa(warehouse.home, "sql", "--role", "auditor", "select 1 as one, 'a,b' as text, null as nothing")
    assert (done.returncode, done.stdout) == (0, 'one,text,nothing\n1,"a,b",\n')
    failed = edupa(warehouse.home, "sql", "--role", "auditor", "select * from nowhere")
    assert failed.returncode == 1
    assert 'relation "nowhere" does not exist' in failed.stderr


def test_passwords_are_printed_by_dsn_only(warehouse: WarehouseConfig) -> None:
    secret = warehouse.secret("evaluator")
    assert secret in edupa(warehouse.home, "server", "dsn", "--role", "evaluator").stdout
    assert secret not in edupa(warehouse.home, "server", "status").stdout
    assert (warehouse.secret_path("evaluator").stat().st_mode & 0o077) == 0
