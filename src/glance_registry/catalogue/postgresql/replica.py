# SPDX-License-Identifier: Apache-2.0
"""Reads on a standby that are as new as the primary's.

Before a standby is asked, the primary is: where does its log end? A standby that has replayed the log up to there shows
everything that anybody was told is done, whichever process told them. The question is short, and is asked once for all
reads that come while the one before it is on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sqlalchemy import Connection, literal_column, select
from sqlalchemy.exc import DBAPIError

from glance_registry.catalogue.base import T
from glance_registry.catalogue.causes import Database
from glance_registry.catalogue.outages import Outages
from glance_registry.catalogue.postgresql.pool import ConnectionLost, Connections
from glance_registry.catalogue.postgresql.readers import Read, Readers
from glance_registry.catalogue.statements import Prepared
from glance_registry.model.errors import Overloaded, Unavailable

SECONDS = 5
"""How long a standby may take; then the primary is asked."""

AVOIDED_SECONDS = 5
"""How long a standby is left alone that could not be reached."""


class Position(NamedTuple):
    """A place in the log: the timeline, which changes with each failover, and the byte."""

    timeline: int
    byte: int


class Behind(Exception):
    """The standby does not show yet what it must, or does not answer: the primary will do."""


# Each a row of one list: the timeline and the byte.
_END_OF_LOG = Prepared(
    select(
        literal_column(
            "ARRAY[('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::bigint,"
            " pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint]"
        )
    )
)
# The timeline of its last checkpoint: a standby of a primary that was replaced may have replayed more than the new one
# has written, but of another history. After a failover it takes a standby some minutes until this has caught up.
_REPLAYED = Prepared(
    select(
        literal_column(
            "ARRAY[(SELECT timeline_id FROM pg_control_checkpoint()), CASE WHEN pg_is_in_recovery()"
            " THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') ELSE 0 END]::bigint[]"
        )
    )
)
_KEY = "replayed"


class Replica:
    """One standby, or whichever of several answers."""

    def __init__(self, primary: Connections, standby: Readers, database: Database) -> None:
        self._primary = primary
        self._standby = standby
        self._database = database
        self._outages = Outages("standby not used", "standby used again")
        self._end_of_log = Shared(self._ask)
        self._avoided_until = 0.0

    async def read(self, read: Read[T], until: float) -> T:
        """Run a read. Raises what it raises, Overloaded, and Behind."""
        now = asyncio.get_running_loop().time()
        if now < self._avoided_until:
            raise Behind
        needed = await self._end_of_log.ask()
        if needed is None:
            raise Behind

        since = self._outages.clock()
        try:
            result = await self._standby.run(read, min(until, now + SECONDS), lambda each: check_replayed(each, needed))
        except Overloaded:
            raise  # The standby is well. The primary must not get what one caller sends too much.
        except (ConnectionLost, Unavailable, OSError, TimeoutError) as error:
            self._avoid()
            self._log(error)
            raise Behind from error
        except DBAPIError as error:
            if error.statement is None:  # Nobody let us in.
                self._avoid()
            self._log(error)
            raise Behind from error
        if self._outages.is_open:
            self._outages.worked("read", since)
        return result

    async def _ask(self) -> Position | None:
        """Where the primary's log ends; None when it does not say."""
        until = asyncio.get_running_loop().time() + SECONDS
        try:
            try:
                return await self._primary.run(end_of_log, until)
            except ConnectionLost:
                return await self._primary.run(end_of_log, until)
        except Exception as error:
            # Then the primary is asked for the image itself, and its error is the answer.
            self._log(error)
            return None

    def _log(self, error: Exception) -> None:
        cause = self._database.cause(error) or str(error)
        self._outages.failed("read", cause, {"database": self._database.name, "cause": cause})

    def _avoid(self) -> None:
        self._avoided_until = asyncio.get_running_loop().time() + AVOIDED_SECONDS

    async def close(self) -> None:
        await self._standby.close()
        await self._primary.close()


class Shared:
    """An answer for all who ask while the question before theirs is on its way: that one may have been too early."""

    def __init__(self, find: Callable[[], Awaitable[Position | None]]) -> None:
        self._find = find
        self._asked: asyncio.Task[Position | None] | None = None
        self._next: asyncio.Task[Position | None] | None = None

    async def ask(self) -> Position | None:
        if self._next is None:
            self._next = asyncio.create_task(self._follow(self._asked))
        return await asyncio.shield(self._next)

    async def _follow(self, before: asyncio.Task[Position | None] | None) -> Position | None:
        if before is not None:
            await asyncio.wait([before])
        self._asked, self._next = self._next, None
        return await self._find()


def end_of_log(connection: Connection) -> Position:
    """What was acknowledged is before this place."""
    return _position(_END_OF_LOG, connection)


def check_replayed(connection: Connection, needed: Position) -> None:
    """Raise Behind unless the server shows what is before this place. What a connection has seen once is remembered."""
    seen: Position = connection.info.get(_KEY, Position(0, 0))
    if seen.timeline >= needed.timeline and seen.byte >= needed.byte:
        return
    seen = _position(_REPLAYED, connection)
    if seen.timeline < needed.timeline or seen.byte < needed.byte:
        raise Behind
    connection.info[_KEY] = seen


def _position(question: Prepared, connection: Connection) -> Position:
    row = question.first(connection, {})
    assert row is not None
    return Position(*row[0])
