"""Two small provinces for the session: one clean, one with defects."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator import SimulationReport, simulate
from simulator.geography import Geography, build_geography
from simulator.plan import Plan, build_plan

SEED = 7
SCALE = 0.005


@pytest.fixture(scope="session")
def geo() -> Geography:
    """Return the areas (they do not depend on the scale)."""
    return build_geography(SEED)


@pytest.fixture(scope="session")
def whole_plan(geo: Geography) -> Plan:
    """Return stage A for the whole province."""
    return build_plan(geo, 1.0)


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """Return a small sample without defects."""
    return simulate(tmp_path_factory.mktemp("clean") / "extracts", scale=SCALE, seed=SEED, defects=False)


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """Return the same sample with defects."""
    return simulate(tmp_path_factory.mktemp("damaged") / "extracts", scale=SCALE, seed=SEED, defects=True)


@pytest.fixture(scope="session")
def feed_paths(damaged: SimulationReport) -> list[Path]:
    """Return every feed file of the damaged sample."""
    return sorted(p for p in damaged.out.rglob("*") if p.is_file() and ".truth" not in p.parts)
