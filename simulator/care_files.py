"""Care files of left-behind, disabled, orphaned and other children (E29), one row per child and term with a file."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from simulator.truth import primary_rows
from simulator.world import World

#: terms with a register behind them, as (year, term, school year of the register)
TERMS: tuple[tuple[int, str, int], ...] = (
    (2015, "autumn", 2015),
    *((year, term, year - (term == "spring")) for year in range(2016, 2021) for term in ("spring", "autumn")),
)
# share with a care file in the first and the last term: registered-poor children first
FILED_POOR = (0.70, 0.998)
FILED_OTHER = (0.55, 0.985)
VISITED = (0.86, 0.999)
# share that wanted to board and found no place
REFUSED_LEFT_BEHIND = (0.03, 0.002)
REFUSED_OTHER = (0.12, 0.05)
CLOSED_PER_TERM = 0.001
OTHER_CHILDREN_SHARE = 0.004
COUNTED_STAGES = ("primary", "junior", "special")
FIRST_CUT_OFF = {"spring": (3, 15), "autumn": (10, 15)}


def _between(pair: tuple[float, float], place: int) -> float:
    return pair[0] + (pair[1] - pair[0]) * place / (len(TERMS) - 1)


def care_records(world: World, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Build the care files of all terms."""
    rng = np.random.default_rng([world.seed, 92])
    register = _register(tables)
    people = register.select("_token").unique().sort("_token")
    people = people.with_columns(
        _rank=pl.int_range(1, people.height + 1),
        **{name: pl.Series(rng.random(people.height)) for name in ("_file_draw", "_other_draw", "_board_draw", "_kin")},
        _started=pl.Series(rng.integers(0, 22, people.height)),
    )
    register = register.join(people, on="_token", maintain_order="left")
    first: pl.DataFrame | None = None
    parts = []
    for place, (year, term, register_year) in enumerate(TERMS):
        roll = register.filter(pl.col("school_year") == register_year)
        rows = _term(roll, place, year, term, rng)
        # a file that was closed stays closed, and opens on the day of its first term
        if first is not None:
            rows = rows.join(first.filter("_gone"), on="_token", how="anti", maintain_order="left")
            rows = rows.join(first.select("_token", _known=pl.col("opened_on")), on="_token", how="left",
                             maintain_order="left").with_columns(
                opened_on=pl.coalesce("_known", "opened_on"),
                closed_on=pl.when(pl.col("_known").is_not_null()).then("closed_on"),
            ).drop("_known")  # fmt: skip
        else:
            rows = rows.with_columns(closed_on=pl.lit(None, dtype=pl.Date))
        now = rows.select("_token", "opened_on", _gone=pl.col("closed_on").is_not_null())
        first = now if first is None else pl.concat([now, first]).unique("_token", keep="first", maintain_order=True)
        parts.append(rows)
    return (
        pl.concat(parts)
        .with_columns(
            care_file_number="GA" + pl.col("_rank").cast(pl.String).str.zfill(8),
            _file_county=pl.col("county_code"),
            _file_year=pl.col("aid_year"),
        )
        .sort("aid_year", "county_code", "term", "school_code", "student_number")
        .select(
            "aid_year", "county_code", "term", "school_code", "student_number", "child_name", "id_type", "id_number",
            "care_file_number", "child_kind", "guardianship", "opened_on", "closed_on", "visit_count",
            "activity_count", "asked_boarding", "granted_boarding", "is_in_rehabilitation", "_token", "_file_county",
            "_file_year",
        )
    )  # fmt: skip


