# SPDX-License-Identifier: Apache-2.0
"""OSSN-0076 (CVE-2016-8611): rows without end by POST /images.

So far what one request can bring is bounded. A quota per project, a limit on the rate of requests and the end of
images that stay queued are left for later.
"""

from typing import Any

import pytest
from tests.conftest import Client
from tests.options import make_settings

TOO_MUCH: dict[str, Any] = {
    "name": "x" * 256,
    "owner": "x" * 256,
    "checksum": "x" * 33,
    "disk_format": "x" * 21,
    "container_format": "x" * 21,
    "status": "x" * 1000,
    "location": "x" * 4097,
    "properties": {f"p{number}": "" for number in range(129)},
    "id": "x" * 37,
}
TOO_LONG_PROPERTIES = [{"x" * 256: ""}, {"p": "x" * 65_536}]


@pytest.mark.parametrize("field", TOO_MUCH)
def test_every_field_has_a_largest_size(context: Client, field: str) -> None:
    admin = context.caller("a", "admin")

    answer = admin.post("/images", {"image": {"status": "queued", field: TOO_MUCH[field]}})

    assert answer.status_code == 400
    assert admin.names("is_public=None") == []


@pytest.mark.parametrize("properties", TOO_LONG_PROPERTIES)
def test_a_property_has_a_largest_size(context: Client, properties: dict[str, str]) -> None:
    assert context.caller("p").post("/images", {"image": {"properties": properties}}).status_code == 400


@pytest.mark.parametrize("path", ["/images", "/images/{id}", "/images/{id}/members", "/images/{id}/members/m"])
def test_a_body_has_a_largest_size_and_is_not_read_further(database: str, path: str) -> None:
    client = Client(make_settings(database, max_request_body_size=2048))
    image = client.add()
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1024
            yield b" " * 1024

    answer = client.request("POST" if path == "/images" else "PUT", path.format(id=image["id"]), content=body())
    client.close()

    assert (answer.status_code, answer.text) == (413, "The body is larger than 2048 bytes.\n")
    assert len(answer.text) < 100
    assert sent <= 100 * 1024


def test_a_list_has_a_largest_length(context: Client) -> None:
    member = context.caller("o")
    path = f"/images/{member.add()['id']}/members"
    entries = [{"member_id": f"m{number}"} for number in range(1001)]

    assert member.put(path, {"memberships": entries}).status_code == 400
    assert member.put(path, {"memberships": entries[:1000]}).status_code == 204
    assert len(member.get("/images?limit=100000").json()["images"]) == 1


def test_a_page_is_cut_to_the_largest(database: str) -> None:
    client = Client(make_settings(database, api_limit_max=3))
    for _ in range(5):
        client.add()

    assert len(client.names("limit=1000000")) == 3
    client.close()
