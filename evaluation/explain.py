"""How a published figure came to be: formula, counts, target, assumption, and the files behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

import psycopg
from rich.console import Console

from evaluation.scoreboard import VERDICTS, shown

Connection = psycopg.Connection[tuple[object, ...]]


class ExplainError(RuntimeError):
    """There is no such figure; the message lists what there is."""


@dataclass(frozen=True)
class SourceFile:
    """A file behind a figure, in the role of numerator, denominator or both."""

    feed: str
    row_role: str
    file_name: str
    file_sha256: str
    rows_in: int
    rows_landed: int
    rows_quarantined: int
    loaded_at: datetime


@dataclass(frozen=True)
class Explanation:
    """A figure of the published release with everything that it rests on."""

    release_id: str
    indicator_code: str
    variant: str
    name_zh: str
    name_en: str
    formula_text: str
    definition_source: str
    plan_quote: str
    area_code: str
    area_name: str
    evaluation_year: int
    basis: str
    population_vintage: str | None
    unit: str
    decimals: int
    numerator: Decimal | None
    denominator: Decimal | None
    value: Decimal | None
    value_reason: str | None
    target: str
    verdict: str
    assumption_id: str | None
    target_year_basis: str | None
    conf_status: str
    method_version: str
    files: list[SourceFile]


def _choices(conn: Connection, query: str, parameters: tuple[object, ...]) -> str:
    return ", ".join(str(row[0]) for row in conn.execute(query.encode(), parameters).fetchall())


def explain_figure(
    conn: Connection, indicator: str, *, area: str, year: int, variant: str | None = None
) -> Explanation:
    """Explain one figure of the published release.

    Args:
        conn: connection of a role that may read the published marts.
        indicator: registry code, any case.
        area: area code or group.
        year: evaluation year.
        variant: variant; None takes the headline.

    Raises:
        ExplainError: nothing is published or there is no such figure.
    """
    if conn.execute("select 1 from marts.release_registry where is_current").fetchone() is None:
        raise ExplainError("nothing is published yet: run `make run`")
    row = conn.execute(
        "select e.release_id, e.indicator_code, e.variant, e.name_zh, e.name_en, d.formula_text, d.definition_source,"
        " d.plan_quote, e.area_code, e.area_name, e.evaluation_year, e.basis, e.population_vintage, e.unit, e.decimals,"
        " e.numerator, e.denominator, e.value, e.value_reason,"
        " coalesce(e.target_operator || ' ' || trim_scale(e.target_value) || coalesce(' by ' || e.target_year, ''),"
        " 'none'),"
        " e.verdict, e.assumption_id, e.target_year_basis, e.conf_status, e.method_version, e.subgroup"
        " from marts.county_evaluation e join marts.indicator_dictionary d using (indicator_code, variant, basis)"
        " where lower(e.indicator_code) = lower(%s) and e.area_code = %s and e.evaluation_year = %s"
        " and e.subgroup = 'all' and (case when %s::text is null then e.is_headline else e.variant = %s end)"
        " order by e.is_headline desc, e.variant, e.basis limit 1",
        (indicator, area, year, variant, variant),
    ).fetchone()
    if row is None:
        known = _choices(
            conn,
            "select distinct indicator_code from marts.county_evaluation where lower(indicator_code) = lower(%s)",
            (indicator,),
        )
        if not known:
            codes = _choices(conn, "select distinct indicator_code from marts.county_evaluation order by 1", ())
            raise ExplainError(f"there is no published indicator {indicator}: one of {codes}")
        areas = _choices(
            conn,
            "select distinct area_code from marts.county_evaluation where indicator_code = %s order by 1",
            (known,),
        )
        years = _choices(
            conn,
            "select distinct evaluation_year from marts.county_evaluation where indicator_code = %s order by 1",
            (known,),
        )
        raise ExplainError(
            f"no published {known} for area {area}, year {year}, variant {variant or 'headline'};"
            f" areas: {areas}; years: {years}"
        )
    files = conn.execute(
        "select s.feed, s.row_role, f.file_name, s.file_sha256, f.rows_in, f.rows_landed,"
        " f.rows_quarantined, f.loaded_at"
        " from marts.evaluation_source s"
        " join lateral (select * from marts.source_file f where f.file_sha256 = s.file_sha256 and f.feed = s.feed"
        "   order by f.load_id limit 1) f on true"
        " where s.indicator_code = %s and s.variant = %s and s.area_code = %s and s.evaluation_year = %s"
        " and s.basis = %s and s.subgroup = %s order by s.row_role desc, s.feed, f.file_name",
        (row[1], row[2], row[8], row[10], row[11], row[25]),
    ).fetchall()
    named = dict(zip((field.name for field in fields(Explanation)), row[:25], strict=False))
    return Explanation(**named, files=[SourceFile(*file) for file in files])  # type: ignore[arg-type]


def _counts(explanation: Explanation) -> Iterable[str]:
    if explanation.conf_status != "F":
        yield f"  withheld to protect persons (conf_status {explanation.conf_status})"
        return
    factor = {"percent": 100, "percentage_points": 100}.get(explanation.unit, 1)
    value = shown(explanation.value, explanation.decimals)
    if explanation.denominator is None:
        yield f"  count        {explanation.numerator} {explanation.unit}"
    else:
        yield f"  numerator    {explanation.numerator}"
        yield f"  denominator  {explanation.denominator}"
        yield (
            f"  value        {factor} × {explanation.numerator} / {explanation.denominator}"
            f" = {explanation.value} → shown {value} {explanation.unit}"
        )
    if explanation.value_reason:
        yield f"  no value     {explanation.value_reason}"


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print it for a reader at a terminal."""
    say = console.print
    vintage = f", vintage {explanation.population_vintage}" if explanation.population_vintage else ""
    basis = "" if explanation.basis == "none" else f", {explanation.basis} population{vintage}"
    say(f"[bold]{explanation.indicator_code} {explanation.name_zh}[/] — {explanation.name_en}", highlight=False)
    say(
        f"  {explanation.area_name} {explanation.area_code}, {explanation.evaluation_year}, variant"
        f" {explanation.variant}{basis}, release {explanation.release_id}, method {explanation.method_version}",
        highlight=False,
    )
    say(f"  formula      {explanation.formula_text}", highlight=False)
    say(f"  source       {explanation.definition_source}", highlight=False)
    say(f"  plan         “{explanation.plan_quote}”", highlight=False)
    for line in _counts(explanation):
        say(line, highlight=False)
    assumed = f" (assumption {explanation.assumption_id})" if explanation.assumption_id else ""
    say(f"  target       {explanation.target}, year {explanation.target_year_basis or '–'}{assumed}", highlight=False)
    say(f"  verdict      {VERDICTS.get(explanation.verdict, explanation.verdict)}", highlight=False)
    say(f"  files        {len(explanation.files)}", highlight=False)
    for file in explanation.files:
        say(
            f"    {file.row_role:<11} {file.file_name}\n"
            f"                sha256 {file.file_sha256}  rows {file.rows_in} (landed {file.rows_landed},"
            f" quarantined {file.rows_quarantined})  loaded {file.loaded_at:%Y-%m-%d %H:%M:%S}",
            highlight=False,
            soft_wrap=True,
        )
