"""What a sender announced of an accepted file, kept beside what landed of it, for the gate to compare.

While a file is read its own numbers are compared with the manifest (``manifest.py``). Here the other end is written
down: what of them is in landing now. Later the gate can tell whether anything was lost on the way or since.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from ingest.codelists import spelling
from ingest.contract import Contract
from ingest.manifest import ManifestEntry

#: stands for the number of rows where a column's name is expected
ROWS = "*"
_NUMBERS = frozenset({"integer", "bigint", "numeric"})


def write_control_totals(
    conn: psycopg.Connection[tuple[object, ...]],
    load_id: int,
    contract: Contract,
    entry: ManifestEntry,
    scope_keys: Iterable[str],
    rows_passed: int,
) -> int:
    """Write one row per number of the manifest (not committed).

    Args:
        conn: as role ingest, in the transaction of the load, after its rows and its ledger entry were written.
        load_id: of ledger.load.
        contract: of the feed.
        entry: what the manifest says of the file; already found true of the file itself.
        scope_keys: scopes the file speaks for.
        rows_passed: rows landed or already known; neither quarantined nor repeated.

    Returns:
        Number of rows written.
    """
    # a feed that adds to what was sent before does not state its scopes in full
    scopes = sorted(scope_keys) if contract.delivery == "full" else []
    declared = [(ROWS, entry.rows, rows_passed)] if entry.rows is not None else []
    kinds = {name: kind for name, kind, _ in contract.landed}
    for title, total in entry.totals.items():
        name = contract.headers[spelling(title)]
        passed = None
        if scopes and kinds.get(name) in _NUMBERS:
            row = conn.execute(
                sql.SQL(
                    "select coalesce(sum({}), 0) from {} where ended_load_id is null and scope_key = any(%s)"
                ).format(sql.Identifier(name), sql.Identifier("landing", contract.feed)),
                (scopes,),
            ).fetchone()
            passed = row[0] if row else None
        declared.append((name, total, passed))  # type: ignore[arg-type]
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into ledger.control_total (load_id, column_name, declared, passed, scope_keys)"
            " values (%s, %s, %s, %s, %s)",
            [(load_id, name, said, passed, scopes) for name, said, passed in declared],
        )
    return len(declared)
