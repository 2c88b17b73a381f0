# SPDX-License-Identifier: Apache-2.0
"""The catalogue on PostgreSQL: the same operations, driven over asyncpg."""

import asyncio
from collections.abc import Callable

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from glance_registry.catalogue.engine import Catalogue, Operation, P, T, backoff, bind, translate
from glance_registry.model.errors import Unavailable

POOL_SIZE = 16
"""Connections per process."""

WAIT_SECONDS = 10
"""How long a request waits for a free connection, and a connection attempt for the server."""

ATTEMPTS = 5
_RERUN = ("40001", "40P01")
"""Serialization failure and deadlock: the server asks for the transaction to be run again."""


class ServerCatalogue(Catalogue):
    """Reads in autocommit, writes in a transaction that is run again when the server asks for it."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            connect_args={"timeout": WAIT_SECONDS},
            hide_parameters=True,  # A logged statement must not show the location of an image.
        )
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = bind(operation, *args, **kwargs)
        try:
            try:
                return await self._read_once(run)
            except DBAPIError as error:
                # The server was restarted since this connection was made: a new one will do.
                if not error.connection_invalidated:
                    raise
                return await self._read_once(run)
        except Exception as error:
            raise translate(error) from error

    async def _read_once(self, run: Callable[[Connection], T]) -> T:
        async with self._reading.connect() as connection:
            return await connection.run_sync(run)

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

    async def close(self) -> None:
        await self._engine.dispose()
