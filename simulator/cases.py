"""Integrity cases of the sample: what every rule must flag, and what looks like it and must not be flagged."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

CASE_COLUMNS = ("rule", "case_kind", "year", "county_code", "subject", "is_near_miss", "amount_yuan")


@dataclass(frozen=True, order=True)
class Case:
    """One case of one rule.

    Attributes:
        rule: rule code (I01-I22).
        case_kind: what happened, one word for each shape of a rule.
        year: evaluation year that the case belongs to.
        county_code: county that has to act.
        subject: raw keys of the case, most general first (they stand in no file of the warehouse).
        is_near_miss: True where a rule must stay silent.
        amount_yuan: money at risk.
    """

    rule: str
    case_kind: str
    year: int
    county_code: str
    subject: tuple[str, ...]
    is_near_miss: bool = False
    amount_yuan: Decimal = Decimal(0)

    def as_row(self) -> tuple[str | int, ...]:
        """Return the cells in the order of ``CASE_COLUMNS``."""
        return (
            self.rule, self.case_kind, self.year, self.county_code, "|".join(self.subject), int(self.is_near_miss),
            f"{self.amount_yuan:.2f}",
        )  # fmt: skip


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Write the cases in a fixed order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(CASE_COLUMNS)
        writer.writerows(case.as_row() for case in sorted(cases))
