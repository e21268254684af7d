"""Files on sftp, s3 and http(s), through fsspec: list them, and fetch one at a time to a bounded temporary file."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from ingest.archives import leads_outside
from ingest.problems import FileRejectedError
from ingest.transport import (
    Entry,
    FileGrowingError,
    PermanentError,
    SourceSettings,
    attempts,
    is_out_of_room,
    timed_version,
)

MAX_LISTED = 100_000
MAX_DEPTH = 8
_POLL_SECONDS = 0.2

Result = TypeVar("Result")


def _sftp(settings: SourceSettings) -> Any:
    from sshfs import SSHFileSystem

    parts, options, timeout = urlsplit(settings.url), settings.options, settings.limits.timeout
    arguments: dict[str, Any] = {
        "port": parts.port or 22,
        # without a file of its own: the account's known_hosts; never no check at all, which is sshfs's default
        "known_hosts": str(Path(options["known_hosts"]).expanduser()) if "known_hosts" in options else (),
        "connect_timeout": timeout,
        "login_timeout": timeout,
        # asyncssh gives up after two silent intervals
        "keepalive_interval": max(1.0, timeout / 2),
        "keepalive_count_max": 2,
        "timeout": timeout * 2,
        "skip_instance_cache": True,
        # servers on Chinese Windows may name files in GB18030
        "sftp_client_kwargs": {"path_encoding": options.get("names", "utf-8")},
    }
    for name in ("username", "password", "passphrase"):
        if name in options:
            arguments[name] = options[name]
    if "key_file" in options:
        arguments["client_keys"] = [str(Path(options["key_file"]).expanduser())]
    elif "password" in options:
        arguments["client_keys"] = None
    return SSHFileSystem(parts.hostname, **arguments)


def _s3(settings: SourceSettings) -> Any:
    from s3fs import S3FileSystem

    options, timeout = settings.options, settings.limits.timeout
    system = S3FileSystem(
        anon=str(options.get("anon", "")).lower() in ("1", "true"),
        key=options.get("key"),
        secret=options.get("secret"),
        token=options.get("token"),
        endpoint_url=options.get("endpoint_url"),
        client_kwargs={"region_name": options["region"]} if "region" in options else {},
        config_kwargs={
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"max_attempts": 1},
            # a bucket in the host's name needs DNS that servers other than Amazon's rarely have
            "s3": {"addressing_style": "path" if "endpoint_url" in options else "auto"},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
        max_concurrency=1,
    )
    system.retries = 1  # tries are counted here, not in two places
    return system


def _http(settings: SourceSettings) -> Any:
    import aiohttp
    from fsspec.implementations.http import HTTPFileSystem

    options, timeout = settings.options, settings.limits.timeout
    client: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)}
    if "password" in options:
        client["auth"] = aiohttp.BasicAuth(options.get("username", ""), options["password"])
    if "bearer" in options:
        client["headers"] = {"Authorization": f"Bearer {options['bearer']}"}
    return HTTPFileSystem(client_kwargs=client, use_listings_cache=False, skip_instance_cache=True)


_SYSTEMS: dict[str, Callable[[SourceSettings], Any]] = {"sftp": _sftp, "s3": _s3, "http": _http, "https": _http}


def _describe(error: BaseException) -> str:
    """The error's kind and first line; what these libraries say holds addresses, but neither secrets nor content."""
    line = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _is_permanent(error: BaseException) -> bool:
    if is_out_of_room(error):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"PermissionError", "PermissionDenied", "HostKeyNotVerifiable", "IllegalUserName", "KeyImportError"}:
        return True
    if names & {"NoCredentialsError", "FileNotFoundError", "NotADirectoryError", "SSLCertVerificationError"}:
        return True
    status = getattr(error, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)


