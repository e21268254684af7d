"""Fixtures of the ingest tests: contracts, an extract root, a warehouse emptied before each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest
from ingest import Contract
from tests.conftest import make_warehouse
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.server import stop


@pytest.fixture(scope="session")
def contracts() -> dict[str, Contract]:
    return ingest.load_contracts()


@pytest.fixture(scope="module")
def own_server() -> Iterator[WarehouseConfig]:
    """A server for the tests of one module, so that emptying it disturbs no other room's tests."""
    home = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def empty(own_server: WarehouseConfig, contracts: dict[str, Contract]) -> WarehouseConfig:
    """The module's warehouse with landing tables and a token key, and no rows."""
    ingest.ensure_token_key(own_server)
    with connect("ingest", own_server) as conn:
        ingest.ensure_landing(conn, contracts)
    with connect("admin", own_server) as conn:
        tables = ", ".join(f"landing.{feed}" for feed in contracts)
        conn.execute(
            f"truncate {tables}, ledger.load, ledger.seen, ledger.file, vault.person_identity, vault.token_key,"
            " quarantine.rejected_row cascade"
        )
    return own_server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "extracts"
    folder.mkdir()
    return folder
