"""Nightly load: take in what arrived, let the arrival gate judge it, rebuild core and indicators."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

DOC = """
### 夜间装载 — nightly load
Takes in every extract below the extract folder, one transaction per file, lets the **arrival gate** judge the
deliveries up to the evaluation year, then rebuilds staging, core and indicators with their tests.
Feeds are loaded in waves, those that others refer to first; before the gate, quarantined rows whose reference has
landed since are released, and registered-poor persons whose number is on no roll are matched with pupils.

* The same file again is a no-op; a rejected file does not stop the others; running again resumes.
* The gate's page lies in the run's folder (`.edupa/runs/<run>/gate_arrival.html`); a block stops the run there.
* `edupa status` says what arrived, what is missing and what is quarantined.
"""

KIND = "nightly_load"
#: waves of loads; pipeline.feed_waves says which feeds are in which, and complains if these are too few
WAVES = 4
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
    def begin() -> None:
        """Open the run, look at what is offered, prepare the landing tables."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        pipeline.begin_run(settings, context["run_id"], KIND, dict(context["params"]))
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            pipeline.list_feeds(settings)

    # a wave without a feed is skipped, and the next one goes on
    @task(trigger_rule="none_failed")
    def feeds(wave: int) -> list[str]:
        """List the feeds of a wave: they refer to feeds of earlier waves only."""
        from edupa import pipeline

        return pipeline.feed_waves()[wave]

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

    @task(trigger_rule="none_failed")
    def replay_quarantine() -> dict[str, object]:
        """Release quarantined rows whose reference has landed since."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.replay_quarantine(settings)

    @task
    def match_persons() -> dict[str, object]:
        """Match registered-poor persons whose ID number is on no roll with pupils."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.match_persons(settings, context["run_id"])

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

    # rows are checked against what other feeds have landed, so those come first
    before = begin()
    for wave in range(WAVES):
        listed = feeds.override(task_id=f"feeds_{wave}")(wave)
        loaded = load.override(task_id=f"load_{wave}").expand(feed=listed)
        before >> listed
        before = loaded
    before >> replay_quarantine() >> match_persons() >> arrival_gate() >> build_core()


nightly_load()
