# SPDX-License-Identifier: Apache-2.0
"""The catalogues that `make bench` measures: the same on every run, with the images that the measures ask for."""

import asyncio
from collections.abc import Callable
from typing import Any

from bench.catalogues import HUGE, PROPERTIES, RARE, SMALLEST, TENANT, catalogue, kept, realistic, registered_at
from bench.seeding import COLUMNS, fill, rows
from sqlalchemy import Connection, select

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.tables import image_members, image_properties
from glance_registry.catalogue.tables import images as image_table

FIRST = ("0ec6937a-2372-4007-ad86-736218a73886", "cache-31-snapshot-20220101-0")
SMALL = list(catalogue(0, SMALLEST))


def test_an_image_is_the_same_on_every_run() -> None:
    """Kept databases and published figures lean on it."""
    assert kept(4242) == kept(4242)
    assert (SMALL[0].image.id, SMALL[0].image.name) == FIRST
    assert kept(1, seed=1).image.id != SMALL[1].image.id


def test_a_larger_catalogue_begins_with_the_smaller_one() -> None:
    assert list(realistic(20)) == [each.image for each in SMALL[:20]]


def test_images_are_registered_in_the_order_of_their_numbers() -> None:
    times = [each.image.created_at for each in SMALL]

    assert times == sorted(set(times))
    assert registered_at(7) < times[7] < registered_at(8)


def test_every_id_is_used_once() -> None:
    assert len({each.image.id for each in SMALL}) == SMALLEST


def test_every_image_has_its_properties_unless_it_is_deleted() -> None:
    golden = [each.image for each in SMALL if RARE[0] in each.image.properties]

    assert {len(each.image.properties) for each in SMALL if each.image not in golden} == {0, PROPERTIES}
    assert all(each.image.deleted == (not each.image.properties) for each in SMALL)


def test_the_images_that_measures_ask_for_are_there() -> None:
    live = [each for each in SMALL if not each.image.deleted]

    assert sum(each.image.owner == TENANT for each in live) == 10
    assert sum(any(one.member_id == TENANT for one in each.members) for each in live) == 15
    assert sum(RARE in each.image.properties.items() for each in live) == 3
    assert sum((each.image.size or 0) >= HUGE for each in live) == 40


def test_a_larger_catalogue_has_no_more_of_them() -> None:
    later = [kept(number) for number in range(SMALLEST, 3 * SMALLEST)]

    assert not [each for each in later if each.image.owner == TENANT or (each.image.size or 0) >= HUGE]
    assert not [each for each in later if RARE[0] in each.image.properties]


def test_nobody_shares_an_image_with_its_owner() -> None:
    assert not [each for each in SMALL if any(one.member_id == each.image.owner for one in each.members)]


def test_seeding_writes_the_rows_that_the_program_writes(
    make_database: Callable[[str], str], database: str, loop: asyncio.Runner
) -> None:
    other = make_database(database.partition(":")[0])
    fill(database, COLUMNS, iter([rows(0, 700), rows(700, SMALLEST)]))

    async def by_the_program(catalogue: Catalogue) -> None:
        await catalogue.write(images.add_all, SMALL)

    assert _tables(loop, database) == _tables(loop, other, by_the_program)


def _tables(loop: asyncio.Runner, url: str, before: Callable[[Catalogue], Any] | None = None) -> dict[str, list[Any]]:
    async def run() -> dict[str, list[Any]]:
        catalogue = open_catalogue(url)
        if before:
            await before(catalogue)
        found = await catalogue.read(_all_rows)
        await catalogue.close()
        return found

    return loop.run(run())


def _all_rows(connection: Connection) -> dict[str, list[Any]]:
    tables = (image_table, image_properties, image_members)
    return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in tables}
