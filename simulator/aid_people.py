"""Recognition for aid (E10): the poor on the rolls, other pupils in hardship, students; and the colleges."""

from __future__ import annotations

import numpy as np
import polars as pl

from simulator.aid_due import PERSON, SEMESTER, Tables, listed_poor
from simulator.aid_rules import AUTUMN, semesters
from simulator.geography import Geography
from simulator.plan import YEARS
from simulator.truth import age_on

#: county, name, type of the colleges of the sample
COLLEGES = (
    ("640104", "宁夏兴庆大学校本部", "411"),
    ("640105", "宁夏西夏高等职业学校", "415"),
    ("640302", "宁夏利通高等职业学校", "415"),
    ("640402", "宁夏原州高等职业学校", "415"),
    ("640202", "宁夏大武口高等专科学校", "414"),
)
FIRST_COLLEGE = 990_001
COLLEGE_AGE, COLLEGE_YEARS = 18, 3
POOR_AT_COLLEGE, OTHERS_AT_COLLEGE = 0.4, 0.1
IN_HARDSHIP = 0.035
HARDSHIPS = ("subsistence", "disabled", "destitute", "unsupported", "orphan", "other")
HARDSHIP_WEIGHTS = (0.42, 0.16, 0.05, 0.07, 0.05, 0.25)
_BASIS = {
    "registered_poor": "与建档立卡信息比对一致", "subsistence": "低保证", "disabled": "残疾人证",
    "destitute": "特困供养证明", "unsupported": "民政部门名单", "orphan": "孤儿证", "other": "家庭情况调查表",
}  # fmt: skip
_LEVEL = {"registered_poor": "special", "subsistence": "hard", "destitute": "special", "orphan": "special"}


def college_codes() -> list[str]:
    """Return the school codes of the colleges, parallel to ``COLLEGES``."""
    return [f"4164{FIRST_COLLEGE + place:06d}" for place in range(len(COLLEGES))]


def with_colleges(school: pl.DataFrame, geo: Geography) -> pl.DataFrame:
    """Append the colleges to the school table; the rows of other schools stay as they are."""
    rows = []
    counties = {c.code: c.name for c in geo.counties}
    for code, (county, name, kind) in zip(college_codes(), COLLEGES, strict=True):
        index = next(
            i
            for i in np.flatnonzero(geo.village_county == geo.index(county)).tolist()
            if len(geo.villages[i].codes) == 1 and geo.villages[i].urban_rural in {"111", "112", "121"}
        )
        village = geo.villages[index]
        for year in YEARS:
            rows.append(
                {
                    "school_year": year, "county_code": county, "county_name": counties[county], "school_code": code,
                    "school_name": name, "school_type_code": kind, "owner_code": "811",
                    "village_code": village.codes[0], "urban_rural_code": village.urban_rural,
                    "is_ethnic_school": False, "_file_county": county, "_file_year": year,
                }
            )  # fmt: skip
    return pl.concat([school, pl.DataFrame(rows, schema=school.schema)])


