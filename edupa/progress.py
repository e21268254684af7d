"""Progress that a person can follow, whatever process the work happens in.

Airflow's own log is long. Tasks say what a person wants to know in one line each; where EDUPA_PROGRESS names a
file the line is appended to it, and whoever started the run shows it; ``-`` means the process's own output, which is
where a task's log under a scheduler comes from.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def say(line: str) -> None:
    """Show one line of progress. Figures and names of files and places only, never a person's value."""
    target = os.environ.get("EDUPA_PROGRESS")
    if target == "-":
        print(line, flush=True)
    elif target:
        with Path(target).open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")
    else:
        print(line, file=sys.stderr, flush=True)
