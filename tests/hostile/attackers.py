# SPDX-License-Identifier: Apache-2.0
"""Clients that ask again as soon as they are answered, whatever the answer says.

They run in a process of their own (`python -m tests.hostile.attackers`: an `Attack` as JSON on the first line of stdin,
"ready" on stdout when every connection has sent something, an `Outcome` when stdin ends). The process is nice: real
attackers have machines of their own, and their work must not be what the others wait for.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct
from tests.processes import SECONDS

ROOT = Path(__file__).parents[2]
NICENESS = 10
STAY = 0.1
"""Seconds for which a client that leaves without its answer stays connected; it comes back after as long."""


class Attack(Struct, frozen=True, kw_only=True):
    """What to send, in turn, on each of so many connections; with `leaves`, without waiting for an answer."""

    port: int
    connections: int
    requests: list[str]
    address: str = "127.0.0.1"
    """The attackers' own."""

    leaves: bool = False


class Outcome(Struct, kw_only=True):
    """What the attackers saw."""

    sent: int = 0
    answers: dict[int, int] = {}
    """By status."""

    received: int = 0
    """Bytes of bodies."""

    cut: int = 0
    """Connections that ended without an answer or could not be opened."""

    no_retry_after: int = 0
    """Answers 503 and 429 that do not say when to come again."""

    def __str__(self) -> str:
        answers = ", ".join(f"{count:,} × {status}" for status, count in sorted(self.answers.items()))
        return f"{self.sent:,} sent; {answers or 'no answers'}; {self.cut:,} cut; {self.received / 1e6:,.0f} MB"


def get(path: str, headers: dict[str, str] | None = None, host: str = "localhost") -> str:
    """The text of a GET."""
    fields = {"Host": host, **(headers or {})}
    return f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"


def put(path: str, body: str, headers: dict[str, str]) -> str:
    """The text of a PUT of JSON."""
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = f"PUT {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{head}\r\n{body}"


class Attackers:
    """A running attack. `outcome` is there when it has ended."""

    def __init__(self, attack: Attack) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.attackers"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(attack) + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"ready\n"
        self.outcome = Outcome()

    def end(self) -> None:
        printed, _ = self._process.communicate(timeout=SECONDS)
        assert self._process.returncode == 0
        self.outcome = msgspec.json.decode(printed, type=Outcome)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def attacked(*attacks: Attack) -> Iterator[Sequence[Attackers]]:
    """Meanwhile these attacks run."""
    running: list[Attackers] = []
    try:
        for attack in attacks:
            running.append(Attackers(attack))  # noqa: PERF401 -- those before one that fails must be ended.
        yield running
        for attackers in running:
            attackers.end()
    finally:
        for attackers in running:
            attackers.kill()


class _Run:
    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self._requests = [request.encode() for request in attack.requests]
        self._begun = 0
        self._answers: Counter[int] = Counter()
        self.outcome = Outcome()
        self.ready = asyncio.Event()

    async def attack(self, number: int) -> None:
        begun = False
        first = number % len(self._requests)
        requests = islice(cycle(self._requests), first, None)
        while True:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._attack.port, local_addr=(self._attack.address, 0)
                )
            except OSError:
                self.outcome.cut += 1
                await asyncio.sleep(STAY)
                continue
            try:
                while True:
                    writer.write(next(requests))
                    self.outcome.sent += 1
                    if not begun:
                        begun = True
                        self._has_begun()
                    if self._attack.leaves:
                        await asyncio.sleep(STAY)
                        break
                    await self._read(reader)
            except (OSError, EOFError):
                self.outcome.cut += 1
            finally:
                writer.transport.abort()
            await asyncio.sleep(STAY if self._attack.leaves else 0)

    def _has_begun(self) -> None:
        self._begun += 1
        if self._begun == self._attack.connections:
            self.ready.set()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        self._answers[status] += 1
        self.outcome.answers = dict(self._answers)
        if status in (429, 503) and b"\r\nretry-after: " not in head:
            self.outcome.no_retry_after += 1
        if b"\r\ntransfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                await self._skip(reader, size)
                await reader.readline()
            await reader.readline()
        else:
            _, _, length = head.partition(b"\r\ncontent-length: ")
            await self._skip(reader, int(length.partition(b"\r\n")[0] or b"0"))
        if b"\r\nconnection: close" in head:
            raise EOFError

    async def _skip(self, reader: asyncio.StreamReader, size: int) -> None:
        while size:
            part = await reader.read(min(size, 65_536))
            if not part:
                raise EOFError
            size -= len(part)
            self.outcome.received += len(part)


async def _run(attack: Attack) -> Outcome:
    run = _Run(attack)
    tasks = [asyncio.create_task(run.attack(number)) for number in range(attack.connections)]
    await run.ready.wait()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each
    return run.outcome


def main() -> None:
    os.nice(NICENESS)
    allow_many_sockets()
    attack = msgspec.json.decode(sys.stdin.readline(), type=Attack)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_run(attack))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


def allow_many_sockets() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
