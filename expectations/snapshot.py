"""One connection, one transaction, one snapshot: every rule of a gate judges the same state of the data.

Great Expectations (through SQLAlchemy) rolls back after each of its queries; on this connection that is a no-op,
so the transaction, and with it the snapshot, lives until ``release``.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from warehouse.config import WarehouseConfig
from warehouse.connection import connection_parts


class SnapshotConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose transaction ends only in ``release``."""

    def hold(self) -> None:
        """Mark the point to which a failed statement is undone; once, after the transaction was opened."""
        self.execute("savepoint held")

    def keep(self) -> None:
        """Move the mark: what was done so far outlives a failed statement."""
        self.execute("release savepoint held")
        self.hold()

    def forbid_writing(self) -> None:
        """From here on the transaction only reads."""
        # outside the mark: what is set within one ends with it
        self.execute("release savepoint held")
        self.execute("set transaction read only")
        self.hold()

    def commit(self) -> None:
        """Do nothing: the snapshot must outlive whoever borrows the connection."""

    def rollback(self) -> None:
        """Undo a failed statement, and nothing else."""
        if self.info.transaction_status == TransactionStatus.INERROR:
            self.execute("rollback to savepoint held")

    def release(self) -> None:
        """End the transaction, with nothing kept, and close."""
        super().rollback()
        super().close()

    def close(self) -> None:
        """Do nothing: a borrower's pool may not close what it did not open."""


def open_snapshot(role: str, config: WarehouseConfig) -> SnapshotConnection:
    """A repeatable-read transaction of a role; it may fill temporary tables until ``forbid_writing``.

    Raises:
        psycopg.OperationalError: the server does not answer or refuses the role.
    """
    parts = connection_parts(role, config)
    conn = SnapshotConnection.connect(
        host=parts.host,
        port=parts.port,
        dbname=parts.database,
        user=parts.user,
        password=parts.password,
        application_name=f"edupa {role} gate",
        connect_timeout=10,
    )
    conn.execute("set transaction isolation level repeatable read")
    # one session that sorts and joins millions of rows: not on disk
    conn.execute("set local work_mem = '256MB'")
    conn.hold()
    return conn
