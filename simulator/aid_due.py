"""Who is entitled to what: person × entitlement × semester, from the rolls, the list of the poor and the documents."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from simulator.aid_rules import (
    APPLICANT,
    BROAD_TYPES,
    BY_POLICY,
    EVERY,
    EXCEPT_GUYUAN,
    EXCEPT_PLAN_COUNTIES,
    GUYUAN,
    GUYUAN_CITY,
    ITEMS,
    NO_PUPIL,
    PLAN_COUNTIES,
    STAGE_OF_STATUS,
    Item,
    order_of,
    semesters,
)
from simulator.truth import age_on

Tables = dict[str, pl.DataFrame]
SEMESTER = ["aid_year", "term"]
PERSON = [*SEMESTER, "_token"]
ROW = [*PERSON, "entitlement_code"]


def listed_poor(poor_person: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Return one row per person and list: ``start``, ``_token``, ``poor_home``, ``school_status``, ``birth_date``."""
    return (
        poor_person.sort("poverty_year", "county_code", "person_number")
        .unique(["poverty_year", "_token"], keep="first", maintain_order=True)
        .join(now, left_on="village_code", right_on="_village", how="left")
        .select("_token", "school_status", "birth_date", start="poverty_year", poor_home="_home")
    )


def persons_of_semesters(tables: Tables, now: pl.DataFrame, primary: pl.DataFrame) -> pl.DataFrame:
    """Return the persons that an entitlement could concern, one row per semester.

    Args:
        tables: canonical tables, of them ``poor_person`` and ``aid_recognition``.
        now: ``_village`` → ``_home`` (county of today).
        primary: primary rolls.

    Returns:
        ``aid_year``, ``term``, ``order``, ``cut_off``, ``start``, ``_token``, ``stage``, ``grade``, ``boards``,
        ``school_code``, ``school_county``, ``home``, ``is_poor``, ``is_broad``, ``asked``, ``is_matched``.
    """
    terms = semesters()
    poor = listed_poor(tables["poor_person"], now)
    named = tables["aid_recognition"]
    broad = named.filter(pl.col("hardship_type").is_in(BROAD_TYPES)).select(PERSON).unique()
    higher = (
        named.filter(pl.col("stage") == "higher")
        .sort(*SEMESTER, "county_code", "student_number")
        .unique(PERSON, keep="first", maintain_order=True)
        .join(terms, on=SEMESTER)
        .join(poor.select("start", "_token", "poor_home"), on=["start", "_token"], how="left")
        .select(
            *terms.columns, "_token", "stage", "school_code", grade=pl.lit(None, dtype=pl.String), boards=pl.lit(False),
            school_county="county_code", home=pl.coalesce("poor_home", "county_code"),
            asked=pl.col("asked_work_study").fill_null(False), is_matched=pl.lit(True),
        )
    )  # fmt: skip
    boards = pl.col("boarding_code") == "2"
    two_years = (pl.col("stage") == "preschool") & pl.col("grade").is_in(["PRE2", "PRE3"])
    on_roll = (
        primary.filter(
            two_years
            | pl.col("stage").is_in(["senior", "vocational"])
            | (pl.col("stage").is_in(["primary", "junior"]) & boards)
        )
        .join(now, left_on="home_area_code", right_on="_village", how="left")
        .with_columns(start="school_year")
        .join(terms, on="start")
        .select(
            *terms.columns, "_token", "stage", "school_code", "grade", boards=boards.fill_null(False),
            school_county="county_code", home="_home", asked=pl.lit(False), is_matched=pl.lit(True),
        )
    )  # fmt: skip
    return (
        pl.concat([on_roll, higher, _on_no_roll(poor, terms, primary, higher).select(on_roll.columns)])
        .join(poor.select("start", "_token", is_poor=pl.lit(True)), on=["start", "_token"], how="left")
        .join(broad.with_columns(is_broad=pl.lit(True)), on=PERSON, how="left")
        .with_columns(pl.col("is_poor", "is_broad").fill_null(False))
        .sort(*SEMESTER, "_token")
    )


