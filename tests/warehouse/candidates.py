"""A small candidate with the marts and columns that releases distinguish, and ways to change it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import psycopg

from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.migrate import migrate
from warehouse.release import Provenance, ReleaseOutcome, candidate_sha256, publish_candidate
from warehouse.transform import make_candidate_schema
from warehouse.versioning import Level

SCHEMA = "candidate_test"
PROVENANCE = Provenance(
    git_commit="a" * 40,
    contracts_sha256="c",
    seeds_sha256="s",
    input_sha256={"enrollment_count": "e1", "population_age": "p1", "pupil": "u1"},
    registry_sha256="r",
    seed_sha256={"indicators": "r", "targets": "t1"},
)
CELL = ["indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis"]
Row = dict[str, Any]


@dataclass
class Mart:
    """A table of the candidate: column -> type, key, rows, comments (of the table under the empty name)."""

    columns: dict[str, str]
    key: list[str]
    rows: list[Row]
    comments: dict[str, str] = field(default_factory=dict)


Marts = dict[str, Mart]


def marts(*, years: tuple[int, ...] = (2019,)) -> Marts:
    """Two indicators in two counties, their sources and their definitions."""
    cells = [
        {
            "indicator_code": indicator,
            "variant": "ger3",
            "area_code": area,
            "evaluation_year": year,
            "subgroup": "all",
            "basis": "resident",
            "name_zh": f"{indicator}毛入园率",
            "unit": "percent",
            "numerator": 70,
            "denominator": 100,
            "value": 70,
            "verdict": "met",
            "conf_status": "F",
            "method_version": "1",
            "source_feeds": feeds,
            "assumption_id": "Y1",
            "target_year": 2018,
            "target_year_basis": "assumed",
        }
        for (indicator, feeds), area, year in itertools.product(
            (("G1b", "enrollment_count;population_age"), ("G3", "pupil")), ("640424", "640422"), years
        )
    ]
    sources = [
        {**{name: cell[name] for name in CELL}, "file_sha256": digest, "feed": "pupil"}
        for cell in cells
        for digest in ("f1", "f2")
    ]
    definitions = [
        {
            "indicator_code": indicator,
            "variant": "ger3",
            "basis": "resident",
            "name_zh": f"{indicator}毛入园率",
            "formula_text": "在园幼儿数 ÷ 3—5岁人口 × 100",
            "unit": "percent",
            "method_version": "1",
        }
        for indicator in ("G1b", "G3")
    ]
    kinds = {
        "evaluation_year": "integer",
        "target_year": "integer",
        "numerator": "numeric(38,0)",
        "denominator": "numeric(38,0)",
        "value": "numeric(20,4)",
    }
    return {
        "county_evaluation": Mart(
            {name: kinds.get(name, "text") for name in cells[0]},
            CELL,
            cells,
            {"": "县级年度评价", "value": "指标值 — value"},
        ),
        "evaluation_source": Mart(
            {name: kinds.get(name, "text") for name in sources[0]}, [*CELL, "file_sha256"], sources
        ),
        "indicator_dictionary": Mart(
            dict.fromkeys(definitions[0], "text"), ["indicator_code", "variant", "basis"], definitions
        ),
    }


def cells(found: Marts, **where: object) -> list[Row]:
    """Rows of county_evaluation with the given values."""
    return [row for row in found["county_evaluation"].rows if all(row[name] == value for name, value in where.items())]


def changed(found: Marts, change: Callable[[Marts], None]) -> Marts:
    """A copy with a change."""
    new = copy.deepcopy(found)
    change(new)
    return new


def create(conn: psycopg.Connection[tuple[object, ...]], schema: str, found: Marts) -> None:
    """Make the tables in a schema that exists."""
    for name, mart in found.items():
        columns = ", ".join(f'"{column}" {kind}' for column, kind in mart.columns.items())
        conn.execute(f"create table {schema}.{name} ({columns}, primary key ({', '.join(mart.key)}))".encode())
        marks = ", ".join(["%s"] * len(mart.columns))
        with conn.cursor() as cursor:
            cursor.executemany(
                f"insert into {schema}.{name} values ({marks})".encode(),
                [tuple(row.get(column) for column in mart.columns) for row in mart.rows],
            )
        for column, text in mart.comments.items():
            thing = f"column {schema}.{name}.{column}" if column else f"table {schema}.{name}"
            conn.execute(f"comment on {thing} is '{text}'".encode())


def offer(config: WarehouseConfig, found: Marts, decision: str = "pass") -> None:
    """Build the candidate and write the gate's word on it."""
    make_candidate_schema(config, SCHEMA)
    with connect("transform", config) as conn:
        create(conn, SCHEMA, found)
    content = candidate_sha256(config, SCHEMA)
    with connect("gatekeeper", config) as conn:
        conn.execute(
            "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision)"
            " values ('candidate', 'test', 2019, %s, %s, %s)",
            (SCHEMA, content, decision),
        )


def publish(
    config: WarehouseConfig,
    found: Marts | None = None,
    *,
    year: int = 2019,
    kind: Literal["annual", "restatement"] = "annual",
    reason: str = "县级补报",
    change: Level | None = None,
    embargo: datetime | None = None,
    dry_run: bool = False,
    **provenance: Any,
) -> ReleaseOutcome:
    """Offer the marts (None: what is there) and publish them."""
    if found is not None:
        offer(config, found)
    return publish_candidate(
        config,
        SCHEMA,
        evaluation_year=year,
        kind=kind,
        reason=reason,
        provenance=replace(PROVENANCE, **provenance),
        run_id="test",
        dry_run=dry_run,
        declared_change=change,
        embargo_until=embargo,
    )


_numbers = itertools.count(1)


def new_database(config: WarehouseConfig) -> WarehouseConfig:
    """An empty, migrated warehouse in a database of its own on the same server: much faster than a server."""
    fresh = replace(config, database=f"edupa_{next(_numbers)}")
    migrate(fresh)
    return fresh


def asked(config: WarehouseConfig, query: str, role: str = "evaluator") -> list[tuple[object, ...]]:
    """Rows of a query."""
    with connect(role, config) as conn:
        return conn.execute(query.encode()).fetchall()
