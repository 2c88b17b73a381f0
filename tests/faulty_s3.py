# SPDX-License-Identifier: Apache-2.0
"""A proxy before an object store that spoils its answers. Each connection has a thread."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from tests.processes import SECONDS, free_port


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Call(NamedTuple):
    """What the store is asked; `line` is the method and the path with its query."""

    proxy: "FaultyS3"
    line: str
    headers: dict[str, str]
    body: bytes

    def pass_on(self) -> Reply:
        """The store's answer."""
        method, _, path = self.line.partition(" ")
        connection = http.client.HTTPConnection(self.proxy.target, timeout=SECONDS)
        try:
            connection.request(method, path, self.body or None, self.headers)
            answer = connection.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_ONE_CONNECTION}
            return Reply(answer.status, headers, answer.read())
        finally:
            connection.close()


_OF_ONE_CONNECTION = {"connection", "transfer-encoding", "date"}

Spoil = Callable[[Call], Reply]
"""Answers a call, or raises Broken."""


class Broken(Exception):
    """The connection breaks after so much of the answer."""

    def __init__(self, reply: Reply | None = None, size: int = 0) -> None:
        self.reply = reply
        self.size = size


class Fault(Struct):
    """What happens to calls of a method whose path and query have a text."""

    method: str
    text: str
    spoil: Spoil
    times: int


class FaultyS3:
    """Passes calls on, unless there is a fault for them. Its port outlasts `stop`."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.calls: list[str] = []
        """Methods and paths with queries, in the order in which they came."""
        self.released = threading.Event()
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self.start()

    def spoil(self, method: str, text: str, spoil: Spoil, times: int = 1_000) -> None:
        """The next calls of this kind go wrong. The newest fault comes first."""
        self._faults.insert(0, Fault(method, text, spoil, times))

    def heal(self) -> None:
        self._faults.clear()
        self.released.set()

    def start(self) -> None:
        self.released.clear()
        self._server = _Server(("127.0.0.1", self.port), _handler(self, self._open))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Nothing listens at the port any more, and all connections break."""
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def answer(self, call: Call) -> Reply:
        self.calls.append(call.line)
        for fault in self._faults:
            if fault.times and call.line.startswith(f"{fault.method} ") and fault.text in call.line:
                fault.times -= 1
                return fault.spoil(call)
        return call.pass_on()


class _Server(ThreadingHTTPServer):
    block_on_close = True
    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        """The client broke off, or the store did."""


def _handler(proxy: FaultyS3, opened: set[socket.socket]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            opened.add(self.connection)

        def finish(self) -> None:
            opened.discard(self.connection)
            super().finish()

        def log_message(self, *_: object) -> None: ...

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = Call(proxy, f"{self.command} {self.path}", dict(self.headers.items()), body)
            try:
                reply = proxy.answer(call)
            except Broken as broken:
                if broken.reply is not None:
                    self._send(broken.reply, broken.size)
                else:
                    # The connection is reset, not closed.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            self._send(reply, len(reply.body))

        def _send(self, reply: Reply, size: int) -> None:
            self.send_response(reply.status)
            headers = {name.lower(): value for name, value in reply.headers.items()}
            if self.command == "HEAD":
                size = 0
                headers.setdefault("content-length", "0")
            else:
                headers["content-length"] = str(len(reply.body))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[:size])

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    return Handler


def answered(status: int, code: str = "InternalError") -> Spoil:
    """An answer that the store did not give."""
    text = f"<Error><Code>{code}</Code><Message>It is made up.</Message></Error>"
    return lambda _: Reply(status, {"Content-Type": "application/xml"}, text.encode())


def with_headers(**headers: str) -> Spoil:
    """The store's answer with other headers; `_` stands for `-`, and empty ones are left out."""
    changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}

    def spoil(call: Call) -> Reply:
        reply = call.pass_on()
        kept = {name.lower(): value for name, value in reply.headers.items()}
        return reply._replace(headers={name: value for name, value in {**kept, **changed}.items() if value})

    return spoil


def hang(call: Call) -> Reply:
    """No answer until the proxy is healed or stopped."""
    call.proxy.released.wait()
    raise Broken


def lose_answer(call: Call) -> Reply:
    """The store does what it is told, and the connection breaks."""
    call.pass_on()
    raise Broken


def reset(_: Call) -> Reply:
    """The connection breaks, and the store never hears of the call."""
    raise Broken


def cut_after(size: int) -> Spoil:
    """The connection breaks after so many bytes of the body."""

    def spoil(call: Call) -> Reply:
        raise Broken(call.pass_on(), size)

    return spoil
