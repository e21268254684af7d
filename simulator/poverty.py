"""Registered-poor households and persons with yearly snapshots at 31 December."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.geography import Geography
from simulator.plan import HOUSEHOLD_SIZE, YEARS, Plan
from simulator.pupils import DEATH, GRADUATION, Children, ages_on

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

CHILD_SHARE_PER_AGE = 0.0133
EARLIER_EXIT_SHARE = 0.04
OLDEST_CHILD, YOUNGEST_CHILD = 17, -5
NOT_LISTED = 9999
DEAD_STILL_LISTED = 6
NEW_HOUSEHOLD_SHARE = 0.006

IN_POVERTY, NEW, RETURNED = range(3)


@dataclass
class Poor:
    """Registered-poor persons (parallel arrays by person) and their households.

    Attributes:
        child: index in ``Children`` or -1.
        birth, female: of every person.
        county: home county index (as of now).
        household: household index of origin.
        listed_from, listed_to: first and last snapshot year.
        is_adult: adults are not pupils.
        seq: position in the household (0 = head).
        village: village index by household.
        exit_year: by household; 9999 while poor at the end of 2020, 2014/2015 when exited before the plan.
        household_in: by year, the household identity of each person (splits, mergers and new heads give new ones).
        head_in: by year, whether the person heads that household.
        number_from: year from which a re-issued person number holds (9999 never).
        label: by household: ordinary, newly identified or returned while in poverty.
    """

    child: IntArray
    birth: NDArray[np.datetime64]
    female: IntArray
    county: IntArray
    household: IntArray
    listed_from: IntArray
    listed_to: IntArray
    is_adult: BoolArray
    seq: IntArray
    village: IntArray
    household_county: IntArray
    exit_year: IntArray
    label: IntArray
    household_in: dict[int, IntArray]
    head_in: dict[int, BoolArray]
    number_from: IntArray

    def present(self, year: int) -> BoolArray:
        """Return who is listed at the end of ``year``."""
        return np.asarray((self.listed_from <= year) & (self.listed_to >= year))


def roll_matrix(children: Children) -> IntArray:
    """Return [person, year] → grade index, -1 when on no roll."""
    grades = np.full((len(children.birth), len(YEARS)), -1, dtype=np.int64)
    for y, year in enumerate(YEARS):
        roll = children.rolls[year]
        grades[roll.person, y] = roll.grade
    return grades


def graduation_years(children: Children) -> IntArray:
    """Return the year of the first graduation by person (9999 = none)."""
    years = np.full(len(children.birth), NOT_LISTED, dtype=np.int64)
    kind = np.array(children.moves.kind, dtype=np.int64)
    picked = kind == GRADUATION
    np.minimum.at(
        years,
        np.array(children.moves.person, dtype=np.int64)[picked],
        np.array(children.moves.year, dtype=np.int64)[picked],
    )
    return years


def steady_children(children: Children, on_roll: IntArray, graduated: IntArray) -> BoolArray:
    """Return who is on a roll, or has graduated, in every year in which the child is aged 6-15."""
    steady = children.back_on_roll == 0
    kind = np.array(children.moves.kind, dtype=np.int64)
    steady[np.array(children.moves.person, dtype=np.int64)[kind == DEATH]] = False
    for y, year in enumerate(YEARS):
        age = ages_on(children.birth, year)
        steady &= (age < 6) | (age > 15) | (on_roll[:, y] >= 0) | (graduated <= year)
    return np.asarray(steady, dtype=bool)


def build_poor(geo: Geography, plan: Plan, children: Children, steady: BoolArray, seed: int) -> Poor:
    """Choose poor children among the steady pupils, add adults and infants, and let households leave poverty."""
    rng = np.random.default_rng([seed, 41])
    on_roll = roll_matrix(children)
    age_2015 = ages_on(children.birth, YEARS[0])
    kids: list[tuple[IntArray, IntArray, NDArray[np.datetime64], IntArray]] = []
    dead = np.array(sorted(_death_years(children)), dtype=np.int64)
    chosen_dead = rng.permutation(dead)[: DEAD_STILL_LISTED * 4] if len(dead) else dead
    chosen_dead = np.array(
        [p for p in chosen_dead if _steady_until_death(children, on_roll, int(p))][: DEAD_STILL_LISTED * 2],
        dtype=np.int64,
    )
    groups: dict[tuple[int, int], IntArray] = {}
    keys = children.home * 100 + (age_2015 + 40)
    order = np.argsort(keys, kind="stable")
    for key, part in zip(*_runs(keys[order], order), strict=True):
        groups[key // 100, key % 100 - 40] = part
    empty = np.zeros(0, dtype=np.int64)
    for county in range(len(geo.counties)):
        per_age = max(1, round(CHILD_SHARE_PER_AGE * int(plan.poor_stock[county])))
        lost = np.flatnonzero((children.back_on_roll > 0) & (children.home == county))
        kids.append((lost, np.full(len(lost), county), children.birth[lost], children.female[lost]))
        late = chosen_dead[children.home[chosen_dead] == county]
        kids.append((late, np.full(len(late), county), children.birth[late], children.female[late]))
        for age in range(OLDEST_CHILD, YOUNGEST_CHILD - 1, -1):
            pool = groups.get((county, age), empty)
            pool = pool[steady[pool]]
            if age <= 0:
                pool = pool[on_roll[pool, 5] >= 0]
                wanted = round(per_age * 0.82) if age >= -2 else 0
            else:
                wanted = per_age
            taken = rng.permutation(pool)[:wanted]
            kids.append((taken, np.full(len(taken), county), children.birth[taken], children.female[taken]))
            if age <= 0:
                extra = per_age - len(taken)
                start = np.datetime64(f"{2015 - age}-08-31")
                birth = start - rng.integers(0, 360, size=extra)
                birth = np.minimum(birth, np.datetime64("2020-12-15"))
                kids.append(
                    (
                        np.full(extra, -1, dtype=np.int64),
                        np.full(extra, county),
                        birth.astype("datetime64[D]"),
                        rng.integers(0, 2, size=extra),
                    )
                )
    child = np.concatenate([k[0] for k in kids])
    county_of = np.concatenate([k[1] for k in kids]).astype(np.int64)
    birth_of = np.concatenate([k[2] for k in kids])
    female_of = np.concatenate([k[3] for k in kids]).astype(np.int64)

    is_young = birth_of <= np.datetime64("2015-12-31")
    household: list[IntArray] = []
    parts: list[tuple[IntArray, NDArray[np.datetime64], IntArray, BoolArray]] = []
    villages, household_county, earlier = [], [], []
    next_household = 0
    poor_village = np.array([v.is_poor for v in geo.villages])
    rural = np.array([v.urban_rural in {"220", "210", "122"} for v in geo.villages])
    for county in range(len(geo.counties)):
        mine = np.flatnonzero(county_of == county)
        stock = int(plan.poor_stock[county])
        adults = max(stock - int(is_young[mine].sum()), 1)
        count = max(1, min(round(stock / HOUSEHOLD_SIZE), adults))
        before = max(1, round(count * EARLIER_EXIT_SHARE))
        options = np.flatnonzero((geo.village_county == county) & rural)
        weight = np.where(poor_village[options], 3.0, 1.0)
        villages.append(options[rng.choice(len(options), count + before, p=weight / weight.sum())])
        household_county.append(np.full(count + before, county, dtype=np.int64))
        earlier.append(np.r_[np.zeros(count, dtype=bool), np.ones(before, dtype=bool)])
        home = np.r_[np.arange(count), rng.integers(0, count, size=adults - count)] + next_household
        away = np.repeat(np.arange(count, count + before), 3) + next_household
        household.append(np.concatenate([home, away, rng.integers(0, count, size=len(mine)) + next_household]))
        grown = len(home) + len(away)
        head = np.zeros(grown, dtype=bool)
        head[np.unique(np.concatenate([home, away]), return_index=True)[1]] = True
        years_old = np.where(head, rng.integers(32, 66, size=grown), rng.integers(19, 84, size=grown))
        birth = np.datetime64("2015-06-30") - years_old * 365 - rng.integers(0, 365, size=grown)
        parts.append((np.full(grown, -1, dtype=np.int64), birth, rng.integers(0, 2, size=grown) * ~head, ~head))
        parts.append((child[mine], birth_of[mine], female_of[mine], np.ones(len(mine), dtype=bool)))
        next_household += count + before

    all_child = np.concatenate([p[0] for p in parts])
    all_birth = np.concatenate([p[1] for p in parts]).astype("datetime64[D]")
    all_female = np.concatenate([p[2] for p in parts]).astype(np.int64)
    not_head = np.concatenate([p[3] for p in parts]).astype(bool)
    all_household = np.concatenate(household)
    home_county = np.concatenate(household_county)
    is_adult = (all_child < 0) & (all_birth < np.datetime64("1997-09-01"))

    rank = np.lexsort((np.arange(len(all_child)), ~is_adult, not_head, all_household))
    seq = np.empty(len(all_child), dtype=np.int64)
    ordered = all_household[rank]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    seq[rank] = np.arange(len(rank)) - np.repeat(starts, np.diff(np.r_[starts, len(rank)]))

    listed_from = np.maximum(all_birth.astype("datetime64[Y]").astype(np.int64) + 1970, YEARS[0])
    leaves = is_adult & (seq > 0) & (rng.random(len(seq)) < 0.05)
    listed_to = np.where(leaves, rng.integers(2015, 2020, size=len(seq)), NOT_LISTED)
    # The dead child is still on the list of the year of death (the list is cleaned a year later).
    died = {int(p): y for p, y in _death_years(children).items()}
    for i in np.flatnonzero(np.isin(all_child, chosen_dead) & (all_child >= 0)).tolist():
        listed_to[i] = died[int(all_child[i])]

    poor = Poor(
        child=all_child,
        birth=all_birth,
        female=all_female,
        county=home_county[all_household],
        household=all_household,
        listed_from=listed_from,
        listed_to=listed_to,
        is_adult=is_adult,
        seq=seq,
        village=np.concatenate(villages),
        household_county=home_county,
        exit_year=np.zeros(next_household, dtype=np.int64),
        label=np.zeros(next_household, dtype=np.int64),
        household_in={},
        head_in={},
        number_from=np.where(rng.random(len(seq)) < 0.015, rng.integers(2016, 2021, size=len(seq)), NOT_LISTED),
    )
    _leave_poverty(poor, plan, np.concatenate(earlier), rng)
    _household_history(poor, rng)
    return poor


def _runs(keys: IntArray, values: IntArray) -> tuple[list[int], list[IntArray]]:
    if not len(keys):
        return [], []
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return keys[starts].tolist(), np.split(values, starts[1:])


def _death_years(children: Children) -> dict[int, int]:
    moves = children.moves
    return {p: y for p, y, k in zip(moves.person, moves.year, moves.kind, strict=True) if k == DEATH}


def _steady_until_death(children: Children, on_roll: IntArray, person: int) -> bool:
    died = _death_years(children)[person]
    for y, year in enumerate(YEARS):
        age = int(ages_on(children.birth[person : person + 1], year)[0])
        if year < died and 6 <= age <= 15 and on_roll[person, y] < 0:
            return False
    return int(ages_on(children.birth[person : person + 1], died)[0]) <= 15


def _leave_poverty(poor: Poor, plan: Plan, earlier: BoolArray, rng: np.random.Generator) -> None:
    """Give each household its exit year so that the persons still poor follow the plan within half a household."""
    exit_year = np.full(len(poor.exit_year), NOT_LISTED, dtype=np.int64)
    exit_year[earlier] = rng.choice([2014, 2015], int(earlier.sum()))
    households = len(exit_year)
    place = rng.permutation(households)
    for y, year in enumerate(YEARS):
        if y == 0:
            continue
        sizes = np.bincount(poor.household[poor.present(year)], minlength=households)
        for county in range(plan.poor_remaining.shape[0]):
            mine = np.flatnonzero((poor.household_county == county) & (exit_year == NOT_LISTED))
            mine = mine[np.argsort(place[mine], kind="stable")]
            total = np.cumsum(sizes[mine])
            leaving = total - sizes[mine] / 2 >= plan.poor_remaining[county, y]
            exit_year[mine[leaving]] = year
    poor.exit_year[:] = exit_year
    draw = rng.random(households)
    poor.label[:] = np.where(draw < 0.01, NEW, np.where(draw < 0.015, RETURNED, IN_POVERTY))


def _household_history(poor: Poor, rng: np.random.Generator) -> None:
    """Split, merge and renumber some households over the years."""
    current = poor.household.copy()
    head = poor.seq == 0
    fresh = len(poor.exit_year)
    poor.household_in[YEARS[0]], poor.head_in[YEARS[0]] = current.copy(), head.copy()
    touched: set[int] = set()
    members: dict[int, list[int]] = {}
    for person in np.argsort(poor.household, kind="stable").tolist():
        members.setdefault(int(poor.household[person]), []).append(person)
    candidates = rng.permutation(len(poor.exit_year)).tolist()
    per_year = max(3, round(NEW_HOUSEHOLD_SHARE * len(candidates)))
    for year in YEARS[1:]:
        done = {"split": 0, "merge": 0, "head": 0}
        quota = {
            "split": max(1, per_year // 3),
            "merge": max(1, per_year // 6),
            "head": max(1, per_year // 2),
        }
        while candidates and any(done[k] < quota[k] for k in done):
            house = candidates.pop()
            if house in touched:
                continue
            people = [p for p in members[house] if poor.listed_from[p] <= year <= poor.listed_to[p]]
            adults = [p for p in people if poor.is_adult[p] and poor.listed_to[p] == NOT_LISTED]
            if len(adults) < 2:
                continue
            touched.add(house)
            old_head = next((p for p in people if head[p]), None)
            if old_head is None:
                continue
            second = next(p for p in adults if p != old_head)
            if done["head"] < quota["head"]:
                # The head dies: a new head, and the system gives the household a new number.
                poor.listed_to[old_head] = year - 1
                head[second] = True
                current[members[house]] = fresh
                fresh += 1
                done["head"] += 1
            elif done["split"] < quota["split"] and len(people) >= 4:
                leaving = [second, *[p for p in people if not poor.is_adult[p]][:1]]
                current[leaving] = fresh
                head[second] = True
                fresh += 1
                done["split"] += 1
            elif done["merge"] < quota["merge"]:
                other = next(
                    (
                        h
                        for h in candidates[-400:]
                        if h not in touched
                        and poor.household_county[h] == poor.household_county[house]
                        and poor.exit_year[h] == poor.exit_year[house]
                        and poor.label[h] == poor.label[house]
                    ),
                    None,
                )
                if other is None:
                    continue
                touched.add(other)
                poor.village[other] = poor.village[house]
                current[members[other]] = house
                head[[p for p in members[other] if head[p]]] = False
                done["merge"] += 1
        poor.household_in[year], poor.head_in[year] = current.copy(), head.copy()


def school_status(grades: IntArray, ages: IntArray) -> NDArray[np.object_]:
    """Return the wording of 在校生状况 for grade index (or -1) and age."""
    words = np.array(
        ["学前教育"] * 4
        + ["小学"] * 6
        + ["七年级", "八年级", "九年级", "高中一年级", "高中二年级", "高中三年级"]
        + ["中职"] * 3,
        dtype=object,
    )
    result = np.where(grades >= 0, words[np.maximum(grades, 0)], np.where(ages < 6, "学龄前儿童", "非在校生"))
    return np.asarray(result, dtype=object)
