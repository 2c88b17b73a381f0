# SPDX-License-Identifier: Apache-2.0
"""Uploads, from the first byte to the image's being active, on both databases; and whatever may come between."""

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN
from tests.transfer.transfers import RULES, Bench, body

from glance_registry.catalogue import images, uploads
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.model.access import ANONYMOUS, Caller
from glance_registry.model.changes import Delete, SetField
from glance_registry.model.contract import CACTUS
from glance_registry.model.errors import (
    Conflict,
    Forbidden,
    FormatRefused,
    Gone,
    Invalid,
    NotFound,
    RegistryError,
    StoreFull,
    StoreUnavailable,
    TooLarge,
    Unavailable,
)
from glance_registry.model.image import PRIVATE, Image, Location
from glance_registry.model.limits import OwnerLimits, Usage
from glance_registry.model.rules import RegistryRules
from glance_registry.model.status import DELETED
from glance_registry.stores.base import CHUNK_BYTES
from glance_registry.transfer.digests import Digests
from glance_registry.transfer.reaper import sweep
from glance_registry.transfer.upload import LEASE, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, upload

ME = Caller(user="me", project="mine")
OTHER = Caller(user="other", project="other")
EMPTIED = {"size": None, "virtual_size": None, "checksum": None, "os_hash_algo": None, "os_hash_value": None}


@pytest.fixture
def bench(loop: asyncio.Runner, catalogue: Catalogue, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(loop, catalogue, tmp_path / "stores")
    yield found
    found.close()


def counts(bench: Bench) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        tables = ("blobs", "blob_copies", "uploads", "removals")
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}

    return bench.read(count)


def assert_clean(bench: Bench, image_id: str = "one") -> None:
    """The image is queued as if nothing had happened, and after the reaper nothing is left."""
    found = bench.image(image_id)
    assert found.status == "queued"
    assert {name: getattr(found, name) for name in EMPTIED} == EMPTIED
    assert (found.blob_number, found.stores) == (None, ())
    bench.sweep()
    assert counts(bench) == {"blobs": 0, "blob_copies": 0, "uploads": 0, "removals": 0}
    assert bench.files() == []


def test_an_image_gets_its_bytes_and_gives_them_back(bench: Bench) -> None:
    bench.queued()
    data = os.urandom(3_000_000)

    active = bench.upload("one", data[:10], data[10:2_000_000], data[2_000_000:], announced=len(data))

    assert active == bench.image()
    assert (active.status, active.size, active.virtual_size) == ("active", 3_000_000, 3_000_000)
    assert active.checksum == hashlib.md5(data).hexdigest()
    assert (active.os_hash_algo, active.os_hash_value) == ("sha512", hashlib.sha512(data).hexdigest())
    assert active.stores == ("fast",)
    assert bench.download() == data
    assert bench.download(start=5, end=1_500_000) == data[5:1_500_000]
    assert counts(bench) == {"blobs": 1, "blob_copies": 1, "uploads": 0, "removals": 0}


def test_no_bytes_are_an_image_too(bench: Bench) -> None:
    bench.queued()

    active = bench.upload("one")

    assert (active.status, active.size, active.virtual_size) == ("active", 0, None)
    assert active.checksum == hashlib.md5(b"").hexdigest()
    assert bench.download() == b""


@settings(max_examples=30)
@given(
    data=st.binary(max_size=5_000),
    cuts=st.lists(st.integers(0, 5_000), max_size=8),
    ends=st.tuples(*[st.integers(0, 5_000)] * 2),
)
def test_any_bytes_in_any_pieces_come_back(
    data: bytes, cuts: list[int], ends: tuple[int, int], tmp_path_factory: Any
) -> None:
    from tests.catalogue.examples import upgrade

    folder = tmp_path_factory.mktemp("any")
    url = f"sqlite:///{folder / 'registry.sqlite'}"
    upgrade(url)
    start, end = sorted(min(one, len(data)) for one in ends)
    points = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    with asyncio.Runner() as loop:

        async def opened() -> Catalogue:
            return open_catalogue(url)

        catalogue = loop.run(opened())
        bench = Bench(loop, catalogue, folder)
        bench.queued()
        bench.upload("one", *(data[a:b] for a, b in itertools.pairwise(points)))
        assert bench.download() == data
        assert bench.download(start=start, end=end) == data[start:end]
        bench.close()
        loop.run(catalogue.close())


