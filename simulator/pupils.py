"""Pupils as persons: birth, home, grade by year, and the moves between two snapshots.

The engine fills every cell of the plan (county × grade × sex × year) exactly, by promoting last year's pupils, letting
some leave (death, transfer, withdrawal) and letting others arrive (from another county, from outside, back to school).
Cells of pre-primary, primary and junior school belong to the county of the school; upper-secondary cells belong to the
home county, because that is how the gross enrollment ratio counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulator.geography import Geography
from simulator.plan import CHILD_SHARE_PLAN, HISTORY_YEARS, YEARS, Plan

IntArray = NDArray[np.int64]
# (county, grade, sex, year) → planned pupils; (county, grade, sex, count, year) → new persons
TargetOf = Callable[[int, int, int, int], int]
NewcomersOf = Callable[[int, int, int, int, int], IntArray]

GRADES = ("PRE0", "PRE1", "PRE2", "PRE3", "P1", "P2", "P3", "P4", "P5", "P6", "J1", "J2", "J3", "S1", "S2", "S3", "V1",
          "V2", "V3")  # fmt: skip
STAGES = ("preschool", "primary", "junior", "senior", "vocational", "special")
STAGE_OF_GRADE = np.array([0] * 4 + [1] * 6 + [2] * 3 + [3] * 3 + [4] * 3, dtype=np.int64)
TYPICAL_AGE = np.array([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 15, 16, 17], dtype=np.int64)
P1, J1, J3, S1, V1, V3 = 4, 10, 12, 13, 16, 18
OUTSIDE = -1

TRANSFER, DEATH, WITHDRAWAL, GRADUATION, RESUMPTION, EMIGRATION = range(6)


@dataclass
class Moves:
    """Moves between two snapshots, as parallel lists; ``year`` is the year of the later snapshot."""

    person: list[int] = field(default_factory=list)
    year: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    grade: list[int] = field(default_factory=list)

    def add(self, persons: IntArray, year: int, kind: int, source: int, target: int, grade: int) -> None:
        """Record the same kind of move for several persons (counties by index, ``OUTSIDE`` = not in the province)."""
        count = len(persons)
        self.person += persons.tolist()
        self.year += [year] * count
        self.kind += [kind] * count
        self.source += [source] * count
        self.target += [target] * count
        self.grade += [grade] * count


@dataclass(frozen=True)
class Roll:
    """Who is on the roll of one year: person, cell county, grade index (parallel arrays)."""

    person: IntArray
    county: IntArray
    grade: IntArray


@dataclass
class Children:
    """All children that ever stand in the register or should.

    Attributes:
        birth, female, home: per person (datetime64[D], 0/1, home county index).
        back_on_roll: year in which a registered-poor child without a roll returns (9999 never, 0 was never away).
        rolls: by evaluation year.
        moves: all moves.
    """

    birth: NDArray[np.datetime64]
    female: IntArray
    home: IntArray
    back_on_roll: IntArray
    rolls: dict[int, Roll]
    moves: Moves


class _People:
    """Growing columns of persons."""

    def __init__(self) -> None:
        self.birth: list[NDArray[np.datetime64]] = []
        self.female: list[IntArray] = []
        self.home: list[IntArray] = []
        self.count = 0

    def add(self, birth: NDArray[np.datetime64], female: IntArray, home: IntArray) -> IntArray:
        self.birth.append(birth)
        self.female.append(female)
        self.home.append(home)
        first = self.count
        self.count += len(birth)
        return np.arange(first, self.count)


def birth_dates(rng: np.random.Generator, age: IntArray, year: int) -> NDArray[np.datetime64]:
    """Draw birth dates of persons who are ``age`` completed years old on 1 September of ``year``."""
    latest = (np.datetime64("1970-09-01") + 0).astype("datetime64[D]")
    years = year - age - 1970
    september = (np.datetime64("1970") + years).astype("datetime64[Y]").astype("datetime64[D]")
    leap = ((years + 1970) % 4 == 0) & (((years + 1970) % 100 != 0) | ((years + 1970) % 400 == 0))
    start = september + (latest - np.datetime64("1970-01-01")).astype(int) + leap.astype(int)
    return np.asarray(start - rng.integers(0, 365, size=len(age)), dtype="datetime64[D]")


def ages_on(birth: NDArray[np.datetime64], year: int) -> IntArray:
    """Return completed years of age on 1 September of ``year``."""
    years = birth.astype("datetime64[Y]").astype(np.int64) + 1970
    months = birth.astype("datetime64[M]").astype(np.int64) % 12 + 1
    days = (birth - birth.astype("datetime64[M]")).astype(np.int64) + 1
    before = (months < 9) | ((months == 9) & (days == 1))
    return np.asarray(year - years - 1 + before.astype(np.int64), dtype=np.int64)


def _home_mix(geo: Geography) -> NDArray[np.float64]:
    """Return P(home county | school county) for new pupils: migrants come from the plan counties."""
    codes = [c.code for c in geo.counties]
    inside = np.array([CHILD_SHARE_PLAN.get(c, 0.0) for c in codes])
    mix = np.zeros((len(codes), len(codes)))
    for i, code in enumerate(codes):
        away, donors = 0.03, inside.copy()
        if code.startswith("6401"):
            away = 0.22 if code in {"640104", "640105", "640106"} else 0.15
        elif code == "640303":
            away = 0.14
            donors = np.where(np.isin(codes, ["640422", "640522", "640324"]), inside, 0)
        elif code in {"640302", "640502", "640521"}:
            away = 0.10
        elif code.startswith("6402"):
            away = 0.07
        donors[i] = 0
        mix[i] = away * donors / donors.sum()
        mix[i, i] = 1 - away
    return mix


def upper_school_mix(geo: Geography) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P(school county | home county) for senior and vocational pupils: Guyuan and Yinchuan draw them in."""
    codes = [c.code for c in geo.counties]
    senior, vocational = np.zeros((22, 22)), np.zeros((22, 22))
    for i, c in enumerate(geo.counties):
        stay_senior = 0.45 if c.code == "640424" else (0.74 if c.is_plan else 0.86)
        stay_vocational = 0.35 if c.is_plan else 0.6
        hub = {"6404": "640402", "6403": "640302", "6405": "640502", "6402": "640202"}.get(c.city_code, "640104")
        for mix, stay, goals in (
            (senior, stay_senior, {hub: 0.45, "640104": 0.3, "640106": 0.25}),
            (vocational, stay_vocational, {hub: 0.35, "640105": 0.35, "640121": 0.3}),
        ):
            mix[i, i] += stay
            for code, weight in goals.items():
                mix[i, codes.index(code)] += (1 - stay) * weight
    return senior, vocational


