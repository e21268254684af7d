"""``edupa release approve``: say yes or no to a candidate, as one's own login."""

from __future__ import annotations

from typing import Annotated

import typer

from edupa.cli_common import plainly
from edupa.settings import load_settings
from warehouse.login import connect_as


@plainly
def release_approve(
    run_or_year: Annotated[str, typer.Argument(help="Evaluation year, or id of the run whose candidate is meant.")],
    remark: Annotated[str, typer.Option(help="What was looked at; kept in the ledger.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no instead.")] = False,
    login: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Database login to act as, edupa_approver or a member of it; its password: file of that name in the"
            " secrets folder, or ~/.pgpass. None: the user of EDUPA_WAREHOUSE_URL; else edupa_approver.",
        ),
    ] = None,
) -> None:
    """Approve the candidate that the gate passed last, for exactly that content; or reject it.

    Asked for where EDUPA_APPROVAL is cli (or airflow). Publish again then: the same content goes out without asking.

    Example: `edupa release approve 2020 --remark "看过质量门页面和变动清单" --as wang_fang`
    """
    from warehouse.approval import answer, candidate_run

    with connect_as(login, load_settings().warehouse, otherwise="edupa_approver") as conn:
        candidate = candidate_run(conn, run_or_year)
        number = answer(conn, candidate.gate_run_id, "reject" if reject else "approve", remark)
        waived = f", resting on waivers {', '.join(map(str, candidate.waivers))}" if candidate.waivers else ""
        print(
            f"{'rejection' if reject else 'approval'} {number} of the candidate of {candidate.evaluation_year}"
            f" (gate run {candidate.gate_run_id}, content {candidate.content_sha256[:16]}{waived}) by {conn.info.user}"
        )
