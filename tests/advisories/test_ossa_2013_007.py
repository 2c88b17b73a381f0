# SPDX-License-Identifier: Apache-2.0
"""OSSA-2013-007 (CVE-2013-1840): a store's credentials in a header of the answer, for a field that was let through.

Answers are built from a list of fields, and from nothing else.
"""

from typing import Any

import pytest
from tests.conftest import Client

BRIEF = {"id", "name", "size", "disk_format", "container_format", "checksum"}
SHOWN = BRIEF | {
    *("status", "created_at", "updated_at", "deleted_at", "deleted", "is_public", "owner", "min_disk", "min_ram"),
    *("protected", "virtual_size", "location", "location_data", "properties"),
}
OTHERS = {"password": "hunter2", "store": "hunter2", "x_auth": "hunter2", "version": 7, "visibility": "public"}
PLAIN_HEADERS = {
    *("content-type", "content-length", "cache-control", "x-content-type-options", "x-openstack-request-id"),
}


@pytest.fixture
def image(client: Client) -> dict[str, Any]:
    place = {"url": "file:///i", "metadata": {}, "secret": "hunter2"}
    return client.add(**OTHERS, size=1, location_data=[place], properties={"p": "1"})


def test_answers_have_the_listed_fields_and_no_others(client: Client, image: dict[str, Any]) -> None:
    path = f"/images/{image['id']}"
    (brief,) = client.get("/images").json()["images"]
    (detailed,) = client.get("/images/detail").json()["images"]
    updated = client.put(path, {"image": OTHERS}).json()["image"]

    assert set(brief) == BRIEF
    assert set(image) == set(detailed) == set(client.show(image["id"])) == set(updated) == SHOWN
    assert set(client.delete(path).json()["image"]) == SHOWN
    assert set(image["location_data"][0]) == {"url", "metadata", "status"}
    assert "hunter2" not in str([image, brief, detailed, updated])


def test_headers_are_those_of_the_listed_fields(client: Client, image: dict[str, Any]) -> None:
    answer = client.get(f"/images/{image['id']}")

    fields = SHOWN - {"properties", "location_data"}
    allowed = {f"x-image-meta-{field}" for field in fields} | PLAIN_HEADERS | {"x-image-meta-property-p"}
    assert set(answer.headers) <= allowed
    assert "hunter2" not in str(answer.headers)


def test_other_answers_have_no_header_of_an_image(client: Client, image: dict[str, Any]) -> None:
    path = f"/images/{image['id']}"
    answers = [
        client.get("/images"),
        client.get("/images/detail"),
        client.put(path, {"image": {}}),
        client.delete(path),
    ]

    for answer in answers:
        assert set(answer.headers) == PLAIN_HEADERS
