"""Canonical feed tables: the clean content of every extract, before labels, formats and defects.

Columns starting with an underscore never reach a file: ``_token`` identifies the person as a join by ID number would
(persons without a number get a token of their own), ``_file_county`` and ``_file_year`` name the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.aid import add_aid
from simulator.disability import TYPE_LABELS, special_grade
from simulator.identity import only
from simulator.plan import FIRST_HISTORY, HISTORY_YEARS, YEARS, apportion
from simulator.poverty import NEW, RETURNED, Poor, school_status
from simulator.pupils import (
    DEATH,
    GRADES,
    GRADUATION,
    OUTSIDE,
    P1,
    RESUMPTION,
    S1,
    STAGE_OF_GRADE,
    STAGES,
    TRANSFER,
    V1,
    WITHDRAWAL,
    ages_on,
)
from simulator.schools import POINT_LAST_GRADE, SPECIAL, change_of
from simulator.truth import primary_rows
from simulator.world import World

IntArray = NDArray[np.int64]
ObjectArray = NDArray[np.object_]

CAUSES = ("illness", "disability", "schooling", "disaster", "land", "water", "skills", "labor", "capital", "transport",
          "motivation", "other")  # fmt: skip
CAUSE_WEIGHTS = np.array([22, 8, 9, 3, 6, 6, 10, 8, 18, 4, 5, 1], dtype=float) / 100
REASONS = ("poverty", "illness", "disability", "unwilling", "working", "early_marriage", "other")
REASON_WEIGHTS = (0.45, 0.08, 0.05, 0.2, 0.13, 0.05, 0.04)
BOARDING_SHARE = np.array([0.0, 0.05, 0.4, 0.7, 0.6, 0.5])


@dataclass(frozen=True)
class Frames:
    """Canonical tables by contract id."""

    tables: dict[str, pl.DataFrame]

    def __getitem__(self, name: str) -> pl.DataFrame:
        """Return one table."""
        return self.tables[name]


def _series(values: ObjectArray) -> pl.Series:
    return pl.Series(values=values.tolist(), dtype=pl.String)


def _take(labels: list[str] | tuple[str, ...], index: IntArray) -> pl.Series:
    return pl.Series(np.array(labels, dtype=object)[index].tolist(), dtype=pl.String)


def _dates(days: NDArray[np.datetime64]) -> pl.Series:
    return pl.Series(days.astype("datetime64[D]")).cast(pl.Date)


def build_frames(world: World) -> Frames:
    """Build all canonical tables for 2015-2020 (enrollment from 2007/08)."""
    tables = {
        "admin_area": world.geo.admin_area,
        "area_succession": world.geo.area_succession,
        "school": _school(world),
        "pupil": _pupil(world),
        "student_event": _event(world),
        "poor_village": _poor_village(world),
        "population_age": _population(world),
        "disabled_child": _disabled(world),
    }
    tables["poor_person"], tables["poor_household"] = _poor(world)
    tables["enrollment_count"] = _enrollment(world, tables["pupil"], tables["student_event"])
    tables = add_aid(world, tables)
    return Frames(tables)


def _school(world: World) -> pl.DataFrame:
    rows = []
    for year in YEARS:
        for i, school in enumerate(world.schools):
            if not school.is_open(year):
                continue
            county = world.geo.counties[school.county]
            change, day, before = change_of(world.schools, i, year)
            central = world.schools[school.central].code if school.central >= 0 else None
            village = world.geo.villages[school.village]
            rows.append(
                (year, county.code, county.name, school.code, school.name_in(year), school.type_code, school.owner,
                 village.code_at(date(year, 9, 1)), village.urban_rural, central, school.is_ethnic, school.attached,
                 change, day, before, county.code, year)
            )  # fmt: skip
    return pl.DataFrame(
        rows,
        orient="row",
        schema={
            "school_year": pl.Int64, "county_code": pl.String, "county_name": pl.String, "school_code": pl.String,
            "school_name": pl.String, "school_type_code": pl.String, "owner_code": pl.String, "village_code": pl.String,
            "urban_rural_code": pl.String, "central_school_code": pl.String, "is_ethnic_school": pl.Boolean,
            "attached_class_types": pl.String, "change_type_code": pl.String, "change_date": pl.Date,
            "predecessor_codes": pl.String, "_file_county": pl.String, "_file_year": pl.Int64,
        },
    ).sort("school_year", "county_code", "school_code")  # fmt: skip


def _pupil(world: World) -> pl.DataFrame:
    rng = np.random.default_rng([world.seed, 71])
    geo, children, schools = world.geo, world.children, world.schools
    persons = len(children.birth)
    code = np.array([s.code for s in schools], dtype=object)
    school_county = np.array([s.county for s in schools])
    county_code = np.array([c.code for c in geo.counties], dtype=object)
    rural = np.array([v.urban_rural in {"220", "210", "122", "121"} for v in geo.villages])
    board_draw, left_draw, ethnic_draw = (rng.random(persons + len(world.disabled.birth)) for _ in range(3))
    hui = np.array(
        [0.25 if c.code in {"640423", "640425", "640323"} else (0.6 if c.is_plan else 0.3) for c in geo.counties]
    )
    kind_of = np.zeros(persons, dtype=np.int64)
    inclusive = world.disabled.child >= 0
    kind_of[world.disabled.child[inclusive]] = np.where(
        world.disabled.component[inclusive] > 0, world.disabled.component[inclusive], 0
    )
    orphan = rng.random(persons + len(world.disabled.birth)) < 0.003
    register_code = np.zeros(8, dtype=object)
    register_code[:] = ["0", "1", "2", "4", "4", "3", "4", "4"]
    token = world.child.id.copy()
    unknown = np.flatnonzero([number is None for number in token])
    token[unknown] = [f"s{person}" for person in unknown.tolist()]
    result = []
    for y, year in enumerate(YEARS):
        roll = children.rolls[year]
        extra = np.flatnonzero(world.second.year == year)
        person = np.concatenate([roll.person, world.second.person[extra]])
        school = np.concatenate([world.seats[year], world.second.school[extra]])
        grade = np.concatenate([roll.grade, world.second.grade[extra]])
        entry = np.concatenate([world.entry[roll.person, y], world.second.entry[extra]])
        stage = STAGE_OF_GRADE[grade]
        village_codes = geo.codes_at(date(year, 9, 1))
        home = children.home[person]
        pending_home = school_county[school]
        there = np.flatnonzero(world.special[year] >= 0)
        dis = world.disabled
        columns = {
            "school_code": _series(np.concatenate([code[school], code[world.special[year][there]]])),
            "student_number": _series(np.concatenate([world.student_number[person], world.disabled_number[there]])),
            "pupil_name": _series(np.concatenate([world.child.name[person], world.disabled_person.name[there]])),
            "sex": _take(("1", "2"), np.concatenate([children.female[person], dis.female[there]])),
            "birth_date": _dates(np.concatenate([children.birth[person], dis.birth[there]])),
            "id_number": _series(np.concatenate([world.child.id[person], world.disabled_person.id[there]])),
            "ethnicity_code": _take(
                ("03", "01", "26", "11"),
                np.concatenate(
                    [
                        _ethnic(ethnic_draw[person], hui[home]),
                        _ethnic(ethnic_draw[persons + there], hui[dis.county[there]]),
                    ]
                ),
            ),
            "home_area_code": _series(
                np.concatenate(
                    [village_codes[world.child_village[person]], village_codes[world.disabled_village[there]]]
                )
            ),
            "hukou_type": _take(
                ("2", "1"),
                np.concatenate([rural[world.child_village[person]], rural[world.disabled_village[there]]]).astype(
                    np.int64
                ),
            ),
            "stage": _take(STAGES, np.concatenate([stage, np.full(len(there), SPECIAL)])),
            "grade": _take(GRADES, np.concatenate([grade, special_grade(dis.birth, year)[there]])),
            "entry": pl.Series(
                np.concatenate(
                    [
                        entry,
                        np.maximum(dis.enters[there], year - (ages_on(dis.birth, year)[there] - 6)) * 100 + 9,
                    ]
                )
            ).cast(pl.Int64),
            "boarding_code": _take(
                ("1", "2"),
                np.concatenate(
                    [
                        board_draw[person] < BOARDING_SHARE[stage],
                        board_draw[persons + there] < BOARDING_SHARE[SPECIAL],
                    ]
                ).astype(np.int64),
            ),
            "disability_code": _series(
                np.concatenate([register_code[kind_of[person]], register_code[dis.kind[there]]])
            ),
            "is_inclusive_education": pl.Series(
                np.concatenate([(kind_of[person] > 0) & (stage > 0) & (stage < 3), np.zeros(len(there), dtype=bool)])
            ),
            "left_behind_code": _take(
                ("0", "1", "2"),
                _left_behind(np.concatenate([left_draw[person], left_draw[persons + there]])),
            ),
            "is_migrant_child": pl.Series(
                np.concatenate([(home != pending_home) & (stage > 0) & (stage < 3), np.zeros(len(there), dtype=bool)])
            ),
            "is_orphan": pl.Series(np.concatenate([orphan[person], orphan[persons + there]])),
            "guardian_name": _series(
                np.concatenate([world.guardian.name[person], np.full(len(there), None, dtype=object)])
            ),
            "guardian_id_number": _series(
                np.concatenate([world.guardian.id[person], np.full(len(there), None, dtype=object)])
            ),
            "_token": _series(np.concatenate([token[person], world.disabled_person.id[there]])),
            "_file_county": _series(
                np.concatenate(
                    [
                        county_code[school_county[school]],
                        county_code[school_county[world.special[year][there]]],
                    ]
                )
            ),
        }
        frame = pl.DataFrame(columns).with_columns(
            school_year=pl.lit(year, dtype=pl.Int64),
            county_code=pl.col("_file_county"),
            id_type=pl.when(pl.col("id_number").is_null()).then(pl.lit("Z")).otherwise(pl.lit("1")),
            enrolled_on=pl.date(pl.col("entry") // 100, pl.col("entry") % 100, 1),
            _file_year=pl.lit(year, dtype=pl.Int64),
        )
        result.append(frame)
    table = pl.concat(result).sort("school_year", "_file_county", "school_code", "grade", "student_number")
    place = pl.int_range(pl.len()).over("school_year", "school_code", "stage", "grade")
    return table.with_columns(class_number=(place // 45 + 1).cast(pl.String).str.zfill(2)).select(
        "school_year", "county_code", "school_code", "student_number", "pupil_name", "sex", "birth_date", "id_type",
        "id_number", "ethnicity_code", "home_area_code", "hukou_type", "stage", "grade", "class_number", "enrolled_on",
        "boarding_code", "disability_code", "is_inclusive_education", "left_behind_code", "is_migrant_child",
        "is_orphan", "guardian_name", "guardian_id_number", "_token", "_file_county", "_file_year",
    )  # fmt: skip


def _ethnic(draw: NDArray[np.float64], hui: NDArray[np.float64]) -> IntArray:
    return np.where(draw < hui, 0, np.where(draw < 0.985, 1, np.where(draw < 0.993, 2, 3))).astype(np.int64)


def _left_behind(draw: NDArray[np.float64]) -> IntArray:
    return (draw < 0.12).astype(np.int64) + (draw < 0.05).astype(np.int64)


def _event(world: World) -> pl.DataFrame:
    rng = np.random.default_rng([world.seed, 72])
    moves, schools, geo = world.children.moves, world.schools, world.geo
    rows: list[tuple[object, ...]] = []

    def code(index: int) -> str | None:
        return schools[index].code if index >= 0 else None

    def add(
        person: int,
        county: int,
        kind: str,
        day: object,
        source: int,
        goal: int,
        why: str,
        status: str,
        year: int,
    ) -> None:
        rows.append(
            (year, geo.counties[county].code, str(world.student_number[person]), world.child.id[person], kind,
             str(day), code(source), code(goal), why, status, person)
        )  # fmt: skip

    draws = rng.random(len(moves.person))
    for i, (person, year, kind, source, target) in enumerate(
        zip(moves.person, moves.year, moves.kind, moves.source, moves.target, strict=True)
    ):
        y = YEARS.index(year)
        old, new = int(world.seat_of[person, y - 1]), int(world.seat_of[person, y])
        day = world.move_day[i]
        if kind == TRANSFER:
            status = "pending" if (person, year) in world.second.pending else "approved"
            why = ("随父母务工迁移", "户籍迁移", "生态移民搬迁")[int(draws[i] * 3)]
            if source != OUTSIDE:
                known = status if target != OUTSIDE or draws[i] < 0.93 else "pending"
                add(person, source, "transfer_out", day, old, new, why, known, year)
            if target != OUTSIDE:
                add(person, target, "transfer_in", day, old, new, why, status, year)
        elif kind == DEATH:
            add(person, source, "death", day, old, -1, "因病" if draws[i] < 0.6 else "意外", "approved", year)
        elif kind == WITHDRAWAL and draws[i] < 0.6:
            add(person, schools[old].county, "withdrawal", day, old, -1, "家庭原因", "approved", year)
        elif kind == GRADUATION:
            add(person, schools[old].county, "graduation", f"{year}-07-05", old, -1, "", "approved", year)
        elif kind == RESUMPTION:
            add(person, target, "resumption", f"{year}-08-28", -1, new, "控辍保学劝返", "approved", year)
    for k, (person, year, old, new) in enumerate(world.inner_moves):
        add(
            person,
            schools[new].county,
            "transfer_in",
            world.inner_day[k],
            old,
            new,
            "就近入学",
            "approved",
            year,
        )
    # The delivery of 2015 reports who left grade nine in July 2015: the first-years of upper secondary school.
    junior = {
        c: [i for i, x in enumerate(schools) if x.county == c and 2 in x.stages and x.opens == 0] for c in range(22)
    }
    for person in np.flatnonzero(np.isin(world.on_roll[:, 0], (S1, V1))).tolist():
        county = int(world.children.home[person])
        before = junior[county][person % len(junior[county])]
        add(person, county, "graduation", f"{YEARS[0]}-07-05", before, -1, "", "approved", YEARS[0])
    # Exits that are not legitimate: never approved, so the child still counts as out of school.
    lost = np.flatnonzero(world.children.back_on_roll == 9999)
    for k, person in enumerate(lost[:: max(1, len(lost) // 6)].tolist()[:6]):
        county = int(world.children.home[person])
        wish = ("emigration", "death", "graduation")[k % 3]
        status = ("pending", "returned")[k % 2]
        add(person, county, wish, "2015-06-20", -1, -1, "材料不全", status, 2015)
    frame = pl.DataFrame(
        rows,
        orient="row",
        schema={
            "school_year": pl.Int64, "county_code": pl.String, "student_number": pl.String, "id_number": pl.String,
            "event_type": pl.String, "event_date": pl.String, "from_school_code": pl.String,
            "to_school_code": pl.String, "reason": pl.String, "approval_status": pl.String, "_person": pl.Int64,
        },
    ).with_columns(
        event_date=pl.col("event_date").str.to_date("%Y-%m-%d"),
        reason=pl.when(pl.col("reason") == "").then(None).otherwise(pl.col("reason")),
    )  # fmt: skip
    frame = frame.sort("school_year", "county_code", "event_date", "event_type", "student_number")
    serial = pl.int_range(1, pl.len() + 1).over("school_year", "county_code")
    return frame.with_columns(
        event_number="YD" + pl.col("county_code") + pl.col("school_year").cast(pl.String)
        + serial.cast(pl.String).str.zfill(6),
        _token=pl.coalesce("id_number", "s" + pl.col("_person").cast(pl.String)),
        _file_county=pl.col("county_code"),
        _file_year=pl.col("school_year"),
    ).select(
        "school_year", "county_code", "event_number", "student_number", "id_number", "event_type", "event_date",
        "from_school_code", "to_school_code", "reason", "approval_status", "_token", "_person", "_file_county",
        "_file_year",
    )  # fmt: skip


def _enrollment(world: World, pupil: pl.DataFrame, event: pl.DataFrame) -> pl.DataFrame:
    """Statistics form: history from the plan, 2015 on from the pupils, each counted once at the primary roll."""
    history = _history_enrollment(world)
    keys = ["school_year", "county_code", "school_code", "stage", "grade", "sex"]
    primary = primary_rows(pupil, event)
    counts = primary.group_by(keys).agg(
        enrollment_count=pl.len().cast(pl.Int64),
        boarder_count=(pl.col("boarding_code") == "2").sum().cast(pl.Int64),
    )
    flows = pl.concat([_flow_rows(world), _first_year_flows(world, counts)])
    counts = (
        counts.join(flows, on=keys, how="full", coalesce=True)
        .with_columns(
            pl.col("enrollment_count", "boarder_count").fill_null(0),
            pl.col("transfer_in_count", "transfer_out_count", "death_count").fill_null(0),
        )
        .sort(keys)
    )
    counts = _entrants_and_graduates(counts)
    return (
        pl.concat([history.select(counts.columns), counts])
        .join(_school_names(world), on=["school_year", "school_code"], how="left")
        .with_columns(
            _file_county=pl.when(pl.col("school_year") < YEARS[0]).then(pl.lit("64")).otherwise(pl.col("county_code")),
            _file_year=pl.col("school_year"),
        )
        .sort([*keys])
        .select(
            "school_year", "county_code", "school_code", "school_name", "stage", "grade", "sex", "enrollment_count",
            "entrant_count", "graduate_count", "boarder_count", "transfer_in_count", "transfer_out_count",
            "death_count", "_file_county", "_file_year",
        )
    )  # fmt: skip


def _entrants_and_graduates(counts: pl.DataFrame) -> pl.DataFrame:
    first = pl.col("grade").is_in(["PRE1", "P1", "J1", "S1", "V1"])
    last = pl.col("grade").is_in(["PRE3", "P6", "J3", "S3", "V3"])
    number = pl.col("enrollment_count")
    return counts.with_columns(
        entrant_count=pl.when(first).then(number - number // 80).otherwise(0),
        graduate_count=pl.when(last).then(number - number // 90).otherwise(0),
    ).select(
        "school_year", "county_code", "school_code", "stage", "grade", "sex", "enrollment_count", "entrant_count",
        "graduate_count", "boarder_count", "transfer_in_count", "transfer_out_count", "death_count",
    )  # fmt: skip


def _school_names(world: World) -> pl.DataFrame:
    return pl.DataFrame(
        [(y, s.code, s.name_in(y)) for y in HISTORY_YEARS for s in world.schools],
        schema={"school_year": pl.Int64, "school_code": pl.String, "school_name": pl.String},
        orient="row",
    )


def _history_enrollment(world: World) -> pl.DataFrame:
    plan, schools = world.plan, world.schools
    rows: list[tuple[object, ...]] = []
    weight = np.array([s.weight for s in schools])
    for c, county in enumerate(world.geo.counties):
        for stage in (1, 2):
            offers = [i for i, s in enumerate(schools) if s.county == c and s.opens == 0 and stage in s.stages]
            for grade in range(9):
                if (grade >= 6) != (stage == 2):
                    continue
                here = [i for i in offers if schools[i].kind != "point" or grade + P1 <= POINT_LAST_GRADE]
                w = weight[here]
                for y, year in enumerate(HISTORY_YEARS):
                    if year >= YEARS[0]:
                        continue
                    for sex in (0, 1):
                        cells = [
                            table[c, y, grade, sex]
                            for table in (plan.compulsory, plan.transfers_in, plan.transfers_out, plan.deaths)
                        ]
                        parts = [apportion(w, int(n)) for n in cells]
                        for k, i in enumerate(here):
                            if any(p[k] for p in parts):
                                rows.append(
                                    (year, county.code, schools[i].code, STAGES[stage], GRADES[P1 + grade], "12"[sex],
                                     *(int(p[k]) for p in parts))
                                )  # fmt: skip
    frame = pl.DataFrame(
        rows,
        orient="row",
        schema={
            "school_year": pl.Int64, "county_code": pl.String, "school_code": pl.String, "stage": pl.String,
            "grade": pl.String, "sex": pl.String, "enrollment_count": pl.Int64, "transfer_in_count": pl.Int64,
            "transfer_out_count": pl.Int64, "death_count": pl.Int64,
        },
    ).with_columns(
        boarder_count=pl.when(pl.col("stage") == "junior").then(pl.col("enrollment_count") // 3).otherwise(0)
    )  # fmt: skip
    assert frame["school_year"].min() == FIRST_HISTORY
    return _entrants_and_graduates(frame)


def _flow_rows(world: World) -> pl.DataFrame:
    """Flows of 2016-2020 from the moves: arrivals where the pupil now sits, losses where the cohort now sits."""
    moves, schools = world.children.moves, world.schools
    rows: list[tuple[object, ...]] = []
    biggest: dict[tuple[int, int, int], int] = {}
    for year in YEARS:
        for i, s in enumerate(schools):
            if s.is_open(year):
                for stage in s.stages:
                    key = (year, s.county, stage)
                    if s.kind != "point" and (key not in biggest or schools[biggest[key]].weight < s.weight):
                        biggest[key] = i

    def offers(index: int, year: int, grade: int) -> bool:
        s = schools[index]
        return (
            s.is_open(year)
            and int(STAGE_OF_GRADE[grade]) in s.stages
            and (s.kind != "point" or grade <= POINT_LAST_GRADE)
        )

    def add(index: int, year: int, grade: int, person: int, flow: int) -> None:
        stage = int(STAGE_OF_GRADE[grade])
        flows = [0, 0, 0]
        flows[flow] = 1
        rows.append(
            (year, world.geo.counties[schools[index].county].code, schools[index].code, STAGES[stage], GRADES[grade],
             "12"[int(world.children.female[person])], *flows)
        )  # fmt: skip

    def lost_at(old: int, county: int, year: int, grade: int) -> int:
        return old if old >= 0 and offers(old, year, grade) else biggest[year, county, int(STAGE_OF_GRADE[grade])]

    for person, year, kind, source, target, grade in zip(
        moves.person, moves.year, moves.kind, moves.source, moves.target, moves.grade, strict=True
    ):
        y = YEARS.index(year)
        old, new = int(world.seat_of[person, y - 1]), int(world.seat_of[person, y])
        if kind == TRANSFER and target != OUTSIDE:
            add(new, year, grade, person, 0)
        if kind == TRANSFER and source != OUTSIDE:
            add(lost_at(old, source, year, grade), year, grade, person, 1)
        if kind == DEATH:
            add(lost_at(old, source, year, grade), year, grade, person, 2)
    for person, year, old, new in world.inner_moves:
        grade = int(world.on_roll[person, YEARS.index(year)])
        add(new, year, grade, person, 0)
        add(lost_at(old, schools[old].county, year, grade), year, grade, person, 1)
    keys = ["school_year", "county_code", "school_code", "stage", "grade", "sex"]
    flows = ["transfer_in_count", "transfer_out_count", "death_count"]
    schema = {"school_year": pl.Int64, **dict.fromkeys(keys[1:], pl.String), **dict.fromkeys(flows, pl.Int64)}
    return pl.DataFrame(rows, orient="row", schema=schema).group_by(keys).agg(pl.col(flows).sum())


def _first_year_flows(world: World, counts: pl.DataFrame) -> pl.DataFrame:
    """Flows of 2015 from the plan, laid on the county's schools of that grade by their pupils."""
    y = HISTORY_YEARS.index(YEARS[0])
    plan = world.plan
    first = counts.filter((pl.col("school_year") == YEARS[0]) & pl.col("stage").is_in(["primary", "junior"]))
    cells = {
        key: frame.sort("school_code")
        for key, frame in first.partition_by(["county_code", "grade", "sex"], as_dict=True).items()
    }
    rows: list[tuple[object, ...]] = []
    for c, county in enumerate(world.geo.counties):
        for grade in range(1, 9):
            for sex in (0, 1):
                cell = cells.get((county.code, GRADES[P1 + grade], "12"[sex]))
                totals = [int(t[c, y, grade, sex]) for t in (plan.transfers_in, plan.transfers_out, plan.deaths)]
                if cell is None or not any(totals):
                    continue
                weight = cell["enrollment_count"].to_numpy().astype(float)
                parts = [apportion(weight, n) for n in totals]
                stage = STAGES[int(STAGE_OF_GRADE[P1 + grade])]
                for k, school in enumerate(cell["school_code"].to_list()):
                    if any(p[k] for p in parts):
                        rows.append(
                            (
                                YEARS[0],
                                county.code,
                                school,
                                stage,
                                GRADES[P1 + grade],
                                "12"[sex],
                                *(int(p[k]) for p in parts),
                            )
                        )
    keys = ["school_year", "county_code", "school_code", "stage", "grade", "sex"]
    flows = ["transfer_in_count", "transfer_out_count", "death_count"]
    schema = {"school_year": pl.Int64, **dict.fromkeys(keys[1:], pl.String), **dict.fromkeys(flows, pl.Int64)}
    return pl.DataFrame(rows, orient="row", schema=schema)


