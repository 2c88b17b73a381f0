# SPDX-License-Identifier: Apache-2.0
"""Images that are read again and again are kept as values; nobody ever sees one that is not so any more."""

from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, everything, image
from tests.conftest import Client

from glance_registry.catalogue import images, rows
from glance_registry.catalogue.rows import HOT_IMAGES, LARGEST_HOT
from glance_registry.model.image import Image
from glance_registry.settings import Settings


@pytest.fixture(autouse=True)
def cold() -> None:
    """As in a process that has just started, whatever other tests have read."""
    rows._met.clear()
    rows._hot.clear()


def by_hand(connection: Connection, statement: str) -> None:
    """What an operator types into the database's own shell: no version is counted, no time is set."""
    connection.execute(text(statement))


def heat(read: Any, image_id: str = "one") -> Image:
    for _ in range(3):
        found: Image = read(images.get, image_id, ADMIN)
    return found


def test_an_image_that_is_read_again_is_the_same_object_also_in_a_list(read: Any, write: Any) -> None:
    write(images.add, image(properties={"a": "1"}))

    hot = heat(read)

    assert read(images.get, "one", ADMIN) is hot
    assert read(images.find, everything(), ADMIN)[0] is hot


def test_one_that_is_too_large_is_made_anew(read: Any, write: Any) -> None:
    write(images.add, image(properties={"a": "x" * LARGEST_HOT}))

    large = heat(read)

    assert read(images.get, "one", ADMIN) is not large
    assert read(images.get, "one", ADMIN) == large


def test_going_through_a_large_catalogue_drives_out_nothing(read: Any, write: Any) -> None:
    write(images.add, image())
    others = [images.Kept(image(f"other-{number}", at=1)) for number in range(HOT_IMAGES + 100)]
    write(images.add_all, others)
    hot = heat(read)

    assert len(read(images.find, everything(limit=10_000), ADMIN)) == len(others) + 1

    assert read(images.get, "one", ADMIN) is hot


def test_more_images_than_there_is_room_for_do_not_drive_each_other_out(read: Any, write: Any) -> None:
    many = HOT_IMAGES + 500
    write(images.add_all, [images.Kept(image(f"one-{number}", at=number)) for number in range(many)])

    first, second, third, fourth = (read(images.find, everything(limit=many), ADMIN) for _ in range(4))

    assert first == second == third == fourth
    assert sum(one is other for one, other in zip(third, fourth, strict=True)) > HOT_IMAGES // 2
    assert len(rows._hot) == HOT_IMAGES


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
    before = heat(read)

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
    open_one = Client(Settings(database=sqlite_database, contract="queens", show_locations=True, show_direct_url=True))
    closed = Client(Settings(database=sqlite_database, contract="queens"))
    path = f"/v2/images/{open_one.add(location=location)['id']}"
    try:
        for _ in range(4):
            told = open_one.get(path).json()
            assert (told["direct_url"], told["locations"][0]["url"]) == (location, location)
            assert location not in closed.get(path).text
    finally:
        open_one.close()
        closed.close()
