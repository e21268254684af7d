"""Loans at the place of origin (E13): who asks for one, and what becomes of it."""

from __future__ import annotations

import numpy as np
import polars as pl

from simulator.aid_due import Tables, listed_poor
from simulator.aid_people import COLLEGES, college_codes
from simulator.plan import YEARS
from simulator.truth import age_on

#: share of applications granted, by year
GRANTED = dict(zip(YEARS, (0.88, 0.92, 0.95, 0.97, 0.98, 0.99), strict=True))
POOR_ASK, OTHERS_ASK, POOR_AWAY_ASK = 0.45, 0.2, 0.12
AWAY = ("外省综合大学", "外省师范大学", "外省理工大学", "外省职业技术大学")


def student_loans(
    tables: Tables, students: pl.DataFrame, who: pl.DataFrame, now: pl.DataFrame, seed: int
) -> pl.DataFrame:
    """Return the canonical table ``student_loan``.

    Args:
        tables: canonical tables.
        students: as of :func:`simulator.aid_people.at_college`.
        who: as of :func:`simulator.aid_people.identities`.
        now: ``_village`` → ``_home``.
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 98])
    poor = listed_poor(tables["poor_person"], now)
    rolls = tables["pupil"].select("_token", start="school_year").unique()
    here = students.filter(pl.col("term") == "autumn").select("start", "_token", "school_code", "is_poor")
    away = (
        poor.filter(age_on(pl.col("birth_date"), pl.col("start")).is_between(18, 22))
        .join(who.select("_token"), on="_token", how="semi")
        .join(rolls, on=["start", "_token"], how="anti")
        .join(students.select("_token").unique(), on="_token", how="anti")
        .select("start", "_token", school_code=pl.lit(None, dtype=pl.String), is_poor=pl.lit(True))
    )
    homes = (
        tables["pupil"]
        .sort("school_year")
        .unique("_token", keep="last", maintain_order=True)
        .join(now, left_on="home_area_code", right_on="_village", how="left")
        .select("_token", pupil_home="_home")
    )
    rows = pl.concat([here, away]).sort("start", "_token")
    ask = (
        pl.when(pl.col("school_code").is_null())
        .then(POOR_AWAY_ASK)
        .otherwise(pl.when("is_poor").then(POOR_ASK).otherwise(OTHERS_ASK))
    )
    rows = (
        rows.with_columns(
            ask=pl.Series(rng.random(rows.height)),
            fate=pl.Series(rng.random(rows.height)),
            sum=pl.Series(rng.integers(40, 81, size=rows.height)) * 100,
            day=pl.Series(rng.integers(1, 29, size=rows.height)),
            goal=pl.Series([AWAY[i] for i in rng.integers(0, len(AWAY), size=rows.height)], dtype=pl.String),
        )
        .filter(pl.col("ask") < ask)
        .join(who, on="_token", how="left", maintain_order="left")
        .join(poor.select("start", "_token", "poor_home"), on=["start", "_token"], how="left", maintain_order="left")
        .join(homes, on="_token", how="left", maintain_order="left")
        # loans are granted at the place of origin: who is on no list of the year and on no register has none here
        .filter(pl.col("id_number").is_not_null() & pl.coalesce("poor_home", "pupil_home").is_not_null())
    )
    colleges = {code: name for code, (_, name, _) in zip(college_codes(), COLLEGES, strict=True)}
    granted = pl.col("start").replace_strict(GRANTED)
    month = 7 + pl.col("day") % 3
    serial = pl.int_range(1, pl.len() + 1).over("start").cast(pl.String).str.zfill(6)
    place = pl.col("school_code").replace_strict(colleges, default=None, return_dtype=pl.String)
    higher = pl.col("institution_name").str.contains("职业|专科")
    return (
        rows.with_columns(
            aid_year="start",
            county_code=pl.coalesce("poor_home", "pupil_home"),
            institution_name=pl.coalesce(place, "goal"),
        )
        .sort("aid_year", "county_code", "_token")
        .with_columns(
            contract_number=pl.format("HT{}{}", "start", serial),
            applicant_name="student_name",
            institution_code="school_code",
            is_in_region=pl.col("school_code").is_not_null(),
            student_level=pl.when(higher).then(pl.lit("junior_college")).otherwise(pl.lit("undergraduate")),
            applied_on=pl.date(pl.col("start"), month, pl.col("day")),
            decision=pl.when(pl.col("fate") < granted)
            .then(pl.lit("granted"))
            .when(pl.col("fate") < granted + (1 - granted) * 0.6)
            .then(pl.lit("refused"))
            .otherwise(pl.lit("pending")),
            amount_yuan="sum",
            is_registered_poor="is_poor",
            _file_county=pl.lit("64"),
            _file_year="start",
        )
        .select(
            "aid_year", "county_code", "contract_number", "applicant_name", "id_number", "institution_code",
            "institution_name", "is_in_region", "student_level", "applied_on", "decision", "amount_yuan",
            "is_registered_poor", "_token", "_file_county", "_file_year",
        )
    )  # fmt: skip
