"""The sample province with its defects: every damage is caught by the rule the manifest names, and nothing else is.

What: recall and precision of the checks. Why: a rule that fires on clean rows is switched off by its users, one that
misses is worse. How to fix: the failing assertion prints manifest lines (invented people) or quarantined places.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest import Contract
from simulator import simulate
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Contracts = dict[str, Contract]


@dataclass(frozen=True)
class Sample:
    """A loaded sample: the manifest, and what the warehouse says."""

    root: Path
    manifest: list[dict[str, str]]
    quarantine: set[tuple[str, int, str, str]]
    loads: dict[str, dict[str, Any]]
    same_content: set[str]
    before: tuple[int, int]


@pytest.fixture(scope="module")
def sample(own_server: WarehouseConfig, contracts: Contracts, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Simulate 0.5 percent of the province with defects and load every feed."""
    root = tmp_path_factory.mktemp("sample") / "extracts"
    simulate(root, scale=0.005, years=(2015, 2020), seed=20160615, defects=True)
    ingest.ensure_token_key(own_server)
    for feed in contracts:
        ingest.load_feed(feed, root, contracts, own_server)
    with (root / ".truth" / "defects.csv").open(encoding="utf-8", newline="") as handle:
        manifest = list(csv.DictReader(handle))
    with connect("ingest", own_server) as conn:
        quarantine = {
            (str(name), int(str(line)), str(column), str(rule))
            for name, line, column, rule in conn.execute(
                "select file_name, line_number, column_name, rule from quarantine.rejected_row"
            ).fetchall()
        }
        columns = "status, rejection, normalizations, rows_exact_duplicate, rows_skipped, rows_quarantined"
        loads = {
            str(name): dict(zip(columns.split(", "), rest, strict=True))
            for name, *rest in conn.execute(f"select file_name, {columns} from ledger.load").fetchall()
        }
        same = {
            str(name)
            for (name,) in conn.execute("select file_name from ledger.seen where outcome = 'same_content'").fetchall()
        }
    return Sample(root, manifest, quarantine, loads, same, _state(own_server))


def _state(config: WarehouseConfig) -> tuple[int, int]:
    with connect("ingest", config) as conn:
        row = conn.execute("select (select count(*) from ledger.load), (select count(*) from landing.pupil)").fetchone()
    assert row is not None
    return int(str(row[0])), int(str(row[1]))


def _is_caught(defect: dict[str, str], sample: Sample) -> bool:
    name, line, column, rule = defect["file"], int(defect["line"]), defect["column"], defect["rule"]
    load = sample.loads.get(name)
    match defect["outcome"]:
        case "quarantined":
            return any((place, row, broken) == (name, line, rule) for place, row, _, broken in sample.quarantine)
        case "normalized" if rule == "row.total":
            return load is not None and load["rows_skipped"] >= 1
        case "normalized":
            return load is not None and load["normalizations"].get(f"{column}.{rule}", 0) >= 1
        case "exact_duplicate":
            return load is not None and load["rows_exact_duplicate"] >= 1
        case "file_rejected":
            reason = load["rejection"] if load else None
            return reason is not None and (reason["rule"], reason["line"], reason["column"]) == (rule, line, column)
        case "same_content":
            return name in sample.same_content
    raise AssertionError(f"unknown outcome {defect['outcome']!r}")


def test_recall_is_one(sample: Sample) -> None:
    kinds = Counter(defect["defect_id"] for defect in sample.manifest)
    assert len(kinds) >= 20
    missed = [defect for defect in sample.manifest if not _is_caught(defect, sample)]
    assert missed == []


def test_precision_is_one(sample: Sample) -> None:
    meant = {(defect["file"], int(defect["line"])) for defect in sample.manifest if defect["outcome"] == "quarantined"}
    assert {(name, line) for name, line, _, _ in sample.quarantine} == meant
    assert sum(load["rows_quarantined"] for load in sample.loads.values()) == len(meant)
    rejected = {name for name, load in sample.loads.items() if load["status"] == "rejected"}
    assert rejected == {defect["file"] for defect in sample.manifest if defect["outcome"] == "file_rejected"}
    exact = sum(load["rows_exact_duplicate"] for load in sample.loads.values())
    assert exact == sum(defect["outcome"] == "exact_duplicate" for defect in sample.manifest)


def test_the_next_night_changes_nothing(sample: Sample, own_server: WarehouseConfig, contracts: Contracts) -> None:
    for feed in contracts:
        report = ingest.load_feed(feed, sample.root, contracts, own_server)
        assert all(file.is_repeated for file in report.files)
    assert _state(own_server) == sample.before


def test_tokens_join_the_register_to_the_poverty_list(sample: Sample, own_server: WarehouseConfig) -> None:
    with connect("ingest", own_server) as conn:
        joined = conn.execute(
            "select count(distinct person_token) from landing.poor_person join landing.pupil using (person_token)"
        ).fetchone()
        crossed = conn.execute(
            "select count(*) from landing.poor_person p join landing.pupil q using (person_token)"
            " where 'surrogate' in (p.token_basis, q.token_basis)"
        ).fetchone()
    assert joined is not None
    assert int(str(joined[0])) > 100
    assert crossed == (0,)
    assert sample.before[1] > 10_000
