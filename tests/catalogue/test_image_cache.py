# SPDX-License-Identifier: Apache-2.0
"""Images that are read again and again are cached; nobody ever sees one that is not so any more."""

import asyncio
import random
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, everything, image
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.bounded_cache import MAX_PART
from glance_registry.catalogue.image_cache import MAX_BYTES, ImageCache
from glance_registry.catalogue.rows import as_row
from glance_registry.catalogue.tables import images as images_table
from glance_registry.model.image import Image

COLUMNS = [column.name for column in images_table.c]
MANY = 6_000
"""Images of which the cache has not room for all."""


@pytest.fixture
def read(loop: asyncio.Runner, catalogue: Catalogue) -> Callable[..., Any]:
    return lambda operation, *args: loop.run(catalogue.read(operation, *args))


@pytest.fixture
def write(loop: asyncio.Runner, catalogue: Catalogue) -> Callable[..., Any]:
    return lambda operation, *args: loop.run(catalogue.write(operation, *args))


def by_hand(connection: Connection, statement: str) -> None:
    """What an operator types into the database's own shell: no version is counted, no time is set."""
    connection.execute(text(statement))


def row_of(number: int, name: str = "", **fields: Any) -> tuple[Any, ...]:
    """As a database hands out the row of an image with this number."""
    values = {"number": number, **as_row(image(f"image-{number}", name=name, **fields))}
    return tuple(values[column] for column in COLUMNS)


def cached(read: Any, image_id: str = "one") -> Image:
    for _ in range(3):
        found: Image = read(images.get, image_id, ADMIN)
    return found


def test_an_image_that_is_read_again_is_the_same_object_also_in_a_list(read: Any, write: Any) -> None:
    write(images.add, image(properties={"a": "1"}))

    first = cached(read)

    assert read(images.get, "one", ADMIN) is first
    assert read(images.find, everything(), ADMIN)[0] is first


