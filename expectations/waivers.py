"""Waivers at a gate: which failed cells two people have let pass, and why a waiver does not count.

A waiver covers exactly the cells it names, with the figures that were seen, for exactly the content that was judged.
Proposing, approving and revoking are statements in the ledger; the server keeps their rules (migration 0006). Here
they are sent, and what the server says in refusal is handed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import psycopg

from expectations.report import Finding, Place
from expectations.suite import Boundary, Text
from warehouse.clock import ZONE

Connection = psycopg.Connection[tuple[object, ...]]
Status = Literal["proposed", "approved", "expired", "revoked"]
# county (or area) code, period, figures as the ledger keeps them
CellSeen = tuple[str, str, str | None]


class WaiverError(RuntimeError):
    """A waiver is refused; the message says what, why and what to do."""


@dataclass(frozen=True)
class Waiver:
    """A waiver as the ledger has it.

    Attributes:
        waiver_id: of ledger.waiver.
        expectation_id: rule that it lets pass.
        subject_hash: content hash of what it was given for.
        status: by the server's clock when it was read.
        cells: where it applies, each with the figures that were seen.
        reason: why, in the proposer's words.
        proposed_by: login.
        approved_by: login; None: nobody yet.
        expires_at: from then on it does not count.
    """

    waiver_id: int
    expectation_id: str
    subject_hash: str
    status: Status
    cells: frozenset[CellSeen]
    reason: str
    proposed_by: str
    approved_by: str | None
    expires_at: datetime


@dataclass(frozen=True)
class Refusal:
    """A waiver that a gate met at a failed rule and did not follow."""

    waiver_id: int
    expectation_id: str
    why: Text


@dataclass(frozen=True)
class Waived:
    """What waivers did to the findings of a gate.

    Attributes:
        findings: as they were, the places that a waiver covers marked with it.
        rules: blocking rules of which every place is covered.
        used: waivers that cover at least one place.
        refused: waivers of a failed blocking rule that do not count, and why.
    """

    findings: tuple[Finding, ...]
    rules: frozenset[str]
    used: tuple[Waiver, ...]
    refused: tuple[Refusal, ...]


def may_be_waived(finding: Finding) -> bool:
    """Whether two people together may let this failure pass.

    Never: a rule that its suite protects, one that could not be evaluated, and a failure whose extent nobody counted.
    """
    return finding.waivable and finding.error is None and all(place.affected > 0 for place in finding.places)


def _why_not(waiver: Waiver, finding: Finding, subject_hash: str) -> Text | None:
    """Why a waiver of the finding's rule does not count; None: it does, at its own cells."""
    if waiver.subject_hash != subject_hash:
        return Text(
            "已失效：数据在批准之后变了，须重新提出",
            "void: the data changed since it was given; propose another one",
        )
    if waiver.status == "revoked":
        return Text("已撤销", "revoked")
    if waiver.status == "expired":
        return Text(f"已于 {waiver.expires_at:%Y-%m-%d} 到期", f"expired on {waiver.expires_at:%Y-%m-%d}")
    if waiver.status == "proposed":
        return Text("尚未批准", "not approved yet")
    if not may_be_waived(finding):
        return Text(
            "这条规则任何人都不得豁免（身份、隐私保护、总数核对，或规则没能算出来）",
            "this rule may not be waived by anybody (identity, disclosure, control totals, or it was not evaluated)",
        )
    return None


def _other_figures(waiver: Waiver, finding: Finding) -> Text | None:
    """Say at which of its cells the waiver was given for other figures than those found now."""
    found = {(place.county_code, place.period): place.figures for place in finding.places}
    other = [f"{county} {time}" for county, time, seen in waiver.cells if found.get((county, time), seen) != seen]
    if not other:
        return None
    named = ", ".join(sorted(other))
    return Text(f"批准时所见数值不同：{named}", f"it was given for other figures at {named}")


def apply(findings: Sequence[Finding], waivers: Iterable[Waiver], subject_hash: str) -> Waived:
    """Mark the failed places that a valid waiver covers; nothing else changes.

    Args:
        findings: failed rules with their places.
        waivers: of any rule, in any state.
        subject_hash: content hash of what was judged.
    """
    by_rule: dict[str, list[Waiver]] = {}
    for waiver in sorted(waivers, key=lambda each: each.waiver_id):
        by_rule.setdefault(waiver.expectation_id, []).append(waiver)
    marked: list[Finding] = []
    rules: set[str] = set()
    used: dict[int, Waiver] = {}
    refused: list[Refusal] = []
    for finding in findings:
        known = by_rule.get(finding.expectation_id, []) if finding.severity == "block" else []
        covers: dict[CellSeen, Waiver] = {}
        without_effect: list[tuple[Waiver, Text]] = []
        for waiver in known:
            why = _why_not(waiver, finding, subject_hash)
            if why is None:
                covers |= dict.fromkeys(waiver.cells, waiver)
                why = _other_figures(waiver, finding)
            if why is not None:
                without_effect.append((waiver, why))
        places: list[Place] = []
        for place in finding.places:
            found = covers.get((place.county_code, place.period, place.figures))
            if found:
                used[found.waiver_id] = found
                place = replace(place, waiver_id=found.waiver_id)
            places.append(place)
        still_open = {(place.county_code, place.period) for place in places if place.waiver_id is None}
        refused += [
            Refusal(each.waiver_id, finding.expectation_id, why)
            for each, why in without_effect
            # given for other data: news only where it was in force and something it names fails again
            if each.subject_hash == subject_hash
            or (each.status == "approved" and still_open & {cell[:2] for cell in each.cells})
        ]
        if places and all(place.waiver_id is not None for place in places):
            rules.add(finding.expectation_id)
        marked.append(replace(finding, places=tuple(places)))
    return Waived(tuple(marked), frozenset(rules), tuple(used[key] for key in sorted(used)), tuple(refused))


