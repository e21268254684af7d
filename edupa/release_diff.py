"""``edupa release diff``: two published releases compared, as an evaluator may see them, and written out."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from typing import TextIO

from psycopg import sql

from warehouse.canonical import Connection
from warehouse.changes import (
    CHANGE_COLUMNS,
    MovedCount,
    compare,
    moved_cells_of_all,
    moved_counts,
    release_edition,
)
from warehouse.versioning import Level, Reason


@dataclass(frozen=True)
class ReleaseDiff:
    """What changed from one release to another.

    Attributes:
        old: release compared from.
        new: release compared to.
        level: major, minor or patch; None: nothing changed.
        reasons: each thing that changed, the weightiest first.
        counts: moved cells per indicator.
        cells: moved cells, columns as in CHANGE_COLUMNS, in the order of their keys.
    """

    old: str
    new: str
    level: Level | None
    reasons: list[Reason]
    counts: list[MovedCount]
    cells: list[tuple[object, ...]]


def compare_releases(conn: Connection, old: str, new: str) -> ReleaseDiff:
    """Compare two published releases, in either direction of time.

    Raises:
        ReleaseError: one of them does not exist, or is not published.
    """
    before, after = (release_edition(conn, release, pinned=True) for release in (old, new))
    found = compare(conn, before, after)
    moved = moved_cells_of_all(before, after)
    cells: list[tuple[object, ...]] = []
    if moved is not None:
        columns = sql.SQL(", ").join(map(sql.Identifier, CHANGE_COLUMNS))
        cells = conn.execute(
            sql.SQL("select {} from ({}) as moved order by mart, row_key").format(columns, moved)
        ).fetchall()
    return ReleaseDiff(old, new, found.level, found.reasons, moved_counts(conn, before, after), cells)


def write_csv(found: ReleaseDiff, target: TextIO) -> None:
    """Every moved cell, one line each, with a header."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(CHANGE_COLUMNS)
    writer.writerows(found.cells)


def write_json(found: ReleaseDiff, target: TextIO) -> None:
    """Level, reasons, counts and every moved cell; decimals as text, so that no digit is lost."""
    told = {
        **asdict(found),
        "cells": [dict(zip(CHANGE_COLUMNS, cell, strict=True)) for cell in found.cells],
    }
    json.dump(told, target, ensure_ascii=False, indent=2, default=str)
    target.write("\n")
