# SPDX-License-Identifier: Apache-2.0
"""The catalogue in one SQLite file, shared safely by several processes.

Reads run on the event loop, where a point read costs less than handing it to a thread; one that turns out
to be long is abandoned and run again in a thread, so that it never stalls the loop. Writes go to one
thread per process, which takes all that are waiting into one transaction: one fsync for all of them.
"""

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from glance_registry.catalogue.engine import READ_SECONDS, Catalogue, Operation, P, T, bind, translate
from glance_registry.catalogue.health import check_tables, try_to_write
from glance_registry.catalogue.prepared import driver
from glance_registry.catalogue.sqlite_files import check_not_half_restored
from glance_registry.catalogue.sqlite_reads import Budget, ReadThreads
from glance_registry.model.errors import StorageFull, Unavailable
from glance_registry.model.words import Term, has_terms

log = logging.getLogger(__name__)

BUSY_SECONDS = 10
"""How long a write waits for other processes' writes before it answers that the database is busy."""

WAITING_WRITES = 2_000
"""Writes that may wait in one process; one more is refused rather than queued without bound."""

LARGEST_BATCH = 256

_TURN_SECONDS = 0.0005
"""How often a writer asks whether another process has ended its transaction, which takes a few milliseconds. SQLite
itself would ask ever less often, up to ten times a second, and one process would keep the others from writing."""

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC

_HEADER = b"SQLite format 3\0"


def connect(url: URL, *, read_only: bool = False) -> Connection:
    """One connection in autocommit mode: the caller says BEGIN and COMMIT itself."""
    check_not_half_restored(url.database or "")
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
        hide_parameters=True,  # A logged statement must not show the location of an image.
    )
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # FULL: a write that was acknowledged is on disk, also when the power fails.
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        *(("query_only = ON",) if read_only else ()),
    ):
        connection.exec_driver_sql(f"PRAGMA {pragma}").close()
    driver(connection).create_function("has_words", 4, _has_words, deterministic=True)
    driver(connection).create_function("unhurried", 1, _unhurried)
    return connection


def _unhurried(searched: str) -> str:
    """What is searched by a statement that may take long without a step that could be interrupted."""
    return searched


def _has_words(name: str | None, tags: str, properties: str, terms: str) -> bool:
    """What `word_index.has_words` asks of a row of images."""
    texts = (name or "", *_read_texts(tags), *_read_pairs(properties).values())
    return has_terms(texts, _read_terms(terms))


_read_texts = msgspec.json.Decoder(list[str]).decode
_read_pairs = msgspec.json.Decoder(dict[str, str]).decode
_read_terms = lru_cache(maxsize=128)(msgspec.json.Decoder(tuple[Term, ...]).decode)


