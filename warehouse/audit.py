"""The trail of restricted reads: noted in the server log, where no rollback undoes it, collected into the ledger.

A row written by the reading transaction would vanish with it; a line in the log does not, and a reader can neither
suppress it (log settings are the superuser's) nor name somebody else (the server writes the login). Where the log
cannot be written or read back, reads are refused: warehouse/migrations/0010_restricted.sql, access.reader_counties.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from warehouse.access import AccessError, Connection

_READ, _MARK = "edupa read ", "edupa mark "
_PROOF_S = 5.0


@dataclass(frozen=True)
class Collected:
    """What one round found.

    Attributes:
        reads: entries of restricted reads written to the ledger.
        unreadable: those of them that this system cannot have written.
    """

    reads: int
    unreadable: int


def _read_of(message: str) -> tuple[str, list[str]]:
    """Relation and counties of an entry; ``?`` where a session wrote something of its own."""
    try:
        said = json.loads(message.removeprefix(_READ))
        return str(said["relation"]), [str(code) for code in said["counties"]]
    except (ValueError, KeyError, TypeError):
        return "?", []


def _collect_file(conn: Connection, log_file: str, size: int, wanted_mark: str | None) -> tuple[Collected, bool]:
    row = conn.execute(
        "select log_head, next_byte from access.audit_position where log_file = %s", (log_file,)
    ).fetchone()
    position = int(str(row[1])) if row else 0
    reads = unreadable = 0
    marked = False
    checked = row is None
    while True:
        found = conn.execute(
            "select log_head, next_byte, entries from access.read_log(%s, %s)", (log_file, position)
        ).fetchone()
        if found is None:
            raise AccessError(f"the server gives no answer on its log {log_file}")
        head, after, entries = str(found[0]), int(str(found[1])), found[2]
        if row is not None and not checked and (row[0] != head or size < position):
            # last month's name, used again for a new file
            position, checked = 0, True
            continue
        checked = True
        for entry in entries:  # type: ignore[attr-defined]
            message = str(entry["message"])
            if message.startswith(_MARK):
                marked = marked or message == f"{_MARK}{wanted_mark}"
                continue
            relation, counties = _read_of(message)
            unreadable += relation == "?"
            reads += 1
            _write(conn, entry, relation, counties)
        if after == position:
            break
        position = after
    conn.execute(
        "insert into access.audit_position (log_file, log_head, next_byte) values (%s, %s, %s)"
        " on conflict (log_file) do update set log_head = excluded.log_head, next_byte = excluded.next_byte",
        (log_file, head, position),
    )
    return Collected(reads, unreadable), marked


def _write(conn: Connection, entry: Mapping[str, Any], relation: str, counties: list[str]) -> None:
    conn.execute(
        "insert into ledger.restricted_read"
        " (read_at, login, relation, county_codes, application_name, client, backend_pid, session_id)"
        " values (%s::timestamptz, %s, %s, %s, %s, %s, %s, %s)",
        (
            # PostgreSQL's own abbreviation of the zone (CST) means another one elsewhere: log_timezone is set
            str(entry["read_at"]).rsplit(" ", 1)[0] + " Asia/Shanghai",
            entry["login"],
            relation,
            counties,
            entry.get("application_name"),
            entry.get("client"),
            entry["backend_pid"],
            entry["session_id"],
        ),
    )


def _collect(conn: Connection, mark: str | None) -> tuple[Collected, bool]:
    """One pass over all log files; entries and positions are written in one transaction."""
    reads = unreadable = 0
    marked = False
    with conn.transaction():
        for log_file, size in conn.execute("select log_file, bytes from access.log_files()").fetchall():
            done, seen = _collect_file(conn, str(log_file), int(str(size)), mark)
            reads, unreadable, marked = reads + done.reads, unreadable + done.unreadable, marked or seen
    return Collected(reads, unreadable), marked


def prove_and_collect(conn: Connection) -> Collected:
    """Write a mark to the server log, collect everything up to it, and note that the trail is alive.

    Args:
        conn: the watchdog's connection, autocommit.

    Raises:
        AccessError: the server writes no JSON log, or the mark does not appear in it: reads are refused before long.
    """
    mark = secrets.token_hex(16)
    zone = conn.execute("select current_setting('log_timezone')").fetchone()
    if zone is None or zone[0] != "Asia/Shanghai":
        raise AccessError(f"the server's log_timezone is {zone[0] if zone else '?'}: set it to Asia/Shanghai")
    conn.execute("select access.mark_log(%s)", (mark,))
    reads = unreadable = 0
    deadline = time.monotonic() + _PROOF_S
    while True:
        done, marked = _collect(conn, mark)
        reads, unreadable = reads + done.reads, unreadable + done.unreadable
        if marked:
            break
        if time.monotonic() >= deadline:
            raise AccessError(
                "an entry written to the server log did not appear in its JSON log: restricted reads will be refused;"
                " needed are logging_collector = on and log_destination with jsonlog, and a disk that is not full"
            )
        time.sleep(0.1)
    conn.execute("update access.audit_proof set proved_at = clock_timestamp()")
    return Collected(reads, unreadable)
