# SPDX-License-Identifier: Apache-2.0
"""The store in a bucket, on a real OpenStack Swift."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from uuid import uuid4

import psutil
import pytest
from tests.stores.contract import StoreContract, listed, put, read, run
from tests.swift import Swift

from glance_registry.model.errors import StoreUnavailable
from glance_registry.stores import s3, s3_client, s3_upload
from glance_registry.stores.base import CHUNK_BYTES, Upload
from glance_registry.stores.budget import Budget
from glance_registry.stores.s3 import S3Store
from glance_registry.stores.s3_client import Body
from glance_registry.stores.s3_settings import read_section

pytestmark = pytest.mark.external

MIB = 1_048_576


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def store(swift: Swift, threads: ThreadPoolExecutor) -> S3Store:
    section = asdict(swift.section(prefix=f"{uuid4().hex}/", s3_store_large_object_chunk_size=5))
    return S3Store("cold", read_section("cold", section), threads, Budget(64 * MIB))


class TestS3Store(StoreContract):
    """The contract, on Swift."""


DATA = os.urandom(MIB) * 16 + b"end"
"""Four parts of this store."""


async def fill(upload: Upload, data: bytes) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        await upload.write(data[start : start + CHUNK_BYTES])


@pytest.mark.parametrize("announced", [0, len(DATA)])
def test_an_object_of_several_parts_is_read_back(store: S3Store, announced: int) -> None:
    async def conversation() -> bytes:
        key = uuid4().hex
        upload = await store.create(key, announced)
        await fill(upload, DATA)
        await upload.commit()
        return await read(store, key, 0, len(DATA))

    assert run(conversation(), store) == DATA


def test_what_fits_into_one_part_is_sent_whole(store: S3Store, swift: Swift) -> None:
    before = len(swift.stored_files())

    async def conversation() -> bytes:
        key = uuid4().hex
        upload = await store.create(key, 5)
        assert await listed(store) == {}
        await upload.write(b"whole")
        await upload.commit()
        return await read(store, key, 0, 5)

    assert run(conversation(), store) == b"whole"
    assert len(swift.stored_files()) == before + 1


@pytest.mark.parametrize("cuts", [(5 * MIB, 7 * MIB, 7 * MIB + 1), (1, 2, 3), (0, 10 * MIB, 16 * MIB + 2)])
def test_no_byte_is_lost_when_an_upload_is_suspended(store: S3Store, swift: Swift, cuts: tuple[int, ...]) -> None:
    """So that a client with a bad connection gets on, however little comes each time."""
    before = len(swift.stored_files())

    async def conversation() -> bytes:
        key = uuid4().hex
        upload = await store.create(key)
        for cut in cuts:
            await fill(upload, DATA[upload.size : cut])
            assert await upload.suspend() == cut
            assert await listed(store) == {key: (cut, False)}
            upload = await store.resume(key)
            assert upload.size == cut
        await fill(upload, DATA[upload.size :])
        await upload.commit()
        assert await listed(store) == {key: (len(DATA), True)}
        found = await read(store, key, 0, len(DATA))
        await store.delete(key)
        return found

    assert run(conversation(), store) == DATA
    assert len(swift.stored_files()) == before


def test_a_tail_that_belongs_elsewhere_is_dropped(store: S3Store) -> None:
    """The process went on after it had suspended the upload, and died."""

    async def conversation() -> int:
        key = uuid4().hex
        upload = await store.create(key)
        await upload.write(b"tail")
        await upload.suspend()
        resumed = await store.resume(key)
        await fill(resumed, DATA[: 11 * MIB])
        await asyncio.sleep(0)
        await asyncio.gather(*resumed._sending)
        return (await store.resume(key)).size

    assert run(conversation(), store) == 10 * MIB


def test_an_upload_that_is_cancelled_leaves_no_part(store: S3Store, swift: Swift) -> None:
    before = swift.stored_files()

    async def conversation() -> None:
        upload = await store.create(uuid4().hex)
        writing = asyncio.create_task(fill(upload, DATA))
        for _ in range(1_000):
            if upload._sending:
                break
            await asyncio.sleep(0.001)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await upload.abort()
        assert await listed(store) == {}

    run(conversation(), store)

    assert swift.stored_files() == before


def test_at_most_two_parts_of_an_upload_are_sent_at_once(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    async def conversation() -> None:
        upload = await store.create(uuid4().hex)
        send_part = upload._send_part

        async def spy(number: int, body: Body) -> None:
            seen.append(len(upload._sending))
            await send_part(number, body)

        monkeypatch.setattr(upload, "_send_part", spy)
        await fill(upload, DATA)
        await upload.commit()

    run(conversation(), store)

    assert len(seen) == 4
    assert max(seen) == s3_upload.MAX_PARTS_AT_ONCE


def test_a_slow_client_holds_nothing_that_others_wait_for(swift: Swift, threads: ThreadPoolExecutor) -> None:
    """The budget has room for one part only."""
    section = asdict(swift.section(prefix=f"{uuid4().hex}/", s3_store_large_object_chunk_size=5))
    store = S3Store("cold", read_section("cold", section), threads, Budget(5 * MIB))

    async def conversation() -> bytes:
        slow = [await store.create(uuid4().hex) for _ in range(3)]
        for upload in slow:
            await fill(upload, DATA[: 5 * MIB])
        async with asyncio.timeout(60):
            key = await put(store, DATA)
        for upload in slow:
            await upload.abort()
        return await read(store, key, 0, len(DATA))

    assert run(conversation(), store) == DATA


def test_a_reader_that_stops_half_way_lets_go_of_its_connection(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "MAX_READS", 2)
    made = S3Store("cold", store._settings, store._threads, Budget(64 * MIB))

    async def conversation() -> bytes:
        key = await put(made, DATA)
        before = open_sockets()
        for _ in range(10):
            chunks = made.read(key, 0, len(DATA))
            await anext(chunks)
            await chunks.aclose()
        # A connection that is closed is gone a moment later.
        for _ in range(10_000):
            if open_sockets() <= before:
                break
            await asyncio.sleep(0.001)
        assert open_sockets() <= before
        return await read(made, key, 0, len(DATA))

    assert run(conversation(), made) == DATA


def open_sockets() -> int:
    return len(psutil.Process().net_connections())


def test_downloads_beyond_the_most_wait_and_are_refused(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "MAX_READS", 1)
    monkeypatch.setattr(s3, "CALL_SECONDS", 0.2)
    made = S3Store("cold", store._settings, store._threads, Budget(64 * MIB))

    async def conversation() -> None:
        key = await put(made, DATA)
        first = made.read(key, 0, len(DATA))
        await anext(first)
        with pytest.raises(StoreUnavailable):
            await read(made, key, 0, 1)
        await first.aclose()
        assert await read(made, key, 0, 1) == DATA[:1]

    run(conversation(), made)


def test_the_bucket_is_made_at_the_start_or_with_the_first_upload(swift: Swift, threads: ThreadPoolExecutor) -> None:
    for name, prepare in (("start", True), ("upload", False)):
        section = {**asdict(swift.section()), "s3_store_bucket": f"made-at-{name}"}
        made = S3Store("cold", read_section("cold", section), threads, Budget(64 * MIB))
        if prepare:
            made.prepare()
            assert run(listed(made), made) == {}
        key = run(put(made, b"there"), made)
        assert run(read(made, key, 0, 5), made) == b"there"


def test_lists_and_parts_of_many_pages_are_read_whole(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries on each page."""
    call = store._bucket.call

    async def small_pages(operation: str, **parameters: object) -> dict[str, object]:
        names = {"list_objects_v2": "MaxKeys", "list_multipart_uploads": "MaxUploads", "list_parts": "MaxParts"}
        if operation in names:
            parameters.setdefault(names[operation], 2)
        return await call(operation, **parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(store._bucket, "call", small_pages)

    async def conversation() -> None:
        keys = [await put(store, bytes(size)) for size in range(5)]
        begun = [uuid4().hex for _ in range(5)]
        for key in begun:
            await store.create(key)
        upload = await store.create(uuid4().hex)
        await fill(upload, DATA)
        assert await upload.suspend() == len(DATA)
        assert (await store.resume(upload._key.rpartition("/")[2])).size == len(DATA)
        expected = {key: (size, True) for size, key in enumerate(keys)} | dict.fromkeys(begun, (0, False))
        assert await listed(store) == {**expected, upload._key.rpartition("/")[2]: (len(DATA), False)}

    run(conversation(), store)


def test_the_url_of_an_object_has_no_secrets(store: S3Store, swift: Swift) -> None:
    key = uuid4().hex

    assert store.url(key) == f"s3+{swift.url}/images/{store._settings.prefix}{key}"
    assert swift.secret_key not in store.url(key)
