"""Cases of the rules on registers, statistics, meals and the poverty list, found in the tables by the rules' own words.

The sample is searched, not only remembered: a rule that flags anything else, or less, is wrong. What is planted on
purpose stands in ``simulator.care_plant``.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from simulator.cases import Case
from simulator.truth import primary_rows

NEAR_MISSES = 20


def care_cases(tables: dict[str, pl.DataFrame]) -> list[Case]:
    """Return the cases of I12."""
    return list(_two_rolls(tables["pupil"], tables["student_event"]))


def _two_rolls(pupil: pl.DataFrame, event: pl.DataFrame) -> Iterator[Case]:
    """I12: one ID number on two registers of the same year; near-miss: a transfer that the old school has released."""
    known = pupil.filter(pl.col("id_number").is_not_null())
    several = known.filter(pl.len().over("school_year", "_token") > 1)
    for row in primary_rows(several, event).select("id_number", "school_year", "county_code").iter_rows():
        yield Case("I12", "two_rolls", row[1], row[2], (row[0],))
    moved = event.filter(
        (pl.col("event_type") == "transfer_in")
        & (pl.col("approval_status") == "approved")
        & pl.col("from_school_code").is_not_null()
    ).select("_token", "school_year", school_code="to_school_code")
    released = (
        known.filter(pl.len().over("school_year", "_token") == 1)
        .join(moved.unique(), on=["_token", "school_year", "school_code"], how="semi")
        .sort("school_year", "id_number")
    )
    for row in released.select("id_number", "school_year", "county_code").head(NEAR_MISSES).iter_rows():
        yield Case("I12", "released_transfer", row[1], row[2], (row[0],), is_near_miss=True)
