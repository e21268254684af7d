"""Integrity cases of the sample: what every rule must flag, and what looks like it and must not be flagged."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from simulator.truth import Counts, ValueTable

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


def lead_values(table: ValueTable, cases: Iterable[Case]) -> None:
    """Add W9: leads by county and year, those still open (none is reviewed in the sample), and yuan at risk."""
    leads: Counts = {}
    yuan: dict[tuple[str, int], Decimal] = {}
    for case in cases:
        if not case.is_near_miss:
            key = (case.county_code, case.year)
            leads[key] = leads.get(key, 0) + 1
            yuan[key] = yuan.get(key, Decimal(0)) + case.amount_yuan
    table.add("W9", "leads", "none", leads, None)
    table.add("W9", "leads_open", "none", leads, None)
    whole = {key: int(amount.quantize(Decimal(1), ROUND_HALF_UP)) for key, amount in yuan.items()}
    table.add("W9", "amount_at_risk", "none", whole, None)
