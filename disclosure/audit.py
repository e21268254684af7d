"""What an outsider can compute from all that is published: this candidate, earlier releases, old and new boundaries.

The audit shares no decision with the planner. It sees the marts as readers see them, the policy that is published with
them, and public facts of geography; whatever a column says of a withheld cell becomes a constraint. A count that can be
narrowed below the policy's width is a finding, and a finding blocks the candidate.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from psycopg import sql

from disclosure.cells import WHOLE_SUBGROUP, Cell, Gap, Group, read_registry, shown_counts
from disclosure.dense import DenseSeries, read_dense
from disclosure.facts import HALF, Fact, facts_of_rows, facts_of_wide, key_of, require_fact, through_gaps
from disclosure.geography import Areas
from disclosure.model import UNBOUNDED, CellKey
from disclosure.plan import earlier_tables
from disclosure.policy import Policy, PolicyError, policy_from_warehouse
from disclosure.sources import (
    LONG_MART,
    Connection,
    Geography,
    Release,
    read_candidate,
    read_geography,
    read_mart,
    read_members,
    read_registry_rows,
    read_releases,
    rows_of,
)
from disclosure.suppress import EarlierTable, Knowledge, know
from disclosure.worlds import InfeasibleError, Interval, Solver, narrow
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

#: exact intervals of this many counts per table are computed for the report, the narrowest first
_EXACT = 4


@dataclass(frozen=True)
class Finding:
    """A cell that gives away more than the policy allows; keys and what an attacker gets, no true figure.

    Attributes:
        rule: which rule is broken.
        cell: the cell, for people.
        area_code: its area.
        evaluation_year: its year.
        note: which count, and from where an attacker gets it.
        width: width of the interval that an attacker is left with (persons); never its ends.
    """

    rule: str
    cell: str
    area_code: str
    evaluation_year: int
    note: str
    width: float | None = None


@dataclass(frozen=True)
class Range:
    """What an attacker gets for one count of a withheld cell, by linear program."""

    cell: str
    count: str
    low: float
    high: float | None

    @property
    def width(self) -> float:
        """Width of the interval (persons); infinite where nothing bounds it."""
        return UNBOUNDED if self.high is None else self.high - self.low


@dataclass(frozen=True)
class AuditReport:
    """Outcome of an audit: counts and cell keys only.

    Attributes:
        evaluation_year: of the candidate or release.
        subject: schema or release.
        policy_sha256: policy that it was held against.
        cells: sensitive cells.
        shown: shown.
        primary: withheld, mark A.
        secondary: withheld, mark D.
        bounds: of the withheld ones, shown as a bound.
        counts: counts of withheld cells that were attacked, earlier releases included.
        releases: earlier releases looked at.
        narrowest: narrowest interval.
        widest: widest interval.
        findings: what blocks.
        inherited: what earlier releases give away by themselves; nothing in a new release can mend it.
        seconds: time it took.
        rounded: cells of dense indicators, shown rounded; their figures are no exact counts to the attack.
        repeated: tables (of one indicator and year) that repeat the only ones published of them, audited then under the
            same policy: there is nothing new to learn, so they are not attacked again.
    """

    evaluation_year: int
    subject: str
    policy_sha256: str
    cells: int
    shown: int
    primary: int
    secondary: int
    bounds: int
    counts: int
    releases: tuple[str, ...]
    narrowest: Range | None
    widest: Range | None
    findings: tuple[Finding, ...]
    inherited: tuple[Finding, ...]
    seconds: float = field(compare=False)
    rounded: int = 0
    repeated: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """As plain data; an unbounded interval has no high end."""
        return asdict(self) | {"passed": self.passed}

    def summary(self) -> str:
        """One line."""
        dense = f" {self.rounded} dense cells rounded," if self.rounded else ""
        again = f" {self.repeated} tables as published and audited before," if self.repeated else ""
        ends = f", narrowest interval {self.narrowest.width:.0f} wide" if self.narrowest else ""
        return (
            f"{self.cells} sensitive cells, {self.shown} shown, {self.primary} A, {self.secondary} D,{dense}{again}"
            f" {self.counts} counts attacked{ends}, {len(self.findings)} findings"
        )


@dataclass
class _Tally:
    """What the attacks on all tables have brought so far."""

    counts: int = 0
    repeated: int = 0
    ranges: list[Range] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    inherited: list[Finding] = field(default_factory=list)


def audit_releases(
    current: Release,
    earlier: Sequence[Release],
    wide: Iterable[Mapping[str, Any]],
    geography: Geography,
    groups: Sequence[Group],
    gaps: Sequence[Gap],
    policy: Policy,
    *,
    evaluation_year: int,
    subject: str,
) -> AuditReport:
    """Attack one release or candidate, with everything that readers had before it."""
    started = time.monotonic()
    rows = {key_of(row): row for row in current.rows}
    cells = current.cells()
    paths = geography.paths(current, earlier)
    areas = geography.areas(current, paths)
    years = sorted({key.evaluation_year for key in rows})
    facts = [*(facts_of_rows(rows, current.region, years[0]) if years else ()), *facts_of_wide(wide, rows)]
    facts += through_gaps(rows, facts, gaps, current.region)
    audited = {one.release_id for one in earlier if one.policy_sha256 == policy.sha256}
    tally = _Tally()
    for group in groups:
        codes = {one.code for one in group.series}
        mine = {key: cell for key, cell in cells.items() if (key.indicator_code, key.variant, key.basis) in codes}
        _find_shown(group, mine, tally)
        for year in years:
            table = {key: cell for key, cell in mine.items() if key.evaluation_year == year}
            before = earlier_tables(group, year, earlier, geography, paths)
            told = [fact for fact in facts if fact.key in table]
            if not told and _repeats(table, areas, before, audited):
                tally.repeated += 1
            elif any(cell.status != "F" for one in (table, *(t.cells for t in before)) for cell in one.values()):
                _attack(group, areas, table, before, told, tally)
    marks = [cell.status for cell in cells.values()]
    ordered = sorted(tally.ranges, key=lambda one: (one.width, one.cell, one.count))
    return AuditReport(
        evaluation_year=evaluation_year,
        subject=subject,
        policy_sha256=policy.sha256,
        cells=len(marks),
        shown=marks.count("F"),
        primary=marks.count("A"),
        secondary=marks.count("D"),
        bounds=sum(cell.bound is not None for cell in cells.values()),
        counts=tally.counts,
        releases=tuple(one.release_id or "" for one in earlier),
        narrowest=ordered[0] if ordered else None,
        widest=ordered[-1] if ordered else None,
        findings=tuple(tally.findings),
        inherited=tuple(tally.inherited),
        seconds=round(time.monotonic() - started, 2),
        repeated=tally.repeated,
    )


def _repeats(
    table: Mapping[CellKey, Cell], areas: Areas, before: Sequence[EarlierTable], audited: Collection[str | None]
) -> bool:
    """Whether a table is word for word the only one published of its indicator and year, by a release audited then."""
    return (
        len(before) == 1
        and before[0].release_id in audited
        and before[0].areas == areas
        and before[0].cells == dict(table)
    )


def _finding(rule: str, key: CellKey, note: str, interval: Interval | None = None) -> Finding:
    width = None if interval is None else float(interval.width)
    return Finding(rule, str(key), key.area_code, key.evaluation_year, note, width)


def _find_shown(group: Group, cells: Mapping[CellKey, Cell], tally: _Tally) -> None:
    """Small counts that stand there for all to read, by themselves or as the difference of two."""
    policy = group.policy
    for key, cell in cells.items():
        counts = shown_counts(cell)
        inner = next((one for one in group.series if one.nesting.part_of == key.variant), None)
        if inner is not None and "numerator" in counts:
            part = cells.get(key._replace(variant=inner.code[1]))
            if part is not None and part.numerator is not None:
                counts["rest"] = counts["numerator"] - part.numerator
        small = [name for name, value in counts.items() if name in policy.protected and 0 < value < policy.min_count]
        if small:
            tally.findings.append(_finding("small_cell_shown", key, f"shows a small count: {', '.join(small)}"))


def _attack(
    group: Group,
    areas: Areas,
    table: Mapping[CellKey, Cell],
    before: Sequence[EarlierTable],
    facts: Sequence[Fact],
    tally: _Tally,
) -> None:
    width = group.policy.min_width
    blank = {
        key: cell if cell.status == "F" else Cell(
            key, cell.area_level, cell.is_headline, None, None, cell.status, cell.bound, cell.is_measured
        )
        for key, cell in table.items()
    }  # fmt: skip
    found: dict[str, Interval] | None = None
    known: Knowledge | None = None
    for same in (True, False):
        known = know(group, areas, blank, before, same=same)
        for fact in facts:
            require_fact(known.system, fact, blank[fact.key], known.layout)
        try:
            found = narrow(known.system, known.watched, width)
            break
        except InfeasibleError:
            continue
    if found is None or known is None:
        key = min(table)
        tally.findings.append(_finding("contradiction", key, f"what is published of {group.name} contradicts itself"))
        return
    tally.counts += len(found)
    columns: dict[CellKey, set[str]] = {}
    for fact in facts:
        columns.setdefault(fact.key, set()).add(fact.column)
    given_away = [name for name, interval in found.items() if interval.width < width]
    alone = _known_before(group, before, width) if given_away and before else set()
    for name in given_away:
        release, key, count = known.origin[name]
        interval = found[name]
        source = f" from {', '.join(sorted(columns[key]))}" if key in columns else " from sums and differences"
        note = f"{count} has an interval only {interval.width:.0f} wide{source}"
        if release:
            note += f", as published in {release}"
        place = (*key, count)
        (tally.inherited if place in alone else tally.findings).append(_finding("narrowed", key, note, interval))
    _measure(known, found, tally)


def _known_before(group: Group, before: Sequence[EarlierTable], width: float) -> set[tuple[object, ...]]:
    """Counts that earlier releases give away without the candidate: a public figure, or one narrowed too far."""
    *older, newest = before
    known = know(group, newest.areas, newest.cells, older)
    try:
        found = narrow(known.system, known.watched, width)
    except InfeasibleError:
        known = know(group, newest.areas, newest.cells, older, same=False)
        found = narrow(known.system, known.watched, width)
    narrowed = {
        (*known.origin[name][1], known.origin[name][2]) for name, interval in found.items() if interval.width < width
    }
    public = {
        (*key, count)
        for table in before
        for key, cell in table.cells.items()
        if cell.status == "F"
        for count in ("numerator", "denominator", "rest")
    }
    return narrowed | public


def _measure(known: Knowledge, found: Mapping[str, Interval], tally: _Tally) -> None:
    """Exact ends, by linear program, of the narrowest counts of a table and of its widest one."""
    ordered = sorted(found, key=lambda name: (found[name].width, name))
    solver = Solver(known.system)
    for name in dict.fromkeys([*ordered[:_EXACT], *ordered[-1:]]):
        low, high = solver.bound(known.watched[name], 1), solver.bound(known.watched[name], -1)
        _, key, count = known.origin[name]
        tally.ranges.append(Range(str(key), count, low, None if high == UNBOUNDED else high))


def audit_dense(
    rows: Sequence[Mapping[str, Any]], series: Sequence[DenseSeries], members: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Whether everything that is shown of dense indicators is a sum of rounded smallest cells, and follows from it.

    Nothing here knows a true figure. A figure that is no multiple of the base was not rounded; a total that is not the
    sum of its rounded parts was rounded apart and tells more than they do; a derived column that does not follow from
    the figures shown was computed from others.

    Args:
        rows: rows of the dense indicators of the long mart.
        series: dense series of the registry.
        members: area -> its counties; a county has itself.
    """
    by_key = {key_of(row): row for row in rows}
    rules = {one.code: one for one in series}
    region = next((row["area_code"] for row in rows if row["area_level"] == "region"), "")
    # sums over areas are held against the counties of today, so not those of a release on older boundaries
    counties = {row["area_code"] for row in rows if row["area_level"] == "county"}
    is_of_today = counties == {county for area, found in members.items() for county in found if area == county}
    findings: list[Finding] = []
    for key, row in by_key.items():
        one = rules[key.indicator_code, key.variant, key.basis]
        if row["conf_status"] != "F" or row["numerator"] is None:
            if row["numerator"] is not None or row["value"] is not None:
                findings.append(_finding("withheld_shown", key, "shows a figure although it is marked as withheld"))
            continue
        figures = {name: row[name] for name in ("numerator", "denominator") if row[name] is not None}
        exact = [name for name, figure in figures.items() if int(figure) % one.base]
        if exact or row["rounding_base"] != one.base:
            what = (
                f"{', '.join(exact)} is no multiple of {one.base}"
                if exact
                else "its rounding_base is not that of its class"
            )
            findings.append(_finding("not_rounded", key, what))
        within = [c for c in members.get(key.area_code, ()) if c != key.area_code]
        parts = [key._replace(area_code=county) for county in within]
        if not parts and key.subgroup == WHOLE_SUBGROUP and one.nesting.subgroups_partition:
            parts = [key._replace(subgroup=leaf) for leaf in one.leaves if leaf != key.subgroup]
        # an amount about too few is withheld in its county and counted in its totals
        shown = [by_key[part] for part in parts if part in by_key and by_key[part]["numerator"] is not None]
        if (
            shown
            and (is_of_today or not within)
            and not any(by_key[part]["conf_status"] != "F" for part in parts if part in by_key)
        ):
            off = [name for name, figure in figures.items() if sum(part[name] or 0 for part in shown) != figure]
            if off:
                findings.append(_finding("rounded_apart", key, f"{', '.join(off)} is not the sum of its rounded parts"))
        findings += [_finding("not_from_shown", key, note) for note in _not_from_shown(key, row, by_key, region, one)]
    return findings


