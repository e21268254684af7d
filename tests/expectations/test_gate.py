"""Asking a gate: what it stores, what it shows, and that anything unusual keeps it shut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml

from expectations.extra import ExtraRule
from expectations.gate import run_gate
from expectations.report import Place
from expectations.suite import SUITES, Text
from tests.expectations.conftest import CANDIDATE, YEAR, Province
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect

COUNTY, NAME = "640422", "西吉县"


def rows(config: WarehouseConfig, query: str) -> list[tuple[object, ...]]:
    with connect("auditor", config) as conn:
        return conn.execute(query.encode()).fetchall()


def rows_as_admin(config: WarehouseConfig, query: str) -> list[tuple[object, ...]]:
    with connect("admin", config) as conn:
        return conn.execute(query.encode()).fetchall()


def run_and_undo(config: WarehouseConfig, damage: str, repair: str, out_dir: Path):  # type: ignore[no-untyped-def]
    with connect("admin", config, autocommit=True) as admin:
        admin.execute(damage.encode())
        try:
            return run_gate("arrival", config=config, run_id="tried", evaluation_year=YEAR, out_dir=out_dir)
        finally:
            admin.execute(repair.encode())


def test_both_gates_pass_on_the_sample_and_the_ledger_holds_every_rule(province: Province, tmp_path: Path) -> None:
    arrival = run_gate("arrival", config=province.config, run_id="a", evaluation_year=YEAR, out_dir=tmp_path)
    candidate = run_gate(
        "candidate",
        config=province.config,
        run_id="c",
        evaluation_year=YEAR,
        candidate_schema=CANDIDATE,
        out_dir=tmp_path,
        subject_hash="f" * 64,
    )
    assert (arrival.decision, candidate.decision) == ("pass", "pass")
    assert arrival.seconds < 15
    assert candidate.seconds < 15
    stored = rows(
        province.config,
        "select g.boundary, g.decision, g.subject, g.subject_hash, g.page, count(*), count(*) filter (where success)"
        f" from ledger.gate_run g join ledger.gate_result using (gate_run_id) where gate_run_id in"
        f" ({arrival.gate_run_id}, {candidate.gate_run_id}) group by gate_run_id order by gate_run_id",
    )
    assert [row[:3] for row in stored] == [("arrival", "pass", "landing"), ("candidate", "pass", CANDIDATE)]
    assert stored[1][3] == "f" * 64
    assert str(stored[0][3]) == arrival.subject_hash
    assert [row[4] for row in stored] == ["gate_arrival.html", "gate_candidate.html"]
    assert all(row[5] == row[6] for row in stored)
    assert candidate.summary() == "every rule held"
    verdicts = rows(
        province.config,
        "select suite, count(distinct county_code), count(distinct period), count(*), min(verdict), max(verdict)"
        f" from ledger.gate_verdict where gate_run_id = {arrival.gate_run_id} group by suite",
    )
    by_suite = {row[0]: row[1:] for row in verdicts}
    assert by_suite["pupil"] == (22, 6, 132, "pass", "pass")
    assert by_suite["admin_area"] == (1, 1, 1, "pass", "pass")
    told = json.loads(arrival.page.with_suffix(".json").read_text(encoding="utf-8"))
    pupil = next(row for row in told["matrix"] if row["suite"] == "pupil")
    assert [(p["plan_fit"], p["plan_counties"], p["fit"], p["counties"]) for p in pupil["periods"]] == [
        (9, 9, 22, 22)
    ] * 6
    assert told["suite_seconds"].keys() == by_suite.keys()


def test_an_earlier_year_is_judged_without_the_later_ones(province: Province, tmp_path: Path) -> None:
    damage = "update landing.pupil set ended_load_id = 999999 where school_year = '2020/21' and county_code = '640424'"
    damage += " and ended_load_id is null"
    repair = "update landing.pupil set ended_load_id = null where ended_load_id = 999999"
    with connect("admin", province.config, autocommit=True) as admin:
        admin.execute(damage.encode())
        try:
            made = [
                run_gate("arrival", config=province.config, run_id="y", evaluation_year=year, out_dir=tmp_path).decision
                for year in (2019, 2020)
            ]
        finally:
            admin.execute(repair.encode())
    assert made == ["pass", "block"]


def test_a_missing_county_is_named_on_page_json_ledger_and_command_line(province: Province, tmp_path: Path) -> None:
    report = run_and_undo(
        province.config,
        f"update landing.pupil set ended_load_id = 999999 where school_year = '2018/19' and county_code = '{COUNTY}'"
        " and ended_load_id is null",
        "update landing.pupil set ended_load_id = null where ended_load_id = 999999",
        tmp_path,
    )
    assert report.decision == "block"
    assert [f.expectation_id for f in report.findings] == ["pupil.county_delivered"]
    page = report.page.read_text(encoding="utf-8")
    for said in (COUNTY, NAME, "学籍", "2018/19", "教育厅发展规划处", "不予放行", "缺报"):
        assert said in page, said
    assert "http://" not in page
    assert "https://" not in page
    told = json.loads(report.page.with_suffix(".json").read_text(encoding="utf-8"))
    place = told["findings"][0]["places"][0]
    assert (place["county_code"], place["county_name"], place["period"]) == (COUNTY, NAME, "2018/19")
    assert told["counties"][0]["county_name"] == NAME
    stored = rows(
        province.config,
        "select expectation_id, severity, county_code, period from ledger.gate_result"
        f" where gate_run_id = {report.gate_run_id} and not success",
    )
    assert stored == [("pupil.county_delivered", "block", COUNTY, "2018/19")]
    verdicts = rows(
        province.config,
        "select suite, county_code, period, verdict, failed from ledger.gate_verdict"
        f" where gate_run_id = {report.gate_run_id} and verdict <> 'pass'",
    )
    assert verdicts == [("pupil", COUNTY, "2018/19", "block", ["pupil.county_delivered"])]
    assert "8/9 · 21/22" in page
    assert NAME in report.reasons()[0]
    assert COUNTY in report.reasons()[0]
    assert report.summary() == "1 blocking, 0 warnings"


def test_a_table_that_is_not_there_blocks_and_is_named(province: Province, tmp_path: Path) -> None:
    report = run_and_undo(
        province.config,
        "alter table landing.disabled_child rename to elsewhere",
        "alter table landing.elsewhere rename to disabled_child",
        tmp_path,
    )
    assert report.decision == "block"
    # the senders' totals of every feed are compared in one suite
    assert {f.suite for f in report.findings} == {"disabled_child", "control_totals"}
    assert {f.severity for f in report.findings} == {"block"}
    assert {f.error for f in report.findings} == {"table landing.disabled_child does not exist"}


def test_a_table_the_gatekeeper_may_not_read_blocks(province: Province, tmp_path: Path) -> None:
    report = run_and_undo(
        province.config,
        "revoke select on landing.school from edupa_gatekeeper",
        "grant select on landing.school to edupa_gatekeeper",
        tmp_path,
    )
    assert report.decision == "block"
    # the pupil register is judged against the list of schools
    assert {f.suite for f in report.findings} == {"pupil", "school", "control_totals"}


def outside(**changes: object) -> ExtraRule:
    said = Text("披露审计", "disclosure audit")
    rule = ExtraRule("audit.cells", title=said, owner=said, what=said, why=said, how_to_fix=said, success=True)
    return replace(rule, **changes)  # type: ignore[arg-type]


def test_a_rule_evaluated_elsewhere_is_decided_stored_and_shown_like_any_other(
    province: Province, tmp_path: Path
) -> None:
    place = Place(COUNTY, "", "2018", 4, "4 cells")
    asked = {"config": province.config, "run_id": "x", "evaluation_year": YEAR, "out_dir": tmp_path}
    suites = suites_with(tmp_path, "select * from (select 1 as one) as nothing where one = 2")
    held = run_gate("arrival", **asked, extra=[outside()], suites_folder=suites)  # type: ignore[arg-type]
    assert (held.decision, held.findings) == ("pass", ())
    assert "披露审计" in held.page.read_text(encoding="utf-8")
    failed = run_gate(
        "arrival",
        **asked,  # type: ignore[arg-type]
        extra=[outside(success=False, places=(place,)), outside(expectation_id="audit.solver", error="no solution")],
        suites_folder=suites,
    )
    assert failed.decision == "block"
    assert [(f.expectation_id, f.severity, f.waivable, f.error) for f in failed.findings] == [
        ("audit.cells", "block", False, None),
        ("audit.solver", "block", False, "no solution"),
    ]
    assert failed.findings[0].places == (replace(place, county_name=NAME),)
    page = failed.page.read_text(encoding="utf-8")
    assert "4 cells" in page
    assert NAME in page
    stored = rows(
        province.config,
        "select suite, expectation_id, success, county_code, period, observed from ledger.gate_result"
        f" where gate_run_id = {failed.gate_run_id} and suite = 'audit' order by expectation_id",
    )
    assert stored == [
        ("audit", "audit.cells", False, COUNTY, "2018", "4 (4 cells)"),
        ("audit", "audit.solver", False, "*", "*", "no solution"),
    ]


@pytest.mark.parametrize("taken", [["tried.rule"], ["audit"], ["audit.cells", "audit.cells"]])
def test_a_rule_evaluated_elsewhere_may_not_take_the_name_of_another(
    province: Province, tmp_path: Path, taken: list[str]
) -> None:
    with pytest.raises(ValueError, match="extra rule"):
        run_gate(
            "arrival",
            config=province.config,
            run_id="x",
            evaluation_year=YEAR,
            out_dir=tmp_path,
            extra=[outside(expectation_id=taken_id) for taken_id in taken],
            suites_folder=suites_with(tmp_path, "select 1 where false"),
        )


def suites_with(tmp_path: Path, query: str, severity: str = "warn") -> Path:
    """A folder of suites whose only rule runs a query of the test's own."""
    folder = tmp_path / "suites"
    (folder / "arrival").mkdir(parents=True)
    (folder / "gate.yaml").write_text((SUITES / "gate.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    rule = {
        "id": "tried.rule",
        "type": "UnexpectedRowsExpectation",
        "arguments": {"unexpected_rows_query": query},
        "severity": severity,
        "what": {"zh": "试", "en": "tried"},
        "why": {"zh": "试", "en": "tried"},
        "how_to_fix": {"zh": "试", "en": "tried"},
        "seeded_defect": "select 1",
    }
    suite = {
        "title": {"zh": "试<b>", "en": "tried <script>alert(1)</script>"},
        "owner": {"zh": "试", "en": "tried"},
        "tables": ["landing.pupil"],
        "batch": {"query": "select 1 as one"},
        "expectations": [rule],
    }
    (folder / "arrival" / "tried.yaml").write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    return folder


CANARY = "649901201203150011"
CAST = f"('{CANARY}X')::bigint"


COLUMNS = "'*' as county_code, '*' as period, {affected} as affected, null as observed"


@pytest.mark.parametrize(
    "query",
    [
        # the row at fault holds the canary beside what is asked for
        f"select {COLUMNS.format(affected=1)}, '{CANARY}' as person from {{batch}}",
        # the server's message quotes the value that it could not cast
        f"select {COLUMNS.format(affected=CAST)} from {{batch}}",
    ],
    ids=["a row at fault", "an error that quotes the value"],
)
def test_no_value_of_a_row_reaches_page_json_ledger_or_output(
    province: Province, tmp_path: Path, capfd: pytest.CaptureFixture[str], query: str
) -> None:
    report = run_gate(
        "arrival",
        config=province.config,
        run_id="canary",
        evaluation_year=YEAR,
        out_dir=tmp_path,
        suites_folder=suites_with(tmp_path, query),
    )
    assert report.findings
    written = report.page.read_text(encoding="utf-8") + report.page.with_suffix(".json").read_text(encoding="utf-8")
    stored = str(rows(province.config, f"select * from ledger.gate_result where gate_run_id = {report.gate_run_id}"))
    said = "".join(capfd.readouterr())
    for where, text in (("page", written), ("ledger", stored), ("output", said), ("report", repr(report))):
        assert CANARY not in text, where


def test_a_rule_that_cannot_be_evaluated_blocks_though_it_only_warns(province: Province, tmp_path: Path) -> None:
    report = run_gate(
        "arrival",
        config=province.config,
        run_id="broken",
        evaluation_year=YEAR,
        out_dir=tmp_path,
        suites_folder=suites_with(tmp_path, "select nothing_like_it from {batch}"),
    )
    assert report.decision == "block"
    assert report.findings[0].error == "could not be evaluated: UndefinedColumn"


def test_the_page_escapes_whatever_it_is_given(province: Province, tmp_path: Path) -> None:
    query = (
        "select '<img src=x>' as county_code, '&amp;' as period, 1 as affected, '\"><script>' as observed from {batch}"
    )
    report = run_gate(
        "arrival",
        config=province.config,
        run_id="<script>",
        evaluation_year=YEAR,
        out_dir=tmp_path,
        suites_folder=suites_with(tmp_path, query),
    )
    page = report.page.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_a_county_outside_the_plan_weighs_what_the_policy_says(province: Province, tmp_path: Path) -> None:
    other = (
        "select area_code from landing.admin_area where area_level = 'county' and is_plan_county is not true limit 1"
    )
    [(code,)] = rows_as_admin(province.config, other)
    seen = []
    for said in ("block", "warn"):
        query = f"select '{code}' as county_code, '2018' as period, 1 as affected, null as observed"
        folder = suites_with(tmp_path / said, query, severity="block")
        text = (folder / "gate.yaml").read_text(encoding="utf-8")
        assert "other_counties: block" in text
        (folder / "gate.yaml").write_text(text.replace("other_counties: block", f"other_counties: {said}"), "utf-8")
        report = run_gate(
            "arrival",
            config=province.config,
            run_id="p",
            evaluation_year=YEAR,
            out_dir=tmp_path,
            suites_folder=folder,
        )
        seen.append((report.decision, report.findings[0].severity))
    assert seen == [("block", "block"), ("warn", "warn")]


@pytest.mark.parametrize(
    ("boundary", "point"),
    [
        pytest.param("arrival", "gate.suite", id="fault[F4]"),
        ("arrival", "gate.arrival"),
        ("candidate", "gate.candidate"),
    ],
)
def test_a_gate_killed_before_it_stores_leaves_nothing_behind(
    province: Province, tmp_path: Path, boundary: str, point: str
) -> None:
    before = rows(province.config, "select count(*), coalesce(max(gate_run_id), 0) from ledger.gate_run")
    script = (
        "from pathlib import Path; from expectations.gate import run_gate; from warehouse.config import load_config;"
        f"run_gate('{boundary}', config=load_config(), run_id='killed', evaluation_year={YEAR},"
        f" candidate_schema='{CANDIDATE}', out_dir=Path({str(tmp_path)!r}))"
    )
    environment = {
        **os.environ,
        "EDUPA_HOME": str(province.config.home),
        "EDUPA_SECRETS_DIR": str(province.config.secrets_dir),
        "EDUPA_FAILPOINT": point,
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-500:]
    assert rows(province.config, "select count(*), coalesce(max(gate_run_id), 0) from ledger.gate_run") == before
    assert rows(province.config, "select count(*) from ledger.gate_run where run_id = 'killed'") == [(0,)]
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_stored_is_an_error_and_leaves_no_page(province: Province, tmp_path: Path) -> None:
    with connect("admin", province.config, autocommit=True) as admin:
        admin.execute("revoke insert on ledger.gate_result from edupa_gatekeeper")
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                run_gate("arrival", config=province.config, run_id="full", evaluation_year=YEAR, out_dir=tmp_path)
        finally:
            admin.execute("grant insert on ledger.gate_result to edupa_gatekeeper")
    assert rows(province.config, "select count(*) from ledger.gate_run where run_id = 'full'") == [(0,)]
    assert list(tmp_path.iterdir()) == []


def test_all_rules_of_a_gate_see_one_state_of_the_data(province: Province) -> None:
    from expectations.snapshot import open_snapshot

    count = "select count(*) from landing.school where ended_load_id is null"
    conn = open_snapshot("gatekeeper", province.config)
    try:
        first = conn.execute(count).fetchone()
        conn.execute("create temporary table kept as select 1")
        conn.forbid_writing()
        with connect("admin", province.config, autocommit=True) as admin:
            admin.execute("update landing.school set ended_load_id = 999999 where county_code = '640424'")
            try:
                conn.rollback()  # as SQLAlchemy does after every query
                with pytest.raises(psycopg.errors.UndefinedTable):
                    conn.execute("select * from landing.nowhere")
                conn.rollback()
                assert conn.execute(count).fetchone() == first
                for writing in ("delete from ledger.gate_result", "create temporary table late as select 1"):
                    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                        conn.execute(writing.encode())
                    conn.rollback()
                assert conn.execute("select count(*) from kept").fetchone() == (1,)
            finally:
                admin.execute("update landing.school set ended_load_id = null where ended_load_id = 999999")
    finally:
        conn.release()
    assert conn.closed


def test_the_candidate_gate_needs_its_schema(province: Province, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the schema"):
        run_gate("candidate", config=province.config, run_id="x", evaluation_year=YEAR, out_dir=tmp_path)
