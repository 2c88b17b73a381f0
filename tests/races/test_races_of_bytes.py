# SPDX-License-Identifier: Apache-2.0
"""Uploads, downloads and deletions at the same moment, on both databases."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, image
from tests.transfer.transfers import RULES, Bench, body

from glance_registry.catalogue import images, snapshot
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.integrity import check as database_check
from glance_registry.model.changes import Delete
from glance_registry.model.errors import Conflict, Gone, NotFound, StoreUnavailable
from glance_registry.model.image import Image
from glance_registry.model.status import DELETED, QUEUED
from glance_registry.transfer import check, download
from glance_registry.transfer.reaper import RETRY, sweep
from glance_registry.transfer.upload import upload

ROUNDS = [20, pytest.param(500, marks=pytest.mark.nightly)]


@pytest.fixture
def bench(loop: asyncio.Runner, catalogue: Catalogue, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(loop, catalogue, tmp_path / "stores")
    yield found
    found.close()


async def add(bench: Bench, image_id: str) -> None:
    await bench.catalogue.write(images.add, image(image_id, status=QUEUED))


async def delete(bench: Bench, image_id: str) -> Image:
    return await bench.catalogue.write(images.change, image_id, [Delete(DELETED)], bench.now, ADMIN, RULES)


async def read(bench: Bench, found: Image) -> bytes:
    first, following = await download.open_bytes(bench.transfers, found, 0, found.size or 0)
    return first + b"".join([chunk async for chunk in following])


async def outcomes(*running: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*running, return_exceptions=True)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """The bytes, with pauses in which others may do something."""
    for start in range(0, len(data), 200_000):
        yield data[start : start + 200_000]
        await asyncio.sleep(random.choice([0, 0, 0.001]))


def count_rows(connection: Connection) -> list[int]:
    tables = ("blobs", "blob_copies", "uploads", "removals")
    return [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]


def assert_clean(bench: Bench, database: str, objects: int) -> None:
    """Rows and objects agree, and after the reaper there are so many objects."""
    bench.sweep(RETRY)  # What a reaper had claimed that was stopped is due again by then.
    faults: list[Any] = []
    bench.run(check.check(bench.catalogue, bench.transfers.stores, bench.now, faults.append, deep=True))
    bench.run(snapshot.snapshot(database, database_check.check, faults.append))
    assert faults == []
    assert len(bench.files()) == objects


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_many_uploads_to_one_image_one_wins(bench: Bench, database: str, rounds: int) -> None:
    async def story() -> None:
        for number in range(rounds):
            image_id = f"image-{number}"
            await add(bench, image_id)
            bodies = [os.urandom(random.randint(0, 1_500_000)) for _ in range(4)]

            results = await outcomes(*(upload(bench.transfers, image_id, pieces(data), ADMIN) for data in bodies))

            lost = [result for result in results if isinstance(result, BaseException)]
            assert {type(error) for error in lost} == {Conflict}
            assert len(lost) == 3
            (winner,) = (data for data, result in zip(bodies, results, strict=True) if isinstance(result, Image))
            assert await read(bench, await bench.catalogue.read(images.get, image_id, ADMIN)) == winner

    bench.run(story())
    assert_clean(bench, database, rounds)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_an_image_that_is_deleted_during_its_upload_leaves_nothing(bench: Bench, database: str, rounds: int) -> None:
    async def story() -> None:
        for number in range(rounds):
            image_id = f"image-{number}"
            await add(bench, image_id)

            async def delete_soon(image_id: str = image_id) -> None:
                await asyncio.sleep(random.uniform(0, 0.02))
                await delete(bench, image_id)
                await sweep(bench.transfers)

            data = os.urandom(2_000_000)
            uploaded, deleted = await outcomes(upload(bench.transfers, image_id, pieces(data), ADMIN), delete_soon())

            assert deleted is None
            assert isinstance(uploaded, Image | Gone | NotFound), uploaded

    bench.run(story())
    assert_clean(bench, database, 0)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_reader_that_has_begun_finishes_although_the_image_is_deleted(
    bench: Bench, database: str, rounds: int
) -> None:
    data = os.urandom(4_000_000)

    async def story() -> None:
        for number in range(rounds):
            image_id = f"image-{number}"
            await add(bench, image_id)
            active = await upload(bench.transfers, image_id, body([data]), ADMIN)
            first, following = await download.open_bytes(bench.transfers, active, 0, len(data))

            async def finish(first: bytes = first, following: AsyncIterator[bytes] = following) -> bytes:
                return first + b"".join([chunk async for chunk in following])

            async def remove(image_id: str = image_id) -> None:
                await delete(bench, image_id)
                await sweep(bench.transfers)

            received, removed = await outcomes(finish(), remove())

            assert removed is None
            assert received == data

    bench.run(story())
    assert_clean(bench, database, 0)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_the_same_bytes_uploaded_and_deleted_at_once_are_never_missing(
    bench: Bench, database: str, rounds: int
) -> None:
    """Six callers upload the same bytes, read them and delete them, while the reaper removes objects."""
    data = os.urandom(300_000)
    left: list[str] = []
    refused: list[str] = []

    async def caller(name: int) -> None:
        for number in range(rounds):
            image_id = f"image-{name}-{number}"
            await add(bench, image_id)
            try:
                active = await upload(bench.transfers, image_id, pieces(data), ADMIN)
            except Conflict:  # Others were at the same bytes again and again.
                refused.append(image_id)
                continue
            assert await read(bench, active) == data
            if number % 4 == 3:
                left.append(image_id)
            else:
                await delete(bench, image_id)

    async def reap() -> None:
        while True:
            await sweep(bench.transfers)
            await asyncio.sleep(0)

    async def story() -> None:
        reaper = asyncio.create_task(reap())
        await asyncio.gather(*(caller(name) for name in range(6)))
        reaper.cancel()
        await asyncio.wait([reaper])

    bench.run(story())
    assert_clean(bench, database, 1)
    for image_id in left:
        assert bench.download(image_id) == data

    assert bench.read(count_rows) == [1, 1, 0, 0]
    assert len(refused) < rounds / 10
    for image_id in left:
        bench.remove(image_id)
    assert_clean(bench, database, 0)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_reader_gets_all_bytes_or_an_error_while_the_last_image_goes(
    bench: Bench, database: str, rounds: int
) -> None:
    data = os.urandom(1_200_000)

    async def story() -> None:
        for number in range(rounds):
            image_id = f"image-{number}"
            await add(bench, image_id)
            active = await upload(bench.transfers, image_id, body([data]), ADMIN)

            async def remove(image_id: str = image_id) -> None:
                await delete(bench, image_id)
                await sweep(bench.transfers)

            *received, removed = await outcomes(*(read(bench, active) for _ in range(4)), remove())

            assert removed is None
            assert all(one == data or isinstance(one, StoreUnavailable) for one in received)

    bench.run(story())
    assert_clean(bench, database, 0)
