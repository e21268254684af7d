"""Truth of aid: coverage, adequacy, waivers, loans, grants and documents, counted in the tables."""

from __future__ import annotations

import polars as pl

from simulator.aid_due import (
    PERSON,
    ROW,
    SEMESTER,
    Tables,
    covered_keys,
    due_rows,
    listed_poor,
    must_be_matched,
    persons_of_semesters,
    policies_in_force,
)
from simulator.aid_rules import AUTUMN, ITEM, ORDINARY, SPRING, TILT, order_of, semesters
from simulator.plan import YEARS
from simulator.truth import REGION, Counts, ValueTable, counts_of, primary_rows

STRICT, BROAD, NONE = "plan_strict", "national_broad", "none"
BY_YEAR = ("pupil", "poor_person", "aid_recognition", "aid_payment", "policy_document", "fund_ledger", "student_loan")
COMPONENTS = {"dormitory": "A", "textbooks": "B", "living": "C"}
AID_PROGRAMS = ("aid", "nutrition", "loan_subsidy")
AID_STAGES = ("preschool", "compulsory", "senior", "vocational", "higher", "postgraduate")
RISK_SYSTEM = ("risk_service_agreement", "risk_post", "claims_register")
#: before the first register there is no roll for the spring
UNKNOWN_SPRING = (YEARS[0],)


def aid_values(table: ValueTable, tables: Tables, now: pl.DataFrame) -> None:
    """Add G13, G15, A6.0-A6.2, A6.4-A6.10, A6.12, A6.13, A7.4 and A7.11."""
    # What lies before the first year was not delivered.
    late = pl.col("_file_year") >= table.years[0]
    tables = {name: frame.filter(late) if name in BY_YEAR else frame for name, frame in tables.items()}
    primary = primary_rows(tables["pupil"], tables["student_event"]).join(
        now, left_on="home_area_code", right_on="_village", how="left", maintain_order="left"
    )
    roll = primary.drop("_home")
    documents = tables["policy_document"]
    persons = persons_of_semesters(tables, now, roll)
    paid = covered_keys(tables["aid_payment"])
    due = (
        due_rows(persons, documents, table.areas.counties, table.areas.plan)
        .join(paid, on=ROW, how="left", maintain_order="left")
        .with_columns(covered=pl.col("paid_yuan").is_not_null(), paid_yuan=pl.col("paid_yuan").fill_null(0))
    )
    poor = listed_poor(tables["poor_person"], now)
    for basis, rows in ((STRICT, due.filter("strict")), (BROAD, due)):
        _coverage(table, basis, rows)
    _matched(table, poor, primary, persons)
    _not_expected(table, due, tables["aid_payment"], poor, primary)
    _ordinary_first(table, due.filter("strict"))
    _components(table, due, primary)
    _work_study(table, due, persons, paid)
    _in_force(table, documents)
    _loans(table, tables["student_loan"], poor)
    _documents(table, documents, tables["admin_area"])
    _grants(table, tables["fund_ledger"], roll, tables["school"])
    _funded_stages(table, documents, tables["fund_ledger"])


def _add_terms(
    table: ValueTable,
    code: str,
    variant: str,
    basis: str,
    top: pl.DataFrame,
    bottom: pl.DataFrame | None,
    county: str = "home",
    values: tuple[str | None, str | None] = (None, None),
) -> None:
    """Add a rate of a semester: both terms together, spring and autumn; counted rows or summed columns."""
    for subgroup in ("all", SPRING, AUTUMN):
        wanted = pl.lit(True) if subgroup == "all" else pl.col("term") == subgroup
        table.add(
            code,
            variant,
            basis,
            counts_of(top.filter(wanted), county, "aid_year", values[0]),
            None if bottom is None else counts_of(bottom.filter(wanted), county, "aid_year", values[1]),
            subgroup=subgroup,
            unknown=UNKNOWN_SPRING if subgroup == SPRING else (),
        )


def _add_rows(table: ValueTable, code: str, variant: str, basis: str, rows: pl.DataFrame) -> None:
    _add_terms(table, code, variant, basis, rows.filter("covered"), rows)


def _coverage(table: ValueTable, basis: str, rows: pl.DataFrame) -> None:
    people = rows.group_by(PERSON, maintain_order=True).agg(pl.col("home").first(), pl.col("covered").all())
    _add_rows(table, "G13", "covered_persons", basis, people)
    _add_rows(table, "G13", "covered_entitlements", basis, rows)
    done = rows.filter("covered")
    _add_terms(table, "G13", "covered_by_school_county", basis, done, rows, county="school_county")
    fen = rows.with_columns(paid_fen=100 * pl.col("paid_yuan"), due_fen=100 * pl.col("yuan"))
    _add_terms(table, "G13", "adequacy", basis, fen, fen, values=("paid_fen", "due_fen"))
    item = pl.col("entitlement_code")
    _add_rows(table, "A6.1", "waived", basis, rows.filter(item == "EN01"))
    _add_rows(table, "A6.2", "waived", basis, rows.filter(item.is_in(["EN01", "EN02"])))
    _add_rows(table, "A6.4", "waived", basis, rows.filter(item == "EN06"))
    free = (
        rows.filter(item.is_in(["EN06", "EN07B", "EN07D"]))
        .group_by(PERSON, maintain_order=True)
        .agg(pl.col("home").first(), pl.col("covered").all(), n=item.n_unique())
        .filter(pl.col("n") == 3)
    )
    _add_rows(table, "A6.5", "all_components", basis, free)


