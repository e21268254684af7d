"""Payments that should not be: the cases that the integrity rules must find, and neighbors that they must leave alone.

What is planted here is only there to be found: :mod:`simulator.aid_cases` searches the finished tables by the words of
the rules, so that a case that arises by itself counts as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from simulator.aid_due import PERSON, SEMESTER, Tables
from simulator.aid_payments import card_numbers, dated, exits_of, finished, moves_of
from simulator.aid_rules import AUTUMN, SPRING, semesters
from simulator.identity import make_ids, make_names

GHOST_AREA, STRANGER_AREA = 95, 96
#: ordinary aid of a stage
ORDINARY_OF = {"preschool": "OR01", "primary": "OR02P", "junior": "OR02J", "senior": "OR03", "vocational": "OR04"}
FAMILIES_ON_A_CARD, FAMILIES_BORNE = 5, 3
ROW = [*PERSON, "entitlement_code"]


@dataclass
class Planting:
    """Payments in the making.

    Attributes:
        rows: unnumbered payments.
        extra: further payments, same columns.
        recognitions: further recognitions (columns of ``recognition_rows``).
        taken: tokens that serve one case already.
    """

    rows: pl.DataFrame
    rng: np.random.Generator
    scale: float
    extra: list[pl.DataFrame] = field(default_factory=list)
    recognitions: list[pl.DataFrame] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def number(self, whole: int) -> int:
        """Return how many cases to plant when the whole province has ``whole``: at least two."""
        return max(2, round(whole * self.scale))

    def some(self, frame: pl.DataFrame, count: int) -> pl.DataFrame:
        """Take rows of ``count`` persons at random who serve no other case yet."""
        free = frame.filter(~pl.col("_token").is_in(sorted(self.taken)))
        order = self.rng.permutation(free.height)
        shuffled: pl.DataFrame = free[order.tolist()]
        chosen = shuffled.unique("_token", keep="first", maintain_order=True).head(count)
        self.taken |= set(chosen["_token"])
        return chosen

    def change(self, chosen: pl.DataFrame, **cells: pl.Expr) -> None:
        """Change cells of the chosen rows (the expressions see their columns)."""
        changed = chosen.with_columns(**cells)
        self.rows = pl.concat([self.rows.filter(~pl.col("_i").is_in(chosen["_i"].to_list())), changed])


def plant_payments(
    rows: pl.DataFrame, persons: pl.DataFrame, who: pl.DataFrame, primary: pl.DataFrame, tables: Tables,
    scale: float, seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Plant the cases of I01-I04, I06, I07 and I10 with their near-misses.

    Args:
        rows: unnumbered payments.
        persons: persons of the semesters, as of :func:`simulator.aid_due.persons_of_semesters`.
        who: names and numbers, as of :func:`simulator.aid_people.identities`.
        primary: primary rolls.
        tables: canonical tables.
        scale: scale of the sample.
        seed: random seed.

    Returns:
        The payments, and recognitions to add.
    """
    rows = rows.with_row_index("_i").with_columns(pl.col("_i").cast(pl.Int64))
    state = Planting(rows, np.random.default_rng([seed, 99]), scale)
    event = tables["student_event"]
    restless = pl.concat([exits_of(event).select("_token"), moves_of(event).select("_token")]).unique()
    calm = rows.filter("is_matched", ~pl.col("is_reversed"), pl.col("id_number").is_not_null()).join(
        restless, on="_token", how="anti", maintain_order="left"
    )
    _paid_twice(state, calm, primary)
    _not_there(state, calm, who, primary, tables)
    _dead(state, who, primary, event)
    _not_poor(state, persons, who, restless, tables)
    amounts = state.some(calm.filter(pl.col("payment_type") == "card"), state.number(20))
    less = pl.int_range(pl.len()) % 2 == 0
    state.change(
        amounts, amount_yuan=pl.when(less).then(pl.col("amount_yuan") - 100).otherwise(pl.col("amount_yuan") + 200)
    )
    _cards(state, calm)
    _day_pupils(state, who, primary, tables)
    recognitions = pl.concat(state.recognitions) if state.recognitions else pl.DataFrame()
    return pl.concat([state.rows, *state.extra], how="diagonal").drop("_i"), recognitions