def create_file(url: URL) -> None:
    """Create the database's file for its owner alone, unless it is there: it may hold credentials of stores.

    A file that is there is not opened: when a process closes a file, the kernel drops all locks that it has on it
    (fcntl(2)), those of SQLite's connections, too. Another process then believes itself alone and removes the log in
    which this one goes on to write. Raises Unavailable when it can neither be written nor read.
    """
    path = url.database or ""
    check_not_half_restored(path)
    if not os.path.exists(path):  # noqa: PTH110 - the path is a text
        try:
            os.close(os.open(path, _CREATE, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise Unavailable(f"The database file cannot be opened: {error.strerror}.") from error
    if not os.path.isfile(path):  # noqa: PTH113
        raise Unavailable("The database file cannot be opened: it is not a file.")
    if not os.access(path, os.R_OK):
        raise Unavailable("The database file cannot be opened: Permission denied.")
    if not os.access(path, os.W_OK):
        _keep_writable(path)


def _keep_writable(path: str) -> None:
    """Let the files beside a database that may only be read be writable, as they must be once it may be written.

    SQLite gives an empty one the mode of the database, and the shared memory serves all connections of a process.
    Those that are there are not opened, as in `create_file`.
    """
    for suffix, content in (("-wal", b""), ("-shm", b"\0")):  # The first connection clears the shared memory.
        with suppress(OSError):
            created = os.open(path + suffix, _CREATE, 0o600)
            os.write(created, content)
            os.close(created)
        with suppress(OSError):
            os.chmod(path + suffix, 0o600)  # noqa: PTH101


class _File:
    """The database's file, which must stay where it was: what is written into a file that was moved away or replaced
    while it was open is on disk, but nobody will find it there."""

    def __init__(self, url: URL) -> None:
        self._path = url.database or ""
        self._identity = self._identify()
        # Open as long as the connections are: see `create_file`.
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def check(self) -> None:
        """Raise Unavailable unless the file is the one that was opened."""
        if self._identify() != self._identity:
            raise Unavailable("The database file was replaced while the registry was running.")

    @property
    def is_writable(self) -> bool:
        return os.access(self._path, os.W_OK)

    def keep_writable(self) -> None:
        _keep_writable(self._path)

    def check_header(self) -> None:
        """Raise Unavailable unless the file still begins as a database does; no read asks for that page again."""
        if os.pread(self._descriptor, len(_HEADER), 0) not in (_HEADER, b""):
            raise Unavailable("The database file cannot be used.")

    def close(self) -> None:
        """After all connections."""
        os.close(self._descriptor)

    def _identify(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once for each group of writes
        except OSError:
            raise Unavailable("The database file is not there any more.") from None
        return found.st_dev, found.st_ino


class SqliteCatalogue(Catalogue):
    """Reads inline, writes grouped. Make it on the event loop that will use it."""

    def __init__(self, url: URL, read_seconds: float = READ_SECONDS) -> None:
        create_file(url)
        open_reader = partial(connect, url, read_only=True)
        self._file = _File(url)
        try:
            self._reader = open_reader()
            self._budget = Budget(self._reader)
            self._writer = _Writer(partial(connect, url), self._file)
        except Exception as error:
            self._file.close()
            raise translate(error) from error
        self._threads = ReadThreads(open_reader, read_seconds)
        self._writer.start()

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        shapes = self._threads.shapes
        if (shape := shapes.find(operation, args)) is None:
            self._budget.start()
            try:
                return operation(self._reader, *args, **kwargs)
            except Exception as error:
                if not self._budget.ended(error):
                    raise translate(error) from error
            finally:
                self._budget.stop()
            shape = shapes.add(operation, args)
        return await self._threads.run(bind(operation, *args, **kwargs), shape)

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.submit(bind(operation, *args, **kwargs))

    async def check(self) -> None:
        self._file.check()
        self._file.check_header()
        if not self._writer.is_alive():
            raise Unavailable("The thread that writes has ended; restart the registry.")
        await self.read(check_tables)
        # A file that may only be read is no fault: reads are all that is wanted of it.
        if self._writer.has_failed and self._file.is_writable:
            try:
                await self.write(try_to_write)
            except StorageFull as full:
                raise Unavailable(str(full)) from full

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.finish)
        await loop.run_in_executor(None, self._threads.close)
        self._reader.close()
        self._file.close()


class _Job(NamedTuple):
    run: Callable[[Connection], Any]
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class _Outcome(NamedTuple):
    job: _Job
    result: Any = None
    error: BaseException | None = None


class _Writer(threading.Thread):
    """The one thread of this process that writes."""

    def __init__(self, open_connection: Callable[[], Connection], file: _File) -> None:
        super().__init__(name="write", daemon=True)
        self._open_connection = open_connection
        self._file = file
        self._open()
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._batch: list[_Job] = []
        self._finishing = False
        self.has_failed = False
        """Whether the last write failed because of the database."""

    async def submit(self, run: Callable[[Connection], T]) -> T:
        if self._finishing:
            raise Unavailable("The registry is shutting down.")
        if self._waiting.qsize() >= WAITING_WRITES:
            raise Unavailable("Too many writes are waiting for the database.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.put(_Job(run, answer, loop))
        return await answer

    def finish(self) -> None:
        """Wait until all that was submitted is done."""
        self._finishing = True
        self._waiting.put(None)
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
        while batch := self._next_batch():
            self._batch = batch
            outcomes = self._commit(batch)
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
        """Instead of a connection that failed, or of one that can only read: SQLite opens a file that may not be
        written for reading, and so it stays for that connection."""
        with suppress(Exception):
            self._connection.close()
        self._is_sound = False
        if self._file.is_writable:
            self._file.keep_writable()
        self._open()

    def _next_batch(self) -> list[_Job]:
        """All the jobs that are waiting, at least one; empty at the end."""
        first = self._waiting.get()
        batch = [first] if first else []
        while batch and len(batch) < LARGEST_BATCH:
            try:
                job = self._waiting.get_nowait()
            except Empty:
                break
            if job is None:
                self._waiting.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Job]) -> list[_Outcome]:
        """Run the batch in one transaction, each job in a savepoint of its own."""
        try:
            self._file.check()
            if not self._is_sound or (not self._is_writable and self._file.is_writable):
                self._open_again()
            self._begin()
            outcomes = [self._attempt(job) for job in batch]
            self._driver.execute("COMMIT")
        except Exception as error:
            self._rollback()
            reason = translate(error)
            if reason is error:
                log.error("a group of %d writes failed", len(batch), exc_info=error)
            return [_Outcome(job, error=reason) for job in batch]
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
