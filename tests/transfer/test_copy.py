# SPDX-License-Identifier: Apache-2.0
"""An image's bytes in several stores: copied, shared with other images, and taken away, on both databases."""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.catalogue.examples import ADMIN
from tests.transfer.test_upload import ME, OTHER, counts
from tests.transfer.transfers import Bench

from glance_registry.catalogue import blobs, copies
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.blobs import Copy
from glance_registry.model.errors import Conflict, Forbidden, Gone, Invalid, NotFound, StoreFull, StoreUnavailable
from glance_registry.transfer.copy import copy_to_store
from glance_registry.transfer.reaper import RETRY
from glance_registry.transfer.upload import LEASE

DATA = os.urandom(2_500_000)
NOTHING = {"blobs": 0, "blob_copies": 0, "uploads": 0, "removals": 0}


@pytest.fixture
def bench(loop: asyncio.Runner, catalogue: Catalogue, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(loop, catalogue, tmp_path / "stores")
    found.queued()
    found.upload("one", DATA)
    yield found
    found.close()


def copy(bench: Bench, image_id: str = "one", store: str = "cold") -> None:
    bench.run(copy_to_store(bench.transfers, image_id, store, ADMIN))


def take(bench: Bench, store: str, image_id: str = "one", caller: Any = ADMIN) -> None:
    bench.write(copies.remove, image_id, store, bench.now, caller)


def test_a_copy_is_read_when_the_first_store_has_lost_the_bytes(bench: Bench) -> None:
    before = bench.image()

    copy(bench)

    found = bench.image()
    assert (found.stores, found.version) == (("cold", "fast"), before.version + 1)
    assert found.updated_at >= before.updated_at
    (path,) = bench.files("fast")
    path.unlink()
    assert bench.download() == DATA
    assert counts(bench) == {"blobs": 1, "blob_copies": 2, "uploads": 0, "removals": 0}


def test_to_copy_twice_changes_nothing(bench: Bench) -> None:
    copy(bench)
    before = bench.image()

    copy(bench)

    assert len(bench.files("cold")) == 1
    assert bench.image().stores == before.stores


def test_an_image_with_the_same_bytes_gets_the_copy_that_is_there(bench: Bench) -> None:
    bench.queued("two")
    bench.upload("two", DATA, store_name="cold")

    copy(bench)

    assert bench.image().stores == ("cold", "fast")
    assert len(bench.files("cold")) == 1


def test_bytes_are_taken_from_a_store_when_no_other_image_has_them_there(bench: Bench) -> None:
    bench.queued("two")
    bench.upload("two", DATA, store_name="cold")
    copy(bench)

    take(bench, "cold")
    bench.sweep()
    assert (bench.image().stores, len(bench.files("cold"))) == (("fast",), 1)
    assert bench.download("two") == DATA

    bench.remove("two", ADMIN)
    copy(bench)
    take(bench, "fast")
    bench.sweep()
    assert (bench.image().stores, bench.files("fast")) == (("cold",), [])
    assert bench.download() == DATA

    bench.remove("one", ADMIN)
    bench.sweep()
    assert bench.files("cold") == []
    assert counts(bench) == NOTHING


def test_the_last_copy_stays_and_only_admins_take_one(bench: Bench) -> None:
    bench.queued("mine", owner="mine", visibility="private")
    bench.upload("mine", b"mine")
    copy(bench, "mine")

    with pytest.raises(Forbidden, match="No other store"):
        take(bench, "fast")
    with pytest.raises(Forbidden, match="admins"):
        take(bench, "fast", "mine", ME)
    with pytest.raises(NotFound):
        take(bench, "fast", "mine", OTHER)
    with pytest.raises(NotFound, match="not in store 'web'"):
        take(bench, "web", "mine")
    bench.queued("new")
    with pytest.raises(Conflict, match="active"):
        take(bench, "fast", "new")


def test_what_cannot_be_copied_is_refused(bench: Bench) -> None:
    bench.queued("new")

    with pytest.raises(Conflict, match="active"):
        copy(bench, "new")
    with pytest.raises(NotFound):
        copy(bench, "none")
    with pytest.raises(Invalid, match="no store 'web'"):
        copy(bench, store="web")
    assert bench.files("cold") == []


@pytest.mark.parametrize("damage", ["lost", "cut", "changed"])
def test_damaged_bytes_are_not_copied(bench: Bench, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = bench.files("fast")
    if damage == "lost":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, 5)
    else:
        path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))

    with pytest.raises(StoreUnavailable, match="'fast'"):
        copy(bench)

    bench.sweep()
    assert bench.image().stores == ("fast",)
    assert bench.files("cold") == []
    assert counts(bench) == {"blobs": 1, "blob_copies": 1, "uploads": 0, "removals": 0}
    assert "a store failed" in caplog.text


def test_a_store_without_room_keeps_the_image_as_it_is(bench: Bench) -> None:
    bench.stores["cold"]._reserve_free = 2**62

    with pytest.raises(StoreFull):
        copy(bench)

    bench.sweep()
    assert bench.image().stores == ("fast",)
    assert counts(bench)["removals"] == 0


def test_what_a_killed_program_leaves_of_a_copy_is_removed_after_its_lease(bench: Bench) -> None:
    key = "a" * 32
    bench.write(copies.begin, Copy("cold", key), bench.now + LEASE)

    async def write_half() -> None:
        sink = await bench.stores["cold"].create(key)
        await sink.write(b"half")

    bench.run(write_half())

    assert bench.sweep() == 0
    assert len(bench.files("cold")) == 1
    assert bench.sweep(LEASE + timedelta(seconds=1)) == 1
    assert bench.files("cold") == []
    assert counts(bench)["removals"] == 0


def test_what_the_reaper_has_taken_is_not_given_to_the_image(bench: Bench) -> None:
    """Also when the store did not remove the object yet."""
    object_, blob_number = Copy("cold", "a" * 32), bench.image().blob_number
    until = bench.now + LEASE
    bench.write(copies.begin, object_, until)
    bench.now = until
    assert bench.write(blobs.claim, bench.now, bench.now + RETRY, 10) == [object_]

    with pytest.raises(Gone):
        bench.write(copies.renew, object_.key, until, until + LEASE)
    with pytest.raises(Gone):
        bench.write(copies.finish, "one", blob_number, object_, until, bench.now)

    assert bench.image().stores == ("fast",)


def test_an_image_that_is_deleted_while_it_is_copied_leaves_nothing(bench: Bench) -> None:
    object_, blob_number, until = Copy("cold", "b" * 32), bench.image().blob_number, bench.now + LEASE
    bench.write(copies.begin, object_, until)
    bench.remove("one", ADMIN)

    with pytest.raises(Gone):
        bench.write(copies.finish, "one", blob_number, object_, until, bench.now)

    bench.sweep(LEASE)
    assert bench.files("fast") == bench.files("cold") == []
    assert counts(bench) == NOTHING
