"""Hang up on a server that has stopped to answer.

The kernel's own timers (see warehouse.connection) give up a peer that is gone; they do not where something between, a
proxy or a load balancer, goes on acknowledging for it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from warehouse.connection import network_timeout_s


def _hang_up(descriptor: int) -> None:
    # of a copy: the descriptor itself may be closed and given to another socket at any time
    with socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)


@contextmanager
def hung_up_when_silent(conn: psycopg.Connection[tuple[object, ...]], doing: str) -> Iterator[None]:
    """Let the block take EDUPA_NETWORK_TIMEOUT_S at most; then shut the connection down.

    For what a live server does in a moment, such as taking in one batch; not for statements that may be long.

    Raises:
        psycopg.OperationalError: it was shut down; the message names what was being done and for how long.
    """
    seconds = network_timeout_s()
    silent = threading.Event()

    def give_up() -> None:
        silent.set()
        _hang_up(conn.pgconn.socket)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.OperationalError as error:
        if silent.is_set():
            raise psycopg.OperationalError(
                f"the connection is silent: {conn.info.host}:{conn.info.port} has not answered for {seconds} s"
                f" ({doing}); it was hung up"
            ) from error
        raise
    finally:
        timer.cancel()
