# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL servers of a database URL, and which of them a connection is made to."""

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import URL

from glance_registry.catalogue.causes import address, describe
from glance_registry.catalogue.database_url import places
from glance_registry.model.errors import Unavailable

CONNECT_SECONDS = 3
"""How long one server may take to let a connection in; then the next one is asked."""

PAUSE_SECONDS = 0.2
"""How long a process waits after it found no server, before it asks again: a failover must not be a flood."""

PATIENCE_SECONDS = 1
"""How long others wait while one asks servers that were away: if these hang, the answer takes long."""

NOT_ANSWERING = "The database does not answer."


class Hosts:
    """The servers that a URL names. They are asked in turn, first the one that answered last.

    `settings` are the servers', for each connection. `of_several` says which kind of server will do when there are
    several and the URL does not say: the values of libpq's `target_session_attrs`.
    """

    def __init__(self, url: URL, settings: dict[str, str], of_several: str = "read-write") -> None:
        self._places = places(url)
        rest = url.difference_update_query(["host", "port"]).set(drivername="postgresql", host=None, port=None)
        self._dsn = rest.render_as_string(hide_password=False)
        self._options: dict[str, Any] = {"timeout": CONNECT_SECONDS, "server_settings": settings}
        if len(self._places) > 1 and "target_session_attrs" not in url.query:
            self._options["target_session_attrs"] = of_several
        self.failures = 0
        """How often all of them were asked in vain."""
        self._down = False
        self._failure: Exception | None = None
        """Why they were asked in vain the last time: the cause for all who take that for an answer."""
        self._asked_at: float | None = None
        self._door = asyncio.Lock()

    async def connect(self) -> Any:
        """A new connection of the driver's. Raises what it raises when no server would do, or Unavailable."""
        if not self._down:
            return await self._ask_all()
        return await self._ask_one_at_a_time()

    async def _ask_one_at_a_time(self) -> Any:
        """Servers that were not there: who waits meanwhile takes the outcome for an answer, and does not wait long."""
        seen = self.failures
        self.refuse_if_away(seen)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._door.acquire()
        except TimeoutError:
            raise Unavailable(NOT_ANSWERING) from self._failure
        try:
            self.refuse_if_away(seen)
            self._asked_at = asyncio.get_running_loop().time()
            return await self._ask_all()
        finally:
            self._asked_at = None
            self._door.release()

    def refuse_if_away(self, seen: int) -> None:
        """Raise Unavailable when no server can be reached.

        That is so when an attempt failed since there were `seen` failures, or when a running one does not end soon.
        """
        if not self._down:
            return
        late = self._asked_at is not None and asyncio.get_running_loop().time() > self._asked_at + PATIENCE_SECONDS
        if late or self.failures != seen:
            raise Unavailable(NOT_ANSWERING) from self._failure

    async def _ask_all(self) -> Any:
        try:
            connection = await self._ask_in_turn()
        except Exception as error:
            self._down, self._failure = True, error
            await asyncio.sleep(PAUSE_SECONDS)
            self.failures += 1
            raise
        self._down, self._failure = False, None
        return connection

    async def _ask_in_turn(self) -> Any:
        failure: Exception = Unavailable(NOT_ANSWERING)
        reasons = []
        for host, port in list(self._places):
            try:
                connection = await asyncpg.connect(self._dsn, host=host, port=port, **self._options)
            except Exception as error:
                failure = error
                reasons.append(f"{address(host, port)}: {describe(error)}")
                continue
            self._places.remove((host, port))
            self._places.insert(0, (host, port))
            return connection
        if len(reasons) > 1:
            failure.add_note("; ".join(reasons))
        raise failure
