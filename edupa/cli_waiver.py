"""``edupa waiver``: let a failed rule pass where two people answer for it; propose, approve, revoke, list, show."""

from __future__ import annotations

from datetime import date, datetime, time
from enum import StrEnum
from typing import Annotated

import psycopg
import typer
from rich.markup import escape
from rich.table import Table

from edupa.cli_common import fail, out, plainly
from edupa.settings import load_settings
from warehouse.canonical import Connection
from warehouse.clock import ZONE
from warehouse.login import connect_as

waiver_app = typer.Typer(
    no_args_is_help=True, help="Waivers of failed gate rules: one person proposes, another approves, each with a login."
)

As = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="Database login to act as; its password: file of that name in the secrets folder, or ~/.pgpass."
        " None: the user of EDUPA_WAREHOUSE_URL; else edupa_steward to propose and revoke, edupa_approver to approve.",
    ),
]
Number = Annotated[int, typer.Argument(help="Number from `edupa waiver list`.")]


class Boundary(StrEnum):
    """Which gate."""

    arrival = "arrival"
    candidate = "candidate"


def _end_of(conn: Connection, text: str) -> datetime:
    """The end of a day as people write it (Asia/Shanghai), or of ``30d``: that many days from the server's today."""
    try:
        if text.endswith("d"):
            row = conn.execute(
                "select (clock_timestamp() at time zone %s)::date + %s", (ZONE.key, int(text.removesuffix("d")))
            ).fetchone()
            day = row[0] if row else None
        else:
            day = date.fromisoformat(text)
    except (ValueError, psycopg.DataError):
        day = None
    if not isinstance(day, date):
        raise fail(f"expiry {text!r} is no day: write 2026-12-31, or 30d for thirty days from today")
    return datetime.combine(day, time(23, 59, 59), ZONE)


@waiver_app.command("propose")
@plainly
def waiver_propose(
    rule: Annotated[str, typer.Argument(help="Id of the rule, from the gate's page, e.g. pupil.county_delivered.")],
    reason: Annotated[str, typer.Option(help="Why it may pass; printed in the release notes.")],
    expires: Annotated[str, typer.Option(help="Last day on which it counts, 2026-12-31, or 30d from today.")],
    county: Annotated[str, typer.Option(help="County or area code; *: wherever the rule failed.")] = "*",
    period: Annotated[str, typer.Option(help="Period as on the page, 2019/20; *: every period that failed.")] = "*",
    gate_run: Annotated[int | None, typer.Option(help="Gate run; none: the newest that blocked.")] = None,
    year: Annotated[int | None, typer.Option(help="Evaluation year of that run; none: the configured one.")] = None,
    boundary: Annotated[Boundary | None, typer.Option(help="Gate of that run; none: either.")] = None,
    login: As = None,
) -> None:
    """Propose a waiver; nothing passes before somebody else approves it.

    It covers exactly the places and figures of that gate run, and is void as soon as the data change.

    Example: `edupa waiver propose pupil.county_delivered --county 640424 --reason "县局停电，十二月补报" --expires 30d`
    """
    from expectations.waivers import failed_run, propose

    settings = load_settings()
    with connect_as(login, settings.warehouse, otherwise="edupa_steward") as conn:
        run = gate_run or failed_run(conn, year or settings.evaluation_year, boundary.value if boundary else None)
        number = propose(
            conn,
            gate_run_id=run,
            expectation_id=rule,
            county_code=county,
            period=period,
            reason=reason,
            expires_at=_end_of(conn, expires),
        )
        row = conn.execute(
            "select cells, subject_hash, proposed_by, expires_at from ledger.waiver where waiver_id = %s", (number,)
        ).fetchone()
    assert row is not None
    cells, content, proposed_by, expires_at = row
    print(f"waiver {number} proposed by {proposed_by} for gate run {run}, content {str(content)[:16]}; it would cover:")
    _print_cells(cells)
    print(f"until {_local(expires_at)}. It counts once another person approves it: `edupa waiver approve {number}`")


def _local(moment: object) -> str:
    return f"{moment.astimezone(ZONE):%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else "–"


def _print_cells(cells: object) -> None:
    assert isinstance(cells, list)
    for cell in cells:
        where = " ".join(cell[part] for part in ("county_code", "period") if cell[part] != "*") or "as a whole"
        print(f"  {where}: {cell['observed']}")


