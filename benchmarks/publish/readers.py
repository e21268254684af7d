"""Busy readers that notice torn, empty and failed reads, and how long each statement took."""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

import psycopg

from benchmarks.publish.ways import MARTS, ROWS
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

READERS = 8
#: seconds between two reads of a reader: two cores stay busy, not drowned
THINK_S = 0.02


@dataclass
class Seen:
    """What one reader, or all together, saw.

    Attributes:
        single: statements over all marts.
        transactions: REPEATABLE READ transactions that read mart by mart.
        torn_single: statements that saw two versions.
        torn_repeatable_read: transactions that saw two versions.
        empty: reads that found a mart without rows, or not whole.
        errors: SQLSTATE -> how often.
        spans: start and end (time.monotonic) of every statement.
    """

    single: int = 0
    transactions: int = 0
    torn_single: int = 0
    torn_repeatable_read: int = 0
    empty: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    spans: list[list[tuple[float, float]]] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """Take in what another reader saw."""
        self.single += other.single
        self.transactions += other.transactions
        self.torn_single += other.torn_single
        self.torn_repeatable_read += other.torn_repeatable_read
        self.empty += other.empty
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        self.spans += other.spans


def _timed(conn: psycopg.Connection[tuple[object, ...]], query: str, spans: list[tuple[float, float]]) -> list[int]:
    began = time.monotonic()
    row = conn.execute(query.encode()).fetchone()
    spans.append((began, time.monotonic()))
    assert row is not None
    return [int(str(value)) if value is not None else -1 for value in row]


def _read_once(
    conn: psycopg.Connection[tuple[object, ...]],
    schema: str,
    chance: random.Random,
    seen: Seen,
    spans: list[tuple[float, float]],
) -> None:
    marts = chance.sample(MARTS, len(MARTS))
    if chance.random() < 0.5:
        union = " union all ".join(f"select value from {schema}.{mart}" for mart in marts)
        lowest, highest, rows = _timed(
            conn, f"select min(value)::int, max(value)::int, count(*) from ({union}) as every", spans
        )
        seen.single += 1
        seen.torn_single += lowest != highest
        seen.empty += rows != ROWS * len(MARTS)
        return
    versions: set[int] = set()
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        for mart in marts:
            lowest, highest, rows = _timed(
                conn, f"select min(value)::int, max(value)::int, count(*) from {schema}.{mart}", spans
            )
            versions |= {lowest, highest}
            seen.empty += rows != ROWS
    seen.transactions += 1
    seen.torn_repeatable_read += len(versions - {-1}) > 1


def _reader(config: WarehouseConfig, schema: str, seed: int, pipe: Pipe) -> None:
    seen, spans, chance = Seen(), [], random.Random(seed)
    conn = connect("evaluator", config, autocommit=True, application_name=f"reader {seed}")
    pipe.send("ready")
    while not pipe.poll():
        try:
            _read_once(conn, schema, chance, seen, spans)
        except psycopg.Error as error:
            seen.errors[error.sqlstate or "?"] = seen.errors.get(error.sqlstate or "?", 0) + 1
            if conn.closed:
                conn = connect("evaluator", config, autocommit=True, application_name=f"reader {seed}")
        time.sleep(chance.random() * 2 * THINK_S)
    seen.spans = [spans]
    pipe.send(seen)


class Readers:
    """So many readers of a schema, each a process; use as a context, then look at ``seen``."""

    def __init__(self, config: WarehouseConfig, schema: str, count: int = READERS) -> None:
        """Readers in random order, the same order for the same schema every time."""
        self.seen = Seen()
        context = multiprocessing.get_context("fork")
        self._members: list[tuple[BaseProcess, Pipe]] = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_reader, args=(config, schema, number, theirs), daemon=True)
            self._members.append((process, ours))

    def __enter__(self) -> Readers:
        """Start them and wait until each has its connection."""
        for process, _ in self._members:
            process.start()
        for _, pipe in self._members:
            assert pipe.recv() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them and gather what they saw."""
        for _, pipe in self._members:
            pipe.send("stop")
        for process, pipe in self._members:
            self.seen.add(pipe.recv())
            process.join()
