"""Fixtures shared by all rooms: a private, migrated warehouse that lives as long as the test session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from warehouse.config import WarehouseConfig
from warehouse.migrate import migrate
from warehouse.server import start, stop

# folders whose tests share an expensive session fixture: one worker runs them all
_TOGETHER = ("e2e", "dbt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every file to one worker (a folder of ``_TOGETHER`` likewise), the longest first."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here)
        group = place.parts[0] if place.parts[0] in _TOGETHER else place.as_posix()
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in _TOGETHER)


def make_warehouse(home: Path) -> WarehouseConfig:
    """Start a throw-away server (fsync off) with the newest schema below ``home``."""
    config = WarehouseConfig(home=home, secrets_dir=home / "secrets", durable=False)
    start(config)
    migrate(config)
    return config


@pytest.fixture(scope="session")
def warehouse() -> Iterator[WarehouseConfig]:
    """A migrated, empty warehouse for the session; tests that fill it must not rely on its being empty."""
    # below /tmp, not pytest's own folder: as root that one is closed to the account the server runs as
    home = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def fresh_warehouse() -> Iterator[WarehouseConfig]:
    """A migrated, empty warehouse for one test."""
    home = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)
