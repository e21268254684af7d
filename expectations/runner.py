"""Suites through Great Expectations, and the places where they failed.

Great Expectations is imported inside functions: it takes seconds, and only a gate needs it. Results are asked for
as BOOLEAN_ONLY: anything richer carries values of the rows at fault. Where a rule failed is asked separately, as
counts per county and period.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from expectations.decide import Outcome
from expectations.snapshot import SnapshotConnection
from expectations.suite import Expectation, Suite

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext

EVERYWHERE = "*"
_FREE_SQL = "UnexpectedRowsExpectation"
_SEVERITY = {"block": "critical", "warn": "warning"}
_JOIN = re.compile(r"\bjoin\b", re.IGNORECASE)
_SQL_ERROR = re.compile(r"\(psycopg\.errors\.(\w+)\)")


@dataclass(frozen=True)
class Cell:
    """One place where a rule failed: county (or area) × period, how many, and figures."""

    place: str
    time: str
    affected: int
    observed: str | None


def _literal(value: Any) -> str:
    return sql.Literal(value).as_string(None)


def _between(arguments: Mapping[str, Any]) -> str:
    column = arguments["column"]
    low, high = arguments.get("min_value"), arguments.get("max_value")
    broken = []
    if low is not None:
        broken.append(f"{column} {'<=' if arguments.get('strict_min') else '<'} {_literal(low)}")
    if high is not None:
        broken.append(f"{column} {'>=' if arguments.get('strict_max') else '>'} {_literal(high)}")
    return " or ".join(broken)


def _a_greater_than_b(arguments: Mapping[str, Any]) -> str:
    sign = ">=" if arguments.get("or_equal") else ">"
    return f"not ({arguments['column_A']} {sign} {arguments['column_B']})"


# what a rule's arguments say about the rows at fault; a type that is not here needs ``where`` in its suite
_AT_FAULT: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "ExpectColumnValuesToBeBetween": _between,
    "ExpectColumnValuesToBeInSet": (lambda a: f"{a['column']} not in ({', '.join(map(_literal, a['value_set']))})"),
    "ExpectColumnValuesToNotBeNull": lambda a: f"{a['column']} is null",
    "ExpectColumnValuesToBeNull": lambda a: f"{a['column']} is not null",
    "ExpectColumnValuesToNotMatchRegex": lambda a: f"{a['column']} ~ {_literal(a['regex'])}",
    "ExpectColumnValuesToMatchRegex": lambda a: f"{a['column']} !~ {_literal(a['regex'])}",
    "ExpectColumnPairValuesAToBeGreaterThanB": _a_greater_than_b,
}


def rows_at_fault(expectation: Expectation) -> str | None:
    """SQL condition on the batch that holds for the rows at fault; None: the rule brings its own query.

    Raises:
        KeyError: neither the suite nor the type says it.
    """
    if expectation.type == _FREE_SQL:
        return None
    if expectation.where:
        return expectation.where
    return _AT_FAULT[expectation.type](expectation.arguments)


def _for_gx(expectation: Expectation) -> dict[str, Any]:
    arguments = dict(expectation.arguments)
    if expectation.type == _FREE_SQL:
        # GX fills {batch} with str.format: every other brace has to be doubled
        doubled = str(arguments["unexpected_rows_query"]).replace("{", "{{").replace("}", "}}")
        arguments["unexpected_rows_query"] = doubled.replace("{{batch}}", "{batch}")
    return arguments


def make_context() -> EphemeralDataContext:
    """A Great Expectations context that writes nothing to disk and tells nobody anything."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # its log repeats failing SQL with parameters; what went wrong is kept without values (see _error)
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _error(exception_info: Mapping[str, Any]) -> str | None:
    """Kind of the first exception of a result; its message may hold a value and is left out."""
    entries: Iterable[Any] = [exception_info] if "raised_exception" in exception_info else exception_info.values()
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("raised_exception"):
            found = _SQL_ERROR.search(str(entry.get("exception_message") or ""))
            return f"could not be evaluated: {found.group(1) if found else 'GX error'}"
    return None


def _missing_table(conn: SnapshotConnection, suite: Suite) -> str | None:
    for table in suite.tables:
        row = conn.execute("select to_regclass(%s) is not null", (table,)).fetchone()
        if not row or not row[0]:
            return table
    return None


def compute_batch(conn: SnapshotConnection, suite: Suite) -> Suite:
    """Compute the batch of a suite once; a rule asks it several times, and it may scan millions of rows.

    Returns:
        The suite over a temporary table; the suite as it was where it reads a table, or where the batch cannot be
        computed, so that its rules say so.
    """
    if suite.query is None or _missing_table(conn, suite):
        return suite
    table = sql.Identifier("pg_temp", f"{suite.boundary}_{suite.name}")
    try:
        # no parameters: psycopg then leaves percent signs of the SQL alone
        conn.execute(sql.SQL("create temporary table {} on commit drop as {}").format(table, sql.SQL(suite.query)))
        conn.execute(sql.SQL("analyze {}").format(table))
    except psycopg.Error:
        conn.rollback()
        return suite
    conn.keep()
    return replace(suite, query=f"select * from {table.as_string(conn)}")


