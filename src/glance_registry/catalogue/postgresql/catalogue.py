# SPDX-License-Identifier: Apache-2.0
"""The catalogue on PostgreSQL: the same operations, driven over asyncpg."""

import asyncio
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from glance_registry.catalogue.base import READ_SECONDS, Catalogue, Operation, P, T, backoff, bind
from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.errors import translate
from glance_registry.catalogue.health import check_tables, try_to_write
from glance_registry.catalogue.long_reads import LongReads
from glance_registry.catalogue.postgresql.hosts import Hosts
from glance_registry.catalogue.postgresql.pool import STOP_SECONDS, ConnectionLost, Connections
from glance_registry.catalogue.postgresql.readers import Read, Readers
from glance_registry.catalogue.postgresql.replica import Behind, Replica
from glance_registry.model.errors import ReadTimeout, StorageFull, Unavailable

_RERUN = ("40001", "40P01")
"""Serialization failure and deadlock: the server asks us to run the transaction again."""


class Limits(Struct, frozen=True, kw_only=True):
    """How many connections one process has, and how long its operations may take."""

    readers: int = 12
    """Connections that read."""
    long_readers: int = 4
    """Connections for reads of a kind that takes long."""
    writers: int = 8
    """Connections that write."""
    waiting: int = 500
    """How many operations may wait for connections of each kind."""
    seconds: float = 15
    """How long a write may take until its commit, including the wait for a connection."""
    read_seconds: float = READ_SECONDS
    """The same for a read."""
    attempts: int = 5
    """How often a write is tried, if the server asks for it again or its connection is lost."""


PLANNER = {
    "enable_bitmapscan": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Sequential scans, bitmaps and compiled code are for statements that read much. Ours read a row by its key, or the
beginning of an index. The planner, which does not know the parameters, could expect more rows.

One plan serves a statement with all values: a statement says by its conditions which index leads to the page. To plan
a list for each request takes longer than to read it."""


class ServerCatalogue(Catalogue):
    """Reads in autocommit, on a replica if one is new enough; writes in a transaction.

    A transaction is run again if it is safe.
    """

    def __init__(self, url: URL, limits: Limits | None = None, replica: URL | None = None) -> None:
        super().__init__()
        self._limits = limits or Limits()
        # The server also stops what takes too long, and frees the locks of a process that has vanished.
        seconds = max(self._limits.seconds, self._limits.read_seconds + STOP_SECONDS)
        milliseconds = str(int(seconds * 1000))
        timeouts = {"statement_timeout": milliseconds, "idle_in_transaction_session_timeout": milliseconds}
        settings = timeouts | PLANNER
        hosts = Hosts(url, settings)
        self._is_full = False  # Whether the last write found no room.
        self._writers = Connections(hosts, self._limits.writers, self._limits.waiting, **self.image_cache.options)
        self._readers = self._reading(hosts)
        self.long_reads = LongReads()
        self._replica: Replica | None = None
        if replica is not None:
            standbys = self._reading(Hosts(replica, settings, of_several="standby"))
            self._replica = Replica(self._connections(hosts, 1), standbys, locate(replica))

    def _reading(self, hosts: Hosts) -> Readers:
        limits = self._limits
        return Readers(self._connections(hosts, limits.readers), self._connections(hosts, limits.long_readers))

    def _connections(self, hosts: Hosts, size: int) -> Connections:
        options = {**self.image_cache.options, "isolation_level": "AUTOCOMMIT"}
        return Connections(hosts, size, self._limits.waiting, **options)

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        known = self.long_reads.find(operation, args)
        read = Read(bind(operation, *args, **kwargs), among_long=known is not None)
        seconds = self._limits.read_seconds
        try:
            # A cancelled read is stopped on the server, too. If the server does not answer, the connection is cut.
            async with asyncio.timeout(seconds):
                return await self._read(read, self._loop_time() + seconds + STOP_SECONDS)
        except TimeoutError as error:
            raise ReadTimeout(seconds) from error
        finally:
            if known is not None:
                self.long_reads.note(known, long=read.is_long or not read.has_ended)
            elif read.is_long:
                self.long_reads.add(operation, args)

    async def _read(self, read: Read[T], until: float) -> T:
        if self._replica is not None:
            try:
                return await self._replica.read(read, until)
            except Behind:
                pass
        return await self._read_primary(read, until)

    async def _read_primary(self, read: Read[T], until: float) -> T:
        try:
            try:
                return await self._readers.run(read, until)
            except ConnectionLost:
                return await self._readers.run(read, until)
        except ConnectionLost as lost:
            raise Unavailable(str(lost)) from lost
        except Exception as error:
            raise translate(error) from error

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result = await self._write(bind(operation, *args, **kwargs))
        except StorageFull:
            self._is_full = True
            raise
        self._is_full = False
        return result

    async def _write(self, run: Callable[[Connection], T]) -> T:
        """Run a write, again if needed, but never after its commit was sent: it could be committed twice.

        Raises OutcomeUnknown when the commit was sent and not answered.
        """
        until = self._until()
        for attempt in range(1, self._limits.attempts + 1):
            try:
                return await self._writers.run(run, until, commit=True)
            except ConnectionLost as lost:
                if attempt == self._limits.attempts or self._loop_time() >= until:
                    raise Unavailable(str(lost)) from lost
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RERUN:
                    raise translate(error) from error
            except Exception as error:
                raise translate(error) from error
            await asyncio.sleep(backoff(attempt))
        raise Unavailable("The database is busy.")

    def _until(self) -> float:
        return self._loop_time() + self._limits.seconds

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    async def check(self) -> None:
        await self._read_primary(Read(check_tables), self._until())
        if self._is_full:
            try:
                await self.write(try_to_write)
            except StorageFull as full:
                raise Unavailable(str(full)) from full

    async def close(self) -> None:
        if self._replica is not None:
            await self._replica.close()
        await self._readers.close()
        await self._writers.close()
