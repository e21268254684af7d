"""Ways to put a new version of several marts before readers, all with the same contents.

Every version fills each of ``MARTS`` with ``ROWS`` rows whose ``value`` is the version's number, so that a reader can
see at once which versions a result was made of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import psycopg

from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.release import Provenance, candidate_sha256, publish_candidate
from warehouse.transform import make_candidate_schema

MARTS = ("county_evaluation", "county_evaluation_wide", "evaluation_source", "indicator_dictionary")
ROWS = 500
YEAR = 2020
CANDIDATE = "candidate_bench"

Connection = psycopg.Connection[tuple[object, ...]]


def fill(conn: Connection, schema: str, table: str, version: int) -> None:
    """Make one mart of a version; the columns are those that the release step itself reads."""
    conn.execute(
        f"create table {schema}.{table} (indicator_code text, variant text, area_code text, evaluation_year integer,"
        " subgroup text, basis text, value numeric(20, 4), verdict text, conf_status text, assumption_id text,"
        " target_year integer, target_year_basis text,"
        " primary key (indicator_code, variant, area_code, evaluation_year, subgroup, basis))".encode()
    )
    conn.execute(
        f"insert into {schema}.{table} select 'G1b', 'ger3', cast(640000 + n as text), {YEAR}, 'all', 'resident',"
        f" {version}, 'met', 'F', null, null, null from generate_series(1, {ROWS}) as n".encode()
    )


class Way(Protocol):
    """A way to publish."""

    schema: str

    def build(self, version: int) -> None:
        """Prepare a version out of the readers' sight."""

    def publish(self, version: int) -> None:
        """Put the prepared version before the readers."""


@dataclass
class Pointer:
    """Ours: frozen partitions, one pointer row."""

    config: WarehouseConfig
    schema: str = "marts"

    def build(self, version: int) -> None:
        """Candidate and the gate's word on it."""
        make_candidate_schema(self.config, CANDIDATE)
        with connect("transform", self.config) as conn:
            for mart in MARTS:
                fill(conn, CANDIDATE, mart, version)
        content = candidate_sha256(self.config, CANDIDATE)
        with connect("gatekeeper", self.config) as conn:
            conn.execute(
                "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision)"
                " values ('candidate', 'bench', %s, %s, %s, 'pass')",
                (YEAR, CANDIDATE, content),
            )

    def publish(self, version: int) -> None:
        """The release step itself: freeze, seal, attach, move the pointer."""
        publish_candidate(
            self.config,
            CANDIDATE,
            evaluation_year=YEAR,
            kind="annual",
            reason=f"version {version}",
            provenance=Provenance(git_commit=None, contracts_sha256="c", seeds_sha256="s", input_sha256={}),
            run_id="bench",
        )


class _Rival:
    """What the rivals share: a schema that readers may use, and an owner who swaps in it."""

    schema: str

    def __init__(self, config: WarehouseConfig) -> None:
        """Make the schema with version 0 in it."""
        self.config = config
        with connect("admin", config) as conn:
            conn.execute(f"create schema {self.schema}".encode())
            self._open(conn, self.schema)
            self._first(conn)

    @staticmethod
    def _open(conn: Connection, schema: str) -> None:
        conn.execute(f"grant usage on schema {schema} to edupa_evaluator".encode())
        conn.execute(f"alter default privileges in schema {schema} grant select on tables to edupa_evaluator".encode())

    def _first(self, conn: Connection) -> None:
        for mart in MARTS:
            fill(conn, self.schema, mart, 0)


