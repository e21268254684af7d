"""What schools report on meals (E12) and insurance (E30): rural schools join over the years, insurance spreads."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.plan import YEARS
from simulator.truth import primary_rows
from simulator.world import World

RURAL = ("121", "122", "210", "220")
#: first year with meals by county; eleven counties in 2020
MEALS_SINCE = {
    "640324": 2015, "640402": 2015, "640422": 2015, "640423": 2015, "640424": 2015, "640425": 2015, "640522": 2015,
    "640303": 2016, "640323": 2016, "640521": 2018, "640181": 2020,
}  # fmt: skip
LATE_SCHOOLS = 0.25
#: school days of the months with meals
SCHOOL_DAYS = {3: 22, 4: 20, 5: 20, 6: 19, 9: 21, 10: 17, 11: 21, 12: 22}
YUAN_PER_MEAL = 4
FULL_ATTENDANCE = 0.4
SMALL_SCHOOL = 8
UNDERSPENT = 0.1

INSURED_PLAN = {2015: 0.55, 2016: 0.70, 2017: 0.82, 2018: 0.91, 2019: 0.97, 2020: 0.995}
INSURED_OTHER = {2015: 0.15, 2016: 0.32, 2017: 0.55, 2018: 0.75, 2019: 0.88, 2020: 0.96}
NO_FAULT = 0.95
LAPSES_EARLY, STARTS_LATE = 0.02, 0.02
PREMIUM_YUAN = 5
INSURERS = ("兴和财产保险", "西岭财产保险", "塞上财产保险")
Money = pl.Decimal(12, 2)


def pupils_by_school(tables: dict[str, pl.DataFrame], stages: tuple[str, ...] | None = None) -> pl.DataFrame:
    """Count the primary rolls by school year and school (columns school_year, county_code, school_code, pupils)."""
    rolls = primary_rows(tables["pupil"], tables["student_event"])
    if stages is not None:
        rolls = rolls.filter(pl.col("stage").is_in(stages))
    keys = ["school_year", "county_code", "school_code"]
    return rolls.group_by(keys).agg(pupils=pl.len().cast(pl.Int64)).sort(keys)


def nutrition_months(world: World, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Build the monthly meal reports; spring months rest on the register of the year before."""
    rng = np.random.default_rng([world.seed, 93])
    schools = tables["school"].filter(pl.col("urban_rural_code").is_in(RURAL))
    codes = schools.select("school_code").unique().sort("school_code")
    codes = codes.with_columns(
        _late=pl.Series(rng.random(codes.height) < LATE_SCHOOLS),
        _full=pl.Series(rng.random(codes.height) < FULL_ATTENDANCE),
        _away=pl.Series(rng.integers(1, 4, codes.height)),
    )
    since = pl.DataFrame(list(MEALS_SINCE.items()), schema=["county_code", "_since"], orient="row")
    served = (
        pupils_by_school(tables, ("primary", "junior"))
        .join(schools.select("school_year", "school_code").unique(), on=["school_year", "school_code"], how="semi")
        .join(since, on="county_code")
        .join(codes, on="school_code")
    )
    parts = []
    for year in YEARS:
        for place, (month, days) in enumerate(SCHOOL_DAYS.items()):
            register = year - (month < 9)
            start = pl.col("_since") + pl.col("_late").cast(pl.Int64)
            # schools closed in summer have left no report of their last spring
            still = served.filter(pl.col("school_year") == year).select("school_code")
            rows = (
                served.filter((pl.col("school_year") == register) & (start <= year))
                .join(still, on="school_code", how="semi")
                .sort("school_code")
            )
            if rows.height:
                parts.append(_month(rows, year, month, place, days, rng))
    return (
        pl.concat(parts)
        .with_columns(_file_county=pl.lit("64"), _file_year=pl.col("aid_year"))
        .sort("aid_year", "month", "county_code", "school_code")
    )


