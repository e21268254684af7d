"""A sender's manifest is believed, and the file has to agree with it."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest import Contract
from ingest.manifest import described_file, is_manifest, read_manifest
from tests.ingest.golden import (
    COUNT_NAME,
    EVENT_NAME,
    PUPIL_NAME,
    count_row,
    counts,
    event,
    pupil,
    pupils,
    write_csv,
    write_xlsx,
)
from tests.ingest.sources.test_arrival import asking
from tests.ingest.sources.test_arrival import load as load_pupils
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
FOLDER = "E04_学籍"
NAME = f"{FOLDER}/{PUPIL_NAME}"


def say(root: Path, content: Any, name: str = f"{FOLDER}/manifest.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def load_counts(root: Path, contracts: Contracts, config: WarehouseConfig) -> Any:
    from ingest import Intake, load_feed

    with Intake(root, contracts, config, environ={}) as intake:
        return load_feed("enrollment_count", intake, contracts, config)


def test_a_manifest_that_agrees(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    rows = [*pupils(3), pupil(3), pupil(4, 出生日期="")]  # one twice, one for quarantine: all five were sent
    path = write_csv(root / FOLDER, rows)
    say(
        root,
        {
            "file": PUPIL_NAME,
            "rows": 5,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest().upper(),
            "mode": "full",
            "totals": {"入学年月": 201409 * 5},
        },
    )
    report = load_pupils(root, contracts, config)
    assert [(file.status, file.rows_in, file.rows_landed) for file in report.files] == [("landed", 5, 3)]
    assert (report.waiting, report.not_arrived) == ((), ())
    # a month of enrollment is landed as a date: nothing to add up there
    assert control_totals(config) == [
        ("*", 5, 3, ["2016/17|640422"]),
        ("enrolled_on", 1007045, None, ["2016/17|640422"]),
    ]


def control_totals(config: WarehouseConfig) -> list[tuple[Any, ...]]:
    with connect("auditor", config) as conn:
        return conn.execute(
            "select column_name, declared::bigint, passed::bigint, scope_keys"
            " from ledger.control_total order by load_id, column_name"
        ).fetchall()


@pytest.mark.parametrize(
    ("said", "rule", "message"),
    [
        ({"rows": 4}, "manifest.rows", "says 4 rows, the file has 3"),
        ({"totals": {"入学年月": 201409 * 3 - 1}}, "manifest.total", "says 604226, the file has 604227, difference +1"),
        ({"totals": {"enrolled_on": 201409 * 3 + 2}}, "manifest.total", "difference -2"),
        ({"totals": {"身高": 3}}, "manifest.column", "身高"),
        ({"sha256": "0" * 64}, "manifest.hash", "0000000000000000…, the file has"),
        ({"mode": "events"}, "manifest.mode", "says events, the contract expects full"),
        ({"mode": "增量"}, "manifest.mode", "says events, the contract expects full"),
        ({"rows": "many"}, "manifest.unreadable", "a row count is not a whole number"),
        ({"mode": "some"}, "manifest.unreadable", "the mode is none of full, period, events"),
    ],
)
def test_a_manifest_that_disagrees(
    said: dict[str, Any], rule: str, message: str, root: Path, contracts: Contracts, config: WarehouseConfig
) -> None:
    write_csv(root / FOLDER, pupils(3))
    path = say(root, {"file": PUPIL_NAME, **said})
    report = load_pupils(root, contracts, config)
    assert [item.rule for item in report.rejections] == [rule]
    assert message in report.rejections[0].message_en
    assert report.total("rows_landed") == 0
    again = load_pupils(root, contracts, config)
    assert again.files[0].is_repeated
    # the manifest was wrong, not the file: putting it right is enough
    path.unlink()
    assert load_pupils(root, contracts, config).total("rows_landed") == 3


def test_full_sent_where_events_are_expected(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    from ingest import Intake, load_feed

    write_csv(root / "E05_学籍异动", [event(1)], EVENT_NAME)
    say(root, {"file": EVENT_NAME, "mode": "full"}, "E05_学籍异动/manifest.json")
    with Intake(root, contracts, config, environ={}) as intake:
        report = load_feed("student_event", intake, contracts, config)
    assert [item.rule for item in report.rejections] == ["manifest.mode"]
    say(root, {"file": EVENT_NAME, "mode": "period"}, "E05_学籍异动/manifest.json")
    with Intake(root, contracts, config, environ={}) as intake:
        assert load_feed("student_event", intake, contracts, config).total("rows_landed") == 1


def test_totals_leave_out_what_is_no_data(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    rows = [*counts(), count_row(school="bad", grade="一年级", 在校生数=7)]
    write_xlsx(root / "E03", rows)  # with title, unit, a row of totals and a footer
    total = sum(row["在校生数"] for row in rows)
    said = f'文件名,行数,合计:在校生数,方式\n{COUNT_NAME},{len(rows)},"{total:,}",全量\n'
    say(root, said, "E03/报送清单.csv")
    report = load_counts(root, contracts, config)
    assert [(file.status, file.rows_in) for file in report.files] == [("landed", len(rows))]
    # kept beside what passed: the row in quarantine is announced and not in force
    scopes = ["2016/17|640422"]
    assert control_totals(config) == [
        ("*", len(rows), len(rows) - 1, scopes),
        ("enrollment_count", total, total - 7, scopes),
    ]


def test_an_announced_file_that_is_not_there(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    other = PUPIL_NAME.replace("640422_西吉县", "640424_泾源县")
    write_csv(root / FOLDER, pupils(3))
    say(root, {"files": [{"file": PUPIL_NAME}, {"file": other}, {"file": COUNT_NAME}]})
    report = load_pupils(root, contracts, config)
    assert report.not_arrived == (f"{FOLDER}/{other}",)
    assert report.to_json()["not_arrived"] == [f"{FOLDER}/{other}"]
    # what was loaded may be put away
    (root / NAME).unlink()
    assert load_pupils(root, contracts, config).not_arrived == (f"{FOLDER}/{other}",)


def test_a_demanded_manifest(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    write_csv(root / FOLDER, pupils(3))
    asked = asking(contracts, manifest={"required": True})
    report = load_pupils(root, asked, config)
    assert [item.rule for item in report.rejections] == ["manifest.missing"]
    patient = asking(contracts, manifest={"required": True}, arrival={"maxLooks": 3})
    assert load_pupils(root, patient, config).waiting[0].reason_en == "its manifest is missing"
    assert [item.rule for item in load_pupils(root, patient, config).rejections] == ["manifest.missing"]
    say(root, {"rows": 3}, f"{NAME}.manifest.json")
    assert load_pupils(root, patient, config).total("rows_landed") == 3


def test_no_rows_where_none_are_announced(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    path = write_csv(root / FOLDER, pupils(1))
    path.write_bytes(path.read_bytes().split(b"\r\n" if b"\r\n" in path.read_bytes() else b"\n")[0] + b"\n")
    assert [item.rule for item in load_pupils(root, contracts, config).rejections] == ["file.header_only"]
    say(root, {"file": PUPIL_NAME, "rows": 0})
    report = load_pupils(root, contracts, config)
    assert [(file.status, file.rows_in) for file in report.files] == [("unchanged", 0)]


def test_manifests_in_and_for_archives(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    plain = write_csv(root / "plain", pupils(3)).read_bytes()
    (root / "plain" / PUPIL_NAME).unlink()
    other = PUPIL_NAME.replace("20161020", "20161120")
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.writestr(PUPIL_NAME, plain)
        archive.writestr("manifest.json", json.dumps({"file": PUPIL_NAME, "rows": 4}))
    second = plain + plain.split(b"\n")[1].replace("马小".encode("gb18030"), "马大".encode("gb18030")) + b"\n"
    (root / f"{other}.gz").write_bytes(gzip.compress(second))
    say(root, {"file": other, "rows": 5, "sha256": hashlib.sha256(second).hexdigest()}, "manifest.json")
    report = load_pupils(root, contracts, config)
    assert {item.file: item.message_en.partition("says")[2] for item in report.rejections} == {
        f"a.zip!{PUPIL_NAME}": " 4 rows, the file has 3",
        f"{other}.gz!{other}": " 5 rows, the file has 4",
    }


def test_a_folders_broken_manifest_holds_its_files_back(
    root: Path, contracts: Contracts, config: WarehouseConfig
) -> None:
    write_csv(root / FOLDER, pupils(3))
    write_csv(root / "elsewhere", pupils(4), PUPIL_NAME.replace("20161020", "20161120"))
    say(root, "{")
    report = load_pupils(root, contracts, config)
    assert [file.status for file in report.files] == ["rejected", "landed"]
    assert "it is not JSON" in report.rejections[0].message_en


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "it lists no file"),
        ("[1]", "an entry is not an object"),
        ('{"rows": 1}', "an entry names no file"),
        ('{"file": "../x.csv"}', "outside its folder"),
        ('{"file": "x", "rows": 1.5}', "not a whole number"),
        ('{"file": "x", "rows": true}', "not a whole number"),
        ('{"file": "x", "totals": [1]}', "not given by column"),
        ('{"file": "x", "totals": {"a": "NaN"}}', "not a number"),
        ('{"file": "x", "sha256": "abc"}', "not 64 hex digits"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_manifest(text: str, why: str) -> None:
    (entry,) = read_manifest(text.encode(), "manifest.json")
    assert entry.broken is not None
    assert why in entry.broken


def test_forms_of_a_manifest() -> None:
    listed = read_manifest(b'[{"file":"a.csv","rows":3,"totals":{"x":0.1}},{"file":"b.csv"}]', "manifest.json")
    assert [(entry.file, entry.rows) for entry in listed] == [("a.csv", 3), ("b.csv", None)]
    assert listed[0].totals == {"x": Decimal("0.1")}
    table = "文件名,记录数,报送方式,total:金额\na.csv,３,全量,1.50\n,,,\n".encode("gb18030")
    (entry,) = read_manifest(table, "报送清单.csv")
    assert (entry.file, entry.rows, entry.mode, entry.totals) == ("a.csv", 3, "full", {"金额": Decimal("1.50")})
    assert described_file("x/a.csv.manifest.json") == "x/a.csv"
    assert [is_manifest(name) for name in ("a/manifest.CSV", "报送清单.json", "a.csv.manifest.csv", "a.csv")] == [
        True, True, True, False,
    ]  # fmt: skip
