"""Administrative areas of the sample province: real counties and townships, invented villages and their history."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
REGION = "64"
REGION_NAME = "宁夏回族自治区"
FAR_FUTURE = date(9999, 12, 31)
AREAS_SINCE = date(2010, 1, 1)
POOR_VILLAGES = 800
POOR_VILLAGES_OUTSIDE_PLAN = 80

# Real events (see data/README.md); the dates are invented.
TOWNSHIP_RECODES = (
    ("640422210", "将台乡", "640422103", date(2017, 6, 1)),
    ("640521400", "长山头农场", "640521206", date(2018, 3, 1)),
)
# Two villages move to another county, as a part of Qingtongxia moved to Zhongning in 2018.
COUNTY_CROSSINGS = (
    ("640381107", "640521100", date(2018, 3, 1)),
    ("640324", "640303", date(2017, 4, 1)),
)
VILLAGE_MERGERS = 17
VILLAGE_RECODES = 6

_VILLAGE_HEAD = "上下新东西南北大小金银石柳杨沙清红白黑双三高长"
_VILLAGE_TAIL = "沟湾梁岔塘庄原台坪泉堡川坡井滩崖嘴岭渠口河源"


@dataclass(frozen=True)
class County:
    """One county-level unit."""

    code: str
    name: str
    city_code: str
    city_name: str
    is_plan: bool
    is_priority: bool
    exit_date: date | None


@dataclass(frozen=True)
class Village:
    """A settlement with every code it has had: ``codes[i]`` is valid from ``since[i]``."""

    codes: tuple[str, ...]
    since: tuple[date, ...]
    names: tuple[str, ...]
    urban_rural: str
    is_poor: bool
    exit_year: int | None

    def code_at(self, day: date) -> str:
        """Return the 12-digit code in force on ``day``."""
        found = self.codes[0]
        for code, start in zip(self.codes, self.since, strict=True):
            if start <= day:
                found = code
        return found


@dataclass(frozen=True)
class Geography:
    """The areas with their history; county index = position in ``counties``."""

    counties: tuple[County, ...]
    villages: tuple[Village, ...]
    admin_area: pl.DataFrame
    area_succession: pl.DataFrame
    village_county: NDArray[np.int64]

    @property
    def plan(self) -> NDArray[np.bool_]:
        """Which counties the plan names (boolean by county index)."""
        return np.array([c.is_plan for c in self.counties])

    def index(self, code: str) -> int:
        """Return the county index of a six-digit code.

        Raises:
            ValueError: the code is not a county of the province.
        """
        return [c.code for c in self.counties].index(code)

    def codes_at(self, day: date) -> NDArray[np.object_]:
        """Return the code of each village on ``day`` (object array of str, by village index)."""
        return np.array([v.code_at(day) for v in self.villages], dtype=object)

    def current_county(self) -> dict[str, str]:
        """Map every village code that ever was to the county (6 digits) it lies in at the latest date."""
        return {code: v.codes[-1][:6] for v in self.villages for code in v.codes}


def read_counties() -> tuple[County, ...]:
    """Read the 22 counties in code order."""
    with (DATA / "counties.csv").open(encoding="utf-8", newline="") as handle:
        return tuple(
            County(
                row["county_code"],
                row["county_name"],
                row["city_code"],
                row["city_name"],
                row["is_plan_county"] == "1",
                row["is_preschool_priority"] == "1",
                date.fromisoformat(row["poverty_exit_date"]) if row["poverty_exit_date"] else None,
            )
            for row in csv.DictReader(handle)
        )


def read_townships() -> list[tuple[str, str, str]]:
    """Read (township code, name, county code) as of 2020."""
    with (DATA / "townships.csv").open(encoding="utf-8", newline="") as handle:
        return [(r["township_code"], r["township_name"], r["county_code"]) for r in csv.DictReader(handle)]


def _urban_rural(township: str, position: int) -> str:
    kind = int(township[6])
    if kind == 0:
        return "111" if position < 2 else "112"
    if kind == 1:
        return ("121", "122")[position] if position < 2 else "220"
    if kind == 4:
        return "123" if position == 0 else "220"
    return "210" if position == 0 else "220"


def _village_numbers(township: str, is_plan: bool) -> list[str]:
    if township[6] == "0":
        return ["901", "902", "903"]
    if not is_plan:
        return ["271", "272", "273", "274", "275", "901"]
    return [str(n) for n in range(271, 280)] + ["901", "902"]


def build_geography(seed: int) -> Geography:
    """Build the areas and their successions; the same seed gives the same areas at every scale."""
    rng = np.random.default_rng([seed, 11])
    counties = read_counties()
    by_code = {c.code: c for c in counties}
    townships = read_townships()
    recoded = {new: (old, day) for old, _, new, day in TOWNSHIP_RECODES}

    sites: list[dict[str, object]] = []
    for township, _, county in townships:
        used: set[str] = set()
        for position, number in enumerate(_village_numbers(township, by_code[county].is_plan)):
            name = ""
            while not name or name in used:
                name = str(rng.choice(list(_VILLAGE_HEAD))) + str(rng.choice(list(_VILLAGE_TAIL)))
            used.add(name)
            suffix = "社区" if township[6] == "0" else "村"
            codes, since = [township + number], [AREAS_SINCE]
            if township in recoded:
                old, day = recoded[township]
                codes, since = [old + number, township + number], [AREAS_SINCE, day]
            sites.append(
                {
                    "codes": codes,
                    "since": since,
                    "name": name + suffix,
                    "urban_rural": _urban_rural(township, position),
                    "county": county,
                }
            )

    succession: list[tuple[str, str, str, date]] = [(old, new, "重编码", day) for old, _, new, day in TOWNSHIP_RECODES]
    for site in sites:
        codes, since = _history(site)
        if len(codes) == 2:
            succession.append((codes[0], codes[1], "重编码", since[1]))
    succession += _village_changes(sites, rng)

    poor = _poor_flags(sites, by_code, rng)
    villages = []
    for site, is_poor in zip(sites, poor, strict=True):
        codes, since = _history(site)
        exit_year = int(rng.choice([2016, 2017, 2018, 2019, 2020], p=[0.18, 0.22, 0.28, 0.2, 0.12]))
        villages.append(
            Village(
                tuple(codes),
                tuple(since),
                (str(site["name"]),) * len(codes),
                str(site["urban_rural"]),
                bool(is_poor),
                exit_year if is_poor else None,
            )
        )
    codes_now = [v.codes[-1][:6] for v in villages]
    order = {c.code: i for i, c in enumerate(counties)}
    succession.sort(key=lambda row: (row[3], row[0]))
    return Geography(
        counties,
        tuple(villages),
        _admin_area(counties, townships, villages, sites),
        pl.DataFrame(succession, schema=["from_area_code", "to_area_code", "change_type", "change_date"], orient="row"),
        np.array([order[c] for c in codes_now], dtype=np.int64),
    )


def _history(site: dict[str, object]) -> tuple[list[str], list[date]]:
    codes, since = site["codes"], site["since"]
    assert isinstance(codes, list)
    assert isinstance(since, list)
    return codes, since


def _village_changes(sites: list[dict[str, object]], rng: np.random.Generator) -> list[tuple[str, str, str, date]]:
    """Merge, re-code and move 25 villages; the histories in ``sites`` are extended in place."""
    rows: list[tuple[str, str, str, date]] = []
    by_township: dict[str, list[dict[str, object]]] = {}
    for site in sites:
        by_township.setdefault(_history(site)[0][-1][:9], []).append(site)

    def move(site: dict[str, object], to: str, kind: str, day: date) -> None:
        codes, since = _history(site)
        rows.append((codes[-1], to, kind, day))
        codes.append(to)
        since.append(day)

    for origin, goal, day in COUNTY_CROSSINGS:
        source = sorted(t for t in by_township if t.startswith(origin) and t[6] in "12" and len(by_township[t]) >= 6)[
            -1
        ]
        target = sorted(t for t in by_township if t.startswith(goal) and t[6] in "12")[0]
        move(by_township[source][-1], target + "909", "重编码", day)

    rural = sorted(t for t in by_township if t[6] in "12" and len(by_township[t]) >= 6)
    # 将台堡镇 is among the merging townships so that one chain has two steps (re-code, then merge).
    chain = "640422103"
    crossed = {_history(s)[0][0] for s in sites if len(_history(s)[0]) > 1 and s not in by_township[chain]}
    picks = [chain] + [t for t in rng.permutation(rural) if t != chain]
    day_of = [date(2016, 8, 1), date(2018, 6, 1), date(2019, 5, 1), date(2020, 3, 1)]
    done = 0
    for township in picks:
        if done == VILLAGE_MERGERS + VILLAGE_RECODES:
            break
        pair = by_township[str(township)]
        if any(_history(s)[0][0] in crossed for s in pair):
            continue
        day = date(2019, 5, 1) if township == chain else day_of[int(rng.integers(len(day_of)))]
        if done < VILLAGE_MERGERS:
            move(pair[4], _history(pair[3])[0][-1], "合并", day)
        else:
            move(pair[4], f"{township}908", "重编码", day)
        done += 1
    return rows


def _poor_flags(
    sites: list[dict[str, object]], by_code: dict[str, County], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mark 800 poor villages (the plan's number), most of them in the plan counties."""
    flags = np.zeros(len(sites), dtype=bool)
    single = np.array([len(_history(s)[0]) == 1 for s in sites])
    rural = np.array([str(s["urban_rural"]) == "220" for s in sites])
    is_plan = np.array([by_code[str(s["county"])].is_plan for s in sites])
    for group, wanted in (
        (is_plan, POOR_VILLAGES - POOR_VILLAGES_OUTSIDE_PLAN),
        (~is_plan, POOR_VILLAGES_OUTSIDE_PLAN),
    ):
        changed = np.flatnonzero(group & rural & ~single)[:6]
        pool = np.flatnonzero(group & rural & single)
        chosen = np.concatenate([changed, rng.choice(pool, wanted - len(changed), replace=False)])
        flags[chosen] = True
    return flags


