"""The ``edupa`` command line: thin commands over the rooms, one clear sentence and a non-zero exit on misuse."""

from __future__ import annotations

import csv
import json
import sys
import time
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from edupa.cli_access import access_app, watchdog_app
from edupa.cli_approval import release_approve
from edupa.cli_common import fail, out, plainly, started
from edupa.cli_contract import contract_app
from edupa.cli_disclosure import app as disclosure_app
from edupa.cli_match import match_app
from edupa.cli_quarantine import quarantine_app
from edupa.cli_release import release_app
from edupa.cli_seal import backup_app, housekeeping_app
from edupa.cli_waiver import waiver_app
from edupa.cli_worklist import worklist
from edupa.settings import SAMPLE_SCALE, SAMPLE_SEED, SAMPLE_YEARS, load_settings
from warehouse.clock import today
from warehouse.config import LOGIN_ROLES
from warehouse.connection import connect, dsn

app = typer.Typer(
    name="edupa",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="edupa measures a provincial education poverty-alleviation plan: extracts in, immutable releases out.",
)
server_app = typer.Typer(no_args_is_help=True, help="The embedded PostgreSQL.")
airflow_app = typer.Typer(no_args_is_help=True, help="Airflow's scheduler and web UI.")
app.add_typer(server_app, name="server")
app.add_typer(release_app, name="release")
app.add_typer(backup_app, name="backup")
app.add_typer(housekeeping_app, name="housekeeping")
app.add_typer(airflow_app, name="airflow")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(waiver_app, name="waiver")
release_app.command("approve")(release_approve)
app.add_typer(access_app, name="access")
app.add_typer(watchdog_app, name="watchdog")
app.add_typer(contract_app, name="contract")
app.add_typer(disclosure_app, name="disclosure")
app.add_typer(match_app, name="match")
app.command("worklist")(worklist)


# --- server -------------------------------------------------------------------------------------------------------


@server_app.command("start")
@plainly
def server_start() -> None:
    """Start the embedded PostgreSQL and bring its schema up to date.

    Example: `edupa server start`
    """
    settings = started(load_settings())
    print(dsn("evaluator", settings.warehouse, show_password=False))


@server_app.command("stop")
@plainly
def server_stop() -> None:
    """Stop the embedded PostgreSQL.

    Example: `edupa server stop`
    """
    from warehouse.server import stop

    print("stopped" if stop(load_settings().warehouse) else "was not running")


@server_app.command("status")
@plainly
def server_status() -> None:
    """Say whether the warehouse answers; exit code 3 when it does not.

    Example: `edupa server status`
    """
    from warehouse.server import is_running, read_state

    settings = load_settings()
    state = read_state(settings.warehouse)
    if settings.warehouse.url or (state and is_running(settings.warehouse)):
        with connect("auditor", settings.warehouse) as conn:
            row = conn.execute("select split_part(version(), ' on ', 1)").fetchone()
        place = f", data in {state.data_dir}" if state else ""
        print(f"running: {row[0] if row else '?'}, {dsn('evaluator', settings.warehouse, show_password=False)}{place}")
    else:
        print("not running")
        raise typer.Exit(3)


Role = Annotated[str, typer.Option("--role", help=f"One of {', '.join(LOGIN_ROLES)}, admin.")]


@server_app.command("dsn")
@plainly
def server_dsn(role: Role = "evaluator") -> None:
    """Print the connection URL of a role, with its password: mind where it goes.

    Example: `psql "$(edupa server dsn --role bi)"`
    """
    print(dsn(role, load_settings().warehouse))


@app.command("sql")
@plainly
def sql_command(
    query: Annotated[str, typer.Argument(help="One SQL statement.")],
    role: Role = "evaluator",
) -> None:
    """Run one SQL statement and print CSV with a header.

    Example: `edupa sql "select area_name, value, verdict from marts.county_evaluation where indicator_code = 'G1b'"`
    """
    with connect(role, load_settings().warehouse) as conn:
        try:
            cursor = conn.execute(query.encode())
            if cursor.description is None:
                print(cursor.statusmessage)
                return
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow([column.name for column in cursor.description])
            for row in cursor:
                # json as json, not as Python writes it
                writer.writerow(
                    json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value for value in row
                )
        except psycopg.Error as error:
            raise fail(str(error).strip()) from None


# --- sample and load ----------------------------------------------------------------------------------------------


def _years(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and len(first) == len(last) == 4 and int(first) <= int(last)):
        raise typer.BadParameter("two years such as 2015-2020")
    return int(first), int(last)


