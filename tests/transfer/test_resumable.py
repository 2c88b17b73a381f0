# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on after a break, and what may come between, on both databases."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalogue.examples import ADMIN, upgrade
from tests.transfer.transfers import RULES, Bench, body

from glance_registry.catalogue import images
from glance_registry.catalogue import resumable as rows
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.model.changes import Delete
from glance_registry.model.errors import (
    Gone,
    Invalid,
    RegistryError,
    StoreFull,
    StoreUnavailable,
    Unavailable,
    WrongOffset,
)
from glance_registry.model.status import DELETED
from glance_registry.stores.base import CHUNK_BYTES
from glance_registry.stores.file import FileStore
from glance_registry.transfer import resumable
from glance_registry.transfer.resumable import Piece, Progress


@pytest.fixture
def bench(loop: asyncio.Runner, catalogue: Catalogue, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(loop, catalogue, tmp_path / "stores")
    yield found
    found.close()


def begin(bench: Bench, image_id: str = "one", **options: Any) -> str:
    upload_id: str = bench.run(resumable.begin(bench.transfers, image_id, ADMIN, **options))
    return upload_id


def append(bench: Bench, upload_id: str, offset: int, *parts: bytes, last: bool = False) -> Progress:
    piece = Piece(offset=offset, last=last)
    found: Progress = bench.run(resumable.append(bench.transfers, "one", upload_id, body(parts), ADMIN, piece))
    return found


def offset_of(bench: Bench, upload_id: str) -> int:
    found: Progress = bench.run(resumable.progress(bench.transfers, "one", upload_id, ADMIN))
    return found.offset


async def breaking(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise Invalid("The body ended before it was complete.")


def break_off(bench: Bench, upload_id: str, offset: int, *parts: bytes) -> None:
    piece = Piece(offset=offset, last=True)
    with pytest.raises(Invalid, match="ended before"):
        bench.run(resumable.append(bench.transfers, "one", upload_id, breaking(*parts), ADMIN, piece))


@settings(max_examples=30)
@given(
    data=st.binary(max_size=5_000),
    steps=st.lists(
        st.tuples(st.integers(0, 2_000), st.integers(1, 700), st.sampled_from(["whole", "breaks", "dies"])), max_size=6
    ),
)
def test_any_bytes_in_any_pieces_with_any_breaks_come_back(
    data: bytes, steps: list[tuple[int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    url = f"sqlite:///{folder / 'registry.sqlite'}"
    upgrade(url)
    with asyncio.Runner() as loop:

        async def opened() -> Catalogue:
            return open_catalogue(url)

        catalogue = loop.run(opened())
        bench = Bench(loop, catalogue, folder)
        bench.queued()
        upload_id = begin(bench, length=len(data))
        for size, step, end in steps:
            offset = offset_of(bench, upload_id)
            piece = data[offset : offset + size]
            parts = [piece[start : start + step] for start in range(0, len(piece), step)]
            if end == "whole":
                assert append(bench, upload_id, offset, *parts).offset == offset + len(piece)
            else:
                break_off(bench, upload_id, offset, *parts)
                assert offset_of(bench, upload_id) == offset + len(piece)
            if end == "dies":
                bench.write(rows.claim, upload_id, "f" * 32, bench.now, bench.now)
                bench.now += 2 * resumable.WRITER_LEASE
        offset = offset_of(bench, upload_id)
        append(bench, upload_id, offset, data[offset:], last=True)

        found = bench.image()
        assert (found.status, found.os_hash_value) == ("active", hashlib.sha512(data).hexdigest())
        assert bench.download() == data
        bench.close()
        loop.run(catalogue.close())


def test_what_was_gathered_before_a_break_is_written(bench: Bench) -> None:
    """Also when it is less than a chunk: a line that breaks again and again still makes progress."""
    bench.queued()
    upload_id = begin(bench)
    data = os.urandom(5 * CHUNK_BYTES + 7)

    break_off(bench, upload_id, 0, data[:5], data[5 : 4 * CHUNK_BYTES], data[4 * CHUNK_BYTES : -1])

    assert offset_of(bench, upload_id) == len(data) - 1
    append(bench, upload_id, len(data) - 1, data[-1:], last=True)
    assert bench.download() == data


def test_bytes_in_one_piece_are_not_read_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        pytest.fail("it was read back")

    monkeypatch.setattr(FileStore, "read", fail)
    bench.queued()

    assert append(bench, begin(bench), 0, b"all of it", last=True).complete


def test_bytes_after_a_dead_writer_are_read_back_also_in_one_piece(bench: Bench) -> None:
    """It may have left a write behind, so the digests of the stream are not trusted."""
    bench.queued()
    upload_id = begin(bench)
    bench.write(rows.claim, upload_id, "f" * 32, bench.now, bench.now)
    bench.now += 2 * resumable.WRITER_LEASE
    store = bench.stores["fast"]
    commit = FileStore.commit

    def overwrite(self: FileStore, key: str, descriptor: int) -> None:
        os.pwrite(descriptor, b"late", 0)
        commit(self, key, descriptor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FileStore, "commit", overwrite)
        append(bench, upload_id, 0, b"bytes of a new writer", last=True)

    assert bench.image().os_hash_value == hashlib.sha512(b"lates of a new writer").hexdigest()
    assert store.path(upload_id).exists()


def test_what_a_store_has_lost_must_be_sent_again(bench: Bench) -> None:
    bench.queued()
    upload_id = begin(bench)
    append(bench, upload_id, 0, b"some")
    (path,) = bench.files()
    path.unlink()

    with pytest.raises(WrongOffset) as caught:
        append(bench, upload_id, 4, b" more", last=True)

    assert caught.value.offset == 0
    append(bench, upload_id, 0, b"some more", last=True)
    assert bench.download() == b"some more"


def test_a_commit_that_no_row_knows_of_is_found(bench: Bench) -> None:
    """The process died after the object was complete, and before the image was active."""
    bench.queued()
    upload_id = begin(bench)
    append(bench, upload_id, 0, b"all bytes")
    bench.write(rows.claim, upload_id, "f" * 32, bench.now, bench.now + resumable.WRITER_LEASE)
    bench.write(rows.seal, upload_id, "f" * 32, 9)

    async def commit() -> None:
        await (await bench.stores["fast"].resume(upload_id)).commit()

    bench.run(commit())
    bench.now += 2 * resumable.WRITER_LEASE

    assert offset_of(bench, upload_id) == 9
    assert append(bench, upload_id, 9, last=True).complete
    assert bench.download() == b"all bytes"


def failing(monkeypatch: pytest.MonkeyPatch, bench: Bench, operation: Any, error: RegistryError, times: int) -> None:
    """Let the catalogue refuse an operation so many times."""
    write = bench.catalogue.write
    left = times

    async def refuse(given: Any, *arguments: Any) -> Any:
        nonlocal left
        if given is operation and left > 0:
            left -= 1
            raise error
        return await write(given, *arguments)

    monkeypatch.setattr(bench.catalogue, "write", refuse)


def test_a_database_that_fails_at_the_end_can_be_asked_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()
    upload_id = begin(bench)
    failing(monkeypatch, bench, rows.finish, Unavailable("The database does not answer."), 1)

    with pytest.raises(Unavailable):
        append(bench, upload_id, 0, b"all bytes", last=True)

    assert bench.image().status == "saving"
    assert offset_of(bench, upload_id) == 9
    assert append(bench, upload_id, 9, last=True).complete
    assert bench.download() == b"all bytes"


def test_an_upload_that_cannot_be_released_goes_on_after_its_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.queued()
    upload_id = begin(bench)
    failing(monkeypatch, bench, rows.release, Unavailable("The database does not answer."), 1)

    append(bench, upload_id, 0, b"some")
    bench.now += 2 * resumable.WRITER_LEASE

    assert offset_of(bench, upload_id) == 4
    append(bench, upload_id, 4, b" more", last=True)
    assert bench.download() == b"some more"


@pytest.mark.parametrize("method", ["read", "create", "resume"])
def test_a_store_that_fails_can_be_asked_again(bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    bench.queued()
    upload_id = begin(bench)
    if method != "create":
        append(bench, upload_id, 0, b"some")
    offset = offset_of(bench, upload_id)

    async def fail(*_: Any) -> Any:
        raise StoreUnavailable("fast")

    async def fail_to_read(*_: Any) -> AsyncIterator[bytes]:
        raise StoreUnavailable("fast")
        yield b""

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, method, fail_to_read if method == "read" else fail)
        with pytest.raises(StoreUnavailable):
            append(bench, upload_id, offset, b"more", last=True)

    offset = offset_of(bench, upload_id)
    append(bench, upload_id, offset, b"more"[: 4 if method != "read" else 0], last=True)
    assert bench.download() == {"create": b"more"}.get(method, b"somemore")


def test_a_store_that_becomes_full_keeps_what_came(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()
    upload_id = begin(bench)
    data = os.urandom(6 * CHUNK_BYTES)

    def check_room(_: FileStore, wanted: int) -> None:
        if sum(path.stat().st_size for path in bench.files()) + wanted > 4 * CHUNK_BYTES:
            raise StoreFull("fast")

    with monkeypatch.context() as patched:
        patched.setattr(FileStore, "check_room", check_room)
        with pytest.raises(StoreFull):
            append(bench, upload_id, 0, *(data[start : start + 65_536] for start in range(0, len(data), 65_536)))

    kept = offset_of(bench, upload_id)
    assert kept == 4 * CHUNK_BYTES
    append(bench, upload_id, kept, data[kept:], last=True)
    assert bench.download() == data


def test_an_upload_that_is_cancelled_while_it_waits_holds_nothing(bench: Bench) -> None:
    bench.queued()
    upload_id = begin(bench)
    bench.write(rows.claim, upload_id, "f" * 32, bench.now, bench.now + resumable.WRITER_LEASE)

    async def cancelled() -> None:
        piece = Piece(offset=0, last=True)
        task = asyncio.create_task(resumable.append(bench.transfers, "one", upload_id, body([b"bytes"]), ADMIN, piece))
        for _ in range(1_000):
            if (await bench.catalogue.read(rows.look, upload_id)).next_writer:
                break
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    bench.run(cancelled())
    bench.write(rows.release, upload_id, "f" * 32, 0)

    assert append(bench, upload_id, 0, b"bytes", last=True).complete


def test_an_image_deleted_while_its_bytes_are_checked_stays_deleted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.queued()
    upload_id = begin(bench)
    append(bench, upload_id, 0, b"some")
    read = FileStore.read

    async def delete_first(self: FileStore, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        await bench.catalogue.write(*removal)
        async for chunk in read(self, key, start, end):
            yield chunk

    removal = (images.change, "one", [Delete(DELETED)], bench.now, ADMIN, RULES)
    monkeypatch.setattr(FileStore, "read", delete_first)

    with pytest.raises(Gone):
        append(bench, upload_id, 4, b" more", last=True)
    monkeypatch.undo()

    bench.sweep()
    assert bench.files() == []


def test_the_release_before_ends_an_upload_that_has_expired_and_no_other(bench: Bench) -> None:
    """Its reaper knows the columns of 0009 only; see `uploads.expire`."""
    for image_id in ("one", "two"):
        bench.queued(image_id)
    begin(bench, "one")
    bench.now += bench.transfers.upload_expiry / 2
    begin(bench, "two")

    bench.sweep(bench.transfers.upload_expiry * 0.75)

    assert (bench.image("one").status, bench.image("two").status) == ("queued", "saving")
