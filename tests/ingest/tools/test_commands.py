"""The commands around ingest, as they print: quarantine, contract, status."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from edupa.cli import app
from ingest import Contract, load_feed
from tests.ingest.golden import PUPIL_NAME, Row, pupils, write_csv
from warehouse.config import WarehouseConfig

Contracts = dict[str, Contract]


def wrong_pupils() -> list[Row]:
    rows = pupils(10)
    rows[2]["性别"] = ""
    rows[4]["民族"] = "[red]火星族[/]"
    return rows


def edupa(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"NO_COLOR": "1", "COLUMNS": "160"})
    assert done.exit_code == code, done.output
    if done.exception is not None:
        assert isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def loaded(
    root: Path, contracts: Contracts, empty: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> WarehouseConfig:
    """Ten pupils, two of them wrong, and the command line pointed at their warehouse."""
    monkeypatch.setenv("EDUPA_HOME", str(empty.home))
    monkeypatch.setenv("EDUPA_EXTRACTS", str(root))
    write_csv(root / "E04_学籍", wrong_pupils())
    load_feed("pupil", root, contracts, empty)
    return empty


def test_list_and_show_tell_where_and_what(loaded: WarehouseConfig) -> None:
    listed = edupa("quarantine", "list").output
    assert "2 rows of 1 files; by rule: " in listed
    assert "640422 西吉县" in listed
    entry = next(line for line in listed.splitlines() if "性别 (sex)" in line).split()[0]
    shown = edupa("quarantine", "show", entry).output
    for text in (f"{PUPIL_NAME}, line 4", "required.missing", "性别为必填项", "open: a corrected file"):
        assert text in shown
    entry = next(line for line in listed.splitlines() if "民族" in line).split()[0]
    assert "火星" not in edupa("quarantine", "show", entry).output, "values are masked"
    assert edupa("quarantine", "list", "--county", "隆德县").output == "no open quarantine entries match\n"
    assert "no feed 'nothing'" in edupa("quarantine", "list", "--feed", "nothing", code=1).output
    assert "no quarantine entry 987654" in edupa("quarantine", "show", "987654", code=1).output


def test_export_writes_the_workbook_or_says_why_not(loaded: WarehouseConfig, root: Path, tmp_path: Path) -> None:
    done = edupa("quarantine", "export", "--county", "西吉县", "--to", tmp_path / "back")
    path = tmp_path / "back" / f"退回_{Path(PUPIL_NAME).stem}.xlsx"
    assert done.output == f"{path}: 2 of 10 rows marked\n"
    assert openpyxl.load_workbook(path).active.max_row == 13
    assert "学籍_640422_西吉县_2016_年月日8位.xlsx" in str(openpyxl.load_workbook(path).active["A2"].value)
    assert "nothing to give back" in edupa("quarantine", "export", "--period", "1999", "--to", tmp_path / "b").output
    (root / "E04_学籍" / PUPIL_NAME).unlink()
    refused = edupa("quarantine", "export", "--to", tmp_path / "back", code=1).output
    assert "is no longer in" in refused
    assert "1 files could not be given back" in refused


def test_replay_leaves_alone_what_would_fail_again(loaded: WarehouseConfig, root: Path) -> None:
    assert "1 files left alone: nothing has changed" in edupa("quarantine", "replay").output
    planned = edupa("quarantine", "replay", "--force", "--dry-run").output
    assert "would be read again: asked for by --force" in planned
    done = edupa("quarantine", "replay", "--force").output
    assert "unchanged, 0 rows landed now, 2 still quarantined" in done
    everything = edupa("quarantine", "list", "--state", "all").output
    assert everything.count("性别 (sex)") == 2, "the old entry and the new one"
    assert "2 rows" in edupa("quarantine", "list").output
    (root / "E04_学籍" / PUPIL_NAME).write_bytes(b"changed")
    assert "has changed since load 2" in edupa("quarantine", "replay", "--force", code=1).output


def test_status_shows_the_calendar_of_a_day(loaded: WarehouseConfig) -> None:
    matrix = edupa("status", "--as-of", "2016-12-15").output
    row = next(line for line in matrix.splitlines() if line.startswith("pupil "))
    assert row.split()[1:] == ["0/22", "22m", "1/22", "21m"]
    assert "missing aid_payment 2015 640104 兴庆区, was due 2016-01-31" in matrix
    assert " more: `edupa status --feed aid_payment --period 2015` lists them" in matrix
    assert ["pupil", "1", "0", "10", "8", "0", "2"] in [line.split()[:7] for line in matrix.splitlines()]
    listed = edupa("status", "--feed", "pupil", "--period", "2016", "--as-of", "2016-12-15").output
    county = next(line for line in listed.splitlines() if "西吉县" in line)
    assert county.split()[4:7] == ["arrived", "2016-11-30", "2016-10-20"]
    assert county.split()[-2:] == ["10", "2"]
    assert "21 missing, 1 arrived" in listed
    assert "no contract expects pupil for period 1990" in edupa(
        "status", "--feed", "pupil", "--period", "1990", code=1
    ).output.replace("\n", " ")


def test_a_dry_run_prints_what_would_happen_and_writes_nothing(loaded: WarehouseConfig, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in", wrong_pupils())
    tried = edupa("contract", "test", path).output
    assert "new codes" in tried
    assert "10 rows, encoding gb18030: 8 good, 2 would go to quarantine" in tried
    assert "line 4: sex (性别) is empty but required" in tried
    assert "火星" not in tried
    rows = [{("学籍编号" if name == "学籍号" else name): value for name, value in row.items()} for row in pupils(20)]
    path = write_csv(tmp_path / "in", rows)
    refused = edupa("contract", "test", path, code=1).output
    for text in ("would be REJECTED", "退回原因：缺少必需的列", "renamed", "proposes a change of the contract"):
        assert text in refused
    path.write_bytes(b"")
    assert "file.empty" in edupa("contract", "test", path, code=1).output


def test_diff_prints_nothing_but_the_patch_on_standard_output(loaded: WarehouseConfig, tmp_path: Path) -> None:
    rows = [{("学籍编号" if name == "学籍号" else name): value for name, value in row.items()} for row in pupils(20)]
    done = edupa("contract", "diff", write_csv(tmp_path, rows))
    assert done.stdout.startswith("--- a/ingest/contracts/pupil.odcs.yaml\n+++ b/ingest/contracts/pupil.odcs.yaml\n")
    assert "renamed" in done.stderr
    same = edupa("contract", "diff", write_csv(tmp_path, pupils(20)))
    assert same.stdout == ""
    assert "no change of the contract is proposed" in same.stderr
    (tmp_path / PUPIL_NAME).write_bytes(b"")
    assert "file.empty" in edupa("contract", "diff", tmp_path / PUPIL_NAME, code=1).stderr


def test_new_writes_a_draft_and_says_what_to_decide(loaded: WarehouseConfig, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "E90_新表", pupils(20), "新表_640422_西吉县_2016_20161020.csv")
    done = edupa("contract", "new", path, "--feed", "fresh_roll", "--to", tmp_path / "contracts").output
    assert f"written: {tmp_path / 'contracts' / 'fresh_roll.odcs.yaml'}" in done
    for text in ("as in pupil", "token:person_token", "20 rows read; key", "To decide before it loads anything"):
        assert text in done
    assert "马小" not in done
    assert f"ingest/contracts:{tmp_path / 'contracts'}" in done, "a folder that is not looked at is named"
    again = edupa("contract", "new", path, "--feed", "fresh_roll", "--to", tmp_path / "contracts", code=1)
    assert "is there already" in again.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["status", "--as-of", "yesterday"], "a date such as 2019-12-01"),
        (["quarantine", "show", "one"], "valid integer"),
        (["quarantine", "export", "--to", "extracts/back"], "what lies there is loaded"),
        (["contract", "test", "nowhere.csv"], "there is no file nowhere.csv"),
        (["contract", "test", "pyproject.toml"], "no contract recognizes the name pyproject.toml"),
        (["contract", "diff", "pyproject.toml"], "no contract recognizes the name pyproject.toml"),
        (["contract", "new", "pyproject.toml"], "the format must be one of"),
    ],
)
def test_misuse_ends_with_one_clear_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDUPA_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1", "COLUMNS": "160"})
    assert done.exit_code != 0
    assert sentence in done.output
    assert isinstance(done.exception, SystemExit)
