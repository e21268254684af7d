"""Rows of a database as a delivery: the query's result is written to a csv that then goes the way of every file.

So the same reader, the same checks and the same content hash hold. Cells whose database type is a number are marked
in columns that hold long numbers, as a workbook's are: an ID that was stored as a number is not repaired.
"""

from __future__ import annotations

import contextlib
import csv
import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.contract import Contract
from ingest.names import QUERY_MARK
from ingest.problems import FileRejectedError
from ingest.transport import Entry, PermanentError, SourceSettings, SourceSettingsError, attempts, is_out_of_room
from ingest.values import NUMERIC_CELL
from warehouse import clock

BATCH_ROWS = 5000


def cell_text(value: object, is_marked: bool) -> str:
    """A database value as a csv cell.

    Args:
        value: as the driver gives it.
        is_marked: the column holds long numbers, which a numeric type cannot be trusted with.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime):
        # a day without a time of day is a date, whatever the column's type
        return value.isoformat(sep=" ") if value.time() != datetime.min.time() else value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float | Decimal):
        text = format(value, "f") if isinstance(value, Decimal) else str(value)
        return NUMERIC_CELL + text if is_marked else text
    return str(value)


class DatabaseRows:
    """The result of one query, for one feed."""

    def __init__(self, settings: SourceSettings, contract: Contract) -> None:
        """Remember where; nothing is asked yet.

        Raises:
            SourceSettingsError: the URL is none of SQLAlchemy's.
        """
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        self.settings = settings
        self.label = settings.label
        self.settle = 0.0
        self._contract = contract
        try:
            url = make_url(settings.url)
            self._url = url.set(
                username=settings.options.get("username", url.username), password=settings.options.get("password")
            )
            self._driver = url.get_dialect().driver
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            raise SourceSettingsError(f"{settings.variable}: not a database URL ({type(error).__name__})") from None

    def entries(self) -> tuple[Entry, ...]:
        """One delivery, named by the moment of asking."""
        stamp = clock.now().strftime("%Y%m%dT%H%M%S")
        return (Entry(f"{QUERY_MARK}{stamp}.csv"),)

    def stat(self, name: str) -> Entry:
        """The delivery again: a query has no size before it has run."""
        return Entry(name)

    def close(self) -> None:
        """Nothing is kept open between deliveries."""

    @contextmanager
    def fetch(self, entry: Entry) -> Iterator[Path]:
        """The rows as a csv file, removed after the block.

        Raises:
            FileRejectedError: the rows take more room than the limit.
            SourceError: the database cannot be reached, stopped answering, or refuses the query.
        """
        with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
            target = Path(folder) / "rows.csv"
            attempts(self.settings, "read rows", lambda: self._write(target), _describe)
            yield target

    def _engine(self) -> Any:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        timeout = max(1, round(self.settings.limits.timeout))
        arguments: dict[str, Any] = {}
        if self._driver in ("psycopg", "psycopg2"):
            arguments = {"connect_timeout": timeout, "application_name": f"edupa {self._contract.feed}"}
            arguments |= {"keepalives_idle": timeout, "keepalives_interval": timeout, "keepalives_count": 2}
        elif self._driver in ("pymysql", "mysqldb"):
            arguments = {"connect_timeout": timeout, "read_timeout": timeout}
        return create_engine(self._url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)

    def _write(self, target: Path) -> None:
        """Ask in a thread of its own, so that a driver that waits for ever is noticed."""
        results: queue.Queue[Sequence[Any] | BaseException | None] = queue.Queue(maxsize=4)
        stop = threading.Event()

        def put(item: Sequence[Any] | BaseException | None) -> None:
            while not stop.is_set():
                with contextlib.suppress(queue.Full):
                    results.put(item, timeout=0.2)
                    return

        def ask() -> None:
            try:
                with self._engine().connect() as connection:
                    from sqlalchemy import text

                    rows = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS).execute(
                        text(self.settings.query or "")
                    )
                    put(tuple(rows.keys()))
                    for part in rows.partitions(BATCH_ROWS):
                        put([tuple(row) for row in part])
                        if stop.is_set():
                            return
                put(None)
            except BaseException as error:
                put(error)

        threading.Thread(target=ask, daemon=True, name=f"edupa-query-{self._contract.feed}").start()
        try:
            with target.open("w", encoding="utf-8", newline="") as out:
                writer = csv.writer(out, lineterminator="\n")
                names = self._next(results)
                marked = [self._is_marked(str(name)) for name in names]
                writer.writerow(names)
                while True:
                    batch = self._next(results)
                    if not batch:
                        break
                    writer.writerows([cell_text(v, m) for v, m in zip(row, marked, strict=True)] for row in batch)
                    if out.tell() > self.settings.limits.max_bytes:
                        limit = self.settings.limits.max_bytes
                        raise FileRejectedError(
                            "file.too_large", f"more than {limit} bytes", detail_zh=f"超过{limit}字节"
                        )
        finally:
            stop.set()

    def _next(self, results: queue.Queue[Sequence[Any] | BaseException | None]) -> Sequence[Any]:
        try:
            item = results.get(timeout=self.settings.limits.timeout)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(item, BaseException):
            if _is_permanent(item):
                raise PermanentError(_describe(item))
            raise item
        return item or ()

    def _is_marked(self, name: str) -> bool:
        from ingest.codelists import spelling

        found = self._contract.headers.get(spelling(name))
        column = self._contract.by_name.get(found) if found else None
        return column is not None and (column.long_number or column.kind in ("date", "id_number"))


def _is_permanent(error: BaseException) -> bool:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    if is_out_of_room(error):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return False
        state = getattr(error.orig, "sqlstate", None)
        # 08: connection, 53: resources, 57: operator intervention, 40: serialization; a refused password is permanent
        if state:
            return str(state)[:2] not in ("08", "40", "53", "57")
        return "authentication failed" in str(error.orig)
    return isinstance(error, SQLAlchemyError | FileRejectedError)


def _describe(error: BaseException) -> str:
    """Kind of error and SQLSTATE; a database's message may quote data, that of a failed connection does not."""
    origin = getattr(error, "orig", None) or error
    state = getattr(origin, "sqlstate", None)
    kind = type(origin).__name__
    if state:
        return f"{kind} (SQLSTATE {state})"
    line = str(origin).strip().partition("\n")[0][:200]
    return f"{kind}: {line}" if kind in ("OperationalError", "ModuleNotFoundError") and line else kind
