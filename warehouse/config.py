"""Where the warehouse lives and with which secrets it is reached.

Nothing secret is kept in code or in environment variables: passwords and the token key are files below
``secrets_dir``, readable by their owner only.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent

ADMIN_USER = "edupa_admin"
LOGIN_ROLES = (
    "ingest",
    "transform",
    "gatekeeper",
    "publisher",
    "evaluator",
    "bi",
    "steward",
    "approver",
    "auditor",
    "watchdog",
    "prerelease",
)


class ConfigError(RuntimeError):
    """The settings do not describe a warehouse that can be reached."""


@dataclass(frozen=True)
class WarehouseConfig:
    """Settings of one warehouse.

    Attributes:
        home: folder for everything that edupa keeps on disk (data, secrets, runs).
        secrets_dir: folder with one file per secret.
        url: libpq URL of an existing PostgreSQL (>= 15) with its administrator; None: embedded server.
        database: name of the warehouse database.
        durable: keep fsync on; tests switch it off for their throw-away servers.
    """

    home: Path
    secrets_dir: Path
    url: str | None = None
    database: str = "edupa"
    durable: bool = True

    def secret_path(self, name: str) -> Path:
        """Path of the secret's file; the file need not exist."""
        return self.secrets_dir / name

    def secret(self, name: str) -> str:
        """Content of a secret.

        Raises:
            ConfigError: the file is missing or empty.
        """
        path = self.secret_path(name)
        try:
            value = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise ConfigError(f"secret {name!r} is missing: expected file {path}; run `edupa server start`") from error
        if not value:
            raise ConfigError(f"secret {name!r} is empty: {path}")
        return value

    def ensure_secret(self, name: str, *, length: int = 32) -> str:
        """Content of a secret, made at random and written with mode 0600 where it is missing."""
        path = self.secret_path(name)
        if not path.exists():
            self.secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(secrets.token_hex(length))
        return self.secret(name)


def load_config() -> WarehouseConfig:
    """Settings from the environment: EDUPA_HOME, EDUPA_SECRETS_DIR, EDUPA_WAREHOUSE_URL, EDUPA_DATABASE.

    Relative paths are taken from the project's root, so that every process means the same folder.
    """
    home = PROJECT_ROOT / os.environ.get("EDUPA_HOME", ".edupa")
    secrets_dir = PROJECT_ROOT / os.environ.get("EDUPA_SECRETS_DIR", str(home / "secrets"))
    return WarehouseConfig(
        home=home,
        secrets_dir=secrets_dir,
        url=os.environ.get("EDUPA_WAREHOUSE_URL") or None,
        database=os.environ.get("EDUPA_DATABASE", "edupa"),
        durable=os.environ.get("EDUPA_DURABLE", "1") != "0",
    )
