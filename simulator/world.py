"""The whole invented province at one scale: who exists, where each lives, learns and is listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.disability import Disabled, build_disabled, special_seats
from simulator.geography import Geography, build_geography
from simulator.identity import make_ids, make_names, only, student_numbers
from simulator.plan import YEARS, Plan, build_plan
from simulator.poverty import Poor, build_poor, graduation_years, roll_matrix, steady_children
from simulator.pupils import S1, STAGE_OF_GRADE, TRANSFER, V1, Children, run_pupils, upper_school_mix
from simulator.schools import School, assign_schools, build_schools

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ObjectArray = NDArray[np.object_]
Dates = NDArray[np.datetime64]

# ID area suffixes, apart by population so that numbers never collide (6499 + two digits)
CHILD_AREA, POOR_AREA, SPECIAL_AREA = 1, 23, 45
GUARDIAN_AREA = 68
DOUBLE_ENROLLED_PER_YEAR = 35
UNRELEASED_PER_YEAR = 25
NO_ID_SHARE = 0.006
TEMPORARY_SHARE = 0.010


@dataclass(frozen=True)
class Persons:
    """Identity of one population (parallel arrays); ``id`` is None where the person has no number."""

    id: ObjectArray
    name: ObjectArray


@dataclass(frozen=True)
class SecondRolls:
    """Second register rows: person, year, school, grade, entry month (YYYYMM) of that row and of the main row."""

    person: IntArray
    year: IntArray
    school: IntArray
    grade: IntArray
    entry: IntArray
    main_entry: IntArray
    pending: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class World:
    """Everything that the feeds are written from."""

    geo: Geography
    plan: Plan
    children: Children
    schools: list[School]
    seats: dict[int, IntArray]
    inner_moves: list[tuple[int, int, int, int]]
    seat_of: IntArray
    on_roll: IntArray
    entry: IntArray
    poor: Poor
    disabled: Disabled
    special: dict[int, IntArray]
    child_village: IntArray
    child: Persons
    student_number: ObjectArray
    guardian: Persons
    poor_person: Persons
    disabled_person: Persons
    disabled_number: ObjectArray
    disabled_village: IntArray
    second: SecondRolls
    move_day: Dates
    inner_day: Dates
    seed: int


def _upper_counties(geo: Geography, children: Children, rng: np.random.Generator) -> dict[int, IntArray]:
    """Return by year the county of the school for each roll row; upper-secondary pupils go where the mix says."""
    senior, vocational = (np.cumsum(m, axis=1) for m in upper_school_mix(geo))
    chosen = np.full((len(children.birth), 2), -1, dtype=np.int64)
    result: dict[int, IntArray] = {}
    for year in YEARS:
        roll = children.rolls[year]
        county = roll.county.copy()
        for kind, mix, low, high in ((0, senior, S1, V1), (1, vocational, V1, V1 + 3)):
            who = np.flatnonzero((roll.grade >= low) & (roll.grade < high))
            person = roll.person[who]
            fresh = np.flatnonzero(chosen[person, kind] < 0)
            draw = rng.random(len(fresh))
            rows = mix[roll.county[who[fresh]]]
            chosen[person[fresh], kind] = (rows < draw[:, None]).sum(axis=1).clip(max=len(geo.counties) - 1)
            county[who] = chosen[person, kind]
        result[year] = county
    return result


def _entries(seat_of: IntArray, on_roll: IntArray, day: dict[tuple[int, int], int]) -> IntArray:
    """Return [person, year] → month of entry into the present school and stage as YYYYMM (0 when on no roll)."""
    entry = np.zeros_like(on_roll)
    stage = np.where(on_roll >= 0, STAGE_OF_GRADE[np.maximum(on_roll, 0)], -1)
    first = np.array([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    for y, year in enumerate(YEARS):
        here = on_roll[:, y] >= 0
        if y == 0:
            entry[here, 0] = (year - first[on_roll[here, 0]]) * 100 + 9
            continue
        same = here & (seat_of[:, y] == seat_of[:, y - 1]) & (stage[:, y] == stage[:, y - 1])
        entry[same, y] = entry[same, y - 1]
        entry[here & ~same, y] = year * 100 + 9
    for (person, year), month in day.items():
        y = YEARS.index(year)
        if y and on_roll[person, y] >= 0 and seat_of[person, y] != seat_of[person, y - 1]:
            entry[person, y] = month
    return entry


def _second_rolls(
    world_schools: list[School],
    children: Children,
    seat_of: IntArray,
    on_roll: IntArray,
    entry: IntArray,
    can: BoolArray,
    moved: set[int],
    rng: np.random.Generator,
) -> SecondRolls:
    """Pupils in two schools: not yet released by the old school, or enrolled in senior and vocational school."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    pending: set[tuple[int, int]] = set()
    moves = children.moves
    count_of: dict[int, int] = {}
    for person, kind in zip(moves.person, moves.kind, strict=True):
        if kind == TRANSFER:
            count_of[person] = count_of.get(person, 0) + 1
    by_year: dict[int, list[int]] = {y: [] for y in YEARS}
    for i, (kind, source, target) in enumerate(zip(moves.kind, moves.source, moves.target, strict=True)):
        if kind == TRANSFER and source >= 0 and target >= 0:
            by_year[moves.year[i]].append(i)
    vocational = {
        year: [i for i, s in enumerate(world_schools) if s.kind == "vocational" and s.is_open(year)] for year in YEARS
    }
    for y, year in enumerate(YEARS):
        taken = 0
        for i in rng.permutation(by_year[year]).tolist() if by_year[year] else []:
            person = moves.person[i]
            old, new, grade = int(seat_of[person, y - 1]), int(seat_of[person, y]), int(on_roll[person, y])
            if taken >= UNRELEASED_PER_YEAR or not can[person] or old < 0 or new < 0 or old == new or grade < 0:
                continue
            school = world_schools[old]
            if not school.is_open(year) or int(STAGE_OF_GRADE[grade]) not in school.stages or school.kind == "point":
                continue
            # Without an approval the rule falls back to the latest entry: the new school again.
            if count_of[person] == 1 and person not in moved and taken % 5 == 4:
                pending.add((person, year))
            rows.append((person, year, old, grade, int(entry[person, y - 1]), int(entry[person, y])))
            taken += 1
        upper = np.flatnonzero((on_roll[:, y] == S1) & can)
        upper = upper[[p not in count_of and p not in moved for p in upper.tolist()]]
        for k, person in enumerate(rng.permutation(upper)[:DOUBLE_ENROLLED_PER_YEAR].tolist()):
            september, august = year * 100 + 9, year * 100 + 8
            main, second = ((september, september), (september, august), (august, september))[k % 3]
            rows.append((person, year, int(rng.choice(vocational[year])), V1, second, main))
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return SecondRolls(
        person=table[:, 0],
        year=table[:, 1],
        school=table[:, 2],
        grade=table[:, 3],
        entry=table[:, 4],
        main_entry=table[:, 5],
        pending=frozenset(pending),
    )


