# SPDX-License-Identifier: Apache-2.0
"""Purging: rows go, ids stay taken, and nobody inherits anything, on both databases."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Connection, func, select
from tests.catalogue.examples import ADMIN, REGISTRY, after_noon, everything, image

from glance_registry.catalogue import images, members
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.purge import purge
from glance_registry.catalogue.tables import image_members, image_properties, metadata
from glance_registry.catalogue.tables import images as table
from glance_registry.model.access import Caller
from glance_registry.model.changes import Delete
from glance_registry.model.contract import CACTUS, QUEENS
from glance_registry.model.errors import Conflict, NotFound
from glance_registry.model.image import delete


@pytest.fixture
def write(loop: asyncio.Runner, catalogue: Catalogue) -> Any:
    return lambda operation, *args: loop.run(catalogue.write(operation, *args))


@pytest.fixture
def read(loop: asyncio.Runner, catalogue: Catalogue) -> Any:
    return lambda operation, *args: loop.run(catalogue.read(operation, *args))


def test_only_what_was_deleted_before_the_time_goes(write: Any, read: Any) -> None:
    for number in range(4):
        write(images.add, image(f"i{number}"))
    for number in (1, 2):
        write(images.change, f"i{number}", [Delete()], after_noon(number * 10), ADMIN, REGISTRY)

    assert write(purge, after_noon(20), after_noon(99), 500) == 1

    with pytest.raises(NotFound):
        read(images.get, "i1", ADMIN, QUEENS)
    assert read(images.get, "i2", ADMIN, QUEENS).deleted
    assert {found.id for found in read(images.find, everything(), ADMIN)} == {"i0", "i3"}


def test_a_portion_takes_the_longest_deleted_first(write: Any, read: Any) -> None:
    for number in range(5):
        write(images.add, image(f"i{number}"))
    for seconds, number in enumerate((3, 0, 4, 1, 2)):
        write(images.change, f"i{number}", [Delete()], after_noon(10 + seconds), ADMIN, REGISTRY)

    assert write(purge, after_noon(99), after_noon(99), 2) == 2

    kept = [kept.image.id for kept in read(images.after, None, "", 10)]
    assert kept == ["i1", "i2", "i4"]
    assert [write(purge, after_noon(99), after_noon(99), 2) for _ in range(3)] == [2, 1, 0]


def test_a_purged_id_is_never_used_again(write: Any) -> None:
    write(images.add, image())
    write(images.change, "one", [Delete()], after_noon(1), ADMIN, REGISTRY)
    write(purge, after_noon(2), after_noon(2), 500)

    with pytest.raises(Conflict, match="Image with identifier one already exists!"):
        write(images.add, image())


def test_the_next_image_inherits_no_member_and_no_property_of_a_purged_one(write: Any, read: Any) -> None:
    """SQLite gives the newest row's number again once that row is gone."""
    stranger = Caller(user="u", project="stranger")
    write(images.add, image("shared", visibility="shared", properties={"a": "1"}))
    write(members.replace, "shared", {"stranger": None}, after_noon(0), ADMIN)
    write(images.change, "shared", [Delete()], after_noon(1), ADMIN, REGISTRY)
    write(purge, after_noon(2), after_noon(2), 500)

    write(images.add, image("private", visibility="private"))

    with pytest.raises(NotFound):
        read(images.get, "private", stranger, CACTUS)
    assert read(members.find, "private", ADMIN) == []
    assert read(members.find_shared, "stranger", ADMIN) == []


def test_a_purge_leaves_no_row_that_belongs_to_nothing(write: Any, read: Any) -> None:
    for number in range(3):
        write(images.add, image(f"i{number}", properties={"a": "1", "b": "x" * 5_000}, tags=("t",)))
        write(members.replace, f"i{number}", {"m": None, "n": None}, after_noon(0), ADMIN)
        write(images.change, f"i{number}", [Delete()], after_noon(1), ADMIN, REGISTRY)
    write(purge, after_noon(99), after_noon(99), 500)

    def rows(connection: Connection) -> dict[str, int]:
        return {
            kept.name: connection.execute(select(func.count()).select_from(kept)).scalar_one()
            for kept in metadata.sorted_tables
            if kept in (table, image_members, image_properties)
        }

    assert read(rows) == {"images": 0, "image_members": 0, "image_properties": 0}


def test_two_purges_at_once_take_every_image_once(loop: asyncio.Runner, catalogue: Catalogue, write: Any) -> None:
    for number in range(20):
        write(images.add, image(f"i{number}"))
        write(images.change, f"i{number}", [Delete()], after_noon(number), ADMIN, REGISTRY)

    async def purge_twice() -> list[int]:
        return await asyncio.gather(
            *(catalogue.write(purge, after_noon(99), after_noon(99), 15) for _ in range(2)),
        )

    purged = loop.run(purge_twice())

    assert sum(purged) <= 20
    assert sum(purged) + write(purge, after_noon(99), after_noon(99), 500) == 20


def test_other_writes_get_in_between_the_portions_of_a_purge(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    gone = [images.ImageRecord(delete(image(f"gone-{number}", at=number), after_noon(number))) for number in range(600)]
    written: list[str] = []
    seen_by_purge: list[int] = []

    async def purge_all() -> None:
        while await catalogue.write(purge, after_noon(999), after_noon(999), 20):
            seen_by_purge.append(len(written))

    async def write_on() -> None:
        for number in range(30):
            await catalogue.write(images.add, image(f"new-{number}", at=1_000 + number))
            written.append(f"new-{number}")

    async def both() -> None:
        await catalogue.write(images.add_all, gone)
        await asyncio.gather(purge_all(), write_on())

    loop.run(both())

    assert len(written) == 30
    assert len(seen_by_purge) == 30
    # No write had to wait for the end of the purge, and the purge for the end of no stream of writes.
    # How often they take turns depends on how busy the machine is.
    assert len(set(seen_by_purge)) > 3
