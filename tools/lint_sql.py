"""Run sqlfluff on the dbt models with the dbt templater, which needs a database to talk to: an empty one will do.

Usage: python tools/lint_sql.py lint|fix [sqlfluff arguments]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.migrate import migrate
from warehouse.server import start, stop
from warehouse.transform import dbt_environment


def main(arguments: list[str]) -> int:
    """Start a throw-away server, run sqlfluff against it, stop it."""
    with tempfile.TemporaryDirectory(prefix="edupa-lint-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        config = WarehouseConfig(home=home, secrets_dir=home / "secrets", durable=False)
        start(config)
        try:
            migrate(config)
            places = {"DBT_TARGET_PATH": str(home / "target"), "DBT_LOG_PATH": str(home / "logs")}
            return subprocess.run(
                [sys.executable, "-m", "sqlfluff", *arguments, "dbt_project/models", "--disable-progress-bar"],
                env={**os.environ, **dbt_environment(config), **places},
                cwd=PROJECT_ROOT,
                check=False,
            ).returncode
        finally:
            stop(config, mode="immediate")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["lint"]))
