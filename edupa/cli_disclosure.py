"""``edupa disclosure``: what a release protects, what an attacker gets, and what fails where ours holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edupa.cli_common import fail, out, plainly
from edupa.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="披露控制 — disclosure control: audit, report, attack")

Year = Annotated[int | None, typer.Option("--year", help="evaluation year of the candidate; default: the current one")]
ReleaseId = Annotated[str | None, typer.Option("--release", help="a published release instead of the candidate")]


@app.command()
@plainly
def audit(year: Year = None, release: ReleaseId = None) -> None:
    """Attack a candidate or release with everything published; fails where a withheld cell can be narrowed too far."""
    from disclosure.audit import audit_candidate, audit_release
    from edupa.pipeline import candidate_schema

    settings = load_settings()
    year = year or settings.evaluation_year
    report = (
        audit_release(settings.warehouse, release)
        if release
        else audit_candidate(settings.warehouse, candidate_schema(year), year)
    )
    out.print(f"{report.subject}: {report.summary()} ({report.seconds:.1f} s)")
    for name, one in (("narrowest", report.narrowest), ("widest", report.widest)):
        if one is not None:
            width = "unbounded" if one.high is None else f"{one.width:.0f} persons"
            out.print(f"  {name} interval: {width} ({one.cell}, {one.count})")
    for finding in report.inherited:
        out.print(f"  given away by an earlier release: {finding.cell}: {finding.note}")
    for finding in report.findings:
        out.print(f"  ! {finding.cell}: {finding.rule}, {finding.note}")
    if not report.passed:
        raise fail(f"{len(report.findings)} counts of {report.subject} give away more than the policy allows")


@app.command()
@plainly
def report(
    year: Year = None, folder: Annotated[Path | None, typer.Option("--out", help="folder for page and json")] = None
) -> None:
    """Write the page and json of a candidate: cells protected, intervals left to an attacker, utility lost."""
    from disclosure.audit import audit_candidate
    from disclosure.plan import measure_utility
    from disclosure.report import write_report
    from edupa.pipeline import candidate_schema

    settings = load_settings()
    year = year or settings.evaluation_year
    found = audit_candidate(settings.warehouse, candidate_schema(year), year)
    for one in measure_utility(settings.warehouse, year):
        used = " (used)" if one.is_used else ""
        out.print(
            f"{one.mart}, {one.method}{used}: {one.withheld} of {one.cells} cells withheld, {one.headline_withheld}"
            f" headline, {one.totals_withheld} totals; counts off by {one.mean_error} on average,"
            f" {one.largest_error:.0f} at most; rates by {one.mean_rate_error} points, {one.largest_rate_error} at most"
        )
    out.print(f"page {write_report(found, settings.warehouse, folder or settings.runs)}")


@app.command()
@plainly
def attack(year: Year = None) -> None:
    """Run the attack on the candidate as planned, and on naive protections of the same cells beside it."""
    from disclosure.attack import compare_protections

    settings = load_settings()
    done = compare_protections(settings.warehouse, year or settings.evaluation_year)
    for name, loot in done.naive.items():
        out.print(f"naive, {name}: {loot}")
    out.print(f"ours: {done.own}")
    if done.own.narrowed:
        raise fail(f"{done.own.narrowed} withheld counts can be narrowed below the policy's width")
