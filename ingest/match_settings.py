"""Rules of the matching as data: matching.yaml, read and checked against the contracts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ingest.contract import Contract

RULES_FILE = Path(__file__).with_name("matching.yaml")
#: its hash is part of the engine version: other code may find other pairs
_CODE = ("match_settings.py", "match_names.py", "match_pools.py", "match_scores.py", "matching.py")
#: a level of this name means that one of the two values is missing: it weighs nothing
MISSING = "missing"
#: level of the comparison "twin", which is made of the pools and not of two values
NO_TWIN, TWIN = "none", "twin"
METHODS = ("name_birth_guardian", "name_birth_village")
KINDS = ("name", "date", "equal", "area", "kin", "number")


class MatchingError(ValueError):
    """matching.yaml contradicts itself or the contracts; the message says where."""


@dataclass(frozen=True)
class Side:
    """A feed as one side of the matching; columns are those of its landing table, None: the feed has none.

    Attributes:
        year: column of the year.
        year_digits: the year is the first digits of a text (2016/17); None: a number.
        before: (column, values): rows with these belong to the year before.
        where: column -> values; only such rows count.
    """

    feed: str
    year: str
    year_digits: int | None
    before: tuple[str, tuple[str, ...]] | None
    where: Mapping[str, tuple[str, ...]]
    birth: str | None
    sex: str | None
    place: str | None
    guardian: str | None
    household: tuple[str, ...]
    order: tuple[str, ...]

    @property
    def columns(self) -> set[str]:
        """Every column of the landing table that is used."""
        named = {self.birth, self.sex, self.place, self.guardian, self.year} - {None}
        before = {self.before[0]} if self.before else set()
        return {*(str(name) for name in named), *before, *self.where, *self.household, *self.order}


@dataclass(frozen=True)
class Decisions:
    """The feed that brings what officers decided."""

    feed: str
    case: str
    outcome: str
    same: str
    different: str
    order: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """How far two values agree. ``bits``: None: by the frequency of the value; else log2(m / u)."""

    m: float
    bits: float | None
    zh: str
    en: str


@dataclass(frozen=True)
class Comparison:
    """One comparison; ``instead``: other bits where another comparison has one of some levels."""

    name: str
    kind: str
    levels: Mapping[str, Level]
    instead_when: tuple[str, tuple[str, ...]] | None
    instead_bits: Mapping[str, float]


@dataclass(frozen=True)
class Ground:
    """Levels on which a pair may be matched without review; comparison -> levels."""

    method: str
    levels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rules:
    """Content of matching.yaml, checked; see the file for what each part means."""

    version: str
    left: Side
    ages: tuple[int, int]
    right: tuple[Side, ...]
    decisions: Decisions | None
    blocks: tuple[tuple[str, ...], ...]
    comparisons: Mapping[str, Comparison]
    expected_share: float
    lowest_frequency: float
    accept: float
    review: float
    margin_bits: float
    candidates: int
    grounds: tuple[Ground, ...]

    @property
    def feeds(self) -> tuple[str, ...]:
        """Feeds whose loads can change the result."""
        decided = (self.decisions.feed,) if self.decisions else ()
        return (self.left.feed, *(side.feed for side in self.right), *decided)


def _side(said: Mapping[str, Any]) -> Side:
    year = said["year"]
    before = year.get("before")
    return Side(
        feed=said["feed"],
        year=year["column"],
        year_digits=year.get("digits"),
        before=(before["column"], tuple(before["in"])) if before else None,
        where={column: tuple(values) for column, values in said.get("where", {}).items()},
        birth=said.get("birth"),
        sex=said.get("sex"),
        place=said.get("place"),
        guardian=said.get("guardian"),
        household=tuple(said.get("household", ())),
        order=tuple(said["order"]),
    )


def _level(place: str, said: Mapping[str, Any]) -> Level:
    m, u = float(said["m"]), said["u"]
    if u == "frequency":
        return Level(m, None, said["zh"], said["en"])
    if not (0 < m <= 1 and 0 < float(u) <= 1):
        raise MatchingError(f"matching.yaml: {place}: m and u must lie between 0 and 1")
    return Level(m, math.log2(m / float(u)), said["zh"], said["en"])


def _comparison(name: str, said: Mapping[str, Any]) -> Comparison:
    if said["kind"] not in KINDS:
        raise MatchingError(f"matching.yaml: comparison {name}: no kind {said['kind']!r}, one of {', '.join(KINDS)}")
    levels = {level: _level(f"{name}.{level}", about) for level, about in said["levels"].items()}
    instead = said.get("instead")
    when = None
    if instead:
        ((other, values),) = instead["when"].items()
        when = (other, tuple(values))
        if unknown := sorted(set(instead["bits"]) - set(levels)):
            raise MatchingError(f"matching.yaml: {name}.instead: no level {unknown[0]!r}")
    bits = {level: float(value) for level, value in instead["bits"].items()} if instead else {}
    return Comparison(name, said["kind"], levels, when, bits)


def _check(rules: Rules) -> None:
    known = {name: {*comparison.levels, MISSING} for name, comparison in rules.comparisons.items()}
    known["twin"] = {NO_TWIN, TWIN}
    asked = [(f"grounds[{number}]", ground.levels) for number, ground in enumerate(rules.grounds)]
    for name, comparison in rules.comparisons.items():
        if comparison.instead_when:
            asked.append((f"{name}.instead", dict([comparison.instead_when])))
    for place, wanted in asked:
        for comparison_name, levels in wanted.items():
            if comparison_name not in known:
                raise MatchingError(f"matching.yaml: {place}: no comparison {comparison_name!r}")
            if unknown := sorted(set(levels) - known[comparison_name]):
                raise MatchingError(f"matching.yaml: {place}: {comparison_name} has no level {unknown[0]!r}")
    for ground in rules.grounds:
        if ground.method not in METHODS:
            raise MatchingError(f"matching.yaml: no method {ground.method!r}, one of {', '.join(METHODS)}")
    if not 0 < rules.review <= rules.accept < 1:
        raise MatchingError("matching.yaml: thresholds: review must not lie above accept, both between 0 and 1")
    for block in rules.blocks:
        if unknown := sorted(set(block) - {"birth", "sex", "county", "village", "name_key", "kin"}):
            raise MatchingError(f"matching.yaml: blocks: no key {unknown[0]!r}")
        if "kin" in block and len(block) > 1:
            raise MatchingError("matching.yaml: blocks: kin stands alone")


def read_rules(text: str) -> Rules:
    """Read and check the rules.

    Raises:
        MatchingError: a comparison, level, method or block is named that does not exist, or a weight is impossible.
    """
    said = yaml.safe_load(text)
    decided = said["decisions"]
    digest = hashlib.sha256(text.encode())
    for name in _CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    rules = Rules(
        version=f"{said['version']}-{digest.hexdigest()[:12]}",
        left=_side(said["left"]),
        ages=(int(said["left"]["ages"]["from"]), int(said["left"]["ages"]["to"])),
        right=tuple(_side(one) for one in said["right"]),
        decisions=Decisions(**{**decided, "order": tuple(decided["order"])}),
        blocks=tuple(tuple(block) for block in said["blocks"]),
        comparisons={name: _comparison(name, about) for name, about in said["comparisons"].items()},
        expected_share=float(said["prior"]["expected_share"]),
        lowest_frequency=float(said["prior"]["lowest_frequency"]),
        accept=float(said["thresholds"]["accept"]),
        review=float(said["thresholds"]["review"]),
        margin_bits=float(said["thresholds"]["margin_bits"]),
        candidates=int(said["thresholds"]["candidates"]),
        grounds=tuple(
            Ground(one["method"], {name: tuple(levels) for name, levels in one["levels"].items()})
            for one in said["grounds"]
        ),
    )
    _check(rules)
    return rules


@lru_cache(maxsize=1)
def load_rules() -> Rules:
    """The rules of this installation (ingest/matching.yaml)."""
    return read_rules(RULES_FILE.read_text(encoding="utf-8"))


def check_against(rules: Rules, contracts: Mapping[str, Contract]) -> None:
    """Refuse rules that name a feed or column that no contract has.

    Raises:
        MatchingError: they do.
    """
    decided = rules.decisions
    wanted = [(side.feed, side.columns) for side in (rules.left, *rules.right)]
    if decided:
        wanted.append((decided.feed, {decided.case, decided.outcome, *decided.order}))
    for feed, columns in wanted:
        contract = contracts.get(feed)
        if contract is None:
            raise MatchingError(f"matching.yaml: no contract for feed {feed}")
        if unknown := sorted(columns - {name for name, _, _ in contract.landed}):
            raise MatchingError(f"matching.yaml: feed {feed} lands no column {unknown[0]!r}")
