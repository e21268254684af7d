"""Fixtures shared by all rooms: a private, migrated warehouse that lives as long as the test session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from warehouse.config import WarehouseConfig
from warehouse.migrate import migrate
from warehouse.server import start, stop

# folders that take longest come first; of the second, whose files share an expensive fixture, one worker runs all
_LONG = ("e2e", "dbt")
_TOGETHER = ("dbt",)


class _ByFile(LoadScopeScheduling):
    """Gives every file to one worker, and a folder of ``_TOGETHER`` likewise.

    xdist's own groups do nothing under pytest 9: they rest on an attribute that it has no more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        return folder if folder in _TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile:
    """Schedule by file."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that neither worker waits for the other at the end."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _LONG.index(folder) if folder in _LONG else len(_LONG)

    items.sort(key=turn)


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
