"""A TCP proxy that misbehaves on demand: slow, cut in the middle, or silent."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

_CHUNK = 8192


class Proxy:
    """Forwards connections from a free local port to another one.

    Attributes:
        port: where it listens.
        sent: bytes that clients have sent so far, over all connections.
    """

    def __init__(self, target_port: int, *, delay_s: float = 0.0, jitter_s: float = 0.0) -> None:
        """Listen; each chunk is held back ``delay_s`` ± ``jitter_s`` in each direction."""
        self._target = target_port
        self._delay, self._jitter = delay_s, jitter_s
        self._random = random.Random(20160615)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sent = 0
        self._trigger: tuple[int, Callable[[], None]] | None = None
        self._sockets: list[socket.socket] = []
        self._silent: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and cut what is open."""
        self._listener.close()
        self.cut()

    def when_sent(self, amount: int, action: Callable[[], None]) -> None:
        """Call ``action`` once, before the byte number ``amount`` from now is forwarded."""
        with self._lock:
            self._trigger = (self.sent + amount, action)

    def cut(self) -> None:
        """Cut every open connection, both sides."""
        with self._lock:
            doomed, self._sockets, self._silent = self._sockets + self._silent, [], []
        for sock in doomed:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def fall_silent(self) -> None:
        """Leave every client that is connected now without an answer, its connection open; the server sees it gone."""
        with self._lock:
            held, self._sockets = self._sockets, []
            self._silent += held[::2]
        for sock in held[1::2]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if self._delay:
                    time.sleep(self._delay + self._random.uniform(-self._jitter, self._jitter))
                if is_client:
                    self._count(len(chunk))
                target.sendall(chunk)
        with contextlib.suppress(OSError), self._lock:
            if target not in self._silent:
                target.shutdown(socket.SHUT_WR)

    def _count(self, amount: int) -> None:
        with self._lock:
            self.sent += amount
            action = None
            if self._trigger and self.sent >= self._trigger[0]:
                action, self._trigger = self._trigger[1], None
        if action:
            action()
