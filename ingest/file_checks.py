"""Checks that look beyond one row: rows that contradict each other, and columns whose figures cannot be what they say.

Rows are compared within one block of the file (about twenty thousand rows, so a whole county file), which keeps the
memory flat; what spans blocks and files is the business of the gates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from ingest.contract import Column, Contract
from ingest.problems import FileRejectedError

Typed = Mapping[str, pl.Series]
BlockCheck = Callable[[dict[str, Any], Typed], "pl.Series | None"]

#: a column is judged by so many values; the first ones are as good as any
_JUDGED_VALUES = 200_000
_FEWEST_VALUES = 20


def _repeated(columns: list[str], typed: Typed) -> pl.DataFrame | None:
    """The columns with a mask ``?many`` of rows whose values occur more than once; None where all differ."""
    frame = pl.DataFrame([typed[name].alias(name) for name in columns])
    whole = frame.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    repeated = frame.to_series().is_duplicated() if len(columns) == 1 else frame.is_duplicated()
    many = repeated & whole
    return frame.with_columns(many.alias("?many")) if many.any() else None


def one_value(arguments: dict[str, Any], typed: Typed) -> pl.Series | None:
    """Rows that share ``group`` but hold different values in ``value``: each of them."""
    group = list(arguments["group"])
    found = _repeated(group, typed)
    if found is None:
        return None
    value = arguments["value"]
    frame = found.with_columns(typed[value].alias("?value"))
    differs = pl.col("?value").drop_nulls().n_unique().over(group) > 1
    return frame.select(pl.col("?many") & differs & pl.col("?value").is_not_null()).to_series()


def only_once(arguments: dict[str, Any], typed: Typed) -> pl.Series | None:
    """Rows that share ``group`` though it may occur once only: each of them."""
    found = _repeated(list(arguments["group"]), typed)
    return None if found is None else found["?many"]


BLOCK_CHECKS: dict[str, BlockCheck] = {"one_value": one_value, "only_once": only_once}


class ColumnWatch:
    """Watches the figures of columns for which the contract asks it (``watch``), over a whole file.

    ``percent``: the column holds percentages; shares of 1 among them make the file unusable.
    ``typicalMedian`` {minimum, maximum}: a median outside is a wrong unit (yuan in place of ten thousand yuan).
    ``figures``: figures that are all equal, or that nearly all end in 0, are worth a warning.
    """

    def __init__(self, contract: Contract) -> None:
        """Find the columns that are to be watched."""
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
