"""A clock that is wrong: shifted, set to a moment, or stepped while a program runs. For processes of their own.

A child gets it through ``sitecustomize`` on its PYTHONPATH (see ``wrong_clock``). The methods are replaced within the
types of the standard library, so that modules which imported them by name see the same clock; ``time.monotonic`` goes
on, as it does on a machine whose clock is set.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from datetime import date, datetime, tzinfo
from pathlib import Path

from warehouse.config import PROJECT_ROOT

SHIFT = "EDUPA_TRIED_CLOCK_SHIFT_S"
MOMENT = "EDUPA_TRIED_CLOCK_MOMENT"
STEP = "EDUPA_TRIED_CLOCK_STEP_S"


def _put(kind: type, name: str, function: object) -> None:
    (content,) = [item for item in gc.get_referents(kind.__dict__) if isinstance(item, dict)]
    content[name] = function
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def install() -> None:
    """Replace this process's clock as the environment says."""
    true_time = time.time
    began = time.monotonic()
    moment = os.environ.get(MOMENT)
    start = datetime.fromisoformat(moment).timestamp() if moment else true_time() + float(os.environ.get(SHIFT, 0))
    step = float(os.environ.get(STEP, 0))
    looks = 0

    def now_s() -> float:
        """Seconds since 1970; from the second look on the clock has been stepped."""
        nonlocal looks
        looks += 1
        return start + time.monotonic() - began + (step if looks > 1 else 0)

    def now(kind: type[datetime], zone: tzinfo | None = None) -> datetime:
        return kind.fromtimestamp(now_s(), zone)

    def today(kind: type[date]) -> date:
        return kind.fromtimestamp(now_s())

    time.time = now_s
    time.time_ns = lambda: int(now_s() * 1e9)
    _put(datetime, "now", classmethod(now))
    _put(date, "today", classmethod(today))


def wrong_clock(folder: Path) -> dict[str, str]:
    """Environment of a child that installs the clock at its start; ``folder`` gets a ``sitecustomize``."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text("from tests.ingest.matrix.clock import install\n\ninstall()\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT_ROOT)])}
