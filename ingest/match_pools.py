"""Who is left over: persons of a list that are on no roll by their number, and pupils that are on no list.

This is where names and numbers leave the vault, into frames of this process and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl
import psycopg
from psycopg import sql

from ingest.match_names import name_key
from ingest.match_settings import Rules, Side

Connection = psycopg.Connection[tuple[object, ...]]

_POOL = {
    "person_token": pl.String,
    "feed": pl.String,
    "birth": pl.Date,
    "sex": pl.String,
    "place": pl.String,
    "guardian": pl.String,
    "is_twin": pl.Boolean,
    "load_id": pl.Int64,
    "person_name": pl.String,
    "number": pl.String,
}
#: of an ID number: digits of the birth date, and the digit whose parity tells the sex (GB 11643-1999)
_BIRTH_IN_NUMBER, _SEX_IN_NUMBER = (6, 8), 16


@dataclass(frozen=True)
class Pools:
    """What is compared in one year.

    Attributes:
        left: persons of the list; person_token, feed, birth, sex, place, is_twin, load_id, name_key, number, county,
            village.
        right: pupils, the same and guardian.
        kin: (person_token, kin): the other persons of a left person's household.
    """

    left: pl.DataFrame
    right: pl.DataFrame
    kin: pl.DataFrame


def _column(name: str | None, kind: str) -> sql.Composable:
    return sql.SQL("{}::" + kind).format(sql.Identifier(name)) if name else sql.SQL("null::" + kind)


def _of_year(side: Side, year: int) -> sql.Composable:
    """Condition on the rows of a side that belong to a year and are valid."""
    column = sql.Identifier(side.year)
    if side.year_digits:
        condition: sql.Composable = sql.SQL("starts_with({}, {})").format(
            column, sql.Literal(f"{year:0{side.year_digits}d}")
        )
    elif side.before:
        condition = sql.SQL("{} - (case when {} = any({}) then 1 else 0 end) = {}").format(
            column, sql.Identifier(side.before[0]), sql.Literal(list(side.before[1])), sql.Literal(year)
        )
    else:
        condition = sql.SQL("{} = {}").format(column, sql.Literal(year))
    parts = [sql.SQL("ended_load_id is null and person_token is not null"), condition]
    for name, values in side.where.items():
        parts.append(sql.SQL("{} = any({})").format(sql.Identifier(name), sql.Literal(list(values))))
    return sql.SQL(" and ").join(parts)


def _persons(side: Side, year: int, rank: int) -> sql.Composable:
    """One row per person of a side, in the columns of _POOL and household."""
    household: sql.Composable = sql.SQL("null::text")
    if side.household:
        household = sql.SQL("concat_ws('|', {})").format(sql.SQL(", ").join(map(sql.Identifier, side.household)))
    return sql.SQL(
        "select distinct on (person_token) person_token, token_basis, {feed}::text as feed, {rank} as rank,"
        " {birth} as birth, {sex} as sex, {place} as place, {guardian} as guardian, {household} as household, load_id"
        " from {table} where {condition} order by person_token, {order}"
    ).format(
        feed=sql.Literal(side.feed),
        rank=sql.Literal(rank),
        birth=_column(side.birth, "date"),
        sex=_column(side.sex, "text"),
        place=_column(side.place, "text"),
        guardian=_column(side.guardian, "text"),
        household=household,
        table=sql.Identifier("landing", side.feed),
        condition=_of_year(side, year),
        order=sql.SQL(", ").join(sql.SQL("{} nulls last").format(sql.Identifier(name)) for name in side.order),
    )


def _make_temporary(conn: Connection, name: str, query: sql.Composable) -> None:
    conn.execute(sql.SQL("create temporary table {} on commit drop as {}").format(sql.Identifier(name), query))
    conn.execute(sql.SQL("analyze {}").format(sql.Identifier(name)))


def _read(conn: Connection, query: sql.Composable, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    with conn.cursor() as cursor, cursor.copy(sql.SQL("copy ({}) to stdout (format csv)").format(query)) as copy:
        data = b"".join(copy)
    if not data:
        return pl.DataFrame(schema=schema)
    texts: dict[str, type[pl.DataType]] = {
        name: pl.String if kind in (pl.Boolean, pl.Date) else kind for name, kind in schema.items()
    }
    frame = pl.read_csv(data, has_header=False, schema=texts)
    return frame.with_columns(
        [pl.col(name) == "t" for name, kind in schema.items() if kind is pl.Boolean]
        + [pl.col(name).str.to_date("%Y-%m-%d") for name, kind in schema.items() if kind is pl.Date]
    )


def _pool(conn: Connection, table: str, other: str, condition: sql.Composable) -> pl.DataFrame:
    """Persons of one side that the other side does not know by number, with name and number out of the vault."""
    query = sql.SQL(
        "with pool as materialized (select p.* from {table} as p where {condition}"
        " and not exists (select from {other} as o where o.person_token = p.person_token))"
        " select distinct on (pool.person_token) pool.person_token, pool.feed, pool.birth, pool.sex, pool.place,"
        " pool.guardian, pool.is_twin, pool.load_id, v.person_name,"
        " case when v.identifier_kind = 'id_number' then v.identifier end"
        " from pool left join vault.person_identity as v on v.person_token = pool.person_token"
        " and v.identifier_kind in ('id_number', 'surrogate')"
        " order by pool.person_token, v.person_name is null, v.identifier_kind, v.identifier"
    ).format(table=sql.Identifier(table), other=sql.Identifier(other), condition=condition)
    frame = _read(conn, query, _POOL)
    start, length = _BIRTH_IN_NUMBER
    female = pl.col("number").str.slice(_SEX_IN_NUMBER, 1).cast(pl.Int64, strict=False) % 2 == 0
    return frame.with_columns(
        birth=pl.coalesce("birth", pl.col("number").str.slice(start, length).str.to_date("%Y%m%d", strict=False)),
        sex=pl.coalesce("sex", pl.when(female).then(pl.lit("2")).when(female.not_()).then(pl.lit("1"))),
        name_key=name_key("person_name"),
        county=pl.col("place").str.slice(0, 6),
        village=pl.col("place"),
    ).drop("person_name")


def years_listed(conn: Connection, rules: Rules) -> list[int]:
    """Years of which there is a list."""
    rows = conn.execute(
        sql.SQL("select distinct {} from {} where ended_load_id is null order by 1").format(
            sql.Identifier(rules.left.year), sql.Identifier("landing", rules.left.feed)
        )
    ).fetchall()
    return [int(str(year)) for (year,) in rows]


def read_pools(conn: Connection, rules: Rules, year: int) -> Pools:
    """Read who is left over on both sides in a year.

    Args:
        conn: as role ingest, in a transaction; temporary tables live until its end.
        rules: the rules.
        year: of the list; the rolls are those of the school year that begins in it.
    """
    _make_temporary(
        conn,
        "matching_list",
        sql.SQL("select p.*, count(*) over (partition by p.household, p.birth) > 1 as is_twin from ({}) as p").format(
            _persons(rules.left, year, 0)
        ),
    )
    sides = sql.SQL(" union all ").join(
        sql.SQL("({})").format(_persons(side, year, rank)) for rank, side in enumerate(rules.right)
    )
    _make_temporary(
        conn,
        "matching_roll",
        sql.SQL(
            "select p.*, p.guardian is not null"
            " and count(*) over (partition by p.guardian, p.birth) > 1 as is_twin"
            " from (select distinct on (person_token) * from ({}) as s order by person_token, rank) as p"
        ).format(sides),
    )
    oldest, youngest = date(year - rules.ages[1] - 1, 9, 2), date(year - rules.ages[0], 9, 1)
    in_age = sql.SQL("p.birth between {} and {}").format(sql.Literal(oldest), sql.Literal(youngest))
    left = _pool(conn, "matching_list", "matching_roll", in_age)
    right = _pool(conn, "matching_roll", "matching_list", sql.SQL("true"))
    kin = _read(
        conn,
        sql.SQL(
            "select p.person_token, k.person_token from matching_list as p join matching_list as k"
            " on k.household = p.household and k.person_token <> p.person_token and k.token_basis = 'id_number'"
            " where {} and not exists (select from matching_roll as o where o.person_token = p.person_token)"
        ).format(in_age),
        {"person_token": pl.String, "kin": pl.String},
    )
    # the order of a table is not that of its files
    return Pools(left.sort("person_token"), right.sort("person_token"), kin.sort("person_token", "kin"))