def _lost_children(geo: Geography, plan: Plan, people: _People, rng: np.random.Generator) -> IntArray:
    """Create the registered-poor children on no roll in 2015 and decide when each comes back (9999 = never)."""
    back: list[IntArray] = []
    weights = np.array([0.06, 0.06, 0.07, 0.09, 0.1, 0.11, 0.13, 0.14, 0.13, 0.11])
    for county in range(len(geo.counties)):
        count = int(plan.not_on_roll[county, 0])
        age = rng.choice(np.arange(6, 16), count, p=weights / weights.sum())
        for y in range(len(YEARS) - 1, 0, -1):
            # Enough of them must still be of compulsory age when the plan counts them years later.
            old = np.flatnonzero(age > 15 - y)
            short = int(plan.not_on_roll[county, y]) - (count - len(old))
            if short > 0:
                age[old[:short]] = 15 - y
        birth = birth_dates(rng, age, YEARS[0])
        people.add(birth, rng.integers(0, 2, size=count), np.full(count, county, dtype=np.int64))
        returns = np.full(count, 9999, dtype=np.int64)
        for y, year in enumerate(YEARS[1:], start=1):
            now = age + y
            still = np.flatnonzero((returns == 9999) & (now <= 15))
            surplus = len(still) - int(plan.not_on_roll[county, y])
            if surplus > 0:
                # The oldest come back first, so that those still counted in later years are young enough.
                returns[still[np.argsort(-now[still], kind="stable")][:surplus]] = year
        back.append(returns)
    return np.concatenate(back) if back else np.zeros(0, dtype=np.int64)


