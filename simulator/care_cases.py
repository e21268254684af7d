"""Cases of the rules on registers, statistics, meals and the poverty list, found in the tables by the rules' own words.

The sample is searched, not only remembered: a rule that flags anything else, or less, is wrong. What is planted on
purpose stands in ``simulator.care_plant``.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import polars as pl

from simulator.cases import Case
from simulator.truth import age_on, primary_rows

NEAR_MISSES = 20
#: I08: statistics may exceed the register by this much
INFLATION_PERCENT = 5
#: I09: school days of the longest month; months with the same figures that are too many
MOST_MEAL_DAYS = 23
SAME_MONTHS = 4
#: I11: typical ages of a stage, three years either way
LOWEST_AGE = {"preschool": -1, "primary": 3, "junior": 9, "senior": 12, "vocational": 12, "special": 3}
HIGHEST_AGE = {"preschool": 8, "primary": 14, "junior": 17, "senior": 20, "vocational": 20, "special": 20}
#: I19: change against the year before that needs a reason, and the pupils from which a change is worth a look
JUMP_PERCENT = 15
ENROLLMENT_FLOOR = 50
#: I22: nobody is a graduate student below this age
MASTER_AGE = 20

Tables = dict[str, pl.DataFrame]


def care_cases(tables: Tables, county_of_village: dict[str, str]) -> list[Case]:
    """Return the cases of I08, I09, I11, I12, I19 and I22 with what resembles them.

    Args:
        tables: canonical tables.
        county_of_village: county of today of every village; the county of a household acts even where its list was
            sent by the county that the village has left.
    """
    poor = tables["poor_person"].with_columns(county_code=pl.col("village_code").replace_strict(county_of_village))
    return [
        *_inflated_rolls(tables),
        *_meals(tables["nutrition_month"]),
        *_impossible_ages(tables),
        *_two_rolls(tables["pupil"], tables["student_event"]),
        *_jumps(tables),
        *_contradictions(poor),
    ]


def _inflated_rolls(tables: Tables) -> Iterator[Case]:
    """I08: more pupils in the statistics than on the register of the school; near-miss: not more than the limit."""
    keys = ["school_year", "school_code"]
    counted = (
        tables["enrollment_count"]
        .group_by("school_year", "county_code", "school_code")
        .agg(counted=pl.col("enrollment_count").sum())
    )
    registered = tables["pupil"].group_by(keys).agg(registered=pl.len().cast(pl.Int64))
    both = counted.join(registered, on=keys).filter(pl.col("counted") > pl.col("registered")).sort(keys)
    for year, county, school, stated, known in both.iter_rows():
        over = 100 * stated > (100 + INFLATION_PERCENT) * known
        yield Case("I08", "inflated_roll" if over else "within_limit", year, county, (school,), not over)


def _meals(meals: pl.DataFrame) -> Iterator[Case]:
    """I09: days, eaters and figures that repeat; near-miss: the last that is possible, and full attendance."""

    def single(kind: str, where: pl.Expr, *, near: bool = False, limit: int | None = None) -> Iterator[Case]:
        found = meals.filter(where).sort("aid_year", "month", "school_code")
        for row in (found if limit is None else found.head(limit)).iter_rows(named=True):
            amount = Decimal(0) if near else row["spent_yuan"]
            subject = (row["school_code"], str(row["month"]))
            yield Case("I09", kind, row["aid_year"], row["county_code"], subject, near, amount)

    yield from single("meal_days_over", pl.col("meal_day_count") > MOST_MEAL_DAYS)
    yield from single("meal_days_at_limit", pl.col("meal_day_count") == MOST_MEAL_DAYS, near=True)
    yield from single("beneficiaries_over", pl.col("beneficiary_count") > pl.col("pupil_count"))
    full = (pl.col("beneficiary_count") == pl.col("pupil_count")) & (pl.col("meal_day_count") <= MOST_MEAL_DAYS)
    yield from single("full_attendance", full & (pl.col("pupil_count") > 0), near=True, limit=NEAR_MISSES)
    figures = ["beneficiary_count", "meal_day_count"]
    ordered = meals.sort("school_code", "aid_year", "month").filter(pl.col("beneficiary_count") < pl.col("pupil_count"))
    fresh = (pl.col("month") != pl.col("month").shift(1) + 1) | pl.any_horizontal(
        pl.col(c) != pl.col(c).shift(1) for c in figures
    )
    runs = (
        ordered.with_columns(_run=fresh.fill_null(value=True).cum_sum().over("school_code", "aid_year"))
        .group_by("school_code", "aid_year", "_run", maintain_order=True)
        .agg(pl.col("county_code", "month").first(), months=pl.len(), spent=pl.col("spent_yuan").sum())
        .filter(pl.col("months") >= SAME_MONTHS - 1)
    )
    for row in runs.iter_rows(named=True):
        near = row["months"] < SAME_MONTHS
        yield Case(
            "I09", "three_identical_months" if near else "identical_counts", row["aid_year"], row["county_code"],
            (row["school_code"], str(row["month"])), near, Decimal(0) if near else row["spent"],
        )  # fmt: skip


def _impossible_ages(tables: Tables) -> Iterator[Case]:
    """I11: more than three years outside the typical ages of the stage; near-miss: exactly three."""
    aged = primary_rows(tables["pupil"], tables["student_event"]).with_columns(
        _age=age_on(pl.col("birth_date"), pl.col("school_year")),
        _low=pl.col("stage").replace_strict(LOWEST_AGE),
        _high=pl.col("stage").replace_strict(HIGHEST_AGE),
    )
    aged = aged.with_columns(subject=pl.coalesce("id_number", "student_number")).sort("school_year", "subject")
    columns = ("school_year", "county_code", "subject")
    outside = (pl.col("_age") < pl.col("_low")) | (pl.col("_age") > pl.col("_high"))
    for row in aged.filter(outside).select(columns).iter_rows():
        yield Case("I11", "age_outside_stage", row[0], row[1], (row[2],))
    at_limit = (pl.col("_age") == pl.col("_low")) | (pl.col("_age") == pl.col("_high"))
    for row in aged.filter(at_limit).select(columns).head(NEAR_MISSES).iter_rows():
        yield Case("I11", "age_at_limit", row[0], row[1], (row[2],), is_near_miss=True)


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


def enrollment_by_stage(tables: Tables) -> pl.DataFrame:
    """Return by county, stage and year from 2016: pupils of the statistics and of the register, now and before."""
    keys = ["county_code", "stage", "school_year"]
    counted = tables["enrollment_count"].group_by(keys).agg(count=pl.col("enrollment_count").sum())
    registered = (
        primary_rows(tables["pupil"], tables["student_event"]).group_by(keys).agg(registered=pl.len().cast(pl.Int64))
    )
    both = counted.join(registered, on=keys, how="left")
    earlier = both.select(
        "county_code", "stage", pl.col("school_year") + 1, before="count", registered_before="registered"
    )
    return (
        both.filter(pl.col("school_year") >= 2016)
        .join(earlier, on=keys)
        .rename({"registered": "registered_now"})
        .with_columns(pl.col("registered_now", "registered_before").fill_null(0))
        .sort(keys)
    )


def _jumps(tables: Tables) -> Iterator[Case]:
    """I19: the statistics of a stage jump while the register stays; near-miss: the register jumps, too."""

    def jumps(now: str, before: str) -> pl.Expr:
        return 100 * (pl.col(now) - pl.col(before)).abs() > JUMP_PERCENT * pl.col(before)

    far = enrollment_by_stage(tables).filter((pl.col("before") >= ENROLLMENT_FLOOR) & jumps("count", "before"))
    for row in far.with_columns(_known=jumps("registered_now", "registered_before")).iter_rows(named=True):
        near = bool(row["_known"])
        kind = "register_confirms" if near else "enrollment_jump"
        yield Case("I19", kind, row["school_year"], row["county_code"], (row["county_code"], row["stage"]), near)


def in_school() -> pl.Expr:
    """Tell whether the poverty list says that the person goes to school."""
    return pl.col("school_status").is_not_null() & ~pl.col("school_status").is_in(["非在校生", "学龄前儿童"])


def _contradictions(poor: pl.DataFrame) -> Iterator[Case]:
    """I22: what a row of the poverty list says twice and differently; near-miss: what only looks like it."""
    aged = poor.with_columns(_age=age_on(pl.col("birth_date"), pl.col("poverty_year")))
    ill = pl.col("out_of_school_reason").is_in(["illness", "disability"])
    healthy = pl.col("health_status") == "健康"
    master = pl.col("school_status") == "硕士及以上"
    shapes: list[tuple[str, pl.Expr, bool]] = [
        ("skilled_pupil", in_school() & (pl.col("labor_ability") == "技能劳动力"), False),
        ("not_ill", ill & healthy, False),
        ("young_master", master & (pl.col("_age") < MASTER_AGE), False),
        ("working_pupil", in_school() & (pl.col("out_of_school_reason") == "working"), False),
        ("ordinary_labor", in_school() & (pl.col("labor_ability") == "普通劳动力"), True),
        ("ill_indeed", ill & ~healthy, True),
        ("grown_master", master & (pl.col("_age") >= MASTER_AGE), True),
    ]
    for kind, where, near in shapes:
        found = aged.filter(where).sort("poverty_year", "person_number")
        for row in (found.head(NEAR_MISSES) if near else found).iter_rows(named=True):
            yield Case("I22", kind, row["poverty_year"], row["county_code"], (row["person_number"],), near)
