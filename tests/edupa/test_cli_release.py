"""``edupa release`` on a warehouse with releases: what is printed, written and refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from edupa.cli import app
from tests.warehouse.candidates import Marts, changed, marts, new_database, publish
from warehouse.config import WarehouseConfig

Edupa = Callable[..., Result]


def _moved(found: Marts) -> None:
    found["county_evaluation"].rows[0]["value"] = 71


@pytest.fixture(scope="module")
def edupa(warehouse: WarehouseConfig) -> Edupa:
    """Run a command in this process on a warehouse with 2019.1.0 and its restatement 2019.2.0."""
    config = new_database(warehouse)
    publish(config, marts())
    publish(config, changed(marts(), _moved), kind="restatement", reason="红寺堡区更正")

    def run(*arguments: str) -> Result:
        environment = {
            "EDUPA_HOME": str(config.home),
            "EDUPA_SECRETS_DIR": str(config.secrets_dir),
            "EDUPA_DATABASE": config.database,
            "EDUPA_WAREHOUSE_URL": None,
            "EDUPA_RELEASE_WEBHOOK": None,
        }
        return CliRunner().invoke(app, ["release", *arguments], env=environment)

    return run


def test_list_names_versions_and_marks_what_is_shown(edupa: Edupa) -> None:
    lines = edupa("list").output.splitlines()
    assert lines[0].split()[:4] == ["release", "version", "change", "status"]
    assert lines[1].split()[:4] == ["2019.1.0", "1.0.0", "first", "published"]
    assert lines[2].split()[:5] == ["*", "2019.2.0", "1.1.0", "minor", "published"]


def test_show_tells_the_whole_registry_entry(edupa: Edupa) -> None:
    entry = json.loads(edupa("show", "2019.1.0", "--json").output)
    assert entry["superseded_by"] == "2019.2.0"
    assert entry["gate"]["decision"] == "pass"
    assert entry["notices"][0]["event"] == "publish"
    told = edupa("show", "2019.2.0").output.splitlines()
    assert "previous_release: 2019.1.0" in told
    assert "  minor: county_evaluation变动1行 — county_evaluation: 1 rows changed" in told
    assert "  targets: t1" in told
    assert any(line.startswith("  county_evaluation: 4 rows, sha256 ") and "ranges" not in line for line in told)
    missing = edupa("show", "2031.1.0")
    assert missing.exit_code == 1
    assert "there is no release 2031.1.0: `edupa release list` names all" in missing.stderr


def test_diff_is_printed_and_exported(edupa: Edupa, tmp_path: Path) -> None:
    told = edupa("diff", "2019.1.0", "2019.2.0").output
    assert told.startswith("2019.1.0 → 2019.2.0: minor")
    assert ["G1b", "0", "1", "0", "0", "unexplained"] in [line.split() for line in told.splitlines()]
    target = tmp_path / "moved.csv"
    assert f"1 moved cells written to {target}" in edupa(
        "diff", "2019.1.0", "2019.2.0", "--format", "csv", "--out", str(target)
    ).output.replace("\n", "")
    with target.open(encoding="utf-8") as handle:
        (cell,) = csv.DictReader(handle)
    assert (cell["row_key"], cell["old_value"], cell["new_value"]) == (
        "G1b|ger3|640424|2019|all|resident",
        "70.0000",
        "71.0000",
    )
    assert json.loads(edupa("diff", "2019.2.0", "2019.1.0", "--format", "json").output)["level"] == "minor"
    refused = edupa("diff", "2019.1.0", "2019.2.0", "--out", str(target))
    assert "a table is for the screen: --out goes with --format csv or json" in refused.stderr


def test_a_slip_in_the_embargo_is_told_before_any_work(edupa: Edupa) -> None:
    refused = edupa("publish", "--year", "2019", "--embargo-until", "morgen")
    assert refused.exit_code == 1
    assert "embargo 'morgen' is no time: write 2026-12-01" in refused.stderr
    assert refused.output.count("dbt") == 0


def test_notify_says_how_a_webhook_is_set_up(edupa: Edupa) -> None:
    assert "say --pending" in edupa("notify").stderr
    refused = edupa("notify", "--pending")
    assert refused.exit_code == 1
    assert "no webhook: write its address to" in refused.stderr
    assert "release_webhook_url or set EDUPA_RELEASE_WEBHOOK" in refused.stderr.replace("\n", "")


def test_withdraw_rollback_and_due_say_what_is_shown_then(edupa: Edupa) -> None:
    assert "no release is due" in edupa("publish-due").output
    assert "marts.* show release 2019.1.0 (before: 2019.2.0)" in edupa("rollback").output
    assert "marts.* show release 2019.2.0 (before: 2019.1.0)" in edupa("rollback", "--to", "2019.2.0").output
    told = edupa("withdraw", "2019.2.0", "--reason", "分母错误").output
    assert "release 2019.2.0 is withdrawn: 分母错误; marts.* show release 2019.1.0 (before: 2019.2.0)" in told
    refused = edupa("withdraw", "2019.1.0", "--reason", "分母错误")
    assert refused.exit_code == 1
    assert "is the only published release and marts.* show it: publish its correction first" in refused.stderr
