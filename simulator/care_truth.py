"""Truth of the indicators on meals, insurance and children who need care, from the tables alone.

Semester rates follow the register behind the term: spring of a year rests on the register of the year before, so the
spring of 2015 has none. Counted by home county unless the school or the report itself has the county.
"""

from __future__ import annotations

import polars as pl

from simulator.care_files import FIRST_CUT_OFF, TERMS
from simulator.truth import Counts, ValueTable, age_on, aged, counts_of, primary_rows

Tables = dict[str, pl.DataFrame]
FIRST_YEAR = TERMS[0][0]
ATTACHED_TYPES = ("119", "219", "319", "329", "349", "368", "519")
GENERAL_CATEGORIES = ("1", "2", "3", "5")
ENTRY_AGE = 7


def care_values(table: ValueTable, tables: Tables, now: pl.DataFrame) -> None:
    """Add A6.3, A6.11, A7.2, A7.5-A7.9 and W4.

    Args:
        table: the long fact.
        tables: canonical tables; A7.6 needs ``aid_payment``.
        now: county of today (``_home``) by village (``_village``).
    """
    roll = primary_rows(tables["pupil"], tables["student_event"]).join(
        now, left_on="home_area_code", right_on="_village", how="left", maintain_order="left"
    )
    _meals(table, tables)
    _insurance(table, tables, roll)
    _special_schools(table, tables["school"])
    disabled = _disabled_pupils(roll, tables["disabled_child"])
    _timely_entry(table, disabled, tables["disabled_child"])
    if "aid_payment" in tables:
        _aided(table, disabled, tables["aid_payment"])
    _tracked(table, roll, tables)
    _boarding(table, roll, tables["care_record"])
    activities = counts_of(tables["care_record"], "county_code", "aid_year", "activity_count")
    table.add("A7.9", "activities", "none", activities, None)
    _poor_pupil_files(table, roll, tables["poor_person"].join(
        now, left_on="village_code", right_on="_village", how="left", maintain_order="left"
    ))  # fmt: skip


def _meals(table: ValueTable, tables: Tables) -> None:
    meals = tables["nutrition_month"]
    fed, pupils = (counts_of(meals, "county_code", "aid_year", c) for c in ("beneficiary_count", "pupil_count"))
    table.add("A6.3", "pupils_fed", "none", fed, pupils)
    reached = meals.select("county_code", "aid_year", "school_code").unique()
    compulsory = (
        tables["enrollment_count"]
        .filter(pl.col("stage").is_in(["primary", "junior"]) & (pl.col("enrollment_count") > 0))
        .select("county_code", "school_year", "school_code")
        .unique()
    )
    table.add(
        "A6.3", "schools_reached", "none", counts_of(reached, "county_code", "aid_year"),
        counts_of(compulsory, "county_code", "school_year"),
    )  # fmt: skip
    fen = meals.with_columns(
        _spent=(pl.col("spent_yuan") * 100).round(0).cast(pl.Int64),
        _due=(pl.col("meal_count") * pl.col("standard_yuan").cast(pl.Float64) * 100).round(0).cast(pl.Int64),
    )
    spent, due = (counts_of(fen, "county_code", "aid_year", c) for c in ("_spent", "_due"))
    table.add("A6.3", "money_matched", "none", spent, due)


