"""What a reader must know of a release: scope, reason, version, what moved and why, assumptions, protection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql

from warehouse.approval import WaiverUsed
from warehouse.canonical import Connection, ReleaseError
from warehouse.changes import Comparison, Edition, MovedCount, moved_counts
from warehouse.clock import ZONE
from warehouse.versioning import Level

LONG_MART = "county_evaluation"
# embargoes, like everything that people agree on, are told in the province's time
REASONS_TOLD = 20
# beyond this many places a note is no longer read; the registry holds them all
CELLS_TOLD = 30

LEVEL_ZH = {"first": "首次发布", "major": "重大变更", "minor": "一般变更", "patch": "文字更正"}


@dataclass(frozen=True)
class Note:
    """One release note.

    Attributes:
        section: one that releases.release_notes allows.
        zh: Chinese text.
        en: English text.
    """

    section: str
    zh: str
    en: str


@dataclass(frozen=True)
class Draft:
    """A release that is about to be frozen.

    Attributes:
        release_id: its id.
        evaluation_year: latest year that it evaluates.
        kind: annual or restatement.
        reason: why it is made.
        semantic_version: its version in the series.
        level: what it changes; ``first``: there is no release before it.
        gate: the gate's decision on the candidate.
        previous: release that it was compared with.
        comparison: what changed against it.
        embargo_until: not to be published before.
        waivers: failures that two people let pass.
        approved_by: who approved the candidate; None: no approval was asked for.
    """

    release_id: str
    evaluation_year: int
    kind: Literal["annual", "restatement"]
    reason: str
    semantic_version: str
    level: Level | Literal["first"]
    gate: str
    previous: Edition | None
    comparison: Comparison | None
    embargo_until: datetime | None
    waivers: Sequence[WaiverUsed] = ()
    approved_by: str | None = None


def local_time(moment: datetime) -> str:
    """A moment in the province's time, to the minute, with its zone."""
    return f"{moment.astimezone(ZONE):%Y-%m-%d %H:%M} {ZONE.key}"


