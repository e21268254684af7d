"""Dense indicators: every smallest cell rounded by itself, the rest added up, nothing claimed that is not so."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from disclosure.audit import audit_dense
from disclosure.dense import DenseSeries, Figure, protect_dense, read_dense, round_dense
from disclosure.facts import key_of
from disclosure.model import CellKey
from disclosure.policy import ClassPolicy, Nesting, Policy, PolicyError, policy_from_seeds
from disclosure.rounding import Rounder, interval_of
from tests.disclosure.cubes import POLICY
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect

BASE = 5
Counts = dict[tuple[str, str], tuple[int, int]]
DENSE = ClassPolicy("dense", 0, ("numerator", "rest"), 5, 0, 0, BASE, 10_000, 10)
MONEY = {("G13", "adequacy", basis): Nesting(True, None, "fen", "covered") for basis in ("plan_strict",)}
RULES = Policy(POLICY.classes | {"dense": DENSE}, {}, MONEY, {}, {}, {})
CITIES = {"6401": ["640101", "640102"], "6404": ["640401", "640402", "640403"]}
COUNTIES = [county for found in CITIES.values() for county in found]
MEMBERS = {**{county: [county] for county in COUNTIES}, **CITIES, "64": COUNTIES, "PLAN9": COUNTIES[1:3]}
ROUNDERS = {base: Rounder(base, b"a key for tests only, 32 characters", True) for base in (BASE, 1_000_000)}


def row(variant: str = "covered", basis: str = "plan_strict", **changes: object) -> dict[str, Any]:
    """A row of the registry."""
    return {
        "indicator_code": "G13", "variant": variant, "basis": basis, "subgroups": "all;spring;autumn",
        "measure_type": "ratio", "disclosure_class": "dense", "is_in_county_mart": True, "minuend_indicator_code": None,
    } | changes  # fmt: skip


def key(area: str, subgroup: str = "all", basis: str = "plan_strict", variant: str = "covered") -> CellKey:
    """Key of a cell of 2020."""
    return CellKey("G13", variant, area, 2020, subgroup, basis)


def filled(counts: Mapping[tuple[str, str], tuple[int, int]], **changes: str) -> dict[CellKey, Figure]:
    """Every cell of a series from (county, semester) -> covered, missing."""
    found: dict[CellKey, Figure] = {}
    for area, counties in MEMBERS.items():
        for name, leaves in (("all", ("spring", "autumn")), ("spring", ("spring",)), ("autumn", ("autumn",))):
            parts = [counts[county, leaf] for county in counties for leaf in leaves if (county, leaf) in counts]
            if parts:
                inside, rest = sum(p[0] for p in parts), sum(p[1] for p in parts)
                found[key(area, name)._replace(**changes)] = (inside, inside + rest)
    return found


def random_counts(seed: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Covered and missing by county and semester, many small."""
    chance = random.Random(seed)
    return {
        (county, leaf): (int(chance.expovariate(1 / 20)), int(chance.expovariate(1 / 3)))
        for county in COUNTIES
        for leaf in ("spring", "autumn")
    }


def test_figures_are_sums_of_rounded_cells_and_nought_is_shown_for_nought_only() -> None:
    series = read_dense([row()], RULES)
    whole = 0
    for seed in range(30):
        counts = random_counts(seed)
        truth = filled(counts)
        shown = round_dense(series, truth, MEMBERS, ROUNDERS)
        assert set(shown) == set(truth)
        for cell, (numerator, denominator) in shown.items():
            assert denominator is not None
            assert numerator % BASE == denominator % BASE == 0
            true_rest, rest = truth[cell][1] - truth[cell][0], denominator - numerator  # type: ignore[operator]
            # never above 100 percent, and 100 percent exactly where nobody is missing
            assert (rest == 0) == (true_rest == 0)
            assert (numerator == 0) == (truth[cell][0] == 0)
            whole += rest == 0
            leaves = len(MEMBERS[cell.area_code]) * (2 if cell.subgroup == "all" else 1)
            assert abs(numerator - truth[cell][0]) <= leaves * (BASE - 1)
            if leaves == 1:
                low, high = interval_of(numerator, BASE, keeps_presence=True)
                assert low <= truth[cell][0] <= high
                assert numerator == 0 or high - low == 2 * BASE - 2
            counties = [shown[cell._replace(area_code=county)] for county in MEMBERS[cell.area_code]]
            assert numerator == sum(one[0] for one in counties)
        for area in MEMBERS:
            assert shown[key(area)][0] == shown[key(area, "spring")][0] + shown[key(area, "autumn")][0]
    assert whole > 0


