"""The registry entry of a release, in full: made from what, judged how, published when, what became of it."""

from __future__ import annotations

from psycopg.rows import dict_row

from warehouse.canonical import Connection, ReleaseError


def registry_entry(conn: Connection, release_id: str) -> dict[str, object]:
    """Every column of the ledger's row, the gate's word, the notices and what superseded the release.

    Args:
        conn: a role that reads the ledger and marts.* (the auditor).
        release_id: its id.

    Raises:
        ReleaseError: there is no such release.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from ledger.release where release_id = %s", (release_id,)).fetchone()
        if row is None:
            raise ReleaseError(f"there is no release {release_id}: `edupa release list` names all")
        gate = cursor.execute(
            "select decision, run_id, subject_hash, page, finished_at from ledger.gate_run where gate_run_id = %s",
            (row["gate_run_id"],),
        ).fetchone()
        published = cursor.execute(
            "select superseded_by, is_current from marts.release_registry where release_id = %s", (release_id,)
        ).fetchone()
        notices = cursor.execute(
            "select n.notice_id, n.event, n.created_at, n.webhook_wanted, count(a.attempt_id) as attempts,"
            " coalesce(bool_or(a.delivered), false) as delivered"
            " from ledger.release_notice n left join ledger.notice_attempt a using (notice_id)"
            " where n.release_id = %s group by n.notice_id order by n.notice_id",
            (release_id,),
        ).fetchall()
    return {
        **row,
        **(published or {"superseded_by": None, "is_current": False}),
        "gate": gate,
        "notices": notices,
    }
