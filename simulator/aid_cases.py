"""Cases of the rules on money, found in the finished tables by the rules' own words, with what resembles them.

What is planted on purpose stands in ``simulator.aid_plant`` and ``simulator.aid_funds``; what arises by itself counts
as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import polars as pl

from simulator.aid_due import (
    PERSON,
    ROW,
    SEMESTER,
    Tables,
    covered_keys,
    due_rows,
    listed_poor,
    persons_of_semesters,
)
from simulator.aid_plant import boarders_of
from simulator.aid_rules import BOARDER, BROAD_TYPES, ITEM, POOR, semesters
from simulator.cases import Case
from simulator.truth import primary_rows

NEAR_MISSES = 5
#: I07: families that may share a card; I14: months until money lies idle, and the share that may remain
FAMILIES_ON_A_CARD = 3
IDLE_MONTHS, IDLE_PERCENT = 12, 5
ARRIVALS = ("transfer_in", "resumption")
DEPARTURES = ("withdrawal", "graduation", "emigration")


def aid_cases(tables: Tables) -> list[Case]:
    """Return the cases of I01-I07, I10, I14, I17 and I21 with what resembles them."""
    now = villages_now(tables)
    primary = primary_rows(tables["pupil"], tables["student_event"])
    paid = _paid(tables)
    absent, dead = _absent(paid, tables), _dead(paid, tables)
    due = due_of(tables, now, primary)
    return [
        *_paid_twice(paid, tables["aid_payment"]),
        *_persons(absent, "I02", "amount"),
        *_settled_elsewhere(paid, absent, dead, primary),
        *_persons(dead.with_columns(kind=pl.lit("after_death")), "I03", "amount"),
        *_before_death(paid, dead, tables),
        *_not_poor(paid, absent, dead, tables, now),
        *_not_paid(due, paid, tables),
        *_amounts(paid),
        *_cards(paid, tables),
        *_boarders(paid, primary, tables),
        *_idle(tables["fund_ledger"]),
        *_misused(tables["fund_ledger"]),
        *_inclusive(tables["fund_ledger"], tables["pupil"]),
        *_charged(paid, tables["fund_ledger"]),
    ]


def villages_now(tables: Tables) -> pl.DataFrame:
    """Return ``_village`` → ``_home``: the county in which every village code lies today."""
    after = dict(tables["area_succession"].select("from_area_code", "to_area_code").iter_rows())
    codes = [c for c in tables["admin_area"]["area_code"].unique(maintain_order=True) if len(c) == 12]

    def last(code: str) -> str:
        while code in after:
            code = after[code]
        return code[:6]

    return pl.DataFrame({"_village": codes, "_home": [last(c) for c in codes]})


def _paid(tables: Tables) -> pl.DataFrame:
    """Payments that count, with their semester's ``start`` and ``cut_off`` and the raw key ``number`` of the person."""
    return (
        tables["aid_payment"]
        .filter(~pl.col("is_reversed") & (pl.col("amount_yuan") > 0))
        .join(semesters(), on=SEMESTER, maintain_order="left")
        .with_columns(number=pl.coalesce("id_number", "student_number"))
        .sort(*ROW, "paid_on", "county_code", "payment_number")
    )


def _semester(row: dict[str, object]) -> str:
    return f"{row['aid_year']}-{row['term']}"


def _items(rows: pl.DataFrame, **more: pl.Expr) -> pl.DataFrame:
    """One row per person, entitlement and semester: the county that paid last has to act."""
    return rows.group_by(ROW, maintain_order=True).agg(
        pl.col("county_code").last(), pl.col("number").first(), amount=pl.col("amount_yuan").sum(), **more
    )


def _persons(rows: pl.DataFrame, rule: str, amount: str, *, near: bool = False) -> Iterator[Case]:
    for row in rows.sort(*SEMESTER, "number", "entitlement_code").iter_rows(named=True):
        subject = (row["number"], row["entitlement_code"], _semester(row))
        money = Decimal(0) if near else Decimal(row[amount])
        yield Case(rule, row["kind"], row["aid_year"], row["county_code"], subject, near, money)


def _near(rows: pl.DataFrame, rule: str, kind: str) -> Iterator[Case]:
    few = rows.sort(*SEMESTER, "number", "entitlement_code").head(NEAR_MISSES).with_columns(kind=pl.lit(kind))
    return _persons(few, rule, "amount", near=True)


