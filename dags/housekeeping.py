"""Housekeeping: verify every release nightly; weekly also sweep, back up, try the backup, let go of old ones."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import dag, get_current_context, task

DOC = """
### 维护 — housekeeping
Looks every night (`nightly_verification`) and every week (`housekeeping`) whether everything that was ever frozen is,
byte for byte, what was sealed. A failed **verify** names release and table: publish nothing, keep the backups, read
`docs/seal.md`.

* Weekly also: schemas of dead runs are swept, a backup is made, restored into a throw-away server and verified there,
  and only then old backups go. After a failed verification no backup is made and none is removed.
* A candidate that waits for an approval belongs to a running run and stays.
* By hand: `edupa housekeeping run`, `edupa release verify`, `edupa backup drill`.
"""

KIND = "housekeeping"
DEFAULTS = {"owner": "data-engineering", "retries": 1, "retry_delay": timedelta(minutes=5)}
START = pendulum.datetime(2020, 11, 1, tz="Asia/Shanghai")


# a verdict does not change by asking again
@task(retries=0)
def verify() -> dict[str, object]:
    """Open the run, and compare everything frozen with its signed manifest."""
    from edupa import housekeeping, pipeline
    from edupa.settings import load_settings

    context = get_current_context()
    settings = load_settings()
    pipeline.begin_run(settings, context["run_id"], KIND, {})
    with pipeline.noting_failure(settings, context["run_id"], KIND):
        return housekeeping.verify_all(settings)


@task
def sweep() -> list[str]:
    """Drop schemas that dead runs left behind; Airflow says which of its runs live."""
    from edupa import housekeeping, pipeline
    from edupa.settings import load_settings

    context = get_current_context()
    settings = load_settings()
    is_running = housekeeping.as_airflow_says(lambda run: context["ti"].get_dagrun_state("annual_evaluation", run))
    with pipeline.noting_failure(settings, context["run_id"], KIND):
        return housekeeping.sweep(settings, is_running=is_running)


@task
def back_up() -> dict[str, object]:
    """Make a backup in one snapshot."""
    from edupa import housekeeping, pipeline
    from edupa.settings import load_settings

    context = get_current_context()
    settings = load_settings()
    with pipeline.noting_failure(settings, context["run_id"], KIND):
        return housekeeping.back_up(settings)


@task
def drill() -> dict[str, object]:
    """Restore the backup into a throw-away server and verify it there."""
    from edupa import housekeeping, pipeline
    from edupa.settings import load_settings

    context = get_current_context()
    settings = load_settings()
    with pipeline.noting_failure(settings, context["run_id"], KIND):
        return housekeeping.drill(settings)


@task
def retain() -> dict[str, list[str]]:
    """Let go of what is older than its time."""
    from edupa import housekeeping, pipeline
    from edupa.settings import load_settings

    context = get_current_context()
    settings = load_settings()
    with pipeline.noting_failure(settings, context["run_id"], KIND):
        return housekeeping.retain(settings)


@task
def finish() -> None:
    """Close the run."""
    from edupa import pipeline
    from edupa.settings import load_settings

    pipeline.end_run(load_settings(), get_current_context()["run_id"], KIND, "succeeded")


@dag(
    schedule="0 4 * * 0",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["edupa", "housekeeping"],
    doc_md=DOC,
    default_args=DEFAULTS,
)
def housekeeping() -> None:
    """Wire the weekly tasks."""
    verify() >> sweep() >> back_up() >> drill() >> retain() >> finish()


@dag(
    schedule="30 3 * * *",
    start_date=START,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["edupa", "housekeeping"],
    doc_md=DOC,
    default_args=DEFAULTS,
)
def nightly_verification() -> None:
    """Wire the nightly tasks."""
    verify() >> finish()


housekeeping()
nightly_verification()
