"""Back up a warehouse with the tools of its own server, restore it elsewhere, and try that this works.

A backup is a folder: the database (``pg_dump``, custom format), the roles (``pg_dumpall``, without passwords), the
rights of every role as text, and ``backup.json``, which says what is in it and how the files hash. Everything is read
in one snapshot, so it is consistent whatever is loaded or published meanwhile. It holds the vault: keep it as safe as
the database itself. The secrets folder is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from warehouse.canonical import Connection
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, connection_parts
from warehouse.migrate import migrate
from warehouse.seal import own_key_files
from warehouse.server import ServerError, find_binaries, read_state, start, stop
from warehouse.verify import Verification, verify_releases

FORMAT = "edupa-backup-1"
DUMP, ROLES, RIGHTS, ABOUT = "warehouse.dump", "roles.sql", "rights.txt", "backup.json"

# every right that matters, one line each: the same text before a backup and after its restore
_RIGHTS = """
select line from (
    select format('schema %I owner %I', nspname, pg_get_userbyid(nspowner)) as line from space
    union all
    select format('schema %I %s to %s', nspname, x.privilege_type, role_name(x.grantee))
    from space, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) x where x.grantee <> nspowner
    union all
    select format('relation %I.%I owner %I', nspname, relname, pg_get_userbyid(relowner))
    from space join pg_class c on c.relnamespace = space.oid where c.relkind in ('r', 'p', 'v', 'm', 'S')
    union all
    select format('relation %I.%I %s to %s', nspname, relname, x.privilege_type, role_name(x.grantee))
    from space join pg_class c on c.relnamespace = space.oid and c.relkind in ('r', 'p', 'v', 'm', 'S'),
        aclexplode(coalesce(relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", relowner))) x
    where x.grantee <> relowner
    union all
    select format('column %I.%I.%I %s to %s', nspname, relname, attname, x.privilege_type, role_name(x.grantee))
    from space join pg_class c on c.relnamespace = space.oid join pg_attribute a on a.attrelid = c.oid,
        aclexplode(a.attacl) x
    union all
    select format('row security %I.%I %s %s', nspname, relname, relrowsecurity, relforcerowsecurity)
    from space join pg_class c on c.relnamespace = space.oid where relrowsecurity
    union all
    select format('policy %I.%I %I %s', nspname, relname, polname, pg_get_expr(polqual, polrelid))
    from space join pg_class c on c.relnamespace = space.oid join pg_policy p on p.polrelid = c.oid
    union all
    select format('function %I.%I %s to %s', nspname, proname, x.privilege_type, role_name(x.grantee))
    from space join pg_proc f on f.pronamespace = space.oid,
        aclexplode(coalesce(proacl, acldefault('f', proowner))) x where x.grantee <> proowner
    union all
    select format('default %I %s %s %s to %s', pg_get_userbyid(defaclrole), coalesce(n.nspname, '*'), defaclobjtype,
                  x.privilege_type, role_name(x.grantee))
    from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(defaclacl) x
    union all
    select format('database %s to %s', x.privilege_type, role_name(x.grantee))
    from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) x
    where datname = current_database() and x.grantee <> datdba
    union all
    select format('role %I login %s inherit %s super %s %s', rolname, rolcanlogin, rolinherit, rolsuper, rolconfig)
    from pg_roles where rolname like 'edupa\\_%'
    union all
    select format('member %I of %I', pg_get_userbyid(member), pg_get_userbyid(roleid)) from pg_auth_members
    where pg_get_userbyid(roleid) like 'edupa\\_%'
) as said order by line collate "C"
"""
_RIGHTS = (
    "with space as (select oid, nspname, nspowner, nspacl from pg_namespace"
    " where nspname !~ '^pg_' and nspname <> 'information_schema')" + _RIGHTS
).replace("role_name(x.grantee)", "case x.grantee when 0 then 'public' else pg_get_userbyid(x.grantee)::text end")


class BackupError(RuntimeError):
    """A backup cannot be made or restored; the message says why, and that nothing was changed."""


@dataclass(frozen=True)
class Backup:
    """A backup on disk.

    Attributes:
        folder: where it lies.
        about: content of backup.json.
    """

    folder: Path
    about: dict[str, Any]

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def backups_folder(config: WarehouseConfig) -> Path:
    """Where backups go unless told otherwise."""
    return config.home / "backups"


def rights_of(conn: Connection) -> list[str]:
    """Owner and grants of everything in the database, and the roles, one line each."""
    return [str(row[0]) for row in conn.execute(_RIGHTS.encode()).fetchall()]


def _program(config: WarehouseConfig, name: str) -> str:
    """A client program of the server in use.

    Raises:
        BackupError: it is not there.
    """
    state = None if config.url else read_state(config)
    folders = [Path(state.bin_dir)] if state else []
    try:
        folders.append(find_binaries())
    except ServerError:
        folders += [Path(named)] if (named := os.environ.get("EDUPA_PG_BINDIR")) else []
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    if found := shutil.which(name):
        return found
    raise BackupError(
        f"no {name} found: set EDUPA_PG_BINDIR to a folder that holds it, of the server's version or newer"
    )


@contextmanager
def _login(config: WarehouseConfig) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Arguments and environment with which a client program logs in as the administrator; no password in either."""
    parts = connection_parts("admin", config)
    descriptor, name = tempfile.mkstemp(prefix="edupa-pgpass-")
    try:
        with os.fdopen(descriptor, "w") as handle:
            secret = parts.password.replace("\\", "\\\\").replace(":", "\\:")
            handle.write(f"*:*:*:{parts.user}:{secret}\n")
        yield (
            ["-h", parts.host, "-p", str(parts.port), "-U", parts.user, "--no-password"],
            {"PGPASSFILE": name, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
        )
    finally:
        Path(name).unlink(missing_ok=True)


def _call(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # the first line names the object; rows of a table never stand there
        told = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip()[:300])
        raise BackupError(f"{Path(command[0]).name} failed: {told}")


def _file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _releases(conn: Connection) -> dict[str, str]:
    rows = conn.execute("select release_id, content_sha256 from ledger.release order by frozen_at").fetchall()
    return {str(release): str(content) for release, content in rows}


def create(config: WarehouseConfig, folder: Path | None = None) -> Backup:
    """Back up the warehouse into a new folder below ``folder``; readers and writers go on meanwhile.

    Raises:
        BackupError: a program is missing or failed; what was written is removed.
    """
    place = folder or backups_folder(config)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"edupa-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    partial = place / f".{name}.part"
    partial.mkdir(mode=0o700)
    try:
        with connect("admin", config) as conn, _login(config) as (login, environment):
            conn.execute("set transaction isolation level repeatable read, read only")
            row = conn.execute(
                "select pg_export_snapshot(), current_setting('server_version'), current_database(),"
                " (select coalesce(max(load_id), 0) from ledger.load)"
            ).fetchone()
            assert row is not None
            (partial / RIGHTS).write_text("\n".join(rights_of(conn)) + "\n", encoding="utf-8")
            releases = _releases(conn)
            _call(
                [
                    _program(config, "pg_dump"), *login, "-d", str(row[2]), "--format=custom", "--create",
                    f"--snapshot={row[0]}", "--file", str(partial / DUMP),
                ],
                environment,
            )  # fmt: skip
            _call(
                [
                    _program(config, "pg_dumpall"), *login, "-l", str(row[2]), "--roles-only", "--no-role-passwords",
                    "--file", str(partial / ROLES),
                ],
                environment,
            )  # fmt: skip
        about = {
            "format": FORMAT,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "server_version": row[1],
            "database": row[2],
            "last_load_id": row[3],
            "releases": releases,
            "files": {name: _file_sha256(partial / name) for name in (DUMP, ROLES, RIGHTS)},
        }
        for file in (DUMP, ROLES, RIGHTS):
            (partial / file).chmod(0o600)
        (partial / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.rename(place / name)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Backup(place / name, about)


def read_backup(folder: Path) -> Backup:
    """A backup, after a look at its files.

    Raises:
        BackupError: the folder is none, or a file is missing or not what was written.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BackupError(f"{folder} is no backup: it has no readable {ABOUT}") from error
    if about.get("format") != FORMAT:
        raise BackupError(f"{folder} is a backup of format {about.get('format')!r}, expected {FORMAT!r}")
    for name, digest in about["files"].items():
        if not (folder / name).is_file():
            raise BackupError(f"{folder / name} is missing: the backup is not whole, take another")
        if _file_sha256(folder / name) != digest:
            raise BackupError(f"{folder / name} is not the file that was written: the backup is damaged, take another")
    return Backup(folder, about)


def list_backups(config: WarehouseConfig, folder: Path | None = None) -> list[Backup]:
    """Backups below the folder, oldest first; their files are not read."""
    found = []
    for path in sorted((folder or backups_folder(config)).glob(f"edupa-*/{ABOUT}")):
        found.append(Backup(path.parent, json.loads(path.read_text(encoding="utf-8"))))
    return found


def prune(config: WarehouseConfig, keep: int, folder: Path | None = None) -> list[Path]:
    """Remove all backups but the newest; the newest is never removed.

    Returns:
        Folders removed.
    """
    gone = [backup.folder for backup in list_backups(config, folder)[: -max(keep, 1)]]
    for path in gone:
        shutil.rmtree(path)
    return gone


def _empty_place(config: WarehouseConfig, backup: Backup) -> None:
    """See that nothing is where the backup is to go.

    Raises:
        BackupError: the server is older than the backup's, or holds a database that is not empty.
    """
    name = str(backup.about["database"])
    if name != config.database:
        raise BackupError(
            f"the backup is of database {name!r}, this warehouse is {config.database!r}: set EDUPA_DATABASE={name}"
        )
    with connect("admin", config, database="postgres", autocommit=True) as conn:
        row = conn.execute("select current_setting('server_version_num')::int / 10000").fetchone()
        assert row is not None
        major = int(str(backup.about["server_version"]).split(".")[0])
        if int(str(row[0])) < major:
            raise BackupError(f"the backup comes from PostgreSQL {major}, this server is {row[0]}: take a newer one")
        exists = conn.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if not exists:
            return
        with connect("admin", config) as inside:
            held = inside.execute(
                "select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in"
                " ('information_schema', 'public') order by nspname limit 1"
            ).fetchone()
        if held:
            raise BackupError(
                f"database {name!r} of this server is not empty (it has schema {held[0]}): restore into a warehouse of"
                " its own (another EDUPA_HOME, or an empty server); nothing was changed"
            )
        conn.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))


def _restore_roles(config: WarehouseConfig, script: Path) -> None:
    """Make the roles that are missing, and give all of them their attributes, settings and memberships."""
    with connect("admin", config, database="postgres", autocommit=True) as conn:
        present = {str(row[0]) for row in conn.execute("select quote_ident(rolname) from pg_roles")}
        for line in script.read_text(encoding="utf-8").splitlines():
            # psql's own commands, comments and settings of the session
            if not line.startswith(("CREATE ROLE", "ALTER ROLE", "GRANT")):
                continue
            words = line.rstrip(";").split()
            if words[0] == "CREATE" and words[2] in present:
                continue
            conn.execute(line.encode())


def restore(config: WarehouseConfig, folder: Path) -> Backup:
    """Restore a backup into a server without a warehouse; roles, owners and grants included.

    Passwords are those of the target's secrets folder. Put the token key of the warehouse there before loading again,
    and its signing key before publishing.

    Raises:
        BackupError: the backup is damaged, the place is not empty, or what came out is not what was backed up.
    """
    backup = read_backup(folder)
    start(config)
    _empty_place(config, backup)
    _restore_roles(config, folder / ROLES)
    with _login(config) as (login, environment):
        _call(
            [
                _program(config, "pg_restore"), *login, "-d", "postgres", "--create", "--exit-on-error",
                str(folder / DUMP),
            ],
            environment,
        )  # fmt: skip
    with connect("admin", config) as conn:
        lost = sorted(set((folder / RIGHTS).read_text(encoding="utf-8").splitlines()) ^ set(rights_of(conn)))
        releases = _releases(conn)
    if lost:
        raise BackupError(f"{len(lost)} rights are not those that were backed up, e.g.: {lost[0]}")
    if releases != backup.about["releases"]:
        raise BackupError("the releases are not those that were backed up")
    migrate(config)
    return backup


@dataclass(frozen=True)
class Drill:
    """What came of restoring a backup for a trial.

    Attributes:
        backup: the backup.
        verification: of the restored releases.
        rights: rights compared, all equal.
    """

    backup: Backup
    verification: Verification
    rights: int


def drill(config: WarehouseConfig, folder: Path | None = None) -> Drill:
    """Restore the newest (or the named) backup into a throw-away server, verify it there, and remove it.

    Raises:
        BackupError: there is no backup, or it cannot be restored.
    """
    if folder is None:
        found = list_backups(config)
        if not found:
            raise BackupError(f"no backup in {backups_folder(config)}: `edupa backup create` makes one")
        folder = found[-1].folder
    # not below our own home: the account that runs a server started as root could not walk into it
    home = Path(tempfile.mkdtemp(prefix="edupa-drill-"))
    home.chmod(0o755)
    trial = WarehouseConfig(home=home, secrets_dir=home / "secrets", database=config.database, durable=False)
    try:
        backup = restore(trial, folder)
        with own_key_files(config) as keys:
            verification = verify_releases(trial, public_keys=keys)
        rights = len((folder / RIGHTS).read_text(encoding="utf-8").splitlines())
    finally:
        stop(trial, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)
    return Drill(backup, verification, rights)
