"""One sample province and one undisturbed evaluation of it, shared by the end-to-end tests."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator import simulate
from warehouse.config import PROJECT_ROOT

SCALE, YEARS, SEED = 0.005, (2015, 2020), 7
#: of the sample province only
ROUNDING_KEY = "rounds the counts of invented people alike everywhere"


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


@pytest.fixture(scope="session")
def new_installation(sample: Path) -> Iterator[Callable[[Path | None], Installation]]:
    """Make an installation on the sample or on other extracts; all are stopped at the end."""
    made: list[Installation] = []

    def make(extracts: Path | None = None) -> Installation:
        installation = Installation(public_folder() / "home", extracts or sample)
        installation.home.mkdir(mode=0o755)
        secrets = installation.home / "secrets"
        secrets.mkdir(mode=0o700)
        # releases of two installations are equal where their counts are rounded by one key
        key = secrets / "rounding_key"
        key.write_text(ROUNDING_KEY, encoding="utf-8")
        key.chmod(0o600)
        made.append(installation)
        return installation

    yield make
    for installation in made:
        installation.edupa("airflow", "down")
        installation.edupa("server", "stop")
        shutil.rmtree(installation.home.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def evaluated(new_installation: Callable[[Path | None], Installation]) -> Installation:
    """An installation after one undisturbed run of the main job."""
    installation = new_installation(None)
    done = installation.edupa("run", "--plain")
    assert done.returncode == 0, done.stderr[-4000:]
    return installation
