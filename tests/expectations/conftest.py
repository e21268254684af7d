"""A small real province behind the gates: simulated, loaded, built by dbt, once for the session."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ingest
from disclosure.plan import plan_candidate
from expectations.gate import Judgement, facts, judge
from expectations.runner import make_context
from expectations.snapshot import SnapshotConnection
from expectations.suite import Boundary, load_suites
from simulator.run import simulate
from tests.conftest import make_warehouse
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, connection_parts
from warehouse.server import stop
from warehouse.transform import make_candidate_schema, run_dbt

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext

YEAR = 2020
CANDIDATE = "candidate_tried"
SCALE = 0.005


@dataclass(frozen=True)
class Province:
    """A warehouse with everything loaded and a candidate built."""

    config: WarehouseConfig
    extracts: Path


@pytest.fixture(scope="session")
def context() -> EphemeralDataContext:
    """Great Expectations, imported once."""
    return make_context()


@pytest.fixture(scope="session")
def province() -> Iterator[Province]:
    """Every feed of the sample without defects, and the candidate of the last year."""
    home = Path(tempfile.mkdtemp(prefix="edupa-gate-"))
    home.chmod(0o755)
    extracts = home / "extracts"
    simulate(extracts, scale=SCALE)
    config = make_warehouse(home)
    contracts = ingest.load_contracts()
    ingest.ensure_token_key(config)
    with connect("ingest", config) as conn:
        ingest.ensure_landing(conn, contracts)
    for feed in contracts:
        ingest.load_feed(feed, extracts, contracts, config)
    make_candidate_schema(config, CANDIDATE)
    # models only: their tests are dbt's own and run in tests/dbt
    run_dbt(["seed"], config)
    variables: dict[str, object] = {"evaluation_year": YEAR, "candidate_schema": CANDIDATE}
    run_dbt(["run", "--exclude", "path:models/marts"], config, variables=variables)
    plan_candidate(config, YEAR)
    run_dbt(["run", "--select", "path:models/marts"], config, variables=variables)
    with connect("admin", config, autocommit=True) as conn:
        # as autovacuum does in time; defects that join a table with itself crawl without it
        conn.execute("analyze")
    yield Province(config, extracts)
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


# boundary, statements of the defect, name of the suite that must be asked
Look = Callable[[Boundary, Sequence[str], str | None], Judgement]


@pytest.fixture(scope="session")
def look(province: Province, context: EphemeralDataContext) -> Look:
    """Judge a boundary as the gatekeeper would, with a defect that is undone afterwards.

    Only suites that read a table named in the defect are asked: the others cannot tell the difference, because a
    suite declares every table it reads (test_suites proves that).
    """
    boundaries: tuple[Boundary, ...] = ("arrival", "candidate")
    loaded = {boundary: load_suites(boundary, facts(YEAR, CANDIDATE)) for boundary in boundaries}
    parts = connection_parts("admin", province.config)

    def judge_with(boundary: Boundary, defect: Sequence[str], suite_name: str | None = None) -> Judgement:
        rules, suites = loaded[boundary]
        text = " ".join(defect)
        concerned = tuple(
            suite
            for suite in suites
            if not defect or suite.name == suite_name or any(re.search(rf"{table}\b", text) for table in suite.tables)
        )
        conn = SnapshotConnection.connect(
            host=parts.host, port=parts.port, dbname=parts.database, user=parts.user, password=parts.password
        )
        try:
            # dbt's own constraints would refuse some defects: the gate is the second line behind them
            for table, constraint in conn.execute(
                "select conrelid::regclass::text, quote_ident(conname) from pg_constraint"
                " where contype = 'c' and connamespace in (%s::regnamespace, 'indicators'::regnamespace)",
                (CANDIDATE,),
            ).fetchall():
                conn.execute(f"alter table {table} drop constraint {constraint}".encode())
            for statement in defect:
                done = conn.execute(statement.encode())
                assert done.rowcount != 0, f"the defect changes nothing: {statement}"
            conn.execute("set local role edupa_gatekeeper")
            conn.hold()
            return judge(conn, context, rules, concerned)
        finally:
            conn.release()

    return judge_with
