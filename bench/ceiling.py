# SPDX-License-Identifier: Apache-2.0
"""The ceiling: what this machine can serve when nothing is done but the indispensable.

The same server with the same settings (`glance_registry.cli.serve`) runs a bare ASGI handler over the bare
driver: one statement, its rows straight into JSON. No router, identity, validation, headers, metrics or log.
`python -m bench.ceiling URL PORT`.
"""

import sqlite3
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from sqlalchemy import make_url

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

POOL_SIZE = 16  # As glance_registry.catalogue.postgresql.catalogue has it.

_SHOWN = (
    *("id", "name", "size", "disk_format", "container_format", "checksum", "status", "created_at", "updated_at"),
    *("deleted_at", "owner", "min_disk", "min_ram", "protected", "virtual_size", "visibility"),
)
_BRIEF = ("id", "name", "size", "disk_format", "container_format", "checksum")
_WRITTEN = (*_SHOWN, "version", "properties", "locations")
# The subject sends more text for the same row: times with their punctuation, the location a second time.
_FILLER = "-" * 100

_GET = f"SELECT {', '.join(_SHOWN)}, properties, locations FROM images WHERE id = $1"
_NEWEST = " WHERE deleted_at IS NULL AND visibility = 'public' ORDER BY created_at DESC, id DESC LIMIT 25"
# Of all images, along the index that has nulls last in this direction.
_AFTER = (
    " WHERE deleted_at IS NULL AND created_at < (SELECT created_at FROM images WHERE id = $1)"
    " ORDER BY created_at DESC NULLS LAST, id DESC LIMIT 25"
)
_LIST = f"SELECT {', '.join(_BRIEF)} FROM images"
_LIST_WHOLE = f"SELECT {', '.join(_SHOWN)}, properties, locations FROM images"
_ADD = (
    f"INSERT INTO images ({', '.join(_WRITTEN)})"
    f" VALUES ({', '.join(f'${number + 1}' for number in range(len(_WRITTEN)))})"
)


class Database(Protocol):
    """The statements on a bare driver."""

    async def open(self) -> None: ...
    async def find_one(self, image_id: str) -> Sequence[Any]: ...
    async def find_page(self, statement: str, *values: str) -> Sequence[Sequence[Any]]: ...
    async def add(self, values: Sequence[Any]) -> None: ...
    async def close(self) -> None: ...


class SqliteDatabase:
    """One connection, on the event loop; every INSERT commits by itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection

    async def open(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        # As glance_registry.catalogue.sqlite.catalogue has them.
        for pragma in (
            *("busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL"),
            *("foreign_keys = ON", "temp_store = MEMORY"),
        ):
            self._connection.execute(f"PRAGMA {pragma}").close()

    async def find_one(self, image_id: str) -> Sequence[Any]:
        return self._connection.execute(_GET, (image_id,)).fetchone()  # type: ignore[no-any-return]

    async def find_page(self, statement: str, *values: str) -> Sequence[Sequence[Any]]:
        return self._connection.execute(statement, values).fetchall()

    async def add(self, values: Sequence[Any]) -> None:
        self._connection.execute(_ADD, values)

    async def close(self) -> None:
        self._connection.close()


class ServerDatabase:
    """A pool of connections; each statement is a transaction of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any

    async def open(self) -> None:
        import asyncpg

        # Nothing of a session changes, so nothing is reset: it would cost a second round trip.
        self._pool = await asyncpg.create_pool(self._url, max_size=POOL_SIZE, reset=_leave)

    async def find_one(self, image_id: str) -> Sequence[Any]:
        return await self._pool.fetchrow(_GET, image_id)  # type: ignore[no-any-return]

    async def find_page(self, statement: str, *values: str) -> Sequence[Sequence[Any]]:
        return await self._pool.fetch(statement, *values)  # type: ignore[no-any-return]

    async def add(self, values: Sequence[Any]) -> None:
        await self._pool.execute(_ADD, *values)

    async def close(self) -> None:
        await self._pool.close()


async def _leave(connection: Any) -> None:
    """Do nothing when a connection comes back to the pool."""


class Bare:
    """The ASGI application."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = await self._answer(scope, receive)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._database.open()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._database.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Any, receive: Any) -> bytes:
        path = scope["path"]
        if scope["method"] == "POST":
            return await self._create((await receive())["body"])
        if path == "/healthcheck":
            return b"OK\n"
        marker = scope["query_string"].partition(b"marker=")[2].decode()
        if path == "/images":
            return _encode({"images": [dict(zip(_BRIEF, row, strict=True)) for row in await self._page(_LIST, marker)]})
        if path == "/v2/images":
            return _encode({"images": [_from_row(row) for row in await self._page(_LIST_WHOLE, marker)]})
        image = _from_row(await self._database.find_one(path.rpartition("/")[2]))
        return _encode(image if path.startswith("/v2/") else {"image": image})

    async def _page(self, statement: str, marker: str) -> Sequence[Sequence[Any]]:
        if marker:
            return await self._database.find_page(statement + _AFTER, marker)
        return await self._database.find_page(statement + _NEWEST)

    async def _create(self, body: bytes) -> bytes:
        given = _decode(body)["image"]
        given |= {"id": str(uuid4()), "created_at": 1_700_000_000_000_000, "updated_at": 1_700_000_000_000_000}
        given["visibility"] = "public" if given["is_public"] else "shared"
        shown = [given.get(name) for name in _SHOWN]
        properties = _encode(given["properties"])
        await self._database.add([*shown, 1, properties.decode(), "[]"])
        return _encode({"image": _image(shown, msgspec.Raw(properties), msgspec.Raw(b"[]"))})


def _from_row(row: Sequence[Any]) -> dict[str, Any]:
    *shown, properties, locations = row
    return _image(shown, msgspec.Raw(properties), msgspec.Raw(locations))


def _image(shown: Sequence[Any], properties: msgspec.Raw, locations: msgspec.Raw) -> dict[str, Any]:
    image = dict(zip(_SHOWN, shown, strict=True))
    image["properties"], image["location_data"], image["filler"] = properties, locations, _FILLER
    return image


def build(database_url: str) -> Bare:
    """The application over the subject's own database URL."""
    if database_url.startswith("sqlite"):
        return Bare(SqliteDatabase(make_url(database_url).database or ""))
    return Bare(ServerDatabase(database_url))


def main() -> None:
    database_url, port = sys.argv[1:]
    # As glance_registry.cli.serve has them.
    Granian(
        "bench.ceiling:build",
        address="127.0.0.1",
        port=int(port),
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        workers=1,
        workers_kill_timeout=30,
        respawn_failed_workers=True,
        websockets=False,
        log_enabled=False,
    ).serve(target_loader=partial(build, database_url), wrap_loader=False)


if __name__ == "__main__":
    main()