def build_world(scale: float, seed: int) -> World:
    """Build the province.

    Raises:
        ValueError: the scale is not in (0, 1].
    """
    geo = build_geography(seed)
    plan = build_plan(geo, scale)
    children = run_pupils(geo, plan, seed)
    rng = np.random.default_rng([seed, 61])
    persons = len(children.birth)
    school_county = _upper_counties(geo, children, rng)
    schools = build_schools(geo, plan, seed)
    seats, inner = assign_schools(schools, children.rolls, school_county, persons, seed)
    on_roll = roll_matrix(children)
    seat_of = np.full((persons, len(YEARS)), -1, dtype=np.int64)
    for y, year in enumerate(YEARS):
        seat_of[children.rolls[year].person, y] = seats[year]
    steady = steady_children(children, on_roll, graduation_years(children))
    poor = build_poor(geo, plan, children, steady, seed)
    disabled = build_disabled(geo, plan, children, on_roll, steady, seed)
    special = special_seats(geo, schools, disabled)

    village_of_county = [np.flatnonzero(geo.village_county == c) for c in range(len(geo.counties))]
    child_village = np.zeros(persons, dtype=np.int64)
    for c, options in enumerate(village_of_county):
        mine = np.flatnonzero(children.home == c)
        child_village[mine] = options[rng.integers(len(options), size=len(mine))]
    listed = poor.child >= 0
    child_village[poor.child[listed]] = poor.village[poor.household[listed]]

    draw = rng.random(persons)
    must = children.back_on_roll > 0
    must[poor.child[listed]] = True
    must[disabled.child[disabled.child >= 0]] = True
    has_id = (draw >= NO_ID_SHARE) | must
    temporary = has_id & ~must & (draw < TEMPORARY_SHARE)
    ids = make_ids(children.home + CHILD_AREA, children.birth, children.female)
    kind = np.where(~has_id, np.where(draw < NO_ID_SHARE * 0.7, "J", "L"), np.where(temporary, "L", "G")).astype(object)
    numbers = student_numbers(kind, ids, children.home, children.birth)
    child = Persons(only(has_id, ids), make_names(rng, persons))

    special_ids = make_ids(
        np.where(disabled.child >= 0, 0, disabled.county + SPECIAL_AREA), disabled.birth, disabled.female
    )
    inclusive = disabled.child >= 0
    special_ids[inclusive] = ids[disabled.child[inclusive]]
    special_names = make_names(rng, len(special_ids))
    special_names[inclusive] = child.name[disabled.child[inclusive]]
    disabled_village = np.zeros(len(special_ids), dtype=np.int64)
    for c, options in enumerate(village_of_county):
        mine = np.flatnonzero(disabled.county == c)
        disabled_village[mine] = options[rng.integers(len(options), size=len(mine))]
    disabled_village[inclusive] = child_village[disabled.child[inclusive]]
    _settle(geo, disabled_village)
    child_village[disabled.child[inclusive]] = disabled_village[inclusive]

    poor_ids = make_ids(np.where(listed, 0, poor.county + POOR_AREA), poor.birth, poor.female)
    poor_ids[listed] = ids[poor.child[listed]]
    poor_names = make_names(rng, len(poor_ids))
    poor_names[listed] = child.name[poor.child[listed]]

    guardian = _guardians(children, poor, Persons(poor_ids, poor_names), rng)
    move_day, inner_day, months = _days(children, inner, rng)
    entry = _entries(seat_of, on_roll, months)
    second = _second_rolls(
        schools, children, seat_of, on_roll, entry, has_id & (children.back_on_roll == 0),
        {m[0] for m in inner}, rng,
    )  # fmt: skip
    for k in range(len(second.person)):
        entry[second.person[k], YEARS.index(int(second.year[k]))] = second.main_entry[k]
    return World(
        geo, plan, children, schools, seats, inner, seat_of, on_roll, entry, poor, disabled, special, child_village,
        child, numbers, guardian, Persons(poor_ids, poor_names), Persons(special_ids, special_names),
        student_numbers(np.full(len(special_ids), "G", dtype=object), special_ids, disabled.county, disabled.birth),
        disabled_village, second, move_day, inner_day, seed,
    )  # fmt: skip


