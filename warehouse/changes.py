"""What changed between two editions of the marts: two releases, or a release and a candidate.

Columns fall into three kinds, by name, whatever the mart: those that define a figure, those that only tell about it,
and all others, which are values. An unknown column is a value, so that a change is never weighed too lightly.
A row's members are the parts of its key that are not content hashes: they must never go missing unnoticed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import sql

from warehouse.canonical import (
    COMPANIONS,
    Connection,
    ReleaseError,
    TableSeal,
    columns_of,
    frozen_table_of,
    schema_of,
    texts_of,
)
from warehouse.versioning import Level, Reason, highest

DEFINITION_COLUMNS = frozenset(
    {
        "method_version",
        "formula_text",
        "unit",
        "measure_type",
        "direction",
        "roll_up",
        "population_basis",
    }
)
TEXT_COLUMNS = frozenset({"plan_quote", "definition_source", "target_year_text", "display_order"})
TEXT_ENDINGS = ("_name", "_zh", "_en")
# a mart with these two is one of cells: what moved in it is published cell by cell
CELL_COLUMNS = frozenset({"value", "conf_status"})
CELL_KEY = ("indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis")
NAMED = 8


@dataclass(frozen=True)
class Origin:
    """What an edition was made from.

    Attributes:
        evaluation_year: latest year that it evaluates.
        git_commit: of the code.
        contracts_sha256: over all contracts.
        seeds_sha256: over all seeds.
        seed_sha256: seed -> hash of its file; empty where it was not recorded.
        input_sha256: feed -> hash over the files that were taken in.
    """

    evaluation_year: int
    git_commit: str | None
    contracts_sha256: str | None
    seeds_sha256: str | None
    seed_sha256: dict[str, str]
    input_sha256: dict[str, str]


@dataclass(frozen=True)
class Edition:
    """One side of a comparison.

    Attributes:
        name: release id, or schema of the candidate.
        seals: mart -> its columns and key.
        schema: where its relations can be read.
        relations: mart -> relation in that schema.
        texts: mart -> comments of the table ("") and of its columns.
        origin: what it was made from.
    """

    name: str
    seals: dict[str, TableSeal]
    schema: str
    relations: dict[str, str]
    texts: dict[str, dict[str, str | None]]
    origin: Origin

    def table(self, mart: str) -> sql.Composable:
        """The relation of a mart."""
        return sql.Identifier(self.schema, self.relations[mart])


def candidate_edition(conn: Connection, schema: str, seals: dict[str, TableSeal], origin: Origin) -> Edition:
    """The candidate in a schema."""
    texts = {mart: texts_of(conn, schema, mart) for mart in seals}
    return Edition(schema, seals, schema, {mart: mart for mart in seals}, texts, origin)


def release_edition(conn: Connection, release_id: str, *, pinned: bool) -> Edition:
    """A release.

    Args:
        conn: a role that may read it: the publisher reads what is frozen, all others what is published.
        release_id: its id.
        pinned: read the registry of what is published and the pinned views, not the ledger and the frozen tables.

    Raises:
        ReleaseError: there is no such release, or the role may not see it.
    """
    registry = sql.Identifier("marts", "release_registry") if pinned else sql.Identifier("ledger", "release")
    row = conn.execute(
        sql.SQL(
            "select table_sha256, evaluation_year, git_commit, contracts_sha256, seeds_sha256, seed_sha256,"
            " input_sha256 from {} where release_id = %s"
        ).format(registry),
        (release_id,),
    ).fetchone()
    if row is None:
        raise ReleaseError(f"there is no release {release_id}: `edupa release list` names all")
    recorded: dict[str, dict[str, object]] = row[0]  # type: ignore[assignment]
    seals = {mart: TableSeal(**seal) for mart, seal in recorded.items() if mart not in COMPANIONS}  # type: ignore[arg-type]
    frozen = {mart: frozen_table_of(mart, release_id) for mart in seals}
    return Edition(
        release_id,
        seals,
        schema_of(release_id) if pinned else "releases",
        {mart: mart for mart in seals} if pinned else frozen,
        {mart: texts_of(conn, "releases", frozen[mart]) for mart in seals},
        Origin(
            int(str(row[1])),
            None if row[2] is None else str(row[2]),
            None if row[3] is None else str(row[3]),
            None if row[4] is None else str(row[4]),
            dict(row[5] or {}),  # type: ignore[call-overload]
            dict(row[6] or {}),  # type: ignore[call-overload]
        ),
    )


@dataclass(frozen=True)
class RowCounts:
    """Rows of a mart that differ between two editions."""

    added: int
    gone: int
    redefined: int
    changed: int
    reworded: int


@dataclass(frozen=True)
class Comparison:
    """What changed from one edition to another.

    Attributes:
        reasons: each thing that changed, with its weight.
        rows: mart of both editions -> rows that differ; marts whose key changed are missing.
    """

    reasons: list[Reason]
    rows: dict[str, RowCounts]

    @property
    def level(self) -> Level | None:
        """Level of the weightiest reason; None: the editions are the same."""
        return highest(self.reasons)


def _is_text(column: str) -> bool:
    return column in TEXT_COLUMNS or column.endswith(TEXT_ENDINGS)


def _members(key: Sequence[str]) -> list[str]:
    """Key columns that name members; content hashes of files do not."""
    return [name for name in key if not name.endswith("_sha256")]


def _named(names: Sequence[str]) -> str:
    more = f" … ({len(names)})" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _columns(names: Sequence[str], side: str) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(side, name) for name in names)


def _differs(names: Sequence[str]) -> sql.Composable:
    """Whether any of the columns differs between the joined sides ``o`` and ``n``."""
    if not names:
        return sql.SQL("false")
    return sql.SQL("({}) is distinct from ({})").format(
        sql.SQL("row({})").format(_columns(names, "o")), sql.SQL("row({})").format(_columns(names, "n"))
    )


def _joined(old: Edition, new: Edition, mart: str, key: Sequence[str]) -> sql.Composable:
    return sql.SQL("{} as o full join {} as n on {}").format(
        old.table(mart),
        new.table(mart),
        sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier("o", name), sql.Identifier("n", name)) for name in key
        ),
    )


def _kinds(conn: Connection, edition: Edition, mart: str) -> dict[str, str]:
    """Column of a mart -> its SQL type."""
    return {name: kind for name, kind, _ in columns_of(conn, edition.schema, edition.relations[mart])}


def _row_counts(conn: Connection, old: Edition, new: Edition, mart: str, retyped: Collection[str]) -> RowCounts:
    key = old.seals[mart].key
    both = [name for name in new.seals[mart].columns if name in old.seals[mart].columns]
    common = [name for name in both if name not in key and name not in retyped]
    definition = [name for name in common if name in DEFINITION_COLUMNS]
    text = [name for name in common if name not in DEFINITION_COLUMNS and _is_text(name)]
    value = [name for name in common if name not in DEFINITION_COLUMNS and not _is_text(name)]
    first = key[0]
    row = conn.execute(
        sql.SQL(
            "select count(*) filter (where {old} is null), count(*) filter (where {new} is null),"
            " count(*) filter (where {both} and {definition}), count(*) filter (where {both} and {value}),"
            " count(*) filter (where {both} and {text}) from {joined}"
        ).format(
            old=sql.Identifier("o", first),
            new=sql.Identifier("n", first),
            both=sql.SQL("{} is not null and {} is not null").format(
                sql.Identifier("o", first), sql.Identifier("n", first)
            ),
            definition=_differs(definition),
            value=_differs(value),
            text=_differs(text),
            joined=_joined(old, new, mart, key),
        )
    ).fetchone()
    return RowCounts(*(int(str(count)) for count in row)) if row else RowCounts(0, 0, 0, 0, 0)


def _only_in(conn: Connection, here: sql.Composable, there: sql.Composable, columns: Sequence[str]) -> list[str]:
    """Combinations of the columns that one relation has and the other has not, as text, in order."""
    named = sql.SQL(", ").join(map(sql.Identifier, columns))
    rows = conn.execute(
        sql.SQL("select concat_ws(' · ', {}) from (select {} from {} except select {} from {}) as x order by 1").format(
            named, named, here, named, there
        )
    ).fetchall()
    return [str(row[0]) for row in rows]


def _member_reasons(conn: Connection, old: Edition, new: Edition, mart: str) -> list[Reason]:
    """Members, and combinations of them, that are gone or new."""
    reasons: list[Reason] = []
    members = _members(old.seals[mart].key)
    for column in members:
        if gone := _only_in(conn, old.table(mart), new.table(mart), [column]):
            reasons.append(
                Reason("major", f"{mart}.{column}取消：{_named(gone)}", f"{mart}.{column} lost {_named(gone)}")
            )
        if added := _only_in(conn, new.table(mart), old.table(mart), [column]):
            reasons.append(
                Reason("minor", f"{mart}.{column}新增：{_named(added)}", f"{mart}.{column} gained {_named(added)}")
            )
    if members and (gone := _only_in(conn, old.table(mart), new.table(mart), members)):
        what = " · ".join(members)
        reasons.append(
            Reason(
                "major",
                f"{mart}取消{len(gone)}个单元（{what}）：{_named(gone)}",
                f"{mart} lost {len(gone)} cells ({what}): {_named(gone)}",
            )
        )
    return reasons


def _shape_reasons(
    old: Edition, new: Edition, mart: str, old_kinds: dict[str, str], new_kinds: dict[str, str]
) -> list[Reason]:
    """Columns that are gone, new or of another type, another key, other texts."""
    before, after = old.seals[mart], new.seals[mart]
    reasons: list[Reason] = []
    for name in before.columns:
        if name not in after.columns:
            reasons.append(Reason("major", f"{mart}取消列{name}", f"{mart} lost column {name}"))
        elif old_kinds[name] != new_kinds[name]:
            reasons.append(
                Reason(
                    "major",
                    f"{mart}.{name}类型由{old_kinds[name]}改为{new_kinds[name]}",
                    f"{mart}.{name} changed from {old_kinds[name]} to {new_kinds[name]}",
                )
            )
    for name in after.columns:
        if name not in before.columns:
            reasons.append(Reason("minor", f"{mart}新增列{name}", f"{mart} gained column {name}"))
    if before.key != after.key:
        reasons.append(
            Reason(
                "major",
                f"{mart}的主键由{', '.join(before.key)}改为{', '.join(after.key)}",
                f"the key of {mart} changed from {', '.join(before.key)} to {', '.join(after.key)}",
            )
        )
    told = [
        name or "table"
        for name in ("", *(column for column in before.columns if column in after.columns))
        if old.texts[mart].get(name) != new.texts[mart].get(name)
    ]
    if told:
        reasons.append(
            Reason("patch", f"{mart}的说明文字有改动：{_named(told)}", f"{mart} is reworded: {_named(told)}")
        )
    return reasons


def _row_reasons(mart: str, rows: RowCounts) -> list[Reason]:
    reasons: list[Reason] = []
    if rows.redefined:
        reasons.append(
            Reason("major", f"{mart}有{rows.redefined}行重新定义", f"{mart}: {rows.redefined} rows are redefined")
        )
    for count, zh, en in (
        (rows.added, "新增", "added"),
        (rows.changed, "变动", "changed"),
        (rows.gone, "取消", "gone"),
    ):
        if count:
            reasons.append(Reason("minor", f"{mart}{zh}{count}行", f"{mart}: {count} rows {en}"))
    if rows.reworded:
        reasons.append(
            Reason("patch", f"{mart}有{rows.reworded}行文字改动", f"{mart}: {rows.reworded} rows are reworded")
        )
    return reasons


def compare(conn: Connection, old: Edition, new: Edition) -> Comparison:
    """Everything that changed from one edition to another, in either direction of time."""
    reasons: list[Reason] = []
    rows: dict[str, RowCounts] = {}
    for mart in old.seals:
        if mart not in new.seals:
            reasons.append(Reason("major", f"取消数据集{mart}", f"mart {mart} is gone"))
    for mart in new.seals:
        if mart not in old.seals:
            reasons.append(Reason("minor", f"新增数据集{mart}", f"mart {mart} is new"))
            continue
        old_kinds, new_kinds = _kinds(conn, old, mart), _kinds(conn, new, mart)
        retyped = {name for name, kind in new_kinds.items() if name in old_kinds and old_kinds[name] != kind}
        reasons += _shape_reasons(old, new, mart, old_kinds, new_kinds)
        key = old.seals[mart].key
        if key != new.seals[mart].key or retyped & set(key):
            continue
        reasons += _member_reasons(conn, old, new, mart)
        rows[mart] = _row_counts(conn, old, new, mart, retyped)
        reasons += _row_reasons(mart, rows[mart])
    return Comparison(sorted(reasons, key=lambda reason: ("major", "minor", "patch").index(reason.level)), rows)


def cell_marts(old: Edition, new: Edition) -> list[str]:
    """Marts of cells that both editions have under the same key."""
    return [
        mart
        for mart, seal in new.seals.items()
        if mart in old.seals
        and old.seals[mart].key == seal.key
        and set(seal.columns) >= CELL_COLUMNS
        and set(old.seals[mart].columns) >= CELL_COLUMNS
    ]


CHANGE_COLUMNS = (
    "mart", "row_key", *CELL_KEY, "change", "old_value", "new_value", "old_numerator", "new_numerator",
    "old_denominator", "new_denominator", "old_verdict", "new_verdict", "old_conf_status", "new_conf_status", "cause",
)  # fmt: skip


def _changed_names(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def shared_causes(old: Origin, new: Origin) -> list[str]:
    """Causes that hold for every cell: registry, seeds, contracts."""
    causes: list[str] = []
    if old.seed_sha256 and new.seed_sha256:
        seeds = _changed_names(old.seed_sha256, new.seed_sha256)
        if "indicators" in seeds:
            causes.append("registry")
            seeds.remove("indicators")
        if seeds:
            causes.append(f"seeds: {', '.join(seeds)}")
    elif old.seeds_sha256 != new.seeds_sha256:
        causes.append("seeds")
    if old.contracts_sha256 != new.contracts_sha256:
        causes.append("contracts")
    return causes


def _cause(old: Edition, new: Edition, mart: str) -> sql.Composable:
    """Why a cell moved, as SQL over the joined sides ``o`` and ``n``; code is named where nothing else explains it."""
    before, after = set(old.seals[mart].columns), set(new.seals[mart].columns)
    feeds = _changed_names(old.origin.input_sha256, new.origin.input_sha256)
    found: list[sql.Composable] = []
    if "evaluation_year" in before & after:
        found.append(
            sql.SQL("case when o.evaluation_year is null and n.evaluation_year > {} then 'new_year' end").format(
                sql.Literal(old.origin.evaluation_year)
            )
        )
    if "method_version" in before & after:
        found.append(sql.SQL("case when o.method_version <> n.method_version then 'method_version' end"))
    if feeds and "source_feeds" in before & after:
        found.append(
            sql.SQL(
                "(select 'input: ' || string_agg(feed, ', ' order by feed) from unnest({}::text[]) as feed"
                " where feed = any(string_to_array(coalesce(n.source_feeds, o.source_feeds), ';')))"
            ).format(sql.Literal(feeds))
        )
    elif feeds:
        found.append(sql.Literal(f"input: {', '.join(feeds)}"))
    found += [sql.Literal(cause) for cause in shared_causes(old.origin, new.origin)]
    last = "code" if old.origin.git_commit != new.origin.git_commit else "unexplained"
    if not found:
        return sql.Literal(last)
    return sql.SQL("coalesce(nullif(concat_ws('; ', {}), ''), {})").format(sql.SQL(", ").join(found), sql.Literal(last))


def moved_cells(old: Edition, new: Edition, mart: str) -> sql.Composable:
    """Query for the cells of a mart that moved: CHANGE_COLUMNS, unordered.

    A cell that either edition hides says only that it is hidden: no value, count or verdict of either edition, so
    that what one of them protects cannot be read off the difference.
    """
    key = new.seals[mart].key
    both = set(old.seals[mart].columns) & set(new.seals[mart].columns)
    moving = [name for name in ("value", "numerator", "denominator", "verdict", "conf_status") if name in both]
    hidden = sql.SQL("(coalesce(o.conf_status, 'F') <> 'F' or coalesce(n.conf_status, 'F') <> 'F')")
    first = key[0]

    def side(alias: str, name: str) -> sql.Composable:
        if name not in both:
            return sql.SQL("null")
        cell = sql.Identifier(alias, name)
        return cell if name == "conf_status" else sql.SQL("case when not {} then {} end").format(hidden, cell)

    def known(name: str) -> sql.Composable:
        if name not in key:
            return sql.SQL("null")
        return sql.SQL("coalesce({}, {})").format(sql.Identifier("n", name), sql.Identifier("o", name))

    kinds = {
        "value": "numeric(38, 4)",
        "numerator": "numeric(38, 0)",
        "denominator": "numeric(38, 0)",
        "verdict": "text",
        "conf_status": "text",
    }
    return sql.SQL(
        "select {mart}::text as mart, concat_ws('|', {row_key}) as row_key, {named},"
        " case when {hidden} then 'hidden' when {old} is null then 'added' when {new} is null then 'gone'"
        " else 'changed' end as change, {sides}, {cause} as cause"
        " from {joined} where {old} is null or {new} is null or {differs}"
    ).format(
        mart=sql.Literal(mart),
        row_key=sql.SQL(", ").join(known(name) for name in key),
        named=sql.SQL(", ").join(
            sql.SQL("{}::{} as {}").format(
                known(name), sql.SQL("integer" if name == "evaluation_year" else "text"), sql.Identifier(name)
            )
            for name in CELL_KEY
        ),
        hidden=hidden,
        old=sql.Identifier("o", first),
        new=sql.Identifier("n", first),
        sides=sql.SQL(", ").join(
            sql.SQL("{}::{} as {}").format(side(alias, name), sql.SQL(kind), sql.Identifier(f"{when}_{name}"))
            for name, kind in kinds.items()
            for when, alias in (("old", "o"), ("new", "n"))
        ),
        cause=_cause(old, new, mart),
        joined=_joined(old, new, mart, key),
        differs=_differs(moving),
    )


def moved_cells_of_all(old: Edition, new: Edition) -> sql.Composable | None:
    """Query for the moved cells of all marts of cells; None where the editions share no such mart."""
    queries = [moved_cells(old, new, mart) for mart in cell_marts(old, new)]
    return sql.SQL(" union all ").join(queries) if queries else None


@dataclass(frozen=True)
class MovedCount:
    """How many cells of an indicator moved, and why.

    Attributes:
        subject: indicator code, or the mart where it has none.
        added: cells that are new.
        changed: cells whose value, counts or verdict changed.
        gone: cells that are no more.
        hidden: cells that either edition hides.
        causes: why, most frequent first.
    """

    subject: str
    added: int
    changed: int
    gone: int
    hidden: int
    causes: list[str]


def moved_counts(conn: Connection, old: Edition, new: Edition) -> list[MovedCount]:
    """Moved cells counted per indicator."""
    moved = moved_cells_of_all(old, new)
    if moved is None:
        return []
    rows = conn.execute(
        sql.SQL(
            "with moved as ({}), caused as (select coalesce(indicator_code, mart) as subject, cause, count(*) as cells,"
            " count(*) filter (where change = 'added') as added, count(*) filter (where change = 'changed') as changed,"
            " count(*) filter (where change = 'gone') as gone, count(*) filter (where change = 'hidden') as hidden"
            " from moved group by 1, 2)"
            " select subject, sum(added), sum(changed), sum(gone), sum(hidden),"
            " array_agg(cause order by cells desc, cause) from caused group by subject order by subject"
        ).format(moved)
    ).fetchall()
    return [
        MovedCount(str(row[0]), int(str(row[1])), int(str(row[2])), int(str(row[3])), int(str(row[4])), list(row[5]))  # type: ignore[call-overload]
        for row in rows
    ]