def _not_from_shown(
    key: CellKey, row: Mapping[str, Any], rows: Mapping[CellKey, Mapping[str, Any]], region: str, one: DenseSeries
) -> list[str]:
    """Derived columns of a dense row that do not follow from figures shown."""

    def value_of(other: CellKey) -> float | None:
        value = rows[other]["value"] if other in rows else None
        return None if value is None else float(value)

    value, prior = value_of(key), value_of(key._replace(evaluation_year=key.evaluation_year - 1))
    whole = value_of(key._replace(area_code=region))
    scale = 100 if row["unit"] == "percent" else 1
    rate: float | None = float(row["numerator"])
    if one.is_rate:
        rate = scale * float(row["numerator"]) / float(row["denominator"]) if row["denominator"] else None
    wanted = {
        "value": rate,
        "prior_year_value": prior,
        "region_value": whole,
        "change_from_prior_year": None if value is None or prior is None else value - prior,
        "gap_to_region": None if value is None or whole is None else value - whole,
    }
    return [
        f"{name} does not follow from the figures shown"
        for name, figure in wanted.items()
        if row[name] is not None and (figure is None or abs(float(row[name]) - figure) > 3 * HALF)
    ]


def audit_release(config: WarehouseConfig, release_id: str) -> AuditReport:
    """Attack a release with everything that readers had before it.

    Raises:
        PolicyError: there is no such release.
    """
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        groups, gaps = read_registry(read_registry_rows(conn), policy)
        classes = [name for name, one in policy.classes.items() if one.is_protected]
        releases = read_releases(conn, classes)
        geography = read_geography(conn)
        names = [one.release_id for one in releases]
        if release_id not in names:
            raise PolicyError(f"there is no release {release_id}: one of {', '.join(map(str, names)) or 'none yet'}")
        place = names.index(release_id)
        year = max((row["evaluation_year"] for row in releases[place].rows), default=0)
        dense, series, members = _read_dense(
            conn,
            policy,
            sql.Identifier("releases", LONG_MART),
            sql.SQL("m.release_id = {}").format(sql.Literal(release_id)),
        )
    report = audit_releases(
        releases[place],
        releases[:place],
        [],
        geography,
        groups,
        gaps,
        policy,
        evaluation_year=year,
        subject=release_id,
    )
    return _with_dense(report, dense, audit_dense(dense, series, members))


