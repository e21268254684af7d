"""One sample province and one undisturbed evaluation of it, shared by the end-to-end tests."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator import simulate
from warehouse.config import PROJECT_ROOT

SCALE, YEARS, SEED = 0.005, (2015, 2020), 7
#: of the sample province only
ROUNDING_KEY = "rounds the counts of invented people alike everywhere"
#: how long one worker waits for the main job of another; it makes its own where that one failed
OTHER_WORKER_S = 600


@dataclass(frozen=True)
class Installation:
    """An edupa home with its extracts, driven through the command line as a user does."""

    home: Path
    extracts: Path

    def edupa(self, *arguments: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one edupa command in a process of its own."""
        environment = {
            **os.environ,
            "EDUPA_HOME": str(self.home),
            "EDUPA_EXTRACTS": str(self.extracts),
            "EDUPA_DURABLE": "0",
            "COLUMNS": "200",
        }
        environment.pop("EDUPA_FAILPOINT", None)
        if failpoint:
            environment["EDUPA_FAILPOINT"] = failpoint
        return subprocess.run(
            [sys.executable, "-m", "edupa", *arguments],
            env=environment,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def query(self, sql: str, role: str = "evaluator") -> list[dict[str, str]]:
        """Rows of a query, as text, through ``edupa sql``."""
        done = self.edupa("sql", "--role", role, sql)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))

    def hashes(self) -> dict[str, str]:
        """Release -> content hash of everything published."""
        rows = self.query("select release_id, content_sha256 from marts.release_registry order by 1")
        return {row["release_id"]: row["content_sha256"] for row in rows}


def public_folder() -> Path:
    """A temporary folder that the account of an embedded server can walk into even when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="edupa-e2e-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def sample() -> Iterator[Path]:
    """Extracts of a small province with its defects."""
    folder = public_folder()
    simulate(folder / "extracts", scale=SCALE, years=YEARS, seed=SEED, defects=True)
    yield folder / "extracts"
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def installed(extracts: Path) -> Iterator[Installation]:
    """An empty installation on these extracts; stopped and removed at the end, for each takes gigabytes."""
    installation = Installation(public_folder() / "home", extracts)
    installation.home.mkdir(mode=0o755)
    secrets = installation.home / "secrets"
    secrets.mkdir(mode=0o700)
    # releases of two installations are equal where their counts are rounded by one key
    key = secrets / "rounding_key"
    key.write_text(ROUNDING_KEY, encoding="utf-8")
    key.chmod(0o600)
    try:
        yield installation
    finally:
        installation.edupa("airflow", "down")
        installation.edupa("server", "stop")
        shutil.rmtree(installation.home.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def between_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def evaluated(sample: Path, between_workers: Path) -> Iterator[Installation]:
    """An installation after one undisturbed run of the main job."""
    told = between_workers / "undisturbed_hashes.json"
    told.with_suffix(".begun").touch()
    with installed(sample) as installation:
        done = installation.edupa("run", "--plain")
        assert done.returncode == 0, done.stderr[-4000:]
        part = told.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(installation.hashes()), encoding="utf-8")
        part.rename(told)
        yield installation


@pytest.fixture(scope="session")
def undisturbed_hashes(request: pytest.FixtureRequest, between_workers: Path) -> dict[str, str]:
    """Release -> content hash of an undisturbed run: another worker's, where one has begun it."""
    told = between_workers / "undisturbed_hashes.json"
    if told.with_suffix(".begun").exists():
        give_up = time.monotonic() + OTHER_WORKER_S
        while not told.exists() and time.monotonic() < give_up:
            time.sleep(1)
    if not told.exists():
        request.getfixturevalue("evaluated")
    hashes: dict[str, str] = json.loads(told.read_text(encoding="utf-8"))
    return hashes
