"""How a feed's files travel: settings from the environment, secrets from files or Airflow, bounded retries.

``EDUPA_SOURCE_<FEED>`` names the source, e.g. ``sftp://edupa@host/outgoing``, ``s3://bucket/prefix``,
``https://host/extracts/``, ``postgresql+psycopg://user@host/registry`` or ``conn://airflow_connection/path``. A feed
without one is read from the extract root.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import yaml

from ingest.problems import FileRejectedError
from warehouse.config import PROJECT_ROOT, WarehouseConfig

PREFIX = "EDUPA_SOURCE_"
FILE_SCHEMES = ("sftp", "s3", "http", "https")
#: what a secret file may hold, by scheme
_SECRETS = {
    "sftp": {"username", "password", "key_file", "passphrase", "known_hosts"},
    "s3": {"key", "secret", "token", "endpoint_url", "region"},
    "http": {"username", "password", "bearer"},
    "https": {"username", "password", "bearer"},
    "database": {"username", "password"},
}
#: the part of a secret that a file with nothing but one word stands for
_SINGLE = {"sftp": "password", "s3": "secret", "http": "bearer", "https": "bearer", "database": "password"}
_OPTIONS = {
    "sftp": {"known_hosts", "names"},
    "s3": {"endpoint_url", "region", "anon"},
    "http": set[str](),
    "https": set[str](),
}
_LIMITS = {"timeout": float, "tries": int, "backoff": float, "settle": float, "max_bytes": int}

Result = TypeVar("Result")


class SourceError(RuntimeError):
    """A source cannot be reached or read; the message names it and never a secret."""


class SourceTimeoutError(SourceError):
    """A source stopped answering."""


class SourceSettingsError(ValueError):
    """The settings of a source are wrong; the message names the variable."""


class FileGrowingError(Exception):
    """A file changed between two looks: its sender is still writing."""


class PermanentError(Exception):
    """Trying again would not help; carries the reason."""


@dataclass(frozen=True)
class Entry:
    """A file as a source lists it.

    Attributes:
        name: relative to the source, parts separated by ``/``.
        size: bytes; None where the source does not say before it is asked (http) or cannot say (a query).
        modified: seconds since 1970 by the source's clock, or None.
        version: identity of the content as far as the source knows it (an ETag, or size and time), or None.
    """

    name: str
    size: int | None = None
    modified: float | None = None
    version: str | None = None


def timed_version(entry: Entry) -> str | None:
    """Identity of a file by size and time of change, where its source knows no better."""
    if entry.size is None or entry.modified is None:
        return None
    return f"{entry.size} bytes at {entry.modified:.0f}"


class Source(Protocol):
    """Where files come from. Knows no feed; a feed's contract is applied to what it hands out.

    Attributes:
        label: the source for people, without user and secret; empty for the extract root.
        settle: seconds that a file must have kept its size, where its contract does not say.
    """

    label: str
    settle: float

    def entries(self) -> tuple[Entry, ...]:
        """All files, in order of their names.

        Raises:
            SourceError: the source cannot be listed.
        """

    def stat(self, name: str) -> Entry:
        """A listed file as it is now.

        Raises:
            FileRejectedError: it is gone.
            SourceError: the source cannot be asked.
        """

    def fetch(self, entry: Entry) -> AbstractContextManager[Path]:
        """A path under which the file can be read for the length of the block.

        Raises:
            FileRejectedError: it is gone or too large.
            FileGrowingError: it is no longer what was listed.
            SourceError: it could not be fetched.
        """

    def close(self) -> None:
        """Drop connections."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a transfer.

    Attributes:
        timeout: seconds without an answer or a new byte.
        tries: how often an operation is tried in all.
        backoff: seconds before the second try; doubled each time, half of it at random.
        max_bytes: largest file that is fetched.
        settle: seconds that a file must have kept its size before it is taken.
    """

    timeout: float = 30.0
    tries: int = 3
    backoff: float = 1.0
    max_bytes: int = 8 * 1024**3
    settle: float = 10.0


@dataclass(frozen=True)
class SourceSettings:
    """One source. Secrets are in ``options`` and are not printed.

    Attributes:
        variable: the environment variable that asked for it.
        scheme: one of FILE_SCHEMES, or ``database``.
        url: without a password and without options.
        options: user, keys, endpoints.
        limits: bounds of a transfer.
        query: text of the SQL query of a database.
    """

    variable: str
    scheme: str
    url: str
    options: dict[str, Any] = field(repr=False)
    limits: Limits
    query: str | None = None

    @property
    def label(self) -> str:
        """The source for people: its address without user and options."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_out_of_room(error: BaseException) -> bool:
    """Whether this machine, not the source, failed: its disk is full or may not be written to."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def default_limits(environ: Mapping[str, str]) -> Limits:
    """Bounds from EDUPA_TRANSFER_TIMEOUT, _TRIES, _BACKOFF, _SETTLE and _MAX_BYTES.

    Raises:
        SourceSettingsError: not a positive number.
    """
    limits = Limits()
    for name in _LIMITS:
        if text := environ.get(f"EDUPA_TRANSFER_{name.upper()}"):
            limits = _limited(limits, f"EDUPA_TRANSFER_{name.upper()}", name, text)
    return limits


def _limited(limits: Limits, variable: str, name: str, text: str) -> Limits:
    try:
        value = _LIMITS[name](text)
    except ValueError:
        value = -1
    if value < 0 or (value == 0 and name not in ("settle", "backoff")):
        raise SourceSettingsError(f"{variable}: {name} must be a positive number")
    changes: dict[str, Any] = {name: value}
    return replace(limits, **changes)


def read_settings(
    feeds: Iterable[str],
    config: WarehouseConfig | None,
    environ: Mapping[str, str] = os.environ,
    only: Collection[str] | None = None,
) -> dict[str, SourceSettings]:
    """Sources that the environment sets, by feed.

    Args:
        feeds: all feeds that have a contract.
        config: knows the folder of secrets; without it only sources that need no secret can be set.
        environ: the environment.
        only: read the settings of these feeds; a mistake in those of another does not matter then.

    Raises:
        SourceSettingsError: an unknown feed, scheme or option, a password in the URL, or a secret that others can read.
    """
    by_name = {feed.upper(): feed for feed in feeds}
    limits = default_limits(environ)
    found = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or not text.strip():
            continue
        name = variable.removeprefix(PREFIX)
        if name in by_name:
            if only is not None and by_name[name] not in only:
                continue
            found[by_name[name]] = _one(variable, by_name[name], text.strip(), limits, config, environ)
        elif name.removesuffix("_SECRET").removesuffix("_QUERY") not in by_name:
            raise SourceSettingsError(f"{variable}: there is no contract {name.lower()!r}")
    return found


def _one(
    variable: str, feed: str, text: str, limits: Limits, config: WarehouseConfig | None, environ: Mapping[str, str]
) -> SourceSettings:
    secrets: dict[str, Any] = {}
    if text.startswith("conn://"):
        text, secrets = _from_airflow(variable, text)
    parts = urlsplit(text)
    if parts.password:
        raise SourceSettingsError(
            f"{variable}: a password may not stand in the URL; put it into the secret file source_{feed}"
        )
    scheme = parts.scheme if parts.scheme in FILE_SCHEMES else "database"
    if scheme == "database" and not variable_query(environ, variable):
        known = ", ".join(FILE_SCHEMES)
        raise SourceSettingsError(
            f"{variable}: scheme {parts.scheme!r} is none of {known}; a database also needs {variable}_QUERY"
        )
    secrets |= _secret_file(variable, feed, scheme, config, environ)
    if scheme == "database":
        query = (PROJECT_ROOT / str(variable_query(environ, variable))).expanduser()
        if not query.is_file():
            raise SourceSettingsError(f"{variable}_QUERY: no file {query}")
        return SourceSettings(variable, scheme, text, secrets, limits, query.read_text(encoding="utf-8"))
    options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query):
        if name in _LIMITS:
            limits = _limited(limits, variable, name, value)
        elif name in _OPTIONS[scheme]:
            options[name] = value
        else:
            raise SourceSettingsError(f"{variable}: unknown option {name!r}")
    if not parts.hostname:
        raise SourceSettingsError(f"{variable}: the URL names no host")
    if parts.username:
        options.setdefault("username", unquote(parts.username))
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    settings = SourceSettings(variable, scheme, url, {**options, **secrets}, limits)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if scheme == "http" and not is_local and {"password", "bearer"} & set(settings.options):
        raise SourceSettingsError(f"{variable}: a secret may not travel over http; use https")
    return settings


def variable_query(environ: Mapping[str, str], variable: str) -> str | None:
    """Path of the query that belongs to a source's variable."""
    return environ.get(f"{variable}_QUERY") or None


