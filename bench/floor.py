# SPDX-License-Identifier: Apache-2.0
"""The floor of transfers: what moving the same bytes takes when nothing is done but the indispensable.

Uploads: a bare loop reads the socket, computes both digests in threads, writes and syncs, on as many threads as the
program has. Downloads: a bare ASGI handler on the program's own server reads the file and sends messages of 1 MiB.
`python -m bench.floor uploads|downloads FOLDER PORT`.
"""

import hashlib
import os
import socket
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces

CHUNK_BYTES = 1_048_576
DIGEST_THREADS, STORE_THREADS = 4, 8  # As glance_registry has them.


class Uploads:
    """A server with a thread for each connection, which takes one PUT or GET /healthcheck."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests = ThreadPoolExecutor(DIGEST_THREADS)
        self._disk = ThreadPoolExecutor(STORE_THREADS)

    def serve(self, port: int) -> None:
        with socket.create_server(("127.0.0.1", port), backlog=64) as listening:
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65_536)
            head, _, first = received.partition(b"\r\n\r\n")
            method, path, _ = head.split(b" ", 2)
            if method == b"PUT":
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self._receive(connection, first, length, self._folder / path.decode().rpartition("/")[2])
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _receive(self, connection: socket.socket, first: bytes, length: int, path: Path) -> None:
        digests = hashlib.md5(), hashlib.sha512()
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o640)
        # One buffer is filled while threads work on the other one.
        buffers = [memoryview(bytearray(CHUNK_BYTES)) for _ in range(2)]
        working: list[Future[Any]] = []
        start = number = 0
        while start < length:
            buffer = buffers[number % 2]
            buffer[: len(first)] = first
            filled, first = len(first), b""
            while filled < CHUNK_BYTES and start + filled < length:
                filled += connection.recv_into(buffer[filled:])
            for each in working:
                each.result()
            working = [self._digests.submit(digest.update, buffer[:filled]) for digest in digests]
            working.append(self._disk.submit(os.pwrite, descriptor, buffer[:filled], start))
            start, number = start + filled, number + 1
        for each in working:
            each.result()
        os.fsync(descriptor)
        os.close(descriptor)


class Downloads:
    """The ASGI application: files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        name = scope["path"].rpartition("/")[2]
        if name == "healthcheck":
            await _start(send, 0)
            await send({"type": "http.response.body", "body": b""})
            return
        descriptor = os.open(self._folder / name, os.O_RDONLY)
        size = os.fstat(descriptor).st_size
        await _start(send, size)
        for start in range(0, size, CHUNK_BYTES):
            more = start + CHUNK_BYTES < size
            body = os.pread(descriptor, CHUNK_BYTES, start)
            await send({"type": "http.response.body", "body": body, "more_body": more})
        os.close(descriptor)


async def _start(send: Any, size: int) -> None:
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def main() -> None:
    what, folder, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "uploads":
        Uploads(folder).serve(port)
        return
    # As glance_registry.cli.serve has them.
    Granian(
        "bench.floor:Downloads",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        workers=1,
        websockets=False,
        log_enabled=False,
    ).serve(target_loader=partial(Downloads, folder), wrap_loader=False)


if __name__ == "__main__":
    main()