def _admin_area(
    counties: tuple[County, ...],
    townships: list[tuple[str, str, str]],
    villages: list[Village],
    sites: list[dict[str, object]],
) -> pl.DataFrame:
    rows: list[tuple[object, ...]] = []

    def add(code: str, name: str, level: str, parent: str | None, *rest: object) -> None:
        rows.append((code, name, level, parent, *rest))

    add(REGION, REGION_NAME, "自治区", None, None, None, None, None, None, AREAS_SINCE, None)
    for code, name in sorted({(c.city_code, c.city_name) for c in counties}):
        add(code, name, "市", REGION, None, None, None, None, None, AREAS_SINCE, None)
    for c in counties:
        add(
            c.code,
            c.name,
            "县",
            c.city_code,
            None,
            c.is_plan,
            c.is_priority,
            None,
            c.exit_date,
            AREAS_SINCE,
            None,
        )
    born = {new: day for _, _, new, day in TOWNSHIP_RECODES}
    for old, name, _, day in TOWNSHIP_RECODES:
        add(old, name, "乡", old[:6], None, None, None, None, None, AREAS_SINCE, day)
    for code, name, county in townships:
        add(code, name, "乡", county, None, None, None, None, None, born.get(code, AREAS_SINCE), None)

    spans: dict[str, list[object]] = {}
    for v in villages:
        ends: list[date | None] = [*v.since[1:], None]
        for code, name, start, end in zip(v.codes, v.names, v.since, ends, strict=True):
            # A merged village continues under the absorbing village's code, whose own span and name stand.
            if code not in spans or code == v.codes[0]:
                spans[code] = [name, v.urban_rural, v.is_poor, start, end]
    for v in villages:
        if len(v.codes) == 1:
            spans[v.codes[0]] = [v.names[0], v.urban_rural, v.is_poor, v.since[0], None]
    for code in sorted(spans):
        village_name, urban, is_poor, since, until = spans[code]
        add(code, str(village_name), "村", code[:9], urban, None, None, is_poor, None, since, until)
    return pl.DataFrame(
        rows,
        orient="row",
        schema={
            "area_code": pl.String,
            "area_name": pl.String,
            "area_level": pl.String,
            "parent_code": pl.String,
            "urban_rural_code": pl.String,
            "is_plan_county": pl.Boolean,
            "is_preschool_priority_county": pl.Boolean,
            "is_poor_village": pl.Boolean,
            "poverty_exit_date": pl.Date,
            "valid_from": pl.Date,
            "valid_to": pl.Date,
        },
    )
