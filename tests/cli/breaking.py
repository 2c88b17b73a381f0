# SPDX-License-Identifier: Apache-2.0
"""A connection between a client and a server that breaks when it is told to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SECONDS = 60


class Line:
    """Passes bytes on in both directions, and breaks a connection after so many of them."""

    def __init__(self, server_port: int, breaks: list[int]) -> None:
        """`breaks`: after how many bytes, in both directions together, each next connection breaks; then none does."""
        self._server_port = server_port
        self._breaks = breaks
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        self.broken = 0
        self._sockets = [self._listening]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            left = [self._breaks.pop(0) if self._breaks else None]
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=SECONDS)
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, left), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, left: list[int | None]) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if left[0] is not None:
                    left[0] -= len(data)
                    if left[0] < 0:
                        self.broken += 1
                        break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(SECONDS)
        for end in self._sockets[1:]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        for end in self._sockets:
            end.close()


@contextmanager
def breaking_line(server_port: int, *breaks: int) -> Iterator[Line]:
    line = Line(server_port, list(breaks))
    try:
        yield line
    finally:
        line.close()
