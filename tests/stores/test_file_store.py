# SPDX-License-Identifier: Apache-2.0
"""The store in a folder."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from tests.stores.contract import StoreContract, put, read, run

from glance_registry.model.errors import Invalid, StoreFull, StoreUnavailable
from glance_registry.stores import file
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing, Store
from glance_registry.stores.file import FileStore


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def store(tmp_path: Path, threads: ThreadPoolExecutor) -> Store:
    made = FileStore("local", tmp_path / "images", threads)
    made.prepare()
    return made


class TestFileStore(StoreContract):
    """The contract, on a folder."""


def test_zeros_take_no_room(store: FileStore) -> None:
    key = run(put(store, b"x" * 4096 + bytes(20 * CHUNK_BYTES)))

    assert store.path(key).stat().st_size == 4096 + 20 * CHUNK_BYTES
    assert store.path(key).stat().st_blocks * 512 < CHUNK_BYTES


def test_a_reader_that_has_begun_finishes_after_the_object_was_deleted(store: FileStore) -> None:
    data = os.urandom(3 * CHUNK_BYTES)

    async def conversation() -> bytes:
        key = await put(store, data)
        chunks = store.read(key, 0, len(data))
        first = await anext(chunks)
        await store.delete(key)
        return first + b"".join([chunk async for chunk in chunks])

    assert run(conversation()) == data


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_reader_that_stops_half_way_closes_its_file(store: FileStore, threads: ThreadPoolExecutor) -> None:
    async def conversation() -> None:
        key = await put(store, b"i" * (5 * CHUNK_BYTES))
        before = open_files()
        for _ in range(50):
            chunks = store.read(key, 0, 5 * CHUNK_BYTES)
            await anext(chunks)
            await chunks.aclose()  # type: ignore[attr-defined]
        await store.size(key)
        # A file is closed when the thread that read ahead has ended.
        await asyncio.get_running_loop().run_in_executor(threads, int)
        for _ in range(1_000):
            if open_files() == before:
                return
            await asyncio.sleep(0.001)
        pytest.fail(f"{open_files() - before} files stay open")

    run(conversation())


def test_what_is_cancelled_before_a_thread_has_opened_its_file_leaves_none_open(
    store: FileStore, threads: ThreadPoolExecutor
) -> None:
    async def conversation() -> None:
        key = await put(store, b"k" * 10)
        before = open_files()
        released = Event()
        for _ in range(4):
            threads.submit(released.wait)
        chunks = store.read(key, 0, 10)
        tasks = [asyncio.create_task(anext(chunks)), asyncio.create_task(store.create(uuid4().hex))]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        released.set()
        for _ in range(1_000):
            await store.size(key)
            if open_files() == before:
                return
            await asyncio.sleep(0.001)
        pytest.fail(f"{open_files() - before} files stay open")

    run(conversation())


def test_an_upload_that_is_cancelled_while_it_writes_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    async def conversation() -> None:
        upload = await store.create(uuid4().hex)
        writing = asyncio.create_task(upload.write(b"j" * CHUNK_BYTES))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await upload.abort()

    run(conversation())

    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == []


def test_an_upload_that_is_suspended_while_it_writes_drops_what_was_not_taken(store: FileStore) -> None:
    async def conversation() -> bytes:
        key = uuid4().hex
        before = open_files()
        upload = await store.create(key)
        await upload.write(b"taken")
        writing = asyncio.create_task(upload.write(b"j" * CHUNK_BYTES))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert await upload.suspend() == 5
        assert open_files() == before
        upload = await store.resume(key)
        assert upload.size == 5
        await upload.write(b" and more")
        await upload.commit()
        assert open_files() == before
        return await read(store, key, 0, 14)

    assert run(conversation()) == b"taken and more"


def test_an_upload_that_finds_the_disk_full_keeps_what_was_taken(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    left = 2 * CHUNK_BYTES + 10

    def fill(descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= left:
            raise OSError(errno.ENOSPC, "")
        return pwrite(descriptor, data[: left - offset], offset)

    async def conversation() -> int:
        key = uuid4().hex
        upload = await store.create(key)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", fill)
            for _ in range(2):
                await upload.write(b"f" * CHUNK_BYTES)
            with pytest.raises(StoreFull):
                await upload.write(b"f" * CHUNK_BYTES)
            assert await upload.suspend() == 2 * CHUNK_BYTES
        return (await store.resume(key)).size

    assert run(conversation()) == 2 * CHUNK_BYTES


@pytest.mark.parametrize("restarted", [False, True])
def test_after_the_system_started_again_only_what_was_synced_is_trusted(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """After a power failure pages that were not written yet are zeros, also in front of others."""
    data = os.urandom(5 * CHUNK_BYTES)

    async def conversation() -> tuple[int, bytes]:
        key = uuid4().hex
        upload = await store.create(key)
        await upload.write(data[:CHUNK_BYTES])
        await upload.suspend()
        upload = await store.resume(key)
        await upload.write(data[CHUNK_BYTES : 2 * CHUNK_BYTES])
        await upload.write(data[2 * CHUNK_BYTES : 3 * CHUNK_BYTES])
        if restarted:
            with store.incoming(key).open("r+b") as spoilt:
                spoilt.seek(CHUNK_BYTES)
                spoilt.write(bytes(CHUNK_BYTES))
            monkeypatch.setattr(file, "_BOOT_ID", tmp_path / "boot_id")
            (tmp_path / "boot_id").write_text("another\n")
        upload = await store.resume(key)
        kept = upload.size
        for start in range(kept, len(data), CHUNK_BYTES):
            await upload.write(data[start : start + CHUNK_BYTES])
        await upload.commit()
        return kept, await read(store, key, 0, len(data))

    assert run(conversation(), store) == (CHUNK_BYTES if restarted else 3 * CHUNK_BYTES, data)


def test_a_file_system_without_attributes_keeps_what_it_has(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)

    async def conversation() -> int:
        key = uuid4().hex
        await (await store.create(key)).write(b"some")
        return (await store.resume(key)).size

    assert run(conversation(), store) == 4


def test_room_is_left_on_the_disk(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    full = FileStore("local", tmp_path, threads, reserve_free=free + 10**12)
    full.prepare()

    with pytest.raises(StoreFull, match="Store 'local' has no room left"):
        run(put(full, b"k"))
    assert run(full.free()) == 0
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_folder_that_vanished_is_a_store_that_does_not_answer(store: FileStore, tmp_path: Path) -> None:
    key = run(put(store, b"here"))
    (tmp_path / "images").rename(tmp_path / "elsewhere")

    with pytest.raises(StoreUnavailable, match="Store 'local' does not answer"):
        run(read(store, key, 0, 4))
    with pytest.raises(StoreUnavailable):
        run(put(store, b"more"))
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    assert run(read(store, key, 0, 4)) == b"here"


def test_a_folder_that_cannot_be_made_is_said_at_the_start(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(Invalid, match=r"Store 'local' cannot use the folder .*: Not a directory"):
        FileStore("local", tmp_path / "file" / "images", threads).prepare()


def test_an_object_that_was_cut_is_not_served_in_part(store: FileStore) -> None:
    key = run(put(store, b"l" * 1_000))
    os.truncate(store.path(key), 999)

    with pytest.raises(ObjectMissing):
        run(read(store, key, 0, 1_000))


def test_what_is_not_zeros_is_written_in_one_call(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    pwrite = os.pwrite

    def spy(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append((offset, len(data)))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", spy)
    block = 65_536
    run(put(store, b"m" * 3 * block + bytes(2 * block) + b"m" * 10))

    assert calls == [(0, 3 * block), (5 * block, 10)]


@pytest.mark.parametrize("where", ["cached", "not cached", "in part", "unknown"])
def test_bytes_come_from_the_page_cache_or_a_thread(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data = os.urandom(4 * CHUNK_BYTES + 5)
    on_loop, in_threads = 0, 0
    pread = os.pread

    def preadv(descriptor: int, buffers: list[memoryview], start: int, flags: int) -> int:
        nonlocal on_loop
        assert flags == os.RWF_NOWAIT
        if where in ("not cached", "unknown"):
            raise OSError(errno.EAGAIN if where == "not cached" else errno.EOPNOTSUPP, "")
        wanted = len(buffers[0]) if where == "cached" else 5
        found = pread(descriptor, wanted, start)
        buffers[0][: len(found)] = found
        on_loop += len(found) == len(buffers[0])
        return len(found)

    def spy(descriptor: int, wanted: int, start: int) -> bytes:
        nonlocal in_threads
        assert threading.current_thread() is not threading.main_thread()
        in_threads += 1
        return pread(descriptor, wanted, start)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "pread", spy)

    async def conversation() -> bytes:
        return await read(store, await put(store, data), 3, len(data))

    assert run(conversation()) == data[3:]
    assert (on_loop, in_threads) == ((5, 0) if where == "cached" else (0, 5))


def test_the_page_cache_is_tried_again_after_a_while(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_LOOK_AGAIN_BYTES", 2 * CHUNK_BYTES)
    tried: list[int] = []

    def preadv(descriptor: int, buffers: list[memoryview], start: int, flags: int) -> int:
        tried.append(start // CHUNK_BYTES)
        raise OSError(errno.EAGAIN, "")

    monkeypatch.setattr(os, "preadv", preadv)

    async def conversation() -> bytes:
        return await read(store, await put(store, b"p" * (5 * CHUNK_BYTES)), 0, 5 * CHUNK_BYTES)

    assert run(conversation()) == b"p" * (5 * CHUNK_BYTES)
    assert tried == [0, 2, 4]


def test_readers_take_turns_on_the_event_loop(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request waits for one read at most."""
    passes = 0
    seen: list[int] = []

    def preadv(descriptor: int, buffers: list[memoryview], start: int, flags: int) -> int:
        seen.append(passes)
        return len(buffers[0])

    monkeypatch.setattr(os, "preadv", preadv)

    async def count_passes() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def conversation() -> None:
        key = await put(store, b"q" * (3 * CHUNK_BYTES))
        counting = asyncio.create_task(count_passes())
        await asyncio.gather(*(read(store, key, 0, 3 * CHUNK_BYTES) for _ in range(4)))
        counting.cancel()

    run(conversation())

    assert len(seen) == 12
    assert len({*seen}) == 12


def test_the_disk_begins_to_write_before_the_end(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_WRITE_BEHIND_BYTES", 2 * CHUNK_BYTES)
    advised: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *rest: advised.append(rest))

    run(put(store, b"r" * (5 * CHUNK_BYTES)))

    assert advised == [
        (0, 2 * CHUNK_BYTES, os.POSIX_FADV_DONTNEED),
        (2 * CHUNK_BYTES, 2 * CHUNK_BYTES, os.POSIX_FADV_DONTNEED),
    ]