def run_pupils(geo: Geography, plan: Plan, seed: int) -> Children:
    """Run the register from 2015 to 2020.

    Returns:
        Persons, yearly rolls and moves. Compulsory cells equal the plan; a cell may exceed it only where every
        promoted pupil is a returned child that must stay (possible at very small scales).
    """
    rng = np.random.default_rng([seed, 21])
    people = _People()
    back = _lost_children(geo, plan, people, rng)
    mix = np.cumsum(_home_mix(geo), axis=1)
    protected: set[int] = set(np.flatnonzero(back < 9999).tolist())
    moves = Moves()
    rolls: dict[int, Roll] = {}
    counties = len(geo.counties)
    lost_home = np.concatenate(people.home) if people.home else np.zeros(0, dtype=np.int64)
    lost_birth = np.concatenate(people.birth) if people.birth else np.zeros(0, dtype="datetime64[D]")
    lost_female = np.concatenate(people.female) if people.female else np.zeros(0, dtype=np.int64)

    def newcomers(county: int, grade: int, sex: int, count: int, year: int) -> IntArray:
        if count <= 0:
            return np.zeros(0, dtype=np.int64)
        age = np.full(count, TYPICAL_AGE[grade], dtype=np.int64)
        if grade >= P1:
            draw = rng.random(count)
            age += (draw < (0.12 if geo.counties[county].is_plan else 0.04)).astype(np.int64)
        if grade >= S1:
            home = np.full(count, county, dtype=np.int64)
        else:
            home = np.searchsorted(mix[county], rng.random(count)).clip(max=counties - 1).astype(np.int64)
        return people.add(birth_dates(rng, age, year), np.full(count, sex, dtype=np.int64), home)

    def target(county: int, grade: int, sex: int, year: int) -> int:
        y = YEARS.index(year)
        if grade < P1:
            return int(plan.preschool[county, y, grade, sex])
        if grade <= J3:
            return int(plan.compulsory[county, HISTORY_YEARS.index(year), grade - P1, sex])
        return int(plan.upper[county, y, grade - S1, sex])

    previous: dict[tuple[int, int, int], IntArray] = {}
    homes: list[IntArray] = []
    for year in YEARS:
        current: dict[tuple[int, int, int], IntArray] = {}
        h = HISTORY_YEARS.index(year)
        if year == YEARS[0]:
            for county in range(counties):
                for grade in range(len(GRADES)):
                    for sex in (0, 1):
                        current[county, grade, sex] = newcomers(
                            county, grade, sex, target(county, grade, sex, year), year
                        )
        else:
            forced = _forced(year, back, lost_home, lost_birth, lost_female)
            pool: dict[tuple[int, int], list[tuple[int, IntArray]]] = {}
            kept: dict[tuple[int, int, int], IntArray] = {}
            for county in range(counties):
                for grade in range(P1 + 1, J3 + 1):
                    for sex in (0, 1):
                        before = rng.permutation(previous[county, grade - 1, sex])
                        back_now = len(forced.get((county, grade, sex), ()))
                        safe = np.array([p in protected for p in before.tolist()], dtype=bool)
                        before = np.concatenate([before[~safe], before[safe]])
                        g = grade - P1
                        dead = int(plan.deaths[county, h, g, sex])
                        quit_ = int(plan.dropouts[county, h, g, sex])
                        out = int(plan.transfers_out[county, h, g, sex])
                        wanted = target(county, grade, sex, year)
                        out += max(0, len(before) - dead - quit_ - out + back_now - wanted)
                        free = int((~safe).sum())
                        dead = min(dead, free)
                        quit_ = min(quit_, free - dead)
                        out = min(out, free - dead - quit_)
                        moves.add(before[:dead], year, DEATH, county, OUTSIDE, grade)
                        moves.add(before[dead : dead + quit_], year, WITHDRAWAL, county, OUTSIDE, grade)
                        pool.setdefault((grade, sex), []).append((county, before[dead + quit_ : dead + quit_ + out]))
                        kept[county, grade, sex] = before[dead + quit_ + out :]
            for grade in range(P1 + 1, J3 + 1):
                for sex in (0, 1):
                    _fill(
                        geo,
                        grade,
                        sex,
                        year,
                        kept,
                        pool[grade, sex],
                        forced,
                        target,
                        newcomers,
                        moves,
                        current,
                        rng,
                    )
            _preschool_and_entry(counties, year, previous, forced, target, newcomers, current, rng)
            homes_now = np.concatenate(people.home)
            _upper(counties, year, previous, homes_now, protected, target, newcomers, moves, current, rng)
        rolls[year] = _as_roll(current)
        previous = current
    homes = people.home
    all_back = np.zeros(people.count, dtype=np.int64)
    all_back[: len(back)] = back
    return Children(
        np.concatenate(people.birth),
        np.concatenate(people.female),
        np.concatenate(homes),
        all_back,
        rolls,
        moves,
    )


def _forced(
    year: int, back: IntArray, home: IntArray, birth: NDArray[np.datetime64], female: IntArray
) -> dict[tuple[int, int, int], IntArray]:
    """Children who return to school this year, by cell; they start a year behind their age."""
    result: dict[tuple[int, int, int], list[int]] = {}
    for person in np.flatnonzero(back == year).tolist():
        age = int(ages_on(birth[person : person + 1], year)[0])
        grade = P1 + min(max(age - 7, 0), J3 - P1)
        result.setdefault((int(home[person]), grade, int(female[person])), []).append(person)
    return {key: np.array(value, dtype=np.int64) for key, value in result.items()}


