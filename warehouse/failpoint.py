"""Named points at which a test can end the process as ``kill -9`` would.

Crash safety is claimed, so it is tried: with ``EDUPA_FAILPOINT=name`` the process dies, with no clean-up,
the first time it reaches that point. Without the variable a point costs one dictionary look-up. With
``EDUPA_FAIL_STATEMENT=n`` it dies before it sends its n-th statement, whichever connection that is on.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Self

import psycopg

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
    "release.before_shelf",
    "release.after_shelf",
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


def statement_is_armed() -> bool:
    """Whether a test asked for death before some statement."""
    return "EDUPA_FAIL_STATEMENT" in os.environ


class DyingCursor(psycopg.Cursor[tuple[object, ...]]):
    """A cursor that ends the process before the statement that the test named."""

    _sent = 0

    @classmethod
    def _count(cls) -> None:
        DyingCursor._sent += 1
        if DyingCursor._sent == int(os.environ["EDUPA_FAIL_STATEMENT"]):
            os.kill(os.getpid(), signal.SIGKILL)

    def execute(self, *arguments: Any, **options: Any) -> Self:
        """As psycopg's, unless it is the statement to die before."""
        self._count()
        return super().execute(*arguments, **options)

    def copy(self, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, unless it is the statement to die before."""
        self._count()
        return super().copy(*arguments, **options)
