"""Fixtures of the matrix: our contracts and that of a feed which only the matrix has; one night at the loading dock."""

from __future__ import annotations

from pathlib import Path

import pytest

import ingest
from ingest import Contract
from tests.ingest.matrix.night import Night
from warehouse.config import WarehouseConfig

MATRIX_CONTRACTS = Path(__file__).parent / "contracts"


@pytest.fixture(scope="session")
def contracts() -> dict[str, Contract]:
    return {**ingest.load_contracts(), **ingest.load_contracts(MATRIX_CONTRACTS)}


@pytest.fixture
def night(root: Path, contracts: dict[str, Contract], empty: WarehouseConfig) -> Night:
    return Night(root, contracts, empty)
