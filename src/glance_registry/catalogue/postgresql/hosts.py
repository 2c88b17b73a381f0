# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL servers of a database URL, and connections to one of them."""

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import URL

from glance_registry.catalogue.causes import address, describe
from glance_registry.catalogue.database_url import addresses
from glance_registry.model.errors import Unavailable

CONNECT_SECONDS = 3
"""How long a server may take to accept a connection; then the next one is tried."""

PAUSE_SECONDS = 0.2
"""How long a process waits before it tries all servers again: a failover must not cause a flood of connections."""

PATIENCE_SECONDS = 1
"""How long others wait while one operation tries servers that did not answer before. They may hang."""

NOT_ANSWERING = "The database does not answer."


class Hosts:
    """The servers of a URL. They are tried in turn, first the one that answered last.

    `settings` are server settings for each connection. `of_several` is libpq's `target_session_attrs`, the kind of
    server that is wanted, for a URL that has several servers and does not say.
    """

    def __init__(self, url: URL, settings: dict[str, str], of_several: str = "read-write") -> None:
        self._addresses = addresses(url)
        rest = url.difference_update_query(["host", "port"]).set(drivername="postgresql", host=None, port=None)
        self._dsn = rest.render_as_string(hide_password=False)
        self._options: dict[str, Any] = {"timeout": CONNECT_SECONDS, "server_settings": settings}
        if len(self._addresses) > 1 and "target_session_attrs" not in url.query:
            self._options["target_session_attrs"] = of_several
        self.failures = 0
        """How often none of them answered."""
        self._is_down = False
        self._failure: Exception | None = None
        """Why none of them answered the last time."""
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def connect(self) -> Any:
        """A new connection of the driver. Raises the driver's error if no server can be used, or Unavailable."""
        if not self._is_down:
            return await self._ask_all()
        return await self._ask_one_at_a_time()

    async def _ask_one_at_a_time(self) -> Any:
        """Try servers that did not answer before. Others wait for the result, for a short time only."""
        seen = self.failures
        self.refuse_if_away(seen)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._asking.acquire()
        except TimeoutError:
            raise Unavailable(NOT_ANSWERING) from self._failure
        try:
            self.refuse_if_away(seen)
            self._asked_at = asyncio.get_running_loop().time()
            return await self._ask_all()
        finally:
            self._asked_at = None
            self._asking.release()

    def refuse_if_away(self, seen: int) -> None:
        """Raise Unavailable if no server answers: tried again after `seen` failures, or being tried for too long."""
        if not self._is_down:
            return
        late = self._asked_at is not None and asyncio.get_running_loop().time() > self._asked_at + PATIENCE_SECONDS
        if late or self.failures != seen:
            raise Unavailable(NOT_ANSWERING) from self._failure

    async def _ask_all(self) -> Any:
        try:
            connection = await self._ask_in_turn()
        except Exception as error:
            self._is_down, self._failure = True, error
            await asyncio.sleep(PAUSE_SECONDS)
            self.failures += 1
            raise
        self._is_down, self._failure = False, None
        return connection

    async def _ask_in_turn(self) -> Any:
        failure: Exception = Unavailable(NOT_ANSWERING)
        reasons = []
        for host, port in list(self._addresses):
            try:
                connection = await asyncpg.connect(self._dsn, host=host, port=port, **self._options)
            except Exception as error:
                failure = error
                reasons.append(f"{address(host, port)}: {describe(error)}")
                continue
            self._addresses.remove((host, port))
            self._addresses.insert(0, (host, port))
            return connection
        if len(reasons) > 1:
            failure.add_note("; ".join(reasons))
        raise failure