def _paid_twice(paid: pl.DataFrame, payments: pl.DataFrame) -> Iterator[Case]:
    items = _items(paid, largest=pl.col("amount_yuan").max(), n=pl.len())
    twice = items.filter(pl.col("n") > 1).with_columns(
        over=pl.col("amount") - pl.col("largest"), kind=pl.lit("paid_twice")
    )
    yield from _persons(twice, "I01", "over")
    once = items.filter(pl.col("n") == 1)
    back = payments.filter("is_reversed").select(ROW).unique()
    yield from _near(once.join(back, on=ROW, how="semi", maintain_order="left"), "I01", "sent_again")
    for first, second in (("EN10A", "EN10B"), ("EN08A", "EN08C")):
        other = once.filter(pl.col("entitlement_code") == second).select(PERSON)
        both = once.filter(pl.col("entitlement_code") == first).join(other, on=PERSON, how="semi")
        yield from _near(both, "I01", "two_components")


def _approved(tables: Tables) -> pl.DataFrame:
    return tables["student_event"].filter(pl.col("approval_status") == "approved")


def _death_days(tables: Tables) -> pl.DataFrame:
    deaths = _approved(tables).filter(pl.col("event_type") == "death")
    return deaths.group_by("_token").agg(died_on=pl.col("event_date").min())


