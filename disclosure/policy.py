"""The disclosure policy: what must be hidden, how uncertain an attacker must stay, by which method. Data, not code.

The policy is read from the reference tables (dbt seeds) and is stored whole in the release that it protected.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

Row = Mapping[str, Any]
#: reference tables that make up the policy; all of them are sealed with the release
TABLES = ("disclosure_policy", "disclosure_methods", "disclosure_coding", "disclosure_structure", "disclosure_weights")
Method = Literal["suppression", "rounding"]


class PolicyError(RuntimeError):
    """The policy's tables do not say what they must; the message names table and row."""


@dataclass(frozen=True)
class ClassPolicy:
    """Rules for one disclosure class.

    Attributes:
        name: the class, as named in the registry of indicators.
        min_count: a protected count above 0 and below this is small (persons); 0: nothing of the class is protected.
        protected: which counts of a cell: numerator, denominator, rest (denominator less numerator).
        min_width: an attacker's interval for a count of a hidden cell is at least this wide (persons).
        restatement_margin: counts this close above ``min_count`` are hidden too, so that a later release with as many
            persons fewer does not turn a figure that is known into one that must be hidden.
        assumed_moves: an attacker may assume that a restatement moved no more persons than this.
        rounding_base: figures are rounded to multiples of it instead of being withheld (persons); None: not rounded.
        money_base_yuan: amounts of money are rounded to multiples of it (yuan), more than one person is ever paid.
        money_min_count: amounts are shown where the shown count of persons is at least this.
    """

    name: str
    min_count: int
    protected: tuple[str, ...]
    min_width: int
    restatement_margin: int
    assumed_moves: int
    rounding_base: int | None = None
    money_base_yuan: int | None = None
    money_min_count: int = 0

    @property
    def is_protected(self) -> bool:
        """Whether cells of the class are withheld where they are small (see ``is_rounded`` for the other method)."""
        return self.min_count > 0

    @property
    def is_rounded(self) -> bool:
        """Whether cells of the class are shown rounded."""
        return self.rounding_base is not None


@dataclass(frozen=True)
class Coding:
    """Rates of small groups are shown as a bound: at most ``lower``, at least ``upper`` (percent)."""

    denominator_from: int
    denominator_to: int
    lower: int
    upper: int


@dataclass(frozen=True)
class Nesting:
    """How a protected variant relates to others.

    Attributes:
        subgroups_partition: its subgroups add up to all.
        part_of: variant among whose persons those of this one are.
        part_of_indicator: indicator of that variant; None: its own.
        money_unit: figures are amounts in this unit (yuan, fen); None: figures are counts.
        counted_by: variant whose count says how many an amount is about.
    """

    subgroups_partition: bool = False
    part_of: str | None = None
    money_unit: str | None = None
    counted_by: str | None = None
    part_of_indicator: str | None = None


@dataclass(frozen=True)
class RoundedCells:
    """Where a mart that is protected by rounding has its smallest cells from.

    Attributes:
        relation: schema and table with one row per smallest cell.
        cell: columns that name the people of a cell, in order.
        counts: columns with counts of people that do not overlap.
        identity: column that names the people of a cell where another table shows the same people; None: the cell's
            own name does.
    """

    relation: tuple[str, str]
    cell: tuple[str, ...]
    counts: tuple[str, ...]
    identity: str | None = None


