"""Which files wait, how long, and what becomes of them then. On the extract root: no server is needed for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest import Contract, FeedReport, Intake, load_feed
from ingest.arrival import Candidate, Looks, Policy, judge, policy_of
from ingest.contract import ContractError
from tests.ingest.golden import PUPIL_NAME, csv_text, pupils, write_csv
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]
FOLDER = "E04_学籍"
NAME = f"{FOLDER}/{PUPIL_NAME}"


def asking(contracts: Contracts, **custom: Any) -> Contracts:
    """The contracts, that of pupils with settings of its own."""
    pupil = contracts["pupil"]
    return {**contracts, "pupil": replace(pupil, custom={**pupil.custom, **custom})}


def load(root: Path, contracts: Contracts, config: WarehouseConfig) -> FeedReport:
    with Intake(root, contracts, config, environ={}) as intake:
        return load_feed("pupil", intake, contracts, config)


def test_part_files_wait_and_are_rejected_after_the_limit(
    root: Path, contracts: Contracts, config: WarehouseConfig
) -> None:
    write_csv(root / FOLDER, pupils(3), PUPIL_NAME + ".part")
    write_csv(root / FOLDER, pupils(3), "某文件.csv.tmp")
    patient = asking(contracts, arrival={"maxLooks": 3})
    for look in (1, 2):
        report = load(root, patient, config)
        assert report.files == ()
        assert [(item.file, item.looks) for item in report.waiting] == [(NAME + ".part", look)]
        assert report.to_json()["waiting"][0]["reason_zh"] == "文件名表明尚未传完"
    report = load(root, patient, config)
    assert report.waiting == ()
    assert [(item.rule, item.file) for item in report.rejections] == [("file.incomplete", NAME + ".part")]
    assert "after 3 looks" in report.rejections[0].message_en
    assert load(root, patient, config).files[0].is_repeated
    with connect("ingest", config) as conn:
        assert conn.execute("select status, rejection->>'rule' from ledger.load").fetchall() == [
            ("rejected", "file.incomplete")
        ]
    # the sender finishes after all
    (root / (NAME + ".part")).rename(root / NAME)
    assert load(root, patient, config).total("rows_landed") == 3


def test_without_a_limit_they_wait_for_ever(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    write_csv(root / FOLDER, pupils(3), PUPIL_NAME + ".filepart")
    assert [load(root, contracts, config).waiting[0].looks for _ in range(4)] == [1, 2, 3, 4]


def test_a_demanded_done_file(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    write_csv(root / FOLDER, pupils(3))
    asked = asking(contracts, arrival={"done": True})
    assert load(root, asked, config).waiting[0].reason_en == "its .done file is missing"
    (root / (NAME + ".done")).touch()
    report = load(root, asked, config)
    assert (report.waiting, report.total("rows_landed")) == ((), 3)
    with Intake(root, asked, config, environ={}) as intake:
        assert intake.discover().unrecognized == ()


def test_a_fresh_file_is_looked_at_twice_within_one_run(
    root: Path, contracts: Contracts, config: WarehouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(root / FOLDER, pupils(3))
    asked = asking(contracts, arrival={"settleSeconds": 30, "maxLooks": 2})
    pauses = []

    def sender_goes_on(seconds: float) -> None:
        pauses.append(seconds)
        path.write_bytes(csv_text(pupils(3 + len(pauses))).encode())

    monkeypatch.setattr("ingest.arrival._pause", sender_goes_on)
    assert load(root, asked, config).waiting[0].reason_en == "it is still growing"
    assert [item.rule for item in load(root, asked, config).rejections] == ["file.incomplete"]
    monkeypatch.setattr("ingest.arrival._pause", pauses.append)
    assert load(root, asked, config).total("rows_landed") == 5
    assert pauses == [30, 30, 30]


def candidate(**changes: Any) -> Candidate:
    return replace(Candidate("a", "a", 10, 1000.0, 10.0, False, False), **changes)


def test_a_file_that_is_old_enough_is_not_waited_for() -> None:
    looks = Looks(None)
    offer = judge([candidate()], Policy(), looks, lambda _: None, clock=lambda: 1010.0, pause=pytest.fail)
    assert offer.ready == ("a",)
    assert looks.files == {}


def test_without_a_time_of_change_an_earlier_look_counts() -> None:
    seen = {"first": 900.0, "looks": 1, "size": 10, "modified": None, "seen": 900.0}
    same = candidate(modified=None)
    looks = Looks(None, {"a": dict(seen)})
    offer = judge([same], Policy(), looks, lambda _: None, clock=lambda: 1000.0, pause=pytest.fail)
    assert offer.ready == ("a",)
    grown = replace(same, size=11)
    looks = Looks(None, {"a": dict(seen)})
    offer = judge([grown], Policy(), looks, lambda _: (12, None), clock=lambda: 1000.0, pause=lambda _: None)
    assert offer.waiting[0].looks == 2


def test_a_limit_of_hours() -> None:
    seen = {"a": {"first": 0.0, "looks": 7}}
    part = candidate(is_partial=True)
    for hours, count in ((1.9, 0), (2.0, 1)):
        offer = judge([part], Policy(max_hours=2), Looks(None, dict(seen)), lambda _: None, clock=lambda: hours * 3600)  # noqa: B023
        assert len(offer.overdue) == count
        assert len(offer.waiting) == 1 - count


def test_a_pause_that_would_be_too_long_is_not_taken() -> None:
    offer = judge(
        [candidate(settle=600.0)], Policy(), Looks(None), lambda _: None, clock=lambda: 1010.0, pause=pytest.fail
    )
    assert offer.waiting[0].reason_en == "it is still growing"


def test_a_broken_memory_of_looks_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "arrivals").mkdir()
    (tmp_path / "arrivals" / "pupil.json").write_text("{", encoding="utf-8")
    looks = Looks.read(tmp_path, "pupil")
    assert looks.files == {}
    looks.files["a"] = {"looks": 1}
    looks.write()
    assert Looks.read(tmp_path, "pupil").files == {"a": {"looks": 1}}


def test_a_contract_that_misspells_its_rules(contracts: Contracts) -> None:
    for custom in ({"arrival": {"maxLook": 3}}, {"manifest": {"needed": True}}):
        with pytest.raises(ContractError, match="unknown word"):
            policy_of(asking(contracts, **custom)["pupil"])
