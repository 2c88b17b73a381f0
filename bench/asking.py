# SPDX-License-Identifier: Apache-2.0
"""One client on one connection that waits for each answer: how long does a caller wait when nobody else asks?"""

import json
import socket
import time
from typing import Any

from msgspec import Struct


class AskingError(Exception):
    """An answer was not 200 or 204."""


class Answer(Struct, frozen=True):
    seconds: float
    body: bytes

    @property
    def images(self) -> int:
        """How many images the answer shows."""
        shown: dict[str, Any] = json.loads(self.body) if self.body else {}
        return len(shown.get("images", [None]))


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    fields = {"Host": "127.0.0.1", **headers}
    if body:
        fields = {"Content-Type": "application/json", **fields, "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    """A connection that is kept, and opened again when the server has closed it for its idleness."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def ask(self, sent: bytes) -> Answer:
        """Send a request and wait for the whole answer. Raises AskingError when it is not 200 or 204."""
        try:
            return self._ask(sent)
        except ConnectionError:
            self._socket.close()
            self._open()
            return self._ask(sent)

    def close(self) -> None:
        self._socket.close()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _ask(self, sent: bytes) -> Answer:
        started = time.perf_counter()
        self._socket.sendall(sent)
        received = b""
        head = length = -1
        while head < 0 or len(received) < head + 4 + length:
            more = self._socket.recv(1 << 20)
            if not more:
                raise ConnectionResetError(f"closed after {len(received)} bytes")
            received += more
            if head < 0 and (head := received.find(b"\r\n\r\n")) >= 0:
                at = received.find(b"\r\ncontent-length: ", 0, head)
                length = int(received[at + 18 : received.find(b"\r", at + 18)]) if at >= 0 else 0
        seconds = time.perf_counter() - started
        if not received.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
            raise AskingError(f"{sent.decode()[:300]}\n{received[:1000].decode(errors='replace')}")
        return Answer(seconds, received[head + 4 :])
