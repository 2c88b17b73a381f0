# SPDX-License-Identifier: Apache-2.0
"""Transfers over a catalogue and a folder, with a clock that tests set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from tests.catalogue.examples import ADMIN, NOON, image

from glance_registry.catalogue import images, uploads
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.uploads import NewUpload
from glance_registry.model.access import Caller
from glance_registry.model.changes import Delete
from glance_registry.model.contract import CACTUS
from glance_registry.model.image import Image
from glance_registry.model.rules import ImagesRules
from glance_registry.model.status import DELETED, QUEUED
from glance_registry.stores.by_name import Stores
from glance_registry.stores.file import FileStore
from glance_registry.transfer import download
from glance_registry.transfer.reaper import sweep
from glance_registry.transfer.upload import LEASE, Transfers, upload

RULES = ImagesRules(CACTUS)


class Bench:
    """What a test of transfers needs, as plain calls."""

    def __init__(self, loop: asyncio.Runner, catalogue: Catalogue, folder: Path, **options: Any) -> None:
        self.loop = loop
        self.catalogue = catalogue
        self.folder = folder
        self.now = NOON + timedelta(hours=1)
        self.woken = 0
        self._threads = ThreadPoolExecutor(4)
        stores = {name: FileStore(name, folder / name, self._threads) for name in ("fast", "cold")}
        self.stores = stores
        for store in stores.values():
            store.prepare()
        self.transfers = Transfers(
            catalogue=catalogue,
            stores=Stores(stores, self._threads),
            threads=self._threads,
            now=lambda: self.now,
            new_key=lambda: uuid4().hex,
            wake_reaper=self._wake,
            **options,
        )

    def _wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        self._threads.shutdown()

    def limit(self, **options: Any) -> None:
        self.transfers = replace(self.transfers, **options)

    def queued(self, image_id: str = "one", **fields: Any) -> Image:
        return self.write(images.add, image(image_id, status=QUEUED, **fields))

    def read(self, operation: Callable[..., Any], *args: Any) -> Any:
        return self.loop.run(self.catalogue.read(operation, *args))

    def write(self, operation: Callable[..., Any], *args: Any) -> Any:
        return self.loop.run(self.catalogue.write(operation, *args))

    def remove(self, image_id: str, caller: Caller = ADMIN) -> None:
        self.write(images.change, image_id, [Delete(DELETED)], self.now, caller, RULES)

    def image(self, image_id: str = "one") -> Image:
        return self.read(images.get, image_id, ADMIN)

    def upload(self, image_id: str, *parts: bytes, caller: Caller = ADMIN, **options: Any) -> Image:
        return self.loop.run(upload(self.transfers, image_id, body(parts), caller, **options))

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await awaitable

        return self.loop.run(whole())

    def begin(self, image_id: str = "one", announced: int = 0, **options: Any) -> str:
        """An upload as a process leaves it that is killed."""
        new = NewUpload(id=uuid4().hex, store="fast", announced=announced, expires_at=self.now + LEASE)
        self.write(uploads.begin, image_id, new, self.transfers.limits, self.now, options.get("caller", ADMIN))
        return new.id

    def download(self, image_id: str = "one", start: int = 0, end: int | None = None, **options: Any) -> bytes:
        found = self.image(image_id)

        async def read() -> bytes:
            size = found.size if end is None else end
            first, following = await download.open_bytes(self.transfers, found, start, size, **options)
            return first + b"".join([chunk async for chunk in following])

        return self.loop.run(read())

    def sweep(self, after: timedelta = timedelta(0)) -> int:
        self.now += after
        return self.loop.run(sweep(self.transfers))

    def files(self, store: str = "fast") -> list[Path]:
        return sorted(path for path in (self.folder / store).rglob("*") if path.is_file())


async def body(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
