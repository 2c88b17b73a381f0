# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads whose client has gone, or that still run when the program stops."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from tests.api.test_patience import Connection, tell
from tests.api.v2.test_v2_file import create, upload
from tests.catalogue.examples import ADMIN
from tests.conftest import Client

from glance_registry.api import patience
from glance_registry.api.asgi import Application
from glance_registry.api.dialect import Access, Dialect, route
from glance_registry.api.host_check import HostCheck
from glance_registry.api.identity import anyone
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, streamed_answer
from glance_registry.catalogue import images

STOPPED = "The registry is shutting down."


class Endless:
    """An answer without an end, which knows how it was made and whether what makes it was closed."""

    def __init__(self) -> None:
        self.parts = 0
        self.closed = False
        self.dialect = Dialect(
            name="test", routes=(route("GET", "/endless", self._answer, Access.OPEN, "application/json"),)
        )

    async def _answer(self, _: Request) -> Answer:
        return streamed_answer(b"[", self._following())

    async def _following(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                await asyncio.sleep(0)
                self.parts += 1
                yield b"1,"
        finally:
            self.closed = True


def any_host(_: Any) -> None:
    pass


def serve(client: Client, dialect: Dialect) -> Application:
    check: HostCheck = any_host
    return Application(client.application.open, check, anyone, [dialect])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOOK_AFTER_SECONDS", 0)
    monkeypatch.setattr(patience, "STOP_SECONDS", 0)
    monkeypatch.setattr(patience, "TRANSFER_STOP_SECONDS", 0)


def test_an_answer_is_not_made_any_further_when_its_client_has_gone(sqlite_client: Client) -> None:
    endless = Endless()

    async def story(_: Application) -> None:
        connection = Connection(serve(sqlite_client, endless.dialect), "/endless")
        await connection.is_watched.wait()
        assert not endless.closed
        connection.messages.put_nowait({"type": "http.disconnect"})
        await connection.task

        assert endless.closed
        assert connection.sent[-1]["more_body"]

    tell(sqlite_client, story)


def test_an_answer_that_is_cut_when_the_program_stops_has_no_end(sqlite_client: Client) -> None:
    """Its client must not take it for complete."""
    endless = Endless()

    async def story(_: Application) -> None:
        application = serve(sqlite_client, endless.dialect)
        connection = Connection(application, "/endless")
        await connection.is_watched.wait()
        application.stop()
        await connection.task

        assert endless.closed
        assert connection.sent[-1]["more_body"]

    tell(sqlite_client, story)


def test_head_closes_what_would_make_the_answer(sqlite_client: Client) -> None:
    endless = Endless()

    async def story(_: Application) -> None:
        connection = Connection(serve(sqlite_client, endless.dialect), "/endless", method="HEAD")
        await connection.task

        assert (endless.parts, [message.get("body") for message in connection.sent]) == (0, [None, b""])

    tell(sqlite_client, story)


def open_objects(client: Client) -> list[str]:
    """The files of stores that this process has open."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link) for link in links if str(link).startswith(str(client.stores))]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_download_closes_its_file(sqlite_client: Client, method: str) -> None:
    image_id = create(sqlite_client)
    upload(sqlite_client, image_id, b"bytes" * 1_000_000)

    async def story(_: Application) -> None:
        connection = Connection(
            sqlite_client.application, f"/v2/images/{image_id}/file", method=method, pause_after_start=True
        )
        if method == "GET":
            await connection.is_watched.wait()
            connection.messages.put_nowait({"type": "http.disconnect"})
            connection.go_on.set()
        else:
            connection.go_on.set()
        await connection.task
        for _ in range(1_000):
            if not open_objects(sqlite_client):
                return
            await asyncio.sleep(0.001)  # A thread may still read ahead.
        pytest.fail("The object stays open.")

    tell(sqlite_client, story)


def begin_upload(client: Client, image_id: str) -> Connection:
    """An upload of which only a part has come."""
    connection = Connection(
        client.application,
        f"/v2/images/{image_id}/file",
        {"content-type": "application/octet-stream"},
        method="PUT",
        body=b"part" * 1_000_000,
    )
    connection.messages.put_nowait({"type": "http.request", "body": b"more", "more_body": True})
    return connection


def test_uploads_are_cut_when_the_program_stops_and_their_images_queued(client: Client) -> None:
    ids = [create(client) for _ in range(3)]

    async def story(_: Application) -> None:
        connections = [begin_upload(client, image_id) for image_id in ids]
        await asyncio.gather(*(connection.is_watched.wait() for connection in connections))
        client.application.stop()
        for connection in connections:
            # What is left of the body is read before the answer.
            await asyncio.wait([connection.task], timeout=0.1)
            connection.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
            await connection.task
            assert connection.sent[0]["status"] == 503
            assert STOPPED in connection.sent[1]["body"].decode()

    tell(client, story)
    assert {client.operate(images.get, image_id, ADMIN).status for image_id in ids} == {"queued"}
    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []


def test_uploads_have_let_go_of_the_catalogue_before_it_is_closed(client: Client) -> None:
    image_id = create(client)

    async def story(_: Application) -> None:
        connection = begin_upload(client, image_id)
        await connection.is_watched.wait()
        await client.application.close()
        connection.messages.put_nowait({"type": "http.disconnect"})
        await connection.task

    tell(client, story)
    assert client.operate(images.get, image_id, ADMIN).status == "queued"
