"""Annual evaluation: build the candidate of a year, let the candidate gate judge it, freeze and publish."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

DOC = """
### 年度评估 — annual evaluation
Builds the marts of one evaluation year (with all earlier plan years) in a candidate schema, lets the
**candidate gate** judge exactly that content, then freezes it and moves the pointer of the published release.

* The same content again makes no new release.
* A block publishes nothing; the page names what, where, who and what to do.
* With `EDUPA_APPROVAL=airflow` the candidate waits for an answer under *Required actions*; no answer in time counts as
  no. The answer is written to the ledger, and only what stands there counts. Who started the run cannot approve it.
* `dry_run` stops before anything is frozen. A restatement needs a reason; it is printed in the release notes.
* `declared_change`: what you mean to change. If more has changed, nothing is published and the message lists what.
* `embargo_until`: freeze now, publish then (`release_housekeeping` does it); before, only `edupa_prerelease` reads it.
"""

KIND = "annual_evaluation"
APPROVE, REJECT = "批准 Approve", "驳回 Reject"
release = Asset(name="warehouse_release", uri="edupa://warehouse/release")


@dag(
    schedule=None,
    start_date=pendulum.datetime(2020, 11, 1, tz="Asia/Shanghai"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["edupa", "evaluation", "release"],
    doc_md=DOC,
    default_args={
        "owner": "evaluation-office",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
    },
    params={
        "evaluation_year": Param(
            2020,
            type="integer",
            minimum=2015,
            maximum=2035,
            title="评估年度 evaluation year",
            description="Year that the release evaluates.",
        ),
        "kind": Param("annual", type="string", enum=["annual", "restatement"], title="类型 kind"),
        "reason": Param(
            "annual evaluation",
            type="string",
            minLength=5,
            title="发布原因 reason",
            description="Why this release is made; printed in its notes.",
        ),
        "declared_change": Param(
            "computed",
            type="string",
            enum=["computed", "patch", "minor", "major"],
            title="变更级别 level of change",
            description="Refused if more has changed than declared: patch = texts, minor = values or additions,"
            " major = something is gone or redefined.",
        ),
        "embargo_until": Param(
            "",
            type="string",
            pattern=r"^$|^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?$",
            title="公开时间 embargo until",
            description="Keep it frozen until then, e.g. 2026-12-01 09:00 (Asia/Shanghai); empty: publish at once.",
        ),
        "dry_run": Param(False, type="boolean", title="试运行 dry run", description="Judge, but publish nothing."),
    },
)
def annual_evaluation() -> None:
    """Wire the tasks."""

    @task
    def build_candidate() -> dict[str, object]:
        """Build the marts in a schema of their own."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        pipeline.begin_run(settings, context["run_id"], KIND, dict(context["params"]))
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.build_candidate(settings, context["run_id"], int(context["params"]["evaluation_year"]))

    # a gate's verdict does not change by asking again
    @task(retries=0)
    def candidate_gate() -> dict[str, object]:
        """Judge the deliveries of the year, then the candidate."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        year = int(context["params"]["evaluation_year"])
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.candidate_gate(settings, context["run_id"], year)

    @task(outlets=[release])
    def publish() -> dict[str, object]:
        """Freeze the candidate and move the pointer."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        params = context["params"]
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            done = pipeline.publish(
                settings,
                context["run_id"],
                int(params["evaluation_year"]),
                kind=params["kind"],
                reason=params["reason"],
                dry_run=bool(params["dry_run"]),
                declared_change=None if params["declared_change"] == "computed" else params["declared_change"],
                embargo_until=params["embargo_until"],
            )
        pipeline.end_run(settings, context["run_id"], KIND, "succeeded")
        return done

    # the answer is acted upon, not the fact that there was one: a task that was answered "no" is green, too
    @task(retries=0)
    def record_decision() -> dict[str, object]:
        """Write what was decided to the ledger; a no ends the run."""
        from edupa import pipeline
        from edupa.settings import load_settings

        context = get_current_context()
        settings = load_settings()
        answer = context["ti"].xcom_pull(task_ids="approval")
        with pipeline.noting_failure(settings, context["run_id"], KIND):
            return pipeline.record_airflow_approval(
                settings,
                context["run_id"],
                approved=answer["chosen_options"] == [APPROVE],
                decided_by=(answer.get("responded_by_user") or {}).get("name"),
                requested_by=context["dag_run"].triggering_user_name,
            )

    from edupa.settings import load_settings

    settings = load_settings()
    judged = build_candidate() >> candidate_gate()
    if settings.approval == "airflow":
        from airflow.providers.standard.operators.hitl import HITLOperator

        # not ApprovalOperator: it skips what follows a no, so that nobody would write it down
        approval = HITLOperator(
            task_id="approval",
            subject="发布 {{ params.evaluation_year }} 年度评估？ Publish the evaluation of that year?",
            body="质量门结论 gate: **{{ ti.xcom_pull(task_ids='candidate_gate')['decision'] }}**,"
            " {{ ti.xcom_pull(task_ids='candidate_gate')['page'] }}",
            options=[APPROVE, REJECT],
            defaults=[REJECT],
            response_timeout=timedelta(hours=settings.approval_hours),
            retries=0,
        )
        judged >> approval >> record_decision() >> publish()
    else:
        judged >> publish()


annual_evaluation()
