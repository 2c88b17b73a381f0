# SPDX-License-Identifier: Apache-2.0
"""Lists in order, page by page: nothing is lost, nothing comes twice, on both databases."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from tests.catalogue.examples import ADMIN, REGISTRY, after_noon, everything, image

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.changes import Delete, SetField
from glance_registry.model.errors import Invalid
from glance_registry.model.image import Image
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS, Filter

NAMES = (None, "", "a", "A", "b", "aa", "ä", "é", "Z", "_", " ", "\U0001f40b", "\uffff", "a")
SIZES = (None, 0, 5, 2**63 - 1, 5)
FORMATS = (None, "raw", "qcow2")
STATUSES = ("active", "queued", "killed")


def _examples() -> Iterator[Image]:
    """Images with ties and nulls in every key; in threes they were created in the same microsecond."""
    names, sizes, formats = itertools.cycle(NAMES), itertools.cycle(SIZES), itertools.cycle(FORMATS)
    for number in range(43):
        fields: dict[str, Any] = {"name": next(names), "size": next(sizes), "disk_format": next(formats)}
        fields |= {"container_format": fields["disk_format"], "status": STATUSES[number % 3]}
        # The ids are in another order than the times.
        yield image(f"{number * 17 % 43:02}-Aa"[: 3 + number % 3], at=number // 3, **fields)


EXAMPLES = tuple(_examples())


@pytest.fixture
def filled(loop: asyncio.Runner, catalogue: Catalogue) -> Catalogue:
    loop.run(catalogue.write(images.add_all, [images.Kept(example) for example in EXAMPLES]))
    return catalogue


def _place(example: Image, key: str) -> tuple[Any, ...]:
    """Where an image stands in a list; a missing text is an empty one, a missing size less than all."""
    value = getattr(example, key)
    missing = -1 if key == "size" else ""
    return (missing if value is None else value, example.created_at, example.id)


def _pages(loop: asyncio.Runner, catalogue: Catalogue, limit: int, **order: Any) -> Iterator[list[Image]]:
    """Page after page until an empty one, or until there were more than there can be."""
    marker = None
    for _ in range(2 * len(EXAMPLES)):
        page = loop.run(catalogue.read(images.find, everything(limit, marker, **order), ADMIN))
        if not page:
            return
        yield page
        marker = page[-1].id
    pytest.fail("the pages do not come to an end")


@pytest.mark.parametrize("key", SORT_KEYS)
@pytest.mark.parametrize("direction", SORT_DIRECTIONS)
def test_a_list_is_in_order_and_its_pages_are_the_list(
    loop: asyncio.Runner, filled: Catalogue, key: str, direction: str
) -> None:
    order = {"key": key, "descending": direction == "desc"}
    expected = sorted(EXAMPLES, key=lambda example: _place(example, key), reverse=order["descending"])

    whole = loop.run(filled.read(images.find, everything(**order), ADMIN))
    pages = list(_pages(loop, filled, 4, **order))

    assert whole == expected
    assert [found for page in pages for found in page] == expected
    assert [len(page) for page in pages] == [4] * 10 + [3]


@pytest.mark.parametrize("marker", ["active", "killed", "queued"])
@pytest.mark.parametrize("descending", [False, True])
def test_a_marker_may_be_an_image_that_the_filter_leaves_out(
    loop: asyncio.Runner, filled: Catalogue, marker: str, descending: bool
) -> None:
    """The list of killed images, by status, goes on from an image of another status."""
    place = next(example for example in EXAMPLES[20:] if example.status == marker)
    query = replace(
        everything(50, place.id, key="status", descending=descending), filters=(Filter("status", "eq", "killed"),)
    )

    found = loop.run(filled.read(images.find, query, ADMIN))

    expected = sorted(EXAMPLES, key=lambda example: _place(example, "status"), reverse=descending)
    behind = expected[expected.index(place) + 1 :]
    assert found == [example for example in behind if example.status == "killed"]


def test_a_page_of_nothing_is_empty(loop: asyncio.Runner, filled: Catalogue) -> None:
    assert loop.run(filled.read(images.find, everything(0), ADMIN)) == []
    assert loop.run(filled.read(images.find, everything(0, EXAMPLES[7].id), ADMIN)) == []


def test_what_comes_and_goes_between_pages_shifts_no_other_image(loop: asyncio.Runner, filled: Catalogue) -> None:
    pages = _pages(loop, filled, 10)
    seen = list(next(pages))
    for gone in seen[-3:]:  # The marker is one of them.
        loop.run(filled.write(images.change, gone.id, [Delete()], after_noon(9_000), ADMIN, REGISTRY))
    loop.run(filled.write(images.add, image("new", at=9_000)))

    seen += [found for page in pages for found in page]

    assert sorted(found.id for found in seen) == sorted(example.id for example in EXAMPLES)


def test_an_unknown_marker_is_invalid_and_named(loop: asyncio.Runner, filled: Catalogue) -> None:
    with pytest.raises(Invalid, match="Marker 'none' is not an image"):
        loop.run(filled.read(images.find, everything(4, "none"), ADMIN))


@pytest.mark.parametrize("public", [True, False, None])
def test_a_page_is_cut_after_what_is_not_asked_for_was_left_out(
    loop: asyncio.Runner, catalogue: Catalogue, public: bool | None
) -> None:
    for number in range(20):
        visibility = "public" if number % 2 else "shared"
        loop.run(catalogue.write(images.add, image(f"i{number:02}", at=number, visibility=visibility)))

    query = everything(5)
    found = loop.run(catalogue.read(images.find, type(query)(page=query.page, public=public), ADMIN))

    shown = [number for number in range(19, -1, -1) if public is None or bool(number % 2) == public]
    assert [entry.id for entry in found] == [f"i{number:02}" for number in shown[:5]]


def test_a_list_by_update_follows_the_updates(loop: asyncio.Runner, filled: Catalogue) -> None:
    for number, example in enumerate(EXAMPLES[5:8]):
        changes = [SetField("disk_format", "raw"), SetField("container_format", "bare")]
        loop.run(filled.write(images.change, example.id, changes, after_noon(9_000 + number), ADMIN, REGISTRY))

    newest = loop.run(filled.read(images.find, everything(3, key="updated_at"), ADMIN))

    assert [found.id for found in newest] == [example.id for example in reversed(EXAMPLES[5:8])]
