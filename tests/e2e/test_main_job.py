"""The main job on a messy sample: every figure equals the truth, and a second run changes nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import Installation, installed, public_folder
from warehouse.config import PROJECT_ROOT

KEY = ("indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis")


def truth_of(extracts: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    with (extracts / ".truth" / "indicator_values.csv").open(encoding="utf-8") as handle:
        return {
            tuple(row[name] for name in KEY): (row["numerator"], row["denominator"]) for row in csv.DictReader(handle)
        }


def not_measurable() -> set[tuple[str, str]]:
    """Indicators of the registry that no feed of the warehouse can measure: their cells are there, without figures."""
    with (PROJECT_ROOT / "dbt_project" / "seeds" / "indicators.csv").open(encoding="utf-8") as handle:
        return {(r["indicator_code"], r["variant"]) for r in csv.DictReader(handle) if r["missing_feeds"]}


def test_every_indicator_value_equals_the_truth(evaluated: Installation) -> None:
    rows = evaluated.query(
        "select indicator_code, variant, area_code, evaluation_year, subgroup, basis, numerator, denominator, value"
        " from indicators.fct_indicator_value",
        role="transform",
    )
    ours = {tuple(row[name] for name in KEY): (row["numerator"], row["denominator"]) for row in rows}
    truth = truth_of(evaluated.extracts)
    without = {key: figures for key, figures in ours.items() if key[:2] in not_measurable()}
    assert {key[:2] for key in without} == not_measurable()
    assert set(without.values()) == {("", "")}
    assert set(ours) - set(without) == set(truth)
    wrong = {key: (ours[key], expected) for key, expected in truth.items() if ours[key] != expected}
    print(f"compared {len(truth)} indicator values with the truth")
    assert wrong == {}
    assert len(truth) > 1000


def test_published_values_are_those_figures_or_withheld(evaluated: Installation) -> None:
    truth = truth_of(evaluated.extracts)
    rows = evaluated.query(
        "select indicator_code, variant, area_code, evaluation_year, subgroup, basis, unit, numerator, denominator,"
        " value, conf_status, verdict, rounding_base from marts.county_evaluation"
    )
    free = 0
    for row in rows:
        key = tuple(row[name] for name in KEY)
        numerator, denominator = ("", "") if key[:2] in not_measurable() else truth[key]
        if row["conf_status"] != "F":
            assert (row["numerator"], row["value"], row["verdict"]) == ("", "", "suppressed")
            continue
        free += 1
        if row["rounding_base"]:
            for name, true in (("numerator", numerator), ("denominator", denominator)):
                # nought is shown for nought only, and only nought for nought
                assert row[name] == true == "" or int(row[name]) % int(row["rounding_base"]) == 0
                assert (row[name] == "0") == (true == "0")
            numerator, denominator = row["numerator"], row["denominator"]
        assert row["numerator"] == numerator
        if denominator and int(denominator):
            factor = 100 if row["unit"] in ("percent", "percentage_points") else 1
            expected = factor * Decimal(numerator) / Decimal(denominator)
            assert abs(Decimal(row["value"]) - expected) <= Decimal("0.00005")
    print(f"compared {free} published values")
    assert free > 1000


def test_no_attacker_narrows_what_the_sample_withholds(evaluated: Installation) -> None:
    for subject in (("--year", "2020"), ("--release", "2019.1.0"), ("--release", "2020.1.0")):
        audited = evaluated.edupa("disclosure", "audit", *subject)
        assert audited.returncode == 0, audited.stderr + audited.stdout
        # lines are wrapped to the width of the terminal
        assert ", 0 findings" in " ".join(audited.stdout.split())
    attacked = evaluated.edupa("disclosure", "attack", "--year", "2020")
    assert attacked.returncode == 0, attacked.stderr
    print(attacked.stdout)
    found = {
        name: (int(recovered), int(counts), int(narrowed))
        for name, recovered, counts, narrowed in re.findall(
            r"^(.+): (\d+) of (\d+) recovered, (\d+) narrowed", attacked.stdout, re.MULTILINE
        )
    }
    assert set(found) == {"naive, primary only", "naive, table by table", "ours"}
    recovered, counts, narrowed = found["ours"]
    assert (recovered, narrowed) == (0, 0)
    assert counts > 100
    assert found["naive, primary only"][0] > 0
    assert found["naive, table by table"][0] > 0
    policies = evaluated.query("select policy_sha256, policy from ledger.release order by release_id", role="auditor")
    assert len({row["policy_sha256"] for row in policies}) == 1
    assert json.loads(policies[0]["policy"])["disclosure_policy"][1]["min_cell_count"] == "10"


def test_the_pointer_shows_2020_and_2019_stays_pinned(evaluated: Installation) -> None:
    assert set(evaluated.hashes()) == {"2019.1.0", "2020.1.0"}
    years = evaluated.query("select max(evaluation_year) as latest from marts.county_evaluation")
    assert years == [{"latest": "2020"}]
    pinned = evaluated.query("select max(evaluation_year) as latest from release_2019_1_0.county_evaluation")
    assert pinned == [{"latest": "2019"}]


def test_no_row_is_lost_or_doubled(evaluated: Installation) -> None:
    (sums,) = evaluated.query(
        "select sum(rows_in) as rows_in, sum(rows_landed + rows_unchanged + rows_quarantined + rows_exact_duplicate)"
        " as accounted, sum(rows_quarantined) as quarantined from ledger.load",
        role="auditor",
    )
    assert sums["rows_in"] == sums["accounted"]
    assert int(sums["quarantined"]) > 0


def test_every_planted_defect_is_caught_by_its_rule_and_no_clean_row_is(evaluated: Installation) -> None:
    with (evaluated.extracts / ".truth" / "defects.csv").open(encoding="utf-8") as handle:
        planted = list(csv.DictReader(handle))
    expected = {(row["file"], row["line"], row["rule"]) for row in planted if row["outcome"] == "quarantined"}
    found = {
        (row["file_name"], row["line_number"], row["rule"])
        for row in evaluated.query("select file_name, line_number, rule from quarantine.rejected_row", role="auditor")
    }
    assert {key[:2] for key in found} == {key[:2] for key in expected}
    assert expected <= found
    kinds = Counter(row["defect_id"] for row in planted)
    print(
        f"{len(planted)} planted defects of {len(kinds)} kinds, {len(expected)} quarantined, recall and precision 1.0"
    )
    assert len(kinds) >= 20


def test_a_second_run_lands_no_row_and_makes_no_release(evaluated: Installation) -> None:
    state = (
        "select (select count(*) from ledger.load) as loads, (select coalesce(sum(rows_landed), 0) from ledger.load)"
        " as landed, (select count(*) from ledger.release) as releases,"
        " (select count(*) from ledger.pointer_move) as moves"
    )
    before, hashes = evaluated.query(state, role="auditor"), evaluated.hashes()
    done = evaluated.edupa("run", "--plain")
    assert done.returncode == 0, done.stderr[-4000:]
    assert evaluated.query(state, role="auditor") == before
    assert evaluated.hashes() == hashes
    assert done.stderr.count("unchanged: the content is that of the published release") == 2


def test_published_hashes_verify(evaluated: Installation) -> None:
    done = evaluated.edupa("release", "verify")
    assert done.returncode == 0
    assert "every hash is the one recorded" in done.stdout


@pytest.mark.parametrize(
    "query",
    [
        "select * from vault.person_identity",
        "select * from landing.pupil",
        "select * from quarantine.rejected_row",
        "select * from ledger.load",
        "select * from core.dim_person",
        "select * from indicators.fct_indicator_value",
        "select * from indicators.int_student_aid_cell",
        "select * from disclosure.rounded",
        "select * from releases.county_evaluation",
        "select * from releases.student_aid_county",
        "insert into marts.county_evaluation (release_id) values ('x')",
        "update marts.county_evaluation set value = 1",
        "delete from marts.county_evaluation",
        "truncate releases.county_evaluation",
        "update releases.pointer set release_id = '2019.1.0'",
        "create table marts.mine (a int)",
        "create table public.mine (a int)",
    ],
)
def test_the_evaluator_reads_published_figures_and_nothing_else(evaluated: Installation, query: str) -> None:
    (count,) = evaluated.query("select count(*) from marts.county_evaluation")
    assert int(count["count"]) > 1000
    refused = evaluated.edupa("sql", "--role", "evaluator", query)
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr


def test_the_evaluator_reads_no_small_count_and_nobody_in_student_aid(evaluated: Installation) -> None:
    rows = evaluated.query("select * from marts.student_aid_county")
    assert len(rows) > 100
    counts = ("expected_count", "covered_count", "missing_count", "not_expected_count")
    shown = [int(row[name]) for row in rows for name in counts if row[name]]
    assert all(count % 5 == 0 for count in shown)
    assert {0, 5} <= set(shown)
    of_few = [row for row in rows if row["expected_count"] and int(row["expected_count"]) < 10]
    assert of_few
    assert {row["due_at_standard_yuan"] for row in of_few} | {row["covered_at_standard_yuan"] for row in of_few} == {""}
    # places, names of entitlements, and figures: nobody is named, and no token (64 hexadecimal digits) stands anywhere
    assert not {name for name in rows[0] if re.search("person|pupil|student|token|birth|number", name)}
    assert not [value for row in rows for value in row.values() if re.search("[0-9a-f]{32}|[0-9]{15}", value)]


@pytest.fixture(scope="module")
def troubled(sample: Path) -> Iterator[Installation]:
    """An installation whose extracts lack one county's pupils of 2020; those files stand beside the folder."""
    extracts = public_folder() / "extracts"
    shutil.copytree(sample, extracts)
    # the first delivery is planted broken and a corrected one follows: both are held back
    missing = list(extracts.rglob("学籍_640424_*_2020_*"))
    assert missing
    for path in missing:
        held = extracts.parent / "held" / path.relative_to(extracts)
        held.parent.mkdir(parents=True, exist_ok=True)
        path.rename(held)
    with installed(extracts) as installation:
        yield installation
    shutil.rmtree(extracts.parent)


