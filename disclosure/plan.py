"""Decide, before the marts are built, what of each sensitive cell a candidate may show; write it where dbt reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from psycopg import sql

from disclosure.cells import Cell, Gap, Group, read_registry
from disclosure.dense import protect_rounded
from disclosure.geography import Path
from disclosure.model import CellKey
from disclosure.policy import Policy, policy_from_warehouse
from disclosure.rounding import open_rounder
from disclosure.sources import (
    Connection,
    Geography,
    Release,
    read_geography,
    read_registry_rows,
    read_releases,
    rows_of,
)
from disclosure.suppress import Decision, EarlierTable, plan_table
from disclosure.utility import Utility, compare
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

DECISION = "decision"
ROUNDED = "rounded"


@dataclass(frozen=True)
class PlanSummary:
    """What a plan decided; counts only.

    Attributes:
        cells: sensitive cells of the candidate.
        shown: of them shown.
        primary: marked A.
        secondary: marked D.
        bounds: of the hidden ones, shown as a bound.
        policy_sha256: hash of the policy.
        rounded: cells of dense indicators, shown rounded.
        exposed: counts that earlier releases give away whatever is hidden now.
    """

    cells: int
    shown: int
    primary: int
    secondary: int
    bounds: int
    policy_sha256: str
    rounded: int = 0
    exposed: tuple[str, ...] = field(default=())


def earlier_tables(
    group: Group, year: int, releases: Sequence[Release], geography: Geography, paths: Sequence[Path]
) -> list[EarlierTable]:
    """Tables of one group and year in earlier releases, oldest first; what only repeats another is left out."""
    codes = {one.code for one in group.series}
    found: list[EarlierTable] = []
    for release in releases:
        cells = {
            key: cell
            for key, cell in release.cells().items()
            if key.evaluation_year == year and (key.indicator_code, key.variant, key.basis) in codes
        }
        areas = geography.areas(release, paths)
        if cells and not any(one.cells == cells and one.areas == areas for one in found):
            found.append(EarlierTable(release.release_id or "", areas, cells))
    return found


def plan_cells(
    cells: Mapping[CellKey, Cell],
    current: Release,
    releases: Sequence[Release],
    geography: Geography,
    groups: Sequence[Group],
    gaps: Sequence[Gap],
    policy: Policy,
) -> tuple[dict[CellKey, Decision], tuple[str, ...]]:
    """Decide on every sensitive cell.

    Args:
        cells: cells with their true figures.
        current: areas of this candidate (its rows are not looked at).
        releases: earlier releases as published, oldest first.
        geography: successions and groups.
        groups: series that share unknowns.
        gaps: differences of rates; hidden where one of the two rates is.
        policy: the policy.

    Returns:
        Decision on every cell, and counts that earlier releases give away whatever is hidden.
    """
    paths = geography.paths(current, releases)
    areas = geography.areas(current, paths)
    decisions: dict[CellKey, Decision] = {}
    exposed: list[str] = []
    for group in groups:
        codes = {one.code for one in group.series}
        mine = {key: cell for key, cell in cells.items() if (key.indicator_code, key.variant, key.basis) in codes}
        for year in sorted({key.evaluation_year for key in mine}):
            table = {key: cell for key, cell in mine.items() if key.evaluation_year == year}
            made = plan_table(group, areas, table, earlier_tables(group, year, releases, geography, paths), policy)
            decisions |= {key: made.decisions.get(key, Decision("F")) for key in table}
            exposed += made.exposed
    decisions |= _decide_gaps(cells, decisions, gaps)
    return decisions, tuple(exposed)


def operands(key: CellKey, gap: Gap, areas: Mapping[str, str]) -> tuple[CellKey, CellKey | None]:
    """Cells that a gap is the difference of.

    Args:
        key: cell of the gap.
        gap: its rule.
        areas: area -> level.
    """
    minuend = CellKey(*gap.minuend[:2], key.area_code, key.evaluation_year, key.subgroup, gap.minuend[2])
    scope = next((area for area, level in areas.items() if gap.scope in (area, level)), None)
    if scope is None:
        return minuend, None
    return minuend, CellKey(*gap.subtrahend[:2], scope, key.evaluation_year, key.subgroup, gap.subtrahend[2])


def _decide_gaps(
    cells: Mapping[CellKey, Cell], decisions: Mapping[CellKey, Decision], gaps: Sequence[Gap]
) -> dict[CellKey, Decision]:
    areas = {key.area_code: cell.area_level for key, cell in sorted(cells.items())}
    rules = {gap.code: gap for gap in gaps}
    found: dict[CellKey, Decision] = {}
    for key in cells:
        gap = rules.get((key.indicator_code, key.variant, key.basis))
        if gap is not None:
            both = [decisions.get(one, Decision("F")) for one in operands(key, gap, areas) if one is not None]
            found[key] = Decision("F" if all(one.status == "F" for one in both) else "D")
    return found


def read_truth(conn: Connection, evaluation_year: int, policy: Policy) -> tuple[dict[CellKey, Cell], Release]:
    """True figures of every sensitive cell up to a year, and the areas that they are given for."""
    classes = [name for name, one in policy.classes.items() if one.is_protected]
    rows = rows_of(
        conn,
        sql.SQL(
            "select f.indicator_code, f.variant, f.area_code, f.evaluation_year, f.subgroup, f.basis, f.numerator,"
            " f.denominator, a.area_level, a.parent_area_code, i.is_headline and f.subgroup = 'all' as is_headline,"
            " 'F' as conf_status from indicators.fct_indicator_value f"
            " join core.dim_reporting_area a using (area_code)"
            " join reference.indicators i using (indicator_code, variant, basis)"
            " where i.disclosure_class = any(%s) and i.is_in_county_mart and f.evaluation_year <= %s"
        ),
        [classes, evaluation_year],
    )
    areas = rows_of(conn, sql.SQL("select area_code, area_level, parent_area_code from core.dim_reporting_area"))
    cells = Release(None, rows, {}, None).cells()
    return cells, Release(
        None,
        [],
        {row["area_code"]: row["parent_area_code"] for row in areas if row["area_level"] == "county"},
        next((row["area_code"] for row in areas if row["area_level"] == "region"), None),
    )


def plan_candidate(config: WarehouseConfig, evaluation_year: int) -> PlanSummary:
    """Decide on every sensitive cell of the candidate of a year, round every dense one, and write both for dbt.

    Raises:
        PolicyError: the policy contradicts itself or the registry, or parts of a dense cell do not add up to it.
        RoundingKeyError: the rounding key is not the one of what was published before.
    """
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        groups, gaps = read_registry(read_registry_rows(conn), policy)
        classes = [name for name, one in policy.classes.items() if one.is_protected]
        cells, current = read_truth(conn, evaluation_year, policy)
        releases = read_releases(conn, classes)
        geography = read_geography(conn)
    decisions, exposed = plan_cells(cells, current, releases, geography, groups, gaps, policy)
    write_decisions(config, evaluation_year, decisions)
    counted = Counter(decision.status for decision in decisions.values())
    return PlanSummary(
        cells=len(decisions),
        shown=counted["F"],
        primary=counted["A"],
        secondary=counted["D"],
        bounds=sum(decision.bound is not None for decision in decisions.values()),
        policy_sha256=policy.sha256,
        rounded=protect_rounded(config, evaluation_year),
        exposed=exposed,
    )


def write_decisions(
    config: WarehouseConfig, evaluation_year: int, decisions: Mapping[CellKey, Decision], *, schema: str = "disclosure"
) -> None:
    """Replace the decisions on the candidate of a year, in one transaction."""
    table = sql.Identifier(schema, DECISION)
    with connect("transform", config) as conn:
        conn.execute(sql.SQL("delete from {} where release_year = %s").format(table), (evaluation_year,))
        with conn.cursor() as cursor, cursor.copy(sql.SQL("copy {} from stdin").format(table)) as copy:
            for key, decision in sorted(decisions.items()):
                copy.write_row((evaluation_year, *key, decision.status, decision.bound))
        conn.commit()
        conn.execute(sql.SQL("analyze {}").format(table))


def restore_decisions(config: WarehouseConfig, release_id: str, schema_prefix: str) -> int:
    """Write the decisions that a release was built with beside everything, so that it can be built again.

    A release says of each cell whether it shows it: those marks are the decisions. Planning anew would depend on the
    version of the solver. Dense cells are rounded anew from what was built: under the same key the same count is
    rounded alike.

    Args:
        config: the warehouse.
        release_id: release to be built again.
        schema_prefix: prefix of the schemas of that build (dbt variable ``schema_prefix``).

    Returns:
        Number of decisions.
    """
    schema = f"{schema_prefix}disclosure"
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        classes = [name for name, one in policy.classes.items() if one.is_protected]
        (release,) = [one for one in read_releases(conn, classes) if one.release_id == release_id]
        (row,) = conn.execute(
            "select evaluation_year from ledger.release where release_id = %s", (release_id,)
        ).fetchall()
    with connect("transform", config) as conn:
        conn.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        for name in (DECISION, ROUNDED):
            conn.execute(
                sql.SQL("create table if not exists {} (like {} including all)").format(
                    sql.Identifier(schema, name), sql.Identifier("disclosure", name)
                )
            )
    found = {cell.key: Decision(cell.status, cell.bound) for cell in release.cells().values()}
    year = int(str(row[0]))
    write_decisions(config, year, found, schema=schema)
    protect_rounded(config, year, schema_prefix=schema_prefix)
    return len(found)


def read_decisions(conn: Connection, evaluation_year: int) -> dict[CellKey, Decision]:
    """Decisions on the candidate of a year, as written for dbt."""
    rows = conn.execute(
        "select indicator_code, variant, area_code, evaluation_year, subgroup, basis, conf_status, value_bound"
        " from disclosure.decision where release_year = %s",
        (evaluation_year,),
    ).fetchall()
    return {CellKey(*row[:6]): Decision(row[6], row[7]) for row in rows}  # type: ignore[arg-type]


def measure_utility(config: WarehouseConfig, evaluation_year: int) -> list[Utility]:
    """Loss of both methods on the marts of a candidate whose decisions are written, each on the same cells."""
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        groups, _ = read_registry(read_registry_rows(conn), policy)
        cells, current = read_truth(conn, evaluation_year, policy)
        geography = read_geography(conn)
        decisions = read_decisions(conn, evaluation_year)
    # one smallest area per county: rounding would round today's counties
    areas = geography.areas(current, [(county,) for county in sorted(current.counties)])
    found: list[Utility] = []
    # a mart with smallest cells of its own shows none of these
    for mart, (method, base) in sorted(item for item in policy.methods.items() if item[0] not in policy.cells):
        widest = max((one.min_width for one in policy.classes.values()), default=0)
        rounder = open_rounder(config, base or 2 * widest)
        both = compare(mart, cells, decisions, groups, areas, rounder)
        found += [replace(one, is_used=one.method == method) for one in both]
    return found
