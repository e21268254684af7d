"""Run dbt in this process, as the transform role, with its traces below the warehouse's home."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from warehouse.access import grant_schema
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect, connection_parts

# parameters of the warehouse's URL that dbt's profile passes on
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
DBT_PROJECT = PROJECT_ROOT / "dbt_project"


class TransformError(RuntimeError):
    """dbt could not finish; the message names the nodes that failed and why."""


@dataclass(frozen=True)
class DbtSummary:
    """How many nodes ended how."""

    command: str
    succeeded: int
    failed: int
    skipped: int
    warned: int
    seconds: float


def dbt_environment(config: WarehouseConfig) -> dict[str, str]:
    """Environment variables that dbt_project/profiles.yml reads."""
    parts = connection_parts("transform", config)
    return {
        "EDUPA_DBT_HOST": parts.host,
        "EDUPA_DBT_PORT": str(parts.port),
        "EDUPA_DBT_DBNAME": parts.database,
        "EDUPA_DBT_USER": parts.user,
        "EDUPA_DBT_PASSWORD": parts.password,
        **{f"EDUPA_DBT_{name.upper()}": value for name, value in parts.options.items() if name in _TLS},
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }


def make_candidate_schema(config: WarehouseConfig, schema: str, origin: dict[str, object] | None = None) -> None:
    """Empty schema for the marts of one run, with the privileges of a candidate; what was left there is dropped.

    Args:
        config: the warehouse.
        schema: its name.
        origin: what it is made from and by whom (run_id, as_of_load_id), kept with the schema; see candidate_origin.
    """
    name = sql.Identifier(schema)
    with connect("transform", config) as conn:
        conn.execute(sql.SQL("drop schema if exists {} cascade").format(name))
        conn.execute(sql.SQL("create schema {}").format(name))
        grant_schema(conn, "candidate", schema)
        if origin is not None:
            conn.execute(sql.SQL("comment on schema {} is {}").format(name, sql.Literal(json.dumps(origin))))


def candidate_origin(config: WarehouseConfig, schema: str) -> dict[str, Any]:
    """What a candidate schema was made from and by whom; empty where it was made without saying so, or is gone."""
    with connect("transform", config) as conn:
        row = conn.execute(
            "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s", (schema,)
        ).fetchone()
    try:
        origin = json.loads(str(row[0])) if row and row[0] else {}
    except json.JSONDecodeError:
        return {}
    return origin if isinstance(origin, dict) else {}


def last_load_of_core(config: WarehouseConfig) -> int:
    """Last load that core was built from; 0: from none.

    No load lands while core is built, so this one number says what landing held for every table of it.
    """
    with connect("transform", config) as conn:
        row = conn.execute("select coalesce(max(load_id), 0) from core.dim_source_file").fetchone()
    return int(str(row[0])) if row else 0


def run_dbt(
    arguments: Sequence[str],
    config: WarehouseConfig,
    *,
    variables: dict[str, object] | None = None,
    workspace: str = "dbt",
) -> DbtSummary:
    """Run one dbt command on the project.

    Args:
        arguments: command and its flags, e.g. ``["build", "--select", "staging"]``.
        config: the warehouse.
        variables: dbt vars.
        workspace: folder of dbt's traces below the warehouse's home; a build with other vars than the nightly one keeps
            to its own, or it would spoil what the nightly one need not parse again.

    Raises:
        TransformError: dbt failed, or a node did.
    """
    from dbt.cli.main import dbtRunner

    home = config.home / workspace
    home.mkdir(parents=True, exist_ok=True)
    command = [
        *arguments,
        "--project-dir", str(DBT_PROJECT),
        "--profiles-dir", str(DBT_PROJECT),
        "--target-path", str(home / "target"),
        "--log-path", str(home / "logs"),
        "--no-use-colors",
        "--log-level", "warn",
        "--vars", json.dumps(variables or {}),
    ]  # fmt: skip
    before = {name: os.environ.get(name) for name in dbt_environment(config)}
    os.environ.update(dbt_environment(config))
    try:
        done = dbtRunner().invoke(command)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    if done.exception is not None:
        raise TransformError(f"dbt {arguments[0]}: {done.exception}")
    results = list(getattr(done.result, "results", None) or [])
    states = [str(getattr(result, "status", "")) for result in results]
    failures = [
        f"{result.node.name}: {' '.join(str(result.message or '').split())[:300]}"
        for result, state in zip(results, states, strict=True)
        if state in ("error", "fail", "runtime error")
    ]
    if failures or not done.success:
        raise TransformError(f"dbt {arguments[0]} failed in {len(failures)} nodes: " + "; ".join(failures[:5]))
    return DbtSummary(
        command=" ".join(arguments),
        succeeded=sum(state in ("success", "pass") for state in states),
        failed=0,
        skipped=states.count("skipped"),
        warned=states.count("warn"),
        seconds=float(getattr(done.result, "elapsed_time", 0.0) or 0.0),
    )