def _paid_twice(state: Planting, calm: pl.DataFrame, primary: pl.DataFrame) -> None:
    later = pl.col("paid_on") + pl.duration(days=20)
    state.extra.append(state.some(calm.filter("strict"), state.number(20)).with_columns(paid_on=later))
    # In another county: the school pays, and a school of the home county pays as well.
    at_home = (
        primary.group_by(home="county_code", stage="stage", start="school_year")
        .agg(home_school=pl.col("school_code").min())
    )  # fmt: skip
    abroad = calm.filter("strict", pl.col("home") != pl.col("county_code")).join(
        at_home, on=["home", "stage", "start"], maintain_order="left"
    )
    state.extra.append(
        state.some(abroad, state.number(10))
        .with_columns(paid_on=later, county_code="home", school_code="home_school")
        .drop("home_school")
    )
    # Near: money came back and was sent again.
    again = state.some(calm.filter(pl.col("payment_type") == "card"), state.number(10))
    state.extra.append(again.with_columns(paid_on=pl.col("paid_on") + pl.duration(days=15)))
    state.change(again, is_reversed=pl.lit(True))


def _extra_rows(frame: pl.DataFrame, who: pl.DataFrame) -> pl.DataFrame:
    """Make payments of ordinary aid of ``stage`` at ``school_code`` in ``county_code``, at the usual day if none."""
    rows = dated(
        frame.with_columns(
            entitlement_code=pl.col("stage").replace_strict(ORDINARY_OF, return_dtype=pl.String),
            school_county="county_code",
            is_reversed=pl.lit(False),
            aid_year=pl.col("aid_year").cast(pl.Int64),
            wished="paid_on",
        )
    ).with_columns(paid_on=pl.coalesce("wished", "paid_on"))
    return finished(rows.drop("wished"), who)


def _not_there(state: Planting, calm: pl.DataFrame, who: pl.DataFrame, primary: pl.DataFrame, tables: Tables) -> None:
    """I02: left before the cut-off, graduated and on no roll, or never there at all."""
    event = tables["student_event"].filter(pl.col("approval_status") == "approved")
    terms = semesters()
    rolls = primary.select("_token", "stage", "school_code", "county_code", start="school_year")
    arrivals = event.filter(pl.col("event_type").is_in(["transfer_in", "resumption"])).select("_token").unique()
    left = (
        exits_of(event)
        .filter(pl.col("event_type") != "death")
        .join(arrivals, on="_token", how="anti")
        .join(rolls.filter(pl.col("stage").is_in(list(ORDINARY_OF))), on="_token")
        .join(terms, on="start")
        .filter((pl.col("exit_on") > pl.date(pl.col("start"), 9, 1)) & (pl.col("exit_on") < pl.col("cut_off")))
        .sort(*SEMESTER, "_token")
    )
    leavers = state.some(left, state.number(12))
    here = leavers.with_columns(
        entitlement_code=pl.col("stage").replace_strict(ORDINARY_OF, return_dtype=pl.String)
    ).select(ROW)
    state.rows = state.rows.join(here, on=ROW, how="anti", maintain_order="left")
    columns = [*SEMESTER, "start", "_token", "stage", "school_code", "county_code"]
    none = pl.lit(None, dtype=pl.Date)
    state.extra.append(_extra_rows(leavers.select(*columns, paid_on=none), who))

    anywhere = tables["pupil"].select("_token", start="school_year").unique()
    college = tables["aid_recognition"].filter(pl.col("stage") == "higher").select("_token").unique()
    graduated = (
        event.filter(pl.col("event_type") == "graduation")
        .select(
            "_token",
            start=pl.col("event_date").dt.year().cast(pl.Int64),
            before=pl.col("event_date").dt.year().cast(pl.Int64) - 1,
        )
        .unique()
        .join(rolls.select("_token", "stage", "school_code", "county_code", before="start"), on=["_token", "before"])
        .join(anywhere, on=["start", "_token"], how="anti")
        .join(college, on="_token", how="anti")
        .with_columns(aid_year="start", term=pl.lit(AUTUMN))
        .sort("start", "_token")
    )
    old = state.some(graduated, state.number(12))
    state.extra.append(_extra_rows(old.select(*columns, paid_on=none), who))

    models = state.some(calm.filter(pl.col("stage").is_in(["senior", "vocational"]), pl.col("payment_type") == "card"),
                        state.number(15))  # fmt: skip
    count = models.height
    female = state.rng.integers(0, 2, size=count)
    birth = np.datetime64("2002-01-01") + state.rng.integers(0, 700, size=count)
    ids = make_ids(np.full(count, GHOST_AREA), birth, female)
    ghosts = models.with_columns(
        _token=pl.Series(ids.tolist(), dtype=pl.String),
        student_name=pl.Series(make_names(state.rng, count).tolist(), dtype=pl.String),
        entitlement_code=pl.col("stage").replace_strict(ORDINARY_OF, return_dtype=pl.String),
    ).with_columns(
        id_number="_token", student_number=pl.lit("G") + pl.col("_token"), id_type=pl.lit("1"),
        guardian_id_number=pl.lit(None, dtype=pl.String),
    )  # fmt: skip
    names = ["_token", "student_number", "student_name", "id_type", "id_number", "guardian_id_number"]
    state.extra.append(_extra_rows(ghosts.select(*columns, "paid_on"), ghosts.select(names)))