def examined(conn: SnapshotConnection, suite: Suite) -> frozenset[tuple[str, str]]:
    """County (or area) × period of every row of a suite's batch; empty where it cannot be read."""
    batch = f"({suite.query})" if suite.query is not None else ".".join(suite.table or ())
    try:
        found = conn.execute(
            f"select distinct coalesce(({suite.place})::text, '*'), coalesce(({suite.time})::text, '*')"
            f" from {batch} batch".encode()
        ).fetchall()
    except psycopg.Error:
        conn.rollback()
        return frozenset()
    return frozenset((str(place), str(time)) for place, time in found)


def run_suite(context: EphemeralDataContext, conn: SnapshotConnection, suite: Suite) -> list[Outcome]:
    """Evaluate one suite on the connection's snapshot.

    Returns:
        One outcome per expectation; errors where a table is missing or the batch cannot be read.
    """
    if missing := _missing_table(conn, suite):
        return [Outcome(e.id, False, f"table {missing} does not exist") for e in suite.expectations]
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from sqlalchemy.pool import StaticPool

    name = f"{suite.boundary}.{suite.name}"
    try:
        # the connection is handed over, so no password ever enters a GX configuration; the URL is a formality
        source = context.data_sources.add_or_update_postgres(
            name,
            connection_string="postgresql+psycopg://gate:-@localhost/warehouse",
            kwargs={"creator": lambda: conn, "poolclass": StaticPool},
        )
        if suite.query is not None:
            definition = source.add_query_asset(name, suite.query).add_batch_definition_whole_table(name)
        else:
            schema, table = suite.table or ("", "")
            asset = source.add_table_asset(name, table_name=table, schema_name=schema)
            definition = asset.add_batch_definition_whole_table(name)
        # it prints a hint for every free query that does not name the batch; a cross-table rule need not
        with redirect_stdout(io.StringIO()):
            asked = gx.ExpectationSuite(
                name=name,
                expectations=[
                    getattr(gxe, e.type)(**_for_gx(e), severity=_SEVERITY[e.severity], meta={"id": e.id})
                    for e in suite.expectations
                ],
            )
            answered = definition.get_batch().validate(asked, result_format="BOOLEAN_ONLY")
    except Exception as error:
        # whatever it was, it must end as a failed rule, not as an open gate
        kind = f"could not be evaluated: {type(error).__name__}"
        return [Outcome(e.id, False, kind) for e in suite.expectations]
    return [
        Outcome(
            expectation_id=str(result.expectation_config.meta["id"]),
            success=bool(result.success),
            error=_error(result.exception_info or {}),
        )
        for result in answered.results
        if result.expectation_config is not None
    ]


def _cells_query(suite: Suite, expectation: Expectation) -> str:
    batch = f"({suite.query})" if suite.query is not None else ".".join(suite.table or ())
    condition = rows_at_fault(expectation)
    if condition is None:
        query = str(expectation.arguments["unexpected_rows_query"])
        # as GX does: a query with a join names the batch itself, any other is given a name for it
        if not _JOIN.search(query):
            batch = f"{batch} as subselect"
        return (
            "select coalesce(county_code::text, '*'), coalesce(period::text, '*'), sum(affected)::bigint,"
            " string_agg(observed::text, '; ' order by observed::text)"
            f" from ({query.replace('{batch}', batch)}) as found"
            " group by 1, 2 order by 1, 2"
        )
    return (
        f"select coalesce(({suite.place})::text, '*'), coalesce(({suite.time})::text, '*'),"
        f" ({expectation.count})::bigint, ({expectation.observed or 'null'})::text"
        f" from {batch} batch where {condition} group by 1, 2 order by 1, 2"
    )


def failing_cells(conn: SnapshotConnection, suite: Suite, expectation: Expectation) -> tuple[Cell, ...]:
    """Where an expectation failed, as counts.

    Returns:
        One cell per county × period; one cell ``*`` × ``*`` where the rule is about the table as a whole or the
        place could not be found out.
    """
    try:
        # no parameters: psycopg then leaves percent signs of the SQL alone
        rows = conn.execute(_cells_query(suite, expectation).encode()).fetchall()
    except psycopg.Error as error:
        conn.rollback()
        return (Cell(EVERYWHERE, EVERYWHERE, 0, f"place unknown: {type(error).__name__}"),)
    if not rows:
        return (Cell(EVERYWHERE, EVERYWHERE, 0, None),)
    return tuple(Cell(str(place), str(time), int(affected or 0), observed) for place, time, affected, observed in rows)
