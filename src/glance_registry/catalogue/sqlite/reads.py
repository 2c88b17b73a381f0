# SPDX-License-Identifier: Apache-2.0
"""Long reads of the SQLite file: how they are found out, and the threads in which they run."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from glance_registry.catalogue.base import T
from glance_registry.catalogue.errors import translate
from glance_registry.catalogue.long_reads import LongReads
from glance_registry.catalogue.rows import NOTE_LARGE_PAGE, TooLong
from glance_registry.catalogue.slots import Slots
from glance_registry.catalogue.statements import driver
from glance_registry.model.errors import ReadTimeout

# A read may take this many virtual-machine steps on the event loop: a point read takes about 60, a page of 25
# in index order about 1,500, and 40,000 take around half a millisecond.
_STEPS_PER_TICK = 4_000
_TICKS_ON_LOOP = 10

# How often a thread looks whether its read is still wanted: about every millisecond.
_STEPS_PER_LOOK = 50_000

READ_THREADS = 3
"""One caller has two of them at most."""

MAX_WAITING_READS = 200
"""Long reads that may wait for a thread in one process."""


class Budget:
    """Counts the steps of reads on the event loop and interrupts a long one.

    A read is long when it takes too many steps, says that it may take long, or finds much to read.
    """

    def __init__(self, reader: Connection) -> None:
        connection = driver(reader)
        self._ticks = 0
        self._limited = False
        self._refused = False
        connection.set_progress_handler(self._tick, _STEPS_PER_TICK)
        connection.create_function("unhurried", 1, self._refuse)
        reader.info[NOTE_LARGE_PAGE] = self._refuse_large_page

    def start(self) -> None:
        self._ticks, self._limited, self._refused = 0, True, False

    def stop(self) -> None:
        self._limited = False

    def _refuse(self, searched: str) -> str:
        if not self._limited:
            return searched
        self._refused = True
        raise InterruptedError

    def _refuse_large_page(self) -> None:
        raise TooLong

    def _tick(self) -> bool:
        self._ticks += 1
        return self._limited and self._ticks >= _TICKS_ON_LOOP

    def ended(self, error: Exception) -> bool:
        """Whether this error of a read says that it is too long for the event loop."""
        if isinstance(error, TooLong):
            return True
        cause = error.orig if isinstance(error, OperationalError) else error
        if not isinstance(cause, sqlite3.OperationalError):
            return False
        return self._refused or cause.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT


class _Read:
    """One read in a thread. The event loop says that it is not wanted any more; the thread looks at that."""

    def __init__(self, run: Callable[[Connection], Any]) -> None:
        self.run = run
        self.abandoned = False
        self.is_long = False
        """Whether it would have been too long for the event loop."""


class ReadThreads:
    """Runs long reads in a few threads, for all callers in turn. Make it on the event loop that will use it."""

    def __init__(self, open_connection: Callable[[], Connection], seconds: float) -> None:
        self._open_connection = open_connection
        self._seconds = seconds
        self._slots = Slots(READ_THREADS, MAX_WAITING_READS)
        self.long_reads = LongReads()
        self._threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        self._local = threading.local()
        self._connections: list[Connection] = []

    async def run(self, run: Callable[[Connection], T], kind: Hashable) -> T:
        """Run a read of this kind when it is its caller's turn. Raises what it raises, Overloaded or ReadTimeout.

        A read that is not wanted any more, or takes too long, is interrupted; its thread is free when it has ended.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._run_in_turn(run, kind)
        except TimeoutError as error:
            raise ReadTimeout(self._seconds) from error

    async def _run_in_turn(self, run: Callable[[Connection], T], kind: Hashable) -> T:
        key = await self._slots.acquire()
        read = _Read(run)
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run_here, read)
        running.add_done_callback(partial(self._end, key))
        try:
            result: T = await asyncio.shield(running)
            self.long_reads.note(kind, long=read.is_long)
            return result
        finally:
            read.abandoned = True

    def _end(self, key: str, ended: asyncio.Future[Any]) -> None:
        self._slots.release(key)
        ended.exception()  # If nobody waits for it any more, nobody else looks at it.

    def _run_here(self, read: _Read) -> Any:
        """In a thread."""
        try:
            if not hasattr(self._local, "connection"):
                self._local.connection = self._open_connection()
                self._connections.append(self._local.connection)
                driver(self._local.connection).set_progress_handler(self._is_abandoned, _STEPS_PER_LOOK)
                driver(self._local.connection).create_function("unhurried", 1, self._note_unhurried)
                self._local.connection.info[NOTE_LARGE_PAGE] = self._note_long
            self._local.read = read
            return read.run(self._local.connection)
        except Exception as error:
            raise translate(error) from error

    def _is_abandoned(self) -> bool:
        self._note_long()
        return bool(self._local.read.abandoned)

    def _note_unhurried(self, searched: str) -> str:
        self._note_long()
        return searched

    def _note_long(self) -> None:
        self._local.read.is_long = True

    def close(self) -> None:
        """Wait until what runs has ended."""
        self._threads.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
