"""What the planner and the audit read from the warehouse: geography, registry, true figures, releases as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from disclosure.cells import Cell, Status
from disclosure.geography import Areas, Path, Succession, all_paths, areas_of
from disclosure.model import CellKey

Connection = psycopg.Connection[tuple[object, ...]]
LONG_MART = "county_evaluation"
COLUMNS = (
    "indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis", "area_level", "parent_area_code",
    "is_headline", "is_plan_county", "unit", "numerator", "denominator", "value", "value_reason", "prior_year_value",
    "change_from_prior_year", "region_value", "gap_to_region", "target_operator", "target_value", "target_year",
    "on_track_line_value", "verdict", "conf_status", "value_bound", "rounding_base",
)  # fmt: skip


@dataclass(frozen=True)
class Release:
    """A table of the long mart as readers have it: a published release, or the candidate.

    Attributes:
        release_id: release; None for the candidate.
        rows: rows of the sensitive indicators (and their gaps), as COLUMNS.
        counties: county -> city.
        region: code of the region.
        policy_sha256: policy that it was audited under before it was published; None: not known.
    """

    release_id: str | None
    rows: list[dict[str, Any]]
    counties: dict[str, str | None]
    region: str | None
    policy_sha256: str | None = None

    def cells(self) -> dict[CellKey, Cell]:
        """Every row as a cell."""
        return {cell.key: cell for cell in map(cell_of, self.rows)}


@dataclass(frozen=True)
class Geography:
    """Public facts of areas: successions of counties, members of groups.

    Attributes:
        successions: of counties.
        groups: group -> its counties, by the codes of today.
    """

    successions: tuple[Succession, ...]
    groups: dict[str, frozenset[str]]

    def paths(self, current: Release, earlier: Sequence[Release]) -> list[Path]:
        """Smallest areas that the counties of all releases are made of."""
        counties = {county for one in (current, *earlier) for county in one.counties}
        return all_paths(counties, self.successions, current.counties)

    def areas(self, release: Release, paths: Sequence[Path]) -> Areas:
        """Areas of one release as smallest areas."""
        return areas_of(release.counties, self.groups, release.region, paths, self.successions)


def cell_of(row: Mapping[str, Any]) -> Cell:
    """A row of the long mart as a cell."""
    status: Status = "F" if row["conf_status"] == "F" else "A" if row["conf_status"] == "A" else "D"
    return Cell(
        key=CellKey(*(row[name] for name in CellKey._fields)),
        area_level=row["area_level"],
        is_headline=row["is_headline"],
        numerator=None if row["numerator"] is None else int(row["numerator"]),
        denominator=None if row["denominator"] is None else int(row["denominator"]),
        status=status,
        bound=row.get("value_bound"),
        is_measured=status != "F" or row["numerator"] is not None,
    )


def rows_of(conn: Connection, query: sql.SQL | sql.Composed, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Rows of a query by column name."""
    cursor = conn.execute(query, parameters)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def read_registry_rows(conn: Connection) -> list[dict[str, Any]]:
    """The registry of indicators."""
    return rows_of(conn, sql.SQL("select * from reference.indicators"))


def read_geography(conn: Connection) -> Geography:
    """Successions of counties as delivered, and the members of every group of counties."""
    listed = conn.execute("select to_regclass('landing.area_succession'), to_regclass('landing.admin_area')").fetchone()
    links: list[tuple[object, ...]] = []
    if listed and listed[0] and listed[1]:
        links = conn.execute(
            "select s.from_area_code, s.to_area_code, exists (select 1 from landing.admin_area a"
            "   where a.area_code = s.to_area_code and a.ended_load_id is null and a.valid_from < s.change_date)"
            " from landing.area_succession s where s.ended_load_id is null"
            " and length(s.from_area_code) = 6 and length(s.to_area_code) = 6 and s.from_area_code <> s.to_area_code"
        ).fetchall()
    groups: dict[str, set[str]] = {}
    for group, county in conn.execute(
        "select area_code, county_code from core.bridge_area_rollup where area_level = 'group'"
    ).fetchall():
        groups.setdefault(str(group), set()).add(str(county))
    return Geography(
        tuple(Succession(str(origin), str(successor), bool(existed)) for origin, successor, existed in links),
        {group: frozenset(found) for group, found in groups.items()},
    )


def read_members(conn: Connection, schema_prefix: str = "") -> dict[str, list[str]]:
    """Area -> the counties that are pooled into it; a county has itself."""
    members: dict[str, list[str]] = {}
    for area, county in conn.execute(
        sql.SQL("select area_code, county_code from {} order by area_code, county_code").format(
            sql.Identifier(f"{schema_prefix}core", "bridge_area_rollup")
        )
    ):
        members.setdefault(str(area), []).append(str(county))
    return members


def _release(release_id: str | None, rows: list[dict[str, Any]], policy_sha256: str | None = None) -> Release:
    return Release(
        release_id,
        rows,
        {row["area_code"]: row["parent_area_code"] for row in rows if row["area_level"] == "county"},
        next((row["area_code"] for row in rows if row["area_level"] == "region"), None),
        policy_sha256,
    )


def read_mart(conn: Connection, table: sql.Composable, classes: Sequence[str], where: sql.Composable) -> list[Any]:
    """Rows of a long mart of indicators of the given disclosure classes; a column that it lacks reads null."""
    first = conn.execute(sql.SQL("select * from {} limit 0").format(table))
    present = {column.name for column in first.description or ()}
    return rows_of(
        conn,
        sql.SQL(
            "select {} from {} as m join (select distinct indicator_code as c, variant as v, basis as b"
            " from reference.indicators where disclosure_class = any(%s)) as r"
            " on r.c = m.indicator_code and r.v = m.variant and r.b = m.basis where {}"
        ).format(
            sql.SQL(", ").join(
                sql.Identifier("m", name) if name in present else sql.SQL("null as {}").format(sql.Identifier(name))
                for name in COLUMNS
            ),
            table,
            where,
        ),
        [list(classes)],
    )


def read_candidate(conn: Connection, schema: str, classes: Sequence[str]) -> Release:
    """The long mart of a candidate schema."""
    return _release(None, read_mart(conn, sql.Identifier(schema, LONG_MART), classes, sql.SQL("true")))


def read_releases(conn: Connection, classes: Sequence[str]) -> list[Release]:
    """Every release that readers have or have had (withdrawn ones too), oldest first."""
    exists = conn.execute("select to_regclass(%s)", (f"releases.{LONG_MART}",)).fetchone()
    if not (exists and exists[0]):
        return []
    known = [
        (str(row[0]), None if row[1] is None else str(row[1]))
        for row in conn.execute(
            "select release_id, policy_sha256 from ledger.release where status <> 'frozen'"
            " order by frozen_at, release_id"
        ).fetchall()
    ]
    table = sql.Identifier("releases", LONG_MART)
    return [
        _release(name, read_mart(conn, table, classes, sql.SQL("m.release_id = {}").format(sql.Literal(name))), digest)
        for name, digest in known
    ]
