# SPDX-License-Identifier: Apache-2.0
"""`store check` finds every kind of damage, planted here on both databases, and nothing beside uploads under way."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, image
from tests.transfer.transfers import RULES, Bench

from glance_registry.catalogue import blobs, images
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.changes import Delete
from glance_registry.model.errors import StoreUnavailable
from glance_registry.model.status import DELETED, QUEUED
from glance_registry.transfer import check as checks
from glance_registry.transfer.check import GRACE, Fault, Outcome
from glance_registry.transfer.reaper import sweep
from glance_registry.transfer.upload import upload

DATA = b"seven bytes, often " * 100_000


@pytest.fixture
def bench(loop: asyncio.Runner, catalogue: Catalogue, tmp_path: Path) -> Iterator[Bench]:
    """Two images with the same bytes in store fast, one with others in store cold."""
    found = Bench(loop, catalogue, tmp_path / "stores")
    for image_id, data, store in (("one", DATA, "fast"), ("two", DATA, "fast"), ("three", b"3", "cold")):
        found.queued(image_id)
        found.upload(image_id, data, store_name=store)
    found.sweep()
    age(found)
    yield found
    found.close()


def age(bench: Bench, by: timedelta = GRACE + timedelta(seconds=1)) -> None:
    """Nothing has changed for so long."""
    for store in ("fast", "cold"):
        for path in bench.files(store):
            at = (bench.now - by).timestamp()
            os.utime(path, (at, at))


def check(bench: Bench, **options: Any) -> tuple[list[Fault], Outcome]:
    faults: list[Fault] = []
    outcome = bench.run(checks.check(bench.catalogue, bench.transfers.stores, bench.now, faults.append, **options))
    assert outcome.faults + outcome.removed == len(faults)
    return faults, outcome


def sentences(bench: Bench, **options: Any) -> list[tuple[str, str | None, tuple[str, ...], str]]:
    found, _ = check(bench, **options)
    return [(fault.store, fault.key, fault.images, fault.sentence) for fault in found]


def only(bench: Bench, store: str = "fast") -> Path:
    (path,) = bench.files(store)
    return path


def add_object(bench: Bench, data: bytes = b"surplus", *, complete: bool = True) -> str:
    key = uuid4().hex

    async def write() -> None:
        begun = await bench.stores["fast"].create(key)
        await begun.write(data)
        if complete:
            await begun.commit()

    bench.run(write())
    return key


@pytest.mark.parametrize("options", [{}, {"deep": True}, {"repair": True}], ids=str)
def test_sound_stores_have_no_faults(bench: Bench, options: dict[str, bool]) -> None:
    bench.queued("begun")
    bench.begin("begun")

    faults, outcome = check(bench, **options)

    assert faults == []
    assert outcome == Outcome(copies=2, objects=2, size=len(DATA) + 1)


def test_a_missing_object_is_found_with_its_images(bench: Bench) -> None:
    path = only(bench)
    path.unlink()

    missing = "The object is missing: restore it from a backup, or delete the images that have it."
    assert sentences(bench) == [("fast", path.name, ("one", "two"), missing)]


def test_a_missing_object_is_not_repaired(bench: Bench) -> None:
    only(bench).unlink()

    faults, outcome = check(bench, repair=True)

    assert [fault.removed for fault in faults] == [False]
    assert (outcome.faults, outcome.removed) == (1, 0)
    assert bench.image("one").status == "active"


@pytest.mark.parametrize("size", [0, len(DATA) - 1, len(DATA) + 1])
def test_an_object_of_another_size_is_found(bench: Bench, size: int) -> None:
    os.truncate(only(bench), size)
    age(bench)

    wrong = f"The object has {size} bytes, and the database says {len(DATA)}: restore it from a backup."
    assert sentences(bench) == [("fast", only(bench).name, ("one", "two"), wrong)]


def test_other_bytes_of_the_same_size_are_found_only_by_a_deep_check(bench: Bench) -> None:
    with only(bench).open("r+b") as stream:
        stream.seek(1_234_567)
        stream.write(b"!")
    age(bench)

    assert sentences(bench) == []
    wrong = "The bytes are not those that were uploaded, their sha512 differs: restore the object from a backup."
    assert sentences(bench, deep=True) == [("fast", only(bench).name, ("one", "two"), wrong)]


@pytest.mark.parametrize("complete", [True, False])
def test_a_surplus_object_is_found_when_it_is_old_and_removed_by_a_repair(bench: Bench, complete: bool) -> None:
    key = add_object(bench, complete=complete)
    age(bench, GRACE - timedelta(seconds=1))
    assert sentences(bench) == []
    age(bench)

    row = "No row refers to the object, which has 7 bytes"
    assert sentences(bench) == [("fast", key, (), f"{row}; --repair removes it.")]
    assert sentences(bench, repair=True) == [("fast", key, (), f"{row}; it was removed.")]
    assert check(bench)[0] == []
    assert len(bench.files()) == 1
    assert bench.download("one") == DATA


def test_a_store_of_which_the_database_knows_nothing_is_not_emptied(bench: Bench) -> None:
    """It is another registry's store, or another database."""
    bench.remove("three")
    bench.sweep()
    path = bench.folder / "cold" / "objects" / "ab" / ("ab" * 16)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"?")
    age(bench)

    ((store, key, _, sentence),) = sentences(bench, repair=True)

    assert (store, key) == ("cold", path.name)
    assert sentence.endswith("because the database knows nothing in this store: make sure that it is the right one.")
    assert path.exists()