def _population(world: World) -> pl.DataFrame:
    parts = []
    counties = [c.code for c in world.geo.counties]
    for (basis, vintage, year), table in sorted(world.plan.population.items()):
        shape = table.shape
        index = np.indices(shape).reshape(3, -1)
        parts.append(
            pl.DataFrame(
                {
                    "reference_year": np.full(table.size, year, dtype=np.int64),
                    "area_code": _take(counties, index[0]),
                    "age": index[1].astype(np.int64),
                    "sex": _take(("1", "2"), index[2]),
                    "person_count": table.ravel(),
                }
            ).with_columns(
                population_basis=pl.lit(basis),
                reference_date=pl.lit(date(year, 9, 1)),
                population_vintage=pl.lit(vintage),
                _file_county=pl.lit("64"),
                _file_year=pl.lit(year, dtype=pl.Int64),
            )
        )
    return pl.concat(parts)


def _poor_village(world: World) -> pl.DataFrame:
    rows: dict[tuple[int, str], tuple[object, ...]] = {}
    for year in YEARS:
        day = date(year, 12, 31)
        for v in world.geo.villages:
            if v.urban_rural not in {"220", "210", "122", "121"}:
                continue
            code = v.code_at(day)
            left = v.exit_year if v.exit_year is not None and v.exit_year <= year else None
            known = rows.get((year, code))
            if known is None or (v.is_poor and not known[3]):
                rows[year, code] = (year, code, v.names[0], v.is_poor, left, "64", year)
    return pl.DataFrame(
        [rows[k] for k in sorted(rows)],
        orient="row",
        schema={
            "poverty_year": pl.Int64, "village_code": pl.String, "village_name": pl.String,
            "is_poor_village": pl.Boolean, "exit_year": pl.Int64, "_file_county": pl.String, "_file_year": pl.Int64,
        },
    )  # fmt: skip