def _seconds(value: object) -> float | None:
    """A time of change as seconds since 1970."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return parsedate_to_datetime(value).timestamp()
    return None


class RemoteFiles:
    """The files below a URL."""

    def __init__(self, settings: SourceSettings) -> None:
        """Remember where; a connection is made when it is needed."""
        self.settings = settings
        self.label = settings.label
        self.settle = settings.limits.settle
        self._system: Any = None
        self._urls: dict[str, str] = {}
        parts = urlsplit(settings.url)
        self._is_http = settings.scheme in ("http", "https")
        if self._is_http:
            self._base = settings.url
        elif settings.scheme == "s3":
            self._base = f"{parts.netloc}/{unquote(parts.path).strip('/')}".rstrip("/")
        else:
            path = unquote(parts.path)
            self._base = path.removeprefix("/~/") if path.startswith("/~/") else (path.rstrip("/") or "/")

    def _run(self, what: str, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """Run a coroutine on fsspec's loop, with a connection that is made where there is none."""
        from fsspec.asyn import sync

        def once() -> Result:
            try:
                if self._system is None:
                    self._system = _SYSTEMS[self.settings.scheme](self.settings)
                system = self._system
                result: Result = sync(system.loop, work, system)
                return result
            except (FileGrowingError, FileRejectedError, PermanentError):
                raise
            except Exception as error:
                if _is_permanent(error):
                    raise PermanentError(_describe(error)) from None
                raise

        return attempts(self.settings, what, once, _describe, self.close)

    def close(self) -> None:
        """Drop the connection; those of s3 and http close with their last reference."""
        system, self._system = self._system, None
        if system is not None and self.settings.scheme == "sftp":
            system.loop.call_soon_threadsafe(system.client.close)

    def entries(self) -> tuple[Entry, ...]:
        """Every file below the URL; on http those that the index pages link to, or the URL itself.

        Raises:
            SourceError: the source cannot be listed.
        """
        if self._is_http and not self._base.endswith("/"):
            name = unquote(PurePosixPath(urlsplit(self._base).path).name)
            self._urls = {name: self._base}
            return (Entry(name),)
        infos = self._run("list files", self._walk)
        entries = []
        self._urls = {}
        for info in infos:
            path = str(info["name"])
            relative = path[len(self._base) :].lstrip("/") if self._base != "/" else path.lstrip("/")
            if self._is_http:
                relative = unquote(relative)
            if not relative or leads_outside(relative):
                continue
            self._urls[relative] = path
            entries.append(self._entry(relative, info))
        return tuple(sorted(entries, key=lambda entry: entry.name))

    @staticmethod
    def _entry(name: str, info: dict[str, Any]) -> Entry:
        size = info.get("size")
        modified = _seconds(info.get("mtime") or info.get("LastModified") or info.get("Last-Modified"))
        entry = Entry(name, int(size) if size is not None else None, modified)
        return replace(entry, version=info.get("ETag") or timed_version(entry))

    async def _walk(self, system: Any) -> list[dict[str, Any]]:
        timeout = self.settings.limits.timeout
        found: list[dict[str, Any]] = []
        pending = [(self._base, 0)]
        seen = set()
        while pending:
            folder, depth = pending.pop()
            seen.add(folder.rstrip("/"))
            for info in await asyncio.wait_for(self._list_folder(system, folder), timeout):
                name = str(info["name"])
                if name.rstrip("/") in seen or "?" in name[len(self._base) :] or "#" in name[len(self._base) :]:
                    continue
                if info["type"] == "directory":
                    if depth < MAX_DEPTH:
                        pending.append((name if self._is_http else name.rstrip("/"), depth + 1))
                elif info["type"] == "file":
                    found.append(info)
                if len(found) > MAX_LISTED:
                    raise PermanentError(f"more than {MAX_LISTED} files")
        return found

    async def _list_folder(self, system: Any, folder: str) -> list[dict[str, Any]]:
        try:
            infos: list[dict[str, Any]] = await system._ls(folder, detail=True)
            return infos
        except FileNotFoundError:
            if self.settings.scheme != "s3":
                raise
            # a prefix exists by what lies below it: none may be there yet, but the bucket must be
            await system._call_s3("head_bucket", Bucket=folder.partition("/")[0])
            return []

    def _url(self, name: str) -> str:
        if name not in self._urls:
            raise FileRejectedError("file.damaged", "it is no longer there", detail_zh="文件已不存在")
        return self._urls[name]

    def stat(self, name: str) -> Entry:
        """Size, time of change and version of a file as they are now.

        Raises:
            FileRejectedError: the file is gone.
            SourceError: the source cannot be asked.
        """
        url = self._url(name)

        async def work(system: Any) -> dict[str, Any]:
            try:
                info: dict[str, Any] = await asyncio.wait_for(system._info(url), self.settings.limits.timeout)
                return info
            except FileNotFoundError:
                raise FileRejectedError("file.damaged", "it is no longer there", detail_zh="文件已不存在") from None

        return self._entry(name, self._run(f"look at {name}", work))

    @contextmanager
    def fetch(self, entry: Entry) -> Iterator[Path]:
        """A local copy of a file, removed after the block.

        Raises:
            FileRejectedError: it is gone, or larger than the limit.
            FileGrowingError: it is not what was listed.
            SourceError: it could not be fetched.
        """
        self._url(entry.name)
        with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
            target = Path(folder) / f"content{PurePosixPath(entry.name).suffix[:12]}"
            self._run(f"fetch {entry.name}", lambda system: self._copy(system, entry, target))
            size = target.stat().st_size
            if entry.size is not None and size != entry.size:
                raise FileGrowingError(f"it had {entry.size} bytes when it was listed, {size} when it was fetched")
            yield target

    async def _copy(self, system: Any, entry: Entry, target: Path) -> None:
        """Copy, watched: a copy that stands still, or grows beyond the limit, is cut off."""
        limits = self.settings.limits

        def refuse_size(size: int) -> None:
            if size > limits.max_bytes:
                raise FileRejectedError(
                    "file.too_large", f"more than {limits.max_bytes} bytes", detail_zh=f"超过{limits.max_bytes}字节"
                )

        refuse_size(entry.size or 0)
        target.unlink(missing_ok=True)
        task = asyncio.ensure_future(system._get_file(self._urls[entry.name], str(target)))
        size, moved = -1, time.monotonic()
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_POLL_SECONDS)
                now_size = target.stat().st_size if target.exists() else 0
                refuse_size(now_size)
                if done:
                    try:
                        await task
                        return
                    except FileNotFoundError:
                        raise FileRejectedError(
                            "file.damaged", "it is no longer there", detail_zh="文件已不存在"
                        ) from None
                if now_size != size:
                    size, moved = now_size, time.monotonic()
                elif time.monotonic() - moved > limits.timeout:
                    raise TimeoutError
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 0.5)
