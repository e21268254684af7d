"""``edupa release verify|manifest|reproduce|rotate-key``, ``edupa backup`` and ``edupa housekeeping``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast

import typer

from edupa.cli_common import fail, plainly
from edupa.cli_release import release_app
from edupa.settings import load_settings
from warehouse.connection import connect

backup_app = typer.Typer(no_args_is_help=True, help="Back up, restore, and try that the backup restores.")
housekeeping_app = typer.Typer(no_args_is_help=True, help="What runs nightly and weekly, by hand.")


@release_app.command("verify")
@plainly
def release_verify(
    release: Annotated[list[str] | None, typer.Argument(help="Releases; none: all ever frozen.")] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="PEM file of a key to trust, instead of those of the secrets folder."),
    ] = None,
    role: Annotated[str, typer.Option(help="publisher or auditor; the auditor reads what is published.")] = "publisher",
) -> None:
    """Compare everything frozen, and what readers see of it, with the signed manifests.

    Exit code 1, with release, table and range of rows, if a byte, a comment, a view, a right or the pointer differs.

    Example: `edupa release verify 2020.1.0 --role auditor --public-key edupa.pem`
    """
    from edupa.housekeeping import said_of
    from warehouse.verify import Reader, verify_releases

    if role not in ("publisher", "auditor"):
        raise typer.BadParameter("publisher or auditor", param_hint="--role")
    done = verify_releases(
        load_settings().warehouse, release or None, public_keys=public_key or (), reader=cast(Reader, role)
    )
    for line in said_of(done):
        print(line)
    if done.findings:
        raise fail(f"{len(done.findings)} findings in {done.tables} tables: not everything is what was frozen")
    print(
        f"{done.tables} tables of {len(done.releases)} releases verified, every hash is the one recorded when they were"
        " frozen"
    )


@release_app.command("manifest")
@plainly
def release_manifest(
    release: Annotated[str, typer.Argument(help="Release, e.g. 2020.1.0.")],
    to: Annotated[Path | None, typer.Option("--out", help="File to write; none: print.")] = None,
    key_out: Annotated[Path | None, typer.Option(help="Write the public key that signed it, as PEM.")] = None,
) -> None:
    """Write the signed manifest of a release, to be kept outside the warehouse.

    Example: `edupa release manifest 2020.1.0 --out 2020.1.0.json --key-out edupa.pem`
    """
    from warehouse.seal import ledger_keys, public_pem, signed_manifest

    with connect("auditor", load_settings().warehouse) as conn:
        signed = signed_manifest(conn, release)
        keys = ledger_keys(conn)
    envelope = {
        "manifest": signed.manifest,
        "signature": signed.signature,
        "key_id": signed.key_id,
        "algorithm": "Ed25519 over the manifest as UTF-8 JSON, keys sorted, no blanks",
    }
    text = json.dumps(envelope, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if key_out:
        if signed.key_id not in keys:
            raise fail(f"the ledger does not know key {signed.key_id}")
        key_out.write_text(public_pem(keys[signed.key_id]), encoding="utf-8")
    if to:
        to.write_text(text, encoding="utf-8")
        print(f"{to}: manifest of {release}, signed with key {signed.key_id}")
    else:
        print(text, end="")


@release_app.command("rotate-key")
@plainly
def release_rotate_key() -> None:
    """Sign future releases with a new key; old releases stay verifiable by the old public key.

    Example: `edupa release rotate-key`
    """
    from warehouse.seal import rotate_key

    before, after = rotate_key(load_settings().warehouse)
    print(f"releases are signed with key {after} from now on (before: {before or 'none'})")


@release_app.command("reproduce")
@plainly
def release_reproduce(
    release: Annotated[str, typer.Argument(help="Release, e.g. 2020.1.0.")],
    anyway: Annotated[bool, typer.Option(help="Also with other code, seeds or contracts.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep what was built, in schemas reproduce_<release>_*.")] = False,
) -> None:
    """Build a release again from landing as it was known then, and compare every byte with the seal.

    Nothing that is published or being built is touched. Exit code 1 if anything came out otherwise.

    Example: `edupa release reproduce 2019.1.0`
    """
    from edupa.reproduce import reproduce

    done = reproduce(load_settings(), release, anyway=anyway, keep=keep)
    for difference in done.differences:
        print(f"DIFFERS {difference}")
    if done.differences:
        told = f" (made with other {', '.join(line.split(':')[0] for line in done.changed)})" if done.changed else ""
        raise fail(f"release {release} came out otherwise in {len(done.differences)} places{told}")
    print(f"release {release}: identical, {done.tables} tables")


@backup_app.command("create")
@plainly
def backup_create(
    to: Annotated[Path | None, typer.Option("--out", help="Folder for backups; none: <EDUPA_HOME>/backups.")] = None,
) -> None:
    """Back up database, roles and rights in one snapshot; loading and publishing go on meanwhile.

    It holds names and ID numbers: keep it as safe as the database. Back up the secrets folder apart from it.

    Example: `edupa backup create --out /backup/edupa`
    """
    from warehouse.backup import create

    made = create(load_settings().warehouse, to)
    print(f"{made.folder} ({made.bytes / 1e6:.1f} MB, {len(made.about['releases'])} releases)")


@backup_app.command("list")
@plainly
def backup_list() -> None:
    """List the backups, oldest first.

    Example: `edupa backup list`
    """
    from warehouse.backup import list_backups

    for backup in list_backups(load_settings().warehouse):
        print(f"{backup.folder}  {backup.about['created_at']}  {len(backup.about['releases'])} releases")


@backup_app.command("restore")
@plainly
def backup_restore(folder: Annotated[Path, typer.Argument(help="The backup.")]) -> None:
    """Restore a backup into an empty warehouse (EDUPA_HOME or EDUPA_WAREHOUSE_URL name it) and verify it there.

    Example: `EDUPA_HOME=/srv/edupa2 edupa backup restore /backup/edupa/edupa-20261124T040000000000Z`
    """
    from edupa.housekeeping import said_of
    from warehouse.backup import restore
    from warehouse.verify import verify_releases

    settings = load_settings()
    backup = restore(settings.warehouse, folder)
    done = verify_releases(settings.warehouse)
    for line in said_of(done):
        print(line)
    if done.findings:
        raise fail("restored, but not everything is what was frozen")
    print(
        f"restored {backup.folder.name}: {len(done.releases)} releases, {done.tables} tables verified;"
        " put token_key, rounding_key and release_signing_key into the secrets folder before loading and publishing"
    )


@backup_app.command("drill")
@plainly
def backup_drill(
    folder: Annotated[Path | None, typer.Argument(help="The backup; none: the newest.")] = None,
) -> None:
    """Restore a backup into a throw-away server, verify every release there, remove it.

    Example: `edupa backup drill`
    """
    from edupa.housekeeping import said_of
    from warehouse.backup import drill

    done = drill(load_settings().warehouse, folder)
    for line in said_of(done.verification):
        print(line)
    if done.verification.findings:
        raise fail(f"{done.backup.folder.name} does not restore what was frozen")
    print(
        f"{done.backup.folder.name} restores: {len(done.verification.releases)} releases,"
        f" {done.verification.tables} tables verified, {done.rights} rights equal"
    )


@housekeeping_app.command("sweep")
@plainly
def housekeeping_sweep() -> None:
    """Drop schemas that dead runs left behind.

    Example: `edupa housekeeping sweep`
    """
    from edupa.leftovers import sweep

    print("\n".join(sweep(load_settings())) or "nothing left behind")


@housekeeping_app.command("run")
@plainly
def housekeeping_run() -> None:
    """Do what the weekly DAG does: verify, sweep, back up, try the backup, let go of old ones.

    Example: `edupa housekeeping run`
    """
    from edupa import housekeeping

    settings = load_settings()
    housekeeping.verify_all(settings)
    housekeeping.sweep(settings)
    housekeeping.back_up(settings)
    housekeeping.drill(settings)
    housekeeping.retain(settings)
