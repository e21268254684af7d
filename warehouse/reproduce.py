"""Compare a release that was built again from landing with what was sealed, and keep its schemas apart.

Everything that a reproduction builds lies in schemas of its own, which begin with ``reproduce_<release>_`` and are
dropped afterwards; core, indicators and candidates of the nightly build are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from warehouse.canonical import (
    COMPANIONS,
    ReleaseError,
    TableSeal,
    columns_of,
    differing_ranges,
    hash_table,
    texts_of,
    texts_sha256,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

PREFIX = "reproduce_"


@dataclass(frozen=True)
class Recipe:
    """What a release was made from.

    Attributes:
        release_id: the release.
        evaluation_year: its latest year.
        as_of_load_id: last load that it knows of.
        git_commit: of the code; None: not known.
        contracts_sha256: over the contracts.
        seeds_sha256: over the seeds.
        seals: seal of every mart; not of the notes and changes, which tell of the release and of others before it.
    """

    release_id: str
    evaluation_year: int
    as_of_load_id: int
    git_commit: str | None
    contracts_sha256: str | None
    seeds_sha256: str | None
    seals: dict[str, TableSeal]


@dataclass(frozen=True)
class Difference:
    """A mart, or a range of its rows, that came out other than it was frozen."""

    table: str
    problem: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.table}: {self.problem}"


def prefix_of(release_id: str) -> str:
    """What the schemas of a reproduction begin with."""
    return f"{PREFIX}{release_id.replace('.', '_')}_"


def read_recipe(config: WarehouseConfig, release_id: str) -> Recipe:
    """What a release was made from, as the ledger has it.

    Raises:
        ReleaseError: there is no such release, or it does not say as of which load it was built.
    """
    with connect("auditor", config) as conn:
        row = conn.execute(
            "select evaluation_year, as_of_load_id, git_commit, contracts_sha256, seeds_sha256, table_sha256"
            " from ledger.release where release_id = %s",
            (release_id,),
        ).fetchone()
    if row is None:
        raise ReleaseError(f"there is no release {release_id}: `edupa release list` names all")
    if row[1] is None:
        raise ReleaseError(
            f"release {release_id} does not say as of which load it was built (it was frozen before that was written"
            " down, or its candidate was not built by the pipeline): it cannot be built again from landing"
        )
    tables: dict[str, dict[str, object]] = row[5]  # type: ignore[assignment]
    seals = {mart: TableSeal(**seal) for mart, seal in tables.items() if mart not in COMPANIONS}  # type: ignore[arg-type]
    return Recipe(
        release_id,
        int(str(row[0])),
        int(str(row[1])),
        None if row[2] is None else str(row[2]),
        None if row[3] is None else str(row[3]),
        None if row[4] is None else str(row[4]),
        seals,
    )


def schemas_of(config: WarehouseConfig, prefix: str) -> list[str]:
    """Schemas of dbt's role that begin with a prefix."""
    with connect("transform", config) as conn:
        rows = conn.execute(
            "select nspname from pg_namespace where starts_with(nspname, %s)"
            " and pg_get_userbyid(nspowner) = 'edupa_transform' order by nspname",
            (prefix,),
        ).fetchall()
    return [str(row[0]) for row in rows]


def drop_schemas(config: WarehouseConfig, prefix: str) -> list[str]:
    """Drop what a reproduction left.

    Returns:
        Names of the schemas dropped.

    Raises:
        ValueError: the prefix could match a schema that is none of a reproduction.
    """
    if not prefix.startswith(PREFIX):
        raise ValueError(f"{prefix!r} does not begin with {PREFIX!r}")
    names = schemas_of(config, prefix)
    with connect("transform", config, autocommit=True) as conn:
        for name in names:
            conn.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
    return names


def compare_with_seal(config: WarehouseConfig, recipe: Recipe, schema: str) -> list[Difference]:
    """Hash every mart of a schema and compare it with the seals of a release; nothing: identical bytes."""
    differences: list[Difference] = []
    with connect("transform", config, autocommit=True) as conn:
        built = {
            str(row[0])
            for row in conn.execute("select tablename from pg_tables where schemaname = %s", (schema,)).fetchall()
        }
        for extra in sorted(built - set(recipe.seals)):
            differences.append(Difference(extra, "was built, but the release has no such table"))
        for mart, seal in recipe.seals.items():
            if mart not in built:
                differences.append(Difference(mart, "was not built"))
                continue
            columns = [name for name, _, _ in columns_of(conn, schema, mart)]
            if columns != seal.columns:
                differences.append(Difference(mart, f"has columns {columns}, frozen were {seal.columns}"))
                continue
            if seal.texts_sha256 not in (None, texts_sha256(texts_of(conn, schema, mart), columns)):
                differences.append(Difference(mart, "comments differ from those frozen"))
            now = hash_table(conn, schema, mart, seal.columns, seal.key)
            if (now.sha256, now.rows) == (seal.sha256, seal.rows):
                continue
            if seal.rows and not seal.ranges:
                differences.append(Difference(mart, f"content differs: {now.rows} rows now, {seal.rows} frozen"))
            for before, rows, first, last in differing_ranges(conn, schema, mart, seal):
                differences.append(
                    Difference(
                        mart,
                        f"rows from {'|'.join(first)} to {'|'.join(last)} differ: {rows} now,"
                        f" {before.rows if before else 0} frozen",
                    )
                )
    return differences