@pytest.mark.parametrize("place", ["incoming/notes.txt", "objects/notes.txt", "objects/ab/notes.txt"])
def test_a_file_of_somebody_else_is_found_and_left_alone(bench: Bench, place: str) -> None:
    path = bench.folder / "fast" / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")

    other = "Another program made this object; remove it if it is not needed."
    assert sentences(bench, repair=True) == [("fast", "notes.txt", (), other)]
    assert path.exists()


def test_a_store_that_the_settings_do_not_name_is_found(bench: Bench) -> None:
    bench.transfers.stores.by_name.pop("cold")

    unnamed = "The settings do not name this store, and rows refer to 1 objects in it."
    assert sentences(bench) == [("cold", None, (), unnamed)]


def test_a_store_that_cannot_be_listed_is_a_fault(bench: Bench) -> None:
    (bench.folder / "cold").rename(bench.folder / "away")

    ((_, key, ids, sentence), (_, _, _, listing)) = sentences(bench)

    assert (key is not None, ids) == (True, ("three",))
    assert sentence.startswith("The object cannot be read: [Errno 2]")
    assert listing.startswith("The store cannot be listed: [Errno 2]")


def test_a_store_that_fails_again_and_again_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_FAILURES", 2)
    for number in range(5):
        bench.queued(f"more{number}")
        bench.upload(f"more{number}", b"more%d" % number)
    age(bench)

    async def fail(*_: Any) -> int:
        raise StoreUnavailable("fast")

    monkeypatch.setattr("glance_registry.stores.file.FileStore.size", fail)
    found = [sentence for store, _, _, sentence in sentences(bench) if store == "fast"]

    assert sorted(found) == [
        "The object cannot be read: Store 'fast' does not answer.",
        "The store failed too often; what else it has was not compared.",
    ]


def test_rows_and_objects_are_compared_batch_by_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, few are in memory."""
    monkeypatch.setattr(checks, "MAX_BATCH", 2)
    for number in range(5):
        bench.queued(f"more{number}")
        bench.upload(f"more{number}", b"more%d" % number)
    surplus = {add_object(bench) for _ in range(5)}
    age(bench)
    gone = bench.image("more3").blob_number
    (copy,) = bench.read(blobs.copies, gone)
    bench.stores["fast"].path(copy.key).unlink()
    batches: list[int] = []
    read = bench.catalogue.read

    async def watched(operation: Callable[..., Any], *args: Any) -> Any:
        result = await read(operation, *args)
        if operation in (blobs.copies_after, blobs.known_keys):
            batches.append(len(result) if operation is blobs.copies_after else len(args[1]))
        return result

    monkeypatch.setattr(bench.catalogue, "read", watched)
    faults, outcome = check(bench)

    assert {fault.key for fault in faults} == {*surplus, copy.key}
    assert (outcome.copies, outcome.objects) == (7, 11)
    assert max(batches) == 2


def test_a_key_that_this_program_did_not_make_is_no_path(bench: Bench) -> None:
    def damage(connection: Connection) -> None:
        connection.execute(text("UPDATE blob_copies SET key = '../../etc/passwd' WHERE store = 'cold'"))

    bench.write(damage)

    found = sentences(bench, deep=True)

    assert ("cold", "../../etc/passwd", ("three",), "The key is none that this program makes.") in found


def test_an_image_that_is_deleted_meanwhile_is_no_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row was read, and then the object was removed."""
    size = bench.stores["fast"].size

    async def delete_first(key: str) -> int:
        for image_id in ("one", "two"):
            await bench.catalogue.write(images.change, image_id, [Delete(DELETED)], bench.now, ADMIN, RULES)
        await sweep(bench.transfers)
        return await size(key)

    monkeypatch.setattr(bench.stores["fast"], "size", delete_first)

    assert check(bench, deep=True)[0] == []


