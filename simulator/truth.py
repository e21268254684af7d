"""Ground truth: every indicator computed from the simulator's own tables, independently of any SQL.

The rules are those of the interface document: pooled numerators and denominators (never averaged percentages), age in
completed years on 1 September, one primary roll per person, old area codes mapped forward to the county of today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

YEARS = tuple(range(2015, 2021))
REGION = "64"
COUNTED_TYPES = {"视力": "visual", "听力": "hearing", "智力": "intellectual"}
SUBGROUPS = ("all", "visual", "hearing", "intellectual")
TRUTH_COLUMNS = (
    "indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis", "numerator", "denominator",
)  # fmt: skip
EXIT_EVENTS = ("graduation", "death", "emigration")


@dataclass(frozen=True)
class Areas:
    """Counties with city, and the groups they belong to."""

    counties: tuple[str, ...]
    plan: tuple[str, ...]
    priority: tuple[str, ...]

    @property
    def comparison(self) -> tuple[str, ...]:
        """Plan counties that are not pre-primary priority counties."""
        return tuple(c for c in self.plan if c not in self.priority)

    def members(self) -> dict[str, tuple[str, ...]]:
        """Return the counties of every county, city, the region and PLAN9."""
        groups: dict[str, tuple[str, ...]] = {c: (c,) for c in self.counties}
        for city in sorted({c[:4] for c in self.counties}):
            groups[city] = tuple(c for c in self.counties if c[:4] == city)
        groups[REGION] = self.counties
        groups["PLAN9"] = self.plan
        return groups


def primary_rows(pupil: pl.DataFrame, event: pl.DataFrame) -> pl.DataFrame:
    """Keep one register row per person and year: the primary roll.

    The row of the school named by the latest approved transfer on or before 1 September; else the row with the latest
    entry; ties go to the smallest school code.
    """
    several = pupil.filter(pl.len().over("school_year", "_token") > 1)
    if several.is_empty():
        return pupil
    single = pupil.filter(pl.len().over("school_year", "_token") == 1)
    moves = (
        event.filter(
            pl.col("event_type").is_in(["transfer_in", "transfer_out"])
            & (pl.col("approval_status") == "approved")
            & pl.col("to_school_code").is_not_null()
        )
        .select("_token", "event_date", "to_school_code")
        .unique()
    )
    days = several.select("school_year", "_token").unique()
    latest = (
        days.join(moves, on="_token")
        .filter(pl.col("event_date") <= pl.date(pl.col("school_year"), 9, 1))
        .sort("school_year", "_token", "event_date", "to_school_code")
        .group_by("school_year", "_token", maintain_order=True)
        .agg(goal=pl.col("to_school_code").last())
    )
    chosen = (
        several.join(latest, on=["school_year", "_token"], how="left")
        .with_columns(named=(pl.col("goal") == pl.col("school_code")).fill_null(False))
        .sort(
            ["school_year", "_token", "named", "enrolled_on", "school_code"],
            descending=[False, False, True, True, False],
        )
        .unique(["school_year", "_token"], keep="first", maintain_order=True)
        .drop("goal", "named")
    )
    return pl.concat([single, chosen])


def age_on(birth: pl.Expr, year: pl.Expr) -> pl.Expr:
    """Completed years on 1 September (born on 1 September counts as having the birthday)."""
    early = (birth.dt.month() < 9) | ((birth.dt.month() == 9) & (birth.dt.day() == 1))
    return year - birth.dt.year().cast(pl.Int64) - pl.when(early).then(0).otherwise(1)


def aged(frame: pl.DataFrame, year: str, low: int, high: int) -> pl.DataFrame:
    """Keep the persons of these ages on 1 September of the year in a column."""
    return frame.filter(age_on(pl.col("birth_date"), pl.col(year)).is_between(low, high))


Counts = dict[tuple[str, int], int]


def counts_of(frame: pl.DataFrame, county: str, year: str, value: str | None = None) -> Counts:
    """Count the rows, or sum a column, by county and year."""
    number = pl.len() if value is None else pl.col(value).sum()
    rows = frame.group_by(county, year).agg(n=number.cast(pl.Int64)).select(county, year, "n").iter_rows()
    return {(str(c), int(y)): int(n) for c, y, n in rows}


class ValueTable:
    """Collects the rows of the long fact: one for every area and year of an indicator."""

    def __init__(self, areas: Areas, years: Iterable[int]) -> None:
        self.areas, self.years = areas, tuple(years)
        self.rows: list[tuple[str, str, str, int, str, str, int | None, int | None]] = []

    def add(
        self,
        code: str,
        variant: str,
        basis: str,
        numerator: Counts,
        denominator: Counts | None,
        subgroup: str = "all",
        groups: dict[str, tuple[str, ...]] | None = None,
        unknown: tuple[int, ...] = (),
    ) -> None:
        """Add one variant: counts by (county, year), pooled into every area.

        A missing cell is 0; in the ``unknown`` years a feed is missing and both counts are null.
        """
        for area, counties in (self.areas.members() if groups is None else groups).items():
            for year in self.years:
                if year in unknown:
                    self.rows.append((code, variant, area, year, subgroup, basis, None, None))
                    continue
                top = sum(numerator.get((c, year), 0) for c in counties)
                bottom = None if denominator is None else sum(denominator.get((c, year), 0) for c in counties)
                self.rows.append((code, variant, area, year, subgroup, basis, top, bottom))

    def ratio(self, code: str, variant: str, basis: str) -> dict[tuple[str, int], tuple[int, int]]:
        """Return numerator and denominator of a variant by (area, year)."""
        return {
            (r[2], r[3]): (r[6] or 0, r[7] or 0)
            for r in self.rows
            if (r[0], r[1], r[4], r[5]) == (code, variant, "all", basis)
        }

    def gap(self, variant: str, code: str, source: str, basis: str) -> None:
        """Add the distance of every area from the region, as one exact fraction."""
        values = self.ratio(code, source, basis)
        for (area, year), (n, d) in values.items():
            if area == REGION:
                continue
            top, bottom = values[REGION, year]
            empty = d == 0 or bottom == 0
            self.rows.append(
                ("G0", variant, area, year, "all", basis, None if empty else n * bottom - top * d, d * bottom)
            )


#: adds indicators of other feeds: the fact, the tables, and the county of today (``_home``) by village (``_village``)
MoreValues = Callable[[ValueTable, dict[str, pl.DataFrame], pl.DataFrame], None]


def indicator_values(
    tables: dict[str, pl.DataFrame],
    areas: Areas,
    county_of_village: dict[str, str],
    years: Iterable[int] = YEARS,
    more: Iterable[MoreValues] = (),
) -> pl.DataFrame:
    """Compute the whole long fact.

    Args:
        tables: canonical tables by contract id (the rows that reach the warehouse).
        areas: counties and groups.
        county_of_village: county (6 digits, as of the latest date) of every village code that ever was.
        years: evaluation years.
        more: what adds the indicators of the feeds on aid and care.

    Returns:
        Columns ``TRUTH_COLUMNS``, sorted by key; counts have a null denominator.
    """
    table = ValueTable(areas, years)
    now = pl.DataFrame(
        {"_village": list(county_of_village), "_home": list(county_of_village.values())},
        schema={"_village": pl.String, "_home": pl.String},
    )
    poor = tables["poor_person"].join(now, left_on="village_code", right_on="_village", how="left")
    pupil, event = tables["pupil"], tables["student_event"]

    _poverty_exits(table, poor)
    _preschool(table, tables)
    _retention(table, tables["enrollment_count"])
    _disabled(table, tables["disabled_child"], pupil)
    _upper(table, tables["population_age"], primary_rows(pupil, event), now)
    out = out_of_school(poor, pupil, event)
    table.add(
        "G14",
        "poverty_reason",
        "none",
        counts_of(out.filter(pl.col("out_of_school_reason") == "poverty"), "_home", "poverty_year"),
        None,
    )
    table.add("G14", "all_reasons", "none", counts_of(out, "_home", "poverty_year"), None)
    young = aged(poor, "poverty_year", 3, 5)
    rolls = pupil.filter(pl.col("stage") == "preschool").select("_token", poverty_year="school_year").unique()
    table.add(
        "A1.6",
        "enrolled",
        "none",
        counts_of(young.join(rolls, on=["_token", "poverty_year"], how="semi"), "_home", "poverty_year"),
        counts_of(young, "_home", "poverty_year"),
    )
    _gaps(table)
    for add_values in more:
        add_values(table, tables, now)
    schema = {
        "indicator_code": pl.String, "variant": pl.String, "area_code": pl.String, "evaluation_year": pl.Int64,
        "subgroup": pl.String, "basis": pl.String, "numerator": pl.Int128, "denominator": pl.Int128,
    }  # fmt: skip
    return pl.DataFrame(table.rows, schema=schema, orient="row").sort(list(TRUTH_COLUMNS[:6]))


def _poverty_exits(table: ValueTable, poor: pl.DataFrame) -> None:
    persons = poor.unique(["poverty_year", "_home", "person_number"])
    gone = persons.filter(
        pl.col("poverty_status").str.starts_with("exited")
        & (pl.col("exit_year") >= 2016)
        & (pl.col("exit_year") <= pl.col("poverty_year"))
    )
    left = persons.filter(pl.col("poverty_status").is_in(["in_poverty", "returned", "newly_identified"]))
    table.add("C1", "exited", "none", counts_of(gone, "_home", "poverty_year"), None)
    table.add("C1", "remaining", "none", counts_of(left, "_home", "poverty_year"), None)


def _by_vintage(population: pl.DataFrame, basis: str, low: int, high: int) -> Counts:
    used = population.filter((pl.col("population_basis") == basis) & pl.col("age").is_between(low, high))
    if basis == "resident":
        # The census replaces the annual estimate from 2020; the back-cast of 2021 is kept but not used.
        vintage = pl.when(pl.col("reference_year") >= 2020).then(pl.lit("census2020")).otherwise(pl.lit("annual"))
        used = used.filter(pl.col("population_vintage") == vintage)
    else:
        used = used.filter(pl.col("population_vintage") == "annual")
    return counts_of(used, "area_code", "reference_year", "person_count")


def _preschool(table: ValueTable, tables: dict[str, pl.DataFrame]) -> None:
    pupils = tables["enrollment_count"].filter(
        (pl.col("stage") == "preschool") & pl.col("grade").is_in(["PRE1", "PRE2", "PRE3"])
    )
    numerator = counts_of(pupils, "county_code", "school_year", "enrollment_count")
    for basis in ("resident", "registered"):
        denominator = _by_vintage(tables["population_age"], basis, 3, 5)
        for code in ("G1a", "G1b"):
            table.add(code, "ger3", basis, numerator, denominator)
    base = _by_vintage(tables["population_age"], "resident", 3, 5)
    priority, comparison = table.areas.priority, table.areas.comparison
    for variant, group, counties in (
        ("ger3_priority", "PRI4", priority),
        ("ger3_comparison", "OTH5", comparison),
    ):
        groups = {c: (c,) for c in counties} | {group: counties}
        table.add("A1.3", variant, "resident", numerator, base, groups=groups)
    for year in table.years:
        n, d = (sum(t.get((c, year), 0) for c in priority) for t in (numerator, base))
        m, e = (sum(t.get((c, year), 0) for c in comparison) for t in (numerator, base))
        table.rows.append(("A1.3", "gap_priority_comparison", "PRI4", year, "all", "resident", n * e - m * d, d * e))


def _retention(table: ValueTable, counts: pl.DataFrame) -> None:
    grades = [*(f"P{i}" for i in range(1, 7)), *(f"J{i}" for i in range(1, 4))]
    cells = (
        counts.filter(pl.col("stage").is_in(["primary", "junior"]))
        .with_columns(
            evaluation_year=pl.col("school_year")
            + 8
            - pl.col("grade").replace_strict(grades, list(range(9)), default=None, return_dtype=pl.Int64)
        )
        .filter(pl.col("evaluation_year").is_not_null())
    )

    def total(column: str, which: list[str]) -> Counts:
        return counts_of(cells.filter(pl.col("grade").is_in(which)), "county_code", "evaluation_year", column)

    last, first = total("enrollment_count", ["J3"]), total("enrollment_count", ["P1"])
    arrivals, losses, deaths = (
        total(c, grades[1:]) for c in ("transfer_in_count", "transfer_out_count", "death_count")
    )
    keys = set(last) | set(first)
    table.add("G2a", "ret9_unadj", "none", last, first)
    table.add("G2b", "ret9_unadj", "none", last, first)
    top = {k: last.get(k, 0) - arrivals.get(k, 0) + losses.get(k, 0) for k in keys}
    bottom = {k: first.get(k, 0) - deaths.get(k, 0) for k in keys}
    table.add("G2a", "ret9_moe_adj", "none", top, bottom)
    table.add("G2b", "ret9_moe_adj", "none", top, bottom)


def _first_component(words: str | None) -> str | None:
    for word in (words or "").split("、"):
        if word in COUNTED_TYPES:
            return COUNTED_TYPES[word]
    return None


def _disabled(table: ValueTable, disabled: pl.DataFrame, pupil: pl.DataFrame) -> None:
    of_age = aged(disabled, "reference_year", 6, 14)
    subgroup = [
        COUNTED_TYPES.get(kind) or (_first_component(words) if kind == "多重" else None)
        for kind, words in of_age.select("disability_type", "component_types").iter_rows()
    ]
    counted = of_age.with_columns(_subgroup=pl.Series(subgroup, dtype=pl.String)).filter(
        pl.col("_subgroup").is_not_null()
    )
    counted = counted.unique(["reference_year", "_token"], keep="first", maintain_order=True)
    rolls = pupil.select("_token", reference_year="school_year").unique()
    enrolled = counted.join(rolls, on=["_token", "reference_year"], how="semi")
    for group in SUBGROUPS:
        wanted = pl.lit(True) if group == "all" else pl.col("_subgroup") == group
        table.add(
            "G3",
            "three_types",
            "none",
            counts_of(enrolled.filter(wanted), "county_code", "reference_year"),
            counts_of(counted.filter(wanted), "county_code", "reference_year"),
            subgroup=group,
        )


def _upper(table: ValueTable, population: pl.DataFrame, primary: pl.DataFrame, now: pl.DataFrame) -> None:
    upper = primary.filter(pl.col("stage").is_in(["senior", "vocational"])).join(
        now, left_on="home_area_code", right_on="_village", how="left"
    )
    numerator = counts_of(upper, "_home", "school_year")
    for basis in ("registered", "resident"):
        table.add("G4", "ger_upper_secondary", basis, numerator, _by_vintage(population, basis, 15, 17))


def out_of_school(poor: pl.DataFrame, pupil: pl.DataFrame, event: pl.DataFrame) -> pl.DataFrame:
    """Return the registered-poor persons aged 6-15 who are on no roll and have not left legitimately."""
    rolls = pupil.select("_token", poverty_year="school_year").unique()
    missing = aged(poor, "poverty_year", 6, 15).join(rolls, on=["_token", "poverty_year"], how="anti")
    exits = (
        event.filter(pl.col("event_type").is_in(EXIT_EVENTS) & (pl.col("approval_status") == "approved"))
        .group_by("_token")
        .agg(_exit=pl.col("event_date").min())
    )
    return (
        missing.join(exits, on="_token", how="left")
        .filter(pl.col("_exit").is_null() | (pl.col("_exit") > pl.date(pl.col("poverty_year"), 9, 1)))
        .drop("_exit")
    )


def _gaps(table: ValueTable) -> None:
    table.gap("gap_ger3", "G1b", "ger3", "resident")
    table.gap("gap_ret9_unadj", "G2b", "ret9_unadj", "none")
    table.gap("gap_disabled", "G3", "three_types", "none")
    table.gap("gap_ger_upper_secondary", "G4", "ger_upper_secondary", "registered")
