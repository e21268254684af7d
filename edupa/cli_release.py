"""``edupa release``: list, show, publish, compare, roll back, withdraw, notify; edupa/cli_seal.py adds to it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edupa.cli_common import fail, out, plainly, started
from edupa.settings import load_settings
from warehouse.connection import connect

release_app = typer.Typer(
    no_args_is_help=True, help="Published releases: list, show, compare, publish, withdraw, roll back, verify."
)


class Change(StrEnum):
    """Declared level of change."""

    patch = "patch"
    minor = "minor"
    major = "major"


class Format(StrEnum):
    """How a comparison is written."""

    table = "table"
    csv = "csv"
    json = "json"


@release_app.command("list")
@plainly
def release_list() -> None:
    """List every release, newest last; `*` marks the one that marts.* show.

    Example: `edupa release list`
    """
    with connect("auditor", load_settings().warehouse) as conn:
        rows = conn.execute(
            "select r.release_id = (select release_id from releases.pointer), r.release_id,"
            " coalesce(r.semantic_version, '?'), coalesce(r.change_level, '?'),"
            " case when r.status = 'frozen' and r.embargo_until is not null then 'embargo' else r.status end, r.kind,"
            " to_char(coalesce(r.published_at, r.embargo_until, r.frozen_at) at time zone 'Asia/Shanghai',"
            "  'YYYY-MM-DD HH24:MI'),"
            " left(r.content_sha256, 16), coalesce(r.withdrawn_reason, r.reason)"
            " from ledger.release r order by r.frozen_at"
        ).fetchall()
    if not rows:
        print("no release yet: `make run` makes the first")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "release", "version", "change", "status", "kind", "published", "content sha256", "reason"):
        table.add_column(heading, no_wrap=heading != "reason")
    for current, *cells in rows:
        table.add_row("*" if current else "", *map(str, cells))
    out.print(table)


@release_app.command("show")
@plainly
def release_show(
    release: Annotated[str, typer.Argument(help="Release, e.g. 2020.1.0.")],
    as_json: Annotated[bool, typer.Option("--json", help="The registry entry as JSON.")] = False,
) -> None:
    """Show the registry entry of a release in full: what it was made from, how it was judged, what became of it.

    Example: `edupa release show 2020.1.0 --json`
    """
    from warehouse.registry import registry_entry

    with connect("auditor", load_settings().warehouse) as conn:
        entry = registry_entry(conn, release)
    if as_json:
        print(json.dumps(entry, ensure_ascii=False, indent=2, default=str))
        return
    for name, value in entry.items():
        if isinstance(value, dict | list):
            print(f"{name}:")
            for line in value.items() if isinstance(value, dict) else value:
                print(f"  {_line(line)}")
        else:
            print(f"{name}: {'–' if value is None else value}")


def _line(item: Any) -> str:
    if isinstance(item, tuple):
        name, value = item
        if isinstance(value, dict) and value.keys() >= {"rows", "sha256"}:
            return f"{name}: {value['rows']} rows, sha256 {value['sha256']}"  # ranges of rows: in the JSON
        return f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value}"
    if not isinstance(item, dict):
        return str(item)
    if item.keys() >= {"level", "zh", "en"}:
        return f"{item['level']}: {item['zh']} — {item['en']}"
    return ", ".join(f"{name} {value}" for name, value in item.items())


@release_app.command("publish")
@plainly
def release_publish(
    year: Annotated[int, typer.Option(help="Evaluation year.")],
    reason: Annotated[str, typer.Option(help="Why; printed in the release notes.")] = "annual evaluation",
    restatement: Annotated[bool, typer.Option(help="The release restates an earlier one; give a reason.")] = False,
    change: Annotated[
        Change | None, typer.Option(help="Declared level of change; refused if more has changed. None: computed.")
    ] = None,
    embargo_until: Annotated[
        str, typer.Option(help="Keep it frozen until then: 2026-12-01 09:00, time of Asia/Shanghai unless an offset.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Judge, but publish nothing.")] = False,
) -> None:
    """Build, judge and publish the evaluation of one year from what is loaded, without Airflow.

    Example: `edupa release publish --year 2020 --restatement --reason "泾源县补报2019年学籍"`
    """
    from edupa import pipeline
    from edupa.main_job import run_id_of
    from warehouse.release_notes import embargo_time

    embargo_time(embargo_until)  # a slip of the pen is told before the work, not after
    settings = started(load_settings())
    run_id = run_id_of("release", year)
    try:
        pipeline.build_core(settings, run_id)
        pipeline.build_candidate(settings, run_id, year)
        pipeline.candidate_gate(settings, run_id, year)
        pipeline.publish(
            settings,
            run_id,
            year,
            kind="restatement" if restatement else "annual",
            reason=reason,
            dry_run=dry_run,
            declared_change=change.value if change else None,
            embargo_until=embargo_until,
        )
    except pipeline.GateBlocked as error:
        raise fail(str(error)) from None


@release_app.command("publish-due")
@plainly
def release_publish_due() -> None:
    """Publish every release whose embargo has ended; nothing to do is no error.

    Example: `edupa release publish-due`
    """
    from edupa import pipeline
    from edupa.main_job import run_id_of

    published = pipeline.publish_due(load_settings(), run_id_of("due", 0))
    print(f"published {', '.join(published)}" if published else "no release is due")


@release_app.command("diff")
@plainly
def release_diff(
    old: Annotated[str, typer.Argument(help="Release to compare from.")],
    new: Annotated[str, typer.Argument(help="Release to compare to; it may be the older one.")],
    form: Annotated[Format, typer.Option("--format", help="table: a summary; csv, json: every moved cell.")] = (
        Format.table
    ),
    to: Annotated[Path | None, typer.Option("--out", help="File to write; none: the screen.")] = None,
) -> None:
    """Say what changed between two published releases, at which level, in which cells, and why.

    Example: `edupa release diff 2019.1.0 2020.1.0 --format csv --out moved.csv`
    """
    from edupa.release_diff import ReleaseDiff, compare_releases, write_csv, write_json

    with connect("evaluator", load_settings().warehouse) as conn:
        found: ReleaseDiff = compare_releases(conn, old, new)
    if form is Format.table:
        if to is not None:
            raise fail("a table is for the screen: --out goes with --format csv or json")
        _print_diff(found)
        return
    write = write_csv if form is Format.csv else write_json
    if to is None:
        write(found, sys.stdout)
    else:
        with to.open("w", encoding="utf-8", newline="") as handle:
            write(found, handle)
        print(f"{len(found.cells)} moved cells written to {to}")


def _print_diff(found: Any) -> None:
    out.print(f"{found.old} → {found.new}: {found.level or 'no change'}", highlight=False)
    for reason in found.reasons[:20]:
        out.print(f"  {reason.level}: {reason.zh} — {reason.en}", highlight=False, soft_wrap=True, markup=False)
    if len(found.reasons) > 20:
        out.print(f"  … {len(found.reasons) - 20} more: --format json", highlight=False)
    if not found.counts:
        out.print("no cell moved", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("indicator", "added", "changed", "gone", "hidden", "cause"):
        table.add_column(heading, justify="left" if heading in ("indicator", "cause") else "right")
    for count in found.counts:
        figures = (count.added, count.changed, count.gone, count.hidden)
        table.add_row(count.subject, *map(str, figures), " / ".join(count.causes))
    out.print(table)
    out.print("every cell: --format csv", highlight=False)


@release_app.command("rollback")
@plainly
def release_rollback(
    to: Annotated[str | None, typer.Option("--to", help="Release to show; none: the one shown before.")] = None,
) -> None:
    """Let marts.* show an earlier release; nothing is deleted.

    Example: `edupa release rollback --to 2019.1.0`
    """
    from edupa import pipeline
    from warehouse.release import rollback

    settings = load_settings()
    before, now = rollback(settings.warehouse, to)
    print(f"marts.* show release {now} (before: {before})")
    pipeline.notify(settings)


@release_app.command("withdraw")
@plainly
def release_withdraw(
    release: Annotated[str, typer.Argument(help="Release, e.g. 2020.1.0.")],
    reason: Annotated[str, typer.Option(help="Why; whoever cites the release reads it.")],
) -> None:
    """Withdraw a release: it stays and can be cited, with a notice; marts.* show the last published one.

    Example: `edupa release withdraw 2020.1.0 --reason "隆德县分子重复计算"`
    """
    from edupa import pipeline
    from warehouse.release import withdraw

    settings = load_settings()
    before, now = withdraw(settings.warehouse, release, reason)
    moved = f"marts.* show release {now}" if now == before else f"marts.* show release {now} (before: {before})"
    print(f"release {release} is withdrawn: {reason}; {moved}")
    pipeline.notify(settings)


@release_app.command("notify")
@plainly
def release_notify(
    pending: Annotated[bool, typer.Option("--pending", help="Try again what was not delivered.")] = False,
) -> None:
    """Deliver notices of publications, rollbacks and withdrawals that the webhook has not got yet.

    Example: `edupa release notify --pending`
    """
    from edupa import pipeline
    from warehouse.notices import webhook_url

    settings = load_settings()
    if not pending:
        raise fail("say --pending: notices are sent when a release is published, this tries again what failed then")
    if webhook_url(settings.warehouse) is None:
        raise fail(
            f"no webhook: write its address to {settings.warehouse.secret_path('release_webhook_url')} or set"
            " EDUPA_RELEASE_WEBHOOK"
        )
    if not pipeline.notify(settings):
        raise fail("not everything was delivered; it stays pending")
    print("nothing is pending")
