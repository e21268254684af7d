"""``edupa status``: what is loaded, what was rejected, what is missing, and what is published."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.table import Table

from edupa.calendar_page import print_calendar, print_deliveries
from edupa.pipeline import run_folder
from edupa.settings import Settings
from ingest import load_contracts
from ingest.calendar import calendar
from ingest.columns import ODD_BLANK
from ingest.contract import known_code_lists
from ingest.quarantine import QuarantineError
from warehouse.connection import connect


def print_status(
    settings: Settings, console: Console, *, as_of: date, feed: str | None = None, period: int | None = None
) -> None:
    """Print the delivery calendar and the state of the warehouse; with a feed or a period its deliveries only.

    Args:
        settings: where the warehouse is.
        console: where it is printed.
        as_of: day for which the calendar is asked.
        feed: deliveries of this feed.
        period: deliveries of this period.

    Raises:
        ConfigError: there is no warehouse yet.
        QuarantineError: nothing is expected of this feed and period.
    """
    with connect("auditor", settings.warehouse) as conn:
        contracts = load_contracts()
        if feed is not None and feed not in contracts:
            raise QuarantineError(f"no feed {feed!r}: one of {', '.join(sorted(contracts))}")
        deliveries = calendar(conn, contracts, known_code_lists(), as_of, feed)
    if feed is not None or period is not None:
        chosen = [item for item in deliveries if period is None or item.period == period]
        if not chosen:
            raise QuarantineError(f"no contract expects {feed or 'anything'} for period {period} as of {as_of}")
        print_deliveries(chosen, as_of, console)
        return
    print_calendar(deliveries, as_of, console)
    with connect("auditor", settings.warehouse) as conn:
        feeds = conn.execute(
            "select feed, count(*) filter (where status in ('landed', 'unchanged')),"
            " count(*) filter (where status = 'rejected'), sum(rows_in), sum(rows_landed), sum(rows_unchanged),"
            " sum(rows_quarantined), (select count(*) from (select distinct e.load_id, e.sheet, e.line_number"
            " from quarantine.entry e where e.feed = l.feed and e.is_open) as rows), sum(rows_exact_duplicate),"
            " to_char(max(finished_at), 'YYYY-MM-DD HH24:MI:SS')"
            " from ledger.load l where feed is not null group by feed order by feed"
        ).fetchall()
        rejected = conn.execute(
            "select l.file_name, coalesce(l.rejection ->> 'rule', 'file.name'), coalesce(l.rejection ->> 'message_en',"
            " 'no contract recognizes this name'), coalesce(l.rejection ->> 'what_to_do', 'see docs/feeds')"
            " from ledger.load l where l.status in ('rejected', 'unrecognized') order by l.load_id desc limit 10"
        ).fetchall()
        odd = conn.execute(
            "select l.file_name, split_part(n.key, '.', 1), n.value"
            " from ledger.load l, jsonb_each_text(l.normalizations) n"
            " where split_part(n.key, '.', 2) = %s and l.status in ('landed', 'unchanged')"
            " order by l.load_id desc, n.key limit 10",
            (ODD_BLANK,),
        ).fetchall()
        gates = conn.execute(
            "select distinct on (boundary, evaluation_year) gate_run_id, boundary, evaluation_year, decision, page,"
            " to_char(finished_at, 'YYYY-MM-DD HH24:MI'), run_id from ledger.gate_run"
            " order by boundary, evaluation_year, gate_run_id desc"
        ).fetchall()
        failed = conn.execute(
            "select r.severity, r.expectation_id, r.county_code, r.period, r.observed from ledger.gate_result r"
            " where not r.success and r.gate_run_id = (select max(gate_run_id) from ledger.gate_run"
            " where boundary = 'arrival') order by r.severity, r.expectation_id, r.county_code, r.period limit 30"
        ).fetchall()
        runs = conn.execute(
            "select kind, status, to_char(started_at, 'YYYY-MM-DD HH24:MI:SS') from ledger.run"
            " order by started_at desc limit 5"
        ).fetchall()
        shown = conn.execute("select release_id from releases.pointer").fetchone()
    table = Table(title="\nfeeds", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("feed", no_wrap=True)
    headings = (
        "files",
        "rejected",
        "rows in",
        "landed",
        "unchanged",
        "quarantined",
        "still open",
        "duplicates",
        "last load at",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in feeds:
        table.add_row(str(row[0]), *(str(cell) for cell in row[1:]))
    console.print(table)
    if rejected:
        console.print("\n[bold]rejected files[/] (newest first)")
        for name, rule, message, advice in rejected:
            console.print(f"  {name}: {rule}: {message} → {advice}", highlight=False, soft_wrap=True)
    if odd:
        console.print("\n[bold]warnings[/] (newest first)")
        for name, column, amount in odd:
            console.print(
                f"  {name}: text.odd_blank: {amount} cells of {column} held a non-breaking, zero-width or ideographic"
                " space, which was removed 首尾含不间断、零宽或全角空格，已去除",
                highlight=False,
                soft_wrap=True,
            )
    console.print("\n[bold]gates[/] (last word per boundary and year)")
    for _, boundary, year, decision, page, moment, run_id in gates:
        place = run_folder(settings, str(run_id)) / str(page)
        console.print(f"  {boundary} {year}: {decision} at {moment}, page {place}", highlight=False, soft_wrap=True)
    if not gates:
        console.print("  none asked yet")
    if failed:
        console.print("\n[bold]what the arrival gate found[/]")
        for severity, expectation, county, when, observed in failed:
            console.print(
                f"  {severity}: {expectation} county {county} period {when}: {observed}",
                highlight=False,
                soft_wrap=True,
            )
    console.print("\n[bold]last runs[/]")
    if not runs:
        console.print("  none yet")
    for kind, state, moment in runs:
        console.print(f"  {moment} {kind}: {state}", highlight=False)
    console.print(f"\n[bold]published[/] {shown[0] if shown else 'nothing yet'}", highlight=False)
