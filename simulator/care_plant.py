"""Contradictions planted on purpose, in rows that no calibrated indicator rests on.

* I08: special schools whose statistics count more pupils than their register holds; one just at the limit.
* I09: too many meal days, more eaters than pupils, the same figures month after month; one just at each limit.
* I11: pupils of grade nine who are eighteen; one who is seventeen.
* I19: a jump in the statistics of special schools that the register does not know.
* I22: poverty lists that contradict themselves.

Natural near-misses come with the province: released transfers, full attendance, new schools.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl

from simulator.care_cases import (
    ENROLLMENT_FLOOR,
    HIGHEST_AGE,
    INFLATION_PERCENT,
    JUMP_PERCENT,
    MOST_MEAL_DAYS,
    enrollment_by_stage,
    in_school,
)
from simulator.identity import check_character
from simulator.world import World

Tables = dict[str, pl.DataFrame]
#: differences below this many pupils are beneath the notice of the checks on a whole county's delivery
UNNOTICED = 14
#: and below one in so many of the county's pupils
UNNOTICED_SHARE = 60
#: of the fourteen special schools, those used for one kind of case
MOST_SPECIAL_SCHOOLS = 3
OVERAGE_GRADE = "J3"


def number_of_cases(scale: float) -> int:
    """Cases planted for each shape of a rule: two in the smallest sample, twenty in the whole province."""
    return max(2, round(20 * scale))


def plant_registers(world: World, tables: Tables) -> Tables:
    """Return the tables with the cases of I08, I11, I19 and I22."""
    rng = np.random.default_rng([world.seed, 95])
    known = dict(tables)
    known = _overage_pupils(known, number_of_cases(world.plan.scale), rng)
    known["enrollment_count"] = _statistics(known, number_of_cases(world.plan.scale), rng)
    known["poor_person"] = _contradictory_list(known["poor_person"], number_of_cases(world.plan.scale), rng)
    return known


def _picked(frame: pl.DataFrame, wanted: int, rng: np.random.Generator) -> pl.DataFrame:
    """Draw rows; fewer where there are not enough."""
    chosen: list[int] = np.sort(rng.permutation(frame.height)[:wanted]).tolist()
    return frame[chosen]


# statistics


def _statistics(tables: Tables, cases: int, rng: np.random.Generator) -> pl.DataFrame:
    """Raise or lower the counts of special schools in single years."""
    statistics = tables["enrollment_count"].with_row_index("_at").with_columns(pl.col("_at").cast(pl.Int64))
    special = statistics.filter((pl.col("stage") == "special") & (pl.col("school_year") >= 2016))
    schools = (
        special.group_by("school_year", "county_code", "school_code")
        .agg(counted=pl.col("enrollment_count").sum())
        .sort("school_year", "school_code")
    )
    registered = tables["pupil"].group_by("school_year", "school_code").agg(registered=pl.len().cast(pl.Int64))
    keys = ["school_year", "school_code"]
    schools = (
        schools.join(registered, on=keys)
        .sort(keys)
        .with_columns(
            # the first count above the limit, and the last one at it
            over=pl.col("registered") * (100 + INFLATION_PERCENT) // 100 + 1 - pl.col("counted"),
            limit=pl.col("registered") * (100 + INFLATION_PERCENT) // 100 - pl.col("counted"),
        )
    )
    schools = schools.join(_apart(tables), on=["school_year", "county_code"]).sort("school_year", "school_code")
    cases = min(cases, MOST_SPECIAL_SCHOOLS)
    # every school is used once, so that no case hides another
    fits = schools.filter(_hardly_felt(pl.col("over")) & (pl.col("limit") > 0))
    once = fits[rng.permutation(fits.height).tolist()].unique("school_code", keep="first", maintain_order=True)
    changes = {row["school_code"]: (row["school_year"], row["over"]) for row in once.head(cases).to_dicts()}
    changes |= {row["school_code"]: (row["school_year"], row["limit"]) for row in once[cases : cases + 1].to_dicts()}
    changes |= _jumps(tables, schools.filter(~pl.col("school_code").is_in(list(changes))), cases)
    counts = statistics["enrollment_count"].to_list()
    boarders = statistics["boarder_count"].to_list()
    for school, (year, change) in changes.items():
        cells = special.filter((pl.col("school_code") == school) & (pl.col("school_year") == year))
        left = abs(change)
        places = cells.sort("enrollment_count", descending=True)["_at"].to_list()
        while left:
            for at in places:
                if left and (change > 0 or counts[at] > 1):
                    counts[at] += 1 if change > 0 else -1
                    boarders[at] = min(boarders[at], counts[at])
                    left -= 1
    return statistics.with_columns(
        enrollment_count=pl.Series(counts, dtype=pl.Int64), boarder_count=pl.Series(boarders, dtype=pl.Int64)
    ).drop("_at")


def _jumps(tables: Tables, schools: pl.DataFrame, cases: int) -> dict[str, tuple[int, int]]:
    """Choose the smallest jumps beyond the limit, up or down, in counties with one special school.

    Only where the register stays within the limit and the whole county hardly feels the change.
    """
    county = ["school_year", "county_code"]
    alone = schools.filter(pl.len().over(county) == 1)
    jumps = enrollment_by_stage(tables).filter(pl.col("stage") == "special")
    known = (pl.col("registered_now") - pl.col("registered_before")).abs()
    found = alone.join(jumps, on=county).filter(
        (pl.col("before") >= ENROLLMENT_FLOOR)
        & (100 * known <= JUMP_PERCENT * pl.col("registered_before"))
        & (100 * (pl.col("count") - pl.col("before")).abs() <= JUMP_PERCENT * pl.col("before"))
    )
    highest = pl.col("before") * (100 + JUMP_PERCENT) // 100
    lowest = -(-pl.col("before") * (100 - JUMP_PERCENT) // 100)
    both = pl.concat(
        found.with_columns(change=change) for change in (highest + 1 - pl.col("count"), lowest - 1 - pl.col("count"))
    )
    both = both.filter(_hardly_felt(pl.col("change")))
    # a jump of the last year has no way back
    order = both.sort(pl.col("school_year") != pl.col("school_year").max(), pl.col("change").abs(), "school_code")
    once = order.unique("county_code", keep="first", maintain_order=True)
    return {r["school_code"]: (r["school_year"], r["change"]) for r in once.head(cases).to_dicts()}


def _hardly_felt(change: pl.Expr) -> pl.Expr:
    """Tell whether register and statistics of the county stay together in spite of a change of the statistics."""
    gap = (pl.col("apart") - change).abs()
    return (gap <= UNNOTICED) | (UNNOTICED_SHARE * gap <= pl.col("whole_county"))


def _apart(tables: Tables) -> pl.DataFrame:
    """Return by year and county the pupils of the register beyond the statistics, and those of the statistics."""
    keys = ["school_year", "county_code"]
    counted = tables["enrollment_count"].group_by(keys).agg(whole_county=pl.col("enrollment_count").sum())
    registered = tables["pupil"].group_by(keys).agg(_rolls=pl.len().cast(pl.Int64))
    return counted.join(registered, on=keys).with_columns(apart=pl.col("_rolls") - pl.col("whole_county"))


# registers


def _overage_pupils(tables: Tables, cases: int, rng: np.random.Generator) -> Tables:
    """Make pupils of grade nine who stand in one register only three and more years too old."""
    pupil = tables["pupil"]
    elsewhere = pl.concat([tables[name].select("_token") for name in ("poor_person", "disabled_child")]).unique()
    single = (
        pupil.filter(pl.len().over("_token") == 1)
        .filter((pl.col("grade") == OVERAGE_GRADE) & (pl.col("stage") == "junior") & pl.col("id_number").is_not_null())
        .filter(pl.col("student_number").str.starts_with("G"))
        .join(elsewhere, on="_token", how="anti")
        .sort("_token")
    )
    chosen = _picked(single, cases + 1, rng)
    taken = set(pupil["id_number"].drop_nulls()) | set(tables["poor_person"]["id_number"].drop_nulls())
    changes = {}
    for k, row in enumerate(chosen.to_dicts()):
        age = HIGHEST_AGE["junior"] + (1 if k < cases else 0)
        born = _born(row["birth_date"], int(row["school_year"]) - age)
        changes[row["_token"]] = (new_number(row["id_number"], born, taken), born)
    return with_new_numbers(tables, changes)


def _born(known: date, year: int) -> date:
    """Move a birth date so that its owner has exactly the age of ``year`` on 1 September."""
    late = (known.month, known.day) > (9, 1)
    return known.replace(year=year - int(late), day=min(known.day, 28))


def new_number(number: str, born: date, taken: set[str]) -> str:
    """Return an unused ID number of the same area and sex for another birth date, and remember it."""
    serial = int(number[14:17])
    while True:
        body = f"{number[:6]}{born:%Y%m%d}{serial:03d}"
        made = body + check_character(body)
        if made not in taken:
            taken.add(made)
            return made
        serial = (serial + 2) % 1000


def with_new_numbers(tables: Tables, changes: dict[str, tuple[str, date]]) -> Tables:
    """Give persons another birth date and the ID and student number that go with it, in every table.

    Args:
        tables: canonical tables.
        changes: by token the new ID number and birth date.
    """
    numbers = {token: number for token, (number, _) in changes.items()}
    students = {"G" + token: "G" + number for token, number in numbers.items()}
    births = {token: born for token, (_, born) in changes.items()}
    result = {}
    for name, table in tables.items():
        if "_token" not in table.columns or "id_number" not in table.columns:
            result[name] = table
            continue
        new = [pl.col("id_number").replace(numbers), pl.col("_token").replace(numbers)]
        if "student_number" in table.columns:
            new.append(pl.col("student_number").replace(students))
        if "birth_date" in table.columns:
            born = pl.col("_token").replace_strict(births, default=pl.col("birth_date"), return_dtype=pl.Date)
            new.append(born.alias("birth_date"))
        result[name] = table.with_columns(new)
    return result


# the poverty list


def _contradictory_list(poor: pl.DataFrame, cases: int, rng: np.random.Generator) -> pl.DataFrame:
    """Write what cannot be true into single rows of the list, one row of each person at most."""
    listed = poor.with_row_index("_at").with_columns(pl.col("_at").cast(pl.Int64))
    age = listed["poverty_year"] - listed["birth_date"].dt.year()
    listed = listed.with_columns(_age=age)
    grown = in_school() & pl.col("_age").is_between(16, 18)
    out = pl.col("_lost") & (pl.col("out_of_school_reason") == "unwilling") & (pl.col("health_status") == "健康")
    wishes: list[tuple[pl.Expr, int, dict[str, str]]] = [
        (grown, cases, {"labor_ability": "技能劳动力"}),
        (in_school() & pl.col("_age").is_between(13, 18), cases, {"out_of_school_reason": "working"}),
        (out, cases, {"out_of_school_reason": "illness"}),
        ((pl.col("school_status") == "非在校生") & pl.col("_age").is_between(18, 19), cases,
         {"school_status": "硕士及以上"}),
        (pl.col("school_status").is_null() & pl.col("_age").is_between(22, 24), 1,
         {"school_status": "硕士及以上"}),
    ]  # fmt: skip
    used: set[str] = set()
    edits: dict[str, dict[int, str]] = {}
    for where, wanted, change in wishes:
        fits = listed.filter(where & ~pl.col("_token").is_in(sorted(used)))
        chosen = _picked(fits.unique("_token", keep="first", maintain_order=True), wanted, rng)
        used |= set(chosen["_token"])
        for column, text in change.items():
            edits.setdefault(column, {}).update(dict.fromkeys(chosen["_at"].to_list(), text))
    return poor.with_columns(_edited(poor, column, cells) for column, cells in edits.items())


def _edited(table: pl.DataFrame, column: str, cells: dict[int, str]) -> pl.Series:
    values = table[column].to_list()
    for at, text in cells.items():
        values[at] = text
    return pl.Series(column, values, dtype=pl.String)


# meals


def plant_meals(world: World, meals: pl.DataFrame) -> pl.DataFrame:
    """Return the meal reports with the cases of I09 and what is just no case."""
    rng = np.random.default_rng([world.seed, 96])
    cases = number_of_cases(world.plan.scale)
    rows = meals.to_dicts()
    # in a county with many absent, a few eaters too many do not lift the county above its pupils
    absent = meals.group_by("aid_year", "county_code").agg(
        _absent=(pl.col("pupil_count") - pl.col("beneficiary_count")).sum()
    )
    spare = meals.with_row_index("_at").join(absent, on=["aid_year", "county_code"], maintain_order="left")
    groups = (
        spare.filter((pl.col("pupil_count") >= 12) & (pl.col("_absent") >= 40) & (pl.col("month") <= 6))
        .group_by("school_code", "aid_year", maintain_order=True)
        .agg("_at", pl.len().alias("months"))
        .filter(pl.col("months") == 4)
        .sort("school_code", "aid_year")
        .sample(fraction=1.0, shuffle=True, seed=int(rng.integers(2**31)))
        .unique("school_code", keep="first", maintain_order=True)
    )
    places = [sorted(cells) for cells in groups["_at"].to_list()]
    plans: list[tuple[Callable[[list[dict[str, object]]], None], int]] = [
        (_too_many_days, cases), (_most_days, 1), (_too_many_eaters, cases), (_same_figures, cases), (_same_three, 1),
    ]  # fmt: skip
    for change, wanted in plans:
        for _ in range(wanted):
            if not places:
                break
            change([rows[at] for at in places.pop()])
    return pl.DataFrame(rows, schema=meals.schema)


def _set(row: dict[str, object], *, fed: int | None = None, days: int | None = None) -> None:
    """Change eaters or days of one row; meals and money follow."""
    eaters = int(str(row["beneficiary_count"])) if fed is None else fed
    open_days = int(str(row["meal_day_count"])) if days is None else days
    meals = eaters * open_days
    granted = max(int(str(row["pupil_count"])), eaters) * open_days
    row |= {"beneficiary_count": eaters, "meal_day_count": open_days, "meal_count": meals}
    row |= {"allocated_yuan": 4 * granted, "spent_yuan": 4 * meals, "balance_yuan": 4 * (granted - meals)}


def _too_many_days(months: list[dict[str, object]]) -> None:
    _set(months[1], days=MOST_MEAL_DAYS + 3)


def _most_days(months: list[dict[str, object]]) -> None:
    _set(months[1], days=MOST_MEAL_DAYS)


def _too_many_eaters(months: list[dict[str, object]]) -> None:
    _set(months[2], fed=int(str(months[2]["pupil_count"])) + 2)


def _same_figures(months: list[dict[str, object]]) -> None:
    for row in months:
        _set(row, fed=int(str(months[0]["pupil_count"])) - 2, days=20)


def _same_three(months: list[dict[str, object]]) -> None:
    for row in months[:3]:
        _set(row, fed=int(str(months[0]["pupil_count"])) - 2, days=20)
