# SPDX-License-Identifier: Apache-2.0
"""Requests as a server hands them to the application: raw bytes that an HTTP client would refuse to send."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.conftest import HOST, Client

Header = tuple[bytes, bytes]


class RawAnswer(NamedTuple):
    status: int
    headers: list[Header]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for given, value in self.headers if given == name), None)


class Body:
    """A body in chunks, which counts how much of it the application took. After its end nothing comes any more."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._ended = False
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        if self._ended:
            await asyncio.get_running_loop().create_future()
        chunk = next(self._chunks, None)
        self._ended = chunk is None
        self.taken += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


def ask(
    client: Client, method: str, path: str, *, query: bytes = b"", headers: Iterable[Header] = (), body: Any = b""
) -> RawAnswer:
    """Send one request; `body` is bytes or a Body."""
    headers = list(headers)
    if all(name != b"host" for name, _ in headers):
        headers.insert(0, (b"host", HOST.encode()))
    chunks = body if isinstance(body, Body) else Body([body])
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(errors="surrogatepass"),
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": (HOST, 80),
    }
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    client.runner.run(client.application(scope, chunks.receive, send))
    start, *rest = messages
    return RawAnswer(start["status"], list(start["headers"]), b"".join(message["body"] for message in rest))