def _insurance(table: ValueTable, tables: Tables, roll: pl.DataFrame) -> None:
    schools = tables["school"].filter(
        pl.col("school_type_code").str.slice(0, 1).is_in(GENERAL_CATEGORIES)
        & ~pl.col("school_type_code").is_in(ATTACHED_TYPES)
        & ((pl.col("change_type_code") != "4") | pl.col("change_type_code").is_null())
    )
    policies = tables["liability_insurance"].filter("is_no_fault")
    years = schools.select("school_year").unique()

    def in_force(day: pl.Expr) -> pl.DataFrame:
        found = policies.join(years, how="cross").filter(day.is_between(pl.col("valid_from"), pl.col("valid_to")))
        return found.group_by("school_year", "school_code").agg(_heads=pl.col("insured_count").sum())

    keys = ["school_year", "school_code"]
    in_autumn = in_force(pl.date(pl.col("school_year"), 9, 1))
    in_spring = in_force(pl.date(pl.col("school_year") + 1, 3, 1))
    covered = schools.join(in_autumn, on=keys, how="semi").join(in_spring, on=keys, how="semi")
    table.add(
        "A6.11", "schools_insured", "none", counts_of(covered, "county_code", "school_year"),
        counts_of(schools, "county_code", "school_year"),
    )  # fmt: skip
    pupils = roll.group_by("county_code", *keys).agg(_pupils=pl.len().cast(pl.Int64))
    heads = pupils.join(in_autumn, on=keys).with_columns(_insured=pl.min_horizontal("_heads", "_pupils"))
    table.add(
        "A6.11", "pupils_insured", "none", counts_of(heads, "county_code", "school_year", "_insured"),
        counts_of(pupils, "county_code", "school_year", "_pupils"),
    )  # fmt: skip


def _special_schools(table: ValueTable, school: pl.DataFrame) -> None:
    open_now = school.filter((pl.col("change_type_code") != "4") | pl.col("change_type_code").is_null())
    special = pl.col("school_type_code").str.starts_with("51") | pl.col("attached_class_types").str.contains("519")
    has = open_now.filter(special.fill_null(value=False)).select("county_code", "school_year").unique()
    table.add("A7.2", "county_has", "none", counts_of(has, "county_code", "school_year"), _one_each(table))


def _one_each(table: ValueTable) -> Counts:
    return {(county, year): 1 for county in table.areas.counties for year in table.years}


def _disabled_pupils(roll: pl.DataFrame, disabled: pl.DataFrame) -> pl.DataFrame:
    """Pupils whose register row names a disability or who stand in the file of disabled children of that year."""
    listed = disabled.select("_token", school_year="reference_year").unique().with_columns(_listed=pl.lit(value=True))
    return roll.join(listed, on=["_token", "school_year"], how="left", maintain_order="left").filter(
        (pl.col("disability_code") != "0").fill_null(value=False) | pl.col("_listed").fill_null(value=False)
    )


def _timely_entry(table: ValueTable, pupils: pl.DataFrame, disabled: pl.DataFrame) -> None:
    year = pl.col("school_year")
    entrants = pupils.filter(
        ((pl.col("stage") == "primary") & (pl.col("grade") == "P1"))
        | ((pl.col("stage") == "special") & (pl.col("enrolled_on").dt.year() == year))
    )
    timely = entrants.filter(age_on(pl.col("birth_date"), year) <= ENTRY_AGE)
    table.add(
        "A7.5", "timely_entry", "none", counts_of(timely, "_home", "school_year"),
        counts_of(entrants, "_home", "school_year"),
    )  # fmt: skip
    known = disabled.filter(pl.col("is_in_rehabilitation").is_not_null())
    table.add(
        "A7.5", "in_rehabilitation", "none",
        counts_of(known.filter("is_in_rehabilitation"), "county_code", "reference_year"),
        counts_of(known, "county_code", "reference_year"),
    )  # fmt: skip


def _by_term(roll: pl.DataFrame) -> pl.DataFrame:
    """The same pupils once for every term that their register is behind (``aid_year``, ``term``)."""
    terms = pl.DataFrame(TERMS, schema=["aid_year", "term", "school_year"], orient="row")
    return roll.join(terms, on="school_year")


def _add_terms(table: ValueTable, code: str, variant: str, base: pl.DataFrame, done: pl.DataFrame) -> None:
    """Add a semester rate of pupils: both terms together, spring and autumn."""
    for subgroup in ("all", "spring", "autumn"):
        wanted = pl.lit(value=True) if subgroup == "all" else pl.col("term") == subgroup
        table.add(
            code, variant, "none", counts_of(done.filter(wanted), "_home", "aid_year"),
            counts_of(base.filter(wanted), "_home", "aid_year"), subgroup=subgroup,
            unknown=(FIRST_YEAR,) if subgroup == "spring" else (),
        )  # fmt: skip


