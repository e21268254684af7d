"""Persons whom the ID number no longer joins: for the matching of the poverty list with the register.

Two steps, both from generators of their own. First some pupils come to resemble each other: twins (same birth date,
guardian and village, another name) and namesakes (same name and birth date, another village). Then, of a share of the
registered-poor children, one third lose the number in the list, one third carry a mistyped valid number there, and one
third have no number in the register. The column ``_token`` keeps telling who is who.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from simulator.care_plant import new_number, with_new_numbers
from simulator.identity import MIDDLE_DOT, check_character
from simulator.truth import aged

Tables = dict[str, pl.DataFrame]
DAMAGES = ("no_number", "wrong_number", "register_without_number")
VARIANT_SHARE = 0.25
NAMES = ("pupil_name", "person_name", "student_name", "child_name")
LIKE_DAYS = 400
#: prefix of the numbers given by schools to pupils without ID; no sample ID carries it
NO_ID_PREFIX = "649900"
MATCH_AGES = (3, 22)


def with_lookalikes(tables: Tables, scale: float, seed: int) -> tuple[Tables, dict[str, str]]:
    """Make twins and namesakes among the registered-poor pupils.

    Returns:
        The tables, and by token what the person resembles: ``twin`` or ``namesake``; pairs stand side by side.
    """
    rng = np.random.default_rng([seed, 97])
    pairs = max(3, round(100 * scale))
    people = _poor_pupils(tables)
    taken = set(tables["pupil"]["id_number"].drop_nulls()) | set(tables["poor_person"]["id_number"].drop_nulls())
    order = people[rng.permutation(people.height).tolist()].to_dicts()
    used: set[str] = set()
    numbers: dict[str, tuple[str, date]] = {}
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for kind, keys in (("twin", ("guardian_id_number", "home_area_code")), ("namesake", ("sex",))):
        waiting: dict[tuple[object, ...], dict[str, object]] = {}
        found = 0
        for row in order:
            if found == pairs or row["_token"] in used:
                continue
            first = waiting.get(tuple(row[k] for k in keys))
            if first is None or not _alike(first, row, kind):
                waiting[tuple(row[k] for k in keys)] = row
                continue
            # the younger one becomes as old as the other, so that nobody is listed before being born
            elder, younger = sorted((first, row), key=lambda person: str(person["birth_date"]))
            born, token = elder["birth_date"], str(younger["_token"])
            assert isinstance(born, date)
            numbers[token] = (new_number(token, born, taken), born)
            if kind == "namesake":
                names[token] = str(elder["pupil_name"])
            kinds[str(elder["_token"])] = kinds[numbers[token][0]] = kind
            used |= {str(elder["_token"]), token}
            del waiting[tuple(row[k] for k in keys)]
            found += 1
    return with_new_numbers(_renamed(tables, names), numbers), kinds


def _renamed(tables: Tables, names: dict[str, str]) -> Tables:
    """Give persons another name, wherever they are named."""
    result = dict(tables)
    for table, frame in tables.items():
        if "_token" in frame.columns:
            result[table] = frame.with_columns(
                pl.col("_token").replace_strict(names, default=pl.col(column), return_dtype=pl.String).alias(column)
                for column in frame.columns
                if column in NAMES
            )
    return result


def _alike(first: dict[str, object], second: dict[str, object], kind: str) -> bool:
    """Tell whether two pupils are of nearly one age; twins differ in name, namesakes live in different villages."""
    one, other = first["birth_date"], second["birth_date"]
    assert isinstance(one, date)
    assert isinstance(other, date)
    if abs((one - other).days) > LIKE_DAYS:
        return False
    column = "pupil_name" if kind == "twin" else "home_area_code"
    return first[column] != second[column]


def _poor_pupils(tables: Tables) -> pl.DataFrame:
    """Registered-poor children on a register, with their latest row there; the disabled keep their numbers."""
    listed = tables["poor_person"].filter(pl.col("id_number").is_not_null()).select("_token").unique()
    return (
        tables["pupil"]
        .filter(pl.col("student_number").str.starts_with("G"))
        .join(listed, on="_token", how="semi")
        .join(tables["disabled_child"].select("_token"), on="_token", how="anti")
        .sort("school_year", "_token")
        .unique("_token", keep="last", maintain_order=True)
        .sort("_token")
    )


def damage_ids(tables: Tables, share: float, seed: int, lookalikes: dict[str, str]) -> tuple[Tables, dict[str, str]]:
    """Damage the numbers of a share of the registered-poor children: first one of each pair of lookalikes.

    The other one of a pair stays as it is, the wrong person to match with.

    Returns:
        The tables, and by token the damage.
    """
    rng = np.random.default_rng([seed, 98])
    people = _poor_pupils(tables)
    tokens = people["_token"].to_list()
    drawn = [tokens[i] for i in rng.permutation(len(tokens)).tolist()]
    partners, second = set(list(lookalikes)[::2]), set(list(lookalikes)[1::2])
    candidates = sorted((t for t in drawn if t not in partners), key=lambda token: token not in second)
    chosen = candidates[: round(share * len(drawn))]
    damage = {token: DAMAGES[i % len(DAMAGES)] for i, token in enumerate(chosen)}
    known = set(tables["pupil"]["id_number"].drop_nulls()) | set(tables["poor_person"]["id_number"].drop_nulls())
    wrong = {t: _mistyped(t, known) for t, kind in damage.items() if kind == "wrong_number"}
    lost = [t for t, kind in damage.items() if kind == "no_number"]
    written = {t for t in (*wrong, *lost) if rng.random() < VARIANT_SHARE}
    poor = tables["poor_person"]
    own = pl.col("_token")
    poor = poor.with_columns(
        id_type=pl.when(own.is_in(lost)).then(pl.lit("Z")).otherwise(pl.col("id_type")),
        id_number=pl.when(own.is_in(lost))
        .then(None)
        .otherwise(own.replace_strict(wrong, default=pl.col("id_number"), return_dtype=pl.String)),
        person_name=pl.when(own.is_in(sorted(written)))
        .then(_variant(pl.col("person_name")))
        .otherwise(pl.col("person_name")),
    )
    unnumbered = {t: kind for t, kind in damage.items() if kind == "register_without_number"}
    school_numbers = _school_numbers(people.filter(own.is_in(list(unnumbered))))
    return {**_without_number(tables, school_numbers), "poor_person": poor}, damage


def _mistyped(number: str, known: set[str]) -> str:
    """Swap two neighboring digits of the area or of the sequence; the check digit fits, the date and sex stay."""
    for left in (4, 14, 15):
        digits = list(number[:17])
        digits[left], digits[left + 1] = digits[left + 1], digits[left]
        body = "".join(digits)
        made = body + check_character(body)
        if made not in known and int(body[16]) % 2 == int(number[16]) % 2 and body.startswith("6499"):
            known.add(made)
            return made
    serial = number[14:17]
    for step in range(2, 1000, 2):
        body = f"{number[:14]}{(int(serial) + step) % 1000:03d}"
        made = body + check_character(body)
        if made not in known:
            known.add(made)
            return made
    raise ValueError("no free number of this area, birth date and sex is left")


def _variant(name: pl.Expr) -> pl.Expr:
    """Write a name as another office does: without its dot, or with a space inside."""
    return (
        pl.when(name.str.contains(MIDDLE_DOT, literal=True))
        .then(name.str.replace_all(MIDDLE_DOT, "", literal=True))
        .otherwise(name.str.head(1) + " " + name.str.slice(1))
    )


def _school_numbers(people: pl.DataFrame) -> dict[str, str]:
    """Give J and L numbers in turn."""
    count: dict[str, int] = {}
    result = {}
    for place, (token, born) in enumerate(people.select("_token", "birth_date").iter_rows()):
        day = f"{born:%Y%m%d}"
        count[day] = count.get(day, 0) + 1
        body = f"{NO_ID_PREFIX}{day}{count[day]:03d}"
        result[token] = f"J{body}{check_character(body)}" if place % 2 else f"L{body}0"
    return result


def _without_number(tables: Tables, numbers: dict[str, str]) -> Tables:
    """Take the ID from what schools write, and let every feed know the pupil by the school's number."""
    own = pl.col("_token")
    hit = own.is_in(list(numbers))
    result = {}
    for name, table in tables.items():
        if "_token" not in table.columns or "student_number" not in table.columns:
            result[name] = table
            continue
        known = pl.col("student_number").is_not_null() & hit
        changes = {
            "student_number": pl.when(known)
            .then(own.replace_strict(numbers, default=None, return_dtype=pl.String))
            .otherwise(pl.col("student_number"))
        }
        # the dropout ledger is kept by the county, which knows the number from the household
        if name != "dropout_case":
            changes["id_number"] = pl.when(hit).then(None).otherwise(pl.col("id_number"))
            if "id_type" in table.columns:
                changes["id_type"] = pl.when(hit).then(pl.lit("Z")).otherwise(pl.col("id_type"))
        result[name] = table.with_columns(**changes)
    return result


def person_match(tables: Tables, damage: dict[str, str], lookalikes: dict[str, str]) -> pl.DataFrame:
    """Tell who every listed person of school age is on the register.

    Returns:
        poverty_year, county_code, person_number, student_number (the latest of the person; null on no register),
        on_roll (1 where the person stands on the register of that year), damage, lookalike.
    """
    pupil = tables["pupil"]
    latest = pupil.sort("school_year", "_token", "student_number").unique("_token", keep="last", maintain_order=True)
    rolls = pupil.select("_token", poverty_year="school_year", on_roll=pl.lit(1, dtype=pl.Int64)).unique()
    return (
        aged(tables["poor_person"], "poverty_year", *MATCH_AGES)
        .join(latest.select("_token", "student_number"), on="_token", how="left")
        .join(rolls, on=["_token", "poverty_year"], how="left")
        .select(
            "poverty_year", "county_code", "person_number", "student_number", pl.col("on_roll").fill_null(0),
            damage=pl.col("_token").replace_strict(damage, default="none", return_dtype=pl.String),
            lookalike=pl.col("_token").replace_strict(lookalikes, default="none", return_dtype=pl.String),
        )
        .sort("poverty_year", "county_code", "person_number")
    )  # fmt: skip