def _register(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Primary rolls with what decides about a care file; ``_poor`` by the list of the register's year."""
    poor = tables["poor_person"].select("_token", school_year="poverty_year", _poor=pl.lit(True)).unique()
    disabled = tables["disabled_child"].select(
        "_token", school_year="reference_year", _rehabilitation="is_in_rehabilitation", _listed=pl.lit(True)
    ).unique(["_token", "school_year"], keep="first", maintain_order=True)  # fmt: skip
    return (
        primary_rows(tables["pupil"], tables["student_event"])
        .sort("school_year", "county_code", "school_code", "student_number")
        .join(poor, on=["_token", "school_year"], how="left", maintain_order="left")
        .join(disabled, on=["_token", "school_year"], how="left", maintain_order="left")
        .with_columns(
            _poor=pl.col("_poor").fill_null(value=False),
            _disabled=(pl.col("disability_code") != "0") | pl.col("_listed").fill_null(value=False),
            _left=pl.col("left_behind_code") != "0",
        )
        .select(
            "school_year", "county_code", "school_code", "student_number", "id_type", "id_number", "stage",
            "boarding_code", "left_behind_code", "is_orphan", "_poor", "_disabled", "_left", "_rehabilitation",
            "_token", child_name="pupil_name",
        )
    )  # fmt: skip


def _counts(rng: np.random.Generator, low: int, high: int, size: int) -> NDArray[np.int64]:
    return rng.integers(low, high, size=size)


def _term(roll: pl.DataFrame, place: int, year: int, term: str, rng: np.random.Generator) -> pl.DataFrame:
    """Children with a file in one term; ``closed_on`` is a wish that the caller may refuse."""
    counted = pl.col("stage").is_in(COUNTED_STAGES)
    share = pl.when("_poor").then(_between(FILED_POOR, place)).otherwise(_between(FILED_OTHER, place))
    kind = (
        pl.when(pl.col("_left") & (counted | pl.col("_poor")))
        .then(pl.lit("left_behind"))
        .when(pl.col("_disabled"))
        .then(pl.lit("disabled"))
        .when(pl.col("is_orphan"))
        .then(pl.lit("orphan"))
        .when(counted & (pl.col("_other_draw") < OTHER_CHILDREN_SHARE))
        .then(pl.lit("other"))
    )
    rows = roll.with_columns(child_kind=kind).filter(
        pl.col("child_kind").is_not_null() & (pl.col("_file_draw") < share)
    )
    size = rows.height
    visited = rng.random(size) < _between(VISITED, place)
    visits = np.where(visited, _counts(rng, 1, 5, size), 0)
    month, day = FIRST_CUT_OFF[term]
    start = date(year, month, day)
    refused = (
        pl.when(pl.col("child_kind") == "left_behind")
        .then(_between(REFUSED_LEFT_BEHIND, place))
        .otherwise(_between(REFUSED_OTHER, place))
    )
    boards = pl.col("boarding_code") == "2"
    kin = (
        pl.when((pl.col("child_kind") == "left_behind") & (pl.col("left_behind_code") == "2"))
        .then(pl.when(pl.col("_kin") < 0.85).then(pl.lit("grandparents")).otherwise(pl.lit("relatives")))
        .when(pl.col("child_kind") == "orphan")
        .then(pl.when(pl.col("_kin") < 0.6).then(pl.lit("grandparents")).otherwise(pl.lit("relatives")))
        .when(pl.col("_kin") < 0.97)
        .then(pl.lit("parents"))
        .otherwise(pl.lit("other"))
    )
    return rows.with_columns(_days=pl.Series(_counts(rng, 1, 11, size))).with_columns(
        aid_year=pl.lit(year, dtype=pl.Int64),
        term=pl.lit(term),
        guardianship=kin,
        # opened before the cut-off date of the child's first term, closed within the ten days before a cut-off
        opened_on=pl.lit(start) - pl.duration(days=pl.col("_started") + 12),
        closed_on=pl.when(pl.Series(rng.random(size) < CLOSED_PER_TERM)).then(
            pl.lit(start) - pl.duration(days=pl.col("_days"))
        ),
        visit_count=pl.Series(visits),
        activity_count=pl.Series(_counts(rng, 0, 3 + place // 3, size)),
        asked_boarding=counted & (boards | (pl.col("_board_draw") < refused)),
        granted_boarding=counted & boards,
        is_in_rehabilitation=pl.when(pl.col("child_kind") == "disabled").then(
            pl.coalesce("_rehabilitation", pl.col("_kin") < 0.3)
        ),
    )
