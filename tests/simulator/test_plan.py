"""Stage A at scale 1 against the published anchors, and the planned trajectories."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.geography import Geography
from simulator.plan import CENSUS_2020, HISTORY_YEARS, YEARS, Plan, apportion, build_plan, cumulative_round, just_below

Mask = NDArray[np.bool_]
HARD = 0.02  # hard anchors: within 2 %
DERIVED = 0.10  # derived figures: within 10 %


def resident(plan: Plan, year: int) -> NDArray[np.int64]:
    return plan.population["resident", "census2020" if year == 2020 else "annual", year]


def everyone(geo: Geography) -> Mask:
    return np.ones(len(geo.counties), dtype=bool)


def preschool_ratio(plan: Plan, year: int, group: Mask) -> Fraction:
    children = plan.preschool[group, YEARS.index(year), 1:].sum()
    return Fraction(int(children), int(resident(plan, year)[group][:, 3:6].sum()))


def retention(plan: Plan, year: int, group: Mask) -> Fraction:
    last = plan.compulsory[group, HISTORY_YEARS.index(year), 8].sum()
    first = plan.compulsory[group, HISTORY_YEARS.index(year - 8), 0].sum()
    return Fraction(int(last), int(first))


def upper_ratio(plan: Plan, year: int, group: Mask) -> Fraction:
    base = plan.population["registered", "annual", year][group][:, 15:18].sum()
    return Fraction(int(plan.upper[group, YEARS.index(year)].sum()), int(base))


@pytest.mark.parametrize(("city", "people"), sorted(CENSUS_2020.items()))
def test_census_population_of_each_city(geo: Geography, whole_plan: Plan, city: str, people: int) -> None:
    group = np.array([c.city_code == city for c in geo.counties])
    assert resident(whole_plan, 2020)[group].sum() == pytest.approx(people, rel=0.0005)


@pytest.mark.parametrize(
    ("code", "wan"),
    [("640302", 46.12), ("640303", 19.78), ("640323", 15.94), ("640324", 32.11), ("640402", 47.13), ("640422", 31.58),
     ("640423", 10.94), ("640424", 8.50), ("640425", 16.06), ("640502", 40.02), ("640521", 33.43), ("640522", 33.35)],
)  # fmt: skip
def test_resident_population_2020_of_published_counties(
    geo: Geography, whole_plan: Plan, code: str, wan: float
) -> None:
    assert resident(whole_plan, 2020)[geo.index(code)].sum() == pytest.approx(wan * 10_000, rel=HARD)


def test_population_basis_breaks_in_2020(geo: Geography, whole_plan: Plan) -> None:
    def change(group: Mask) -> float:
        return float(resident(whole_plan, 2020)[group].sum() / resident(whole_plan, 2019)[group].sum() - 1)

    city = np.array([c.city_code for c in geo.counties])
    assert resident(whole_plan, 2019).sum() == pytest.approx(6_946_600, rel=0.001)
    assert resident(whole_plan, 2020).sum() == pytest.approx(7_202_654, rel=0.001)
    assert change(city == "6404") == pytest.approx(-0.087, abs=0.002)
    assert change(city == "6401") == pytest.approx(0.247, abs=0.002)


def test_registered_and_resident_differ_in_opposite_directions(geo: Geography, whole_plan: Plan) -> None:
    registered = whole_plan.population["registered", "annual", 2020].sum(axis=(1, 2))
    here = resident(whole_plan, 2020).sum(axis=(1, 2))
    haiyuan, hongsibu = geo.index("640522"), geo.index("640303")
    assert registered[haiyuan] / here[haiyuan] == pytest.approx(45.47 / 33.35, rel=HARD)
    assert registered[hongsibu] / here[hongsibu] == pytest.approx(17.63 / 19.78, rel=HARD)


def test_backcast_lowers_the_old_estimate_of_zhongwei(geo: Geography, whole_plan: Plan) -> None:
    city = np.array([c.city_code == "6405" for c in geo.counties])
    assert whole_plan.population["resident", "annual", 2015][city].sum() == pytest.approx(1_141_600, rel=0.001)
    assert whole_plan.population["resident", "backcast2021", 2015][city].sum() == pytest.approx(1_086_800, rel=0.001)


@pytest.mark.parametrize(("year", "children"), [(2015, 193_000), (2020, 256_000)])
def test_kindergarten_children(whole_plan: Plan, year: int, children: int) -> None:
    assert whole_plan.preschool[:, YEARS.index(year), 1:].sum() == pytest.approx(children, rel=HARD)


def test_grade_one_of_2018(whole_plan: Plan) -> None:
    assert whole_plan.compulsory[:, HISTORY_YEARS.index(2018), 0].sum() == pytest.approx(96_735, rel=HARD)


def test_compulsory_pupils_2014(whole_plan: Plan) -> None:
    assert whole_plan.compulsory[:, HISTORY_YEARS.index(2014)].sum() == pytest.approx(867_000, rel=HARD)


def test_senior_pupils_of_2015_agree_with_the_printed_upper_secondary_figure(whole_plan: Plan) -> None:
    # The 16.35万 of the 2014/15 item is read as general senior only.
    assert whole_plan.upper[:, 0, :3].sum() == pytest.approx(163_500, rel=HARD)


@pytest.mark.parametrize(("year", "pupils"), [(2018, 6_004), (2019, 6_976)])
def test_special_education_pupils(whole_plan: Plan, year: int, pupils: int) -> None:
    assert whole_plan.special_pupils[YEARS.index(year)] == pupils


def test_number_of_schools_2015(whole_plan: Plan) -> None:
    # 3,125 institutions at the end of 2015 without 19 of higher education; ours are listed without special schools.
    total = sum(int(n[:, 0].sum()) for n in whole_plan.schools.values()) + 11
    assert total == pytest.approx(3_125 - 19, rel=HARD)
    assert int(whole_plan.schools["kindergarten"][:, 0].sum()) == pytest.approx(788, rel=HARD)
    assert int(whole_plan.schools["kindergarten"][:, 5].sum()) == pytest.approx(1_464, rel=HARD)


def test_poor_population_series(geo: Geography, whole_plan: Plan) -> None:
    remaining = whole_plan.poor_remaining.sum(axis=0).tolist()
    assert remaining == [581_200, 380_000, 238_900, 121_000, 18_800, 0]
    assert whole_plan.poor_remaining[geo.plan, 2].sum() == pytest.approx(192_800, rel=0.001)


def test_derived_sizes_of_the_nine_counties(geo: Geography, whole_plan: Plan) -> None:
    y = HISTORY_YEARS.index(2015)
    assert whole_plan.compulsory[geo.plan, y, :6].sum() == pytest.approx(210_000, rel=DERIVED)
    assert whole_plan.compulsory[geo.plan, y, 6:].sum() == pytest.approx(103_000, rel=0.11)
    assert resident(whole_plan, 2015)[geo.plan][:, 3:6].sum() == pytest.approx(100_000, rel=DERIVED)
    assert whole_plan.upper[geo.plan, 2].sum() == pytest.approx(90_000, rel=DERIVED)


@pytest.mark.parametrize("scale", [1.0, 0.2, 0.02, 0.005])
def test_trajectories_at_every_scale(geo: Geography, scale: float) -> None:
    plan = build_plan(geo, scale)
    # A pooled ratio can miss its plan by the rounding of one child.
    one = 2.0 / float(resident(plan, 2015)[geo.plan][:, 3:6].sum())
    series = {
        2015: (0.57, 0.71, 0.865, 0.80), 2016: (0.61, 0.74, 0.88, 0.83), 2017: (0.655, 0.78, 0.896, 0.86),
        2018: (0.704, 0.82, 0.912, 0.885), 2019: (0.74, 0.86, 0.923, 0.904), 2020: (0.78, 0.885, 0.934, 0.92),
    }  # fmt: skip
    for year, (plan9, region, ret9, upper) in series.items():
        assert float(preschool_ratio(plan, year, geo.plan)) == pytest.approx(plan9, abs=one)
        assert float(preschool_ratio(plan, year, everyone(geo))) == pytest.approx(region, abs=one)
        assert float(retention(plan, year, geo.plan)) == pytest.approx(ret9, abs=max(one, 2 * one))
        assert float(upper_ratio(plan, year, geo.plan)) == pytest.approx(upper, abs=one)
    assert plan.not_on_roll.sum(axis=0)[0] == round(2_900 * scale)
    assert plan.not_on_roll.sum(axis=0)[5] == 0
    assert (np.diff(plan.not_on_roll, axis=1) <= 0).all()


@pytest.mark.parametrize("scale", [1.0, 0.2, 0.02, 0.005])
def test_counties_that_miss_a_target_by_a_hair(geo: Geography, scale: float) -> None:
    plan = build_plan(geo, scale)
    jingyuan = np.array([c.code == "640424" for c in geo.counties])
    longde = np.array([c.code == "640423" for c in geo.counties])
    ratio = preschool_ratio(plan, 2018, jingyuan)
    children = int(resident(plan, 2018)[jingyuan][:, 3:6].sum())
    assert ratio < Fraction(70, 100)
    assert ratio >= Fraction(70, 100) - max(Fraction(5, 1000), Fraction(1, children))
    kept = retention(plan, 2020, longde)
    assert kept < Fraction(93, 100)
    assert kept >= Fraction(929, 1000)


def test_a_cohort_changes_only_by_its_flows(whole_plan: Plan) -> None:
    before = whole_plan.compulsory[:, :-1, :-1]
    after = whole_plan.compulsory[:, 1:, 1:]
    flow = (whole_plan.transfers_in - whole_plan.transfers_out - whole_plan.deaths - whole_plan.dropouts)[:, 1:, 1:]
    np.testing.assert_array_equal(before + flow, after)
    for table in (whole_plan.transfers_in, whole_plan.transfers_out, whole_plan.deaths, whole_plan.dropouts):
        assert (table >= 0).all()


@pytest.mark.parametrize("scale", [0.0, -0.1, 1.01])
def test_scale_out_of_range_is_refused(geo: Geography, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must lie above 0"):
        build_plan(geo, scale)


def test_apportion_keeps_the_total_and_rounds_by_the_largest_remainder() -> None:
    assert apportion(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert apportion(np.array([0.6, 0.3, 0.1]), 7).tolist() == [4, 2, 1]
    with pytest.raises(ValueError, match="positive sum"):
        apportion(np.zeros(3), 1)


def test_cumulative_rounding_keeps_running_totals() -> None:
    values = np.full(10, 0.3)
    rounded = cumulative_round(values)
    assert np.abs(np.cumsum(rounded) - np.cumsum(values)).max() <= 0.5


def test_just_below_is_the_last_numerator_under_the_target() -> None:
    assert just_below(Fraction(93, 100), 100) == 92
    assert just_below(Fraction(93, 100), 71) == 66