def _secret_file(
    variable: str, feed: str, scheme: str, config: WarehouseConfig | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The secret file of a source: one word (a password), or a YAML mapping; its owner alone may read it."""
    named = environ.get(f"{variable}_SECRET")
    if config is None and not named:
        return {}
    path = Path(named or f"source_{feed}")
    if config is not None:
        path = config.secrets_dir / path
    if not path.is_file():
        if named:
            raise SourceSettingsError(f"{variable}_SECRET: no file {path}")
        return {}
    if path.stat().st_mode & 0o077:
        raise SourceSettingsError(f"{path}: others may read this secret; run: chmod 600 {path}")
    text = path.read_text(encoding="utf-8").strip()
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = text
    if not isinstance(content, dict):
        return {_SINGLE[scheme]: text}
    if unknown := set(content) - _SECRETS[scheme]:
        raise SourceSettingsError(f"{path}: unknown setting {min(map(str, unknown))!r}")
    return {str(name): str(value) for name, value in content.items()}


def _from_airflow(variable: str, text: str) -> tuple[str, dict[str, Any]]:
    """URL and secrets of an Airflow connection, ``conn://id`` or ``conn://id/path``."""
    # importing Airflow takes seconds; only those who ask for a connection pay
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    parts = urlsplit(text)
    try:
        connection = Connection.get(parts.netloc)
    except AirflowNotFoundException:
        raise SourceSettingsError(f"{variable}: Airflow has no connection {parts.netloc!r}") from None
    kind = {"ssh": "sftp", "aws": "s3"}.get(connection.conn_type, connection.conn_type)
    extra = dict(connection.extra_dejson)
    user, password, host, port = connection.login, connection.password, connection.host, connection.port
    place = f"{host or ''}:{port}" if port else (host or "")
    if kind in ("http", "https"):
        kind = connection.schema or kind
        secrets = {"username": user, "password": password, "bearer": extra.get("bearer")}
    elif kind == "sftp":
        secrets = {"username": user, "password": password, "passphrase": extra.get("private_key_passphrase")}
        secrets |= {"key_file": extra.get("key_file"), "known_hosts": extra.get("known_hosts")}
    elif kind == "s3":
        # an S3 connection names its endpoint in the extras; the bucket is the first part of the path
        bucket, _, path = parts.path.strip("/").partition("/")
        secrets = {"key": user, "secret": password, "token": extra.get("aws_session_token")}
        secrets |= {"endpoint_url": extra.get("endpoint_url"), "region": extra.get("region_name")}
        return f"s3://{bucket}/{path}?{parts.query}", {k: str(v) for k, v in secrets.items() if v}
    else:
        driver = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}.get(kind, kind)
        secrets = {"username": user, "password": password}
        url = f"{driver}://{place}/{quote(connection.schema or '')}"
        return url, {k: str(v) for k, v in secrets.items() if v}
    url = f"{kind}://{place}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    return url, {k: str(v) for k, v in secrets.items() if v}