def embargo_time(text: str) -> datetime | None:
    """A moment as people write it: ``2026-12-01``, ``2026-12-01 09:00`` or ISO 8601; None for an empty text.

    Without an offset it is the province's time; without an hour it is midnight, as the day begins.

    Raises:
        ReleaseError: it is none of these.
    """
    if not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ReleaseError(
            f"embargo {text!r} is no time: write 2026-12-01, 2026-12-01 09:00 ({ZONE.key}) or 2026-12-01T01:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZONE)


def _about(draft: Draft) -> list[Note]:
    notes = [
        Note(
            "scope",
            f"本版本评估年度为{draft.evaluation_year}年，并含此前各规划年度（以发布时所知为准）。",
            f"This release evaluates {draft.evaluation_year} and holds all earlier plan years as known at its release.",
        ),
        Note("reason", f"发布原因：{draft.reason}", f"Reason: {draft.reason}"),
        Note(
            "version",
            f"版本序号{draft.semantic_version}（{LEVEL_ZH[draft.level]}）。",
            f"Version {draft.semantic_version} of the series ({draft.level}).",
        ),
    ]
    for reason in (draft.comparison.reasons if draft.comparison else [])[:REASONS_TOLD]:
        notes.append(Note("version", f"{LEVEL_ZH[reason.level]}：{reason.zh}", f"{reason.level}: {reason.en}"))
    if draft.kind == "restatement" and draft.previous:
        notes.append(
            Note(
                "restatement",
                f"本版本更正{draft.previous.name}；原版本保留，可继续引用，登记为已被取代。",
                f"This release restates {draft.previous.name}, which stays and can be cited, marked as superseded.",
            )
        )
    if draft.embargo_until:
        moment = local_time(draft.embargo_until)
        notes.append(Note("embargo", f"{moment}之前不公开。", f"Under embargo until {moment}."))
    notes.append(Note("gate", f"质量门结论：{draft.gate}", f"Gate decision: {draft.gate}"))
    notes += map(_waived, draft.waivers)
    if draft.approved_by:
        notes.append(
            Note(
                "approval",
                "发布前由审批人（edupa_approver）批准。",
                "Approved before publication by an approver (edupa_approver).",
            )
        )
    return notes


def _waived(waiver: WaiverUsed) -> Note:
    """A waiver for readers: the two people appear by role; the registry knows their logins."""
    told = [_cell(cell) for cell in waiver.cells[:CELLS_TOLD]]
    more = len(waiver.cells) - len(told)
    until = local_time(waiver.expires_at)
    return Note(
        "waiver",
        f"豁免{waiver.waiver_id}：规则{waiver.expectation_id}未做到仍予放行。所见：{'；'.join(told)}"
        + (f"；另有{more}处" if more else "")
        + f"。理由：{waiver.reason}。提出：数据管理员（edupa_steward）；批准：审批人（edupa_approver），为另一人；"
        f"有效期至{until}。",
        f"Waiver {waiver.waiver_id}: rule {waiver.expectation_id} did not hold and was let pass."
        f" Seen: {'; '.join(told)}"
        + (f"; {more} more" if more else "")
        + f". Reason: {waiver.reason}. Proposed by a steward (edupa_steward), approved by an approver (edupa_approver),"
        f" who is another person; valid until {until}.",
    )


def _cell(cell: dict[str, str | None]) -> str:
    place = " ".join(str(cell[part]) for part in ("county_code", "period") if cell[part] != "*")
    return f"{place or '全部 all'}: {cell['observed']}"


CAUSE_ZH = {
    "new_year": "新增评价年度",
    "method_version": "计算方法变更",
    "input": "来源数据变更",
    "registry": "指标目录变更",
    "seeds": "代码表或目标值变更",
    "contracts": "数据契约变更",
    "code": "仅程序变更",
    "unexplained": "原因未查明",
}


def cause_zh(cause: str) -> str:
    """A cause, or several joined by ``; ``, in Chinese."""
    told = []
    for part in cause.split("; "):
        name, _, detail = part.partition(": ")
        told.append(CAUSE_ZH.get(name, name) + (f"（{detail}）" if detail else ""))
    return "、".join(told)


def _told(moved: MovedCount) -> Note:
    causes = moved.causes
    return Note(
        "change",
        f"{moved.subject}：新增{moved.added}个单元，变动{moved.changed}个，取消{moved.gone}个，隐去{moved.hidden}个；"
        f"原因：{'；'.join(cause_zh(cause) for cause in causes)}。",
        f"{moved.subject}: {moved.added} cells added, {moved.changed} changed, {moved.gone} gone,"
        f" {moved.hidden} hidden; cause: {' / '.join(causes)}.",
    )


def _moved(conn: Connection, draft: Draft, candidate: Edition) -> list[Note]:
    if draft.previous is None:
        return []
    counts = moved_counts(conn, draft.previous, candidate)
    added, changed, gone, hidden = (
        sum(getattr(count, name) for count in counts) for name in ("added", "changed", "gone", "hidden")
    )
    total = Note(
        "change",
        f"与版本{draft.previous.name}相比：新增{added}个单元，变动{changed}个，取消{gone}个，"
        f"另有{hidden}个因保密只注明隐去。",
        f"Against release {draft.previous.name}: {added} cells added, {changed} changed, {gone} gone,"
        f" {hidden} told only as hidden.",
    )
    return [total, *map(_told, counts)]


def _assumptions(conn: Connection, schema: str) -> list[Note]:
    rows = conn.execute(
        sql.SQL(
            "select distinct assumption_id, target_year from {} where assumption_id is not null"
            " and target_year_basis = 'assumed' order by assumption_id"
        ).format(sql.Identifier(schema, LONG_MART))
    ).fetchall()
    return [
        Note(
            "assumption",
            f"目标年份在规划文本中为“XX”，按假定年份{year}计（假定{assumption}）。",
            f"The plan's text hides a target year as XX; {year} is assumed (assumption {assumption}).",
        )
        for assumption, year in rows
    ]


def _protection(conn: Connection, schema: str) -> Note:
    hidden = conn.execute(
        sql.SQL("select count(*) from {} where conf_status <> 'F'").format(sql.Identifier(schema, LONG_MART))
    ).fetchone()
    count = hidden[0] if hidden else 0
    return Note(
        "protection",
        f"为保护个人信息，隐去{count}个单元（conf_status 不为 'F'）。",
        f"{count} cells are withheld to protect persons (conf_status is not 'F').",
    )


def notes_of(conn: Connection, draft: Draft, candidate: Edition) -> Sequence[Note]:
    """The notes of a release, in the order in which they are published."""
    return [
        *_about(draft),
        *_moved(conn, draft, candidate),
        *_assumptions(conn, candidate.schema),
        _protection(conn, candidate.schema),
    ]
