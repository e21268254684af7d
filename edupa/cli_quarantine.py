"""``edupa quarantine``: what was rejected row by row, given back to the county, and read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edupa.cli_common import fail, out, plainly
from edupa.settings import Settings, load_settings
from warehouse.connection import connect

if TYPE_CHECKING:
    from ingest import Contract
    from ingest.quarantine import Group

quarantine_app = typer.Typer(no_args_is_help=True, help="Rejected rows: list, show, give back to the county, replay.")

Feed = Annotated[str | None, typer.Option(help="Only this feed.")]
County = Annotated[str | None, typer.Option(help="Only this county, by code or name.")]
Period = Annotated[int | None, typer.Option(help="Only files of this period.")]
Rule = Annotated[str | None, typer.Option(help="Only this rule, or the rules that start so, e.g. id.checksum or id.")]
Root = Annotated[Path | None, typer.Option(help="Folder with the files; none: the extract folder.")]


class State(StrEnum):
    """Which entries are meant."""

    OPEN = "open"
    CLEARED = "cleared"
    ALL = "all"


def _chosen(
    settings: Settings, feed: str | None, county: str | None, period: int | None, rule: str | None, state: State
) -> tuple[dict[str, Contract], list[Group]]:
    from ingest import load_contracts
    from ingest.quarantine import list_groups

    contracts = load_contracts()
    with connect("auditor", settings.warehouse) as conn:
        found = list_groups(conn, contracts, feed=feed, county=county, period=period, rule=rule, state=state.value)
    return contracts, found


def _county(group: Group) -> str:
    return f"{group.county} {group.county_name or ''}".strip() if group.county else "province"


def _totals(groups: Iterable[Group]) -> str:
    rules: Counter[str] = Counter()
    for group in groups:
        rules[group.rule] += group.rows
    return ", ".join(f"{rule} {amount:,}" for rule, amount in rules.most_common())


@quarantine_app.command("list")
@plainly
def quarantine_list(
    feed: Feed = None,
    county: County = None,
    period: Period = None,
    rule: Rule = None,
    state: Annotated[State, typer.Option(help="Entries that wait, that a later load settled, or both.")] = State.OPEN,
    limit: Annotated[int, typer.Option(min=1, help="Lines to print.")] = 40,
) -> None:
    """List rejected rows by file, rule and column, most rows first, with counts.

    Example: `edupa quarantine list --county 西吉县 --period 2019`
    """
    from ingest.quarantine import count_rows

    settings = load_settings()
    _, groups = _chosen(settings, feed, county, period, rule, state)
    if not groups:
        print(f"no {'' if state is State.ALL else state.value + ' '}quarantine entries match")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    if state is State.ALL:
        table.add_column("open", justify="right", no_wrap=True)
    for heading in ("feed", "county", "period", "rule", "column", "load"):
        table.add_column(heading, no_wrap=True)
    for group in groups[:limit]:
        cells = [str(group.first_id), f"{group.rows:,}"]
        if state is State.ALL:
            cells.append(f"{group.open_rows:,}")
        column = escape(f"{group.header} ({group.column})" if group.header else group.column)
        period_text = str(group.period) if group.period else "–"
        cells += [group.feed, _county(group), period_text, group.rule, column, str(group.load_id)]
        table.add_row(*cells)
    out.print(table)
    if len(groups) > limit:
        print(f"… and {len(groups) - limit} more lines: narrow the list, or give --limit {len(groups)}")
    with connect("auditor", settings.warehouse) as conn:
        rows = count_rows(conn, groups, only_open=state is State.OPEN)
    files = len({group.load_id for group in groups})
    out.print(f"\n{rows:,} rows of {files:,} files; by rule: {_totals(groups)}", highlight=False, soft_wrap=True)
    print(f"`edupa quarantine show {groups[0].first_id}` tells what is wrong with one of them and what to do")


@quarantine_app.command("show")
@plainly
def quarantine_show(entry_id: Annotated[int, typer.Argument(help="Id from `edupa quarantine list`.")]) -> None:
    """Show one entry: where the row stands, what is wrong, what to do, and what became of it.

    Example: `edupa quarantine show 1`
    """
    from ingest.quarantine import get_entry

    with connect("auditor", load_settings().warehouse) as conn:
        entry = get_entry(conn, entry_id)
    place = f"{entry.file_name}{', sheet ' + entry.sheet if entry.sheet else ''}, line {entry.line}"
    column = f"{entry.header} ({entry.column})" if entry.header else "the row as a whole"
    lines = [
        ("entry", str(entry.entry_id)),
        ("where", place),
        ("column", column),
        ("rule", entry.rule),
        ("value", f"{entry.masked_value} (masked)" if entry.masked_value else "–"),
        ("what is wrong", entry.message_en),
        ("问题", entry.message_zh),
        ("quarantined", f"{entry.quarantined_at} by load {entry.load_id}, contract {entry.contract_version}"),
        ("content", f"sha256 {entry.file_sha256[:16]}"),
    ]
    said = {
        "passed": "the same file was read again and the row no longer breaks this rule",
        "corrected": "a newer file holds a good row of the same key, which is in force",
        "withdrawn": "the newer file holds no row of that key: left out, or its key was corrected",
        "replaced": "the newer file no longer holds the row as it was; its key could not be read",
        "rejected_again": "the row, or another of its key, was rejected again, under a new entry",
    }
    if entry.outcome is None:
        lines.append(("state", "open: a corrected file, or a replay, settles it"))
    else:
        lines.append(("state", f"{entry.outcome}: {said[entry.outcome]}"))
        lines.append(("settled", f"{entry.cleared_at} by load {entry.cleared_by_load_id}, {entry.cleared_by_file}"))
    if entry.others:
        lines.append(("same row", f"entries {', '.join(map(str, entry.others))}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in lines:
        # a masked value may hold brackets, which are no markup
        table.add_row(name, escape(text))
    out.print(table, highlight=False)


@quarantine_app.command("export")
@plainly
def quarantine_export(
    to: Annotated[Path, typer.Option("--to", help="Folder for the workbooks; never below the extracts.")],
    feed: Feed = None,
    county: County = None,
    period: Period = None,
    rule: Rule = None,
    root: Root = None,
) -> None:
    """Give a county its own files back as workbooks: wrong rows marked, reasons in Chinese.

    They are made from the county's files and hold personal values: send them to nobody but the county.

    Example: `edupa quarantine export --county 640422 --period 2019 --to returned`
    """
    from ingest import Intake
    from ingest.county_workbook import export, require_outside
    from ingest.quarantine import QuarantineError, open_files

    settings = load_settings()
    source = root or settings.extracts
    require_outside(to, source)
    contracts, groups = _chosen(settings, feed, county, period, rule, State.OPEN)
    if not groups:
        print("no open quarantine entries match: nothing to give back")
        return
    refused = 0
    with Intake(source, contracts, settings.warehouse) as intake, connect("ingest", settings.warehouse) as conn:
        for file in open_files(conn, (group.load_id for group in groups)):
            if file.feed not in contracts:
                continue
            try:
                done = export(conn, contracts[file.feed], intake, file, to)
            except QuarantineError as error:
                refused += 1
                fail(str(error))
                continue
            print(f"{done.path}: {done.rows_marked:,} of {done.rows:,} rows marked")
    if refused:
        raise fail(f"{refused} files could not be given back")


@quarantine_app.command("replay")
@plainly
def quarantine_replay(
    feed: Feed = None,
    county: County = None,
    period: Period = None,
    rule: Rule = None,
    root: Root = None,
    dry_run: Annotated[bool, typer.Option(help="Say which files would be read, and read none.")] = False,
    force: Annotated[bool, typer.Option(help="Read also files for which nothing has changed.")] = False,
) -> None:
    """Read files again whose rejected rows may pass now: areas caught up, or a contract or code list changed.

    Example: `edupa quarantine replay --rule reference --dry-run`
    """
    from ingest import Intake
    from ingest.quarantine import replay

    settings = load_settings()
    contracts, groups = _chosen(settings, feed, county, period, rule, State.OPEN)
    if not groups:
        print("no open quarantine entries match: nothing to replay")
        return
    with Intake(root or settings.extracts, contracts, settings.warehouse) as intake:
        done = replay(
            intake,
            contracts,
            settings.warehouse,
            (group.load_id for group in groups),
            dry_run=dry_run,
            even_if_nothing_changed=force,
        )
    refused = 0
    for item in done:
        name, why = item.file.file_name, item.why or "asked for by --force"
        if item.refusal:
            refused += 1
            fail(item.refusal)
        elif item.report:
            report = item.report
            print(
                f"{name}: {why}: {report.status}, {report.rows_landed:,} rows landed now,"
                f" {report.rows_quarantined:,} still quarantined"
            )
        elif dry_run and (item.why or force):
            print(f"{name}: would be read again: {why}")
    idle = sum(not item.why and not force for item in done)
    if idle:
        print(f"{idle:,} files left alone: nothing has changed since they were loaded, their rows would fail again")
    if refused:
        raise fail(f"{refused} files could not be read again")
