"""Stage A: the integer plan of counts, calibrated to public figures at scale 1 and scaled without losing totals.

The anchors are published figures (education bulletins and news of Ningxia 2015-2020, the census of 2020, the poverty
command's year-end numbers). Splits by county and the years between two anchors are invented; README and the
calibration test say which is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from simulator.geography import Geography

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

YEARS = tuple(range(2015, 2021))
FIRST_HISTORY = 2007
HISTORY_YEARS = tuple(range(FIRST_HISTORY, 2021))
FIRST_COHORT = 1999
AGES = 101
MALE_SHARE = 0.515
HAIR_RETENTION_COUNTY = "640423"
HAIR_PRESCHOOL_COUNTY = "640424"
# With fewer than 71 entrants no fraction between 0.929 and 0.93 exists that still rounds to 93.0.
HAIR_MIN_ENTRANTS = 71

# share of the children of the plan counties / of the others, by county (invented, shaped by the 2020 census)
CHILD_SHARE_PLAN: Mapping[str, float] = {
    "640303": 0.087, "640323": 0.045, "640324": 0.150, "640402": 0.205, "640422": 0.165,
    "640423": 0.055, "640424": 0.043, "640425": 0.080, "640522": 0.170,
}  # fmt: skip
CHILD_SHARE_OTHER: Mapping[str, float] = {
    "640104": 0.16, "640105": 0.09, "640106": 0.12, "640121": 0.075, "640122": 0.08, "640181": 0.075, "640202": 0.065,
    "640205": 0.045, "640221": 0.065, "640302": 0.095, "640381": 0.05, "640502": 0.085, "640521": 0.075,
}  # fmt: skip
# end-2020 resident population in ten thousands: published for Wuzhong, Guyuan and Zhongwei; for the two other cities
# the split is invented
RESIDENT_2020: Mapping[str, float] = {
    "640104": 80.9, "640105": 47.0, "640106": 64.8, "640121": 32.1, "640122": 34.1, "640181": 27.0, "640202": 30.0,
    "640205": 18.3, "640221": 26.8, "640302": 46.12, "640303": 19.78, "640323": 15.94, "640324": 32.11, "640381": 24.45,
    "640402": 47.13, "640422": 31.58, "640423": 10.94, "640424": 8.50, "640425": 16.06, "640502": 40.02,
    "640521": 33.43, "640522": 33.35,
}  # fmt: skip
# registered ÷ resident in 2020: published for Wuzhong and Zhongwei, invented elsewhere
REGISTERED_RATIO: Mapping[str, float] = {
    "640104": 0.70, "640105": 0.62, "640106": 0.58, "640121": 0.83, "640122": 0.80, "640181": 0.92, "640202": 0.90,
    "640205": 0.98, "640221": 1.10, "640302": 41.63 / 46.12, "640303": 17.63 / 19.78, "640323": 17.28 / 15.94,
    "640324": 38.55 / 32.11, "640381": 27.64 / 24.45, "640402": 1.02, "640422": 1.42, "640423": 1.48, "640424": 1.36,
    "640425": 1.46, "640502": 41.7 / 40.02, "640521": 34.97 / 33.43, "640522": 45.47 / 33.35,
}  # fmt: skip
CENSUS_2020: Mapping[str, int] = {
    "6401": 2_859_074, "6402": 751_389, "6403": 1_382_713, "6404": 1_142_142, "6405": 1_067_336,
}  # fmt: skip
# annual estimates 2015 and 2019 (city totals; the region, Yinchuan and Guyuan 2019 and Zhongwei 2015 are published)
ANNUAL_2015: Mapping[str, float] = {
    "6401": 216.41,
    "6402": 78.76,
    "6403": 137.24,
    "6404": 121.31,
    "6405": 114.16,
}
ANNUAL_2019: Mapping[str, float] = {
    "6401": 229.31,
    "6402": 80.57,
    "6403": 142.27,
    "6404": 125.05,
    "6405": 117.46,
}
BACKCAST_2015: Mapping[str, float] = {
    "6401": 245.8,
    "6402": 75.5,
    "6403": 135.5,
    "6404": 118.5,
    "6405": 108.68,
}

AGED_3_5 = dict(zip(YEARS, (271_800, 273_000, 276_000, 279_000, 280_500, 289_270), strict=True))
AGED_3_5_PLAN_SHARE = dict(zip(YEARS, (0.368, 0.368, 0.368, 0.368, 0.368, 0.322), strict=True))
AGED_15_17 = dict(zip(YEARS, (276_000, 277_500, 279_000, 280_500, 282_000, 283_500), strict=True))
AGED_15_17_PLAN_SHARE = 0.37
PRESCHOOL_REGION = dict(zip(YEARS, (0.71, 0.74, 0.78, 0.82, 0.86, 0.885), strict=True))
PRESCHOOL_PLAN = dict(zip(YEARS, (0.57, 0.61, 0.655, 0.704, 0.74, 0.78), strict=True))
PRESCHOOL_OFFSET: Mapping[str, float] = {
    "640303": -0.035, "640323": 0.09, "640324": -0.02, "640402": 0.06, "640422": -0.04, "640423": 0.08,
    "640424": -0.008, "640425": 0.05, "640522": -0.07,
    "640104": 0.10, "640105": 0.06, "640106": 0.08, "640121": -0.02, "640122": -0.01, "640181": -0.03, "640202": 0.04,
    "640205": 0.0, "640221": -0.05, "640302": 0.0, "640381": -0.04, "640502": -0.08, "640521": -0.09,
}  # fmt: skip
GRADE_ONE = {
    **dict.fromkeys(range(1999, 2005), 109_000), 2005: 108_500, 2006: 108_000, 2007: 106_000, 2008: 104_500,
    2009: 102_500, 2010: 100_500, 2011: 98_500, 2012: 97_500, 2013: 97_000, 2014: 96_500, 2015: 96_000, 2016: 96_000,
    2017: 96_400, 2018: 96_735, 2019: 98_000, 2020: 100_500,
}  # fmt: skip
RETENTION_PLAN = dict(zip(YEARS, (0.865, 0.88, 0.896, 0.912, 0.923, 0.934), strict=True))
RETENTION_OTHER = dict(zip(YEARS, (0.90, 0.912, 0.922, 0.933, 0.942, 0.95), strict=True))
RETENTION_OFFSET: Mapping[str, float] = {
    "640303": 0.04, "640323": 0.02, "640324": -0.01, "640402": 0.02, "640422": -0.015, "640423": -0.0045,
    "640424": -0.01, "640425": -0.005, "640522": -0.03,
    "640104": 0.03, "640105": 0.02, "640106": 0.07, "640121": 0.0, "640122": 0.01, "640181": -0.01, "640202": 0.01,
    "640205": -0.05, "640221": -0.05, "640302": 0.01, "640381": -0.04, "640502": -0.03, "640521": -0.02,
}  # fmt: skip
# share of the nine-year loss that has happened by grade 1..9
LOSS_PATH = (0.0, 0.06, 0.12, 0.18, 0.25, 0.33, 0.55, 0.78, 1.0)
UPPER_PLAN = dict(zip(YEARS, (0.80, 0.83, 0.86, 0.885, 0.904, 0.92), strict=True))
UPPER_REGION = dict(zip(YEARS, (0.91, 0.915, 0.921, 0.928, 0.935, 0.942), strict=True))
UPPER_OFFSET: Mapping[str, float] = {
    "640303": -0.03, "640323": 0.05, "640324": -0.03, "640402": 0.04, "640422": -0.01, "640423": 0.05, "640424": -0.02,
    "640425": 0.03, "640522": -0.04,
}  # fmt: skip
SENIOR_SHARE = 0.64
THREE_TYPES_PLAN = dict(zip(YEARS, (0.72, 0.76, 0.80, 0.84, 0.87, 0.90), strict=True))
THREE_TYPES_OTHER = dict(zip(YEARS, (0.76, 0.80, 0.83, 0.86, 0.89, 0.92), strict=True))
SPECIAL_PUPILS = dict(zip(YEARS, (4_300, 4_900, 5_450, 6_004, 6_976, 7_300), strict=True))
SPECIAL_SCHOOLS = dict(zip(YEARS, (11, 12, 12, 13, 14, 14), strict=True))
POOR_STOCK = 581_200
POOR_REMAINING = dict(zip(YEARS, (581_200, 380_000, 238_900, 121_000, 18_800, 0), strict=True))
POOR_PLAN_SHARE = 192_800 / 238_900
POOR_WEIGHT: Mapping[str, float] = {
    "640422": 0.19, "640522": 0.17, "640402": 0.15, "640324": 0.15, "640425": 0.09, "640303": 0.08, "640423": 0.07,
    "640424": 0.05, "640323": 0.05,
}  # fmt: skip
HOUSEHOLD_SIZE = 4.2
NOT_ON_ROLL = dict(zip(YEARS, (2_900, 2_100, 1_200, 500, 60, 0), strict=True))
NOT_ON_ROLL_PLAN_SHARE = 0.88
THREE_TYPE_CHILDREN_PER_PLAN_COUNTY = 70
THREE_TYPE_CHILDREN_PER_OTHER_COUNTY = 45
SCHOOLS_2015: Mapping[str, int] = {
    "kindergarten": 788, "primary": 1740, "point": 250, "nine_year": 30, "junior": 205, "complete": 20, "senior": 41,
    "vocational": 33,
}  # fmt: skip
SCHOOLS_2020: Mapping[str, int] = {**SCHOOLS_2015, "kindergarten": 1464}
SCHOOL_FLOOR: Mapping[str, int] = {
    "kindergarten": 2, "primary": 3, "point": 1, "nine_year": 1, "junior": 1, "complete": 0, "senior": 1,
    "vocational": 1,
}  # fmt: skip
MERGERS = 40
CATEGORY_CHANGES = 8


@dataclass(frozen=True)
class Plan:
    """Counts at one scale; first axis of every array is the county index.

    Attributes:
        scale: fraction of the real province.
        population: (basis, vintage, year) → persons [county, age 0-100, sex 0 male / 1 female].
        preschool: children [county, year, PRE0-PRE3, sex] in ``YEARS`` order.
        compulsory: pupils [county, year 2007-2020, grade 1-9, sex].
        transfers_in, transfers_out, deaths, dropouts: flows into/out of each compulsory cell in the year before.
        upper: pupils by home county [county, year, S1 S2 S3 V1 V2 V3, sex].
        poor_stock: registered poor persons at the end of 2015 [county].
        poor_remaining: persons still poor at year end [county, year].
        not_on_roll: registered-poor children aged 6-15 on no roll [county, year].
        three_types: disabled children of the three counted types aged 6-14, real number [county].
        three_types_rate: planned enrollment rate of those children [county, year].
        special_pupils: pupils in special education [year].
        schools: number of schools [county, year] by kind.
        mergers: school mergers to happen in 2016-2020.
    """

    scale: float
    population: dict[tuple[str, str, int], IntArray]
    preschool: IntArray
    compulsory: IntArray
    transfers_in: IntArray
    transfers_out: IntArray
    deaths: IntArray
    dropouts: IntArray
    upper: IntArray
    poor_stock: IntArray
    poor_remaining: IntArray
    not_on_roll: IntArray
    three_types: IntArray
    three_types_rate: FloatArray
    special_pupils: IntArray
    schools: dict[str, IntArray]
    mergers: int


def apportion(weights: FloatArray, total: int) -> IntArray:
    """Split ``total`` by the largest remainder (Hamilton's method); the result has the shape of ``weights``.

    Raises:
        ValueError: the weights do not have a positive sum while there is something to split.
    """
    flat = weights.ravel().astype(float)
    if total == 0:
        return np.zeros(weights.shape, dtype=np.int64)
    if flat.sum() <= 0:
        raise ValueError("cannot split a total over weights without a positive sum")
    exact = flat / flat.sum() * total
    floor = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(floor.sum())
    order = np.argsort(-(exact - floor), kind="stable")
    floor[order[:left]] += 1
    return np.asarray(floor.reshape(weights.shape), dtype=np.int64)


def cumulative_round(values: FloatArray) -> IntArray:
    """Round so that every running total is right within one half (error diffusion in memory order)."""
    edges = np.floor(np.cumsum(values.ravel()) + 0.5)
    return np.asarray(np.diff(edges, prepend=0.0).astype(np.int64).reshape(values.shape), dtype=np.int64)


def just_below(target: Fraction, denominator: int) -> int:
    """Return the largest numerator whose ratio is still below ``target``."""
    return ceil(target * denominator) - 1


def _vector(geo: Geography, table: Mapping[str, float], default: float = 0.0) -> FloatArray:
    return np.array([table.get(c.code, default) for c in geo.counties])


def _shares(geo: Geography, plan_share: float, other: FloatArray | None = None) -> FloatArray:
    inside = _vector(geo, CHILD_SHARE_PLAN)
    outside = _vector(geo, CHILD_SHARE_OTHER) if other is None else other
    shares = plan_share * inside / inside.sum() + (1 - plan_share) * outside / outside.sum()
    return np.asarray(shares, dtype=np.float64)


def _spread(total: int, base: IntArray, wanted: FloatArray, fixed: NDArray[np.bool_], cap: float) -> IntArray:
    """Fix the pooled sum: shift the wanted ratios of the free counties equally until the numerators add up."""
    free = ~fixed
    numerators = np.zeros(len(base), dtype=np.int64)
    numerators[fixed] = np.rint(wanted[fixed]).astype(np.int64)
    rest = total - int(numerators.sum())
    ratios = np.clip(wanted[free], 0.05, cap)
    for _ in range(60):
        gap = rest - float((ratios * base[free]).sum())
        ratios = np.clip(ratios + gap / max(float(base[free].sum()), 1.0), 0.05, cap)
    numerators[free] = apportion(np.maximum(ratios * base[free], 1e-6), rest)
    return numerators


def _population(geo: Geography, scale: float) -> dict[tuple[str, str, int], IntArray]:
    cities = np.array([c.city_code for c in geo.counties])
    resident_2020 = _vector(geo, RESIDENT_2020)
    within = resident_2020 / np.array([resident_2020[cities == c].sum() for c in cities])
    ratio = _vector(geo, REGISTERED_RATIO)

    def totals(by_city: Mapping[str, float]) -> FloatArray:
        return np.asarray(within * np.array([by_city[c] for c in cities]), dtype=np.float64)

    census = totals(CENSUS_2020)
    first, last = totals(ANNUAL_2015) * 1e4, totals(ANNUAL_2019) * 1e4
    back = totals(BACKCAST_2015) * 1e4
    result: dict[tuple[str, str, int], IntArray] = {}
    for year in YEARS:
        step = (year - 2015) / 4
        young = AGED_3_5[year] * _shares(geo, AGED_3_5_PLAN_SHARE[year])
        teens_registered = AGED_15_17[year] * _shares(geo, AGED_15_17_PLAN_SHARE, _vector(geo, CHILD_SHARE_OTHER))
        # Young people leave first: their ratio of registered to resident lies nearer to one than everyone's.
        soft = 1 + 0.6 * (ratio - 1)
        if year == 2020:
            series = [("resident", "census2020", census, young, teens_registered / soft)]
        else:
            annual = first + (last - first) * step
            cast = back + (census - back) * (year - 2015) / 5
            series = [
                ("resident", "annual", annual, young, teens_registered / soft),
                ("resident", "backcast2021", cast, young * (cast / annual) ** 0.7, teens_registered / soft),
            ]
        registered = census * ratio * (0.955 + 0.009 * (year - 2015))
        series.append(("registered", "annual", registered, young * soft * 1.02, teens_registered))
        for basis, vintage, total, group_3_5, group_15_17 in series:
            result[(basis, vintage, year)] = _pyramid(total * scale, group_3_5 * scale, group_15_17 * scale)
    return result


def _pyramid(total: FloatArray, aged_3_5: FloatArray, aged_15_17: FloatArray) -> IntArray:
    """Return [county, age, sex] with the given totals of all ages, 3-5 and 15-17 (rounded together)."""
    ages = np.arange(AGES)
    young, teen = aged_3_5 / 3, aged_15_17 / 3
    shape = np.zeros((len(total), AGES))
    path = np.clip((ages - 4) / 12, 0, 1)
    shape[:, :18] = (young[:, None] * (1 - path) + teen[:, None] * path)[:, :18]
    shape[:, :3] = young[:, None] * np.array([0.95, 0.97, 0.99])
    shape[:, 3:6] = young[:, None] * np.array([0.99, 1.0, 1.01])
    shape[:, 15:18] = teen[:, None] * np.array([0.99, 1.0, 1.01])
    # A smooth invented adult pyramid: broad to the fifties, then thinning out to the centenarians.
    adult = 1 / (1 + np.exp((ages - 66) / 8)) * (1 + 0.15 * np.sin((ages - 18) / 9))
    adult[:18] = 0
    rest = np.maximum(total - shape.sum(axis=1), 0.2 * total)
    shape += rest[:, None] * adult / adult.sum()
    by_age = np.zeros((len(total), AGES), dtype=np.int64)
    for county in range(len(total)):
        groups = [(0, 3), (3, 6), (6, 15), (15, 18), (18, AGES)]
        for low, high in groups:
            part = shape[county, low:high]
            by_age[county, low:high] = apportion(part, max(round(float(part.sum())), high - low if high <= 18 else 1))
    male_share = MALE_SHARE - 0.0006 * ages
    male = cumulative_round(by_age * male_share)
    male = np.minimum(male, by_age)
    return np.stack([male, by_age - male], axis=2)


def _preschool(geo: Geography, population: dict[tuple[str, str, int], IntArray]) -> IntArray:
    result = np.zeros((len(geo.counties), len(YEARS), 4, 2), dtype=np.int64)
    offset = _vector(geo, PRESCHOOL_OFFSET)
    hair = geo.index(HAIR_PRESCHOOL_COUNTY)
    priority = np.array([c.is_priority for c in geo.counties])
    for y, year in enumerate(YEARS):
        base = population[("resident", "census2020" if year == 2020 else "annual", year)][:, 3:6].sum(axis=(1, 2))
        pooled = round(PRESCHOOL_PLAN[year] * int(base[geo.plan].sum()))
        region = round(PRESCHOOL_REGION[year] * int(base.sum()))
        # The priority counties start further behind and catch up.
        drift = np.where(priority, 1 + 0.12 * (2018 - year), 1.0)
        wanted = np.where(geo.plan, PRESCHOOL_PLAN[year], 0.0) + offset * drift
        fixed = np.zeros(len(base), dtype=bool)
        if year == 2018:
            fixed[hair] = True
            wanted[hair] = min(
                just_below(Fraction(70, 100), int(base[hair])), round(Fraction(696, 1000) * int(base[hair]))
            )
        numerators = np.zeros(len(base), dtype=np.int64)
        inside, outside = geo.plan, ~geo.plan
        numerators[inside] = _spread(pooled, base[inside], wanted[inside], fixed[inside], 0.99)
        rest = region - pooled
        wanted[outside] = rest / base[outside].sum() + offset[outside]
        numerators[outside] = _spread(rest, base[outside], wanted[outside], fixed[outside], 1.15)
        grades = np.array([0.29, 0.34, 0.37])
        sexes = np.array([0.52, 0.48])
        for county, number in enumerate(numerators):
            result[county, y, 1:] = apportion(grades[:, None] * sexes[None, :], int(number))
        result[:, y, 0] = cumulative_round(numerators[:, None] * 0.025 * sexes[None, :])
    return result


def _entrants(geo: Geography, scale: float) -> IntArray:
    """Grade-one pupils [county, cohort 1999-2020, sex]."""
    cohorts = range(FIRST_COHORT, 2021)
    result = np.zeros((len(geo.counties), len(cohorts), 2), dtype=np.int64)
    for i, year in enumerate(cohorts):
        share = _shares(geo, 0.40 - 0.055 * (max(year, 2007) - 2007) / 13)
        growth = np.ones(len(geo.counties))
        growth[geo.index("640303")] = 0.6 + 0.4 * (year - FIRST_COHORT) / 21
        growth[geo.index("640106")] = 0.5 + 0.5 * (year - FIRST_COHORT) / 21
        growth[geo.index("640522")] = 1.1 - 0.1 * (year - FIRST_COHORT) / 21
        share = share * growth / (share * growth).sum()
        result[:, i] = apportion(share[:, None] * np.array([0.52, 0.48]), max(round(GRADE_ONE[year] * scale), 44))
        if year == 2012:
            hair = geo.index(HAIR_RETENTION_COUNTY)
            if result[hair, i].sum() < HAIR_MIN_ENTRANTS:
                result[hair, i] = (37, 34)
    return np.maximum(result, 1)


def _compulsory(geo: Geography, scale: float) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    entrants = _entrants(geo, scale)
    counties, cohorts = entrants.shape[:2]
    offset = _vector(geo, RETENTION_OFFSET)
    hair = geo.index(HAIR_RETENTION_COUNTY)
    sizes = np.zeros((counties, cohorts, 9, 2), dtype=np.int64)
    for i in range(cohorts):
        cohort = FIRST_COHORT + i
        year = min(max(cohort + 8, 2015), 2020)
        early = 0.004 * max(0, 2015 - (cohort + 8))
        base = entrants[:, i].sum(axis=1)
        leavers = np.zeros(counties, dtype=np.int64)
        for group, level in ((geo.plan, RETENTION_PLAN[year]), (~geo.plan, RETENTION_OTHER[year])):
            wanted = level - early + offset
            fixed = np.zeros(counties, dtype=bool)
            if cohort + 8 == 2020:
                fixed[hair] = True
                wanted[hair] = just_below(Fraction(93, 100), int(base[hair]))
            total = round((level - early) * int(base[group].sum()))
            leavers[group] = _spread(total, base[group], wanted[group], fixed[group] & geo.plan[group], 1.2)
        for county in range(counties):
            last = apportion(entrants[county, i].astype(float), int(leavers[county]))
            for sex in (0, 1):
                first = int(entrants[county, i, sex])
                path = [round(first + (int(last[sex]) - first) * f) for f in LOSS_PATH]
                sizes[county, i, :, sex] = path
    years = len(HISTORY_YEARS)
    shape = (counties, years, 9, 2)
    pupils = np.zeros(shape, dtype=np.int64)
    before = np.zeros(shape, dtype=np.int64)
    for y, year in enumerate(HISTORY_YEARS):
        for grade in range(9):
            cohort_index = year - grade - FIRST_COHORT
            pupils[:, y, grade] = sizes[:, cohort_index, grade]
            if grade:
                before[:, y, grade] = sizes[:, cohort_index, grade - 1]
    change = np.where(before > 0, pupils - before, 0)
    change[:, :, 0] = 0
    calendar = np.array(HISTORY_YEARS)[None, :, None, None]
    deaths = np.minimum(cumulative_round(np.asarray(before * 2.5e-4, dtype=np.float64)), np.maximum(before - 1, 0))
    rate = np.where(geo.plan, 0.014, 0.012)[:, None, None, None] * (1 + 0.02 * (2020 - calendar))
    out = np.minimum(cumulative_round(before * rate), np.maximum(before - deaths - 1, 0))
    share = np.clip(0.42 - 0.02 * (calendar - 2007), 0.1, 0.42)
    dropouts = cumulative_round(np.maximum(-change, 0) * share)
    dropouts = np.minimum(dropouts, np.maximum(before - deaths - out, 0))
    arrivals = np.maximum(0, change + out + deaths + dropouts)
    arrivals[:, :, 0] = 0
    out = arrivals - change - deaths - dropouts
    return pupils, arrivals, out, deaths, dropouts


def _upper(geo: Geography, population: dict[tuple[str, str, int], IntArray]) -> IntArray:
    result = np.zeros((len(geo.counties), len(YEARS), 6, 2), dtype=np.int64)
    offset = _vector(geo, UPPER_OFFSET)
    grades = np.array([0.345, 0.335, 0.32])
    for y, year in enumerate(YEARS):
        base = population[("registered", "annual", year)][:, 15:18].sum(axis=(1, 2))
        pooled = round(UPPER_PLAN[year] * int(base[geo.plan].sum()))
        region = round(UPPER_REGION[year] * int(base.sum()))
        none = np.zeros(len(base), dtype=bool)
        number = np.zeros(len(base), dtype=np.int64)
        for group, total in ((geo.plan, pooled), (~geo.plan, region - pooled)):
            wanted = total / base[group].sum() + offset[group]
            number[group] = _spread(total, base[group], wanted, none[group], 1.1)
        kinds = np.concatenate([grades * SENIOR_SHARE, grades * (1 - SENIOR_SHARE)])
        for county, pupils in enumerate(number):
            result[county, y] = apportion(kinds[:, None] * np.array([0.5, 0.5]), int(pupils))
    return result


def _poor(geo: Geography, scale: float) -> tuple[IntArray, IntArray, IntArray]:
    inside = _vector(geo, POOR_WEIGHT)
    rural = np.array([0.4 if c.code in {"640104", "640105", "640106", "640202"} else 1.0 for c in geo.counties])
    outside = _vector(geo, CHILD_SHARE_OTHER) * rural
    share = POOR_PLAN_SHARE * inside / inside.sum() + (1 - POOR_PLAN_SHARE) * outside / outside.sum()
    stock = apportion(share, round(POOR_STOCK * scale))
    remaining = np.stack([apportion(share, round(POOR_REMAINING[y] * scale)) for y in YEARS], axis=1)
    remaining = np.minimum(remaining, stock[:, None])
    missing_share = (
        NOT_ON_ROLL_PLAN_SHARE * inside / inside.sum() + (1 - NOT_ON_ROLL_PLAN_SHARE) * outside / outside.sum()
    )
    missing = np.stack([apportion(missing_share, round(NOT_ON_ROLL[y] * scale)) for y in YEARS], axis=1)
    # A county's number may not rise: children who were found once stay found.
    return stock, remaining, np.minimum.accumulate(missing, axis=1)


def _schools(geo: Geography, scale: float) -> dict[str, IntArray]:
    result = {}
    share = _shares(geo, 0.45)
    for kind, first in SCHOOLS_2015.items():
        last = SCHOOLS_2020[kind]
        # Kindergartens are built everywhere, so the floor of a small sample rises once, too.
        floors = [SCHOOL_FLOOR[kind] + int(last > first and y >= 2018) for y in YEARS]
        by_year = [
            np.maximum(apportion(share, round((first + (last - first) * (y - 2015) / 5) * scale)), floor)
            for y, floor in zip(YEARS, floors, strict=True)
        ]
        result[kind] = np.maximum.accumulate(np.stack(by_year, axis=1), axis=1)
    return result


def build_plan(geo: Geography, scale: float) -> Plan:
    """Build the plan of counts.

    Raises:
        ValueError: the scale is not in (0, 1].
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must lie above 0 and at most 1, not {scale}")
    population = _population(geo, scale)
    pupils, arrivals, out, deaths, dropouts = _compulsory(geo, scale)
    stock, remaining, missing = _poor(geo, scale)
    per_county = np.where(geo.plan, THREE_TYPE_CHILDREN_PER_PLAN_COUNTY, THREE_TYPE_CHILDREN_PER_OTHER_COUNTY)
    rates = np.stack([np.where(geo.plan, THREE_TYPES_PLAN[y], THREE_TYPES_OTHER[y]) for y in YEARS], axis=1)
    return Plan(
        scale=scale,
        population=population,
        preschool=_preschool(geo, population),
        compulsory=pupils,
        transfers_in=arrivals,
        transfers_out=out,
        deaths=deaths,
        dropouts=dropouts,
        upper=_upper(geo, population),
        poor_stock=stock,
        poor_remaining=remaining,
        not_on_roll=missing,
        three_types=per_county.astype(np.int64),
        three_types_rate=rates,
        special_pupils=np.array([SPECIAL_PUPILS[y] for y in YEARS], dtype=np.int64),
        schools=_schools(geo, scale),
        mergers=max(8, round(MERGERS * min(1.0, scale * 5))),
    )