@waiver_app.command("approve")
@plainly
def waiver_approve(number: Number, login: As = None) -> None:
    """Approve a waiver that somebody else proposed; run the gate again then.

    Example: `edupa waiver approve 3 --as wang_fang`
    """
    from expectations.waivers import approve

    with connect_as(login, load_settings().warehouse, otherwise="edupa_approver") as conn:
        approve(conn, number)
        print(f"waiver {number} approved by {conn.info.user}; it counts from the next run of the gate on")


@waiver_app.command("revoke")
@plainly
def waiver_revoke(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why it is taken back.")],
    login: As = None,
) -> None:
    """Take a waiver back, approved or not; releases that were frozen with it stay as they are.

    Example: `edupa waiver revoke 3 --reason "文件已补齐"`
    """
    from expectations.waivers import revoke

    with connect_as(login, load_settings().warehouse, otherwise="edupa_steward") as conn:
        revoke(conn, number, reason)
        print(f"waiver {number} revoked by {conn.info.user}; no gate follows it any more")


@waiver_app.command("list")
@plainly
def waiver_list(
    every: Annotated[bool, typer.Option("--all", help="Also those that are over: expired, revoked, void.")] = False,
    login: Annotated[str | None, typer.Option("--as", help="Login that may read the ledger.")] = None,
) -> None:
    """List waivers, newest first, with their status at this moment.

    Example: `edupa waiver list --all`
    """
    with connect_as(login, load_settings().warehouse) as conn:
        rows = conn.execute(
            "select waiver_id, case when is_void and status in ('proposed', 'approved') then 'void' else status end,"
            " expectation_id, county_code, period, jsonb_array_length(cells), proposed_by, coalesce(approved_by, '–'),"
            " expires_at, reason from ledger.waiver_state"
            f" {'' if every else 'where not is_void and status in (' + _IN_PLAY + ')'} order by waiver_id desc".encode()
        ).fetchall()
    if not rows:
        print("no waiver" if every else "no waiver is proposed or in force; --all shows those that are over")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("no.", "status", "rule", "county", "period", "places", "proposed", "approved", "expires", "reason"):
        table.add_column(heading, no_wrap=heading != "reason", justify="right" if heading == "places" else "left")
    for row in rows:
        cells = [_local(cell) if isinstance(cell, datetime) else str(cell) for cell in row]
        table.add_row(*map(escape, cells))
    out.print(table)


_IN_PLAY = "'proposed', 'approved'"


@waiver_app.command("show")
@plainly
def waiver_show(
    number: Number,
    login: Annotated[str | None, typer.Option("--as", help="Login that may read the ledger.")] = None,
) -> None:
    """Show a waiver in full: what it covers, who answers for it, what became of it.

    Example: `edupa waiver show 3`
    """
    with connect_as(login, load_settings().warehouse) as conn:
        row = conn.execute(
            "select status || case when is_void then ', void: the data changed since' else '' end, expectation_id,"
            " boundary, evaluation_year, gate_run_id, subject_hash, reason, proposed_by, proposed_at, approved_by,"
            " approved_at, expires_at, revoked_by, revoked_at, revocation_reason, cells"
            " from ledger.waiver_state where waiver_id = %s",
            (number,),
        ).fetchone()
    if row is None:
        raise fail(f"there is no waiver {number}: `edupa waiver list --all` has them all")
    status, rule, boundary, year, run, content, reason, *people, cells = row
    proposed_by, proposed_at, approved_by, approved_at, expires_at, revoked_by, revoked_at, why_revoked = people
    lines = [
        ("waiver", f"{number}, {status}"),
        ("rule", rule),
        ("seen", f"gate run {run} ({boundary}, evaluation year {year}), content {str(content)[:16]}"),
        ("reason", reason),
        ("proposed", f"{proposed_by}, {_local(proposed_at)}"),
        ("approved", f"{approved_by}, {_local(approved_at)}" if approved_by else "–"),
        ("expires", _local(expires_at)),
    ]
    if revoked_by:
        lines.append(("revoked", f"{revoked_by}, {_local(revoked_at)}: {why_revoked}"))
    for name, value in lines:
        print(f"{name:<9} {value}")
    print("covers")
    _print_cells(cells)