def _relation(poor: Poor, head_birth: NDArray[np.datetime64], head: NDArray[np.bool_], rank: IntArray) -> ObjectArray:
    gap = (poor.birth - head_birth).astype(np.int64) / 365.25
    sex = poor.female
    child = np.where(gap > 44, np.where(sex == 1, "之孙女", "之孙子"), np.where(sex == 1, "之女", "之子"))
    elder = np.where(sex == 1, "之母", "之父")
    result = np.where(gap < -17, elder, np.where(gap > 16, child, np.where(rank == 1, "配偶", "之兄弟姐妹")))
    return np.asarray(np.where(head, "户主", result), dtype=object)


def _poor(world: World) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng([world.seed, 73])
    poor, geo = world.poor, world.geo
    count = len(poor.child)
    households = len(poor.exit_year)
    cause = rng.choice(len(CAUSES), households, p=CAUSE_WEIGHTS / CAUSE_WEIGHTS.sum())
    kind = rng.choice(3, households, p=[0.66, 0.3, 0.04])
    reason = rng.choice(len(REASONS), count, p=REASON_WEIGHTS)
    ethnic = np.where(rng.random(households) < 0.6, 0, 1)[poor.household]
    health = rng.choice(4, count, p=[0.86, 0.08, 0.04, 0.02])
    slow = rng.random(households) < 0.2
    conflict = rng.random(count) < 0.004
    infant_without = rng.random(count) < 0.25
    lost = np.zeros(count, dtype=bool)
    listed = poor.child >= 0
    back = np.zeros(count, dtype=np.int64)
    back[listed] = world.children.back_on_roll[poor.child[listed]]
    lost[listed] = back[listed] > 0
    within_county = np.array([len({c[:6] for c in v.codes}) == 1 for v in geo.villages])
    people_frames, household_frames = [], []
    for y, year in enumerate(YEARS):
        present = poor.present(year)
        ages = ages_on(poor.birth, year)
        codes = geo.codes_at(date(year, 12, 31))
        late = geo.codes_at(date(year - 1, 12, 31))
        village = poor.village[poor.household]
        # One household in five still carries the old village code a year after the change.
        code = np.where(slow[poor.household] & within_county[village], late[village], codes[village])
        house = poor.household_in[year]
        grade = np.full(count, -1, dtype=np.int64)
        grade[listed] = world.on_roll[poor.child[listed], y]
        status_school = school_status(grade, ages)
        status_school[conflict & (grade >= 0)] = "非在校生"
        adult_word = only((ages < 18) | (grade >= 0), status_school)
        has_id = ~((ages < 2) & infant_without & (poor.child < 0))
        exit_year = poor.exit_year[poor.household]
        gone = exit_year <= year
        label = poor.label[poor.household]
        status = np.where(
            gone,
            np.where(exit_year <= year - 3, "exited_without_policy", "exited_with_policy"),
            np.where(label == NEW, "newly_identified", np.where(label == RETURNED, "returned", "in_poverty")),
        )
        head, order = _heads(poor, house, present, year)
        head_index = np.zeros(int(house.max()) + 1, dtype=np.int64)
        head_index[house[head]] = np.flatnonzero(head)
        mine = head_index[house]
        rank = order
        code = code.astype(object)
        # Everyone of a household lives where the head lives (households of two origins may have merged).
        code = code[mine]
        number = np.char.add(
            np.char.add("64", np.char.zfill(poor.county[mine].astype(str), 2)),
            np.char.zfill(house.astype(str), 6),
        ).astype(object)
        origin = np.char.add(
            np.char.add(
                np.char.add(np.where(poor.number_from <= year, "96", "64"), np.char.zfill(poor.county.astype(str), 2)),
                np.char.zfill(poor.household.astype(str), 6),
            ),
            np.char.zfill(poor.seq.astype(str), 2),
        ).astype(object)
        out = lost & (grade < 0) & (ages >= 6) & (ages <= 15)
        frame = pl.DataFrame(
            {
                "poverty_year": np.full(count, year, dtype=np.int64),
                "village_code": _series(code),
                "household_number": _series(number),
                "person_number": _series(origin),
                "person_name": _series(world.poor_person.name),
                "id_type": _take(("Z", "1"), has_id.astype(np.int64)),
                "id_number": _series(only(has_id, world.poor_person.id)),
                "relation_to_head": _series(_relation(poor, poor.birth[mine], head, rank)),
                "sex": _take(("1", "2"), poor.female),
                "birth_date": _dates(poor.birth),
                "ethnicity_code": _take(("03", "01"), ethnic),
                "school_status": _series(adult_word),
                "out_of_school_reason": _series(only(out, np.array(REASONS, dtype=object)[reason])),
                "health_status": _take(("健康", "长期慢性病", "患有大病", "长期慢性病,残疾"), health),
                "labor_ability": _series(
                    np.where(
                        (ages < 16) | (ages > 65),
                        "无劳动力",
                        np.where(health == 0, "普通劳动力", "丧失劳动力"),
                    ).astype(object)
                ),
                "poverty_status": _series(status.astype(object)),
                "exit_year": pl.Series(np.where(gone, exit_year, 0)).cast(pl.Int64),
                "_token": _series(
                    np.where(
                        has_id,
                        world.poor_person.id,
                        np.char.add("p", np.arange(count).astype(str)).astype(object),
                    )
                ),
                "_head": head,
                "_head_name": _series(world.poor_person.name[mine]),
                "_head_id": _series(world.poor_person.id[mine]),
                "_cause": _take(CAUSES, cause[poor.household]),
                "_type": _take(("general", "subsistence", "destitute"), kind[poor.household]),
                "_lost": out,
            }
        ).filter(pl.Series(present))
        frame = frame.with_columns(
            exit_year=pl.when(pl.col("exit_year") == 0).then(None).otherwise(pl.col("exit_year")),
            _file_county=pl.col("village_code").str.slice(0, 6),
            _file_year=pl.lit(year, dtype=pl.Int64),
        ).with_columns(county_code=pl.col("_file_county"))
        people_frames.append(frame)
        household_frames.append(
            frame.sort("household_number", "_head", "person_number", descending=[False, True, False])
            .group_by("household_number", maintain_order=True)
            .agg(
                pl.col("poverty_year", "county_code", "village_code", "poverty_status", "exit_year").first(),
                head_name=pl.col("_head_name").first(),
                head_id_number=pl.col("_head_id").first(),
                member_count=pl.len().cast(pl.Int64),
                household_type=pl.col("_type").first(),
                main_cause=pl.col("_cause").first(),
                _file_county=pl.col("_file_county").first(),
                _file_year=pl.col("_file_year").first(),
            )
        )
    people = pl.concat(people_frames).sort(
        "poverty_year", "_file_county", "village_code", "household_number", "person_number"
    )
    houses = pl.concat(household_frames).sort("poverty_year", "_file_county", "village_code", "household_number")
    return (
        people.select(
            "poverty_year", "county_code", "village_code", "household_number", "person_number", "person_name",
            "id_type", "id_number", "relation_to_head", "sex", "birth_date", "ethnicity_code", "school_status",
            "out_of_school_reason", "health_status", "labor_ability", "poverty_status", "exit_year", "_token", "_lost",
            "_file_county", "_file_year",
        ),
        houses.select(
            "poverty_year", "county_code", "village_code", "household_number", "head_name", "head_id_number",
            "member_count", "household_type", "main_cause", "poverty_status", "exit_year", "_file_county", "_file_year",
        ),
    )  # fmt: skip


