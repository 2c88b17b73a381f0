# SPDX-License-Identifier: Apache-2.0
"""A generator of load: keep-alive HTTP/1.1 connections, each of which asks again as soon as it is answered.

It runs in a process of its own (`python -m bench.load`: a `Load` as JSON on stdin, an `Outcome` on stdout).
Requests are bytes made beforehand and of an answer only the status and the length are read, so that it costs
a fraction of what any server does.
"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from msgspec import Struct

HERE = Path(__file__).parent
SERIAL = "<serial-number>"
"""What is replaced, wherever it stands in a path or a body, by a number that no other request has."""

_DIGITS = 12
_SECONDS_TO_FINISH = 60
"""How long the answers that are still due at the end of the window may take."""


class Load(Struct, frozen=True, kw_only=True):
    """What to send: to the `paths` and with the `bodies` in turn; with `closes`, to a server that closes the
    connection after each answer."""

    connections: int
    seconds: float
    method: str = "GET"
    paths: list[str]
    bodies: list[str] = []
    headers: dict[str, str] = {}
    closes: bool = False
    port: int = 0
    first_serial: int = 0


class Outcome(Struct, frozen=True, kw_only=True):
    """What came back within the window; if less than one answer for each connection, until all had one."""

    answers: int
    late: int = 0
    """Answers to what was asked in the window that came after it: the server worked for these, too."""

    seconds: float
    cpu: float
    """CPU seconds of the generator in the window."""
    answer_bytes: int
    """Of the last answer's body."""


class LoadError(Exception):
    """An answer was none of 200, 201 and 204, a connection was lost, or no answer came."""


def apply(load: Load) -> Outcome:
    """Run a load in a process of its own. Raises LoadError when not every answer was 200, 201 or 204."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=False,
        cwd=HERE.parent,
        timeout=load.seconds + 60,
    )
    if done.returncode:
        raise LoadError(done.stderr.decode()[-2000:])
    return msgspec.json.decode(done.stdout, type=Outcome)


def requests(load: Load) -> Iterator[bytes]:
    """The requests, without end."""
    fields = {"Host": f"127.0.0.1:{load.port}", **load.headers}
    headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    made = [_request(load.method, path, headers, body) for path, body in _pairs(load)]
    if not any(SERIAL.encode() in each for each in made):
        return cycle(made)
    return _numbered(made, load.first_serial)


def _pairs(load: Load) -> list[tuple[str, str]]:
    """Every path and every body at least once."""
    bodies = load.bodies or [""]
    many = max(len(load.paths), len(bodies))
    return list(islice(zip(cycle(load.paths), cycle(bodies), strict=False), many))


def _request(method: str, path: str, headers: str, body: str) -> bytes:
    if body:
        length = len(body.replace(SERIAL, "0" * _DIGITS).encode())
        kind = "" if "Content-Type" in headers else "Content-Type: application/json\r\n"
        headers += f"{kind}Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{headers}\r\n{body}".encode()


def _numbered(made: list[bytes], first: int) -> Iterator[bytes]:
    pieces = cycle([each.split(SERIAL.encode()) for each in made])
    for serial, parts in zip(count(first), pieces, strict=False):
        yield (b"%012d" % serial).join(parts)


class _Run:
    """What the connections share."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = requests(load)
        self.answers = 0
        self.answer_bytes = 0
        self.over = False
        self.busy = load.connections
        self.finished = asyncio.get_running_loop().create_future()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.load.port))[1]

    def replace(self) -> None:
        """Open a connection in the place of one that the server closes, and ask there."""
        task = asyncio.ensure_future(self._replace())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _replace(self) -> None:
        try:
            (await self.open()).ask()
        except OSError as error:
            self.fail(f"no connection: {error}")

    def fail(self, reason: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(LoadError(reason))


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer to the end, sends the next one."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self) -> None:
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        run = self._run
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._received = data
            return
        # Granian writes header names in lower case and we ask for nothing that it would send in chunks.
        at = data.find(b"\r\ncontent-length: ", 0, head)
        if at < 0:
            at = data[:head].lower().find(b"\r\ncontent-length: ")
        length = int(data[at + 18 : data.find(b"\r", at + 18)]) if at >= 0 else 0
        if len(data) < head + 4 + length:
            self._received = data
            return
        self._received = b""
        if not data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201", b"HTTP/1.1 204")):
            run.fail(data[:2000].decode(errors="replace"))
            return
        if run.over:
            run.busy -= 1
            if not run.busy and not run.finished.done():
                run.finished.set_result(None)
            return
        run.answers += 1
        run.answer_bytes = length
        if run.load.closes:
            self._transport.abort()
            run.replace()
        else:
            self._transport.write(next(run.requests))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc or not self._run.load.closes:
            self._run.fail(f"a connection was lost: {exc}")


async def _generate(load: Load) -> Outcome:
    run = _Run(load)
    connections = [await run.open() for _ in range(load.connections)]
    gc.disable()
    started, cpu = time.perf_counter(), time.process_time()
    for connection in connections:
        connection.ask()
    await asyncio.wait([run.finished], timeout=load.seconds)
    seconds, answers, cpu = time.perf_counter() - started, run.answers, time.process_time() - cpu
    run.over = True
    await asyncio.wait_for(run.finished, _SECONDS_TO_FINISH)
    late = load.connections
    if answers < load.connections:
        seconds, answers, late = time.perf_counter() - started, answers + late, 0
    return Outcome(answers=answers, late=late, seconds=seconds, cpu=cpu, answer_bytes=run.answer_bytes)


def main() -> None:
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_generate(load))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