def _month(rows: pl.DataFrame, year: int, month: int, place: int, days: int, rng: np.random.Generator) -> pl.DataFrame:
    """One month: full attendance at small schools and some others, else a few absent, never the same twice running."""
    pupils = rows["pupils"].to_numpy()
    full = rows["_full"].to_numpy() | (pupils < SMALL_SCHOOL)
    absent = rows["_away"].to_numpy() * (1 + pupils // 200) + place % 2
    fed = np.where(full, pupils, pupils - absent)
    open_days = days - (rng.random(len(pupils)) < 0.2)
    missed = np.where(full, 0, rng.integers(0, 3, len(pupils)) * (1 + fed // 40))
    meals = np.maximum(fed * open_days - missed, 0)
    spent = np.where(rng.random(len(pupils)) < UNDERSPENT, meals * 98 // 100, meals) * YUAN_PER_MEAL
    return meal_rows(
        rows.select(
            aid_year=pl.lit(year, dtype=pl.Int64), month=pl.lit(month, dtype=pl.Int64), county_code="county_code",
            school_code="school_code", pupil_count="pupils",
        ),
        fed, open_days, meals, spent,
    )  # fmt: skip


def meal_rows(
    keys: pl.DataFrame,
    fed: NDArray[np.int64],
    days: NDArray[np.int64],
    meals: NDArray[np.int64],
    spent: NDArray[np.int64],
) -> pl.DataFrame:
    """Complete rows of ``nutrition_month``: money follows pupils, days and meals."""
    granted = np.maximum(keys["pupil_count"].to_numpy() * days * YUAN_PER_MEAL, spent)
    return keys.with_columns(
        beneficiary_count=pl.Series(fed).cast(pl.Int64),
        meal_day_count=pl.Series(days).cast(pl.Int64),
        meal_count=pl.Series(meals).cast(pl.Int64),
        standard_yuan=pl.lit(YUAN_PER_MEAL).cast(Money),
        allocated_yuan=pl.Series(granted).cast(Money),
        spent_yuan=pl.Series(spent).cast(Money),
        balance_yuan=pl.Series(granted - spent).cast(Money),
    )


def liability_policies(world: World, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Build the policies: plan counties insure all their schools under one number, others school by school."""
    rng = np.random.default_rng([world.seed, 94])
    plan = [c.code for c in world.geo.counties if c.is_plan]
    schools = (
        tables["school"]
        .select("school_year", "county_code", "school_code")
        .join(
            pupils_by_school(tables).drop("county_code"), on=["school_year", "school_code"], how="left",
            maintain_order="left",
        )
        .with_columns(pupils=pl.col("pupils").fill_null(0), _plan=pl.col("county_code").is_in(plan))
    )  # fmt: skip
    codes = schools.select("school_code").unique().sort("school_code")
    codes = codes.with_columns(_draw=pl.Series(rng.random(codes.height)), _no=pl.int_range(1, codes.height + 1))
    schools = schools.join(codes, on="school_code", maintain_order="left")
    parts = []
    for year in YEARS:
        share = pl.when("_plan").then(INSURED_PLAN[year]).otherwise(INSURED_OTHER[year])
        rows = schools.filter((pl.col("school_year") == year) & (pl.col("_draw") < share))
        size = rows.height
        end, start = rng.random(size), rng.random(size)
        number = pl.when("_plan").then(pl.col("county_code")).otherwise(
            pl.col("county_code") + pl.col("_no").cast(pl.String).str.zfill(5)
        )  # fmt: skip
        parts.append(
            rows.select(
                policy_year=pl.lit(year, dtype=pl.Int64),
                county_code="county_code",
                policy_number=pl.lit(f"BX{year}") + number,
                school_code="school_code",
                insurer_name=pl.lit(INSURERS[year % len(INSURERS)]),
                is_no_fault=pl.Series(rng.random(size) < NO_FAULT),
                valid_from=pl.when(pl.Series(start < STARTS_LATE)).then(date(year, 9, 20)).otherwise(date(year, 9, 1)),
                valid_to=pl.when(pl.Series(end < LAPSES_EARLY))
                .then(date(year + 1, 2, 15))
                .otherwise(date(year + 1, 8, 31)),
                insured_count=(pl.col("pupils") * pl.Series(rng.integers(92, 104, size)) // 100).cast(pl.Int64),
            ).with_columns(premium_yuan=(pl.col("insured_count") * PREMIUM_YUAN).cast(Money))
        )
    return (
        pl.concat(parts)
        .with_columns(_file_county=pl.lit("64"), _file_year=pl.col("policy_year"))
        .sort("policy_year", "policy_number", "school_code")
    )