def test_a_basis_that_contains_another_adds_a_rounded_surplus() -> None:
    series = read_dense([row(basis="national_broad"), row()], RULES)
    assert [one.code[2] for one in series] == ["plan_strict", "national_broad"]
    strict = random_counts(1)
    broad = {place: (inside + 3, rest) for place, (inside, rest) in strict.items()}
    truth = filled(strict) | filled(broad, basis="national_broad")
    shown = round_dense(series, truth, MEMBERS, ROUNDERS)
    for county in COUNTIES:
        inner, outer = shown[key(county, "spring")], shown[key(county, "spring", "national_broad")]
        # three more covered: by themselves a small cell, shown as five whatever the threshold; nobody more is missing
        assert (outer[0] - inner[0], outer[1] - inner[1]) == (BASE, BASE)  # type: ignore[operator]
    same = round_dense(series, truth | filled(strict, basis="national_broad"), MEMBERS, ROUNDERS)
    for area in MEMBERS:
        assert same[key(area)] == same[key(area, basis="national_broad")]


def test_who_is_covered_on_the_narrow_basis_only_makes_no_negative_surplus() -> None:
    series = read_dense([row(basis="national_broad"), row()], RULES)
    truth = filled({("640101", "spring"): (9, 0)}) | filled({("640101", "spring"): (8, 2)}, basis="national_broad")
    shown = round_dense(series, truth, MEMBERS, ROUNDERS)
    numerator, denominator = shown[key("64", basis="national_broad")]
    assert 0 < numerator < denominator  # type: ignore[operator]


def test_a_variant_that_is_part_of_another_is_rounded_alike_in_it() -> None:
    rules = replace(
        RULES,
        structure={
            ("G13", "covered", basis): Nesting(True, "wide", part_of_indicator="G14")
            for basis in ("plan_strict", "national_broad")
        },
    )
    rows = [
        row(variant, basis, indicator_code=indicator)
        for basis in ("national_broad", "plan_strict")
        for indicator, variant in (("G14", "wide"), ("G13", "covered"))
    ]
    series = read_dense(rows, rules)
    strict = random_counts(9)
    broad = {place: (inside + 2, rest + 1) for place, (inside, rest) in strict.items()}
    whole = {"indicator_code": "G14", "variant": "wide"}
    # two counties have nothing but the part, one has more of its own on each basis
    own = {place: (7, 1) if place[0] == "640101" else (0, 0) for place in strict}
    more = {place: (9, 4) if place[0] == "640101" else (0, 0) for place in strict}

    def plus(one: Counts, other: Counts) -> Counts:
        return {place: (one[place][0] + other[place][0], one[place][1] + other[place][1]) for place in one}

    truth = (
        filled(strict)
        | filled(broad, basis="national_broad")
        | filled(plus(strict, own), **whole)
        | filled(plus(broad, more), basis="national_broad", **whole)
    )
    shown = round_dense(series, truth, MEMBERS, ROUNDERS)
    for basis in ("plan_strict", "national_broad"):
        for county in COUNTIES:
            part, outer = shown[key(county, basis=basis)], shown[key(county, basis=basis)._replace(**whole)]  # type: ignore[arg-type]
            assert (part == outer) == (county != "640101")
            assert outer[0] >= part[0]
    with pytest.raises(PolicyError, match="G14 wide plan_strict: it may have one part only"):
        read_dense(
            [*rows, row("other", indicator_code="G13")],
            replace(
                rules,
                structure=rules.structure
                | {("G13", "other", "plan_strict"): Nesting(True, "wide", part_of_indicator="G14")},
            ),
        )