def _matched(table: ValueTable, poor: pl.DataFrame, primary: pl.DataFrame, persons: pl.DataFrame) -> None:
    wanted = must_be_matched(poor).join(semesters().select(*SEMESTER, "start"), on="start")
    rolls = primary.select("_token", start="school_year").unique().with_columns(on_roll=pl.lit(True))
    higher = persons.filter(pl.col("stage") == "higher").select(PERSON).unique().with_columns(at_college=pl.lit(True))
    found = (
        wanted.join(rolls, on=["start", "_token"], how="left")
        .join(higher, on=PERSON, how="left")
        .filter(pl.col("on_roll").is_not_null() | pl.col("at_college").is_not_null())
    )
    _add_terms(table, "G13", "matched_rate", NONE, found, wanted, county="poor_home")


def _not_expected(
    table: ValueTable, due: pl.DataFrame, payments: pl.DataFrame, poor: pl.DataFrame, primary: pl.DataFrame
) -> None:
    counted = payments.filter(~pl.col("is_reversed") & (pl.col("amount_yuan") > 0))
    homes = primary.select("_token", "_home", start="school_year").unique(["_token", "start"])
    wrong = (
        counted.unique(ROW, keep="first", maintain_order=True)
        .join(due.select(ROW), on=ROW, how="anti")
        .join(semesters().select(*SEMESTER, "start"), on=SEMESTER)
        .join(homes, on=["start", "_token"], how="left")
        .join(poor.select("start", "_token", "poor_home"), on=["start", "_token"], how="left")
        .with_columns(home=pl.coalesce("_home", "poor_home", "county_code"))
    )
    _add_terms(table, "G13", "not_expected", NONE, wrong, None)


def _ordinary_first(table: ValueTable, rows: pl.DataFrame) -> None:
    ordinary, tilt = pl.col("tier") == ORDINARY, pl.col("tier") == TILT
    people = (
        rows.group_by(PERSON, maintain_order=True)
        .agg(
            pl.col("home").first(),
            has_tilt=(tilt & pl.col("covered")).any(),
            has_ordinary=ordinary.any(),
            covered=(~ordinary | pl.col("covered")).all(),
        )
        .filter("has_tilt", "has_ordinary")
    )
    _add_rows(table, "A6.0", "ordinary_first", NONE, people)


def _components(table: ValueTable, due: pl.DataFrame, primary: pl.DataFrame) -> None:
    pupils = (
        primary.filter(pl.col("stage") == "vocational")
        .select("_token", home="_home", start="school_year")
        .join(semesters().select(*SEMESTER, "start"), on="start")
    )
    item = pl.col("entitlement_code")
    for variant, letter in COMPONENTS.items():
        _add_rows(table, "A6.6", variant, NONE, due.filter(item == f"EN08{letter}"))
        done = due.filter(item.is_in([f"EN08{letter}", f"EN09{letter}"]) & pl.col("covered"))
        _add_terms(table, "A6.7", variant, NONE, done, pupils)
    strict = due.filter("strict")
    _add_rows(table, "A6.8", "tuition", NONE, strict.filter(item == "EN10A"))
    _add_rows(table, "A6.8", "living", NONE, strict.filter(item == "EN10B"))
    _add_rows(table, "A6.9", "registered_poor_placed", NONE, strict.filter(item == "EN11"))


def _work_study(table: ValueTable, due: pl.DataFrame, persons: pl.DataFrame, paid: pl.DataFrame) -> None:
    placed = paid.filter(pl.col("entitlement_code") == "EN11").select(PERSON).with_columns(placed=pl.lit(True))
    others = persons.filter((pl.col("stage") == "higher") & pl.col("asked") & ~pl.col("is_poor")).join(
        placed, on=PERSON, how="left"
    )
    _add_terms(table, "A6.9", "others_placed", NONE, others.filter(pl.col("placed").is_not_null()), others)


def _each(table: ValueTable, number: int = 1) -> Counts:
    return {(county, year): number for county in table.areas.counties for year in table.years}