def test_an_object_that_is_removed_after_it_was_listed_is_no_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete_first() -> None:
        for image_id in ("one", "two"):
            await bench.catalogue.write(images.change, image_id, [Delete(DELETED)], bench.now, ADMIN, RULES)
        await sweep(bench.transfers)

    read = bench.catalogue.read

    async def watched(operation: Callable[..., Any], *args: Any) -> Any:
        if operation is blobs.known_keys and args[0] == "fast":
            await delete_first()
        return await read(operation, *args)

    monkeypatch.setattr(bench.catalogue, "read", watched)

    assert check(bench)[0] == []


@pytest.mark.parametrize("repair", [False, True])
def test_uploads_under_way_are_no_faults_and_are_not_disturbed(bench: Bench, repair: bool) -> None:
    """Some have begun long ago, some begin and end between two looks."""

    async def beside() -> None:
        stopped = False

        async def slow_body() -> AsyncIterator[bytes]:
            while not stopped:
                yield b"s" * 1_500_000
                await asyncio.sleep(0)

        async def churn() -> None:
            number = 0
            while not stopped:
                image_id = f"{uuid4()}"
                await bench.catalogue.write(images.add, image(image_id, status=QUEUED))

                async def short_body(number: int = number) -> AsyncIterator[bytes]:
                    yield b"%d" % number

                await upload(bench.transfers, image_id, short_body(), ADMIN)
                if number % 2:
                    await bench.catalogue.write(images.change, image_id, [Delete(DELETED)], bench.now, ADMIN, RULES)
                number += 1

        for image_id in ("slow1", "slow2"):
            await bench.catalogue.write(images.add, image(image_id, status=QUEUED))
        tasks = [asyncio.create_task(upload(bench.transfers, name, slow_body(), ADMIN)) for name in ("slow1", "slow2")]
        tasks.append(asyncio.create_task(churn()))  # type: ignore[arg-type]
        faults: list[Fault] = []
        later = bench.now + GRACE * 100  # No object is too young to be surplus.
        for _ in range(20):
            await checks.check(bench.catalogue, bench.transfers.stores, later, faults.append, deep=True, repair=repair)
            await sweep(bench.transfers)
        stopped = True
        await asyncio.gather(*tasks)
        assert faults == []

    bench.run(beside())
    assert bench.image("slow1").status == bench.image("slow2").status == "active"
    bench.sweep()
    assert check(bench, deep=True)[0] == []


def test_a_repair_never_removes_what_a_row_refers_to(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it has seemed so: it looks again."""
    read = bench.catalogue.read

    async def forgetful(operation: Callable[..., Any], *args: Any) -> Any:
        if operation is blobs.known_keys and len(args[1]) > 1:
            return set()
        return await read(operation, *args)

    for number in range(3):
        bench.queued(f"more{number}")
        bench.upload(f"more{number}", b"more%d" % number)
    bench.queued("begun")
    bench.run(_write(bench, bench.begin("begun")))
    age(bench)
    before = bench.files()
    monkeypatch.setattr(bench.catalogue, "read", forgetful)

    _, outcome = check(bench, repair=True)

    assert outcome.removed == 0
    assert bench.files() == before


async def _write(bench: Bench, key: str) -> None:
    await (await bench.stores["fast"].create(key)).write(b"begun")


def test_an_object_that_cannot_be_removed_stays_a_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add_object(bench)
    age(bench)

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("fast")

    monkeypatch.setattr("glance_registry.stores.file.FileStore.delete", fail)

    ((_, found, _, sentence),) = sentences(bench, repair=True)

    assert (found, sentence.endswith("and it was not removed: Store 'fast' does not answer.")) == (key, True)


def test_an_upload_whose_lease_has_ended_is_no_fault_before_the_reaper_and_nothing_after_it(bench: Bench) -> None:
    bench.queued("begun")
    bench.run(_write(bench, bench.begin("begun")))
    bench.now += timedelta(days=1)

    assert check(bench)[0] == []
    bench.sweep()
    assert check(bench)[0] == []
    assert len(bench.files()) == 1
