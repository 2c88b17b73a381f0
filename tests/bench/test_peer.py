# SPDX-License-Identifier: Apache-2.0
"""What the incumbent is filled with and asked."""

from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import pytest
from bench.catalogues import catalogue

from bench import glance, load, peer

IMAGES = [kept.image for kept in catalogue(0, 60)]


@pytest.mark.parametrize("times_as_text", [True, False])
def test_the_incumbents_rows_are_those_of_the_same_images(times_as_text: bool) -> None:
    tables = glance.rows(0, 60, times_as_text=times_as_text)

    found = [dict(zip(glance.COLUMNS["images"], row, strict=True)) for row in tables["images"]]
    assert [(row["id"], row["size"], row["deleted"]) for row in found] == [
        (image.id, image.size, image.deleted) for image in IMAGES
    ]
    assert {type(row["created_at"]) for row in found} == {str if times_as_text else datetime}
    assert all((row["deleted_at"] is None) == (not row["deleted"]) for row in found)
    assert len(tables["image_properties"]) == sum(len(image.properties) for image in IMAGES)


def test_every_row_has_a_value_for_each_column() -> None:
    for table, rows in glance.rows(0, 60, times_as_text=True).items():
        assert {len(row) for row in rows} == {len(glance.COLUMNS[table])}


def test_both_are_asked_for_the_same_images() -> None:
    cases = peer._cases(2_000)

    for name, before in (("show", "/"), ("page by name", "name=")):
        ours, theirs = (
            [path.rpartition(before)[2] for path in paths] for paths in (cases[name].ours, cases[name].theirs)
        )
        assert ours == theirs
        assert len(ours) > 100
    assert [names(ours["image"]) for ours in bodies(cases["create"].our_bodies)] == [
        (theirs["name"], theirs["os_distro"]) for theirs in bodies(cases["create"].their_bodies)
    ]


def bodies(given: list[str]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(body) for body in given]


def names(image: dict[str, Any]) -> tuple[str, str]:
    return image["name"], image["properties"]["os_distro"]


def test_every_post_has_a_name_of_its_own_and_says_how_long_it_is() -> None:
    case = peer._cases(2_000)["create"]
    sent = load.Load(paths=case.ours, bodies=case.our_bodies, headers=case.headers, connections=1, seconds=1)

    first, second = (request.partition(b"\r\n\r\n") for request in islice(load.requests(sent), 2))

    assert b"X-Identity-Status: Confirmed" in first[0]
    assert f"Content-Length: {len(first[2])}".encode() in first[0]
    assert msgspec.json.decode(first[2])["image"]["name"].endswith("000000000000")
    assert msgspec.json.decode(second[2])["image"]["name"].endswith("000000000001")
