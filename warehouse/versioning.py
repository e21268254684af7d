"""Numbers of releases: the id ``YYYY.N.P`` of an evaluation year, the semantic version of the whole series.

major: an indicator, column or member is gone or redefined; minor: something was added or a value changed;
patch: texts only. N counts the releases of a year with a major or minor change, P those with a patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from warehouse.canonical import ReleaseError

Level = Literal["patch", "minor", "major"]
LEVELS: tuple[Level, ...] = ("patch", "minor", "major")


@dataclass(frozen=True)
class Reason:
    """One thing that changed, and how much it weighs."""

    level: Level
    zh: str
    en: str


def rank(level: Level | None) -> int:
    """Order of the levels; None, nothing changed, comes first."""
    return -1 if level is None else LEVELS.index(level)


def highest(reasons: Iterable[Reason]) -> Level | None:
    """Level of the weightiest reason; None where there is none."""
    return max((reason.level for reason in reasons), key=rank, default=None)


def parts(number: str) -> tuple[int, int, int]:
    """The three numbers of a release id or a semantic version, for ordering."""
    first, second, third = number.split(".")
    return int(first), int(second), int(third)


def next_version(series: Iterable[str], level: Level) -> str:
    """Semantic version of the next release of the series.

    Args:
        series: versions given so far, in any order.
        level: what the next release changes.
    """
    known = [parts(version) for version in series]
    if not known:
        return "1.0.0"
    major, minor, patch = max(known)
    if level == "major":
        return f"{major + 1}.0.0"
    if level == "minor":
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def next_id(year: int, releases: Iterable[str], level: Level) -> str:
    """Id of the next release of an evaluation year.

    Args:
        year: evaluation year.
        releases: ids given so far, of any year.
        level: what the next release changes.
    """
    of_year = [parts(release) for release in releases if parts(release)[0] == year]
    if not of_year:
        return f"{year}.1.0"
    _, number, correction = max(of_year)
    return f"{year}.{number}.{correction + 1}" if level == "patch" else f"{year}.{number + 1}.0"


def agreed_level(
    declared: Level | None, computed: Level, reasons: Iterable[Reason], previous: str, *, shown: int = 12
) -> Level:
    """Level under which a release goes out: the computed one, or a higher one that was declared.

    Raises:
        ReleaseError: less was declared than what changed; the message lists why.
    """
    if declared is None or rank(declared) >= rank(computed):
        return declared or computed
    above = [reason for reason in reasons if rank(reason.level) > rank(declared)]
    listed = "; ".join(f"{reason.level}: {reason.en}" for reason in above[:shown])
    more = f"; and {len(above) - shown} more" if len(above) > shown else ""
    raise ReleaseError(
        f"declared as {declared}, but the change against {previous} is {computed}: {listed}{more}."
        f" Declare {computed} or leave the level to be computed; nothing was frozen"
    )
