"""``edupa match``: which registered-poor person is which pupil, where the ID numbers do not say it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from edupa.cli_common import fail, out, plainly
from edupa.settings import load_settings
from warehouse.connection import connect

match_app = typer.Typer(
    no_args_is_help=True, help="人员比对 — registered-poor persons and pupils: run, status, explain a case."
)

_SAID = {
    "matched": ("已比对为同一人", "taken for one person"),
    "review": ("待核查", "held for review: an officer decides (feed match_review, 比对核查)"),
}


@match_app.command("run")
@plainly
def match_run(
    force: Annotated[bool, typer.Option("--force", help="Also where nothing landed since the last run.")] = False,
) -> None:
    """Match persons whose ID number is on no roll; the nightly load does the same.

    Example: `edupa match run`
    """
    from edupa.pipeline import match_persons

    match_persons(load_settings(), "edupa match run", force=force)


@match_app.command("status")
@plainly
def match_status() -> None:
    """Count pairs by year, status and method, and say when they were found.

    Example: `edupa match status`
    """
    with connect("ingest", load_settings().warehouse) as conn:
        run = conn.execute(
            "select to_char(finished_at, 'YYYY-MM-DD HH24:MI'), engine_version, last_load_id from matching.run"
            " order by run_id desc limit 1"
        ).fetchone()
        rows = conn.execute(
            "select poverty_year, status, method, count(distinct poor_person_token), count(*) from matching.person_pair"
            " where ended_load_id is null group by 1, 2, 3 order by 1, 2, 3"
        ).fetchall()
    if run is None:
        print("nothing was matched yet: `edupa match run`, or the nightly load")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("year", "status", "method"):
        table.add_column(heading, no_wrap=True)
    for heading in ("persons", "candidates"):
        table.add_column(heading, justify="right", no_wrap=True)
    for year, status, method, persons, candidates in rows:
        table.add_row(str(year), str(status), str(method), f"{persons:,}", f"{candidates:,}")
    out.print(table)
    print(f"found {run[0]}, as of load {run[2]}, rules {run[1]}; equal ID numbers are not counted here")


@match_app.command("explain")
@plainly
def match_explain(case: Annotated[str, typer.Argument(help="Case number, as in the review queue.")]) -> None:
    """Say why two persons are taken for one, or held for review; no name, number or token.

    Example: `edupa match explain 0123456789ABCDEF`
    """
    from ingest.match_settings import load_rules

    number = case.strip().upper()
    with connect("ingest", load_settings().warehouse) as conn:
        rows = conn.execute(
            "select poverty_year, status, method, score, weight_bits, preference, explanation, explanation_zh,"
            " explanation_en, pupil_feed, poor_load_id, pupil_load_id, ended_load_id from matching.person_pair"
            " where case_number = %s order by poverty_year, load_id",
            (number,),
        ).fetchall()
    if not rows:
        raise fail(f"no case {number}: the review queue (restricted.match_queue) shows the numbers")
    rules = load_rules()
    print(f"案件 case {number}")
    for year, status, method, score, bits, place, codes, chinese, english, feed, poor, pupil, ended in rows:
        said_zh, said_en = _SAID[str(status)]
        print(f"\n{year}: {said_zh} — {said_en} ({method})" + (f"; ended with load {ended}" if ended else ""))
        print(f"  依据：{chinese}")
        print(f"  found: {english}")
        print(f"  codes: {codes}")
        print(
            f"  probability {score} ({bits} bits), candidate {place} of the person; matched from {rules.accept},"
            f" held for review from {rules.review}"
        )
        print(f"  rests on load {poor} ({rules.left.feed}) and load {pupil} ({feed})")