def attempts(
    settings: SourceSettings,
    what: str,
    operation: Callable[[], Result],
    describe: Callable[[BaseException], str],
    reset: Callable[[], None] = lambda: None,
) -> Result:
    """Do something over the network, again after a failure that may pass.

    Args:
        settings: label and bounds.
        what: for the message, e.g. ``list files``.
        operation: raises PermanentError where another try would not help, anything else where it may.
        describe: an error in words that hold no secret and no data.
        reset: drops the broken connection before the next try.

    Raises:
        SourceTimeoutError: the last try timed out.
        SourceError: the last try failed otherwise, or an error is permanent.
    """
    limits = settings.limits
    for number in range(1, limits.tries + 1):
        try:
            return operation()
        except (FileGrowingError, FileRejectedError, SourceError):
            raise
        except PermanentError as error:
            raise SourceError(f"{settings.label} ({settings.variable}): cannot {what}: {error}") from None
        except Exception as error:
            reset()
            if number == limits.tries:
                is_timeout = isinstance(error, TimeoutError)
                reason = (
                    f"no answer for {limits.timeout:g} s (timeout, EDUPA_TRANSFER_TIMEOUT)"
                    if is_timeout
                    else describe(error)
                )
                message = f"{settings.label} ({settings.variable}): cannot {what} after {number} tries: {reason}"
                raise (SourceTimeoutError if is_timeout else SourceError)(message) from None
            time.sleep(limits.backoff * 2 ** (number - 1) * (0.5 + random.random() / 2))
    raise AssertionError("unreachable: tries is at least 1")
