"""Matching of persons whose number is damaged or missing on one side: rules in matching.yaml, pairs in schema matching.

The engine runs as role ingest, the only reader of names. It leaves tokens, levels of agreement and scores behind, never
a name or number. A year is matched anew as a whole in one transaction; what did not change is not written again, and
what a pair was at an earlier load stays on record (load_id, ended_load_id), as landing keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl
import psycopg
from psycopg import sql

from ingest.contract import Contract
from ingest.landing import copy_in
from ingest.match_pools import Pools, read_pools, years_listed
from ingest.match_scores import assign, candidate_pairs, case_number, compare, weigh
from ingest.match_settings import NO_TWIN, MatchingError, Rules, check_against, load_rules
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.locks import writer_lock

Connection = psycopg.Connection[tuple[object, ...]]

#: what a pair is, beside the loads between which it was so
_CONTENT = (
    "poverty_year", "poor_person_token", "pupil_person_token", "pupil_feed", "method", "score", "weight_bits", "status",
    "preference", "explanation", "explanation_zh", "explanation_en", "case_number", "poor_load_id", "pupil_load_id",
)  # fmt: skip
_NEW = sql.Identifier("matching_new")
_PAIRS = sql.Identifier("matching", "person_pair")


@dataclass(frozen=True)
class YearReport:
    """What one year gave; counts of persons of the list that are on no roll by number, and of age to be on one."""

    poverty_year: int
    left_over: int
    pupils_left_over: int
    pairs_compared: int
    matched: int
    review: int
    changed: int
    seconds: float


@dataclass(frozen=True)
class MatchReport:
    """What a run did; ``years`` is empty where nothing had landed since the last one."""

    engine_version: str
    last_load_id: int
    years: tuple[YearReport, ...]
    seconds: float


def present_rules(rules: Rules, contracts: Mapping[str, Contract]) -> Rules:
    """The rules without rolls and decisions of feeds that this installation has no contract for.

    Raises:
        MatchingError: the list itself or every roll is among them, or a feed lacks a column that the rules name.
    """
    right = tuple(side for side in rules.right if side.feed in contracts)
    if rules.left.feed not in contracts or not right:
        raise MatchingError(f"matching.yaml: no contract for feed {rules.left.feed}, or for any of its rolls")
    decided = rules.decisions if rules.decisions and rules.decisions.feed in contracts else None
    found = replace(rules, right=right, decisions=decided)
    check_against(found, contracts)
    return found


def _explained(frame: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Add what agreed as codes and in words."""
    names = list(rules.comparisons)
    words: dict[str, list[pl.Expr]] = {"zh": [], "en": []}
    for comparison in rules.comparisons.values():
        for language, parts in words.items():
            texts = {level: getattr(about, language) for level, about in comparison.levels.items()}
            parts.append(
                pl.col(comparison.name)
                .replace_strict(texts, default=None, return_dtype=pl.String)
                .alias(comparison.name)
            )
    is_twin = pl.col("twin") != NO_TWIN
    words["zh"].append(pl.when(is_twin).then(pl.lit("可能有双胞胎")))
    words["en"].append(pl.when(is_twin).then(pl.lit("there may be a twin")))
    codes = [pl.concat_str(pl.lit(f"{name}="), pl.col(name)) for name in [*names, "twin"]]
    return frame.with_columns(
        explanation=pl.concat_str(codes, separator=" "),
        explanation_zh=pl.concat_str(words["zh"], separator="，", ignore_nulls=True),
        explanation_en=pl.concat_str(words["en"], separator="; ", ignore_nulls=True),
    )


def _decisions(conn: Connection, rules: Rules) -> pl.DataFrame:
    """Case number -> whether an officer said that it is the same person; the latest word counts."""
    decided = rules.decisions
    schema = {"case_number": pl.String, "decided": pl.Boolean}
    if decided is None:
        return pl.DataFrame(schema=schema)
    rows = conn.execute(
        sql.SQL(
            "select distinct on ({case}) {case}, {outcome} = {same} from {table} where ended_load_id is null"
            " and {outcome} = any({known}) order by {case}, {order}, {outcome}"
        ).format(
            case=sql.Identifier(decided.case),
            outcome=sql.Identifier(decided.outcome),
            same=sql.Literal(decided.same),
            known=sql.Literal([decided.same, decided.different]),
            table=sql.Identifier("landing", decided.feed),
            order=sql.SQL(", ").join(
                sql.SQL("{} desc nulls last").format(sql.Identifier(name)) for name in decided.order
            ),
        )
    ).fetchall()
    return pl.DataFrame(rows, schema=schema, orient="row")


def match_pools(pools: Pools, decisions: pl.DataFrame, rules: Rules) -> tuple[pl.DataFrame, int]:
    """Match the persons of two pools.

    Args:
        pools: who is left over.
        decisions: case_number, decided (see assign).
        rules: the rules.

    Returns:
        Pairs in the columns of matching.person_pair but year, engine and loads of versions; and how many were compared.
    """
    pairs = candidate_pairs(pools, rules)
    weighed = weigh(pools, compare(pools, pairs, rules), rules)
    # far below the threshold nothing is decided and nobody asks; far below: a decision may stand on it
    weighed = weighed.filter(pl.col("bits") > -40)
    tokens = pl.DataFrame(
        {
            "poor_person_token": pools.left["person_token"].gather(weighed["left"]),
            "pupil_person_token": pools.right["person_token"].gather(weighed["right"]),
        }
    )
    cases = [case_number(left, right) for left, right in tokens.iter_rows()]
    weighed = weighed.with_columns(*tokens, pl.Series("case_number", cases, dtype=pl.String)).join(
        decisions, on="case_number", how="left", maintain_order="left"
    )
    decided = _explained(assign(weighed, rules), rules)
    done = decided.with_columns(
        pupil_feed=pools.right["feed"].gather(decided["right"]),
        poor_load_id=pools.left["load_id"].gather(decided["left"]),
        pupil_load_id=pools.right["load_id"].gather(decided["right"]),
        weight_bits=pl.col("bits").clip(-9999, 9999).round(2),
    )
    return done.select([name for name in _CONTENT if name != "poverty_year"]), pairs.height


