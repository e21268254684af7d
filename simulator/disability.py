"""Disabled children (E09), real numbers at every scale: who is enrolled where, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simulator.geography import Geography
from simulator.plan import YEARS, Plan
from simulator.pupils import P1, STAGE_OF_GRADE, Children, ages_on, birth_dates
from simulator.schools import SPECIAL, School

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

VISUAL, HEARING, SPEECH, PHYSICAL, INTELLECTUAL, MENTAL, MULTIPLE = range(1, 8)
TYPE_LABELS = {1: "视力", 2: "听力", 3: "言语", 4: "肢体", 5: "智力", 6: "精神", 7: "多重"}
COUNTED_TYPES = (VISUAL, HEARING, INTELLECTUAL)
OTHER_CHILDREN_PER_COUNTY = 15
INCLUSIVE_SHARE = 0.4
# In a small sample the disabled children (real number) may not fill the ordinary classes.
INCLUSIVE_LIMIT = 0.05
NEVER = 9999
SCHOOL_AGES = range(6, 15)
LAST_AGE_AT_SPECIAL_SCHOOL = 15
COHORT_AGES_2015 = range(-5, 18)


@dataclass
class Disabled:
    """Disabled children (parallel arrays).

    Attributes:
        child: index in ``Children`` for pupils of ordinary schools, else -1.
        birth, female, county: as usual; county of residence.
        kind: certificate type 1-7; component: first of the three counted types (0 when none).
        components: wording of the components of a multiple disability.
        grade: severity 1-4.
        enters: first school year on the roll of a special school (9999 never; 0 for pupils of ordinary schools).
        certified: False for pupils of special schools without a certificate (they are in no E09 file).
    """

    child: IntArray
    birth: NDArray[np.datetime64]
    female: IntArray
    county: IntArray
    kind: IntArray
    component: IntArray
    components: NDArray[np.object_]
    grade: IntArray
    enters: IntArray
    certified: BoolArray

    def at_special_school(self, year: int) -> BoolArray:
        """Return who is on the roll of a special school in ``year``."""
        age = ages_on(self.birth, year)
        return np.asarray((self.child < 0) & (self.enters <= year) & (age >= 6) & (age <= LAST_AGE_AT_SPECIAL_SCHOOL))


def build_disabled(
    geo: Geography, plan: Plan, children: Children, on_roll: IntArray, steady: BoolArray, seed: int
) -> Disabled:
    """Create the children and their enrollment so that the rate of the three counted types follows the plan."""
    rng = np.random.default_rng([seed, 51])
    age_2015 = ages_on(children.birth, YEARS[0])
    stage = np.where(on_roll >= 0, STAGE_OF_GRADE[np.maximum(on_roll, 0)], -1)
    compulsory = (stage == 1) | (stage == 2)
    eligible = steady & (children.back_on_roll == 0) & compulsory.any(axis=1)
    columns: dict[str, list[IntArray]] = {k: [] for k in ("child", "female", "county", "kind", "component", "enters")}
    births: list[NDArray[np.datetime64]] = []
    words: list[NDArray[np.object_]] = []
    for county in range(len(geo.counties)):
        mine = np.flatnonzero(eligible & (children.home == county))
        limit = int(INCLUSIVE_LIMIT * len(mine))
        per_age = _spread(int(plan.three_types[county]), len(SCHOOL_AGES))
        counts = [per_age[(a + 90) % len(per_age)] for a in COHORT_AGES_2015]
        child, birth = [], []
        for age, count in zip(COHORT_AGES_2015, counts, strict=True):
            pool = mine[(age_2015[mine] == age)]
            inside = min(round(INCLUSIVE_SHARE * count), limit // 9, len(pool))
            taken = rng.permutation(pool)[:inside] if inside > 0 else np.zeros(0, dtype=np.int64)
            child += [taken, np.full(count - len(taken), -1, dtype=np.int64)]
            birth += [
                children.birth[taken],
                birth_dates(rng, np.full(count - len(taken), age, dtype=np.int64), YEARS[0]),
            ]
        three = np.concatenate(child)
        three_birth = np.minimum(np.concatenate(birth), np.datetime64("2020-08-31"))
        enters = np.where(three >= 0, 0, NEVER)
        _enroll(enters, three_birth, plan.three_types_rate[county], rng)
        others = OTHER_CHILDREN_PER_COUNTY
        other_birth = birth_dates(rng, rng.integers(0, 15, size=others), YEARS[0])
        kind = rng.choice([VISUAL, HEARING, INTELLECTUAL, MULTIPLE], len(three), p=[0.13, 0.22, 0.57, 0.08]).astype(
            np.int64
        )
        component = np.where(kind == MULTIPLE, rng.choice(COUNTED_TYPES, len(three), p=[0.2, 0.3, 0.5]), kind).astype(
            np.int64
        )
        other_kind = rng.choice([SPEECH, PHYSICAL, MENTAL, MULTIPLE], others, p=[0.2, 0.5, 0.2, 0.1]).astype(np.int64)
        columns["child"] += [three, np.full(others, -1, dtype=np.int64)]
        births += [three_birth, other_birth]
        columns["female"] += [
            np.where(three >= 0, children.female[np.maximum(three, 0)], rng.integers(0, 2, size=len(three))),
            rng.integers(0, 2, size=others),
        ]
        columns["county"].append(np.full(len(three) + others, county, dtype=np.int64))
        columns["kind"] += [kind, other_kind]
        columns["component"] += [component, np.zeros(others, dtype=np.int64)]
        columns["enters"] += [enters, np.where(rng.random(others) < 0.6, 2012, NEVER)]
        words.append(_component_words(kind, component, rng))
        words.append(_component_words(other_kind, np.zeros(others, dtype=np.int64), rng))
    certified = np.ones(sum(len(b) for b in births), dtype=bool)
    extra = _uncertified(geo, plan, columns, births, rng)
    if extra:
        certified = np.r_[certified, np.zeros(extra, dtype=bool)]
        words.append(np.full(extra, None, dtype=object))
    size = len(certified)
    return Disabled(
        child=np.concatenate(columns["child"]).astype(np.int64),
        birth=np.concatenate(births).astype("datetime64[D]"),
        female=np.concatenate(columns["female"]).astype(np.int64),
        county=np.concatenate(columns["county"]).astype(np.int64),
        kind=np.concatenate(columns["kind"]).astype(np.int64),
        component=np.concatenate(columns["component"]).astype(np.int64),
        components=np.concatenate(words),
        grade=rng.integers(1, 5, size=size).astype(np.int64),
        enters=np.concatenate(columns["enters"]).astype(np.int64),
        certified=certified,
    )


def _spread(total: int, parts: int) -> list[int]:
    edges = [round(total * i / parts) for i in range(parts + 1)]
    return [b - a for a, b in pairwise(edges)]


def _enroll(
    enters: IntArray, birth: NDArray[np.datetime64], rates: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Let children enter special schools, year by year, until the planned share of those aged 6-14 is enrolled."""
    for y, year in enumerate(YEARS):
        age = ages_on(birth, year)
        aged = (age >= 6) & (age <= 14)
        wanted = round(float(rates[y]) * int(aged.sum()))
        missing = wanted - int((aged & (enters <= year)).sum())
        waiting = rng.permutation(np.flatnonzero(aged & (enters > year)))
        # Those who are already on the roll in 2015 came at the age of six or later.
        enters[waiting[: max(missing, 0)]] = year if y else 2012