def test_a_missing_county_blocks(troubled: Installation) -> None:
    blocked = troubled.edupa("run", "--plain")
    assert blocked.returncode == 1
    assert "arrival gate blocks evaluation year 2020" in blocked.stderr
    assert "泾源县" in blocked.stderr
    (page,) = troubled.home.glob("runs/nightly-*/gate_arrival.html")
    text = page.read_text(encoding="utf-8")
    assert "泾源县" in text
    assert "640424" in text
    told = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert "640424" in json.dumps(told, ensure_ascii=False)
    assert troubled.hashes() == {}
    said = troubled.edupa("status").stdout
    assert "640424" in said
    assert "nothing yet" in said


def test_unblocked_by_its_files_and_killed_at_five_points_it_ends_with_the_same_hashes(
    troubled: Installation, evaluated: Installation
) -> None:
    shutil.copytree(troubled.extracts.parent / "held", troubled.extracts, dirs_exist_ok=True)
    # before and between the statements of a release the publisher is killed in tests/warehouse
    points = ("load.before_commit", "dbt.core", "gate.candidate", "release.freeze", "release.before_pointer")
    for point in points:
        killed = troubled.edupa("run", "--plain", failpoint=point)
        assert killed.returncode == -9, (point, killed.returncode, killed.stderr[-2000:])
    done = troubled.edupa("run", "--plain")
    assert done.returncode == 0, done.stderr[-4000:]
    assert troubled.hashes() == evaluated.hashes()
    (sums,) = troubled.query("select sum(rows_landed) as landed from ledger.load", role="auditor")
    (undisturbed,) = evaluated.query("select sum(rows_landed) as landed from ledger.load", role="auditor")
    assert sums == undisturbed
    assert troubled.edupa("release", "verify").returncode == 0
    print(f"blocked once, killed at {len(points)} points, hashes equal")
