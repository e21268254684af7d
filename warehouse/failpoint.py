"""Named points at which a test can end the process as ``kill -9`` would.

Crash safety is claimed, so it is tried: with ``EDUPA_FAILPOINT=name`` the process dies, with no clean-up,
the first time it reaches that point. Without the variable a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "load.before_commit",
    "load.after_commit",
    "dbt.core",
    "dbt.marts",
    "gate.suite",
    "gate.arrival",
    "gate.candidate",
    "release.freeze",
    "release.before_widen",
    "release.before_attach",
    "release.after_attach",
    "release.before_commit",
    "release.before_pointer",
    "release.in_pointer",
    "release.after_pointer",
    "release.withdraw",
)


def hit(name: str) -> None:
    """Die here if the test asked for it.

    Raises:
        KeyError: the point is not declared in POINTS.
    """
    if name not in POINTS:
        raise KeyError(f"undeclared fail point {name!r}")
    if os.environ.get("EDUPA_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
