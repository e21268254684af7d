"""The suites as data: complete, unique, in both languages, and nothing of them in the code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from expectations.gate import facts
from expectations.runner import rows_at_fault
from expectations.suite import CONTRACTS, SUITES, Expectation, Suite, SuiteError, contract_facts, fill, load_suites

YEAR = 2020
BOUNDARIES = ("arrival", "candidate")


def all_suites() -> list[Suite]:
    return [
        suite
        for boundary in BOUNDARIES
        for suite in load_suites(boundary, facts(YEAR, "candidate_tried"))[1]  # type: ignore[arg-type]
    ]


def all_expectations() -> list[Expectation]:
    return [expectation for suite in all_suites() for expectation in suite.expectations]


@pytest.mark.parametrize("expectation", all_expectations(), ids=lambda e: e.id)
def test_every_field_is_filled_in_and_both_languages_say_something(expectation: Expectation) -> None:
    for text in (expectation.what, expectation.why, expectation.how_to_fix, expectation.owner):
        assert re.search(r"[\u4e00-\u9fff]", text.zh), text
        assert re.search(r"[a-z]{2}", text.en), text
        assert "{" not in text.zh + text.en
    assert len(expectation.what.zh) > 6
    assert expectation.severity in ("block", "warn")
    assert expectation.seeded_defect
    assert all(statement.strip() for statement in expectation.seeded_defect)
    # a failed rule can say where: by its own query, its condition, or its type
    rows_at_fault(expectation)


def test_ids_are_unique_over_both_boundaries_and_also_trips_names_real_ones() -> None:
    ids = [expectation.id for expectation in all_expectations()]
    assert len(ids) == len(set(ids))
    for expectation in all_expectations():
        assert set(expectation.also_trips) <= set(ids) - {expectation.id}, expectation.id


def test_what_guards_people_can_not_be_waived() -> None:
    waivable = {e.id for e in all_expectations() if e.waivable}
    assert waivable
    guard = re.compile(r"identity|personal|small_cells|hidden|phone|^control_totals\.")
    guards = {e.id for e in all_expectations() if guard.search(e.id)}
    assert len(guards) >= 10
    assert not waivable & guards


def test_every_feed_with_a_contract_and_every_published_table_has_a_suite() -> None:
    names = {boundary: {path.stem for path in (SUITES / boundary).glob("*.yaml")} for boundary in BOUNDARIES}
    contracts = {path.name.removesuffix(".odcs.yaml") for path in CONTRACTS.glob("*.odcs.yaml")}
    assert contracts
    assert contracts <= names["arrival"]
    marts = {path.stem for path in (CONTRACTS.parent.parent / "dbt_project" / "models" / "marts").glob("*.sql")}
    assert marts
    assert marts <= names["candidate"]


@pytest.mark.parametrize("suite", all_suites(), ids=lambda s: s.name)
def test_a_suite_declares_every_table_it_reads(suite: Suite) -> None:
    queries = [suite.query or "", *(str(e.arguments.get("unexpected_rows_query", "")) for e in suite.expectations)]
    read = set(
        re.findall(r"\b(?:landing|quarantine|ledger|reference|indicators|candidate_tried)\.\w+", " ".join(queries))
    )
    assert read
    assert read <= set(suite.tables)


def test_expected_periods_and_owner_come_from_the_contract() -> None:
    for path in CONTRACTS.glob("*.odcs.yaml"):
        feed = path.name.removesuffix(".odcs.yaml")
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        expected = next((p["value"] for p in raw["customProperties"] if p["property"] == "expected"), None)
        found = contract_facts(feed, 2018)
        # a feed that may be absent is looked at where it is there
        assert found.get("first_year") == (min(entry["firstPeriod"] for entry in expected) if expected else None)
        assert found["last_year"] <= max(2018, found.get("first_year", 0))
        assert f"{found['owner']['zh']} | {found['owner']['en']}" == raw["team"]["description"]


def test_no_feed_county_or_indicator_is_named_in_the_code() -> None:
    words = {suite.name for suite in all_suites()} - {"school", "files"}
    words |= {"G1a", "G1b", "G2b", "G14", "PLAN9"}
    pattern = re.compile(r"\b(" + "|".join(sorted(words)) + r"|64\d{4})\b")
    for path in SUITES.parent.glob("*.py"):
        found = pattern.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: {found}"


def test_a_placeholder_nobody_knows_is_refused_with_its_place() -> None:
    with pytest.raises(SuiteError, match=r"some\.yaml: unknown placeholder \{nowhere\}"):
        fill("select {nowhere}", {}, "some.yaml")


def test_placeholders_that_lead_back_to_themselves_are_refused() -> None:
    with pytest.raises(SuiteError, match="lead back"):
        fill("{a}", {"a": "{b}", "b": "{a} "}, "some.yaml")


def test_braces_that_are_no_placeholder_stay() -> None:
    assert fill(r"x ~ '\d{18}' {batch}", {}, "x") == r"x ~ '\d{18}' {batch}"


BROKEN = {
    "severity": ("severity: block", "severity: error", "severity is 'error'"),
    "language": ('{zh: "学前", en: "x"}', '{zh: "学前"}', "needs exactly zh and en"),
    "cut text": ('{zh: "学前", en: "x"}', "{zh: 学前, en: x, y}", "quote a text with a comma"),
    "waivable": ("severity: block", 'severity: block\n    waivable: "false"', "waivable is 'false', not true or false"),
    "template": ("type: ExpectColumnValuesToNotBeNull", "use: nowhere", "unknown template"),
    "foreign id": ("id: tried.one", "id: other.one", "must start with 'tried'"),
    "yaml": ("severity: block", "severity: [block", r"tried\.yaml:\d+: not readable"),
}

TRIED = """
title: {zh: 试, en: tried}
owner: {zh: 谁, en: who}
tables: [a.b]
batch: {table: a.b}
expectations:
  - id: tried.one
    type: ExpectColumnValuesToNotBeNull
    arguments: {column: c}
    severity: block
    what: {zh: "学前", en: "x"}
    why: {zh: "因", en: "y"}
    how_to_fix: {zh: "改", en: "z"}
    seeded_defect: select 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SUITES / "gate.yaml", tmp_path / "gate.yaml")
    (tmp_path / "arrival").mkdir()
    return tmp_path


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_suite_is_refused_and_the_message_says_where(folder: Path, case: str) -> None:
    old, new, message = BROKEN[case]
    assert old in TRIED
    (folder / "arrival" / "tried.yaml").write_text(TRIED.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SuiteError, match=message):
        load_suites("arrival", facts(YEAR, None), folder)


