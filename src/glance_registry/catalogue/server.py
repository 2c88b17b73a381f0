# SPDX-License-Identifier: Apache-2.0
"""The catalogue on PostgreSQL: the same operations, driven over asyncpg."""

import asyncio
from collections.abc import Callable

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from glance_registry.catalogue.engine import Catalogue, Operation, P, T, backoff, bind, ping, translate
from glance_registry.model.errors import RegistryError, Unavailable

READERS = 12
"""Connections per process that read."""

WRITERS = 8
"""Connections per process that write."""

WAIT_SECONDS = 10
"""How long a request waits for a free connection, and a connection attempt for the server."""

ATTEMPTS = 5
_RERUN = ("40001", "40P01")
"""Serialization failure and deadlock: the server asks for the transaction to be run again."""


class ServerCatalogue(Catalogue):
    """Reads in autocommit, writes in a transaction that is run again when the server asks for it."""

    def __init__(self, url: URL) -> None:
        self._engine = _create_engine(url, WRITERS)
        self._readers = _Readers(_create_engine(url, READERS))

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = bind(operation, *args, **kwargs)
        try:
            try:
                return await self._readers.run(run)
            except DBAPIError as error:
                # The server was restarted since this connection was made: a new one will do.
                if not error.connection_invalidated:
                    raise
                return await self._readers.run(run)
        except Exception as error:
            raise translate(error) from error

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = bind(operation, *args, **kwargs)
        for attempt in range(ATTEMPTS):
            try:
                return await self._write_once(run)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _RERUN:
                    raise translate(error) from error
            except Exception as error:
                raise translate(error) from error
            await asyncio.sleep(backoff(attempt))
        raise Unavailable("The database is busy.")

    async def _write_once(self, run: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(run)

    async def check(self) -> None:
        await self.read(ping)

    async def close(self) -> None:
        await self._readers.close()
        await self._engine.dispose()


def _create_engine(url: URL, connections: int) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        connect_args={"timeout": WAIT_SECONDS},
        hide_parameters=True,  # A logged statement must not show the location of an image.
    )


class _Readers:
    """Connections kept at hand for reads: to take one out of SQLAlchemy's pool and put it back costs more
    than a point read does."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._places = asyncio.Semaphore(READERS)
        self._idle: list[AsyncConnection] = []

    async def run(self, run: Callable[[Connection], T]) -> T:
        """Run a read on a connection of its own. Raises TimeoutError when none becomes free."""
        if self._places.locked():
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            return await self._run(self._idle.pop() if self._idle else await self._engine.connect(), run)
        finally:
            self._places.release()

    async def _run(self, connection: AsyncConnection, run: Callable[[Connection], T]) -> T:
        sound = False
        try:
            result = await connection.run_sync(run)
            sound = True
            return result
        except RegistryError:
            sound = True
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                await self._close_idle()
            raise
        finally:
            if sound:
                self._idle.append(connection)
            else:
                await connection.close()

    async def _close_idle(self) -> None:
        """What broke one connection has most likely broken them all."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def close(self) -> None:
        await self._close_idle()
        await self._engine.dispose()
