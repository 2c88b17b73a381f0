# SPDX-License-Identifier: Apache-2.0
"""A pool of connections to PostgreSQL.

Taking a connection out of SQLAlchemy's pool and putting it back costs more than a point read.

Nobody waits for ever: who takes a connection says by when its work ends, and a connection whose work has not ended by
then is closed, as a lost server would close it.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from asyncpg import InterfaceError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from glance_registry.catalogue.base import T
from glance_registry.catalogue.postgresql.hosts import NOT_ANSWERING, Hosts
from glance_registry.catalogue.slots import Slots
from glance_registry.catalogue.statements import is_outdated
from glance_registry.model.errors import OutcomeUnknown

COMMIT_SECONDS = 30
"""How long a commit may take, once it was sent: a standby that was lost is waited for until the cluster gives it up."""

STOP_SECONDS = 2
"""How long a server may take to stop a statement that nobody waits for; then its connection is cut."""

RECYCLE_SECONDS = 1800
"""A connection older than this is replaced: new servers get their share, and old ones forget what they cached."""

_ELSEWHERE = {
    "25006": "The database takes no writes now.",
    "57P01": NOT_ANSWERING,
    "57P02": NOT_ANSWERING,
    "57P03": "The database takes no writes now.",
}
"""The server has become a standby, stops, has crashed, or is starting: another one may do, or a new connection."""

_NOT_DONE = ("23", "40", "53")
"""Classes of errors with which a server says that it did not commit."""


class ConnectionLost(Exception):
    """The connection broke, or cannot be used any more, and nothing of what was done on it is kept."""


class Open(NamedTuple):
    """A connection, the driver's own, and until when it is used."""

    connection: AsyncConnection
    driver: Any
    until: float


def create_engine(hosts: Hosts) -> AsyncEngine:
    """Makes connections and keeps none."""

    async def connect(*_: Any, **__: Any) -> Any:
        return await hosts.connect()

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        poolclass=NullPool,
        hide_parameters=True,  # A logged statement must not show the location of an image.
    )


class Connections:
    """At most `places` connections at a time, and at most `waiting` users who wait for one, each caller in turn."""

    def __init__(self, hosts: Hosts, places: int, waiting: int, **options: Any) -> None:
        self._hosts = hosts
        self._engine = create_engine(hosts).execution_options(**options)
        self._slots = Slots(places, waiting)
        self._idle: list[Open] = []
        self._stopping: set[asyncio.Task[None]] = set()

    async def run(self, run: Callable[[Connection], T], until: float, *, commit: bool = False) -> T:
        """Run an operation on a connection of its own; `until` is the event loop's time by which it must be done.

        Raises what it raises; ConnectionLost when it may be run again, on another connection; Overloaded when too many
        wait for one; TimeoutError when none is free in time; OutcomeUnknown.
        """
        seen = self._hosts.failures
        key = self._slots.take_free()
        if key is None:
            async with asyncio.timeout_at(until):
                key = await self._slots.acquire()
        try:
            opened = await self._take(seen, until)
        except BaseException:
            self._slots.release(key)
            raise
        sound = abandoned = False
        try:
            with _cut_at(opened, until):
                try:
                    result = await _run(opened, run, commit=commit)
                except ConnectionLost:
                    raise
                except Exception:
                    sound = True
                    raise
            if commit:
                await _commit(opened)
            sound = True
            return result
        except (ConnectionLost, OutcomeUnknown) as error:
            if asyncio.get_running_loop().time() >= until:
                error.add_note("the server took too long, and the connection was cut")
            # What broke one connection has most likely broken them all.
            await self._close_idle(cut=True)
            raise
        except asyncio.CancelledError:
            abandoned = True
            raise
        finally:
            if abandoned:
                self._abandon(opened, key)
            else:
                await self._give_back(opened, key, sound=sound)

    async def _take(self, seen: int, until: float) -> Open:
        """A connection; `seen` are the failures to find a server when the wait began."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            opened = self._idle.pop()
            if opened.until > now and not opened.driver.is_closed():
                return opened
            await _close(opened)
        # Who waited behind somebody who found no server need not look for one.
        self._hosts.refuse_if_away(seen)
        async with asyncio.timeout_at(until):
            connection = await self._connect()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        return Open(connection, driver, now + RECYCLE_SECONDS)

    async def _connect(self) -> AsyncConnection:
        try:
            return await self._engine.connect()
        except InterfaceError as error:
            # The server let the connection in and was lost before SQLAlchemy had set it up.
            raise ConnectionLost(NOT_ANSWERING) from error

    async def _give_back(self, opened: Open, key: str, *, sound: bool) -> None:
        try:
            if sound and not opened.driver.is_closed():
                self._idle.append(opened)
            else:
                await _close(opened, cut=True)
        finally:
            self._slots.release(key)

    def _abandon(self, opened: Open, key: str) -> None:
        """Nobody waits for the statement any more: let the server stop it. The slot is free when it has ended."""
        task = asyncio.create_task(self._stop(opened, key))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _stop(self, opened: Open, key: str) -> None:
        sound = False
        try:
            # The driver has begun to ask the server to stop the statement, and sends nothing before that is done. The
            # connection is used again: a new one costs the server a process and the plans of all statements.
            with suppress(Exception):
                async with asyncio.timeout(STOP_SECONDS):
                    await opened.driver.execute("SELECT 1")
                sound = not opened.connection.invalidated and not opened.driver.is_in_transaction()
        finally:
            await self._give_back(opened, key, sound=sound)

    async def _close_idle(self, *, cut: bool) -> None:
        idle, self._idle = self._idle, []
        for opened in idle:
            await _close(opened, cut=cut)

    async def close(self) -> None:
        await asyncio.gather(*self._stopping)
        await self._close_idle(cut=False)
        await self._engine.dispose()


@contextmanager
def _cut_at(opened: Open, until: float) -> Iterator[None]:
    """A server that hangs must not hang us: what waits for it fails, as if the connection were lost, and so it is."""
    timer = asyncio.get_running_loop().call_at(until, opened.driver.terminate)
    try:
        yield
    finally:
        timer.cancel()


async def _run(opened: Open, run: Callable[[Connection], T], *, commit: bool) -> T:
    try:
        return await opened.connection.run_sync(run)
    except Exception as error:
        _raise_if_lost(opened, error)
        if commit:
            await opened.connection.rollback()
        raise


def _raise_if_lost(opened: Open, error: Exception) -> None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    if opened.driver.is_closed() or state in _ELSEWHERE or is_outdated(error):
        raise ConnectionLost(_ELSEWHERE.get(state or "", NOT_ANSWERING)) from error


async def _commit(opened: Open) -> None:
    """Make it last. Once this was sent and no answer came, nobody knows whether it lasts."""
    if opened.driver.is_closed():
        raise ConnectionLost(NOT_ANSWERING)
    with _cut_at(opened, asyncio.get_running_loop().time() + COMMIT_SECONDS):
        try:
            await opened.connection.commit()
        except Exception as error:
            _raise_if_unknown(opened, error)
            raise


def _raise_if_unknown(opened: Open, error: Exception) -> None:
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if opened.driver.is_closed() or state[:2] not in _NOT_DONE or state == "40003":
        raise OutcomeUnknown(
            "The database was lost while it kept the change; whether it did is not known. Look before you try again."
        ) from error


async def _close(opened: Open, *, cut: bool = False) -> None:
    """Close a connection; `cut` does not wait for the server."""
    if cut:
        opened.driver.terminate()
    await opened.connection.invalidate()
    await opened.connection.close()