def test_the_same_bytes_are_stored_once_until_the_last_image_goes(bench: Bench) -> None:
    for image_id in ("one", "two"):
        bench.queued(image_id)
        bench.upload(image_id, b"same" * 1_000)

    bench.sweep()
    assert bench.image("one").blob_number == bench.image("two").blob_number
    assert len(bench.files()) == 1

    bench.remove("one", ADMIN)
    bench.sweep()
    assert bench.download("two") == b"same" * 1_000

    bench.remove("two", ADMIN)
    bench.sweep()
    assert bench.files() == []
    assert counts(bench) == {"blobs": 0, "blob_copies": 0, "uploads": 0, "removals": 0}


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_the_same_bytes_uploaded_again_mend_a_damaged_object(bench: Bench, damage: str) -> None:
    for image_id in ("one", "two"):
        bench.queued(image_id)
    bench.upload("one", b"same" * 1_000)
    (path,) = bench.files()
    path.unlink() if damage == "lost" else os.truncate(path, 5)

    bench.upload("two", b"same" * 1_000)
    bench.sweep()

    assert bench.download("one") == bench.download("two") == b"same" * 1_000
    assert len(bench.files()) == 1


def test_the_same_bytes_may_lie_in_two_stores(bench: Bench) -> None:
    for image_id, store in (("one", "fast"), ("two", "cold")):
        bench.queued(image_id)
        bench.upload(image_id, b"same", store_name=store)

    assert (bench.image("one").stores, bench.image("two").stores) == (("fast",), ("cold",))
    assert len(bench.files("fast")) == len(bench.files("cold")) == 1
    assert bench.download("two") == b"same"


@pytest.mark.parametrize(
    ("fields", "caller", "options", "error"),
    [
        ({"visibility": PRIVATE, "owner": "mine"}, OTHER, {}, NotFound),
        ({"owner": "mine"}, OTHER, {}, Forbidden),
        ({"owner": "mine"}, ANONYMOUS, {}, Forbidden),
        ({"disk_format": None}, ADMIN, {}, Invalid),
        ({"container_format": None}, ADMIN, {}, Invalid),
        ({}, ADMIN, {"store_name": "none"}, Invalid),
        ({"locations": (Location("http://there/"),)}, ADMIN, {}, Conflict),
    ],
)
def test_an_upload_that_may_not_begin_changes_nothing(
    bench: Bench, fields: dict[str, Any], caller: Caller, options: dict[str, Any], error: type[RegistryError]
) -> None:
    before = bench.queued(**fields)

    with pytest.raises(error):
        bench.upload("one", b"bytes", caller=caller, **options)

    assert bench.image() == before
    assert counts(bench)["uploads"] == 0
    assert bench.files() == []


def test_only_a_queued_image_takes_bytes(bench: Bench) -> None:
    bench.queued()
    bench.upload("one", b"first")

    with pytest.raises(Conflict, match="its status is 'active'"):
        bench.upload("one", b"second")

    assert bench.download() == b"first"


@pytest.mark.parametrize("announced", [4, 6])
def test_a_body_of_another_size_than_announced_is_refused(bench: Bench, announced: int) -> None:
    bench.queued()

    with pytest.raises(Invalid, match=f"{announced} bytes were announced"):
        bench.upload("one", b"five!", announced=announced)

    assert_clean(bench)


@pytest.mark.parametrize("announced", [0, 11])
def test_an_image_has_no_more_bytes_than_the_cap(bench: Bench, announced: int) -> None:
    bench.limit(image_size_cap=10)
    bench.queued()

    with pytest.raises(TooLarge, match="at most 10 bytes"):
        bench.upload("one", b"12345678901", announced=announced)

    assert_clean(bench)


def test_a_body_that_breaks_off_leaves_the_image_queued(bench: Bench) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a" * 2_000_000
        raise Invalid("The body ended before it was complete.")

    bench.queued()
    with pytest.raises(Invalid):
        bench.run(upload(bench.transfers, "one", broken(), ADMIN))

    assert_clean(bench)
    assert bench.upload("one", b"again").status == "active"


def test_an_upload_that_is_cancelled_leaves_the_image_queued(bench: Bench) -> None:
    bench.queued()

    async def cancelled() -> None:
        came = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"b" * 2_000_000
            came.set()
            await asyncio.Event().wait()
            yield b""

        task = asyncio.create_task(upload(bench.transfers, "one", endless(), ADMIN))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    bench.run(cancelled())
    assert_clean(bench)


def test_of_two_uploads_at_once_one_wins(bench: Bench) -> None:
    bench.queued()

    async def both() -> list[Any]:
        tasks = [upload(bench.transfers, "one", body([data]), ADMIN) for data in (b"left", b"right")]
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = bench.run(both())

    assert sorted(type(result) for result in results if isinstance(result, Exception)) == [Conflict]
    assert bench.download() in (b"left", b"right")
    bench.sweep()
    assert len(bench.files()) == 1


