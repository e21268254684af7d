"""Work ahead in a thread: while one batch is sent to the server, the next is read and checked on the other core."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_WAIT_S = 0.05


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The items in order, made in a thread at most ``depth`` items ahead; an error of the maker is raised here.

    The thread has ended when the iterator is exhausted or closed.
    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                made.put(entry, timeout=_WAIT_S)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # raised again where the items are used
            put((False, error))

    maker = threading.Thread(target=make, name="edupa ahead", daemon=True)
    maker.start()
    try:
        while True:
            has_item, content = made.get()
            if not has_item:
                if isinstance(content, BaseException):
                    raise content
                return
            yield content  # type: ignore[misc]
    finally:
        stopped.set()
        maker.join()
