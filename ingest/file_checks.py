"""Columns whose figures cannot be what they say, judged over a whole file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from ingest.contract import Column, Contract
from ingest.problems import FileRejectedError

Typed = Mapping[str, pl.Series]

#: a column is judged by so many values; the first ones are as good as any
_JUDGED_VALUES = 200_000
_FEWEST_VALUES = 20
#: half way, by factors, between a figure and the same in ten thousands
_UNIT_RATIO = 100


@dataclass(frozen=True)
class LastFigures:
    """Medians of the watched columns in what the last accepted load of the feed brought."""

    file_name: str
    medians: Mapping[str, float]


def last_figures(
    conn: psycopg.Connection[tuple[object, ...]], contract: Contract, last: tuple[str, tuple[str, ...]] | None
) -> LastFigures | None:
    """Medians of the columns whose unit is watched, over what is current of the last load's scopes.

    Args:
        conn: as role ingest.
        contract: of the feed.
        last: file name and scopes of the last accepted load; None: there is none.

    Returns:
        None where nothing is watched, or nothing was loaded before; a column with few figures is not in it.
    """
    watched = [column for column in contract.columns if column.watch.get("typicalMedian")]
    if not watched or last is None:
        return None
    file_name, scopes = last
    parts = [
        sql.SQL("count({0}), percentile_cont(0.5) within group (order by {0}::double precision)").format(
            sql.Identifier(column.landed_name or "")
        )
        for column in watched
    ]
    statement = sql.SQL("select {} from {} where ended_load_id is null and scope_key = any(%s)").format(
        sql.SQL(", ").join(parts), sql.Identifier("landing", contract.feed)
    )
    row: Any = conn.execute(statement, (list(scopes),)).fetchone()
    medians = {
        column.name: float(row[2 * place + 1])
        for place, column in enumerate(watched)
        if row[2 * place] >= _FEWEST_VALUES
    }
    return LastFigures(file_name, medians)


class ColumnWatch:
    """Watches the figures of columns for which the contract asks it (``watch``), over a whole file.

    ``percent``: the column holds percentages; shares of 1 among them make the file unusable.
    ``typicalMedian`` {minimum, maximum}: a median a hundred times that of the last load, or a hundredth, is a wrong
    unit (yuan in place of ten thousand yuan); before there was a load, a median outside these bounds.
    ``figures``: figures that are all equal, or that nearly all end in 0, are worth a warning.
    """

    def __init__(self, contract: Contract, last: LastFigures | None = None) -> None:
        """Find the columns that are to be watched."""
        self._last = last
        self._columns = [column for column in contract.columns if column.watch]
        self._values: dict[str, list[pl.Series]] = {column.name: [] for column in self._columns}
        self._counts: dict[str, int] = {column.name: 0 for column in self._columns}

    def add(self, typed: Typed, good: pl.Series) -> None:
        """Take in the good rows of a batch."""
        for column in self._columns:
            if self._counts[column.name] < _JUDGED_VALUES:
                values = typed[column.name].filter(good).drop_nulls().cast(pl.Float64)
                self._values[column.name].append(values)
                self._counts[column.name] += len(values)

    def finish(self, headers: Mapping[str, str], sheet: str | None) -> tuple[str, ...]:
        """Judge the columns.

        Returns:
            Warnings, each starting with its rule.

        Raises:
            FileRejectedError: column.unit naming the column.
        """
        warnings: list[str] = []
        for column in self._columns:
            if self._counts[column.name] < _FEWEST_VALUES:
                continue
            values = pl.concat(self._values[column.name])
            header = headers.get(column.name, column.header)
            if column.watch.get("percent"):
                _refuse_mixed_percent(values, column, header, sheet)
            if bounds := column.watch.get("typicalMedian"):
                if self._last and self._last.medians.get(column.name):
                    _refuse_other_unit(values, self._last, column, header, sheet)
                else:
                    _refuse_wrong_unit(values, bounds, column, header, sheet)
            if column.watch.get("figures"):
                warnings += _odd_figures(values, column, header)
        return tuple(warnings)


def _refuse_mixed_percent(values: pl.Series, column: Column, header: str, sheet: str | None) -> None:
    inside = int(((values > 0) & (values < 1)).sum())
    above = int((values > 1).sum())
    if inside > 0.05 * len(values):
        raise FileRejectedError(
            "column.unit",
            f"{header}: {inside} of {len(values)} values lie between 0 and 1, {above} above 1; percentages expected",
            detail_zh=f"{header}有{inside}个值在0与1之间，{above}个值大于1，应统一为百分数",
            sheet=sheet,
            column=column.name,
        )


def _refuse_other_unit(values: pl.Series, last: LastFigures, column: Column, header: str, sheet: str | None) -> None:
    median, before = values.median(), last.medians[column.name]
    if not isinstance(median, float) or 1 / _UNIT_RATIO < median / before < _UNIT_RATIO:
        return
    ratio = f"1/{before / median:,.0f}" if 0 < median < before else f"{median / before:,.0f}"
    unit = column.unit or ""
    raise FileRejectedError(
        "column.unit",
        f"{header}: the median is {median:g}, that of the last load {before:g} {unit}".rstrip()
        + f" ({last.file_name}): ratio {ratio}",
        detail_zh=f"{header}的中位数为{median:g}，上次入库（{last.file_name}）为{before:g}{unit}，比值为{ratio}",
        sheet=sheet,
        column=column.name,
    )


def _refuse_wrong_unit(
    values: pl.Series, bounds: Mapping[str, float], column: Column, header: str, sheet: str | None
) -> None:
    median = values.median()
    if isinstance(median, float) and not bounds["minimum"] <= median <= bounds["maximum"]:
        raise FileRejectedError(
            "column.unit",
            f"{header}: the median is {median:g}, expected {bounds['minimum']:g} to {bounds['maximum']:g}"
            f" {column.unit or ''}".rstrip(),
            detail_zh=f"{header}的中位数为{median:g}，"
            f"应在{bounds['minimum']:g}至{bounds['maximum']:g}{column.unit or ''}之间",
            sheet=sheet,
            column=column.name,
        )


def _odd_figures(values: pl.Series, column: Column, header: str) -> list[str]:
    if values.n_unique() == 1 and values[0] != 0:
        return [f"column.constant: {column.name} ({header}) holds the same figure in all {len(values)} rows"]
    large = values.filter(values >= 10)
    round_ones = int((large % 10 == 0).sum())
    if len(large) >= _FEWEST_VALUES and round_ones > 0.8 * len(large):
        return [f"column.round_figures: {round_ones} of {len(large)} figures of {column.name} ({header}) end in 0"]
    return []