def _dead(paid: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    late = paid.join(_death_days(tables), on="_token").filter(pl.col("paid_on") > pl.col("died_on"))
    money = late.group_by(ROW).agg(amount=pl.col("amount_yuan").sum())
    return _items(paid).drop("amount").join(money, on=ROW)


def _absent(paid: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """I02: on no roll of the semester's register, or left before the cut-off and paid afterwards."""
    event = _approved(tables).select("_token", "event_type", "event_date", "to_school_code")
    begin = pl.date(pl.col("start"), 9, 1)
    alive = paid.filter(~pl.col("entitlement_code").is_in([c for c, i in ITEM.items() if i.stage == "higher"])).join(
        _dead(paid, tables).select(ROW), on=ROW, how="anti", maintain_order="left"
    )
    key = ["county_code", "aid_year", "payment_number"]
    since = (
        alive.select(*key, "_token", "start", "paid_on", "cut_off")
        .join(event, on="_token")
        .filter((pl.col("event_date") > begin) & (pl.col("event_date") <= pl.col("paid_on")))
    )
    came = (
        since.filter(pl.col("event_type").is_in(ARRIVALS)).group_by(key).agg(came_on=pl.col("event_date").max())
    )  # fmt: skip
    gone = pl.col("event_type").is_in(DEPARTURES) | (
        (pl.col("event_type") == "transfer_out") & pl.col("to_school_code").is_null()
    )
    left = (
        since.filter(gone & (pl.col("event_date") < pl.col("cut_off")) & (pl.col("event_date") < pl.col("paid_on")))
        .group_by(key)
        .agg(left_on=pl.col("event_date").max())
    )
    rolls = tables["pupil"].select("_token", start="school_year").unique().with_columns(on_roll=pl.lit(True))
    judged = (
        alive.join(rolls, on=["start", "_token"], how="left", maintain_order="left")
        .join(came, on=key, how="left", maintain_order="left")
        .join(left, on=key, how="left", maintain_order="left")
    )
    nowhere = pl.col("on_roll").is_null()
    after = pl.col("left_on").is_not_null() & (pl.col("came_on").is_null() | (pl.col("came_on") < pl.col("left_on")))
    bad = judged.filter((nowhere & pl.col("came_on").is_null()) | after)
    return (
        bad.group_by(ROW)
        .agg(amount=pl.col("amount_yuan").sum(), nowhere=nowhere.any())
        .with_columns(kind=pl.when("nowhere").then(pl.lit("not_on_roll")).otherwise(pl.lit("after_leaving")))
        .join(_items(paid).drop("amount"), on=ROW)
    )


def _settled_elsewhere(
    paid: pl.DataFrame, absent: pl.DataFrame, dead: pl.DataFrame, primary: pl.DataFrame
) -> Iterator[Case]:
    """Near I02: paid by the school to which the pupil moved in mid-semester."""
    rolls = primary.select("_token", start="school_year", roll_school="school_code")
    moved = paid.join(rolls, on=["start", "_token"]).filter(pl.col("roll_school") != pl.col("school_code"))
    for flagged in (absent, dead):
        moved = moved.join(flagged.select(ROW), on=ROW, how="anti")
    return _near(_items(moved), "I02", "paid_by_new_school")


def _before_death(paid: pl.DataFrame, dead: pl.DataFrame, tables: Tables) -> Iterator[Case]:
    """Near I03: paid in the same semester before the pupil died."""
    begin = pl.date(pl.col("start"), 9, 1)
    early = paid.join(_death_days(tables), on="_token").filter(
        (pl.col("paid_on") <= pl.col("died_on")) & (pl.col("died_on") < begin.dt.offset_by("1y"))
    )
    return _near(_items(early).join(dead.select(ROW), on=ROW, how="anti"), "I03", "before_death")


def _not_poor(
    paid: pl.DataFrame, absent: pl.DataFrame, dead: pl.DataFrame, tables: Tables, now: pl.DataFrame
) -> Iterator[Case]:
    """I04: an item of the registered poor for a person neither on the list nor recognized by the national rule."""
    poor = listed_poor(tables["poor_person"], now).select("start", "_token")
    broad = tables["aid_recognition"].filter(pl.col("hardship_type").is_in(BROAD_TYPES)).select(PERSON)
    items = [code for code, item in ITEM.items() if item.who in (POOR, BOARDER)]
    own = paid.filter(pl.col("entitlement_code").is_in(items))
    others = own.join(poor, on=["start", "_token"], how="anti", maintain_order="left")
    wrong = others.join(broad, on=PERSON, how="anti", maintain_order="left")
    for flagged in (absent, dead):
        wrong = wrong.join(flagged.select(ROW), on=ROW, how="anti", maintain_order="left")
    yield from _persons(_items(wrong).with_columns(kind=pl.lit("not_poor")), "I04", "amount")
    yield from _near(_items(others.join(broad, on=PERSON, how="semi")), "I04", "national_rule")
    exited = (
        tables["poor_person"]
        .filter(pl.col("poverty_status").str.starts_with("exited"))
        .select("_token", start="poverty_year")
        .unique()
    )
    yield from _near(_items(own.join(exited, on=["start", "_token"], how="semi")), "I04", "exited_household")


def due_of(tables: Tables, now: pl.DataFrame, primary: pl.DataFrame) -> pl.DataFrame:
    """Return what is due in the whole province, with the raw key ``number`` of the person."""
    county = tables["admin_area"].filter(pl.col("area_level") == "县")
    plan = county.filter(pl.col("is_plan_county"))["area_code"].to_list()
    persons = persons_of_semesters(tables, now, primary)
    numbers = pl.concat(
        [
            tables["pupil"].select("_token", number=pl.coalesce("id_number", "student_number")),
            tables["poor_person"].select("_token", number="id_number"),
            tables["aid_recognition"].select("_token", number=pl.coalesce("id_number", "student_number")),
        ]
    ).unique("_token", keep="first", maintain_order=True)
    due = due_rows(persons, tables["policy_document"], county["area_code"].to_list(), plan)
    return due.join(numbers, on="_token", how="left", maintain_order="left")


def write_due(truth: Path, tables: Tables, years: range) -> None:
    """Write ``entitlements_due.csv``, and ``missed_aid.csv`` with what is due by the plan's words and has not come."""
    primary = primary_rows(tables["pupil"], tables["student_event"])
    due = due_of(tables, villages_now(tables), primary).filter(pl.col("aid_year").is_between(years[0], years[-1]))
    paid = covered_keys(tables["aid_payment"]).with_columns(is_covered=pl.lit(1))
    rows = due.join(paid, on=ROW, how="left", maintain_order="left").select(
        "aid_year", "term", "number", "entitlement_code", "stage", "grade", home_county_code="home",
        school_county_code="school_county", school_code="school_code", standard_yuan="yuan",
        is_due_plan_strict=pl.col("strict").cast(pl.Int64), is_matched=pl.col("is_matched").cast(pl.Int64),
        is_covered=pl.col("is_covered").fill_null(0), paid_yuan=pl.col("paid_yuan").fill_null(0),
    ).sort("aid_year", "term", "number", "entitlement_code")  # fmt: skip
    missed = rows.filter((pl.col("is_due_plan_strict") == 1) & (pl.col("is_covered") == 0))
    for name, frame in (("entitlements_due.csv", rows), ("missed_aid.csv", missed)):
        frame.write_csv(truth / name, line_terminator="\n")


def _not_paid(due: pl.DataFrame, paid: pl.DataFrame, tables: Tables) -> Iterator[Case]:
    """I05: due by the plan's words and not paid; who died or left before the cut-off is owed nothing."""
    strict = due.filter("strict").with_columns(county_code="school_county", amount="yuan")
    missing = strict.join(paid.select(ROW), on=ROW, how="anti", maintain_order="left")
    event = _approved(tables).select("_token", "event_type", "event_date", "to_school_code")
    begin, day = pl.date(pl.col("start"), 9, 1), pl.col("event_date")
    gone = pl.col("event_type").is_in(DEPARTURES) | (
        (pl.col("event_type") == "transfer_out") & pl.col("to_school_code").is_null()
    )
    here = missing.select(*ROW, "start", "cut_off").join(event, on="_token")
    dead = here.filter((pl.col("event_type") == "death") & (day < pl.col("cut_off"))).select(ROW)
    left = here.filter(gone & (day > begin) & (day < pl.col("cut_off"))).group_by(ROW).agg(left_on=day.max())
    came = (
        here.filter(pl.col("event_type").is_in(ARRIVALS) & (day <= pl.col("cut_off")))
        .group_by(ROW)
        .agg(came_on=day.max())
    )
    away = left.join(came, on=ROW, how="left").filter(
        pl.col("came_on").is_null() | (pl.col("came_on") < pl.col("left_on"))
    )
    owed = missing
    for excused in (dead, away.select(ROW)):
        owed = owed.join(excused, on=ROW, how="anti", maintain_order="left")
    yield from _persons(owed.with_columns(kind=pl.lit("not_paid")), "I05", "amount")
    excused = missing.join(owed.select(ROW), on=ROW, how="anti", maintain_order="left")
    yield from _near(excused, "I05", "left_before_cut_off")
    received = strict.join(paid.filter(pl.col("payment_type") == "waiver").select(ROW), on=ROW, how="semi")
    yield from _near(received, "I05", "waived")
    elsewhere = paid.join(strict.select(*ROW, "school_county"), on=ROW).filter(
        pl.col("school_county") != pl.col("county_code")
    )
    yield from _near(_items(elsewhere), "I05", "paid_in_another_county")


def _amounts(paid: pl.DataFrame) -> Iterator[Case]:
    yuan = pl.col("entitlement_code").replace_strict({c: i.yuan for c, i in ITEM.items()}, return_dtype=pl.Int64)
    rows = paid.with_columns(off=(pl.col("amount_yuan") - yuan).abs()).sort("county_code", "aid_year", "payment_number")
    exact = rows.filter((pl.col("off") == 0) & (pl.col("payment_type") == "waiver")).head(NEAR_MISSES)
    for found, near in ((rows.filter(pl.col("off") > 0), False), (exact, True)):
        for row in found.iter_rows(named=True):
            subject = (row["county_code"], str(row["aid_year"]), row["payment_number"])
            kind = "exact_waiver" if near else "amount"
            yield Case("I06", kind, row["aid_year"], row["county_code"], subject, near, Decimal(row["off"]))


def _cards(paid: pl.DataFrame, tables: Tables) -> Iterator[Case]:
    """I07: a family is a household of the list, else a guardian of the register, else the pupil."""
    house = (
        tables["poor_person"]
        .group_by("_token", start="poverty_year")
        .agg(house=(pl.col("county_code") + pl.col("household_number")).min())
    )
    guardian = tables["pupil"].group_by("_token", start="school_year").agg(pl.col("guardian_id_number").min())
    cards = (
        paid.filter(pl.col("card_number").is_not_null())
        .join(house, on=["start", "_token"], how="left")
        .join(guardian, on=["start", "_token"], how="left")
        .with_columns(family=pl.coalesce("house", "guardian_id_number", "_token"))
        .group_by("card_number", "aid_year")
        .agg(
            families=pl.col("family").n_unique(),
            pupils=pl.col("_token").n_unique(),
            county_code=pl.col("county_code").min(),
            amount=pl.col("amount_yuan").sum(),
        )
        .sort("aid_year", "card_number")
    )
    many = cards.filter(pl.col("families") > FAMILIES_ON_A_CARD)
    few = cards.filter(pl.col("families") == FAMILIES_ON_A_CARD).head(NEAR_MISSES)
    siblings = cards.filter((pl.col("families") == 1) & (pl.col("pupils") > 1)).head(NEAR_MISSES)
    for found, kind in ((many, "card"), (few, "three_families"), (siblings, "siblings")):
        for row in found.iter_rows(named=True):
            near = kind != "card"
            subject = (row["card_number"], str(row["aid_year"]))
            money = Decimal(0 if near else row["amount"])
            yield Case("I07", kind, row["aid_year"], row["county_code"], subject, near, money)


def _boarders(paid: pl.DataFrame, primary: pl.DataFrame, tables: Tables) -> Iterator[Case]:
    aided = (
        paid.filter(pl.col("entitlement_code").is_in([c for c, i in ITEM.items() if i.who == BOARDER]))
        .group_by("school_code", *SEMESTER, "start")
        .agg(n=pl.col("_token").n_unique(), yuan=pl.col("amount_yuan").sum(), county_code=pl.col("county_code").min())
        .join(boarders_of(primary, tables["enrollment_count"]), on=["school_code", "start"], how="left")
        .with_columns(pl.col("boarders").fill_null(0))
        .sort("school_code", *SEMESTER)
    )
    equal = aided.filter(pl.col("n") == pl.col("boarders")).head(NEAR_MISSES)
    for found, near in ((aided.filter(pl.col("n") > pl.col("boarders")), False), (equal, True)):
        for row in found.iter_rows(named=True):
            share = Decimal(row["yuan"]) * (row["n"] - row["boarders"]) / row["n"]
            yield Case(
                "I10", "as_many_boarders" if near else "boarders", row["aid_year"], row["county_code"],
                (row["school_code"], _semester(row)), near, share.quantize(Decimal("0.01"), ROUND_HALF_UP),
            )  # fmt: skip


def _idle(funds: pl.DataFrame) -> Iterator[Case]:
    """I14: twelve months after money was given more than five percent are neither paid nor returned."""
    keys = ["county_code", "document_number"]
    given = (
        funds.filter((pl.col("movement") == "allocated") & pl.col("document_number").is_not_null())
        .group_by(keys)
        .agg(given_on=pl.col("entry_date").min(), given=pl.col("amount_yuan").sum())
        .with_columns(idle_from=pl.col("given_on").dt.offset_by(f"{IDLE_MONTHS}mo"))
    )
    spent = (
        funds.filter(pl.col("movement").is_in(["paid", "returned"]))
        .join(given, on=keys)
        .filter(pl.col("entry_date") < pl.col("idle_from"))
        .group_by(keys)
        .agg(spent=pl.col("amount_yuan").sum(), last=pl.col("entry_date").max())
    )
    end = pl.date(int(str(funds["fiscal_year"].max())), 12, 31)
    rest = (
        given.join(spent, on=keys, how="left")
        .with_columns(rest=pl.col("given") - pl.col("spent").fill_null(0))
        .sort("given_on", *keys)
    )
    much = pl.col("rest") * 100 > pl.col("given") * IDLE_PERCENT
    late = pl.col("last") > pl.col("given_on").dt.offset_by("10mo")
    old = pl.col("idle_from") <= end
    for found, kind in (
        (rest.filter(old & much), "idle"),
        (rest.filter(old & ~much & late), "paid_in_month_11"),
        (rest.filter(old & ~much & (pl.col("rest") > 0)), "small_rest"),
        (rest.filter(~old & much), "younger_than_12_months"),
    ):
        for row in found.iter_rows(named=True):
            near = kind != "idle"
            subject = (row["county_code"], row["document_number"])
            money = Decimal(0 if near else row["rest"])
            yield Case("I14", kind, row["idle_from"].year, row["county_code"], subject, near, money)


def _misused(funds: pl.DataFrame) -> Iterator[Case]:
    """I14: paid for another purpose than the document's, or returned into the account of a school."""
    keys = ["county_code", "document_number"]
    purpose = funds.filter((pl.col("movement") == "allocated") & pl.col("document_number").is_not_null())
    paid = funds.filter(pl.col("movement") == "paid").join(purpose.select(keys).unique(), on=keys)
    outside = paid.join(purpose.select(*keys, "program_code", "stage"), on=[*keys, "program_code", "stage"], how="anti")
    returned = funds.filter(pl.col("movement") == "returned")
    school = pl.col("recipient_school_code").is_not_null()
    for found, kind in (
        (outside, "outside_scope"),
        (returned.filter(school), "school_account"),
        (returned.filter(~school), "returned_to_treasury"),
    ):
        for row in found.sort("fiscal_year", "entry_number").iter_rows(named=True):
            near = kind == "returned_to_treasury"
            subject = (row["county_code"], row["document_number"], row["entry_number"])
            money = Decimal(0 if near else row["amount_yuan"])
            yield Case("I14", kind, row["fiscal_year"], row["county_code"], subject, near, money)


def _inclusive(funds: pl.DataFrame, pupil: pl.DataFrame) -> Iterator[Case]:
    """I17: paid for more pupils than the register of the year or of the year before marks as included."""
    known = (
        pupil.filter("is_inclusive_education")
        .group_by("school_code", fiscal_year="school_year")
        .agg(here=pl.col("_token").n_unique().cast(pl.Int64))
    )
    before = known.select("school_code", fiscal_year=pl.col("fiscal_year") + 1, before="here")
    keys = ["school_code", "fiscal_year"]
    grants = (
        funds.filter((pl.col("movement") == "paid") & (pl.col("grant_kind") == "inclusive"))
        .group_by("fiscal_year", "county_code", school_code="recipient_school_code")
        .agg(stated=pl.col("pupil_count").max(), yuan=pl.col("amount_yuan").sum())
        .join(known, on=keys, how="left")
        .join(before, on=keys, how="left")
        .with_columns(most=pl.max_horizontal(pl.col("here").fill_null(0), pl.col("before").fill_null(0)))
        .sort("fiscal_year", "school_code")
    )
    equal = grants.filter(pl.col("stated") == pl.col("here")).head(NEAR_MISSES)
    for found, near in ((grants.filter(pl.col("stated") > pl.col("most")), False), (equal, True)):
        for row in found.iter_rows(named=True):
            over = Decimal(row["yuan"]) * (row["stated"] - row["most"]) / row["stated"]
            money = Decimal(0) if near else over.quantize(Decimal("0.01"), ROUND_HALF_UP)
            kind = "as_register" if near else "inclusive"
            subject = (row["school_code"], str(row["fiscal_year"]))
            yield Case("I17", kind, row["fiscal_year"], row["county_code"], subject, near, money)


def _charged(paid: pl.DataFrame, funds: pl.DataFrame) -> Iterator[Case]:
    """I21: the fee of a semester was waived and taken at the same school; near: another time, or nothing waived."""
    fees = funds.filter((pl.col("program_code") == "fee_income") & pl.col("payer_student_number").is_not_null())
    spring = pl.col("term") == "spring"
    first = pl.when(spring).then(pl.date(pl.col("aid_year"), 2, 1)).otherwise(pl.date(pl.col("aid_year"), 9, 1))
    last = pl.when(spring).then(pl.date(pl.col("aid_year"), 8, 31)).otherwise(pl.date(pl.col("aid_year") + 1, 1, 31))
    tuition = ["EN06", "EN10A", "EN01", "EN02"]
    waived = paid.filter((pl.col("payment_type") == "waiver") & pl.col("entitlement_code").is_in(tuition))
    both = (
        waived.join(
            fees.select(
                "entry_date", "fiscal_year", "entry_number", fee="amount_yuan", student_number="payer_student_number",
                school_code="recipient_school_code",
            ),
            on=["student_number", "school_code"],
        )
        .filter((pl.col("entry_date") >= first) & (pl.col("entry_date") <= last))
    )  # fmt: skip
    items = both.group_by(ROW, maintain_order=True).agg(
        pl.col("county_code").min(), pl.col("number").first(), amount=pl.col("fee").sum()
    )
    yield from _persons(items.with_columns(kind=pl.lit("fee_and_waiver")), "I21", "amount")
    innocent = fees.join(both.select("fiscal_year", "entry_number"), on=["fiscal_year", "entry_number"], how="anti")
    for row in innocent.sort("fiscal_year", "entry_number").iter_rows(named=True):
        subject = (row["payer_student_number"], "", f"{row['fiscal_year']}-autumn")
        yield Case("I21", "nothing_waived", row["fiscal_year"], row["county_code"], subject, is_near_miss=True)