def _store(conn: Connection, year: int, pairs: pl.DataFrame, load_id: int, engine: str) -> int:
    """Bring a year's pairs to what was found; returns how many rows were ended or written."""
    conn.execute(sql.SQL("create temporary table {} (like {}) on commit drop").format(_NEW, _PAIRS))
    new = pairs.with_columns(
        poverty_year=pl.lit(year, dtype=pl.Int64),
        engine_version=pl.lit(engine),
        load_id=pl.lit(load_id, dtype=pl.Int64),
        ended_load_id=pl.lit(None, dtype=pl.Int64),
    )
    copy_in(conn, _NEW, new)
    same = sql.SQL(" and ").join(
        sql.SQL("n.{0} is not distinct from p.{0}").format(sql.Identifier(name)) for name in _CONTENT
    )
    stale = sql.SQL(
        "p.poverty_year = %(year)s and p.ended_load_id is null and not exists (select from {} as n where {})"
    ).format(_NEW, same)
    values = {"year": year, "load": load_id}
    # found at this very load by other rules or another decision: it never was what anybody built upon as of a load
    dropped = conn.execute(
        sql.SQL("delete from {} as p where p.load_id = %(load)s and {}").format(_PAIRS, stale), values
    ).rowcount
    ended = conn.execute(
        sql.SQL("update {} as p set ended_load_id = %(load)s where {}").format(_PAIRS, stale), values
    ).rowcount
    added = conn.execute(
        sql.SQL(
            "insert into {0} select n.* from {1} as n where not exists"
            " (select from {0} as p where p.ended_load_id is null and {2})"
        ).format(_PAIRS, _NEW, same)
    ).rowcount
    return dropped + ended + added


def match_year(conn: Connection, rules: Rules, year: int, load_id: int) -> YearReport:
    """Match one year anew and store the result, in one transaction.

    Args:
        conn: as role ingest, outside a transaction.
        rules: rules of feeds that are there (present_rules).
        year: of the list.
        load_id: last load of the ledger.
    """
    began = time.monotonic()
    with conn.transaction():
        pools = read_pools(conn, rules, year)
        pairs, compared = match_pools(pools, _decisions(conn, rules), rules)
        changed = _store(conn, year, pairs, load_id, rules.version)
    matched = pairs.filter(pl.col("status") == "matched").height
    review = pairs.filter(pl.col("status") == "review")["poor_person_token"].n_unique()
    return YearReport(
        year, pools.left.height, pools.right.height, compared, matched, review, changed, time.monotonic() - began
    )


def match_persons(
    config: WarehouseConfig,
    contracts: Mapping[str, Contract],
    *,
    rules: Rules | None = None,
    run_id: str = "match",
    force: bool = False,
) -> MatchReport:
    """Match every year of which there is a list; does nothing where nothing landed since the last run.

    Args:
        config: the warehouse.
        contracts: the contracts; their landing tables exist.
        rules: other rules than those of this installation.
        run_id: shown to whoever waits for the lock.
        force: also where nothing landed.

    Raises:
        MatchingError: the rules contradict the contracts.
        warehouse.locks.LockBusyError: a load holds the lock and does not let go.
    """
    rules = present_rules(rules or load_rules(), contracts)
    began = time.monotonic()
    with writer_lock(config, "ingest", "load", run_id), connect("ingest", config, autocommit=True) as conn:
        row = conn.execute(
            "select coalesce(max(load_id), 0), coalesce(max(load_id) filter (where feed = any(%s)), 0)"
            " from ledger.load",
            (list(rules.feeds),),
        ).fetchone()
        last, last_of_feeds = (int(str(value)) for value in row) if row else (0, 0)
        before = conn.execute(
            "select last_load_id from matching.run where engine_version = %s order by run_id desc limit 1",
            (rules.version,),
        ).fetchone()
        newest = conn.execute("select engine_version from matching.run order by run_id desc limit 1").fetchone()
        is_current = before is not None and newest == (rules.version,) and int(str(before[0])) >= last_of_feeds
        if is_current and not force:
            return MatchReport(rules.version, last, (), time.monotonic() - began)
        years = years_listed(conn, rules)
        reports = tuple(match_year(conn, rules, year, last) for year in years)
        # of a year whose list is gone no pair is left
        conn.execute(
            "update matching.person_pair set ended_load_id = %s"
            " where ended_load_id is null and not poverty_year = any(%s)",
            (last, years),
        )
        seconds = time.monotonic() - began
        conn.execute(
            "insert into matching.run (last_load_id, engine_version, poverty_years, seconds) values (%s, %s, %s, %s)",
            (last, rules.version, years, round(seconds, 1)),
        )
        conn.execute("analyze matching.person_pair")
    return MatchReport(rules.version, last, reports, seconds)