def _aided(table: ValueTable, disabled: pl.DataFrame, payment: pl.DataFrame) -> None:
    pupils = _by_term(disabled)
    paid = payment.filter(~pl.col("is_reversed").fill_null(value=False) & (pl.col("amount_yuan") > 0))
    keys = ["_token", "aid_year", "term"]
    _add_terms(table, "A7.6", "aided", pupils, pupils.join(paid.select(keys).unique(), on=keys, how="semi"))


def _tracked(table: ValueTable, roll: pl.DataFrame, tables: Tables) -> None:
    """Registered-poor left-behind pupils with an open file and a visit in the term."""
    poor = tables["poor_person"].select("_token", school_year="poverty_year").unique()
    pupils = _by_term(
        roll.filter(pl.col("left_behind_code").is_in(["1", "2"])).join(poor, on=["_token", "school_year"], how="semi")
    )
    cut_off = pl.coalesce(
        pl.when(pl.col("term") == term).then(pl.date(pl.col("aid_year"), month, day))
        for term, (month, day) in FIRST_CUT_OFF.items()
    )
    files = tables["care_record"].filter(
        (pl.col("child_kind") == "left_behind")
        & (pl.col("visit_count") >= 1)
        & (pl.col("closed_on").is_null() | (pl.col("closed_on") > cut_off))
    )
    keys = ["_token", "aid_year", "term"]
    _add_terms(table, "A7.7", "tracked", pupils, pupils.join(files.select(keys).unique(), on=keys, how="semi"))


def _boarding(table: ValueTable, roll: pl.DataFrame, care: pl.DataFrame) -> None:
    """Children with a care file who asked for a place to board, and who got one: left-behind children and others."""
    children = care.group_by("aid_year", "_token").agg(
        _left=(pl.col("child_kind") == "left_behind").any(),
        _asked=pl.col("asked_boarding").any(),
        _granted=(pl.col("asked_boarding") & pl.col("granted_boarding")).any(),
        _school_county=pl.col("county_code").min(),
    )
    homes = roll.select("_token", "school_year", "_home")
    same, before = (
        homes.select("_token", "_home", aid_year=pl.col("school_year") + later).rename({"_home": f"_home{later}"})
        for later in (0, 1)
    )
    asked = (
        children.filter("_asked")
        .join(same, on=["_token", "aid_year"], how="left")
        .join(before, on=["_token", "aid_year"], how="left")
        .with_columns(_home=pl.coalesce("_home0", "_home1", "_school_county"))
    )
    for variant, who in (("left_behind", pl.col("_left")), ("others", ~pl.col("_left"))):
        mine = asked.filter(who)
        table.add(
            "A7.8", variant, "none", counts_of(mine.filter("_granted"), "_home", "aid_year"),
            counts_of(mine, "_home", "aid_year"),
        )  # fmt: skip


def _poor_pupil_files(table: ValueTable, roll: pl.DataFrame, poor: pl.DataFrame) -> None:
    """Poor persons of school age whom the list calls pupils, and those with a filled row on the register."""
    listed = aged(poor, "poverty_year", 3, 22).filter(
        pl.col("school_status").is_not_null() & ~pl.col("school_status").is_in(["非在校生", "学龄前儿童"])
    )
    filled = roll.filter(
        pl.col("sex").is_not_null()
        & pl.col("birth_date").is_not_null()
        & pl.col("home_area_code").is_not_null()
        & (pl.col("guardian_id_number").is_not_null() | pl.col("student_number").is_not_null())
    ).select("_token", poverty_year="school_year")
    found = listed.join(filled.unique(), on=["_token", "poverty_year"], how="semi")
    table.add(
        "W4", "poor_pupil_file", "none", counts_of(found, "_home", "poverty_year"),
        counts_of(listed, "_home", "poverty_year"),
    )  # fmt: skip
