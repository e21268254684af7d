"""The main job: sample if there is nothing, nightly load, annual evaluations, and the result in a table."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from itertools import chain

from rich.console import Console

from edupa import airflow, pipeline
from edupa.progress import say
from edupa.settings import SAMPLE_SEED, SAMPLE_YEARS, Settings
from warehouse.canonical import ReleaseError
from warehouse.connection import connect
from warehouse.transform import TransformError


class MainJobError(RuntimeError):
    """The job stopped; the message says where and what to read."""


def run_id_of(kind: str, year: int) -> str:
    """Id of a run without Airflow, unique in time."""
    return f"{kind}-{year}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _ensure_extracts(settings: Settings, scale: float) -> None:
    if settings.extracts.exists() and any(entry for entry in settings.extracts.iterdir() if entry.name[0] != "."):
        return
    from simulator import simulate

    began = time.monotonic()
    say(f"{settings.extracts} is empty: writing the sample province at scale {scale} …")
    report = simulate(settings.extracts, scale=scale, years=SAMPLE_YEARS, seed=SAMPLE_SEED, defects=True)
    say(
        f"sample: {report.files} files, {sum(report.rows.values()):,} rows, {report.defect_count} defects"
        f" ({time.monotonic() - began:.0f} s)"
    )


def _plain_nightly(settings: Settings, year: int) -> None:
    run_id = run_id_of("nightly", year)
    pipeline.begin_run(settings, run_id, "nightly_load", {"evaluation_year": year})
    with pipeline.noting_failure(settings, run_id, "nightly_load"):
        for feed in chain.from_iterable(pipeline.list_feeds(settings)):
            pipeline.load_feed(settings, feed)
        pipeline.replay_quarantine(settings)
        pipeline.match_persons(settings, run_id)
        pipeline.arrival_gate(settings, run_id, year)
        pipeline.build_core(settings, run_id)
    pipeline.end_run(settings, run_id, "nightly_load", "succeeded")


def _plain_annual(settings: Settings, year: int) -> None:
    run_id = run_id_of("annual", year)
    pipeline.begin_run(settings, run_id, "annual_evaluation", {"evaluation_year": year})
    with pipeline.noting_failure(settings, run_id, "annual_evaluation"):
        pipeline.build_candidate(settings, run_id, year)
        pipeline.candidate_gate(settings, run_id, year)
        pipeline.publish(settings, run_id, year)
    pipeline.end_run(settings, run_id, "annual_evaluation", "succeeded")


def _last_error(text: str) -> str:
    """The last line of an Airflow log that tells an error in words."""
    found = re.findall(r"^(?:\w+\.)*(?:\w*Error|GateBlocked)\b: (.+)$", text, flags=re.MULTILINE)
    return found[-1] if found else "a task failed"


def _dag(settings: Settings, dag_id: str, params: dict[str, object]) -> None:
    shown = ", ".join(f"{key} {value}" for key, value in params.items())
    say(f"Airflow {dag_id} ({shown})")
    done = airflow.run_dag(settings, dag_id, params)
    if not done.succeeded:
        reason = _last_error(done.log.read_text(encoding="utf-8", errors="replace"))
        raise MainJobError(f"{dag_id} failed: {reason}; what is published stays as it was; full log: {done.log}")
    say(f"Airflow {dag_id} succeeded ({done.seconds:.0f} s)")


def run_main_job(settings: Settings, years: list[int], console: Console, *, plain: bool, scale: float) -> None:
    """Run the whole job and print its result.

    Args:
        settings: where everything is; the server runs and its schema is up to date.
        years: evaluation years to release, in order; deliveries are expected up to the last.
        console: where the result is printed.
        plain: without Airflow.
        scale: of the sample, if one has to be made.

    Raises:
        MainJobError: a gate blocked or a task failed; what was published before stays.
    """
    if settings.approval == "airflow":
        raise MainJobError(
            "EDUPA_APPROVAL=airflow asks for an answer in Airflow's web UI, and this job has none:"
            " use `edupa airflow up` and start annual_evaluation there, or set EDUPA_APPROVAL to cli or none"
        )
    began = time.monotonic()
    _ensure_extracts(settings, scale)
    if plain:
        try:
            _plain_nightly(settings, max(years))
            for year in years:
                _plain_annual(settings, year)
        except (pipeline.GateBlocked, ReleaseError, TransformError) as error:
            raise MainJobError(f"{error}; what is published stays as it was") from error
    else:
        say("Airflow: preparing its database …")
        airflow.prepare(settings)
        _dag(settings, "nightly_load", {"evaluation_year": max(years)})
        for year in years:
            _dag(settings, "annual_evaluation", {"evaluation_year": year})
    say(f"done in {time.monotonic() - began:.0f} s")
    from evaluation.scoreboard import print_scoreboard

    with connect("evaluator", settings.warehouse) as conn:
        print_scoreboard(conn, console)
