"""Every value against the simulator's truth, verdicts and disclosure against a calculation of their own.

The sample province goes the real way: files, ingest, dbt. The truth comes from the simulator's tables, never from SQL.
"""

from __future__ import annotations

import csv
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from ingest import load_contracts
from tests.dbt.conftest import PROJECT, SCALE, Dbt, build_marts
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Key = tuple[str, str, str, int, str, str]
KEY = "indicator_code, variant, area_code, evaluation_year, subgroup, basis"
MARTS = (
    "county_evaluation", "county_evaluation_wide", "indicator_dictionary", "evaluation_source", "student_aid_county",
    "funds_integrity", "fund_execution",
)  # fmt: skip


@pytest.fixture(scope="module")
def truth(dbt: Dbt, loaded_warehouse: WarehouseConfig, province: Path) -> dict[Key, tuple[int | None, int | None]]:
    """Numerator and denominator of every registered cell as the simulator knows them; unknown where nobody delivers."""
    registered = {(r["indicator_code"], r["variant"], r["basis"]) for r in seed("indicators")}
    with (province / ".truth" / "indicator_values.csv").open(encoding="utf-8", newline="") as handle:
        known: dict[Key, tuple[int | None, int | None]] = {
            (r["indicator_code"], r["variant"], r["area_code"], int(r["evaluation_year"]), r["subgroup"], r["basis"]): (
                int(r["numerator"]) if r["numerator"] else None,
                int(r["denominator"]) if r["denominator"] else None,
            )
            for r in csv.DictReader(handle)
            if (r["indicator_code"], r["variant"], r["basis"]) in registered
        }
    unknown = not_counted(loaded_warehouse)
    assert not unknown & known.keys()
    return known | dict.fromkeys(unknown, (None, None))


def fetch(config: WarehouseConfig, statement: str) -> list[tuple[object, ...]]:
    """Rows of a query as edupa_transform."""
    with connect("transform", config) as connection:
        return list(connection.execute(statement).fetchall())