class DbtRename(_Rival):
    """dbt's table materialization: build beside, rename, one transaction per model."""

    schema = "bench_rename"

    def build(self, version: int) -> None:
        """The new tables under temporary names."""
        with connect("admin", self.config) as conn:
            for mart in MARTS:
                fill(conn, self.schema, f"{mart}__dbt_tmp", version)

    def publish(self, version: int) -> None:
        """Old away, new to its place, model by model."""
        with connect("admin", self.config, autocommit=True) as conn:
            for mart in MARTS:
                with conn.transaction():
                    conn.execute(f"alter table {self.schema}.{mart} rename to {mart}__dbt_backup".encode())
                    conn.execute(f"alter table {self.schema}.{mart}__dbt_tmp rename to {mart}".encode())
                conn.execute(f"drop table {self.schema}.{mart}__dbt_backup cascade".encode())


class ViewReplacement(_Rival):
    """Views over versioned tables, all replaced in one transaction."""

    schema = "bench_views"

    def _first(self, conn: Connection) -> None:
        conn.execute(f"create schema {self.schema}_0".encode())
        for mart in MARTS:
            fill(conn, f"{self.schema}_0", mart, 0)
            conn.execute(f"create view {self.schema}.{mart} as select * from {self.schema}_0.{mart}".encode())

    def build(self, version: int) -> None:
        """The tables of the version."""
        with connect("admin", self.config) as conn:
            conn.execute(f"create schema {self.schema}_{version}".encode())
            for mart in MARTS:
                fill(conn, f"{self.schema}_{version}", mart, version)

    def publish(self, version: int) -> None:
        """Every view in one transaction."""
        with connect("admin", self.config) as conn:
            for mart in MARTS:
                conn.execute(
                    f"create or replace view {self.schema}.{mart} as"
                    f" select * from {self.schema}_{version}.{mart}".encode()
                )


class SchemaRename(_Rival):
    """A whole schema beside, renamed into place in one transaction."""

    schema = "bench_schema"

    def build(self, version: int) -> None:
        """The schema of the version."""
        with connect("admin", self.config) as conn:
            conn.execute(f"create schema {self.schema}_next".encode())
            self._open(conn, f"{self.schema}_next")
            for mart in MARTS:
                fill(conn, f"{self.schema}_next", mart, version)

    def publish(self, version: int) -> None:
        """Old schema away, new one to its place."""
        with connect("admin", self.config, autocommit=True) as conn:
            with conn.transaction():
                conn.execute(f"alter schema {self.schema} rename to {self.schema}_old".encode())
                conn.execute(f"alter schema {self.schema}_next rename to {self.schema}".encode())
            conn.execute(f"drop schema {self.schema}_old cascade".encode())


class TruncateInsert(_Rival):
    """The same tables, emptied and filled again in one transaction."""

    schema = "bench_truncate"

    def build(self, version: int) -> None:
        """Nothing to prepare: the rows are made in place."""

    def publish(self, version: int) -> None:
        """Every table in one transaction."""
        with connect("admin", self.config) as conn:
            for mart in MARTS:
                conn.execute(f"create temporary table fresh_{mart} (like {self.schema}.{mart})".encode())
                conn.execute(
                    f"insert into fresh_{mart} select indicator_code, variant, area_code, evaluation_year, subgroup,"
                    f" basis, {version}, verdict, conf_status, assumption_id, target_year, target_year_basis"
                    f" from {self.schema}.{mart}".encode()
                )
                conn.execute(f"truncate {self.schema}.{mart}".encode())
                conn.execute(f"insert into {self.schema}.{mart} select * from fresh_{mart}".encode())


RIVALS: dict[str, Callable[[WarehouseConfig], Way]] = {
    "dbt_rename": DbtRename,
    "view_replacement": ViewReplacement,
    "schema_rename": SchemaRename,
    "truncate_insert": TruncateInsert,
}


def publish_and_die(config: WarehouseConfig, version: int, point: str) -> int:
    """Publish in a forked process that ``kill -9`` ends at a fail point.

    Returns:
        Its wait status; 9 where the point was reached.
    """
    child = os.fork()
    if child == 0:
        os.environ["EDUPA_FAILPOINT"] = point
        try:
            Pointer(config).publish(version)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return status