@dataclass(frozen=True)
class Policy:
    """The policy as a whole, with the tables that it was read from."""

    classes: dict[str, ClassPolicy]
    coding: dict[str, tuple[Coding, ...]]
    structure: dict[tuple[str, str, str], Nesting]
    weights: dict[str, tuple[float, float]]
    methods: dict[str, tuple[Method, int | None]]
    tables: dict[str, list[dict[str, str | None]]]
    cells: dict[str, RoundedCells] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash over all tables of the policy."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @property
    def canonical(self) -> str:
        """The policy as one line of json with sorted keys."""
        return json.dumps(self.tables, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def weight(self, area_level: str, is_headline: bool) -> float:
        """Cost of hiding one cell.

        Raises:
            PolicyError: the level of the area has no weight.
        """
        if area_level not in self.weights:
            raise PolicyError(f"disclosure_weights has no row for area level {area_level!r}: add one")
        return self.weights[area_level][0 if is_headline else 1]


def _whole(row: Row, column: str) -> int | None:
    """Whole number of a column; None where it is blank, or where an older policy has no such column."""
    value = row.get(column)
    return None if value is None else int(value)


def _class(row: Row) -> ClassPolicy:
    name, least = str(row["disclosure_class"]), int(row["min_cell_count"])
    made = ClassPolicy(
        name=name,
        min_count=least,
        protected=tuple(part for part in str(row["applies_to"]).split(";") if part and part != "none"),
        min_width=int(row["min_interval_width"]),
        restatement_margin=int(row["restatement_margin"]),
        assumed_moves=int(row["assumed_moves"]),
        rounding_base=_whole(row, "rounding_base"),
        money_base_yuan=_whole(row, "money_base_yuan"),
        money_min_count=_whole(row, "money_min_count") or 0,
    )
    if made.is_protected and made.is_rounded:
        raise PolicyError(
            f"disclosure_policy, class {name}: either withhold small cells (min_cell_count above 0) or round all"
            " of them (rounding_base), not both"
        )
    if made.rounding_base is not None and 2 * made.rounding_base - 2 < made.min_width:
        raise PolicyError(
            f"disclosure_policy, class {name}: a base of {made.rounding_base} leaves an interval"
            f" {2 * made.rounding_base - 2} wide, narrower than min_interval_width {made.min_width}: take a larger base"
        )
    if unknown := set(made.protected) - {"numerator", "denominator", "rest"}:
        raise PolicyError(f"disclosure_policy, class {name}: applies_to names unknown counts {sorted(unknown)}")
    if made.is_protected and not 0 < made.min_width < least - 1:
        raise PolicyError(
            f"disclosure_policy, class {name}: min_interval_width {made.min_width} must lie between 1 and"
            f" {least - 2}, since a small count is known to lie between 1 and {least - 1}"
        )
    return made


def _cells(row: Row) -> RoundedCells:
    schema, _, table = str(row["relation"]).partition(".")
    cell, counts = (
        tuple(part for part in str(row.get(name) or "").split(";") if part)
        for name in ("cell_columns", "count_columns")
    )
    if not (table and cell and counts):
        raise PolicyError(
            f"disclosure_methods, mart {row['mart']}: relation must be schema.table, and cell_columns and count_columns"
            " must name its columns, separated by semicolons"
        )
    return RoundedCells((schema, table), cell, counts, row.get("identity_column"))


def policy_from(tables: Mapping[str, Sequence[Row]]) -> Policy:
    """Build the policy from its tables.

    Raises:
        PolicyError: a value is missing or contradicts another.
    """
    plain = {
        name: sorted(
            ({column: None if value in ("", None) else str(value).lower() if isinstance(value, bool) else str(value)
              for column, value in row.items()} for row in tables[name]),
            key=lambda row: json.dumps(row, ensure_ascii=False, sort_keys=True),
        )
        for name in TABLES
    }  # fmt: skip
    coding: dict[str, list[Coding]] = {}
    for row in plain["disclosure_coding"]:
        coding.setdefault(str(row["disclosure_class"]), []).append(
            Coding(*(int(str(row[name])) for name in (
                "denominator_from", "denominator_to", "lower_percent", "upper_percent")))
        )  # fmt: skip
    structure: dict[tuple[str, str, str], Nesting] = {}
    for row in plain["disclosure_structure"]:
        structure[str(row["indicator_code"]), str(row["variant"]), str(row["basis"])] = Nesting(
            row["subgroups_partition"] == "true",
            row["part_of_variant"],
            row.get("money_unit"),
            row.get("counted_by_variant"),
            row.get("part_of_indicator"),
        )
    methods: dict[str, tuple[Method, int | None]] = {}
    cells: dict[str, RoundedCells] = {}
    for row in plain["disclosure_methods"]:
        method = str(row["method"])
        if method not in ("suppression", "rounding"):
            raise PolicyError(f"disclosure_methods, mart {row['mart']}: unknown method {method!r}")
        base = row["rounding_base"]
        methods[str(row["mart"])] = (
            "rounding" if method == "rounding" else "suppression",
            None if base is None else int(base),
        )
        if row.get("relation"):
            cells[str(row["mart"])] = _cells(row)
    return Policy(
        classes={made.name: made for made in map(_class, plain["disclosure_policy"])},
        coding={name: tuple(sorted(found, key=lambda c: c.denominator_from)) for name, found in coding.items()},
        structure=structure,
        weights={
            str(row["area_level"]): (float(str(row["headline_weight"])), float(str(row["other_weight"])))
            for row in plain["disclosure_weights"]
        },
        methods=methods,
        tables=plain,
        cells=cells,
    )


def policy_from_seeds(folder: Path) -> Policy:
    """Read the policy from the csv files of a dbt project."""
    tables = {}
    for name in TABLES:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
            tables[name] = list(csv.DictReader(handle))
    return policy_from(tables)


def policy_from_warehouse(conn: psycopg.Connection[tuple[object, ...]]) -> Policy:
    """Read the policy from the reference tables, as the candidate's models see it."""
    tables: dict[str, list[dict[str, object]]] = {}
    for name in TABLES:
        cursor = conn.execute(sql.SQL("select * from {}").format(sql.Identifier("reference", name)))
        columns = [column.name for column in cursor.description or ()]
        tables[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return policy_from(tables)
