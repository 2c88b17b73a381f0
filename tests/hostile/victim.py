# SPDX-License-Identifier: Apache-2.0
"""A caller of another project, who measures what it waits, alone and while others attack.

The only times that tests assert are these, and only as a ratio of two that were measured one after the other in the
same run. To be robust on a small and busy machine, a figure is the median of several rounds' p99, and what the caller
waits alone counts as `FLOOR` at least: below it the machine's own noise is larger than what is measured.
"""

import http.client
import math
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import psutil
from tests.overload.crowd import memory
from tests.processes import Server

ROUNDS = 5
REQUESTS = 100
"""Of each kind in a round, unless its time is over."""

MAX_SECONDS = 5
"""Of a round. Two requests of each kind are sent however long they take."""

FLOOR = 20.0
"""Milliseconds. The scheduler's share of them: 100 attackers, the program and its database on two cores."""

MAX_RATIO = 5.0

MAX_SECONDS_IN_ALL = 40
"""Of all rounds; then there are fewer."""

TIMEOUT = 30
"""Seconds for an answer."""

MAX_UNANSWERED = 3
"""Then measuring ends: there is nothing left to measure."""


class Waits(NamedTuple):
    """A kind of request: the median of the rounds' p99 and the longest wait of all, in milliseconds."""

    p99: float
    longest: float

    def __str__(self) -> str:
        return f"p99 {self.p99:,.1f} ms, longest {self.longest:,.0f} ms"

    def ratio(self, alone: "Waits") -> float:
        return self.p99 / max(alone.p99, FLOOR)


class Victim:
    """Sends requests on one connection, kind after kind: GETs of paths, or with a body PUTs of JSON.

    Whatever is not answered 200 is counted in `refused`.
    """

    def __init__(
        self, server: Server, headers: dict[str, str], paths: Mapping[str, Sequence[str]], body: str | None = None
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        self._headers = headers
        self._paths = paths
        self._body = body
        self.refused: Counter[object] = Counter()
        self._unanswered = 0

    def measure(self, rounds: int = ROUNDS) -> dict[str, Waits]:
        """What each kind of request waits."""
        p99s: dict[str, list[float]] = {kind: [] for kind in self._paths}
        longest = dict.fromkeys(self._paths, 0.0)
        end = time.perf_counter() + MAX_SECONDS_IN_ALL
        for _ in range(rounds):
            for kind, waits in self._round().items():
                p99s[kind].append(p99(waits))
                longest[kind] = max(longest[kind], *waits)
            if self._unanswered >= MAX_UNANSWERED or time.perf_counter() > end:
                break
        return {kind: Waits(statistics.median(p99s[kind]), longest[kind]) for kind in self._paths}

    def _round(self) -> dict[str, list[float]]:
        waits: dict[str, list[float]] = {kind: [] for kind in self._paths}
        end = time.perf_counter() + MAX_SECONDS
        for number in range(REQUESTS):
            if number and (self._unanswered >= MAX_UNANSWERED or (number > 1 and time.perf_counter() > end)):
                break
            for kind, paths in self._paths.items():
                waits[kind].append(self.ask(paths[number % len(paths)], self._headers))
        return waits

    def ask(self, path: str, headers: dict[str, str]) -> float:
        """Milliseconds until the whole answer is there."""
        started = time.perf_counter()
        try:
            if self._body is None:
                self._connection.request("GET", path, headers=headers)
            else:
                self._connection.request("PUT", path, self._body, {**headers, "Content-Type": "application/json"})
            answer = self._connection.getresponse()
            answer.read()
            outcome: object = answer.status
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # The next request opens another one.
            outcome = type(error).__name__
            self._unanswered += 1
        if outcome != 200:
            self.refused[outcome] += 1
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        self._connection.close()


def p99(waits: Sequence[float]) -> float:
    """The wait that 99 of 100 do not exceed; of fewer than 100, the longest."""
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]


class Memory:
    """The most bytes of resident memory that the program had."""

    def __init__(self) -> None:
        self.peak = 0


@contextmanager
def watched_memory(server: Server) -> Iterator[Memory]:
    """Meanwhile the program's memory is looked at again and again."""
    seen = Memory()
    stopped = threading.Event()

    def look() -> None:
        while not stopped.wait(0.05):
            with suppress(psutil.Error):
                seen.peak = max(seen.peak, memory(server))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()
