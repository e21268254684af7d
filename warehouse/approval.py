"""Who let a candidate out: approvals, asked for where configured, and the waivers that a release rests on.

The decision is a row of the ledger and nothing else: not the color of a task, not the end of a run. An approval is for
one content hash, ends after the days of the gate's policy, and is never given by who ran the gate or proposed a waiver
(migration 0006). In the mode ``cli`` only a login that is edupa_approver, or a member of it, counts; in the mode
``airflow`` also what the publisher wrote down of a decision in Airflow's web UI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import psycopg

from warehouse.canonical import Connection, ReleaseError

Demand = Literal["none", "cli", "airflow"]
DEMANDS: tuple[Demand, ...] = get_args(Demand)
Answer = Literal["approve", "reject"]


class ApprovalError(ReleaseError):
    """An approval is missing or refused; the message says why and what to do."""


@dataclass(frozen=True)
class CandidateRun:
    """A run of the candidate gate: what there is to approve."""

    gate_run_id: int
    run_id: str
    evaluation_year: int
    decision: str
    content_sha256: str
    waivers: list[int]


@dataclass(frozen=True)
class WaiverUsed:
    """A waiver that a release rests on.

    Attributes:
        waiver_id: of ledger.waiver.
        expectation_id: rule that did not hold.
        cells: where: [{county_code, period, observed}].
        reason: why it was let pass.
        proposed_by: login.
        approved_by: login.
        expires_at: end of the waiver; a release frozen before stays.
    """

    waiver_id: int
    expectation_id: str
    cells: list[dict[str, str | None]]
    reason: str
    proposed_by: str
    approved_by: str
    expires_at: datetime

    def to_json(self) -> dict[str, Any]:
        """As the registry keeps it."""
        return {**vars(self), "expires_at": self.expires_at.isoformat()}


def candidate_run(conn: Connection, run_or_year: str) -> CandidateRun:
    """Newest run of the candidate gate of a run or an evaluation year.

    Args:
        conn: of whoever may read the gates and ask for the waivers behind them.
        run_or_year: run id, or a year of four digits.

    Raises:
        ApprovalError: there is none.
    """
    is_year = len(run_or_year) == 4 and run_or_year.isdigit()
    row = conn.execute(
        "select gate_run_id, run_id, evaluation_year, decision, coalesce(subject_hash, ''),"
        " ledger.waivers_behind(gate_run_id) from ledger.gate_run where boundary = 'candidate'"
        f" and {'evaluation_year::text' if is_year else 'run_id'} = %s order by gate_run_id desc limit 1".encode(),
        (run_or_year,),
    ).fetchone()
    if row is None:
        raise ApprovalError(
            f"no candidate gate was asked about {run_or_year}: there is nothing to approve; give an evaluation year,"
            " or the id of a run of annual_evaluation"
        )
    return CandidateRun(*row)  # type: ignore[arg-type]


def _insert(conn: Connection, values: dict[str, object]) -> int:
    columns = ", ".join(values)
    marks = ", ".join(f"%({name})s" for name in values)
    try:
        with conn.transaction():
            row = conn.execute(
                f"insert into ledger.approval ({columns}) values ({marks}) returning approval_id".encode(), values
            ).fetchone()
    except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege) as error:
        said = error.diag.message_primary or str(error).splitlines()[0]
        if error.diag.constraint_name == "approval_remark_check":
            said = "the remark is too short: say in at least 5 characters what was looked at"
        hint = f"; {error.diag.message_hint}" if error.diag.message_hint else ""
        raise ApprovalError(f"not recorded: {said}{hint}") from error
    assert row is not None
    return int(str(row[0]))


def answer(conn: Connection, gate_run_id: int, decision: Answer, remark: str) -> int:
    """Approve or reject a candidate as the login of this session (committed).

    Args:
        conn: of a login that is edupa_approver or a member of it.
        gate_run_id: from ``candidate_run``.
        decision: yes or no.
        remark: what was looked at; at least 5 characters.

    Returns:
        approval_id.

    Raises:
        ApprovalError: the gate blocks, the data changed since, the login ran the gate or proposed a waiver behind it,
            or it is no approver; nothing is recorded.
    """
    return _insert(conn, {"gate_run_id": gate_run_id, "decision": decision, "remark": remark})


def record_airflow_answer(
    conn: Connection, gate_run_id: int, *, approved: bool, decided_by: str | None, requested_by: str | None
) -> int:
    """Write down what was decided in Airflow's web UI (committed).

    Args:
        conn: of the publisher.
        gate_run_id: of the candidate gate in that run.
        approved: the option that was chosen; unanswered in time, Airflow takes the default, which is no.
        decided_by: user of Airflow; None: nobody answered in time.
        requested_by: user of Airflow that started the run; None: the schedule.

    Returns:
        approval_id.

    Raises:
        ApprovalError: the user who started the run approves it, or as ``answer``.
    """
    return _insert(
        conn,
        {
            "gate_run_id": gate_run_id,
            "decision": "approve" if approved else "reject",
            "channel": "airflow",
            "remark": "answered in Airflow" if decided_by else "nobody answered in time",
            "decided_by": decided_by,
            "requested_by": requested_by,
        },
    )


def require_approval(
    conn: Connection, demand: Demand, *, gate_run_id: int, content: str, evaluation_year: int
) -> str | None:
    """Who approved exactly this content; the newest decision counts.

    Args:
        conn: of the publisher.
        demand: ``none`` asks for nothing.
        gate_run_id: of the candidate gate that passed the content.
        content: content hash of the candidate.
        evaluation_year: of the candidate.

    Returns:
        The approver; None where none is demanded.

    Raises:
        ApprovalError: nobody approved, somebody rejected, nobody answered in time, the approval expired, was for other
            content, or was given before another waiver was followed.
    """
    if demand == "none":
        return None
    how = f"`edupa release approve {evaluation_year}` by a member of edupa_approver, then publish again"
    row = conn.execute(
        "select approval_id, decision, decided_by, content_sha256 = %(content)s, expires_at > clock_timestamp(),"
        " expires_at, waiver_ids @> ledger.waivers_behind(%(gate_run)s)"
        " from ledger.approval where evaluation_year = %(year)s and (channel = 'cli' or %(demand)s = 'airflow')"
        " order by content_sha256 = %(content)s desc, approval_id desc limit 1",
        {"content": content, "year": evaluation_year, "demand": demand, "gate_run": gate_run_id},
    ).fetchone()
    if row is None:
        raise ApprovalError(f"nobody approved the candidate of {evaluation_year}, and one approval is asked for: {how}")
    number, decision, decided_by, same_content, is_live, expires_at, same_waivers = row
    if not same_content:
        raise ApprovalError(f"approval {number} was for other content: the candidate changed since; {how}")
    if decision == "reject":
        who = f"rejected by {decided_by}" if decided_by else "rejected: nobody answered in time"
        raise ApprovalError(f"the candidate of {evaluation_year} was {who} (decision {number}); nothing was published")
    if not is_live:
        raise ApprovalError(f"approval {number} by {decided_by} expired on {expires_at:%Y-%m-%d %H:%M}: {how}")
    if not same_waivers:
        raise ApprovalError(f"approval {number} by {decided_by} was given before another waiver was followed: {how}")
    return str(decided_by)


def waivers_behind(conn: Connection, gate_run_id: int) -> Sequence[WaiverUsed]:
    """Waivers that a candidate rests on, at its own gate and at the arrival gate asked just before.

    Raises:
        ReleaseError: one of them does not stand any more.
    """
    rows = conn.execute(
        "select status, waiver_id, expectation_id, cells, reason, proposed_by, approved_by, expires_at"
        " from ledger.waiver_state where waiver_id = any(ledger.waivers_behind(%s)) order by waiver_id",
        (gate_run_id,),
    ).fetchall()
    for status, number, rule, *_ in rows:
        if status != "approved":
            raise ReleaseError(
                f"waiver {number} of rule {rule} is {status} since the gate followed it: run the gate again;"
                " nothing was published"
            )
    return [WaiverUsed(*row[1:]) for row in rows]  # type: ignore[arg-type]