@pytest.mark.parametrize("swept", [False, True])
def test_an_image_that_is_deleted_while_its_bytes_come_is_gone(bench: Bench, swept: bool) -> None:
    bench.queued()

    async def deleting() -> AsyncIterator[bytes]:
        yield b"c" * 2_000_000
        await bench.catalogue.write(images.change, "one", [Delete(DELETED)], bench.now, ADMIN, RULES)
        if swept:
            await sweep(bench.transfers)
        yield b"c"

    with pytest.raises(Gone):
        bench.run(upload(bench.transfers, "one", deleting(), ADMIN))

    bench.sweep()
    assert bench.files() == []
    assert counts(bench)["uploads"] == 0


@pytest.mark.parametrize("field", ["disk_format", "container_format"])
def test_bytes_that_were_inspected_as_another_format_are_refused(bench: Bench, field: str) -> None:
    """The Registry API lets an owner change formats meanwhile; inspection would be got around."""
    bench.queued(disk_format="raw", container_format="ovf")
    changes = [SetField(field, {"disk_format": "qcow2", "container_format": "bare"}[field])]

    async def changing() -> AsyncIterator[bytes]:
        yield b"c" * 2_000_000
        await bench.catalogue.write(images.change, "one", changes, bench.now, ADMIN, RegistryRules(CACTUS))
        yield b"c"

    with pytest.raises(Conflict, match="formats"):
        bench.run(upload(bench.transfers, "one", changing(), ADMIN))

    assert_clean(bench)


def test_what_a_killed_process_leaves_is_removed_when_its_lease_ends(bench: Bench) -> None:
    bench.queued()
    key = bench.begin(announced=5)
    bench.run(_write_half(bench, key))
    assert (bench.image().status, bench.image().size) == ("saving", 5)

    bench.sweep(LEASE)
    assert bench.image().status == "saving"
    bench.sweep(timedelta(microseconds=1))

    assert_clean(bench)


async def _write_half(bench: Bench, key: str) -> None:
    await (await bench.stores["fast"].create(key)).write(b"half")


def test_a_writer_that_was_taken_for_dead_does_not_finish(bench: Bench) -> None:
    bench.queued()

    async def sleeping() -> AsyncIterator[bytes]:
        yield b"d" * 2_000_000
        bench.now += LEASE * 2
        await bench.catalogue.write(uploads.expire, bench.now, 10)
        yield b"d"

    with pytest.raises(Gone, match="paused for too long"):
        bench.run(upload(bench.transfers, "one", sleeping(), ADMIN))

    assert_clean(bench)


@pytest.mark.parametrize("moment", ["create", "write", "commit"])
@pytest.mark.parametrize("error", [StoreUnavailable("fast"), StoreFull("fast")], ids=["down", "full"])
def test_a_store_that_fails_leaves_the_image_queued(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moment: str, error: RegistryError
) -> None:
    bench.queued()

    async def fail(*_: Any) -> None:
        raise error

    target = "FileStore.create" if moment == "create" else f"_FileUpload.{moment}"
    with monkeypatch.context() as patched:
        patched.setattr(f"glance_registry.stores.file.{target}", fail)
        with pytest.raises(type(error), match="fast"):
            bench.upload("one", b"bytes" * 1_000_000)

    assert_clean(bench)
    assert bench.upload("one", b"again").status == "active"


def test_a_database_that_fails_at_the_end_leaves_nothing_active(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()

    def fail(*_: Any) -> Image:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "finish", fail)
        patched.setattr(uploads, "abort", fail)
        with pytest.raises(Unavailable):
            bench.upload("one", b"bytes")

    assert bench.image().status == "saving"
    bench.sweep(LEASE + timedelta(seconds=1))
    assert_clean(bench)