@app.command()
@plainly
def simulate(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the extracts; it must be empty or missing.")],
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="1 is the real province.")] = SAMPLE_SCALE,
    years: Annotated[
        str, typer.Option(help="First and last evaluation year.")
    ] = f"{SAMPLE_YEARS[0]}-{SAMPLE_YEARS[1]}",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = SAMPLE_SEED,
    defects: Annotated[bool, typer.Option(help="Inject the defects that real extracts have.")] = True,
) -> None:
    """Write the sample province: extracts as counties send them, and the truth beside them.

    Example: `edupa simulate --scale 0.02 --years 2015-2020 --seed 1 --out extracts`
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise fail(f"{out_dir} is not empty: name another folder, nothing is overwritten")
    _simulate(out_dir, scale, _years(years), seed, defects)


def _simulate(out_dir: Path, scale: float, years: tuple[int, int], seed: int, defects: bool) -> None:
    from simulator import simulate as write_province

    began = time.monotonic()
    report = write_province(out_dir, scale=scale, years=years, seed=seed, defects=defects)
    print(
        f"sample province at scale {scale}: {report.files} files, {sum(report.rows.values()):,} rows,"
        f" {report.defect_count} defects, {time.monotonic() - began:.0f} s, in {out_dir}"
    )


@app.command()
@plainly
def load(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files to load; none: the extract folder.")] = None,
) -> None:
    """Load extracts without Airflow; exit code 1 if a file was rejected.

    Example: `edupa load extracts/E04_学籍/学籍_640422_西吉县_2019_20191020.csv`
    """
    import ingest
    from edupa import pipeline

    settings = started(load_settings())
    rejected = 0
    if not paths:
        for feed in chain.from_iterable(pipeline.list_feeds(settings)):
            rejected += int(pipeline.load_feed(settings, feed)["files_rejected"])
    else:
        contracts = ingest.load_contracts()
        with connect("ingest", settings.warehouse) as conn:
            ingest.ensure_landing(conn, contracts)
        for path in paths:
            if not path.is_file():
                raise fail(f"there is no file {path}")
            below = path.resolve().is_relative_to(settings.extracts.resolve())
            root = settings.extracts if below else path.resolve().parent
            try:
                report = ingest.load_file(path, root, contracts, settings.warehouse)
            except ValueError as error:
                drafted = ingest.feed_of(path.name, ingest.load_contracts(drafts=True))
                if drafted and drafted not in contracts:
                    raise fail(f"contract {drafted} is a draft: read it, then set status: active") from None
                raise fail(
                    f"{error}: see docs/feeds for the names that the contracts expect,"
                    " or docs/tutorial_new_feed.md to add a feed"
                ) from None
            print(
                f"{report.file_name}: {report.status}, {report.rows_in} rows in, {report.rows_landed} landed,"
                f" {report.rows_unchanged} unchanged, {report.rows_quarantined} quarantined"
            )
            if report.rejection:
                print(f"  {report.rejection.rule}: {report.rejection.message_en} → {report.rejection.what_to_do}")
            for warning in report.warnings:
                print(f"  warning: {warning}")
            if report.rows_quarantined:
                print(f"  `edupa quarantine list --feed {report.feed}` says which rows and why")
            rejected += report.status == "rejected"
    if rejected:
        raise fail(f"{rejected} files were rejected: `edupa status` says why")


# --- the main job -------------------------------------------------------------------------------------------------


@app.command()
@plainly
def run(
    years: Annotated[list[int] | None, typer.Option("--year", help="Evaluation years to release, in order.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="The same tasks in this process, without Airflow.")] = False,
    scale: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Scale of the sample, if one is made.")
    ] = SAMPLE_SCALE,
) -> None:
    """Do the main job: load what is in the extract folder, evaluate, publish, and print the result.

    If the extract folder is empty, the sample province is written there first.

    Example: `edupa run --year 2019 --year 2020`
    """
    from edupa.main_job import MainJobError, run_main_job

    try:
        run_main_job(started(load_settings()), years or [2019, 2020], out, plain=plain, scale=scale)
    except MainJobError as error:
        raise fail(str(error)) from None


@app.command()
@plainly
def status(
    feed: Annotated[str | None, typer.Option(help="List the deliveries of this feed.")] = None,
    period: Annotated[int | None, typer.Option(help="List the deliveries of this period.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Day for which the calendar is asked; none: today.")] = None,
) -> None:
    """Say what is due, arrived, late and missing, what is loaded, rejected and quarantined, and what is published.

    Example: `edupa status --feed pupil --period 2019`
    """
    from edupa.status import print_status

    try:
        day = date.fromisoformat(as_of) if as_of else today()
    except ValueError:
        raise typer.BadParameter("a date such as 2019-12-01", param_hint="--as-of") from None
    print_status(load_settings(), out, as_of=day, feed=feed, period=period)


@app.command()
@plainly
def explain(
    indicator: Annotated[str, typer.Argument(help="Indicator code, e.g. G1b.")],
    area: Annotated[str, typer.Option(help="Area code: 64, a city, a county, or a group such as PLAN9.")],
    year: Annotated[int, typer.Option(help="Evaluation year.")],
    variant: Annotated[str | None, typer.Option(help="Variant; the headline one if not named.")] = None,
) -> None:
    """Show how a published figure came to be: formula, counts, target, assumption, and the files behind it.

    Example: `edupa explain G1b --area 640424 --year 2020`
    """
    from evaluation.explain import ExplainError, explain_figure, print_explanation

    try:
        with connect("evaluator", load_settings().warehouse) as conn:
            explanation = explain_figure(conn, indicator, area=area, year=year, variant=variant)
    except ExplainError as error:
        raise fail(str(error)) from None
    print_explanation(explanation, out)


# --- Airflow ------------------------------------------------------------------------------------------------------


@airflow_app.command("up")
@plainly
def airflow_up() -> None:
    """Start Airflow's scheduler and web UI; the DAGs then run on schedule.

    Example: `edupa airflow up`
    """
    from edupa import airflow

    settings = started(load_settings())
    airflow.prepare(settings)
    address = airflow.up(settings)
    print(f"Airflow: {address}, user admin, password in {settings.warehouse.secrets_dir / 'airflow_admin'}")


@airflow_app.command("down")
@plainly
def airflow_down() -> None:
    """Stop what `edupa airflow up` started.

    Example: `edupa airflow down`
    """
    from edupa import airflow

    stopped = airflow.down(load_settings())
    print(f"stopped {', '.join(stopped)}" if stopped else "was not running")


@airflow_app.command("cli", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@plainly
def airflow_cli(context: typer.Context) -> None:
    """Run any command of Airflow's own command line in edupa's environment.

    Example: `edupa airflow cli dags trigger annual_evaluation --conf '{"evaluation_year": 2020}'`
    """
    from edupa import airflow

    settings = load_settings()
    raise typer.Exit(airflow.passthrough(settings, context.args))


def main() -> Any:
    """Entry point."""
    return app()