def _fill(
    geo: Geography,
    grade: int,
    sex: int,
    year: int,
    kept: dict[tuple[int, int, int], IntArray],
    pool: list[tuple[int, IntArray]],
    forced: dict[tuple[int, int, int], IntArray],
    target: TargetOf,
    newcomers: NewcomersOf,
    moves: Moves,
    current: dict[tuple[int, int, int], IntArray],
    rng: np.random.Generator,
) -> None:
    """Fill one grade and sex in all counties: returned children, then transfers within the province, then others."""
    persons = np.concatenate([p for _, p in pool]) if pool else np.zeros(0, dtype=np.int64)
    origins = np.concatenate([np.full(len(p), c, dtype=np.int64) for c, p in pool])
    order = rng.permutation(len(persons))
    persons, origins = persons[order], origins[order]
    # Two of three leavers stay in the province.
    inside = rng.random(len(persons)) < 0.66
    used = np.zeros(len(persons), dtype=bool)
    for county in rng.permutation(len(geo.counties)).tolist():
        key = (county, grade, sex)
        returned = forced.get(key, np.zeros(0, dtype=np.int64))
        moves.add(returned, year, RESUMPTION, OUTSIDE, county, grade)
        need = target(county, grade, sex, year) - len(kept[key]) - len(returned)
        found = np.flatnonzero(inside & ~used & (origins != county))[: max(need, 0)]
        used[found] = True
        for source in np.unique(origins[found]).tolist():
            moves.add(persons[found][origins[found] == source], year, TRANSFER, source, county, grade)
        fresh = newcomers(county, grade, sex, need - len(found), year)
        moves.add(fresh, year, TRANSFER, OUTSIDE, county, grade)
        current[key] = np.concatenate([kept[key], returned, persons[found], fresh])
    for source in np.unique(origins[~used]).tolist():
        moves.add(persons[~used][origins[~used] == source], year, TRANSFER, source, OUTSIDE, grade)


def _preschool_and_entry(
    counties: int,
    year: int,
    previous: dict[tuple[int, int, int], IntArray],
    forced: dict[tuple[int, int, int], IntArray],
    target: TargetOf,
    newcomers: NewcomersOf,
    current: dict[tuple[int, int, int], IntArray],
    rng: np.random.Generator,
) -> None:
    """Kindergarten years and grade one; children who leave here move away without a register event."""
    none = np.zeros(0, dtype=np.int64)
    for county in range(counties):
        for grade in range(P1 + 1):
            for sex in (0, 1):
                key = (county, grade, sex)
                before = previous[county, grade - 1, sex] if grade else none
                returned = forced.get(key, none) if grade == P1 else none
                wanted = target(county, grade, sex, year)
                stay = rng.permutation(before)[: max(wanted - len(returned), 0)]
                fresh = newcomers(county, grade, sex, wanted - len(stay) - len(returned), year)
                current[key] = np.concatenate([stay, returned, fresh])


def _upper(
    counties: int,
    year: int,
    previous: dict[tuple[int, int, int], IntArray],
    home: IntArray,
    protected: set[int],
    target: TargetOf,
    newcomers: NewcomersOf,
    moves: Moves,
    current: dict[tuple[int, int, int], IntArray],
    rng: np.random.Generator,
) -> None:
    """Upper-secondary years by home county; every grade-9 pupil of last year graduates."""
    for sex in (0, 1):
        for county in range(counties):
            moves.add(previous[county, J3, sex], year, GRADUATION, county, OUTSIDE, J3)
            for last in (S1 + 2, V3):
                moves.add(previous[county, last, sex], year, GRADUATION, county, OUTSIDE, last)
        graduates = rng.permutation(np.concatenate([previous[c, J3, sex] for c in range(counties)]))
        for county in range(counties):
            mine = graduates[home[graduates] == county]
            for grade in (S1, V1):
                wanted = target(county, grade, sex, year)
                taken, mine = mine[:wanted], mine[wanted:]
                current[county, grade, sex] = np.concatenate(
                    [taken, newcomers(county, grade, sex, wanted - len(taken), year)]
                )
            for grade in (S1 + 1, S1 + 2, V1 + 1, V3):
                before = rng.permutation(previous[county, grade - 1, sex])
                wanted = target(county, grade, sex, year)
                moves.add(before[wanted:], year, WITHDRAWAL, county, OUTSIDE, grade)
                current[county, grade, sex] = np.concatenate(
                    [before[:wanted], newcomers(county, grade, sex, wanted - len(before), year)]
                )


def _as_roll(cells: dict[tuple[int, int, int], IntArray]) -> Roll:
    keys = sorted(cells)
    sizes = [len(cells[k]) for k in keys]
    return Roll(
        np.concatenate([cells[k] for k in keys]),
        np.repeat(np.array([k[0] for k in keys], dtype=np.int64), sizes),
        np.repeat(np.array([k[1] for k in keys], dtype=np.int64), sizes),
    )
