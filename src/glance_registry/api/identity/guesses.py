# SPDX-License-Identifier: Apache-2.0
"""A table of failed logins by address and user name, which delays further attempts.

There is no limit for a name over all addresses: anybody could lock that user out by sending wrong passwords.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

MAX_FREE_FAILURES = 5
"""Wrong passwords for one name from one address before further ones are delayed."""
MAX_DELAY_SECONDS = 60
FORGET_AFTER_SECONDS = 900
MAX_SOURCES = 10_000
"""Limit of the table. The source whose last failure is oldest is removed first."""


class Source(NamedTuple):
    """The address and the user name of an attempt."""

    address: str
    name: str


class _Failures(Struct):
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Guesses:
    """The failed attempts that one process has seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._table: OrderedDict[Source, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def seconds_to_wait(self, source: Source) -> float:
        """How long further attempts are refused; 0 if they are not."""
        failures = self._table.get(source)
        return max(0.0, failures.until - self._clock()) if failures else 0.0

    def count_failure(self, source: Source) -> None:
        now = self._clock()
        failures = self._table.pop(source, None)
        if failures is None or now - failures.last > FORGET_AFTER_SECONDS:
            failures = _Failures()
        failures.count, failures.last = failures.count + 1, now
        if failures.count >= MAX_FREE_FAILURES:
            # The exponent is limited first, because a count has no limit.
            failures.until = now + min(MAX_DELAY_SECONDS, 2 ** min(failures.count - MAX_FREE_FAILURES, 10))
        self._table[source] = failures
        if len(self._table) > MAX_SOURCES:
            self._table.popitem(last=False)

    def forget(self, source: Source) -> None:
        """Remove the failures of a source after a correct password."""
        self._table.pop(source, None)
