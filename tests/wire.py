# SPDX-License-Identifier: Apache-2.0
"""A wire between the registry and a PostgreSQL server, for tests that cut it or let it hang."""

import asyncio
from contextlib import suppress
from typing import Literal
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []
        self.cut_at_commit: Fate | None = None
        self.connections = 0

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}{self._database}"

    def hang(self) -> None:
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
        there, back = await asyncio.open_unix_connection(self._socket)
        self._ends += [writer, back]
        for source, target, ours in ((reader, back, True), (there, writer, False)):
            task = asyncio.create_task(self._carry(source, target, (writer, back), ours=ours))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

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