def test_amounts_are_shown_for_ten_persons_or_more_and_rounded_in_their_unit() -> None:
    series = read_dense([row(), row("adequacy")], RULES)
    counts = {("640101", "spring"): (60, 2), ("640102", "spring"): (3, 0), ("640401", "spring"): (0, 0)}
    money = {
        ("640101", "spring"): (5_400_000, 180_000),
        ("640102", "spring"): (270_000, 0),
        ("640401", "spring"): (0, 0),
    }
    shown = round_dense(series, filled(counts) | filled(money, variant="adequacy"), MEMBERS, ROUNDERS)
    numerator, denominator = shown[key("640101", variant="adequacy")]
    assert numerator in (5_000_000, 6_000_000)
    assert denominator == numerator + 1_000_000
    assert key("640102", variant="adequacy") not in shown
    assert shown[key("640401", variant="adequacy")] == (0, 0)
    # paid beyond the standard: more than 100 percent is told, not cut off
    over = {("640101", "spring"): (9_000_000, -2_000_000)}
    more = round_dense(series, filled(counts) | filled(over, variant="adequacy"), MEMBERS, ROUNDERS)
    numerator, denominator = more[key("640101", variant="adequacy")]
    assert numerator > denominator  # type: ignore[operator]


def test_the_same_count_is_shown_alike_whatever_else_is_rounded() -> None:
    one, both = read_dense([row()], RULES), read_dense([row(basis="national_broad"), row()], RULES)
    counts = random_counts(3)
    truth = filled(counts)
    later = {cell._replace(evaluation_year=2021): figure for cell, figure in truth.items()}
    alone = round_dense(one, truth, MEMBERS, ROUNDERS)
    assert {cell: round_dense(both, truth | later, MEMBERS, ROUNDERS)[cell] for cell in alone} == alone


def test_parts_that_do_not_add_up_are_refused() -> None:
    series = read_dense([row()], RULES)
    truth = filled(random_counts(1))
    with pytest.raises(PolicyError, match="640101 2020 plan_strict: its subgroups do not add up"):
        round_dense(series, truth | {key("640101"): (1, 2)}, MEMBERS, ROUNDERS)
    with pytest.raises(PolicyError, match="64 2020 spring plan_strict: its counties do not add up"):
        round_dense(series, truth | {key("64", "spring"): (1, 2)}, MEMBERS, ROUNDERS)


def test_gaps_and_amounts_without_a_count_are_refused() -> None:
    with pytest.raises(PolicyError, match="a gap cannot be of class dense"):
        read_dense([row(minuend_indicator_code="G13")], RULES)
    with pytest.raises(PolicyError, match="counted_by_variant 'covered' must be a dense variant"):
        read_dense([row("adequacy")], RULES)


def mart(series: list[DenseSeries], truth: Mapping[CellKey, Figure]) -> dict[CellKey, dict[str, Any]]:
    """The long mart as its model makes it from rounded figures."""
    rows: dict[CellKey, dict[str, Any]] = {}
    shown = round_dense(series, truth, MEMBERS, ROUNDERS)
    for cell, (numerator, denominator) in shown.items():
        level = {6: "county", 4: "city", 2: "region"}.get(len(cell.area_code), "group")
        rows[cell] = dict(cell._asdict()) | {
            "area_level": level, "unit": "percent", "numerator": numerator, "denominator": denominator,
            "value": round(100 * numerator / denominator, 4) if denominator else None, "prior_year_value": None,
            "change_from_prior_year": None, "conf_status": "F", "rounding_base": BASE,
        }  # fmt: skip
    for cell, line in rows.items():
        line["region_value"] = rows[cell._replace(area_code="64")]["value"]
        there = line["region_value"] is not None and line["value"] is not None
        line["gap_to_region"] = line["value"] - line["region_value"] if there else None
    return rows


def test_the_audit_finds_what_is_exact_or_rounded_apart() -> None:
    series = read_dense([row()], RULES)
    truth = filled(random_counts(5))
    assert audit_dense(list(mart(series, truth).values()), series, MEMBERS) == []
    spoiled: dict[str, tuple[CellKey, dict[str, Any]]] = {
        "not_rounded": (key("640101", "spring"), {"numerator": truth[key("640101", "spring")][0] * BASE + 1}),
        "rounded_apart": (key("64"), {"numerator": mart(series, truth)[key("64")]["numerator"] + BASE}),
        "not_from_shown": (key("640101"), {"gap_to_region": 1.2345}),
        "withheld_shown": (key("640101"), {"conf_status": "D"}),
    }
    for rule, (cell, change) in spoiled.items():
        rows = mart(series, truth)
        rows[cell] |= change
        findings = audit_dense(list(rows.values()), series, MEMBERS)
        assert (rule, cell.area_code) in {(one.rule, one.area_code) for one in findings}, rule
    unlabelled = mart(series, truth)
    unlabelled[key("64")]["rounding_base"] = None
    assert [one.rule for one in audit_dense(list(unlabelled.values()), series, MEMBERS)] == ["not_rounded"]
    assert key_of(unlabelled[key("64")]) == key("64")