def at_college(tables: Tables, now: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Choose who studies at a college of the region, by semester.

    Returns:
        ``aid_year``, ``term``, ``start``, ``_token``, ``school_code``, ``school_county``, ``is_poor``, ``hardship``,
        ``asked``.
    """
    rng = np.random.default_rng([seed, 92])
    poor = listed_poor(tables["poor_person"], now)
    rolls = tables["pupil"].select("_token", start="school_year").unique()
    listed = tables["poor_person"].filter(pl.col("id_number").is_not_null()).select("_token", "birth_date").unique()
    known = tables["pupil"].filter(pl.col("id_number").is_not_null()).select("_token", "birth_date").unique()
    others = known.join(poor.select("_token").unique(), on="_token", how="anti")
    people = pl.concat(
        [listed.with_columns(poor=pl.lit(True)), others.with_columns(poor=pl.lit(False))]
    ).sort("_token")  # fmt: skip
    years = pl.DataFrame({"start": YEARS}, schema={"start": pl.Int64})
    grown = people.join(years, how="cross").filter(
        age_on(pl.col("birth_date"), pl.col("start")).is_between(COLLEGE_AGE, COLLEGE_AGE + COLLEGE_YEARS - 1)
    )
    # A person who stands in a register at that age is still at school (and comes to no college here).
    busy = grown.join(rolls, on=["start", "_token"], how="semi").select("_token").unique()
    grown = grown.join(busy, on="_token", how="anti").join(
        poor.select("start", "_token", is_poor=pl.lit(True)), on=["start", "_token"], how="left"
    )
    who = grown.select("_token", "poor").unique(maintain_order=True).sort("_token")
    count = who.height
    place = rng.integers(0, len(COLLEGES), size=count)
    codes = college_codes()
    draws = {name: rng.random(count) for name in ("goes", "asks")}
    kinds = np.array(["subsistence", "disabled", "other"])[rng.choice(3, count, p=[0.4, 0.12, 0.48])]
    chosen = who.with_columns(
        school_code=pl.Series([codes[i] for i in place], dtype=pl.String),
        school_county=pl.Series([COLLEGES[i][0] for i in place], dtype=pl.String),
        goes=pl.Series(draws["goes"]) < pl.when(pl.col("poor")).then(POOR_AT_COLLEGE).otherwise(OTHERS_AT_COLLEGE),
        hardship=pl.Series(kinds.tolist(), dtype=pl.String),
        asks=pl.Series(draws["asks"]),
    ).filter("goes")
    is_poor = pl.col("is_poor").fill_null(False)
    # Whoever is poor by the national rule may ask for a post; the registered poor ask more often.
    may_ask = is_poor | (pl.col("hardship") != "other")
    return (
        grown.drop("poor")
        .join(chosen, on="_token")
        .join(semesters().select(*SEMESTER, "start"), on="start")
        .with_columns(
            is_poor=is_poor,
            hardship=pl.when(is_poor).then(pl.lit("registered_poor")).otherwise("hardship"),
            asked=may_ask & (pl.col("asks") < pl.when(is_poor).then(0.45).otherwise(0.35)),
        )
        .select(*SEMESTER, "start", "_token", "school_code", "school_county", "is_poor", "hardship", "asked")
        .sort(*SEMESTER, "_token")
    )


def identities(tables: Tables) -> pl.DataFrame:
    """Return name and numbers by token: of pupils as registered, of other listed persons with the ID's number.

    Returns:
        ``_token``, ``student_number``, ``student_name``, ``id_type``, ``id_number``, ``guardian_id_number``.
    """
    pupil = tables["pupil"].unique("_token", keep="first", maintain_order=True)
    pupils = pupil.select("_token", "student_number", "id_type", "id_number", "guardian_id_number",
                          student_name="pupil_name")  # fmt: skip
    listed = tables["poor_person"].filter(pl.col("id_number").is_not_null())
    rest = (
        listed.unique("_token", keep="first", maintain_order=True)
        .join(pupils, on="_token", how="anti")
        .select(
            "_token", student_number=pl.lit("G") + pl.col("id_number"), id_type=pl.lit("1"), id_number="id_number",
            guardian_id_number=pl.lit(None, dtype=pl.String), student_name="person_name",
        )
    )  # fmt: skip
    return pl.concat([pupils, rest.select(pupils.columns)])


def recognize(persons: pl.DataFrame, students: pl.DataFrame, who: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the canonical table ``aid_recognition``.

    Args:
        persons: as of :func:`simulator.aid_due.persons_of_semesters`, before any recognition.
        students: as of :func:`at_college`.
        who: as of :func:`identities`.
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 93])
    tokens = persons.select("_token").unique().sort("_token")
    drawn = tokens.with_columns(
        draw=pl.Series(rng.random(tokens.height)),
        forgotten=pl.Series(rng.random(tokens.height)),
        hardship=pl.Series(
            np.array(HARDSHIPS)[rng.choice(len(HARDSHIPS), tokens.height, p=HARDSHIP_WEIGHTS)].tolist(),
            dtype=pl.String,
        ),
    )
    on_roll = persons.filter("is_matched").join(drawn, on="_token", maintain_order="left")
    poor = on_roll.filter(pl.col("is_poor") & (pl.col("forgotten") >= 0.02)).with_columns(
        hardship=pl.lit("registered_poor")
    )
    rest = on_roll.filter(~pl.col("is_poor"))
    # In every county and semester somebody is recognized, however small the sample.
    first = pl.col("draw") == pl.col("draw").min().over(*SEMESTER, "school_county")
    others = rest.filter((pl.col("draw") < IN_HARDSHIP) | first).with_columns(
        hardship=pl.when(pl.col("draw") < IN_HARDSHIP).then("hardship").otherwise(pl.lit("subsistence"))
    )
    columns = [*SEMESTER, "_token", "school_code", "school_county", "stage", "hardship", "asked"]
    rows = pl.concat(
        [
            poor.select(columns),
            others.select(columns),
            students.with_columns(stage=pl.lit("higher")).select(columns),
        ]
    ).join(who, on="_token", how="left", maintain_order="left")
    return recognition_rows(rows)


def recognition_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Finish recognitions: level, day and words follow from the kind of hardship."""
    autumn = pl.col("term") == AUTUMN
    shift = pl.col("school_code").str.slice(-2).cast(pl.Int64) % 17
    return (
        rows.with_columns(
            county_code="school_county",
            hardship_type="hardship",
            hardship_level=pl.col("hardship").replace_strict(_LEVEL, default="general"),
            recognized_on=pl.when(autumn)
            .then(pl.date(pl.col("aid_year"), 9, 12 + shift))
            .otherwise(pl.date(pl.col("aid_year"), 3, 1 + shift % 13)),
            recognition_basis=pl.col("hardship").replace_strict(_BASIS),
            asked_work_study=pl.when(pl.col("stage") == "higher").then("asked"),
            _file_county="school_county",
            _file_year="aid_year",
        )
        .sort(*PERSON, "county_code")
        .sort("aid_year", "county_code", "term", "school_code", "student_number")
        .select(
            "aid_year", "county_code", "term", "school_code", "stage", "student_number", "student_name", "id_type",
            "id_number", "hardship_type", "hardship_level", "recognized_on", "recognition_basis", "asked_work_study",
            "_token", "_file_county", "_file_year",
        )
    )  # fmt: skip


def with_absent_youths(poor_person: pl.DataFrame, rolls: pl.DataFrame, room: dict[int, int], seed: int) -> pl.DataFrame:
    """Let some listed youths of 15-17 on no roll learn at a school outside the region, as the list of the poor says.

    Args:
        poor_person: canonical table; only ``school_status`` of the chosen rows changes.
        rolls: ``start``, ``_token`` of every register row.
        room: by year, how many persons at most.
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 94])
    age = age_on(pl.col("birth_date"), pl.col("poverty_year"))
    idle = (
        poor_person.filter(
            (pl.col("school_status") == "非在校生") & age.is_between(15, 17) & ~pl.col("_lost")
            & pl.col("id_number").is_not_null()
        )
        .with_columns(age=age, start="poverty_year")
        .join(rolls, on=["start", "_token"], how="anti")
        .select("poverty_year", "_token", "age")
    )  # fmt: skip
    tokens = idle.select("_token").unique().sort("_token")
    ranked = tokens.with_columns(rank=pl.Series(rng.permutation(tokens.height)))
    # The same persons year after year as long as there is room, so that most are absent until they have finished.
    chosen = (
        idle.join(ranked, on="_token")
        .sort("poverty_year", "rank")
        .with_columns(place=pl.int_range(pl.len()).over("poverty_year"))
        .filter(pl.col("place") < pl.col("poverty_year").replace_strict(room, default=0, return_dtype=pl.Int64))
        .with_columns(
            absent=pl.col("age").replace_strict(
                {15: "高中一年级", 16: "高中二年级", 17: "高中三年级"}, return_dtype=pl.String
            )
        )
        .select("poverty_year", "_token", "absent")
    )
    return (
        poor_person.join(chosen, on=["poverty_year", "_token"], how="left", maintain_order="left")
        .with_columns(school_status=pl.coalesce("absent", "school_status"))
        .drop("absent")
    )
