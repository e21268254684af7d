"""Airflow as edupa runs it: its settings, one DAG run in process, and the two services of ``make up``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edupa.progress import say
from edupa.settings import Settings
from warehouse.config import PROJECT_ROOT
from warehouse.migrate import ensure_airflow_database

SERVICES = {
    "scheduler": ("airflow", "scheduler"),
    "dag-processor": ("airflow", "dag-processor"),
    "triggerer": ("airflow", "triggerer"),
    "api-server": ("airflow", "api-server"),
    # county officers may read only while somebody keeps the trail of what they read
    "watchdog": ("edupa", "watchdog", "run"),
}


class AirflowError(RuntimeError):
    """Airflow could not be prepared, or a DAG run failed."""


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)


def environment(settings: Settings) -> dict[str, str]:
    """The whole environment of an Airflow process; secrets are named by command, never held in it."""
    home = settings.warehouse.home / "airflow"
    secrets = settings.warehouse.secrets_dir
    port = int(os.environ.get("EDUPA_AIRFLOW_PORT", "8080"))
    settings.warehouse.ensure_secret("airflow_jwt", length=48)
    settings.warehouse.ensure_secret("airflow_api_secret")
    fernet = secrets / "airflow_fernet"
    if not fernet.exists():
        from base64 import urlsafe_b64encode

        _write_secret(fernet, urlsafe_b64encode(os.urandom(32)).decode())
    _write_secret(secrets / "airflow_conn", ensure_airflow_database(settings.warehouse))
    users = secrets / "airflow_users.json"
    if not users.exists():
        # Airflow would make a password itself and print it into its log
        _write_secret(users, json.dumps({"admin": settings.warehouse.ensure_secret("airflow_admin", length=12)}))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    return inherited | {
        "PYTHONPATH": str(PROJECT_ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "EDUPA_HOME": str(settings.warehouse.home),
        "EDUPA_EXTRACTS": str(settings.extracts),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Asia/Shanghai",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__FERNET_KEY_CMD": f"cat {secrets / 'airflow_fernet'}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(users),
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": f"cat {secrets / 'airflow_jwt'}",
        "AIRFLOW__API__SECRET_KEY_CMD": f"cat {secrets / 'airflow_api_secret'}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"cat {secrets / 'airflow_conn'}",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port + 1),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port + 2),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "60",
        "DO_NOT_TRACK": "1",
        "SCARF_NO_ANALYTICS": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def _airflow(settings: Settings, arguments: list[str], log: Path, extra: dict[str, str] | None = None) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=environment(settings) | (extra or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT_ROOT,
            check=False,
        ).returncode


def passthrough(settings: Settings, arguments: list[str]) -> int:
    """Run one command of Airflow's own command line here; returns its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments], env=environment(settings), cwd=PROJECT_ROOT, check=False
    ).returncode


def prepare(settings: Settings) -> None:
    """Bring Airflow's metadata database to the installed version; quick where it already is.

    Raises:
        AirflowError: the migration failed; the message names its log.
    """
    home = settings.warehouse.home / "airflow"
    from importlib.metadata import version

    stamp, wanted = home / "migrated", version("apache-airflow-core")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    home.mkdir(parents=True, exist_ok=True)
    log = home / "db-migrate.log"
    if _airflow(settings, ["db", "migrate"], log) != 0:
        raise AirflowError(f"airflow db migrate failed: see {log}")
    stamp.write_text(wanted, encoding="utf-8")


@dataclass(frozen=True)
class DagRun:
    """How one in-process run of a DAG ended."""

    dag_id: str
    succeeded: bool
    log: Path
    seconds: float


def run_dag(settings: Settings, dag_id: str, params: dict[str, object]) -> DagRun:
    """Run one DAG in a process of its own with ``airflow dags test`` and show the tasks' progress as it comes."""
    began = time.monotonic()
    folder = settings.runs / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{dag_id}-{'-'.join(str(value) for value in params.values() if isinstance(value, int))}"
    log, progress = folder / f"{name}.log", folder / f"{name}.progress"
    progress.write_text("", encoding="utf-8")
    with log.open("wb") as output, progress.open(encoding="utf-8") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "dags", "test", dag_id, "--conf", json.dumps(params)],
            env=environment(settings) | {"EDUPA_PROGRESS": str(progress)},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT_ROOT,
        )
        try:
            while True:
                code = process.poll()
                for line in lines:
                    say(f"[{time.monotonic() - began:4.0f} s] {line.rstrip()}")
                if code is not None:
                    break
                time.sleep(0.2)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return DagRun(dag_id, code == 0, log, time.monotonic() - began)


def _pid_file(settings: Settings, service: str) -> Path:
    return settings.warehouse.home / "airflow" / f"{service}.pid"


def _alive(pid: int, service: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # Airflow gives its processes titles of its own
    return SERVICES[service][0].encode() in command


def up(settings: Settings) -> str:
    """Start Airflow's four services and the watchdog; returns the address of the web UI."""
    home = settings.warehouse.home / "airflow"
    variables = environment(settings) | {"EDUPA_PROGRESS": "-"}
    for service, command in SERVICES.items():
        file = _pid_file(settings, service)
        if file.exists() and _alive(int(file.read_text(encoding="utf-8")), service):
            continue
        log = (home / f"{service}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=PROJECT_ROOT,
            start_new_session=True,
        )
        file.write_text(str(process.pid), encoding="utf-8")
    return variables["AIRFLOW__API__BASE_URL"]


def down(settings: Settings) -> list[str]:
    """Stop what ``up`` started; returns the services that ran."""
    stopped: list[str] = []
    for service in SERVICES:
        file = _pid_file(settings, service)
        if not file.exists():
            continue
        pid = int(file.read_text(encoding="utf-8"))
        if _alive(pid, service):
            stopped.append(service)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while _alive(pid, service) and time.monotonic() < deadline:
                time.sleep(0.2)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        file.unlink()
    return stopped
