"""Servers that a test starts and stops: SFTP, S3, HTTP, and a proxy that cuts or freezes connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

USER, PASSWORD = "edupa", "correct horse battery staple"


@dataclass
class Remote:
    """A running server and the folder or bucket that it serves.

    Attributes:
        scheme: of the URL.
        port: where it listens.
        place: path of the URL that holds the files.
        secret: content of the secret file, or None.
        options: query of the URL; ``{port}`` stands for the port.
        folder: local folder that is served, or None.
        client: boto3 client where there is no folder.
    """

    scheme: str
    port: int
    place: str
    secret: str | None = None
    options: str = ""
    folder: Path | None = None
    client: Any = None
    known_hosts: Path | None = None
    bucket: str = "bucket"
    log: list[str] = field(default_factory=list)

    def put(self, name: str, content: bytes) -> None:
        """Store a file below the place."""
        if self.folder is None:
            self.client.put_object(Bucket="bucket", Key=f"extracts/{name}", Body=content)
            return
        path = self.folder / "extracts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def url(self, port: int | None = None) -> str:
        """The source's URL, through another port if one is given."""
        at = port or self.port
        host = self.bucket if self.scheme == "s3" else f"127.0.0.1:{at}"
        user = f"{USER}@" if self.scheme == "sftp" else ""
        return f"{self.scheme}://{user}{host}{self.place}?{self.options.format(port=at)}"


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@contextmanager
def sftp_server(folder: Path) -> Iterator[Remote]:
    """An SFTP server for a folder."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_Login,
            server_host_keys=[key],
            sftp_factory=functools.partial(asyncssh.SFTPServer, chroot=str(folder).encode()),
        )

    acceptor = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    known_hosts = folder.with_suffix(".known_hosts")
    known_hosts.write_bytes(b"* " + key.export_public_key())
    try:
        yield Remote(
            "sftp",
            acceptor.get_port(),
            "/extracts",
            f"password: {PASSWORD}\nknown_hosts: {known_hosts}\n",
            folder=folder,
            known_hosts=known_hosts,
        )
    finally:

        async def stop() -> None:
            acceptor.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1) if others else None

        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


@contextmanager
def s3_server() -> Iterator[Remote]:
    """An S3 server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket="bucket")
    try:
        yield Remote(
            "s3",
            port,
            "/extracts",
            "key: k\nsecret: s\n",
            "endpoint_url=http://127.0.0.1:{port}&region=us-east-1",
            client=client,
        )
    finally:
        server.stop()


@contextmanager
def http_server(folder: Path) -> Iterator[Remote]:
    """A plain web server with index pages; it wants a bearer token."""
    log: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if self.headers.get("Authorization") != f"Bearer {PASSWORD.replace(' ', '-')}":
                self.send_error(401)
                return None
            return super().send_head()

        def log_message(self, format: str, *args: Any) -> None:
            log.append(format % args)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Remote(
            "http",
            server.server_address[1],
            "/extracts/",
            f"bearer: {PASSWORD.replace(' ', '-')}\n",
            folder=folder,
            log=log,
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Fault:
    """What the proxy does to connections: after so many bytes from the server, ``cut`` or ``freeze``, so often."""

    kind: str
    after: int
    times: int


class Proxy:
    """A TCP proxy to a port of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.fault: Fault | None = None
        self.hits = 0
        self._closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in, and everybody go."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(16384):
                passed += len(data)
                fault = self.fault
                if is_answer and fault and fault.times > 0 and passed > fault.after:
                    fault.times -= 1
                    self.hits += 1
                    if fault.kind == "freeze":
                        self._closing.wait(60)
                    break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