def _component_words(kind: IntArray, component: IntArray, rng: np.random.Generator) -> NDArray[np.object_]:
    result = np.full(len(kind), None, dtype=object)
    for i in np.flatnonzero(kind == MULTIPLE).tolist():
        second = TYPE_LABELS[int(rng.choice([SPEECH, PHYSICAL, MENTAL]))]
        if component[i]:
            first = TYPE_LABELS[int(component[i])]
            result[i] = f"{first}、{second}" if rng.random() < 0.6 else f"{second}、{first}"
        else:
            result[i] = "言语、肢体"
    return result


def _uncertified(
    geo: Geography,
    plan: Plan,
    columns: dict[str, list[IntArray]],
    births: list[NDArray[np.datetime64]],
    rng: np.random.Generator,
) -> int:
    """Add pupils of special schools without a certificate where the planned number (scaled) asks for more."""
    all_births = np.concatenate(births)
    enters = np.concatenate(columns["enters"])
    present = []
    for y, year in enumerate(YEARS):
        age = ages_on(all_births, year)
        enrolled = int(((enters <= year) & (age >= 6) & (age <= LAST_AGE_AT_SPECIAL_SCHOOL)).sum())
        present.append(round(int(plan.special_pupils[y]) * plan.scale) - enrolled)
    total = max(0, max(present))
    if total == 0:
        return 0
    births.append(birth_dates(rng, np.tile(np.arange(1, 11), total // 10 + 1)[:total].astype(np.int64), YEARS[0]))
    columns["child"].append(np.full(total, -1, dtype=np.int64))
    columns["female"].append(rng.integers(0, 2, size=total))
    columns["county"].append(rng.integers(0, len(geo.counties), size=total))
    columns["kind"].append(np.full(total, INTELLECTUAL, dtype=np.int64))
    columns["component"].append(np.zeros(total, dtype=np.int64))
    columns["enters"].append(np.sort(rng.integers(2012, 2020, size=total)))
    return total


def special_seats(geo: Geography, schools: list[School], disabled: Disabled) -> dict[int, IntArray]:
    """Return by year the special school of each child (-1 when not there): own county, else own city, else 兴庆区."""
    seats: dict[int, IntArray] = {}
    special = [(i, s) for i, s in enumerate(schools) if SPECIAL in s.stages]
    last = np.full(len(disabled.birth), -1, dtype=np.int64)
    for year in YEARS:
        best = np.full(len(geo.counties), -1, dtype=np.int64)
        for c, county in enumerate(geo.counties):
            open_now = [(i, s) for i, s in special if s.is_open(year)]
            own = [i for i, s in open_now if s.county == c]
            near = [i for i, s in open_now if geo.counties[s.county].city_code == county.city_code]
            best[c] = (own or near or [special[0][0]])[0]
        there = disabled.at_special_school(year)
        last = np.where(there, np.where(last >= 0, last, best[disabled.county]), -1)
        seats[year] = last.copy()
    return seats


def special_grade(birth: NDArray[np.datetime64], year: int) -> IntArray:
    """Return the grade index (P1-J3) of pupils of special schools, by age."""
    return np.asarray(P1 + np.clip(ages_on(birth, year) - 6, 0, 8), dtype=np.int64)