def _dead(state: Planting, who: pl.DataFrame, primary: pl.DataFrame, event: pl.DataFrame) -> None:
    """I03: paid after the day of death; near: paid a few days before it."""
    rolls = primary.select("_token", "stage", "school_code", "county_code", start="school_year")
    autumn = pl.col("exit_on") < pl.date(pl.col("start") + 1, 2, 1)
    deaths = (
        exits_of(event.filter(pl.col("approval_status") == "approved"))
        .filter(pl.col("event_type") == "death")
        .join(rolls.filter(pl.col("stage").is_in(list(ORDINARY_OF))), on="_token")
        .filter(
            (pl.col("exit_on") > pl.date(pl.col("start"), 9, 6))
            & (pl.col("exit_on") < pl.date(pl.col("start") + 1, 9, 1))
        )
        .with_columns(
            term=pl.when(autumn).then(pl.lit(AUTUMN)).otherwise(pl.lit(SPRING)),
            aid_year=pl.col("start") + (~autumn).cast(pl.Int64),
            entitlement_code=pl.col("stage").replace_strict(ORDINARY_OF, return_dtype=pl.String),
        )
        .join(state.rows.select("_token").unique(), on="_token", how="anti")
        .sort(*SEMESTER, "_token")
    )
    chosen = state.some(deaths, state.number(12) + 2)
    near = chosen.tail(1) if chosen.height < 4 else chosen.tail(2)
    late = chosen.head(chosen.height - near.height)
    columns = [*SEMESTER, "start", "_token", "stage", "school_code", "county_code"]
    usual = dated(late.with_columns(school_county="county_code"))
    state.extra.append(
        _extra_rows(
            usual.with_columns(paid_on=pl.max_horizontal("paid_on", pl.col("exit_on") + pl.duration(days=10))).select(
                *columns, "paid_on"
            ),
            who,
        )
    )
    state.extra.append(_extra_rows(near.select(*columns, paid_on=pl.col("exit_on") - pl.duration(days=3)), who))
    # They were in hardship by the national rule, so that the payment itself was right.
    _recognize(state, near, who, "subsistence")


def _recognize(state: Planting, chosen: pl.DataFrame, who: pl.DataFrame, hardship: str) -> None:
    state.recognitions.append(
        chosen.select(
            *SEMESTER, "_token", "school_code", "stage", school_county="county_code", hardship=pl.lit(hardship),
            asked=pl.lit(False),
        ).join(who, on="_token", how="left", maintain_order="left")
    )  # fmt: skip


def _not_poor(
    state: Planting, persons: pl.DataFrame, who: pl.DataFrame, restless: pl.DataFrame, tables: Tables
) -> None:
    """I04: recognized and paid as registered poor, and on no list."""
    listed = tables["poor_person"].select("_token").unique()
    named = tables["aid_recognition"].select("_token").unique()
    others = persons.filter(
        "is_matched", ~pl.col("is_poor"), ~pl.col("is_broad"),
        pl.col("stage").is_in(["preschool", "senior", "vocational"]),
    )  # fmt: skip
    for more in (listed, named, restless):
        others = others.join(more, on="_token", how="anti", maintain_order="left")
    chosen = state.some(others, state.number(20)).with_columns(county_code="school_county")
    columns = [*SEMESTER, "start", "_token", "stage", "school_code", "county_code"]
    state.extra.append(_extra_rows(chosen.select(*columns, paid_on=pl.lit(None, dtype=pl.Date)), who))
    _recognize(state, chosen, who, "registered_poor")


def _cards(state: Planting, calm: pl.DataFrame) -> None:
    """I07: one card takes the money of five families; near: of three."""
    fit = (
        calm.filter(
            pl.col("payment_type") == "card", ~pl.col("is_poor"), pl.col("guardian_id_number").is_not_null(),
            ~pl.col("_token").is_in(sorted(state.taken)),
        )
        .unique(["aid_year", "county_code", "guardian_id_number"], keep="first", maintain_order=True)
        .unique(["aid_year", "county_code", "_token"], keep="first", maintain_order=True)
    )  # fmt: skip
    groups = [g for _, g in fit.group_by("aid_year", "county_code", maintain_order=True)]
    order = state.rng.permutation(len(groups)).tolist()
    wanted = [FAMILIES_ON_A_CARD] * state.number(4) + [FAMILIES_BORNE]
    holders = make_ids(
        np.full(len(wanted), STRANGER_AREA),
        np.datetime64("1975-01-01") + state.rng.integers(0, 5000, size=len(wanted)),
        np.zeros(len(wanted), dtype=np.int64),
    )
    for k in order:
        if not wanted:
            break
        size = wanted[0]
        chosen = groups[k].filter(~pl.col("_token").is_in(sorted(state.taken))).head(size)
        if chosen.height < size:
            continue
        wanted.pop(0)
        state.taken |= set(chosen["_token"])
        holder = pl.lit(str(holders[len(wanted)]))
        state.change(
            chosen,
            card_number=card_numbers(holder),
            cardholder_id_number=holder,
            cardholder_relation=pl.lit("guardian"),
        )


