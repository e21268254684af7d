"""``edupa access``, ``edupa watchdog``: privileges, county logins, passwords, limits, the trail of restricted reads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from edupa.cli_common import fail, out, plainly
from edupa.settings import load_settings

access_app = typer.Typer(
    no_args_is_help=True,
    help="Who may see what: privileges, logins of counties, passwords, who read restricted ledgers.",
)
watchdog_app = typer.Typer(
    no_args_is_help=True, help="Ends sessions beyond the limits and keeps the trail of restricted reads alive."
)

Login = Annotated[str, typer.Argument(help="Name of the login, e.g. xiji; in the database edupa_county_xiji.")]


@access_app.command("check")
@plainly
def access_check() -> None:
    """Compare the server's privileges with warehouse/roles.yaml; exit code 1 and the statements due if they differ.

    Example: `edupa access check`
    """
    from warehouse.access import differences
    from warehouse.connection import connect

    with connect("admin", load_settings().warehouse) as conn:
        found = differences(conn)
    for change in found:
        print(f"{change};")
    if found:
        raise fail(f"{len(found)} privileges differ from the matrix: `edupa access apply` puts them right")
    print("every privilege is as the matrix says")


@access_app.command("apply")
@plainly
def access_apply() -> None:
    """Bring privileges and limits to warehouse/roles.yaml.

    Example: `edupa access apply`
    """
    from warehouse.access import apply_grants
    from warehouse.connection import connect
    from warehouse.limits import apply_limits
    from warehouse.restricted import ensure_restricted

    with connect("admin", load_settings().warehouse, autocommit=True) as conn:
        made = ensure_restricted(conn)
        changes = apply_grants(conn)
        limited = apply_limits(conn)
    for name in made:
        print(f"restricted.{name}: made anew, filled by the next build")
    for change in changes:
        print(f"{change};")
    for login, settings in limited.items():
        print(f"{login}: {', '.join(settings)}")
    print(f"{len(changes)} privileges, limits of {len(limited)} logins changed")


@access_app.command("add-county")
@plainly
def access_add_county(
    login: Login,
    county: Annotated[list[str], typer.Option("--county", help="County code; may be given several times.")],
) -> None:
    """Make a login that sees the restricted ledgers of a county; its password is written to a file, never printed.

    Example: `edupa access add-county xiji --county 640422`
    """
    from warehouse.restricted import add_county_login, county_role

    settings = load_settings()
    secret = add_county_login(settings.warehouse, login, county)
    place = settings.warehouse.secret_path(secret)
    print(f"{county_role(login)} sees {', '.join(county)}; password in {place}, hand it over and remove the file")


@access_app.command("list")
@plainly
def access_list() -> None:
    """List the logins of counties, also those that are no more.

    Example: `edupa access list`
    """
    from warehouse.restricted import list_county_logins

    logins = list_county_logins(load_settings().warehouse)
    if not logins:
        print("no county has a login: `edupa access add-county` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("login", "county", "from", "to"):
        table.add_column(heading, no_wrap=True)
    for entry in logins:
        table.add_row(entry.login, entry.county_code, entry.valid_from, entry.valid_to or "")
    out.print(table)


@access_app.command("remove")
@plainly
def access_remove(login: Login) -> None:
    """End a county's login: its sessions, its role, its secret. What it read stays on record.

    Example: `edupa access remove xiji`
    """
    from warehouse.restricted import county_role, remove_county_login

    ended = remove_county_login(load_settings().warehouse, login)
    print(f"{county_role(login)} is no more; {ended} sessions ended")


@access_app.command("rotate")
@plainly
def access_rotate(
    role: Annotated[str | None, typer.Argument(help="admin, a role of roles.yaml, or county_<login>.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every role but the counties' logins.")] = False,
) -> None:
    """Give roles new passwords while others are connected; they are written to the secret files, never printed.

    Example: `edupa access rotate --all`
    """
    from warehouse.config import LOGIN_ROLES
    from warehouse.passwords import finish_rotation, rotate

    if (role is None) != everything:
        raise typer.BadParameter("name one role, or give --all")
    config = load_settings().warehouse
    for done in finish_rotation(config):
        print(f"{done}: a rotation that had died is finished")
    for name in [role] if role else ["admin", *LOGIN_ROLES]:
        rotate(config, name)
        print(f"{name}: new password in {config.secret_path(name)}")


@access_app.command("reads")
@plainly
def access_reads(
    login: Annotated[str | None, typer.Option(help="Only this login of the database.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
) -> None:
    """Who read restricted ledgers, as far as the watchdog has collected it.

    Example: `edupa access reads --login edupa_county_xiji`
    """
    from warehouse.connection import connect

    with connect("auditor", load_settings().warehouse) as conn:
        rows = conn.execute(
            "select to_char(read_at at time zone 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS'), login, relation,"
            " array_to_string(county_codes, ' '), application_name, client from ledger.restricted_read"
            " where login = coalesce(%s, login) order by read_id desc limit %s",
            (login, limit),
        ).fetchall()
        proof = conn.execute("select proved_at from access.audit_proof").fetchone()
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "login", "relation", "counties", "application", "from"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(table)
    print(f"{len(rows)} reads; the trail was last proved alive at {proof[0] if proof and proof[0] else 'no time'}")


@access_app.command("worklists")
@plainly
def access_worklists(
    login: Annotated[str | None, typer.Option(help="Only this login of the database.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
) -> None:
    """Who took which worklist of cases, and the hash of the file.

    Example: `edupa access worklists --login edupa_county_xiji`
    """
    from warehouse.connection import connect

    with connect("auditor", load_settings().warehouse) as conn:
        rows = conn.execute(
            "select to_char(taken_at at time zone 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI:SS'), login, county_code, kind,"
            " case when with_names then 'yes' else 'no' end, row_count, left(file_sha256, 16) from ledger.worklist"
            " where login = coalesce(%s, login) order by worklist_id desc limit %s",
            (login, limit),
        ).fetchall()
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "login", "county", "kind", "names", "cases", "sha256"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    out.print(table)
    print(f"{len(rows)} worklists")


def _tell(done: object, *, quiet: bool = False) -> None:
    from warehouse.watchdog import Round

    assert isinstance(done, Round)
    for verb, excesses in (("warned", done.warned), ("ended", done.ended)):
        for excess in excesses:
            print(
                f"{datetime.now():%H:%M:%S} {verb} {excess.login} (backend {excess.pid}, {excess.application_name!r}):"
                f" {excess.reason} since {excess.since:%Y-%m-%d %H:%M:%S}, allowed {excess.allowed}",
                flush=True,
            )
    if done.problem:
        print(f"{datetime.now():%H:%M:%S} ! {done.problem}", flush=True)
    elif done.trail and (done.trail.reads or not quiet):
        foreign = f", {done.trail.unreadable} not ours" if done.trail.unreadable else ""
        print(
            f"{datetime.now():%H:%M:%S} trail alive, {done.trail.reads} restricted reads collected{foreign}", flush=True
        )


@watchdog_app.command("once")
@plainly
def watchdog_once() -> None:
    """One round; exit code 1 if the trail of restricted reads is not alive.

    Example: `edupa watchdog once`
    """
    from warehouse.watchdog import watch_once

    done = watch_once(load_settings().warehouse)
    _tell(done)
    if done.problem:
        raise typer.Exit(1)


@watchdog_app.command("run")
@plainly
def watchdog_run(
    interval: Annotated[float, typer.Option(min=1, help="Seconds between rounds.")] = 10,
) -> None:
    """Watch until stopped; a server that is away is waited for.

    Example: `edupa watchdog run --interval 10`
    """
    from warehouse.watchdog import watch

    watch(load_settings().warehouse, interval_s=interval, say=lambda done: _tell(done, quiet=True))