def _read_dense(
    conn: Connection, policy: Policy, table: sql.Composable, where: sql.Composable
) -> tuple[list[dict[str, Any]], list[DenseSeries], dict[str, list[str]]]:
    """Rows of the dense indicators of a long mart, their series, and the counties of every area."""
    classes = [name for name, one in policy.classes.items() if one.is_rounded]
    rows = read_mart(conn, table, classes, where)
    return rows, read_dense(read_registry_rows(conn), policy), read_members(conn)


def _with_dense(report: AuditReport, rows: Sequence[Mapping[str, Any]], findings: Sequence[Finding]) -> AuditReport:
    rounded = sum(row["numerator"] is not None for row in rows)
    return replace(report, rounded=rounded, findings=(*report.findings, *findings))


def _sources_of_hidden(conn: Connection, source: sql.Composable, long: sql.Composable, where: sql.Composable) -> Any:
    return rows_of(
        conn,
        sql.SQL(
            "select distinct m.indicator_code, m.variant, m.area_code, m.evaluation_year, m.subgroup, m.basis"
            " from {} as m join {} as s using (indicator_code, variant, area_code, evaluation_year, subgroup, basis)"
            " where m.conf_status <> 'F' and {}"
        ).format(long, source, where),
    )


def audit_candidate(config: WarehouseConfig, schema: str, evaluation_year: int) -> AuditReport:
    """Attack a candidate with everything that readers have or have had.

    Args:
        config: the warehouse; read as gatekeeper.
        schema: schema of the candidate.
        evaluation_year: of the candidate.

    Raises:
        PolicyError: the policy contradicts itself or the registry.
    """
    with connect("gatekeeper", config) as conn:
        policy = policy_from_warehouse(conn)
        groups, gaps = read_registry(read_registry_rows(conn), policy)
        classes = [name for name, one in policy.classes.items() if one.is_protected]
        current = read_candidate(conn, schema, classes)
        earlier = read_releases(conn, classes)
        geography = read_geography(conn)
        wide = rows_of(conn, sql.SQL("select * from {}").format(sql.Identifier(schema, f"{LONG_MART}_wide")))
        named = _sources_of_hidden(
            conn, sql.Identifier(schema, "evaluation_source"), sql.Identifier(schema, LONG_MART), sql.SQL("true")
        )
        dense, series, members = _read_dense(conn, policy, sql.Identifier(schema, LONG_MART), sql.SQL("true"))
    report = audit_releases(
        current, earlier, wide, geography, groups, gaps, policy, evaluation_year=evaluation_year, subject=schema
    )
    files = tuple(
        _finding("files_of_withheld", key_of(row), "its files tell whether a count is nought") for row in named
    )
    return _with_dense(report, dense, (*files, *audit_dense(dense, series, members)))
