# SPDX-License-Identifier: Apache-2.0
"""The one thread of a process that writes into an SQLite file.

It takes all writes that are waiting into one transaction: one fsync for all of them. Their callers have turns, write by
write, also in a transaction that runs: a newcomer need not wait for the next one behind all writes of another caller.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection

from glance_registry.catalogue.base import T
from glance_registry.catalogue.errors import translate
from glance_registry.catalogue.fair_queue import FairQueue
from glance_registry.catalogue.slots import caller_key, make_room
from glance_registry.catalogue.sqlite.file import BUSY_SECONDS, File
from glance_registry.catalogue.statements import driver
from glance_registry.model.errors import Overloaded, StorageFull, Unavailable

log = logging.getLogger(__name__)

WAITING_WRITES = 2_000
"""Writes that may wait in one process. One more is refused, or the last one of the caller that has most of them."""

LARGEST_BATCH = 256

BATCH_SECONDS = 0.02
"""After so long a batch takes no more writes: those that it has are answered when it is committed."""

_TURN_SECONDS = 0.0005
"""How often a writer asks whether another process has ended its transaction, which takes a few milliseconds. SQLite
itself would ask ever less often, up to ten times a second, and one process would keep the others from writing."""


class _Job(NamedTuple):
    run: Callable[[Connection], Any]
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class _Outcome(NamedTuple):
    job: _Job
    result: Any = None
    error: BaseException | None = None


class Writer(threading.Thread):
    """The one thread of this process that writes."""

    def __init__(self, open_connection: Callable[[], Connection], file: File) -> None:
        super().__init__(name="write", daemon=True)
        self._open_connection = open_connection
        self._file = file
        self._open()
        self._waiting = FairQueue[_Job]()
        self._changed = threading.Condition()
        """Guards `_waiting` and `_finishing`."""
        self._batch: list[_Job] = []
        self._finishing = False
        self.has_failed = False
        """Whether the last write failed because of the database."""

    async def submit(self, run: Callable[[Connection], T]) -> T:
        """Run a write when it is its caller's turn. Raises what it raises, Overloaded or Unavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        key = caller_key.get()
        with self._changed:
            if self._finishing:
                raise Unavailable("The registry is shutting down.")
            make_room(self._waiting, WAITING_WRITES, key, _refuse)
            self._waiting.add(_Job(run, answer, loop), key)
            self._changed.notify()
        return await answer

    def finish(self) -> None:
        """Wait until all that was submitted is done."""
        with self._changed:
            self._finishing = True
            self._changed.notify()
        self.join()
        with suppress(Exception):  # It may have failed, and not have been replaced.
            self._connection.close()

    def run(self) -> None:
        while True:
            try:
                self._work()
                return
            except BaseException as error:  # Whatever it is, the next writes must not wait for ever.
                with suppress(Exception):
                    log.critical("the thread that writes failed; it goes on", exc_info=error)
                self._is_sound = False
                lost = Unavailable("The registry failed to write; its log has the cause.")
                self._answer([_Outcome(job, error=lost) for job in self._batch])

    def _work(self) -> None:
        while self._wait():
            outcomes = self._write_batch()
            self._batch = []
            self._answer(outcomes)

    def _answer(self, outcomes: list[_Outcome]) -> None:
        if any(isinstance(outcome.error, StorageFull | Unavailable) for outcome in outcomes):
            self.has_failed = True
        elif any(outcome.error is None for outcome in outcomes):
            self.has_failed = False
        with suppress(IndexError, RuntimeError):  # There are none, or their event loop is closed.
            outcomes[0].job.loop.call_soon_threadsafe(_deliver, outcomes)

    def _open(self) -> None:
        is_writable = self._file.is_writable
        self._connection = self._open_connection()
        self._driver = driver(self._connection)
        self._driver.execute("PRAGMA busy_timeout = 0")  # `_begin` waits instead; after it nothing can be busy.
        self._is_writable = is_writable
        self._is_sound = True

    def _open_again(self) -> None:
        """Replace a connection that failed, or one that can only read.

        SQLite opens a read-only file for reading, and the connection stays so when the file becomes writable.
        """
        with suppress(Exception):
            self._connection.close()
        self._is_sound = False
        if self._file.is_writable:
            self._file.keep_writable()
        self._open()

    def _wait(self) -> bool:
        """Wait for a write; False at the end, when there will be none."""
        with self._changed:
            while not self._waiting and not self._finishing:
                self._changed.wait()
            return bool(self._waiting)

    def _next(self) -> _Job | None:
        """The job whose turn it is; it is in the batch then."""
        with self._changed:
            job = self._waiting.take()
        if job is not None:
            self._batch.append(job)
        return job

    def _write_batch(self) -> list[_Outcome]:
        """Run what waits in one transaction, each job in a savepoint of its own."""
        self._batch = []
        waited = min(len(self._waiting), LARGEST_BATCH)
        try:
            self._file.check()
            if not self._is_sound or (not self._is_writable and self._file.is_writable):
                self._open_again()
            self._begin()
            outcomes = self._attempt_in_turn()
            self._driver.execute("COMMIT")
        except Exception as error:
            self._rollback()
            reason = translate(error)
            # Those that were not begun have waited as long, and would fail, too.
            while len(self._batch) < waited and self._next() is not None:
                pass
            if reason is error:
                log.error("a group of %d writes failed", len(self._batch), exc_info=error)
            return [_Outcome(job, error=reason) for job in self._batch]
        return outcomes

    def _attempt_in_turn(self) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        end = time.monotonic() + BATCH_SECONDS
        while len(outcomes) < LARGEST_BATCH and (job := self._next()) is not None:
            outcomes.append(self._attempt(job))
            if time.monotonic() > end:
                break
        return outcomes

    def _begin(self) -> None:
        """Begin the transaction when no other process is in one."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_TURN_SECONDS)

    def _attempt(self, job: _Job) -> _Outcome:
        self._driver.execute("SAVEPOINT job")
        try:
            outcome = _Outcome(job, result=job.run(self._connection))
        except Exception as error:
            # A full disk or an I/O error ends the whole transaction: then all of the batch has failed.
            if not self._driver.in_transaction:
                raise
            self._driver.execute("ROLLBACK TO job")
            outcome = _Outcome(job, error=translate(error))
        self._driver.execute("RELEASE job")
        return outcome

    def _rollback(self) -> None:
        """A connection that cannot even do that is replaced: it might keep its transaction, and the lock, for ever."""
        if not self._is_sound:
            return
        try:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except Exception:
            self._is_sound = False
            log.exception("a rollback failed")


def _deliver(outcomes: list[_Outcome]) -> None:
    for job, result, error in outcomes:
        if job.answer.done():
            continue  # The client went away; the write stands.
        if error is None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(error)


def _refuse(job: _Job) -> None:
    """In the event loop; the job has left the queue, so its answer is due from nobody else."""
    if not job.answer.done():
        job.answer.set_exception(Overloaded())
