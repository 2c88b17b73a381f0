# SPDX-License-Identifier: Apache-2.0
"""How often somebody may be wrong: a table of failed attempts, by address and user name.

A name has no limit over all addresses: anybody could lock its user out by sending wrong passwords.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

MAX_WRONG_AT_ONCE = 5
"""Wrong passwords for one name from one address, after which each further one costs a wait."""
MAX_WAIT_SECONDS = 60
FORGOTTEN_SECONDS = 900
MAX_GUESSERS = 10_000
"""Addresses with names that the table holds; the one that was wrong longest ago is forgotten first."""


class Source(NamedTuple):
    """Where an attempt comes from."""

    address: str
    name: str


class _Failures(Struct):
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Guesses:
    """Failed attempts of one process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._table: OrderedDict[Source, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def seconds_to_wait(self, source: Source) -> float:
        """How long attempts from there are refused; 0: they are not."""
        failures = self._table.get(source)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def count_failure(self, source: Source) -> None:
        now = self._clock()
        failures = self._table.pop(source, None)
        if failures is None or now - failures.last > FORGOTTEN_SECONDS:
            failures = _Failures()
        failures.count, failures.last = failures.count + 1, now
        if failures.count >= MAX_WRONG_AT_ONCE:
            # The power is cut before it is taken: a count has no limit.
            failures.until = now + min(MAX_WAIT_SECONDS, 2 ** min(failures.count - MAX_WRONG_AT_ONCE, 10))
        self._table[source] = failures
        if len(self._table) > MAX_GUESSERS:
            self._table.popitem(last=False)

    def forget(self, source: Source) -> None:
        """It was right."""
        self._table.pop(source, None)
