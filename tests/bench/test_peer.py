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

    first, second = (request.partition(b"\r\n\r\n") for request in sent_by(case, 2))

    assert first[0].startswith(b"POST /images HTTP/1.1")
    assert b"X-Identity-Status: Confirmed" in first[0]
    assert f"Content-Length: {len(first[2])}".encode() in first[0]
    assert msgspec.json.decode(first[2])["image"]["name"].endswith("000000000000")
    assert msgspec.json.decode(second[2])["image"]["name"].endswith("000000000001")


def test_every_patch_and_every_tag_is_another_one_of_another_image() -> None:
    cases = peer._cases(2_000)
    patches, tags = (sent_by(cases[f"Images API: {name}"], 2_000) for name in ("patch", "tag"))

    for sent in (patches, tags):
        assert len(set(sent)) == 2_000
        assert len({paths(each)[:4] for each in sent}) > 500
    assert patches[0].startswith(b"PATCH /v2/images/")
    assert patches[0].count(b"Content-Type: ") == 1
    assert msgspec.json.decode(patches[1].partition(b"\r\n\r\n")[2]) == [
        {"op": "add", "path": "/touched", "value": "000000000001"}
    ]
    assert tags[1].startswith(b"PUT /v2/images/")
    assert paths(tags[1])[4:] == (b"tags", b"touched-000000000001")
    assert b"Content-Length" not in tags[1]


def test_a_change_is_also_asked_for_by_as_many_connections_of_each_program() -> None:
    cases = peer._cases(2_000)

    for name in ("Images API: patch", "Images API: tag"):
        one_each = cases[f"{name}, one connection each"]
        assert one_each.connections == 1
        assert (one_each.ours, one_each.our_bodies) == (cases[name].ours, cases[name].our_bodies)


def test_shows_and_pages_have_a_cold_case_beside_the_hot_one() -> None:
    cases = peer._cases(9_000)

    for name in ("show", "page of a project", "page of everything"):
        for dialect in ("", "Images API: "):
            cached, anywhere = cases[f"{dialect}{name}"], cases[f"{dialect}{name}, cold"]
            assert len({*anywhere.ours}) == len(anywhere.ours) > 5 * len(cached.ours)
            assert [path.rpartition("/" if name == "show" else "=")[2] for path in anywhere.ours] == [
                path.rpartition("/" if name == "show" else "=")[2] for path in anywhere.theirs
            ]


def sent_by(case: peer.Case, many: int) -> list[bytes]:
    """What our program is sent."""
    asked = load.Load(
        method=case.method, paths=case.ours, bodies=case.our_bodies, headers=case.headers, connections=1, seconds=1
    )
    return list(islice(load.requests(asked), many))


def paths(request: bytes) -> tuple[bytes, ...]:
    return tuple(request.split(b" ", 2)[1].split(b"/"))
