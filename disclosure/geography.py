"""Which smallest areas an area is made of, in every release, so that old and new boundaries can be added up.

A smallest area is a *path* through the succession of counties: the people who lived in A and whose part of A became B
are the path (A, B). Whether A had become B when a release was made shows in its counties: a new county B is there, or
a county A that went into an older one is not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

Path = tuple[str, ...]


@dataclass(frozen=True)
class Succession:
    """One county became (part of) another; ``existed`` says whether the other was there before."""

    origin: str
    successor: str
    existed: bool = False


@dataclass(frozen=True)
class Areas:
    """Areas of one release: every reported area as its smallest areas, and its level."""

    paths: dict[str, frozenset[Path]]


def all_paths(counties: Iterable[str], successions: Iterable[Succession], current: Iterable[str]) -> list[Path]:
    """Every way that people of a county can have gone through successions to a county of today, sorted.

    Args:
        counties: counties of all releases.
        successions: what became of them.
        current: counties of today; people stay in a county that has successors only where it lives on itself.
    """
    links = sorted(set(successions), key=lambda link: (link.origin, link.successor))
    after: dict[str, list[str]] = {}
    for link in links:
        after.setdefault(link.origin, []).append(link.successor)
    made_by_others = {link.successor for link in links if not link.existed}
    starts = sorted({*counties, *after} - made_by_others)
    found: list[Path] = []
    today = set(current)

    def walk(path: Path) -> None:
        if path[-1] in today or path[-1] not in after:
            found.append(path)
        for successor in after.get(path[-1], ()):
            if successor not in path:
                walk((*path, successor))

    for start in starts:
        walk((start,))
    return sorted(found)


def _county_of(path: Path, counties: Container[str], into_older: Container[tuple[str, str]]) -> str | None:
    """County of a release in which the people of a path live."""
    place = path[0]
    for following in path[1:]:
        if place in counties and ((place, following) in into_older or following not in counties):
            break
        place = following
    return place if place in counties else None


def areas_of(
    parents: Mapping[str, str | None],
    groups: Mapping[str, Iterable[str]],
    region: str | None,
    paths: Iterable[Path],
    successions: Iterable[Succession] = (),
) -> Areas:
    """Smallest areas of every area of one release.

    Args:
        parents: county -> its city, for the counties of the release.
        groups: group of counties -> its counties by any code they have had.
        region: code of the region.
        paths: all smallest areas (see all_paths).
        successions: those that the paths were made from.
    """
    into_older = {(link.origin, link.successor) for link in successions if link.existed}
    found: dict[str, set[Path]] = {county: set() for county in parents}
    member: dict[str, set[str]] = {}
    for group, counties in groups.items():
        for county in counties:
            member.setdefault(county, set()).add(group)
    for path in paths:
        place = _county_of(path, parents, into_older)
        if place is None:
            continue
        found[place].add(path)
        city = parents[place]
        if city is not None:
            found.setdefault(city, set()).add(path)
        if region is not None:
            found.setdefault(region, set()).add(path)
        # a county that is gone belonged to the groups of what it became
        for group in member.get(place, set()) | member.get(path[-1], set()):
            found.setdefault(group, set()).add(path)
    return Areas({area: frozenset(made) for area, made in found.items()})
