# SPDX-License-Identifier: Apache-2.0
"""What every store must do: one class of tests, run on each kind of store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from glance_registry.model.errors import Invalid
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing, Store, Upload, check_key

Run = Callable[[Awaitable[Any]], Any]


def run(awaitable: Awaitable[Any], *stores: Store) -> Any:
    """The result, on an event loop of its own. The connections of the stores end with it."""

    async def whole() -> Any:
        try:
            return await awaitable
        finally:
            for store in stores:
                await store.close()

    return asyncio.run(whole())


async def put(store: Store, data: bytes, step: int = CHUNK_BYTES) -> str:
    key = uuid4().hex
    upload = await store.create(key)
    for start in range(0, len(data), step):
        await upload.write(data[start : start + step])
    await upload.commit()
    return key


async def read(store: Store, key: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(key, start, end)])


async def write(upload: Upload, data: bytes) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        await upload.write(data[start : start + CHUNK_BYTES])


async def listed(store: Store) -> dict[str, tuple[int, bool]]:
    return {one.key: (one.size, one.complete) async for one in store.list()}


# Zeros at the beginning, in the middle, at the end; sizes around those of chunks and of holes.
EXAMPLES = {
    "empty": b"",
    "one byte": b"x",
    "zeros": bytes(200_000),
    "text then zeros": b"text" + bytes(3 * CHUNK_BYTES),
    "zeros then text": bytes(CHUNK_BYTES + 1) + b"text",
    "holes": (b"a" * 65_536 + bytes(65_536)) * 20,
    "a chunk": b"c" * CHUNK_BYTES,
    "a chunk and one": b"d" * (CHUNK_BYTES + 1),
}


class StoreContract:
    """Give a `store` fixture in a subclass."""

    @pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
    @pytest.mark.parametrize("step", [1_000_003, CHUNK_BYTES])
    def test_what_was_committed_is_read_back(self, store: Store, data: bytes, step: int) -> None:
        async def conversation() -> bytes:
            key = await put(store, data, step)
            assert await store.size(key) == len(data)
            return await read(store, key, 0, len(data))

        assert run(conversation(), store) == data

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 70_000), (65_536, 131_072), (199_999, 200_000), (7, 7)])
    def test_a_range_is_read(self, store: Store, start: int, end: int) -> None:
        data = bytes(index % 251 for index in range(200_000))

        async def conversation() -> bytes:
            return await read(store, await put(store, data), start, end)

        assert run(conversation(), store) == data[start:end]

    def test_no_chunk_is_larger_than_agreed(self, store: Store) -> None:
        async def conversation() -> list[int]:
            key = await put(store, b"e" * (3 * CHUNK_BYTES + 5))
            return [len(chunk) async for chunk in store.read(key, 0, 3 * CHUNK_BYTES + 5)]

        sizes = run(conversation(), store)
        assert max(sizes) <= CHUNK_BYTES
        assert sum(sizes) == 3 * CHUNK_BYTES + 5

    def test_what_is_not_committed_is_not_there(self, store: Store) -> None:
        async def conversation() -> None:
            key = uuid4().hex
            upload = await store.create(key)
            await upload.write(b"half")
            with pytest.raises(ObjectMissing):
                await store.size(key)
            with pytest.raises(ObjectMissing):
                await read(store, key, 0, 4)
            await upload.abort()

        run(conversation(), store)

    def test_what_is_aborted_leaves_nothing(self, store: Store) -> None:
        async def conversation() -> dict[str, tuple[int, bool]]:
            upload = await store.create(uuid4().hex)
            await upload.write(b"g" * CHUNK_BYTES)
            await upload.abort()
            return await listed(store)

        assert run(conversation(), store) == {}

    def test_an_abort_after_a_commit_removes_nothing(self, store: Store) -> None:
        async def conversation() -> bytes:
            key = uuid4().hex
            upload = await store.create(key)
            await upload.write(b"whole")
            await upload.commit()
            await upload.abort()
            return await read(store, key, 0, 5)

        assert run(conversation(), store) == b"whole"

    def test_objects_are_listed_with_their_sizes(self, store: Store) -> None:
        async def conversation() -> tuple[list[str], dict[str, tuple[int, bool]]]:
            return [await put(store, b"h" * size) for size in (3, 70_000)], await listed(store)

        keys, found = run(conversation(), store)
        assert found == {keys[0]: (3, True), keys[1]: (70_000, True)}

    def test_what_is_deleted_is_gone_and_may_be_deleted_again(self, store: Store) -> None:
        async def conversation() -> None:
            key = await put(store, b"gone")
            await store.delete(key)
            await store.delete(key)
            with pytest.raises(ObjectMissing):
                await store.size(key)
            assert await listed(store) == {}

        run(conversation(), store)

    def test_an_object_that_ends_too_early_is_reported_as_missing(self, store: Store) -> None:
        async def conversation() -> None:
            key = await put(store, b"short")
            with pytest.raises(ObjectMissing, match=store.name):
                await read(store, key, 0, 6)

        run(conversation(), store)

    @pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
    def test_an_object_that_was_suspended_several_times_is_read_back(self, store: Store, data: bytes) -> None:
        """A store that writes in parts may keep less than was written, and none of this."""

        async def conversation() -> bytes:
            key = uuid4().hex
            upload = await store.create(key)
            for _ in range(3):
                await write(upload, data[upload.size :][: len(data) // 4])
                written = upload.size
                kept = await upload.suspend()
                upload = await store.resume(key)
                assert kept == upload.size <= written
            await write(upload, data[upload.size :])
            assert upload.size == len(data)
            await upload.commit()
            return await read(store, key, 0, len(data))

        assert run(conversation(), store) == data

    @pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
    def test_an_object_whose_process_died_goes_on(self, store: Store, data: bytes) -> None:
        async def conversation() -> bytes:
            key = uuid4().hex
            await write(await store.create(key), data[: len(data) // 2])
            upload = await store.resume(key)
            assert upload.size <= len(data) // 2
            await write(upload, data[upload.size :])
            await upload.commit()
            return await read(store, key, 0, len(data))

        assert run(conversation(), store) == data

    def test_what_is_suspended_is_not_complete_and_may_be_deleted(self, store: Store) -> None:
        async def conversation() -> None:
            key = uuid4().hex
            upload = await store.create(key)
            await upload.write(b"half")
            kept = await upload.suspend()
            assert await listed(store) in ({key: (kept, False)}, {})
            with pytest.raises(ObjectMissing):
                await store.size(key)
            await store.delete(key)
            assert await listed(store) == {}
            with pytest.raises(ObjectMissing):
                await store.resume(key)

        run(conversation(), store)

    def test_what_was_never_begun_is_not_resumed(self, store: Store) -> None:
        with pytest.raises(ObjectMissing):
            run(store.resume(uuid4().hex), store)

    def test_an_abort_after_a_resume_leaves_nothing(self, store: Store) -> None:
        async def conversation() -> dict[str, tuple[int, bool]]:
            key = uuid4().hex
            upload = await store.create(key)
            await upload.write(b"half")
            await upload.suspend()
            await (await store.resume(key)).abort()
            return await listed(store)

        assert run(conversation(), store) == {}

    def test_a_commit_that_nobody_wrote_down_is_found(self, store: Store) -> None:
        """The process died between the commit and what it would have done then."""

        async def conversation() -> bytes:
            key = await put(store, b"whole")
            upload = await store.resume(key)
            assert upload.size == 5
            assert await upload.suspend() == 5
            upload = await store.resume(key)
            await upload.commit()
            await (await store.resume(key)).abort()
            return await read(store, key, 0, 5)

        assert run(conversation(), store) == b"whole"

    @pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 32, "0" * 31, "0" * 33, "/" + "0" * 31])
    def test_a_key_that_we_cannot_have_made_is_refused(self, key: str) -> None:
        with pytest.raises(Invalid):
            check_key(key)
