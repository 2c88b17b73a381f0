# SPDX-License-Identifier: Apache-2.0
"""Long reads whose client has gone, or that still run when the program stops; and for whom the database works."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.catalogue.test_long_reads import count_far, never_end, wait_until_stopped
from tests.conftest import Client, identity

from glance_registry.api import patience
from glance_registry.api.asgi import Application
from glance_registry.api.dialect import Access, Dialect, route
from glance_registry.api.identity.context import trust_headers
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, text_answer
from glance_registry.catalogue.slots import caller_key


async def list_without_end(request: Request) -> Answer:
    await request.registry.catalogue.read(never_end)
    return text_answer("never")


async def show_key(_: Request) -> Answer:
    return text_answer(caller_key.get())


DIALECT = Dialect(
    name="test",
    routes=(
        route("GET", "/endless", list_without_end, Access.OPEN, "text/plain"),
        route("GET", "/key", show_key, Access.READ, "text/plain"),
    ),
)


class Connection:
    """One request to an application whose client can go away. With a body, more of it may be put into `messages`."""

    def __init__(
        self,
        application: Application,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        pause_after_start: bool = False,
    ) -> None:
        """`pause_after_start`: the client takes no part of the body until `go_on` is set."""
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": bool(body)})
        self.is_watched = asyncio.Event()
        self.go_on = asyncio.Event()
        if not pause_after_start:
            self.go_on.set()
        self.sent: list[Any] = []
        raw = [
            (name.lower().encode(), value.encode()) for name, value in {"Host": "localhost", **(headers or {})}.items()
        ]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}
        self.task = asyncio.create_task(
            application({**scope, "client": ("127.0.0.9", 5)}, self._receive, self._send)  # type: ignore[arg-type]
        )

    async def _receive(self) -> dict[str, Any]:
        if self.messages.empty():
            self.is_watched.set()
        return await self.messages.get()

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        await self.go_on.wait()

    @property
    def answer(self) -> tuple[int, str]:
        return self.sent[0]["status"], self.sent[1]["body"].decode()


def tell(client: Client, story: Callable[[Application], Any]) -> None:
    async def run() -> None:
        identify = trust_headers(["127.0.0.0/8"], ["admin"])
        application = Application(client.application.open, lambda _: None, identify, [DIALECT])
        async with asyncio.timeout(60):  # A test that fails must not hang.
            await story(application)

    client.runner.run(run())


def test_reads_whose_clients_have_gone_are_stopped(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run and those that wait."""
    monkeypatch.setattr(patience, "LOOK_AFTER_SECONDS", 0)

    async def story(application: Application) -> None:
        connections = [Connection(application, "/endless") for _ in range(20)]
        await asyncio.gather(*(connection.is_watched.wait() for connection in connections))
        for connection in connections:
            connection.messages.put_nowait({"type": "http.disconnect"})
        await asyncio.gather(*(connection.task for connection in connections))

        assert {connection.answer for connection in connections} == {(400, "The client closed the connection.\n")}
        catalogue = (await application.open()).catalogue
        await wait_until_stopped(catalogue)
        assert await catalogue.read(count_far) == 300_000

    tell(client, story)


def test_reads_are_given_up_when_the_program_stops(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run, those that wait, and those that come later."""
    monkeypatch.setattr(patience, "LOOK_AFTER_SECONDS", 0)
    monkeypatch.setattr(patience, "STOP_SECONDS", 0)

    async def story(application: Application) -> None:
        connections = [Connection(application, "/endless") for _ in range(20)]
        await asyncio.gather(*(connection.is_watched.wait() for connection in connections))
        application.stop()
        await asyncio.gather(*(connection.task for connection in connections))
        late = Connection(application, "/endless")
        await late.task

        answers = {connection.answer for connection in (*connections, late)}
        assert answers == {(503, "The registry is shutting down.\n")}
        assert (b"retry-after", b"1") in late.sent[0]["headers"]

    tell(client, story)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (identity(project="p", user="u"), "project p"),
        (identity(user="u"), "user u"),
        (identity(user=None), "address 127.0.0.9"),
        ({}, "address 127.0.0.9"),
    ],
)
def test_the_database_works_for_a_project_else_a_user_else_an_address(
    sqlite_client: Client, headers: dict[str, str], key: str
) -> None:
    async def story(application: Application) -> None:
        connection = Connection(application, "/key", headers)
        await connection.task

        assert connection.answer == (200, key)

    tell(sqlite_client, story)
