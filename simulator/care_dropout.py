"""Ledger of children out of school (E28): found, verified, persuaded, back at school or closed for a good reason.

A registered-poor child without a roll has a case from 2015 until the day of its resumption event. Other children come
from withdrawals of the register. Severely disabled children who enter no school are taught at home. A child who moved
out of the province looks like a dropout until the new school is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import polars as pl

from simulator.disability import NEVER
from simulator.plan import YEARS
from simulator.pupils import GRADES, J3, P1, ages_on
from simulator.truth import out_of_school
from simulator.world import World

COMPULSORY = tuple(GRADES[P1 : J3 + 1])
OVER_AGE = 16
#: whoever has passed the compulsory age is struck off like those exempted (免缓学); the ledger has no other heading
STRUCK_OFF = "exempted"
HOME_TAUGHT_PER_COUNTY = 2
SEVERE = 1
# why children who are not registered poor stay away
OTHER_REASONS = ("unwilling", "working", "illness", "early_marriage", "other")
OTHER_REASON_SHARES = (0.5, 0.2, 0.12, 0.08, 0.1)
# what becomes of them: moved out of the region, abroad, exempted, or still away
OUTCOMES = ("moved", "emigrated", "exempted", None)
OUTCOME_SHARES = (0.45, 0.03, 0.07, 0.45)

SCHEMA = {
    "ledger_year": pl.Int64, "county_code": pl.String, "case_number": pl.String, "student_number": pl.String,
    "child_name": pl.String, "id_type": pl.String, "id_number": pl.String, "sex": pl.String, "birth_date": pl.Date,
    "last_school_code": pl.String, "last_grade": pl.String, "found_on": pl.Date, "verified_on": pl.Date,
    "reason": pl.String, "persuaded_on": pl.Date, "persuasion_count": pl.Int64, "returned_on": pl.Date,
    "closed_on": pl.Date, "closing_kind": pl.String, "home_teaching_visit_count": pl.Int64, "_token": pl.String,
    "_kind": pl.String, "_file_county": pl.String, "_file_year": pl.Int64,
}  # fmt: skip


@dataclass
class _Case:
    """A case over all its years."""

    kind: str
    token: str
    county: str
    name: str
    id_number: str | None
    sex: str
    born: date
    reason: str
    found: date
    verified: date
    visits: list[date] = field(default_factory=list)
    student_number: str | None = None
    known_from: date = date.min
    school: str | None = None
    grade: str | None = None
    returned: date | None = None
    closed: date | None = None
    closing: str | None = None
    home_visits: int | None = None


def dropout_cases(world: World, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Build the ledger: one row per case and year in which it was open, as known on 31 December of that year."""
    rng = np.random.default_rng([world.seed, 91])
    pupil = tables["pupil"]
    villages = world.geo.current_county()
    poor = tables["poor_person"].with_columns(_home=pl.col("village_code").replace_strict(villages))
    cases = [
        *_poor_children(poor, pupil, tables["student_event"], rng),
        *_left_the_register(tables, set(poor["_token"]), villages, rng),
        *_taught_at_home(world, rng),
    ]
    cases.sort(key=lambda c: (c.county, c.found, c.token))
    serial: dict[tuple[str, int], int] = {}
    rows = []
    for case in cases:
        key = (case.county, case.found.year)
        serial[key] = serial.get(key, 0) + 1
        number = f"KC{case.county}{case.found.year}{serial[key]:05d}"
        last = YEARS[-1] if case.closed is None else min(case.closed.year, YEARS[-1])
        rows += [_as_known(case, number, year) for year in range(max(case.found.year, YEARS[0]), last + 1)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("ledger_year", "county_code", "case_number")


def _as_known(case: _Case, number: str, year: int) -> tuple[object, ...]:
    """One line of the file of a year: nothing that happened after 31 December."""
    end = date(year, 12, 31)

    def known(day: date | None) -> date | None:
        return day if day is not None and day <= end else None

    visits = [v for v in case.visits if v <= end]
    closed = known(case.closed)
    return (
        year, case.county, number, case.student_number if case.known_from <= end else None, case.name,
        "Z" if case.id_number is None else "1", case.id_number, case.sex, case.born, case.school, case.grade,
        case.found, known(case.verified), case.reason, visits[-1] if visits else None, len(visits),
        known(case.returned), closed, case.closing if closed else None, case.home_visits, case.token, case.kind,
        case.county, year,
    )  # fmt: skip


def _follow(case: _Case, end: date | None, rng: np.random.Generator) -> None:
    """Add the visits to persuade: the first within weeks, then in April and October, until the child is back."""
    day = case.verified + timedelta(days=int(rng.integers(5, 40)))
    last = date(YEARS[-1], 12, 31) if end is None else end
    while day < last:
        case.visits.append(day)
        spring = date(day.year, 4, int(rng.integers(5, 26)))
        autumn = date(day.year, 10, int(rng.integers(8, 28)))
        day = spring if day < spring else (autumn if day < autumn else date(day.year + 1, 4, int(rng.integers(5, 26))))


def _over_age(born: date) -> date:
    """1 September of the year in which nobody can ask the child to go to school any longer."""
    early = (born.month, born.day) <= (9, 1)
    return date(born.year + OVER_AGE + (0 if early else 1), 9, 1)


def _poor_children(
    poor: pl.DataFrame, pupil: pl.DataFrame, event: pl.DataFrame, rng: np.random.Generator
) -> list[_Case]:
    """Every registered-poor child out of school; it is back when it stands on a register again."""
    missing = out_of_school(poor, pupil, event).sort("poverty_year")
    years = missing.group_by("_token").agg(
        pl.col("poverty_year").min().alias("first"), pl.col("poverty_year").max().alias("last")
    )
    wanted = pupil.join(missing.select("_token").unique(), on="_token", how="semi").sort("school_year")
    again_on_roll = (
        wanted.join(years, on="_token")
        .filter(pl.col("school_year") > pl.col("first"))
        .unique("_token", keep="first", maintain_order=True)
    )
    back = {
        str(token): (int(year), str(number))
        for token, year, number in again_on_roll.select("_token", "school_year", "student_number").iter_rows()
    }
    resumed = dict(
        event.filter(pl.col("event_type") == "resumption").sort("event_date").select("_token", "event_date").iter_rows()
    )
    first = missing.unique("_token", keep="first", maintain_order=True).join(years, on="_token").sort("_token")
    cases = []
    for row in first.iter_rows(named=True):
        token = str(row["_token"])
        year = int(row["first"])
        found = date(year, 3, 1) + timedelta(days=int(rng.integers(0, 270)))
        case = _Case(
            "poor", token, row["_home"], row["person_name"], row["id_number"], row["sex"], row["birth_date"],
            row["out_of_school_reason"] or "other", found, found + timedelta(days=int(rng.integers(2, 20))),
        )  # fmt: skip
        if token in back:
            again, case.student_number = back[token]
            case.returned = case.known_from = resumed.get(token, date(again, 8, 28))
            case.closed = case.returned + timedelta(days=int(rng.integers(20, 90)))
            case.closing = "returned"
        else:
            case.closed = max(_over_age(row["birth_date"]), date(int(row["last"]) + 1, 1, 1))
            case.closing = STRUCK_OFF
        _follow(case, case.returned or case.closed, rng)
        cases.append(case)
    return cases


def _left_the_register(
    tables: dict[str, pl.DataFrame], poor: set[str], villages: dict[str, str], rng: np.random.Generator
) -> list[_Case]:
    """Pupils withdrawn from a compulsory grade, and transfers to schools outside that nobody has confirmed yet."""
    before = (
        tables["pupil"]
        .filter(pl.col("grade").is_in(COMPULSORY) & (pl.col("stage") != "special"))
        .unique(["school_year", "_token"], keep="first", maintain_order=True)
        .with_columns(school_year=pl.col("school_year") + 1, _home=pl.col("home_area_code").replace_strict(villages))
    )
    away = (pl.col("event_type") == "withdrawal") & (pl.col("approval_status") == "approved")
    unconfirmed = (
        (pl.col("event_type") == "transfer_out")
        & (pl.col("approval_status") == "pending")
        & pl.col("to_school_code").is_null()
    )
    left = (
        tables["student_event"]
        .filter(away | unconfirmed)
        .select("school_year", "_token", "event_type", "event_date", "from_school_code")
        .join(before, on=["school_year", "_token"])
        .filter(~pl.col("_token").is_in(sorted(poor)))
        .sort("event_date", "_token")
        .unique("_token", keep="first", maintain_order=True)
    )
    reasons = rng.choice(len(OTHER_REASONS), left.height, p=OTHER_REASON_SHARES)
    outcomes = rng.choice(len(OUTCOMES), left.height, p=OUTCOME_SHARES)
    cases = []
    for k, row in enumerate(left.iter_rows(named=True)):
        found = row["event_date"] + timedelta(days=int(rng.integers(5, 40)))
        if found.year > YEARS[-1]:
            continue
        moved = row["event_type"] == "transfer_out"
        case = _Case(
            "moved" if moved else "withdrawn", row["_token"], row["_home"], row["pupil_name"], row["id_number"],
            row["sex"], row["birth_date"], "other" if moved else OTHER_REASONS[reasons[k]], found,
            found + timedelta(days=int(rng.integers(2, 20))), student_number=row["student_number"],
            school=row["from_school_code"], grade=row["grade"],
        )  # fmt: skip
        case.closing = "moved" if moved else OUTCOMES[outcomes[k]]
        if case.closing:
            case.closed = case.verified + timedelta(days=int(rng.integers(10, 90)))
        else:
            case.closed = max(_over_age(case.born), case.verified + timedelta(days=30))
            case.closing = STRUCK_OFF
        if not moved:
            _follow(case, case.closed, rng)
        cases.append(case)
    return cases


def _taught_at_home(world: World, rng: np.random.Generator) -> list[_Case]:
    """A few severely disabled children of every county whom teachers visit at home."""
    dis = world.disabled
    age = ages_on(dis.birth, YEARS[0])
    fits = dis.certified & (dis.child < 0) & (dis.enters == NEVER) & (dis.grade == SEVERE) & (age >= 4) & (age <= 12)
    cases = []
    for county, area in enumerate(world.geo.counties):
        for child in np.flatnonzero(fits & (dis.county == county))[:HOME_TAUGHT_PER_COUNTY].tolist():
            year = max(YEARS[0], YEARS[0] + 6 - int(age[child]))
            found = date(year, 3, 1) + timedelta(days=int(rng.integers(0, 200)))
            number = str(world.disabled_person.id[child])
            cases.append(
                _Case(
                    "home_teaching", number, area.code, str(world.disabled_person.name[child]), number,
                    "12"[int(dis.female[child])], dis.birth[child].astype(object), "disability", found,
                    found + timedelta(days=int(rng.integers(2, 20))), closed=date(year, 12, 20),
                    closing="home_teaching", home_visits=int(rng.integers(8, 40)),
                )
            )  # fmt: skip
    return cases
