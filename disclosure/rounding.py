"""Rounding with a secret threshold for every smallest cell; totals are sums of rounded cells, rates come from them.

A count n = q * b + r becomes (q + 1) * b where r is above the cell's threshold u, else q * b. The threshold is a number
between 0 and b - 1 drawn by HMAC-SHA256 from the cell's identity under a key that nobody publishes:

* the same count of the same people is always shown alike, in every release and every mart, so nothing averages out;
* without the key every threshold is as likely as any other, so the expected figure is the count itself (unbiased);
* whoever sees the figure jump after he knows that one person moved has met the threshold, but since the threshold may
  lie anywhere, so may the count: n stays within an interval 2b - 2 wide (b - 1 wide for a figure of nought).

Nought stays nought. A rate is rounded numerator over rounded numerator plus rounded rest: never above 100 percent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from disclosure.cells import Cell, Group, Layout
from disclosure.geography import Areas
from disclosure.model import CellKey, System
from disclosure.policy import Policy, PolicyError
from disclosure.sources import rows_of
from warehouse.config import ConfigError, WarehouseConfig
from warehouse.connection import connect

SECRET = "rounding_key"
_CANARY = "edupa rounding key canary"


class RoundingKeyError(RuntimeError):
    """The key that rounds is unusable, or not the one that rounded what this warehouse has published."""


@dataclass(frozen=True)
class Rounder:
    """Rounds counts of smallest cells; the key is never printed.

    Attributes:
        base: figures are multiples of it (persons).
        key: secret.
    """

    base: int
    key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Public name of the key."""
        return hashlib.sha256(b"rounding key id " + self.key).hexdigest()[:16]

    def _number(self, identity: str) -> int:
        return int.from_bytes(hmac.new(self.key, identity.encode(), hashlib.sha256).digest(), "big")

    def threshold(self, identity: str) -> int:
        """Threshold of a cell, between 0 and base - 1.

        Args:
            identity: names the people counted (measure, area, time, subgroup), never mart or release.
        """
        # 256 bits over a small base: the bias of the remainder is below 1e-70
        return self._number(identity) % self.base

    def round(self, identity: str, count: int) -> int:
        """Rounded count of a smallest cell.

        Raises:
            ValueError: the count is negative.
        """
        if count < 0:
            raise ValueError("a count of people cannot be negative: round its parts, not a difference")
        whole, rest = divmod(count, self.base)
        return self.base * (whole + (rest > self.threshold(identity)))

    @property
    def canary(self) -> str:
        """Proof that a key is the same, without telling it."""
        return hmac.new(self.key, _CANARY.encode(), hashlib.sha256).hexdigest()


def interval_of(shown: int, base: int) -> tuple[int, int]:
    """Counts that a rounded figure can stand for, whatever the threshold."""
    return max(0, shown - base + (shown > 0)), shown + base - 1


def open_rounder(config: WarehouseConfig, base: int) -> Rounder:
    """Rounder with the key of this warehouse, made on first use; its file is readable by its owner only.

    Raises:
        RoundingKeyError: the key is too short, or is not the one that rounded what was published before.
    """
    try:
        text = config.ensure_secret(SECRET)
    except ConfigError as error:
        raise RoundingKeyError(str(error)) from error
    if len(text) < 32:
        raise RoundingKeyError(f"the rounding key in {config.secret_path(SECRET)} is shorter than 32 characters")
    rounder = Rounder(base, text.encode())
    with connect("transform", config) as conn:
        conn.execute("lock table disclosure.rounding_key")
        stored = {
            str(row[0]): str(row[1]) for row in conn.execute("select key_id, canary from disclosure.rounding_key")
        }
        if not stored:
            conn.execute(
                "insert into disclosure.rounding_key (key_id, canary) values (%s, %s)", (rounder.key_id, rounder.canary)
            )
        elif not hmac.compare_digest(stored.get(rounder.key_id, ""), rounder.canary):
            raise RoundingKeyError(
                f"wrong rounding key: key {rounder.key_id} in {config.secret_path(SECRET)} did not round what this"
                f" warehouse has published (key {', '.join(sorted(stored))} did); nothing was rounded. Another key"
                " would show the same counts differently and so give them away: put the old key back"
            )
    return rounder