def boarders_of(primary: pl.DataFrame, enrollment: pl.DataFrame) -> pl.DataFrame:
    """Return by ``school_code`` and ``start`` the boarders of primary and junior grades, by the greater count."""
    compulsory = pl.col("stage").is_in(["primary", "junior"])
    keys = ["school_code", "start"]
    counted = (
        enrollment.filter(compulsory)
        .group_by("school_code", start="school_year")
        .agg(boarders=pl.col("boarder_count").sum().cast(pl.Int64))
    )
    known = (
        primary.filter(compulsory & (pl.col("boarding_code") == "2"))
        .group_by("school_code", start="school_year")
        .agg(boarders=pl.len().cast(pl.Int64))
    )
    return pl.concat([counted, known]).group_by(keys).agg(pl.col("boarders").max())


def _day_pupils(state: Planting, who: pl.DataFrame, primary: pl.DataFrame, tables: Tables) -> None:
    """I10: day pupils paid as boarders until the school has more boarding aid than boarders; near: as many."""
    so_far = pl.concat([state.rows, *state.extra], how="diagonal").filter(~pl.col("is_reversed"))
    aided = so_far.filter(pl.col("entitlement_code").str.starts_with("OR02"))
    paid = aided.group_by("school_code", *SEMESTER).agg(aided=pl.col("_token").n_unique().cast(pl.Int64))
    poor = tables["poor_person"].select("_token", start="poverty_year", is_poor=pl.lit(True)).unique()
    day = (
        primary.filter(pl.col("stage").is_in(["primary", "junior"]), pl.col("boarding_code") == "1",
                       pl.col("id_number").is_not_null())
        .select("_token", "stage", "school_code", "county_code", start="school_year")
        .join(poor, on=["_token", "start"], how="left")
        .join(exits_of(tables["student_event"]).select("_token").unique(), on="_token", how="anti")
        .join(moves_of(tables["student_event"]).select("_token").unique(), on="_token", how="anti")
        .filter(~pl.col("_token").is_in(sorted(state.taken)))
        .sort(pl.col("is_poor").fill_null(False), "start", "_token", descending=[True, False, False])
    )  # fmt: skip
    schools = (
        day.group_by("school_code", "start")
        .agg(day=pl.len().cast(pl.Int64), poor=pl.col("is_poor").sum().cast(pl.Int64))
        .join(semesters().select(*SEMESTER, "start"), on="start")
        .join(boarders_of(primary, tables["enrollment_count"]), on=["school_code", "start"], how="left")
        .join(paid, on=["school_code", *SEMESTER], how="left")
        .with_columns(pl.col("boarders", "aided").fill_null(0))
        .with_columns(gap=pl.col("boarders") - pl.col("aided"))
        .filter((pl.col("gap") >= 0) & (pl.col("gap") <= 2) & (pl.col("poor") >= 2))
        .sort("school_code", *SEMESTER)
    )
    used: set[str] = set()
    wanted = [1] * state.number(6) + [0]
    for k in state.rng.permutation(schools.height).tolist():
        if not wanted:
            break
        school = schools.row(k, named=True)
        need = school["gap"] + wanted[0]
        if school["school_code"] in used or need == 0 or need > school["day"] or (wanted[0] == 0 and not school["gap"]):
            continue
        chosen = day.filter(
            pl.col("school_code") == school["school_code"], pl.col("start") == school["start"],
            ~pl.col("_token").is_in(sorted(state.taken)),
        ).head(need)  # fmt: skip
        if chosen.height < need:
            continue
        wanted.pop(0)
        used.add(school["school_code"])
        state.taken |= set(chosen["_token"])
        state.extra.append(
            _extra_rows(
                chosen.select(
                    "_token", "stage", "school_code", "county_code", "start", aid_year=pl.lit(school["aid_year"]),
                    term=pl.lit(school["term"]), paid_on=pl.lit(None, dtype=pl.Date),
                ),
                who,
            )
        )  # fmt: skip
