"""Nightly load: take in what arrived, let the arrival gate judge it, rebuild core and indicators."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

DOC = """
### 夜间装载 — nightly load
Takes in every extract below the extract folder, one transaction per file, lets the **arrival gate** judge the
deliveries up to the evaluation year, then rebuilds staging, core and indicators with their tests.

* The same file again is a no-op; a rejected file does not stop the others; running again resumes.
* The gate's page lies in the run's folder (`.edupa/runs/<run>/gate_arrival.html`); a block stops the run there.
* `edupa status` says what arrived, what is missing and what is quarantined.
"""

KIND = "nightly_load"
core = Asset(name="warehouse_core", uri="edupa://warehouse/core")


@dag(
    schedule="0 1 * * *",
    start_date=pendulum.datetime(2020, 11, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["edupa", "ingest", "core"],
    doc_md=DOC,
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
    },
    params={
        "evaluation_year": Param(
            2020,
            type="integer",
            minimum=2015,
            maximum=2035,
            title="评估年度 evaluation year",
            description="Deliveries are expected up to this year (school year that begins on its 1 September).",
        )
    },
)
def nightly_load() -> None:
    """Wire the tasks."""

    @task
    def begin() -> list[str]:
        """Open the run and list the feeds that others refer to."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        pipeline.begin_run(settings, context["run_id"], KIND, dict(context["params"]))
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.list_feeds(settings).referenced

    @task
    def other_feeds() -> list[str]:
        """List the feeds that no other refers to."""
        from edupa import pipeline

        return pipeline.feed_order().others

    @task(map_index_template="{{ feed }}")
    def load(feed: str) -> dict[str, object]:
        """Load all offered files of one feed."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        context["feed"] = feed  # type: ignore[typeddict-unknown-key]
        settings = load_settings()
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.load_feed(settings, feed)

    # a gate's verdict does not change by asking again
    @task(retries=0)
    def arrival_gate() -> dict[str, object]:
        """Judge completeness and plausibility per feed, county and period."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.arrival_gate(settings, context["run_id"], int(context["params"]["evaluation_year"]))

    @task(outlets=[core])
    def build_core() -> dict[str, object]:
        """Rebuild seeds, staging, core and indicators, with their tests."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            done = pipeline.build_core(settings, context["run_id"])
        pipeline.end_run(settings, context["run_id"], KIND, "succeeded")
        return done

    # codes are checked against the areas as they are now known, so these come first
    referenced = load.override(task_id="load_referenced").expand(feed=begin())
    rest = other_feeds()
    referenced >> rest
    load.expand(feed=rest) >> arrival_gate() >> build_core()


nightly_load()