def test_one_that_is_too_large_is_made_anew(read: Any, write: Any) -> None:
    write(images.add, image(properties={"a": "x" * (MAX_BYTES // MAX_PART)}))

    large = cached(read)

    assert read(images.get, "one", ADMIN) is not large
    assert read(images.get, "one", ADMIN) == large


def test_going_through_a_large_catalogue_drives_out_nothing(read: Any, write: Any) -> None:
    write(images.add, image())
    others = [images.Kept(image(f"other-{number}", at=1)) for number in range(MANY)]
    write(images.add_all, others)
    first = cached(read)

    assert len(read(images.find, everything(limit=10_000), ADMIN)) == len(others) + 1

    assert read(images.get, "one", ADMIN) is first


def test_more_images_than_there_is_room_for_do_not_drive_each_other_out(
    read: Any, write: Any, catalogue: Catalogue
) -> None:
    write(images.add_all, [images.Kept(image(f"one-{number}", at=number)) for number in range(MANY)])

    first, second, third, fourth = (read(images.find, everything(limit=MANY), ADMIN) for _ in range(4))

    assert first == second == third == fourth
    room = len(catalogue.image_cache)
    assert room < MANY
    assert sum(one is other for one, other in zip(third, fourth, strict=True)) > room // 2
    assert catalogue.image_cache.size <= MAX_BYTES


def test_an_image_is_cached_when_it_is_read_for_the_second_time() -> None:
    cache = ImageCache()

    first, second, third = (cache.load(row_of(1)) for _ in range(3))

    assert first == second == third
    assert first is not second
    assert second is third
    assert [cache.size_of(stored.image) > 0 for stored in (first, second, third)] == [False, True, True]


def test_the_row_decides_and_not_the_version() -> None:
    cache = ImageCache()
    for _ in range(3):
        before = cache.load(row_of(1, "before")).image

    after = cache.load(row_of(1, "after")).image

    assert (before.version, before.name) == (after.version, "before")
    assert after.name == "after"
    assert cache.load(row_of(1, "after")).image is after
    assert cache.size_of(after)
    assert not cache.size_of(before)
    assert len(cache) == 1


def test_a_cached_image_that_becomes_too_large_leaves_the_cache() -> None:
    cache = ImageCache()
    for _ in range(2):
        cache.load(row_of(1))

    cache.load(row_of(1, properties={"a": "x" * (MAX_BYTES // MAX_PART)}))

    assert (len(cache), cache.size) == (0, 0)


@pytest.mark.parametrize(
    "properties", [{}, {"a": "x" * 500}, {"a": "\U0001f4be" * 150}, {f"p{i}": "v" for i in range(50)}]
)
def test_the_cache_takes_no_more_memory_than_it_may(properties: dict[str, str]) -> None:
    size = 2**20
    cache = ImageCache(size)
    tracemalloc.start()
    try:
        for number in range(1_000):
            for _ in range(2):
                cache.load(row_of(number, f"image {number}", properties=properties))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size // 2 < cache.size <= size
    assert taken < 2 * size


def test_a_caller_of_a_thousand_images_leaves_others_theirs() -> None:
    """They are read again and again, and there is no room for them."""
    cache = ImageCache(2**20)
    mine = [row_of(number) for number in range(300)]
    for row in 2 * mine:
        cache.load(row)
    full = [stored for stored in map(cache.load, mine) if cache.size_of(stored.image)]

    for row in 3 * [row_of(number) for number in range(1_000, 2_000)]:
        cache.load(row)

    assert sum(cache.size_of(stored.image) > 0 for stored in full) > len(full) // 2


def test_threads_share_a_cache() -> None:
    cache = ImageCache(2**18)
    rows = [row_of(number, f"image {number}") for number in range(200)]

    def load(seed: int) -> None:
        for row in random.Random(seed).choices(rows, k=5_000):
            assert cache.load(row).image.name == f"image {row[0]}"

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load, range(4)))

    assert 0 < cache.size <= 2**18
    assert sum(cache.size_of(cache.load(row).image) > 0 for row in rows) >= len(cache) > 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE images SET name = 'other'",
        "UPDATE images SET min_ram = 1",
        "UPDATE images SET os_hidden = true",
        'UPDATE images SET properties = \'{"a":"2"}\'',
        "UPDATE images SET updated_at = updated_at + 1",
    ],
)
def test_a_row_that_was_changed_by_hand_is_shown_as_it_is(read: Any, write: Any, statement: str) -> None:
    write(images.add, image(properties={"a": "1"}))
    before = cached(read)

    write(by_hand, statement)

    after = read(images.get, "one", ADMIN)
    assert after != before
    assert read(images.find, everything(), ADMIN) == [after]


def test_both_dialects_show_a_row_that_was_changed_by_hand(client: Client) -> None:
    added = client.add(name="before", properties={"os": "a"})
    paths = [f"/images/{added['id']}", "/images", "/images/detail", f"/v2/images/{added['id']}", "/v2/images"]
    for path in 3 * paths:
        assert "before" in client.get(path).text
    assert client.get(paths[0]).headers["x-image-meta-name"] == "before"

    client.operate(by_hand, "UPDATE images SET name = 'after'")

    for path in paths:
        shown = client.get(path).text
        assert "after" in shown
        assert "before" not in shown
    assert client.get(paths[0]).headers["x-image-meta-name"] == "after"


def test_what_one_program_shows_of_an_image_another_does_not(sqlite_database: str) -> None:
    """Both in this process, on one database, with settings that differ."""
    location = "https://store.example/one"
    open_one = Client(
        make_settings(
            sqlite_database,
            registry__contract="queens",
            images__show_multiple_locations=True,
            images__show_image_direct_url=True,
        )
    )
    closed = Client(make_settings(sqlite_database, registry__contract="queens"))
    path = f"/v2/images/{open_one.add(location=location)['id']}"
    try:
        for _ in range(4):
            told = open_one.get(path).json()
            assert (told["direct_url"], told["locations"][0]["url"]) == (location, location)
            assert location not in closed.get(path).text
    finally:
        open_one.close()
        closed.close()
