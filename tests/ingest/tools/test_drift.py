"""Schema drift: each difference has its outcome, and the proposed change of the contract makes the file load."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingest import Contract, check_file, load_contracts
from ingest.contract import FOLDER, known_code_lists
from ingest.drift import DriftReport, find_drift
from ingest.problems import FileRejectedError
from tests.ingest.golden import PUPIL_NAME, Row, pupils, write_csv
from warehouse.config import PROJECT_ROOT

Contracts = dict[str, Contract]
LISTS = known_code_lists()


def renamed(rows: list[Row], old: str, new: str) -> list[Row]:
    return [{new if name == old else name: value for name, value in row.items()} for row in rows]


def drift(path: Path, contracts: Contracts) -> DriftReport:
    return find_drift(path, contracts["pupil"], contracts, LISTS, "csv")


def kinds(report: DriftReport) -> list[tuple[str, str]]:
    return [(item.kind, item.column) for item in report.drifts]


def amended(report: DriftReport, folder: Path) -> Contracts:
    """All contracts with the proposed one in place of the old, by the patch that the command prints."""
    place = folder / "repository"
    target = place / report.contract.path.relative_to(PROJECT_ROOT)
    target.parent.mkdir(parents=True)
    for path in FOLDER.glob("*.yaml"):
        (target.parent / path.name).write_bytes(path.read_bytes())
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    subprocess.run(["git", "apply"], cwd=place, input=report.patch, text=True, check=True)
    assert target.read_text(encoding="utf-8") == report.proposed
    return load_contracts(target.parent)


def test_a_file_as_agreed_has_no_drift(tmp_path: Path, contracts: Contracts) -> None:
    report = drift(write_csv(tmp_path, pupils(20)), contracts)
    assert (report.drifts, report.patch) == ((), "")


def test_a_renamed_column_rejects_and_its_new_header_is_proposed(tmp_path: Path, contracts: Contracts) -> None:
    path = write_csv(tmp_path, renamed(pupils(20), "户口所在地区划代码", "户籍所在村代码"))
    before = check_file(path, contracts).report
    assert before.rejection is not None
    assert before.rejection.rule == "header.missing_column"
    report = drift(path, contracts)
    assert kinds(report) == [("renamed", "home_area_code")]
    assert "rejected" in report.drifts[0].outcome
    after = check_file(path, amended(report, tmp_path)).report
    assert (after.status, after.rows_landed) == ("checked", 20)
    assert "+version: 1.1.0" in report.patch


def test_a_renamed_column_of_names_is_found_by_its_header(tmp_path: Path, contracts: Contracts) -> None:
    path = write_csv(tmp_path, renamed(renamed(pupils(20), "姓名", "姓名全称"), "证件号码", "公民身份证号码"))
    report = drift(path, contracts)
    assert kinds(report) == [("renamed", "id_number"), ("renamed", "pupil_name")] or kinds(report) == [
        ("renamed", "pupil_name"),
        ("renamed", "id_number"),
    ]
    assert check_file(path, amended(report, tmp_path)).report.rows_landed == 20


def test_an_added_column_is_ignored_with_a_warning_and_proposed(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(40)
    for number, row in enumerate(rows):
        row["乘车方式"] = "校车" if number % 2 else "步行"
        row["家长手机"] = f"138{number:08d}"
    path = write_csv(tmp_path, rows)
    report = check_file(path, contracts).report
    assert (report.status, report.rows_landed) == ("checked", 40)
    assert any("乘车方式" in warning for warning in report.warnings)
    found = drift(path, contracts)
    assert [item.kind for item in found.drifts] == ["added", "added"]
    newer = amended(found, tmp_path)["pupil"]
    assert newer.by_name["parent_mobile"].pii == "vault", "in doubt it is protected"
    assert newer.by_name[found.drifts[0].column].header == "乘车方式"
    assert not newer.by_name[found.drifts[0].column].required
    assert "138" not in found.patch


@pytest.mark.parametrize(
    ("header", "column", "status", "outcome"),
    [
        ("学籍号", "student_number", "rejected", "the file is rejected: header.missing_column"),
        (
            "孤儿",
            "is_orphan",
            "checked",
            "the file loads; the column counts as empty, with a warning: header.optional_column",
        ),
    ],
)
def test_a_missing_column_is_the_senders_to_restore(
    tmp_path: Path, contracts: Contracts, header: str, column: str, status: str, outcome: str
) -> None:
    rows = [{name: value for name, value in row.items() if name != header} for row in pupils(20)]
    path = write_csv(tmp_path, rows)
    tried = check_file(path, contracts).report
    assert tried.status == status
    assert any("header.optional_column" in warning for warning in tried.warnings) == (status == "checked")
    report = drift(path, contracts)
    assert kinds(report) == [("missing", column)]
    assert report.drifts[0].outcome == outcome
    assert report.patch == ""


def test_reordered_columns_load(tmp_path: Path, contracts: Contracts) -> None:
    path = write_csv(tmp_path, [dict(reversed(row.items())) for row in pupils(20)])
    assert check_file(path, contracts).report.rows_landed == 20
    report = drift(path, contracts)
    assert [item.kind for item in report.drifts] == ["reordered"]
    assert report.patch == ""


def test_a_retyped_column_goes_to_quarantine_and_the_new_kind_is_proposed(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(20)
    for row in rows:
        row["入学年月"] = "第一学期"
        row["学校标识码"] = row["学校标识码"][2:]
    path = write_csv(tmp_path, rows)
    report = check_file(path, contracts).report
    assert report.rows_landed == 0
    found = drift(path, contracts)
    assert ("retyped", "enrolled_on") in kinds(found)
    by_column = {item.column: item for item in found.drifts}
    assert "type.date" in by_column["enrolled_on"].outcome
    assert "kind text instead of date" in by_column["enrolled_on"].proposal
    assert "migration" in by_column["enrolled_on"].proposal
    assert by_column["school_code"].proposal.startswith("ask the sender"), "a key is never loosened"
    assert amended(found, tmp_path)["pupil"].by_name["enrolled_on"].kind == "text"


def test_codes_that_the_list_does_not_know_are_named_masked(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(20)
    rows[3]["民族"] = "马小明的民族"
    found = drift(write_csv(tmp_path, rows), contracts)
    assert kinds(found) == [("new codes", "ethnicity_code")]
    assert "code list ethnicity" in found.drifts[0].proposal
    assert "马小明" not in found.drifts[0].proposal


def test_numbers_that_lost_their_digits_are_the_senders_to_correct(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(30)
    for row in rows:
        row["证件号码"] = "6.49901E+17"
    found = drift(write_csv(tmp_path, rows), contracts)
    assert kinds(found) == [("retyped", "id_number")]
    assert "file.too_many_bad_rows" in found.drifts[0].outcome
    assert found.patch == ""


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / PUPIL_NAME
    path.write_bytes(b"")
    with pytest.raises(FileRejectedError, match=r"file\.empty"):
        drift(path, contracts)
