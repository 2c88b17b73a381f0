# SPDX-License-Identifier: Apache-2.0
"""The connections of one server that read: some for all reads, some for those that are known to be long.

A long read keeps a core of the server busy. However many of them a caller asks for, only a few run at a time, and the
short reads, the same caller's too, do not wait behind them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic

from sqlalchemy import Connection

from glance_registry.catalogue.base import T
from glance_registry.catalogue.postgresql.pool import Connections
from glance_registry.catalogue.rows import NOTE_LARGE_PAGE

LONG_SECONDS = 0.05
"""A read that takes this long, or finds a large page, is a long one."""


class Read(Generic[T]):
    """An operation that changes nothing; `among_long` when the last one like it was long."""

    def __init__(self, run: Callable[[Connection], T], *, among_long: bool = False) -> None:
        self._run = run
        self.among_long = among_long
        self.is_long = False
        self.has_ended = False
        """Whether it came to its end, so that `is_long` is known."""

    def __call__(self, connection: Connection) -> T:
        started = time.monotonic()
        info = connection.info
        info[NOTE_LARGE_PAGE] = self._note_long
        try:
            result = self._run(connection)
            self.has_ended = True
            return result
        finally:
            info.pop(NOTE_LARGE_PAGE, None)  # An invalidated connection has a new `info`.
            if time.monotonic() - started >= LONG_SECONDS:
                self._note_long()

    def _note_long(self) -> None:
        self.is_long = True


class Readers:
    """Runs reads, each on the connections that are for its like."""

    def __init__(self, short: Connections, long: Connections) -> None:
        self._short = short
        self._long = long

    async def run(self, read: Read[T], until: float, check: Callable[[Connection], None] | None = None) -> T:
        """As `Connections.run`; `check` is called before the read, on its connection."""

        def run_checked(connection: Connection) -> T:
            if check is not None:
                check(connection)
            return read(connection)

        connections = self._long if read.among_long else self._short
        return await connections.run(read if check is None else run_checked, until)

    async def close(self) -> None:
        await asyncio.gather(self._short.close(), self._long.close())
