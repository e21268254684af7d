"""Rounding with a secret threshold for every smallest cell; totals are sums of rounded cells, rates come from them.

A count n = q * b + r becomes (q + 1) * b where r is above the cell's threshold u, else q * b. The threshold is a number
between 0 and b - 1 drawn by HMAC-SHA256 from the cell's identity under a key that nobody publishes:

* the same count of the same people is always shown alike, in every release and every mart, so nothing averages out;
* without the key every threshold is as likely as any other, so the expected figure is the count itself (unbiased);
* whoever sees the figure jump after he knows that one person moved has met the threshold, but since the threshold may
  lie anywhere, so may the count: n stays within an interval 2b - 2 wide (b - 1 wide for a figure of nought).

Nought stays nought. Where completeness must never be claimed falsely, a rounder *keeps presence*: 1 to b - 1 become b,
so that nought is shown for nought only (a rate is 100 percent if and only if it is); a figure of b then stands for 1 to
2b - 1. A rate is rounded numerator over rounded numerator plus rounded rest: never above 100 percent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from disclosure.cells import Cell, Group, Layout
from disclosure.geography import Areas
from disclosure.model import CellKey, System
from disclosure.policy import Policy, PolicyError
from disclosure.sources import Connection, rows_of
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
        keeps_presence: a count that is not nought is never shown as nought.
    """

    base: int
    key: bytes = field(repr=False)
    keeps_presence: bool = False

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
        if self.keeps_presence and 0 < count < self.base:
            return self.base
        return self.base * (whole + (rest > self.threshold(identity)))

    @property
    def canary(self) -> str:
        """Proof that a key is the same, without telling it."""
        return hmac.new(self.key, _CANARY.encode(), hashlib.sha256).hexdigest()


def interval_of(shown: int, base: int, *, keeps_presence: bool = False) -> tuple[int, int]:
    """Counts that a rounded figure can stand for, whatever the threshold."""
    if keeps_presence and shown == 0:
        return 0, 0
    return max(0, shown - base + (shown > 0)), shown + base - 1


def open_rounder(config: WarehouseConfig, base: int, *, keeps_presence: bool = False) -> Rounder:
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
    rounder = Rounder(base, text.encode(), keeps_presence)
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
    if 2 * base - 2 < widest:
        raise PolicyError(
            f"disclosure_methods: a base of {base} leaves an interval {2 * base - 2} wide, narrower than the policy's"
            f" {widest}: take a base of {-(-widest // 2) + 1} or more"
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


def protect_by_rounding(config: WarehouseConfig, policy: Policy, mart: str, *, schema_prefix: str = "") -> int:
    """Round the counts of a mart's smallest cells and write them to ``disclosure.rounded``, which its model reads.

    The mart declares in ``disclosure_methods`` which relation holds its smallest cells, which columns name a cell and
    which hold its counts (and, where another table shows the same people, which column names them as that one does).
    Its model takes them from the macro ``rounded_counts`` and adds up, divides and compares these only. A count that is
    not nought is never shown as nought.

    Args:
        config: the warehouse.
        policy: the policy.
        mart: the mart.
        schema_prefix: prefix of the schemas of an old release that is built again beside everything.

    Returns:
        Number of rounded counts.

    Raises:
        PolicyError: the mart declares no cells, its relation lacks them, or its base is too small.
        RoundingKeyError: the key is not the one that rounded what was published before.
    """
    if mart not in policy.cells:
        raise PolicyError(f"disclosure_methods: {mart} declares no relation with its smallest cells")
    declared, base = policy.cells[mart], base_for(policy, mart)
    rounder = open_rounder(config, base, keeps_presence=True)
    named = [*declared.cell, *([declared.identity] if declared.identity else [])]
    schema, table = f"{schema_prefix}{declared.relation[0]}", declared.relation[1]
    rows: list[tuple[str, str, str, int]] = []
    with connect("transform", config) as conn:
        found = rows_of(
            conn,
            sql.SQL("select {} from {}").format(
                sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([*named, *declared.counts]))),
                sql.Identifier(schema, table),
            ),
        )
        for row in found:
            parts = [str(row[column]) for column in declared.cell]
            name = "|".join(parts)
            if any(row[column] is None for column in named) or any("|" in part for part in parts):
                raise PolicyError(
                    f"{schema}.{table}: a column that names a cell of {mart} is blank or holds a bar, in {name}"
                )
            people = str(row[declared.identity]) if declared.identity else name
            rows += [
                (mart, name, part, rounder.round(f"{people}|{part}", int(row[part])))
                for part in declared.counts
                if row[part] is not None
            ]
        write_rounded(conn, mart, rows, schema_prefix=schema_prefix)
    return len(rows)


def write_rounded(
    conn: Connection, mart: str, rows: Iterable[tuple[str, str, str, int]], *, schema_prefix: str = ""
) -> None:
    """Replace the rounded figures of a mart.

    Args:
        conn: as edupa_transform.
        mart: the mart.
        rows: mart, cell, part, figure.
        schema_prefix: prefix of the schemas of an old release that is built again beside everything.
    """
    table = sql.Identifier(f"{schema_prefix}disclosure", "rounded")
    conn.execute(sql.SQL("delete from {} where mart = %s").format(table), (mart,))
    with conn.cursor() as cursor, cursor.copy(sql.SQL("copy {} from stdin").format(table)) as copy:
        for row in rows:
            copy.write_row(row)
    conn.commit()
    conn.execute(sql.SQL("analyze {}").format(table))
