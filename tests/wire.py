# SPDX-License-Identifier: Apache-2.0
"""A wire between the registry and a PostgreSQL server, for tests that cut it or let it hang."""

import asyncio
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Fate = Literal["lost", "done"]


class Wire:
    """Listens on a port of this machine and hands on what it hears, to the server's socket and back.

    `cut_at_commit`: the next COMMIT ends the connection, `lost` on its way to the server or `done` there with its
    answer lost on the way back. While it `hangs`, nothing arrives on either side.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._database = parts.path
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._opening: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ends: list[asyncio.StreamWriter] = []
        self.cut_at_commit: Fate | None = None
        self.connections = 0
        self.holds = asyncio.Event()
        """Set when something comes while the wire hangs."""

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        await asyncio.sleep(0)  # What was cut is closed in the loop's next round.

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}{self._database}"

    def hang(self) -> None:
        self.holds.clear()
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """End all connections, as a server does that is killed."""
        ends, self._ends = self._ends, []
        for end in ends:
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._ends.append(writer)
        opening = asyncio.current_task()
        assert opening is not None
        _hold(opening, self._opening)
        there, back = await asyncio.open_unix_connection(self._socket)
        self._ends.append(back)
        for source, target, ours in ((reader, back, True), (there, writer, False)):
            _hold(asyncio.create_task(self._carry(source, target, (writer, back), ours=ours)), self._tasks)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        ours: bool,
    ) -> None:
        with suppress(ConnectionError):
            while heard := await source.read(65_536):
                if not self._flowing.is_set():
                    self.holds.set()
                await self._flowing.wait()
                if ours and b"COMMIT;" in heard and self.cut_at_commit:
                    await self._end_at_commit(heard, *ends)
                    return
                target.write(heard)
                await target.drain()
        for end in ends:
            end.close()

    async def _end_at_commit(self, heard: bytes, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        client.transport.abort()
        if self.cut_at_commit == "done":
            server.write(heard)
            await server.drain()
        self.cut_at_commit = None
        server.close()


def _hold(task: asyncio.Task[Any], running: set[asyncio.Task[Any]]) -> None:
    """Put a task among those that run, until it ends."""
    running.add(task)
    task.add_done_callback(running.discard)