def seed(name: str) -> list[dict[str, str]]:
    """Rows of a seed."""
    with (PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def not_counted(config: WarehouseConfig) -> set[Key]:
    """Cells of the registry's rows for which somebody delivers nothing: every area of their roll-up, every year."""
    levels: dict[str, set[tuple[str, str]]] = {}
    for rule in seed("roll_up_rules"):
        levels.setdefault(rule["roll_up"], set()).add((rule["area_level"], rule["group_code"]))
    areas = fetch(config, "select area_code, area_level from core.dim_reporting_area")
    return {
        (row["indicator_code"], row["variant"], str(code), int(year["evaluation_year"]), "all", row["basis"])
        for row in seed("indicators")
        for code, level in areas
        for year in seed("evaluation_years")
        if row["missing_feeds"] and {(str(level), ""), (str(level), str(code))} & levels[row["roll_up"]]
    }


def exact(cell: tuple[int | None, int | None]) -> Fraction | None:
    """Value of a cell as an exact fraction; None on an empty denominator."""
    numerator, denominator = cell
    if numerator is None or denominator == 0:
        return None
    return Fraction(numerator, 1 if denominator is None else denominator)


def rounded(value: Fraction, places: int) -> Decimal:
    """Half away from zero, as PostgreSQL rounds numeric."""
    quotient = Decimal(value.numerator) / Decimal(value.denominator)
    return quotient.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def test_every_value_equals_the_truth(
    dbt: Dbt,
    loaded_warehouse: WarehouseConfig,
    truth: dict[Key, tuple[int | None, int | None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = fetch(
        loaded_warehouse,
        f"select {KEY}, numerator, denominator, value, value_reason from indicators.fct_indicator_value",
    )
    found = {tuple(r[:6]): (r[6], r[7]) for r in rows}
    assert found == truth
    for row in rows:
        wanted = exact(truth[tuple(row[:6])])  # type: ignore[index]
        assert row[8] == (None if wanted is None else rounded(wanted, 10)), row[:6]
        assert (row[9] is None) == (wanted is not None), row[:6]
    with capsys.disabled():
        print(f"\n{len(rows)} indicator values compared with the truth at scale {SCALE}: all equal")
    assert len(rows) > 3000


def scopes(target: dict[str, str], areas: dict[str, tuple[str, bool]]) -> list[str]:
    """Areas that a target of the seed is set for."""
    if target["scope"] == "group":
        return [target["scope_group_code"]]
    if target["scope"] == "region":
        return [code for code, (level, _) in areas.items() if level == "region"]
    return [code for code, (_, is_plan) in areas.items() if is_plan]


def verdict(
    cells: dict[Key, tuple[int | None, int | None]], key: Key, target: dict[str, str], scale: int, direction: str
) -> str:
    """The verdict from exact fractions, by the words of the plan's rule; of rounded cells from what is shown."""
    value, base = exact(cells[key]), exact(cells[(*key[:3], 2015, *key[4:])])
    if value is None:
        return "not_measurable"
    wanted, year = Fraction(target["target_value"]), int(target["target_year"])
    reached = scale * value >= wanted if target["operator"] == ">=" else scale * value == wanted
    if reached:
        return "met"
    if key[3] >= year:
        return "off_track"
    if base is None:
        return "not_measurable"
    line = scale * base + (wanted - scale * base) * Fraction(key[3] - 2015, year - 2015)
    ahead = scale * value >= line if direction == "higher" else scale * value <= line
    return "on_track" if ahead else "off_track"


#: variants of dense indicators that are ratios of amounts
AMOUNTS = {row["variant"] for row in seed("disclosure_structure") if row["money_unit"] == "fen"}


def whole(figure: object) -> int | None:
    """A figure of a mart, None where there is none."""
    return None if figure is None else int(str(figure))


def assert_rounded(
    key: Key, shown: tuple[int | None, int | None], true: tuple[int | None, int | None], base: object
) -> None:
    """A dense cell shows multiples of the base, nought for nought only, 100 percent where nobody is missing only."""
    assert isinstance(base, int), key
    assert [figure is None for figure in shown] == [figure is None for figure in true], key
    parts = [(shown[0], true[0])]
    # amounts may exceed what is due in one part and fall short in another
    if None not in (*shown, *true) and key[1] not in AMOUNTS:
        parts.append((shown[1] - shown[0], true[1] - true[0]))  # type: ignore[operator]
    for figure, count in parts:
        assert figure is None or figure % base == 0, key
        assert (figure == 0) == (count == 0), key


def test_every_verdict_and_hidden_cell_follows_its_rule(
    dbt: Dbt, loaded_warehouse: WarehouseConfig, truth: dict[Key, tuple[int | None, int | None]]
) -> None:
    registry = {(r["indicator_code"], r["variant"], r["basis"]): r for r in seed("indicators")}
    areas = {
        str(r[0]): (str(r[1]), bool(r[2]))
        for r in fetch(loaded_warehouse, "select area_code, area_level, is_plan_county from core.dim_reporting_area")
    }
    targets = {(t["indicator_code"], area): t for t in seed("targets") for area in scopes(t, areas)}

    def is_small(key: Key) -> bool:
        entry = registry[key[0], key[1], key[5]]
        return entry["disclosure_class"] == "sensitive" and any(0 < (n or 0) < 10 for n in truth[key])

    def must_be_hidden(key: Key) -> bool:
        entry = registry[key[0], key[1], key[5]]
        if not entry["minuend_indicator_code"]:
            return is_small(key)
        source = (entry["minuend_indicator_code"], entry["minuend_variant"])
        scope = entry["subtrahend_scope"]
        other = next((c for c, (level, _) in areas.items() if scope in (c, level)), scope)
        minus = (entry["subtrahend_indicator_code"], entry["subtrahend_variant"])
        return is_small((*source, *key[2:])) or is_small((*minus, other, *key[3:]))

    rows = fetch(
        loaded_warehouse,
        f"select {KEY}, value, numerator, denominator, verdict, conf_status, rounding_base"
        " from candidate_all.county_evaluation",
    )
    assert {tuple(r[:6]) for r in rows} == set(truth)
    hidden = {tuple(r[:6]) for r in rows if r[10] != "F"}
    assert [key for key in truth if must_be_hidden(key) and key not in hidden] == []
    shown: dict[Key, tuple[int | None, int | None]] = {
        tuple(r[:6]): (whole(r[7]), whole(r[8]))  # type: ignore[misc]
        for r in rows
    }
    of_class = {key: registry[key[0], key[1], key[5]]["disclosure_class"] for key in shown}
    # amounts of dense indicators are withheld where they are about fewer than ten
    amounts = {(r["indicator_code"], r["variant"], r["basis"]) for r in seed("disclosure_structure") if r["money_unit"]}
    assert {
        key
        for key in hidden
        if of_class[key] != "sensitive" and (key[0], key[1], key[5]) not in amounts  # type: ignore[index]
    } == set()
    seen: dict[str, int] = {}
    for row in rows:
        key: Key = tuple(row[:6])  # type: ignore[assignment]
        entry = registry[key[0], key[1], key[5]]
        is_dense = of_class[key] == "dense"
        scale = 100 if entry["unit"] in ("percent", "percentage_points") else 1
        if key in hidden:
            assert row[6:10] == (None, None, None, "suppressed"), key
            wanted = "suppressed"
        else:
            value = exact(shown[key])
            assert row[6] == (None if value is None else rounded(scale * value, 4)), key
            if is_dense:
                assert_rounded(key, shown[key], truth[key], row[11])
            else:
                assert (*row[7:9], row[11]) == (*truth[key], None), key
            target = targets.get((key[0], key[2])) if entry["has_target"] == "true" and key[4] == "all" else None
            if value is None:
                wanted = "not_measurable"
            elif target is None:
                wanted = "no_target"
            else:
                wanted = verdict(shown if is_dense else truth, key, target, scale, entry["direction"])
                # the line to the target starts at a value that nobody may know
                if wanted != "met" and key[3] < int(target["target_year"]) and (*key[:3], 2015, *key[4:]) in hidden:
                    wanted = "not_measurable"
            assert row[9:11] == (wanted, "F"), key
        seen[wanted] = seen.get(wanted, 0) + 1
    assert {"met", "on_track", "off_track", "no_target", "suppressed"} <= set(seen)


def test_nothing_hidden_shows_in_derived_columns(dbt: Dbt, loaded_warehouse: WarehouseConfig) -> None:
    leaks = fetch(
        loaded_warehouse,
        """select count(*) from candidate_all.county_evaluation as shown
        inner join candidate_all.county_evaluation as hidden
            using (indicator_code, variant, area_code, subgroup, basis)
        where hidden.conf_status <> 'F' and (
            (hidden.evaluation_year = shown.evaluation_year
                and (shown.value is not null or shown.gap_to_region is not null
                    or shown.change_from_prior_year is not null))
            or (hidden.evaluation_year = shown.evaluation_year - 1
                and (shown.prior_year_value is not null or shown.change_from_prior_year is not null))
            or (hidden.evaluation_year = 2015 and shown.evaluation_year < shown.target_year
                and shown.on_track_line_value is not null))""",
    )
    assert leaks == [(0,)]
    wide = fetch(
        loaded_warehouse,
        """select count(*) from candidate_all.county_evaluation_wide
        where (g3_verdict = 'suppressed' and g3_disabled_enrollment_percent is not null)
            or (g14_verdict = 'suppressed' and g14_out_of_school_for_poverty_persons is not null)""",
    )
    assert wide == [(0,)]


def test_sources_lead_to_the_files_of_the_county(dbt: Dbt, loaded_warehouse: WarehouseConfig) -> None:
    rows = fetch(
        loaded_warehouse,
        """select source.row_role, source.feed, file.file_name
        from candidate_all.evaluation_source as source inner join ledger.file using (file_sha256, feed)
        where indicator_code = 'G1b' and area_code = '640424' and evaluation_year = 2020 and basis = 'resident'""",
    )
    assert sorted((str(r[0]), str(r[1])) for r in rows) == [
        ("denominator", "population_age"), ("numerator", "enrollment_count"),
    ]  # fmt: skip
    assert all("640424" in str(r[2]) for r in rows if r[0] == "numerator")
    without = fetch(
        loaded_warehouse,
        f"""select count(*) from indicators.fct_indicator_value as counted
        inner join candidate_all.county_evaluation as shown using ({KEY})
        left join candidate_all.evaluation_source as source using ({KEY})
        where counted.numerator > 0 and shown.conf_status = 'F' and source.file_sha256 is null""",
    )
    assert without == [(0,)]
    # the files of a withheld cell would say whether its count is nought
    named = fetch(
        loaded_warehouse,
        f"""select count(*) from candidate_all.county_evaluation as hidden
        inner join candidate_all.evaluation_source using ({KEY}) where hidden.conf_status <> 'F'""",
    )
    assert named == [(0,)]


def test_a_mart_holds_its_year_and_the_years_before(dbt: Dbt, loaded_warehouse: WarehouseConfig) -> None:
    build_marts(dbt, loaded_warehouse, 2019, "candidate_2019")
    years = fetch(
        loaded_warehouse,
        """select min(evaluation_year), max(evaluation_year) from candidate_2019.county_evaluation
        union all select min(evaluation_year), max(evaluation_year) from candidate_2019.county_evaluation_wide
        union all select min(evaluation_year), max(evaluation_year) from candidate_2019.evaluation_source""",
    )
    assert years == [(2015, 2019)] * 3
    # what was known for an earlier year does not depend on the year evaluated
    different = fetch(
        loaded_warehouse,
        """select count(*) from (
            (select * from candidate_2019.county_evaluation except select * from candidate_all.county_evaluation)
        ) as different""",
    )
    assert different == [(0,)]


def content(config: WarehouseConfig, schema: str) -> dict[str, list[tuple[object, ...]]]:
    """Every mart of a schema, ordered by all its columns."""
    found = {}
    for mart in MARTS:
        rows = fetch(config, f"select * from {schema}.{mart}")
        found[mart] = sorted(rows, key=lambda row: [str(cell) for cell in row])
        assert rows
    return found


def test_marts_do_not_depend_on_load_ids(dbt: Dbt, loaded_warehouse: WarehouseConfig) -> None:
    """Another database gives the same files other numbers: turn the numbers round and build everything again."""
    before = content(loaded_warehouse, "candidate_all")
    codes = "select rule_code, case_number, evidence_code from indicators.fct_integrity_flag order by 1, 2"
    cases = fetch(loaded_warehouse, codes)
    with connect("admin", loaded_warehouse) as connection:
        connection.execute("alter table ledger.load alter column load_id set generated by default")
        connection.execute("update ledger.load set load_id = 1000000 - load_id")
        for feed in load_contracts():
            connection.execute(f"update landing.{feed} set load_id = 1000000 - load_id")
        connection.commit()
    dbt.run("run", "--select", "staging", "core", "indicators")
    build_marts(dbt, loaded_warehouse, 2020, "candidate_again")
    assert content(loaded_warehouse, "candidate_again") == before
    # a county that looked at a case finds it under its number again
    assert fetch(loaded_warehouse, codes) == cases