@pytest.fixture
def built(warehouse: WarehouseConfig) -> Iterator[WarehouseConfig]:
    """Policy, registry, areas and true figures as dbt builds them, once for now and once for an old release."""
    truth = filled(random_counts(7)) | {key("640999"): (9, 9)}
    tables: dict[str, tuple[str, list[tuple[object, ...]]]] = {
        "reference.indicators": (
            "indicator_code text, variant text, basis text, subgroups text, measure_type text, disclosure_class text,"
            " is_in_county_mart boolean, minuend_indicator_code text",
            [("G13", "covered", "plan_strict", "all;spring;autumn", "ratio", "dense", True, None)],
        ),
        "indicators.fct_indicator_value": (
            "indicator_code text, variant text, area_code text, evaluation_year integer, subgroup text, basis text,"
            " numerator numeric, denominator numeric",
            [(*cell, *figure) for cell, figure in truth.items()]
            # a later year is none of this candidate, a rate without a denominator is not measured
            + [("G13", "covered", "640101", 2021, "all", "plan_strict", 7, 9)]
            + [("G13", "covered", "640101", 2019, "all", "plan_strict", 7, None)],
        ),
        "core.bridge_area_rollup": (
            "area_code text, county_code text",
            [(area, county) for area, counties in MEMBERS.items() for county in counties],
        ),
    }
    policy = policy_from_seeds(PROJECT_ROOT / "dbt_project" / "seeds")
    names = [f"reference.{name}" for name in policy.tables]
    with connect("transform", warehouse) as conn:
        conn.execute("create schema reproduce_t_reference")
        conn.execute("create schema reproduce_t_indicators")
        conn.execute("create schema reproduce_t_core")
        conn.execute("create schema reproduce_t_disclosure")
        conn.execute("create table reproduce_t_disclosure.rounded (like disclosure.rounded including all)")
        for name, rows in policy.tables.items():
            columns = list(rows[0])
            conn.execute(f"create table reference.{name} ({', '.join(f'{column} text' for column in columns)})")  # type: ignore[arg-type]
            for line in rows:
                marks = ", ".join(["%s"] * len(columns))
                conn.execute(f"insert into reference.{name} values ({marks})", list(line.values()))  # type: ignore[arg-type]
        for name, (columns_of, lines) in tables.items():
            for table in (name, f"reproduce_t_{name}"):
                conn.execute(f"create table {table} ({columns_of})")  # type: ignore[arg-type]
                for values in lines:
                    conn.execute(f"insert into {table} values ({', '.join(['%s'] * len(values))})", values)  # type: ignore[arg-type]
        conn.commit()
    try:
        yield warehouse
    finally:
        with connect("transform", warehouse) as conn:
            for table in [*names, *tables]:
                conn.execute(f"drop table {table}")  # type: ignore[arg-type]
            for schema in ("reference", "indicators", "core", "disclosure"):
                conn.execute(f"drop schema reproduce_t_{schema} cascade")  # type: ignore[arg-type]
            conn.execute("delete from disclosure.rounded")


def rounded_in(config: WarehouseConfig, schema: str) -> dict[tuple[str, str], int]:
    """What a schema holds for the long mart, by cell and part."""
    with connect("transform", config) as conn:
        rows = conn.execute(f"select cell, part, persons from {schema}.rounded where mart = 'county_evaluation'")  # type: ignore[arg-type]
        return {(str(cell), str(part)): int(str(figure)) for cell, part, figure in rows}


def test_a_release_built_again_gets_the_figures_that_it_was_built_with(built: WarehouseConfig) -> None:
    shown = protect_dense(built, 2020)
    first = rounded_in(built, "disclosure")
    assert shown == len(filled(random_counts(7))) + 1
    assert {cell.split("|")[3] for cell, _ in first} == {"2020"}
    assert len(first) == 2 * shown
    # the nightly build goes on meanwhile
    with connect("transform", built) as conn:
        conn.execute("update indicators.fct_indicator_value set numerator = 0, denominator = 0")
        conn.commit()
    protect_dense(built, 2020, schema_prefix="reproduce_t_")
    assert rounded_in(built, "reproduce_t_disclosure") == first
    protect_dense(built, 2020)
    assert set(rounded_in(built, "disclosure").values()) == {0}