def _heads(poor: Poor, house: IntArray, present: NDArray[np.bool_], year: int) -> tuple[NDArray[np.bool_], IntArray]:
    """Choose exactly one present head per household: the recorded one, else the first adult, else the first person."""
    wish = np.where(poor.head_in[year], 0, np.where(poor.is_adult, 1, 2))
    rank = np.lexsort((poor.seq, poor.household, wish, ~present, house))
    ordered = house[rank]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    head = np.zeros(len(house), dtype=bool)
    head[rank[starts]] = True
    first = np.flatnonzero(starts)
    position = np.empty(len(house), dtype=np.int64)
    position[rank] = np.arange(len(rank)) - np.repeat(first, np.diff(np.r_[first, len(rank)]))
    return head, position


def _disabled(world: World) -> pl.DataFrame:
    dis, geo = world.disabled, world.geo
    rng = np.random.default_rng([world.seed, 74])
    rehabilitation = rng.random(len(dis.birth)) < 0.3
    parts = []
    letters = np.array(["", "1", "2", "3", "4", "5", "6", "7"], dtype=object)
    county_code = np.array([c.code for c in geo.counties], dtype=object)
    for year in YEARS:
        age = ages_on(dis.birth, year)
        listed = dis.certified & (age >= 0) & (age <= 17)
        codes = geo.codes_at(date(year, 12, 31))
        special = world.special[year] >= 0
        inclusive = np.zeros(len(dis.birth), dtype=bool)
        pupil = dis.child >= 0
        inclusive[pupil] = world.on_roll[dis.child[pupil], YEARS.index(year)] >= 0
        schooling = np.where(
            special, "特殊教育学校", np.where(inclusive, "随班就读", np.where(age < 6, "学龄前", "未入学"))
        )
        grade = dis.grade.astype(str).astype(object)
        village = codes[world.disabled_village]
        parts.append(
            pl.DataFrame(
                {
                    "reference_year": np.full(len(age), year, dtype=np.int64),
                    "certificate_number": _series(world.disabled_person.id + letters[dis.kind] + grade),
                    "child_name": _series(world.disabled_person.name),
                    "sex": _take(("1", "2"), dis.female),
                    "disability_type": _series(np.array(["", *TYPE_LABELS.values()], dtype=object)[dis.kind]),
                    "disability_grade": _series(grade),
                    "component_types": _series(dis.components),
                    "birth_date": _dates(dis.birth),
                    "home_village_code": _series(village),
                    "schooling_status": _series(schooling.astype(object)),
                    "is_in_rehabilitation": rehabilitation,
                    "_token": _series(world.disabled_person.id),
                    "_kind": dis.kind,
                    "_file_county": _series(county_code[dis.county]),
                }
            )
            .filter(pl.Series(listed))
            .with_columns(county_code=pl.col("_file_county"), _file_year=pl.lit(year, dtype=pl.Int64))
        )
    return (
        pl.concat(parts)
        .sort("reference_year", "_file_county", "certificate_number")
        .select(
            "reference_year", "county_code", "certificate_number", "child_name", "sex", "disability_type",
            "disability_grade", "component_types", "birth_date", "home_village_code", "schooling_status",
            "is_in_rehabilitation", "_token", "_kind", "_file_county", "_file_year",
        )
    )  # fmt: skip
