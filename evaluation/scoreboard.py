"""The published evaluation of the plan's four numeric goals as a table for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

import psycopg
from rich.console import Console
from rich.table import Table

GOALS = ("G1b", "G2b", "G3", "G4")
# the plan's interim goals, whose years the text hides
INTERIM = {"G1b": "G1a", "G2b": "G2a"}
POOLED, REGION = "PLAN9", "64"
VERDICTS = {
    "met": "[green]met 达到[/]",
    "on_track": "[cyan]on track 按期推进[/]",
    "off_track": "[red]off track 未达到[/]",
    "no_target": "[dim]no target 无目标[/]",
    "not_measurable": "[yellow]not measurable 不可测[/]",
    "suppressed": "[yellow]suppressed 隐去[/]",
}


@dataclass(frozen=True)
class Line:
    """One figure of the scoreboard; value, target and gap in the indicator's unit."""

    indicator_code: str
    name_zh: str
    name_en: str
    unit: str
    decimals: int
    area_code: str
    area_name: str
    value: Decimal | None
    target_operator: str | None
    target_value: Decimal | None
    target_year: int | None
    target_year_basis: str | None
    assumption_id: str | None
    gap_to_region: Decimal | None
    verdict: str
    basis: str


def fetch_lines(conn: psycopg.Connection[tuple[object, ...]], year: int) -> list[Line]:
    """Headline figures of the four goals: the nine counties pooled, each of them, the region."""
    rows = conn.execute(
        "select indicator_code, name_zh, name_en, unit, decimals, area_code, area_name, value, target_operator,"
        " target_value, target_year, target_year_basis, assumption_id, gap_to_region, verdict, basis"
        " from marts.county_evaluation"
        " where is_headline and subgroup = 'all' and evaluation_year = %s and indicator_code = any(%s)"
        " and (area_code in (%s, %s) or is_plan_county and area_level = 'county')"
        " order by indicator_code, area_code = %s, area_code <> %s, area_code",
        (year, list(GOALS), POOLED, REGION, REGION, POOLED),
    ).fetchall()
    return [Line(*row) for row in rows]  # type: ignore[arg-type]


def shown(value: Decimal | None, decimals: int) -> str:
    """A figure cut, not rounded, to its decimals: 92.95 must not look like a 93 that was reached."""
    if value is None:
        return "–"
    return f"{value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_DOWN):f}"


def _interim(conn: psycopg.Connection[tuple[object, ...]], code: str, year: int) -> str | None:
    """One sentence on an interim goal in the year of its target, or None where that year is not yet evaluated."""
    rows = conn.execute(
        "select area_code, area_name, value, verdict, target_operator, target_value, target_year, target_year_basis,"
        " assumption_id, decimals from marts.county_evaluation where indicator_code = %s and is_headline"
        " and subgroup = 'all' and evaluation_year = target_year and evaluation_year <= %s"
        " order by area_code = %s desc, area_code",
        (code, year, POOLED),
    ).fetchall()
    if not rows or rows[0][0] != POOLED:
        return None
    _, name, value, verdict, operator, target, target_year, basis, assumption, decimals = rows[0]
    missed = [
        f"{row[1]} {shown(row[2], int(str(row[9])))}"  # type: ignore[arg-type]
        for row in rows[1:]
        if row[3] == "off_track"
    ]
    return (
        f"{code} interim goal {operator}{Decimal(str(target)).normalize():f} in {target_year}"
        f" ({basis}{f', assumption {assumption}' if assumption else ''}): {name}"
        f" {shown(value, int(str(decimals)))} {verdict}"  # type: ignore[arg-type]
        f"; missed by {', '.join(missed) if missed else 'no county'}"
    )


def _target(line: Line) -> str:
    if line.target_value is None:
        return "–"
    year = f" ({line.target_year})" if line.target_year else ""
    return f"{line.target_operator}{line.target_value.normalize():f}{year}"


def _assumption(line: Line) -> str:
    return " ".join(part for part in (line.assumption_id, line.target_year_basis) if part) or "–"


def print_scoreboard(conn: psycopg.Connection[tuple[object, ...]], console: Console) -> None:
    """Print the published release's figures for its evaluation year, its id, and what to try next."""
    found = conn.execute(
        "select release_id, evaluation_year, content_sha256 from marts.release_registry where is_current"
    ).fetchone()
    if found is None:
        console.print("nothing is published yet")
        return
    release_id, year, content = str(found[0]), int(str(found[1])), str(found[2])
    lines = fetch_lines(conn, year)
    for goal in GOALS:
        of_goal = [line for line in lines if line.indicator_code == goal]
        if not of_goal:
            continue
        first = of_goal[0]
        basis = "" if first.basis == "none" else f", {first.basis} population"
        console.print(f"[bold]{goal} {first.name_zh}[/]  {year}", highlight=False)
        console.print(f"[dim]{first.name_en} ({first.unit}{basis})[/]", highlight=False, soft_wrap=True)
        table = Table(header_style="dim", box=None, pad_edge=False)
        # the same widths in every table, so that the eye can run down the page
        table.add_column("area", width=26)
        for heading, width in (("value", 8), ("target", 14), ("gap to region", 14)):
            table.add_column(heading, justify="right", width=width)
        table.add_column("verdict", width=20)
        table.add_column("year basis", width=14)
        for line in of_goal:
            bold = line.area_code in (POOLED, REGION)
            gap = "–" if line.gap_to_region is None or line.area_code == REGION else f"{line.gap_to_region:+.1f}"
            table.add_row(
                f"{line.area_name} {line.area_code}",
                shown(line.value, line.decimals),
                _target(line),
                gap,
                VERDICTS.get(line.verdict, line.verdict),
                _assumption(line),
                style="bold" if bold else None,
            )
        console.print(table)
        below = sum(line.verdict == "off_track" for line in of_goal if line.area_code not in (POOLED, REGION))
        console.print(f"plan counties that miss the goal or are behind it: {below} of {len(of_goal) - 2}", style="dim")
        if interim := _interim(conn, INTERIM.get(goal, ""), year):
            console.print(interim, highlight=False, style="dim", soft_wrap=True)
        console.print()
    console.print(f"[bold]release {release_id}[/], content sha256 {content[:16]}…")
    console.print(
        "Figures are cut, not rounded; a verdict compares exact counts. Next:\n"
        f"  .venv/bin/edupa explain G1b --area 640424 --year {year}\n"
        '  .venv/bin/edupa sql "select area_name, value, verdict from marts.county_evaluation'
        f" where indicator_code = 'G2b' and evaluation_year = {year}\"\n"
        "  .venv/bin/edupa status      .venv/bin/edupa release list      make up      make test",
        highlight=False,
        soft_wrap=True,
    )