def test_a_lost_answer_to_the_last_commit_keeps_the_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit happened, but the writer does not know: it must not remove the bytes."""
    bench.queued()
    write = bench.catalogue.write

    async def lose(operation: Any, *args: Any) -> Any:
        result = await write(operation, *args)
        if operation is uploads.finish:
            raise Unavailable("The database was lost.")
        return result

    with monkeypatch.context() as patched:
        patched.setattr(bench.catalogue, "write", lose)
        with pytest.raises(Unavailable):
            bench.upload("one", b"bytes")

    bench.sweep(LEASE * 2)
    assert bench.image().status == "active"
    assert bench.download() == b"bytes"


def test_the_size_and_digests_of_bytes_cannot_be_changed_even_by_sql(bench: Bench) -> None:
    bench.queued()
    bench.upload("one", b"bytes")

    for change in ("size = 6", "checksum = 'c'", "os_hash_value = 'd'", "os_hash_algo = NULL"):

        def update(connection: Connection, change: str = change) -> None:
            connection.execute(text(f"UPDATE images SET {change}"))

        with pytest.raises(Conflict):
            bench.write(update)


def test_the_quota_of_bytes_counts_what_is_announced_and_what_has_come(bench: Bench) -> None:
    bench.limit(limits=OwnerLimits(bytes_per_owner=100))
    for image_id in ("one", "two", "three"):
        bench.queued(image_id, owner="mine")
    bench.upload("one", b"e" * 60, caller=ME)

    with pytest.raises(TooLarge, match="may have 100 bytes"):
        bench.upload("two", b"f" * 41, announced=41, caller=ME)
    with pytest.raises(TooLarge):
        bench.upload("two", b"f" * 41, caller=ME)
    assert bench.image("two").status == "queued"

    reserved = bench.begin("three", announced=30, caller=ME)
    with pytest.raises(TooLarge):
        bench.upload("two", b"f" * 11, caller=ME)
    bench.write(uploads.abort, reserved, bench.now)
    assert bench.upload("two", b"f" * 40, caller=ME).status == "active"


def test_a_crash_gives_the_reservation_back(bench: Bench) -> None:
    bench.limit(limits=OwnerLimits(bytes_per_owner=100, uploads_per_owner=1))
    bench.queued("one", owner="mine")
    bench.queued("two", owner="mine")
    bench.begin("one", announced=100, caller=ME)

    with pytest.raises(TooLarge, match="1 uploads under way"):
        bench.upload("two", b"g", caller=ME)
    bench.sweep(LEASE * 2)

    assert bench.upload("two", b"g" * 100, caller=ME).status == "active"


def test_deleting_gives_the_quota_back(bench: Bench) -> None:
    bench.limit(limits=OwnerLimits(bytes_per_owner=5))
    for image_id in ("one", "two"):
        bench.queued(image_id, owner="mine")
    bench.upload("one", b"12345", caller=ME)
    bench.remove("one", ME)

    assert bench.upload("two", b"12345", caller=ME).status == "active"


def test_a_refused_format_leaves_the_image_queued(bench: Bench) -> None:
    bench.queued(disk_format="qcow2")

    with pytest.raises(FormatRefused, match="disk_format is qcow2, but its bytes are raw"):
        bench.upload("one", b"just text")

    assert_clean(bench)


def test_the_release_before_deletes_an_image_without_knowing_of_its_bytes(bench: Bench) -> None:
    bench.queued()
    bench.upload("one", b"bytes")

    def delete(connection: Connection) -> None:
        connection.execute(text("UPDATE images SET deleted_at = updated_at, status = 'deleted'"))

    bench.write(delete)
    bench.sweep()

    assert bench.files() == []
    assert counts(bench) == {"blobs": 0, "blob_copies": 0, "uploads": 0, "removals": 0}


def test_a_store_that_does_not_remove_is_asked_again_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()
    bench.upload("one", b"bytes")
    bench.remove("one", ADMIN)

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("fast")

    with monkeypatch.context() as patched:
        patched.setattr("glance_registry.stores.file.FileStore.delete", fail)
        assert bench.sweep() == 0
    assert bench.sweep() == 0
    assert bench.sweep(timedelta(minutes=2)) == 1
    assert bench.files() == []


def test_a_store_that_is_down_is_left_for_another_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()
    bench.upload("one", b"bytes")
    bench.files()[0].unlink()

    with pytest.raises(StoreUnavailable, match="Store 'fast'"):
        bench.download()


def test_of_a_shared_image_only_the_owner_s_bytes_count(bench: Bench) -> None:
    bench.queued("one", owner="mine")
    bench.upload("one", b"bytes", caller=ME)

    assert bench.read(uploads.usage, "mine") == Usage(images=1, bytes=5, uploads=0)
    assert bench.read(uploads.usage, "other") == Usage(images=0, bytes=0, uploads=0)


@pytest.mark.parametrize(("others", "size"), [(0, MAX_CHUNK_BYTES), (7, CHUNK_BYTES), (200, MIN_CHUNK_BYTES)])
def test_uploads_at_once_share_memory(bench: Bench, others: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queued()
    bench.transfers.uploads.update(str(number) for number in range(others))
    written: list[int] = []
    update = Digests.update

    async def spy(self: Digests, data: bytes) -> None:
        written.append(len(data))
        await update(self, data)

    monkeypatch.setattr(Digests, "update", spy)

    bench.upload("one", *[b"n" * 65_536] * 80)

    assert max(written) == size
    assert sum(written) == 80 * 65_536
    assert len(bench.transfers.uploads) == others
