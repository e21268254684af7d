"""Payments and waivers (E11): who of the entitled is missed, and what the others received, when, from whom, how."""

from __future__ import annotations

import numpy as np
import polars as pl

from simulator.aid_due import PERSON, SEMESTER, Tables
from simulator.aid_rules import AUTUMN, ITEM
from simulator.plan import YEARS

#: covered person-semesters of the region by the plan's words (all that is due to the person has come)
COVERED_PERSONS = dict(zip(YEARS, (0.91, 0.94, 0.97, 0.985, 0.995, 0.999), strict=True))
#: counties that miss more of their pupils than others
WORSE_COUNTIES = {"640522": 3.0, "640422": 2.5, "640324": 2.0}
WHOLLY_MISSED = 0.6
MISSED_OF_OTHERS = 0.06
#: share of missed payments that were sent and came back
CAME_BACK = 0.1
CARDS_OF_A_GUARDIAN = 3
CARD_DIGITS = 10**15
EXITS = ("withdrawal", "death", "emigration", "graduation")
PAYMENT_COLUMNS = (
    "aid_year", "county_code", "term", "payment_number", "batch_number", "school_code", "student_number",
    "student_name", "id_type", "id_number", "entitlement_code", "payment_type", "standard_yuan", "amount_yuan",
    "paid_on", "card_number", "cardholder_id_number", "cardholder_relation", "is_reversed", "_token", "_file_county",
    "_file_year",
)  # fmt: skip


