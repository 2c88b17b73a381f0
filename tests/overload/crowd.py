# SPDX-License-Identifier: Apache-2.0
"""Many bad clients at once, and a good one that measures how it is served meanwhile."""

import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psutil
from tests.processes import Server

MIB = 1_048_576


class Served(NamedTuple):
    """How long the good client's requests took, in milliseconds."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"


def serve_the_good(server: Server, image_id: str, requests: int) -> Served:
    """Ask for the image again and again. Fails when an answer is not the image."""
    took = []
    for _ in range(requests):
        started = time.perf_counter()
        answer = server.http.get(f"/images/{image_id}")
        took.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, answer.text
        assert answer.json()["image"]["id"] == image_id
    return Served(statistics.median(took), statistics.quantiles(took, n=100)[98])


def memory(server: Server) -> int:
    """Bytes of resident memory of the program and its workers."""
    main = psutil.Process(server.process.pid)
    return sum(process.memory_info().rss for process in (main, *main.children()))


@contextmanager
def crowd(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, which are closed in the end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


@contextmanager
def dripping(connections: Sequence[socket.socket], drop: bytes, seconds: float = 1.0) -> Iterator[None]:
    """Meanwhile a byte goes out on each connection every second, until the server closes it."""
    stopped = threading.Event()

    def drip() -> None:
        left = list(connections)
        while not stopped.wait(seconds):
            left = [connection for connection in left if _sends(connection, drop)]

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _sends(connection: socket.socket, drop: bytes) -> bool:
    try:
        connection.sendall(drop)
    except OSError:
        return False
    return True
