"""The ledger's record of a gate: written whole or not at all, because its absence means: not passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import psycopg

from expectations.decide import Decision, Verdict
from expectations.matrix import CellVerdict
from expectations.report import Finding
from expectations.runner import EVERYWHERE
from expectations.suite import GatePolicy
from expectations.waivers import may_be_waived


def insert_gate_run(
    conn: psycopg.Connection[tuple[object, ...]],
    *,
    boundary: str,
    run_id: str,
    evaluation_year: int,
    subject: str,
    subject_hash: str,
    decision: Decision,
    page: str,
    started_at: datetime,
    policy: GatePolicy,
) -> int:
    """Insert the run's row (not committed).

    Returns:
        gate_run_id.
    """
    row = conn.execute(
        "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision,"
        " page, started_at, waiver_days_max, approval_days_max)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning gate_run_id",
        (
            boundary,
            run_id,
            evaluation_year,
            subject,
            subject_hash,
            decision,
            page,
            started_at,
            policy.waiver_days,
            policy.approval_days,
        ),
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def insert_results(
    conn: psycopg.Connection[tuple[object, ...]],
    gate_run_id: int,
    suite_of: Mapping[str, str],
    made: Iterable[Verdict],
    findings: Iterable[Finding],
) -> int:
    """Insert one row per passed rule and one per failed rule × county × period (not committed).

    Returns:
        Number of rows.
    """
    found = {finding.expectation_id: finding for finding in findings}
    rows: list[tuple[object, ...]] = []
    for verdict in made:
        suite = suite_of[verdict.expectation_id]
        key = (gate_run_id, suite, verdict.expectation_id, verdict.severity, verdict.success)
        finding = found.get(verdict.expectation_id)
        if finding is None or not finding.places:
            rows.append((*key, EVERYWHERE, EVERYWHERE, verdict.error, False, None))
            continue
        waivable = may_be_waived(finding)
        rows.extend(
            (*key, place.county_code, place.period, verdict.error or place.figures, waivable, place.waiver_id)
            for place in finding.places
        )
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into ledger.gate_result (gate_run_id, suite, expectation_id, severity, success,"
            " county_code, period, observed, waivable, waiver_id)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            rows,
        )
    return len(rows)


def insert_cells(conn: psycopg.Connection[tuple[object, ...]], gate_run_id: int, cells: Iterable[CellVerdict]) -> int:
    """Insert one row per suite × county × period looked at (not committed).

    Returns:
        Number of rows.
    """
    rows = 0
    with (
        conn.cursor() as cursor,
        cursor.copy(
            "copy ledger.gate_verdict (gate_run_id, suite, county_code, period, verdict, rules, failed) from stdin"
        ) as copy,
    ):
        for cell in cells:
            copy.write_row(
                (gate_run_id, cell.suite, cell.county_code, cell.period, cell.verdict, cell.rules, list(cell.failed))
            )
            rows += 1
    return rows