def with_missed(due: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Decide who is missed, so that coverage of persons by the plan's words follows ``COVERED_PERSONS``.

    Args:
        due: as of :func:`simulator.aid_due.due_rows`.
        seed: random seed.

    Returns:
        ``due`` with ``missed``.
    """
    rng = np.random.default_rng([seed, 95])
    persons = (
        due.filter("strict")
        .group_by(PERSON, maintain_order=True)
        .agg(pl.col("home").first(), pl.col("is_matched").all())
    )
    weight = pl.col("home").replace_strict(WORSE_COUNTIES, default=1.0, return_dtype=pl.Float64)
    ranked = persons.with_columns(
        # Whoever stands on no roll is missed first: no school pays for him.
        key=pl.when("is_matched").then(pl.Series(rng.exponential(size=persons.height)) / weight).otherwise(-1.0),
        whole=~pl.col("is_matched") | (pl.Series(rng.random(persons.height)) < WHOLLY_MISSED),
    ).with_columns(
        place=pl.col("key").rank("ordinal").over("aid_year"),
        wanted=pl.len().over("aid_year")
        - (pl.len().over("aid_year") * pl.col("aid_year").replace_strict(COVERED_PERSONS) + 0.5).floor().cast(pl.Int64),
    )
    missed = ranked.filter((pl.col("place") <= pl.col("wanted")) | ~pl.col("is_matched")).select(
        *PERSON, "whole", person_missed=pl.lit(True)
    )
    drawn = due.with_columns(draw=pl.Series(rng.random(due.height))).join(
        missed, on=PERSON, how="left", maintain_order="left"
    )
    least = pl.col("draw") == pl.col("draw").filter("strict").min().over(PERSON)
    one_of_several = pl.col("whole") | least | (pl.col("draw") < 0.4)
    # One payment of every county and semester comes in any case, so that no county is without a file.
    first = pl.int_range(pl.len()).over(*SEMESTER, "school_county", "strict") == 0
    return drawn.with_columns(
        missed=pl.when("strict")
        .then(pl.col("person_missed").fill_null(False) & one_of_several.fill_null(False))
        .otherwise((pl.col("draw") < MISSED_OF_OTHERS) & ~first)
    ).drop("draw", "whole", "person_missed")


def paid_rows(due: pl.DataFrame, who: pl.DataFrame, tables: Tables, seed: int) -> pl.DataFrame:
    """Turn what is due and not missed into payments, and a tenth of what is missed into payments that came back.

    Args:
        due: as of :func:`with_missed`.
        who: as of :func:`simulator.aid_people.identities`.
        tables: canonical tables, of them ``student_event`` and ``school``.
        seed: random seed.

    Returns:
        Unnumbered payments: the columns of the payments, ``start``, ``stage``, ``home``, ``strict`` and ``is_poor``.
    """
    rng = np.random.default_rng([seed, 96])
    back = due["missed"].to_numpy() & (rng.random(due.height) < CAME_BACK) & due["is_matched"].to_numpy()
    rows = due.with_columns(is_reversed=pl.Series(back)).filter(~pl.col("missed") | pl.col("is_reversed"))
    return finished(_at_their_school(dated(rows), tables), who)


def dated(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the day on which the county usually waives or pays (``paid_on``); needs ``school_county``."""
    waived = pl.col("entitlement_code").is_in([code for code, item in ITEM.items() if item.waived])
    autumn = pl.col("term") == AUTUMN
    shift = pl.col("school_county").cast(pl.Int64) % 23
    year = pl.col("aid_year")
    return rows.with_columns(
        paid_on=pl.when(waived & autumn)
        .then(pl.date(year, 9, 3 + shift))
        .when(waived)
        .then(pl.date(year, 3, 2 + shift))
        .when(autumn)
        .then(pl.date(year, 11, 5 + shift))
        .otherwise(pl.date(year, 5, 6 + shift)),
    )


def exits_of(event: pl.DataFrame) -> pl.DataFrame:
    """Return (``_token``, ``exit_on``, ``event_type``) of everybody who left the schools of the province."""
    gone = pl.col("event_type").is_in(EXITS) | (
        (pl.col("event_type") == "transfer_out") & pl.col("to_school_code").is_null()
    )
    return event.filter(gone).select("_token", "event_type", exit_on="event_date")


def moves_of(event: pl.DataFrame) -> pl.DataFrame:
    """Return (``_token``, ``moved_on``, ``new_school``) of every approved transfer inside the province."""
    return (
        event.filter(
            pl.col("event_type").is_in(["transfer_in", "transfer_out"])
            & (pl.col("approval_status") == "approved")
            & pl.col("to_school_code").is_not_null()
        )
        .select("_token", moved_on="event_date", new_school="to_school_code")
        .unique()
        .sort("moved_on", "_token", "new_school")
    )


def _at_their_school(rows: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Let the new school pay after a transfer, and the old one before a pupil leaves the province's schools."""
    begin = pl.date(pl.col("start"), 9, 1)
    rows = rows.with_row_index("_at")
    left = (
        rows.select("_at", "_token", "start", "paid_on")
        .join(exits_of(tables["student_event"]), on="_token")
        .filter((pl.col("exit_on") > begin) & (pl.col("exit_on") <= pl.col("paid_on")))
        .group_by("_at")
        .agg(pl.col("exit_on").min())
    )
    # Fees and aid of the whole school year are settled in advance with a pupil who is about to leave.
    rows = rows.join(left, on="_at", how="left", maintain_order="left").with_columns(
        paid_on=pl.min_horizontal("paid_on", pl.col("exit_on") - pl.duration(days=1)),
    )
    moved = (
        rows.select("_at", "_token", "start", "paid_on")
        .join(moves_of(tables["student_event"]), on="_token")
        .filter((pl.col("moved_on") > begin) & (pl.col("moved_on") <= pl.col("paid_on")))
        .sort("_at", "moved_on", "new_school")
        .group_by("_at", maintain_order=True)
        .agg(pl.col("new_school").last())
    )
    place = tables["school"].select(new_school="school_code", new_county="county_code").unique("new_school")
    return (
        rows.join(moved, on="_at", how="left", maintain_order="left")
        .join(place, on="new_school", how="left", maintain_order="left")
        .with_columns(
            school_code=pl.coalesce("new_school", "school_code"),
            county_code=pl.coalesce("new_county", "school_county"),
        )
        .drop("_at", "exit_on", "new_school", "new_county")
    )


def card_numbers(owner: pl.Expr) -> pl.Expr:
    """Return the invented card number (19 digits) of an ID number, or of a token ``s`` and a whole number."""
    number = pl.when(owner.str.starts_with("s")).then(owner.str.slice(1)).otherwise(owner.str.slice(2, 15))
    return pl.concat_str(
        pl.lit("6229"), ((number.cast(pl.Int64) * 7919 + 271_828) % CARD_DIGITS).cast(pl.String).str.zfill(15)
    )


def finished(rows: pl.DataFrame, who: pl.DataFrame) -> pl.DataFrame:
    """Add the person, the card and the amount.

    Args:
        rows: ``aid_year``, ``term``, ``_token``, ``entitlement_code``, ``county_code``, ``school_code``, ``paid_on``,
            ``is_reversed``.
        who: as of :func:`simulator.aid_people.identities`.
    """
    rows = rows.join(who, on="_token", how="left", maintain_order="left")
    item = pl.col("entitlement_code")
    stage = item.replace_strict({code: rule.stage for code, rule in ITEM.items()})
    waived = item.is_in([code for code, rule in ITEM.items() if rule.waived])
    young = stage.is_in(["preschool", "primary", "junior"]) & pl.col("guardian_id_number").is_not_null()
    child = pl.col("_token").rank("dense").over("guardian_id_number")
    by_guardian = young & (child <= CARDS_OF_A_GUARDIAN)
    kind = (
        pl.when((item == "EN07D") & pl.col("county_code").str.starts_with("6401"))
        .then(pl.lit("offset"))
        .when(waived)
        .then(pl.lit("waiver"))
        .when(item == "EN10B")
        .then(pl.lit("campus_card"))
        .otherwise(pl.lit("card"))
    )
    yuan = item.replace_strict({code: rule.yuan for code, rule in ITEM.items()}, return_dtype=pl.Int64)
    rows = rows.with_columns(
        payment_type=kind,
        standard_yuan=yuan,
        amount_yuan=yuan,
        owner=pl.when(by_guardian).then("guardian_id_number").otherwise("_token"),
    )
    on_card, own = pl.col("payment_type") == "card", pl.col("owner") == pl.col("_token")
    return rows.with_columns(
        card_number=pl.when(on_card).then(card_numbers(pl.col("owner"))),
        cardholder_id_number=pl.when(on_card & own).then("id_number").when(on_card).then("owner"),
        cardholder_relation=pl.when(on_card & own)
        .then(pl.lit("self"))
        .when(on_card & (pl.col("owner").str.slice(-1) == "7"))
        .then(pl.lit("guardian"))
        .when(on_card)
        .then(pl.lit("parent")),
    ).drop("owner")


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the canonical table ``aid_payment`` of finished payments: numbers, batches, file keys."""
    ordered = rows.sort(
        "aid_year", "county_code", "term", "entitlement_code", "school_code", "student_number", "paid_on", "is_reversed"
    )
    serial = pl.int_range(1, pl.len() + 1).over("aid_year", "county_code").cast(pl.String).str.zfill(7)
    half = pl.when(pl.col("term") == AUTUMN).then(pl.lit("2")).otherwise(pl.lit("1"))
    return ordered.with_columns(
        payment_number=pl.format("FF{}{}{}", "county_code", "aid_year", serial),
        batch_number=pl.format("PC{}{}{}{}", "county_code", "aid_year", half, "entitlement_code"),
        _file_county="county_code",
        _file_year="aid_year",
    ).select(PAYMENT_COLUMNS)
