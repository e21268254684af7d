"""Schools with their life: openings, mergers, category changes, renamings; and which pupil sits in which school."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from simulator.geography import Geography
from simulator.plan import CATEGORY_CHANGES, SPECIAL_SCHOOLS, YEARS, Plan
from simulator.pupils import P1, STAGE_OF_GRADE, Roll

IntArray = NDArray[np.int64]

FIRST_SERIAL = 900_000
NEVER = 9999
SPECIAL = 5
RENAMINGS = 12
# kind → category digits, type code (JY/T 1001), stages offered, wording
KINDS: dict[str, tuple[str, str, tuple[int, ...], str]] = {
    "kindergarten": ("11", "111", (0,), "幼儿园"),
    "primary": ("21", "211", (1,), "小学"),
    "point": ("21", "218", (1,), "教学点"),
    "nine_year": ("31", "312", (1, 2), "九年一贯制学校"),
    "junior": ("31", "311", (2,), "初级中学"),
    "complete": ("34", "341", (2, 3), "中学"),
    "senior": ("34", "342", (3,), "高级中学"),
    "vocational": ("36", "365", (4,), "职业技术学校"),
    "special": ("51", "514", (SPECIAL,), "特殊教育学校"),
}
SPECIAL_TYPES = ("511", "512", "513", "514")
# counties of the 14 special schools in the order in which they opened
SPECIAL_COUNTIES = ("640104", "640106", "640202", "640302", "640402", "640502", "640422", "640522", "640324", "640181",
                    "640521", "640303", "640425", "640323")  # fmt: skip
POINT_LAST_GRADE = P1 + 2


@dataclass
class School:
    """One school identity (a new code is a new school)."""

    code: str
    name: str
    county: int
    kind: str
    type_code: str
    village: int
    weight: float
    stages: tuple[int, ...]
    opens: int = 0
    closes: int = NEVER
    successor: int = -1
    predecessors: tuple[int, ...] = ()
    renamed_in: int = NEVER
    new_name: str = ""
    attached: str | None = None
    central: int = -1
    owner: str = "831"
    is_ethnic: bool = False

    def is_open(self, year: int) -> bool:
        """Tell whether the school stands in the snapshot of ``year``."""
        return self.opens <= year < self.closes

    def name_in(self, year: int) -> str:
        """Return the name used in the snapshot of ``year``."""
        return self.new_name if year >= self.renamed_in else self.name


_NAMES = "兴盛和平光明朝阳新华民族团结育才启明春蕾向阳红旗建设友谊文昌永康泰和景园书香崇文致远"


def build_schools(geo: Geography, plan: Plan, seed: int) -> list[School]:
    """Build the roster of all schools that exist at any time from 2015 to 2020."""
    rng = np.random.default_rng([seed, 31])
    schools: list[School] = []
    villages_of = [np.flatnonzero(geo.village_county == c) for c in range(len(geo.counties))]
    # A school stands where the code is stable, so that its location needs no history of its own.
    stable = np.array([len(v.codes) == 1 for v in geo.villages])
    villages_of = [v[stable[v]] for v in villages_of]
    used: dict[str, int] = {}

    def add(county: int, kind: str, opens: int = 0, weight: float | None = None) -> int:
        category, type_code, stages, wording = KINDS[kind]
        place = geo.counties[county].name
        start = int(rng.integers(len(_NAMES) // 2)) * 2
        base = f"{place}{_NAMES[start : start + 2]}{wording}"
        used[base] = used.get(base, 0) + 1
        name = base if used[base] == 1 else f"{place}{_NAMES[start : start + 2]}第{used[base]}{wording}"
        size = float(rng.lognormal(0, 0.5)) if weight is None else weight
        if kind == "nine_year":
            size *= 0.5
        if kind == "point":
            size *= 0.12
        school = School(
            code=f"{category}64{FIRST_SERIAL + len(schools):06d}",
            name=name,
            county=county,
            kind=kind,
            type_code=type_code,
            village=int(rng.choice(villages_of[county])),
            weight=size,
            stages=stages,
            opens=opens,
            owner="999" if kind == "kindergarten" and rng.random() < 0.5 else "831",
            is_ethnic=bool(rng.random() < (0.25 if geo.counties[county].is_plan else 0.08)),
        )
        if kind == "primary" and rng.random() < (0.35 if geo.counties[county].is_plan else 0.1):
            school.stages = (0, 1)
            school.attached = "119"
        schools.append(school)
        return len(schools) - 1

    for kind, counts in plan.schools.items():
        for county in range(len(geo.counties)):
            for _ in range(int(counts[county, 0])):
                add(county, kind)
            for y, year in enumerate(YEARS[1:], start=1):
                for _ in range(int(counts[county, y] - counts[county, y - 1])):
                    add(county, kind, opens=year)
    for position, code in enumerate(SPECIAL_COUNTIES):
        opens = next(y for y in YEARS if SPECIAL_SCHOOLS[y] > position)
        index = add(geo.index(code), "special", opens=0 if opens == YEARS[0] else opens, weight=1.0)
        schools[index].type_code = SPECIAL_TYPES[min(position, 3)] if position < 3 else "514"

    first_primary = {c: [i for i, s in enumerate(schools) if s.county == c and s.kind == "primary"] for c in range(22)}
    for i in range(CATEGORY_CHANGES):
        county = (5 + 3 * i) % 22
        old = first_primary[county][-1]
        year = YEARS[1:][i % 5]
        new = add(county, "nine_year", opens=year, weight=schools[old].weight * 2)
        schools[new].village = schools[old].village
        schools[new].predecessors = (old,)
        schools[old].closes, schools[old].successor = year, new
    for i in range(plan.mergers):
        county = int(rng.permutation(22)[0])
        kind = "point" if i % 2 else "primary"
        year = YEARS[1:][i % 5]
        small = add(county, kind, weight=0.25)
        goal = first_primary[county][0]
        schools[small].closes, schools[small].successor = year, goal
        schools[goal].predecessors = (*schools[goal].predecessors, small)
    for index in rng.choice(
        [i for i, s in enumerate(schools) if s.opens == 0 and s.closes == NEVER and s.kind != "special"],
        RENAMINGS,
        replace=False,
    ):
        schools[index].renamed_in = int(rng.choice(YEARS[1:]))
        schools[index].new_name = schools[index].name.replace(
            geo.counties[schools[index].county].name, geo.counties[schools[index].county].name + "实验", 1
        )
    for school in schools:
        if school.kind == "point":
            school.central = first_primary[school.county][0]
    return schools


def change_of(schools: list[School], index: int, year: int) -> tuple[str | None, date | None, str | None]:
    """Return (change type digit, change date, predecessor codes) that the snapshot of ``year`` reports."""
    school = schools[index]
    merged = [p for p in school.predecessors if schools[p].closes == year]
    if school.opens == year and merged:
        return "6", date(year, 8, 20), "、".join(schools[p].code for p in merged)
    if merged:
        return "3", date(year, 8, 15), "、".join(schools[p].code for p in merged)
    if school.opens == year:
        return "1", date(year, 8, 25), None
    if school.renamed_in == year:
        return "2", date(year, 7, 10), None
    return None, None, None


def assign_schools(
    schools: list[School],
    rolls: dict[int, Roll],
    school_county: dict[int, IntArray],
    persons: int,
    seed: int,
) -> tuple[dict[int, IntArray], list[tuple[int, int, int, int]]]:
    """Seat every pupil of every year.

    Args:
        schools: the roster.
        rolls: yearly rolls.
        school_county: county index of the school, parallel to each roll.
        persons: number of persons.
        seed: random seed.

    Returns:
        School index parallel to each roll, and the moves inside a county as (person, year, old school, new school).
    """
    rng = np.random.default_rng([seed, 32])
    last = np.full(persons, -1, dtype=np.int64)
    last_stage = np.full(persons, -1, dtype=np.int64)
    weights = np.array([s.weight for s in schools])
    county_of = np.array([s.county for s in schools])
    is_point = np.array([s.kind == "point" for s in schools])
    successor = np.array([s.successor for s in schools])
    offers = np.zeros((len(schools), 6), dtype=bool)
    for i, s in enumerate(schools):
        offers[i, list(s.stages)] = True
    attached = np.array([s.attached is not None for s in schools])
    seats: dict[int, IntArray] = {}
    inner: list[tuple[int, int, int, int]] = []
    for year, roll in sorted(rolls.items()):
        is_open = np.array([s.is_open(year) for s in schools])
        stage = STAGE_OF_GRADE[roll.grade]
        county = school_county[year]
        seat = last[roll.person].copy()
        gone = (seat >= 0) & ~is_open[seat]
        seat[gone] = successor[seat[gone]]
        high = roll.grade > POINT_LAST_GRADE
        valid = (seat >= 0) & is_open[seat] & offers[seat, stage] & (county_of[seat] == county)
        valid &= ~(is_point[seat] & high)
        # Upper-secondary pupils and children who start a new stage choose anew, except inside one nine-year school.
        fresh_stage = last_stage[roll.person] != stage
        valid &= ~fresh_stage | (rng.random(len(seat)) < 0.8)
        restless = valid & ~fresh_stage & ((stage == 1) | (stage == 2)) & (rng.random(len(seat)) < 0.006)
        before = seat.copy()
        draw = ~valid | restless
        for c in range(22):
            for st in range(5):
                for part in (False, True):
                    who = np.flatnonzero(draw & (county == c) & (stage == st) & (high == part))
                    if not len(who):
                        continue
                    options = np.flatnonzero((county_of == c) & is_open & offers[:, st] & ~(is_point & part))
                    w = weights[options] * np.where(attached[options] & (st == 0), 0.35, 1.0)
                    # Every open school gets somebody before chance decides the rest.
                    seat[who] = options[rng.choice(len(options), len(who), p=w / w.sum())]
                    if year == YEARS[0] and len(who) >= len(options):
                        seat[who[: len(options)]] = options
        for k in np.flatnonzero(restless & (seat != before)).tolist():
            inner.append((int(roll.person[k]), year, int(before[k]), int(seat[k])))
        last[roll.person] = seat
        last_stage[roll.person] = stage
        seats[year] = seat
    return seats, inner