def base_for(policy: Policy, mart: str) -> int:
    """Rounding base of a mart.

    Raises:
        PolicyError: the mart is not protected by rounding, or its base leaves an attacker too little uncertainty.
    """
    method, base = policy.methods.get(mart, ("suppression", None))
    if method != "rounding" or base is None:
        raise PolicyError(f"disclosure_methods: {mart} is not protected by rounding, or has no rounding_base")
    widest = max((one.min_width for one in policy.classes.values()), default=0)
    if base - 1 < widest:
        raise PolicyError(
            f"disclosure_methods: a base of {base} leaves a figure of nought an interval {base - 1} wide, narrower than"
            f" the policy's {widest}: take a base of {widest + 1} or more"
        )
    return base


def round_cells(
    group: Group, areas: Areas, cells: Mapping[CellKey, Cell], rounder: Rounder
) -> dict[CellKey, tuple[int, int | None]]:
    """Rounded numerator and denominator of every cell of one group and year: smallest cells rounded, the rest added up.

    Args:
        group: series that share smallest cells.
        areas: areas; each county must be one smallest area.
        cells: cells with true figures.
        rounder: with the secret key.
    """
    layout = Layout(group, areas, System(cap=1))
    truth: dict[int, int] = {}
    for key, cell in cells.items():
        if cell.area_level != "county" or key.subgroup not in group.leaves() or cell.numerator is None:
            continue
        sums = layout.sums(key)
        counts = {"numerator": cell.numerator}
        if cell.denominator is not None:
            counts["rest"] = cell.denominator - cell.numerator
        elif "rest" in sums:
            part = next(one for one in group.series if one.nesting.part_of is not None)
            inner = cells[key._replace(variant=part.code[1])].numerator
            counts = {"rest": cell.numerator - (inner or 0)}
        for name, value in counts.items():
            if len(sums[name]) == 1:
                truth[sums[name][0]] = value
    year = next(iter(cells)).evaluation_year if cells else 0
    shown = {
        index: rounder.round(f"{group.name}|{'>'.join(path)}|{year}|{leaf}|{part}", truth.get(index, 0))
        for (path, leaf, part), index in layout.atoms.items()
    }
    found: dict[CellKey, tuple[int, int | None]] = {}
    for key in cells:
        sums = layout.sums(key)
        denominator = sum(shown[atom] for atom in sums["denominator"]) if "denominator" in sums else None
        found[key] = sum(shown[atom] for atom in sums["numerator"]), denominator
    return found


def protect_by_rounding(
    config: WarehouseConfig, mart: str, relation: tuple[str, str], cell: Sequence[str], parts: Iterable[str], base: int
) -> int:
    """Round the counts of a relation and write them to ``disclosure.rounded``, which the mart's model joins.

    A model of a mart that is protected by rounding reads ``source('disclosure', 'rounded')`` where its mart is named,
    and adds up, divides and compares these counts only.

    Args:
        config: the warehouse.
        mart: the mart.
        relation: schema and table with one row per smallest cell.
        cell: columns that name the people of a cell, in order.
        parts: columns with counts of people that do not overlap.
        base: rounding base (see base_for).

    Returns:
        Number of rounded counts.
    """
    rounder, named = open_rounder(config, base), list(parts)
    with connect("gatekeeper", config) as conn:
        rows = rows_of(
            conn,
            sql.SQL("select {} from {}").format(
                sql.SQL(", ").join(map(sql.Identifier, [*cell, *named])), sql.Identifier(*relation)
            ),
        )
    with connect("transform", config) as conn:
        conn.execute("delete from disclosure.rounded where mart = %s", (mart,))
        with (
            conn.cursor() as cursor,
            cursor.copy("copy disclosure.rounded (mart, cell, part, persons) from stdin") as copy,
        ):
            for row in rows:
                name = "|".join(str(row[column]) for column in cell)
                for part in named:
                    if row[part] is not None:
                        copy.write_row((mart, name, part, rounder.round(f"{name}|{part}", int(row[part]))))
    return sum(row[part] is not None for row in rows for part in named)
