"""Releases that are due, and news that did not get through."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Asset, dag, task

DOC = """
### 版本值守 — releases that are due
Every ten minutes: publishes releases whose **embargo** has ended (time of Asia/Shanghai, the database's clock) and
tries again to deliver **notices** of publications, rollbacks and withdrawals that the webhook did not take.

* Nothing due is the usual case and no error.
* A notice that fails stays pending; it never undoes a publication. `edupa release show ID` lists the attempts.
"""

release = Asset(name="warehouse_release", uri="edupa://warehouse/release")


@dag(
    schedule="*/10 * * * *",
    start_date=pendulum.datetime(2020, 11, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["edupa", "release"],
    doc_md=DOC,
    default_args={
        "owner": "evaluation-office",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
    },
)
def release_housekeeping() -> None:
    """Wire the tasks."""

    @task(outlets=[release])
    def publish_due() -> list[str]:
        """Publish what is due."""
        from airflow.sdk.exceptions import AirflowSkipException

        from edupa import pipeline
        from edupa.settings import load_settings

        published = pipeline.publish_due(load_settings(), "release_housekeeping")
        if not published:
            raise AirflowSkipException("no release is due")
        return published

    publish_due()


release_housekeeping()