def _in_force(table: ValueTable, documents: pl.DataFrame) -> None:
    areas = table.areas
    found = policies_in_force(documents, areas.counties).filter(
        (pl.col("plan") == "EN02") & (pl.col("term") == AUTUMN) & ~pl.col("school_county").is_in(list(areas.plan))
    )
    here: Counts = dict.fromkeys(found.select("school_county", "aid_year").iter_rows(), 1)
    for year in table.years:
        if order_of(year, AUTUMN) >= order_of(*ITEM["EN01"].since):
            here |= {(county, year): 1 for county in areas.plan}
    table.add("A6.2", "counties_in_force", NONE, here, _each(table))


def _loans(table: ValueTable, loans: pl.DataFrame, poor: pl.DataFrame) -> None:
    listed = poor.select("_token", "poor_home", aid_year="start")
    asked = loans.join(listed, on=["_token", "aid_year"])
    granted = asked.filter(pl.col("decision") == "granted")
    table.add(
        "A6.10", "granted", NONE, counts_of(granted, "poor_home", "aid_year"), counts_of(asked, "poor_home", "aid_year")
    )
    table.add("A6.10", "amount", NONE, counts_of(granted, "poor_home", "aid_year", "amount_yuan"), None)


def _at_year_end(table: ValueTable, documents: pl.DataFrame) -> pl.DataFrame:
    """Return the documents in force on 31 December, once for every ``year``."""
    years = pl.DataFrame({"year": table.years}, schema={"year": pl.Int64})
    day = pl.date(pl.col("year"), 12, 31)
    return documents.join(years, how="cross").filter(
        (pl.col("effective_from") <= day) & (pl.col("effective_to").is_null() | (pl.col("effective_to") >= day))
    )


def _documents(table: ValueTable, documents: pl.DataFrame, admin_area: pl.DataFrame) -> None:
    valid = _at_year_end(table, documents)
    kind, area = pl.col("document_type"), pl.col("area_code")
    scheme = valid.filter((kind == "insurance_scheme") & (area == REGION)).select("area_code", "year").unique()
    only: dict[str, tuple[str, ...]] = {REGION: (REGION,)}
    one: Counts = {(REGION, year): 1 for year in table.years}
    table.add("A6.12", "scheme_issued", NONE, counts_of(scheme, "area_code", "year"), one, groups=only)
    system = (
        valid.filter(kind.is_in(RISK_SYSTEM))
        .group_by("area_code", "year")
        .agg(n=kind.n_unique())
        .filter(pl.col("n") == len(RISK_SYSTEM))
    )
    table.add("A6.13", "counties_with_system", NONE, counts_of(system, "area_code", "year"), _each(table))
    township = admin_area.filter((pl.col("area_level") == "乡") & pl.col("valid_to").is_null())
    codes = township.select("area_code", county=area.str.slice(0, 6))
    networks = (
        valid.filter(kind == "care_network").select("area_code", "year").unique().join(codes, on="area_code")
    )  # fmt: skip
    size = dict(codes.group_by("county").len().iter_rows())
    every: Counts = {(c, y): size.get(c, 0) for c in table.areas.counties for y in table.years}
    table.add("A7.11", "townships_with_network", NONE, counts_of(networks, "county", "year"), every)


def _grants(table: ValueTable, funds: pl.DataFrame, roll: pl.DataFrame, school: pl.DataFrame) -> None:
    special = school.filter(pl.col("school_type_code").is_in(["511", "512", "513", "514"]))["school_code"].unique()
    pupils = {
        "special_school": roll.filter(pl.col("school_code").is_in(special.to_list())),
        "inclusive": roll.filter("is_inclusive_education"),
    }
    spent = funds.filter((pl.col("movement") == "paid") & (pl.col("program_code") == "special_operating_grant"))
    for kind, rows in pupils.items():
        yuan = counts_of(spent.filter(pl.col("grant_kind") == kind), "county_code", "fiscal_year", "amount_yuan")
        table.add("A7.4", kind, NONE, yuan, counts_of(rows, "county_code", "school_year"))


def _funded_stages(table: ValueTable, documents: pl.DataFrame, funds: pl.DataFrame) -> None:
    scope = pl.DataFrame(
        [(area, county) for county in table.areas.counties for area in (county, county[:4], REGION)],
        schema={"area_code": pl.String, "county_code": pl.String},
        orient="row",
    )
    policy = _at_year_end(table, documents.filter(pl.col("document_type") == "aid_policy")).join(scope, on="area_code")
    money = funds.filter(
        (pl.col("movement") == "allocated")
        & pl.col("program_code").is_in(AID_PROGRAMS)
        & pl.col("stage").is_in(AID_STAGES)
    ).select("county_code", "stage", year="fiscal_year")
    both = (
        policy.select("county_code", "stage", "year")
        .unique()
        .join(money.unique(), on=["county_code", "stage", "year"], how="semi")
    )
    table.add("G15", "funded_stages", NONE, counts_of(both, "county_code", "year"), _each(table, len(AID_STAGES)))