@pytest.mark.parametrize(("said", "expected"), [("", True), ("\n    waivable: false", False)])
def test_a_rule_may_be_waived_unless_its_suite_says_no(folder: Path, said: str, expected: bool) -> None:
    text = TRIED.replace("severity: block", f"severity: block{said}")
    (folder / "arrival" / "tried.yaml").write_text(text, encoding="utf-8")
    _, suites = load_suites("arrival", facts(YEAR, None), folder)
    assert [e.waivable for e in suites[0].expectations] == [expected]


@pytest.mark.parametrize("field", ["what", "why", "how_to_fix", "seeded_defect", "type", "arguments", "severity"])
def test_a_suite_without_a_field_is_refused(folder: Path, field: str) -> None:
    lines = [line for line in TRIED.splitlines() if not line.strip().startswith(f"{field}:")]
    (folder / "arrival" / "tried.yaml").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SuiteError, match=f"tried.one.*'{field}' is missing"):
        load_suites("arrival", facts(YEAR, None), folder)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("plan_counties: warn", "a plan county always blocks"),
        ("plan_counties: pass", "plan_counties is 'pass', not block or warn"),
        ("plan_county: block", "plan_counties is None, not block or warn"),
    ],
)
def test_a_policy_that_lets_a_plan_county_pass_is_refused(folder: Path, said: str, message: str) -> None:
    shared = folder / "gate.yaml"
    text = shared.read_text(encoding="utf-8")
    assert text.count("plan_counties: block") == 1
    shared.write_text(text.replace("plan_counties: block", said), encoding="utf-8")
    (folder / "arrival" / "tried.yaml").write_text(TRIED, encoding="utf-8")
    with pytest.raises(SuiteError, match=message):
        load_suites("arrival", facts(YEAR, None), folder)


def test_an_id_used_twice_is_refused(folder: Path) -> None:
    entry = TRIED[TRIED.index("  - id:") :]
    (folder / "arrival" / "tried.yaml").write_text(TRIED + entry, encoding="utf-8")
    with pytest.raises(SuiteError, match="used twice"):
        load_suites("arrival", facts(YEAR, None), folder)


def test_a_boundary_without_suites_is_refused(folder: Path) -> None:
    with pytest.raises(SuiteError, match="lets everything through"):
        load_suites("arrival", facts(YEAR, None), folder)


def test_a_candidate_schema_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="not a schema name"):
        facts(YEAR, "x; drop schema landing")