def _settle(geo: Geography, village: IntArray) -> None:
    """Keep disabled children out of the villages that change county: their file is by county of residence."""
    crossing = np.array([len({c[:6] for c in v.codes}) > 1 for v in geo.villages])
    for i in np.flatnonzero(crossing[village]).tolist():
        same = np.flatnonzero((geo.village_county == geo.village_county[village[i]]) & ~crossing)
        village[i] = same[0]


def _guardians(children: Children, poor: Poor, poor_person: Persons, rng: np.random.Generator) -> Persons:
    """Give every pupil a guardian: the head for poor households, else a parent of 22-36 years more; some are shared."""
    count = len(children.birth)
    female = rng.integers(0, 2, size=count)
    birth = (children.birth - rng.integers(22 * 366, 36 * 365, size=count)).astype("datetime64[D]")
    ids = make_ids(children.home + GUARDIAN_AREA, birth, female)
    names = make_names(rng, count)
    heads = np.flatnonzero(poor.seq == 0)
    head_of = np.full(len(poor.exit_year), -1, dtype=np.int64)
    head_of[poor.household[heads]] = heads
    listed = np.flatnonzero(poor.child >= 0)
    head = head_of[poor.household[listed]]
    known = head >= 0
    ids[poor.child[listed[known]]] = poor_person.id[head[known]]
    names[poor.child[listed[known]]] = poor_person.name[head[known]]
    return Persons(ids, names)


def _days(
    children: Children, inner: list[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[Dates, Dates, dict[tuple[int, int], int]]:
    """Draw event dates between 2 September and 25 August and the month in which a transferred pupil entered."""
    years = np.array(children.moves.year, dtype=np.int64)

    def draw(year: IntArray) -> Dates:
        start = (np.datetime64("1970") + (year - 1971)).astype("datetime64[Y]").astype("datetime64[D]") + 245
        return np.asarray(start + rng.integers(0, 357, size=len(year)), dtype="datetime64[D]")

    move_day = draw(years)
    inner_day = draw(np.array([m[1] for m in inner], dtype=np.int64))
    months: dict[tuple[int, int], int] = {}

    def month(day: np.datetime64) -> int:
        text = str(day)
        return int(text[:4]) * 100 + int(text[5:7])

    for i, (kind, goal) in enumerate(zip(children.moves.kind, children.moves.target, strict=True)):
        if kind == TRANSFER and goal >= 0:
            months[children.moves.person[i], children.moves.year[i]] = month(move_day[i])
    for i, (person, year, _, _) in enumerate(inner):
        months.setdefault((person, year), month(inner_day[i]))
    return move_day, inner_day, months
