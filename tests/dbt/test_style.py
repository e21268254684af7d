"""Every model passes sqlfluff with the dbt templater, by the same way as `make lint`."""

from __future__ import annotations

import subprocess
import sys

from tests.dbt.conftest import ROOT


def test_models_pass_sqlfluff() -> None:
    done = subprocess.run(
        [sys.executable, "tools/lint_sql.py", "lint", "--processes", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
