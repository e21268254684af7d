"""What protection costs: figures lost by suppression beside errors made by rounding, on the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from disclosure.cells import Cell, Group
from disclosure.geography import Areas
from disclosure.model import CellKey
from disclosure.rounding import Rounder, round_cells
from disclosure.suppress import Decision


@dataclass(frozen=True)
class Utility:
    """Loss of one method on one mart.

    Attributes:
        mart: published table.
        method: suppression or rounding.
        cells: sensitive cells.
        withheld: cells without a figure.
        headline_withheld: of them headline cells.
        totals_withheld: of them region and groups of counties.
        mean_error: mean absolute error of the counts that are shown (persons).
        largest_error: largest one.
        mean_rate_error: mean absolute error of the rates that are shown (percentage points).
        largest_rate_error: largest one.
        is_used: whether the policy chose the method for the mart.
    """

    mart: str
    method: str
    cells: int
    withheld: int
    headline_withheld: int
    totals_withheld: int
    mean_error: float
    largest_error: float
    mean_rate_error: float
    largest_rate_error: float
    is_used: bool = False


def of_suppression(mart: str, cells: Mapping[CellKey, Cell], decisions: Mapping[CellKey, Decision]) -> Utility:
    """Loss of suppression: what is shown is exact."""
    hidden = [cells[key] for key, decision in decisions.items() if decision.status != "F"]
    return Utility(
        mart,
        "suppression",
        len(decisions),
        len(hidden),
        sum(cell.is_headline for cell in hidden),
        sum(cell.area_level in ("region", "group") for cell in hidden),
        0.0,
        0.0,
        0.0,
        0.0,
    )


def of_rounding(mart: str, cells: Mapping[CellKey, Cell], rounded: Mapping[CellKey, tuple[int, int | None]]) -> Utility:
    """Loss of rounding: everything is shown, nothing is exact; a rate is lost where its denominator is rounded away."""
    errors: list[float] = []
    rates: list[float] = []
    lost = [cells[key] for key, (_, denominator) in rounded.items() if denominator == 0 and cells[key].denominator]
    for key, (numerator, denominator) in rounded.items():
        cell = cells[key]
        if cell.numerator is None:
            continue
        errors.append(abs(numerator - cell.numerator))
        if denominator and cell.denominator:
            rates.append(abs(100 * numerator / denominator - 100 * cell.numerator / cell.denominator))
    return Utility(
        mart,
        "rounding",
        len(rounded),
        len(lost),
        sum(cell.is_headline for cell in lost),
        sum(cell.area_level in ("region", "group") for cell in lost),
        round(sum(errors) / len(errors), 2) if errors else 0.0,
        max(errors, default=0.0),
        round(sum(rates) / len(rates), 2) if rates else 0.0,
        round(max(rates, default=0.0), 2),
    )


def compare(
    mart: str,
    cells: Mapping[CellKey, Cell],
    decisions: Mapping[CellKey, Decision],
    groups: Sequence[Group],
    areas: Areas,
    rounder: Rounder,
) -> tuple[Utility, Utility]:
    """Both methods side by side on the same cells; gaps of rates are left out."""
    rounded: dict[CellKey, tuple[int, int | None]] = {}
    for group in groups:
        codes = {one.code for one in group.series}
        mine = {
            key: cell
            for key, cell in cells.items()
            if (key.indicator_code, key.variant, key.basis) in codes and cell.is_measured
        }
        for year in sorted({key.evaluation_year for key in mine}):
            table = {key: cell for key, cell in mine.items() if key.evaluation_year == year}
            rounded |= round_cells(group, areas, table, rounder)
    own = {key: decision for key, decision in decisions.items() if key in rounded}
    return of_suppression(mart, cells, own), of_rounding(mart, cells, rounded)