def waivers_of(conn: Connection, boundary: Boundary, rules: Iterable[str]) -> list[Waiver]:
    """Every waiver ever proposed for some rules of a boundary; status by the server's clock at this moment."""
    rows = conn.execute(
        "select waiver_id, expectation_id, subject_hash, status, cells, reason, proposed_by, approved_by, expires_at"
        " from ledger.waiver_state where boundary = %s and expectation_id = any(%s) order by waiver_id",
        (boundary, sorted(rules)),
    ).fetchall()
    return [_waiver(row) for row in rows]


def _waiver(row: Sequence[Any]) -> Waiver:
    number, rule, subject_hash, status, cells, reason, proposed_by, approved_by, expires_at = row
    return Waiver(
        waiver_id=number,
        expectation_id=rule,
        subject_hash=subject_hash,
        status=status,
        cells=frozenset((cell["county_code"], cell["period"], cell["observed"]) for cell in cells),
        reason=reason,
        proposed_by=proposed_by,
        approved_by=approved_by,
        # told to people in the province's time, whatever the session's is
        expires_at=expires_at.astimezone(ZONE),
    )


def failed_run(conn: Connection, evaluation_year: int, boundary: Boundary | None = None) -> int:
    """Newest gate run of a year that blocked.

    Args:
        conn: of whoever may read the gates.
        evaluation_year: that the gate was asked about.
        boundary: None: either.

    Raises:
        WaiverError: no gate blocked.
    """
    row = conn.execute(
        "select max(gate_run_id) from ledger.gate_run"
        " where decision = 'block' and evaluation_year = %s and boundary = coalesce(%s, boundary)",
        (evaluation_year, boundary),
    ).fetchone()
    if row is None or row[0] is None:
        where = f"the {boundary} gate" if boundary else "no gate"
        never = " never" if boundary else ""
        raise WaiverError(f"{where}{never} blocked evaluation year {evaluation_year}: there is nothing to waive")
    return int(str(row[0]))


def _refused(error: psycopg.Error, what: str) -> WaiverError:
    """The server's refusal as one sentence: what, why, what to do."""
    said = error.diag.message_primary or str(error).splitlines()[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return WaiverError(f"this login may not {what}: {said}")
    constraint = error.diag.constraint_name or ""
    if constraint in _CONSTRAINTS:
        said = _CONSTRAINTS[constraint]
    return WaiverError(f"{said}; {error.diag.message_hint}" if error.diag.message_hint else said)


_CONSTRAINTS: Mapping[str, str] = {
    "waiver_reason_check": "the reason is too short: say in at least 10 characters why the failure may pass",
    "waiver_revocation_reason_check": "the reason is too short: say in at least 5 characters why it is revoked",
}


def propose(
    conn: Connection,
    *,
    gate_run_id: int,
    expectation_id: str,
    county_code: str = "*",
    period: str = "*",
    reason: str,
    expires_at: datetime | str,
) -> int:
    """Propose a waiver for what failed in a gate run; the server copies the cells and the figures seen there.

    Args:
        conn: of a login that is edupa_steward or a member of it.
        gate_run_id: where the failure was seen.
        expectation_id: the rule.
        county_code: county or area; ``*``: everywhere it failed.
        period: ``*``: every period at which it failed.
        reason: why it may pass, at least 10 characters; printed in the release notes.
        expires_at: a time, or words that the server reads as one.

    Returns:
        waiver_id (committed).

    Raises:
        WaiverError: the rule or the scope did not fail there, may not be waived, the data changed since, the expiry is
            past or too late, or the login may not propose; nothing is changed.
    """
    try:
        with conn.transaction():
            row = conn.execute(
                "insert into ledger.waiver (gate_run_id, expectation_id, county_code, period, reason, expires_at)"
                " values (%s, %s, %s, %s, %s, %s) returning waiver_id",
                (gate_run_id, expectation_id, county_code, period, reason, expires_at),
            ).fetchone()
    except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege, psycopg.DataError) as error:
        raise _refused(error, "propose a waiver") from error
    assert row is not None
    return int(str(row[0]))


def _change(conn: Connection, waiver_id: int, column: str, value: str, what: str) -> None:
    statement = f"update ledger.waiver set {column} = %s where waiver_id = %s returning waiver_id"
    try:
        with conn.transaction():
            changed = conn.execute(statement.encode(), (value, waiver_id)).fetchone()
    except (psycopg.IntegrityError, psycopg.errors.InsufficientPrivilege) as error:
        raise _refused(error, what) from error
    if changed is None:
        raise WaiverError(f"there is no waiver {waiver_id}: `edupa waiver list` has them all")


def approve(conn: Connection, waiver_id: int) -> None:
    """Approve a waiver that somebody else proposed (committed).

    Raises:
        WaiverError: own proposal, expired, revoked, approved already, the data changed, or the login may not approve.
    """
    # the server puts the session's login there, whatever is sent
    _change(conn, waiver_id, "approved_by", conn.info.user, "approve a waiver")


def revoke(conn: Connection, waiver_id: int, reason: str) -> None:
    """Take a waiver back, proposed or approved (committed); releases that rest on it stay as they are.

    Raises:
        WaiverError: revoked already, no reason, or the login may not revoke.
    """
    _change(conn, waiver_id, "revocation_reason", reason, "revoke a waiver")