def _on_no_roll(poor: pl.DataFrame, terms: pl.DataFrame, primary: pl.DataFrame, higher: pl.DataFrame) -> pl.DataFrame:
    """Poor persons whose list says that they learn, though no roll of the province has them."""
    age = age_on(pl.col("birth_date"), pl.col("start"))
    small = (pl.col("school_status") == "学前教育") & age.is_between(4, 5)
    stage = (
        pl.when(small)
        .then(pl.lit("preschool"))
        .otherwise(pl.col("school_status").replace_strict(STAGE_OF_STATUS, default=None, return_dtype=pl.String))
    )
    rolls = primary.select("_token", start="school_year").unique()
    return (
        poor.with_columns(stage=stage)
        .filter(pl.col("stage").is_not_null())
        .join(rolls, on=["start", "_token"], how="anti")
        .join(terms, on="start")
        .join(higher.select(PERSON), on=PERSON, how="anti")
        .with_columns(
            grade=pl.when(small).then(pl.format("PRE{}", age - 2)), boards=pl.lit(False), asked=pl.lit(False),
            is_matched=pl.lit(False), school_code=pl.lit(None, dtype=pl.String), school_county="poor_home",
            home="poor_home",
        )
    )  # fmt: skip


def policies_in_force(documents: pl.DataFrame, counties: Iterable[str]) -> pl.DataFrame:
    """Return (``plan``, ``school_county``, ``aid_year``, ``term``) of the aid policies in force at the cut-off."""
    scope = pl.DataFrame(
        [(area, c) for c in counties for area in (c, c[:4], c[:2])],
        schema={"area_code": pl.String, "school_county": pl.String},
        orient="row",
    )
    return (
        documents.filter((pl.col("document_type") == "aid_policy") & pl.col("entitlement_code").is_not_null())
        .join(scope, on="area_code")
        .join(semesters(), how="cross")
        .filter(
            (pl.col("effective_from") <= pl.col("cut_off"))
            & (pl.col("effective_to").is_null() | (pl.col("effective_to") >= pl.col("cut_off")))
        )
        .select("school_county", *SEMESTER, plan="entitlement_code")
        .unique()
    )


def due_rows(
    persons: pl.DataFrame, documents: pl.DataFrame, counties: Iterable[str], plan_counties: Iterable[str]
) -> pl.DataFrame:
    """Apply every entitlement to the persons of :func:`persons_of_semesters`.

    Returns:
        One row per person, semester and entitlement due on one of the bases: the columns of the persons and
        ``entitlement_code``, ``tier``, ``yuan``, ``strict`` (due by the plan's words; every row is due on the
        national basis), sorted.
    """
    in_force = policies_in_force(documents, counties)
    inside = pl.col("school_county").is_in(list(plan_counties))
    guyuan = pl.col("school_county").str.starts_with(GUYUAN_CITY)

    def apply(item: Item) -> pl.DataFrame:
        found = persons.filter((pl.col("stage") == item.stage) & (pl.col("order") >= order_of(*item.since)))
        if item.grades:
            found = found.filter(pl.col("grade").is_in(item.grades))
        if item.scope == PLAN_COUNTIES:
            found = found.filter(inside)
        if item.scope == GUYUAN:
            found = found.filter(guyuan)
        if item.scope == BY_POLICY:
            here = in_force.filter(pl.col("plan") == item.plan)
            found = found.join(here, on=["school_county", *SEMESTER], how="semi")
            if item.plan in EXCEPT_PLAN_COUNTIES:
                found = found.filter(~inside)
            if item.plan in EXCEPT_GUYUAN:
                found = found.filter(~guyuan)
        wish = pl.col("asked") if item.who == APPLICANT else pl.lit(True)
        strict = pl.lit(True) if item.who == EVERY else pl.col("is_poor") & wish
        broad = strict if item.who == EVERY else (pl.col("is_poor") | pl.col("is_broad")) & wish
        return found.filter(broad).with_columns(
            entitlement_code=pl.lit(item.code),
            tier=pl.lit(item.tier),
            yuan=pl.lit(item.yuan, dtype=pl.Int64),
            strict=strict,
        )

    return pl.concat([apply(item) for item in ITEMS]).sort(ROW)


def covered_keys(payments: pl.DataFrame) -> pl.DataFrame:
    """Return the person × semester × entitlement with a payment that counts, and what was paid."""
    return (
        payments.filter(~pl.col("is_reversed") & (pl.col("amount_yuan") > 0))
        .group_by(ROW, maintain_order=True)
        .agg(paid_yuan=pl.col("amount_yuan").sum())
    )


def must_be_matched(poor: pl.DataFrame) -> pl.DataFrame:
    """Keep the listed persons of 3-22 whose status says that they learn."""
    age = age_on(pl.col("birth_date"), pl.col("start"))
    return poor.filter(
        age.is_between(3, 22) & pl.col("school_status").is_not_null() & ~pl.col("school_status").is_in(NO_PUPIL)
    )
