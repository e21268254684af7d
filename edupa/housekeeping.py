"""What keeps a warehouse trustworthy while nobody looks: verify, sweep, back up, try the backup, let go of old ones.

Plain functions, as in edupa/pipeline.py; dags/housekeeping.py calls them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from edupa.leftovers import as_airflow_says, sweep
from edupa.progress import say
from edupa.settings import Settings
from warehouse import backup as backups
from warehouse.canonical import ReleaseError
from warehouse.verify import Verification, verify_releases

__all__ = ["RETENTION", "VerificationFailed", "as_airflow_says", "back_up", "drill", "retain", "sweep", "verify_all"]

BACKUPS_KEPT = 7


class VerificationFailed(ReleaseError):
    """Something of a release is not what was frozen; the message names the tables."""


def said_of(done: Verification) -> list[str]:
    """What a verification says to people, one line each."""
    lines = [f"TAMPERED {found}" for found in done.findings]
    if done.unsigned:
        lines.append(f"unsigned (frozen before manifests were signed): {', '.join(done.unsigned)}")
    if done.unpublished:
        lines.append(f"rows not looked at (not published): {', '.join(done.unpublished)}")
    if done.keys_from == "ledger" and done.releases:
        lines.append("keys were taken from the ledger itself: --public-key names one that you got elsewhere")
    return lines


def verify_all(settings: Settings) -> dict[str, Any]:
    """Verify every release ever frozen.

    Raises:
        VerificationFailed: so; the message names releases and tables.
    """
    done = verify_releases(settings.warehouse)
    for line in said_of(done):
        say(f"  ! {line}")
    if done.findings:
        tables = sorted({f"{found.release_id} {found.table}" for found in done.findings})
        raise VerificationFailed(
            f"{len(done.findings)} findings in what was frozen: {'; '.join(tables[:10])}"
            f"{' …' if len(tables) > 10 else ''}. Publish nothing, keep the backups, see docs/seal.md"
        )
    say(f"verify: {len(done.releases)} releases, {done.tables} tables, every hash and signature as frozen")
    return {"releases": len(done.releases), "tables": done.tables}


def back_up(settings: Settings) -> dict[str, Any]:
    """Make a backup in the warehouse's own folder.

    Where the server is not ours and its administrator's password is not here, none is made, and that is said: in the
    production shape no task holds it, and backups are the platform's.

    Raises:
        warehouse.backup.BackupError: it could not be made.
    """
    if settings.warehouse.url and not settings.warehouse.secret_path("admin").exists():
        say("  ! no backup: the administrator's password is not here, so backups are the platform's (docs/seal.md)")
        return {"folder": None, "bytes": 0}
    made = backups.create(settings.warehouse)
    say(f"backup: {made.folder} ({made.bytes / 1e6:.1f} MB, {len(made.about['releases'])} releases)")
    return {"folder": str(made.folder), "bytes": made.bytes}


def drill(settings: Settings) -> dict[str, Any]:
    """Restore the newest backup into a throw-away server and verify every release there.

    Without a backup of ours, see back_up, nothing is tried, and that is said.

    Raises:
        warehouse.backup.BackupError: it cannot be restored.
        VerificationFailed: what came out is not what was frozen.
    """
    if settings.warehouse.url and not backups.list_backups(settings.warehouse):
        say("  ! no drill: there is no backup of ours")
        return {"releases": 0, "tables": 0, "rights": 0}
    done = backups.drill(settings.warehouse)
    if done.verification.findings:
        raise VerificationFailed(
            f"the restored backup {done.backup.folder} is not what was frozen: "
            + "; ".join(str(found) for found in done.verification.findings[:5])
        )
    say(
        f"drill: {done.backup.folder.name} restored, {len(done.verification.releases)} releases verified,"
        f" {done.rights} rights equal"
    )
    return {"releases": len(done.verification.releases), "tables": done.verification.tables, "rights": done.rights}


def _old_backups(settings: Settings) -> list[str]:
    kept = int(os.environ.get("EDUPA_BACKUPS_KEPT", str(BACKUPS_KEPT)))
    return [path.name for path in backups.prune(settings.warehouse, kept)]


# what is let go, by name; a later kind of leftover adds its own function
RETENTION: dict[str, Callable[[Settings], list[str]]] = {"backups": _old_backups}


def retain(settings: Settings) -> dict[str, list[str]]:
    """Let go of what is older than its time; releases, ledger and landing are never among it.

    Returns:
        What went, by kind.
    """
    gone = {name: let_go(settings) for name, let_go in RETENTION.items()}
    for name, items in gone.items():
        say(f"retention: {name}: {len(items)} removed")
    return gone
