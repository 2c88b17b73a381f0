# SPDX-License-Identifier: Apache-2.0
"""How large an image may be, and how much of a list of large ones is read at once."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api.responses import Answer
from glance_registry.catalogue import images, rows
from glance_registry.model.document import IMAGE_DOCUMENT_BYTES

TOO_LARGE = f"at most {IMAGE_DOCUMENT_BYTES} are allowed"
BOTTOMLESS = 1_073_741_824


@pytest.fixture
def generous(database: str) -> Iterator[Client]:
    client = Client(make_settings(database, limits__image_document_bytes=BOTTOMLESS))
    yield client
    client.close()


@pytest.mark.parametrize("value", ["x" * 30_000, "é" * 15_000, "\x01" * 5_000], ids=["ascii", "utf-8", "control"])
def test_an_image_cannot_be_made_large_by_many_changes(client: Client, value: str) -> None:
    old, new = client.add()["id"], client.register()["id"]

    by_put = [client.put(f"/images/{old}", {"image": {"properties": {f"p{n}": value}}}) for n in range(4)]
    by_patch = [client.patch(new, {"op": "add", "path": f"/p{n}", "value": value}) for n in range(4)]

    for answers in (by_put, by_patch):
        assert [answer.status_code for answer in answers] == [200, 200, 413, 413]
        assert TOO_LARGE in answers[-1].text
    assert len(client.get(f"/v2/images/{new}").content) < IMAGE_DOCUMENT_BYTES + 2_000


@pytest.mark.parametrize("contract", ["cactus", "queens"])
def test_an_image_cannot_be_registered_large(database: str, contract: str) -> None:
    client = Client(make_settings(database, registry__contract=contract))
    own = {f"p{n}": "x" * 30_000 for n in range(3)}
    body = {"name": "large", "disk_format": "raw", "container_format": "bare"}
    try:
        refused = [
            client.post("/images", {"image": {**body, "is_public": False, "status": "active", "properties": own}}),
            client.post("/v2/images", {**body, **own}),
        ]
        assert [answer.status_code for answer in refused] == [413, 413]
        assert all(TOO_LARGE in answer.text for answer in refused)
        assert client.get("/v2/images").json()["images"] == []
    finally:
        client.close()


def test_tags_and_locations_count(client: Client) -> None:
    image_id = client.register(**{f"p{n}": "x" * 21_000 for n in range(3)})["id"]
    tags = [f"{n:03}" + "t" * 200 for n in range(100)]

    tagged = client.patch(image_id, {"op": "replace", "path": "/tags", "value": tags})
    located = client.post(f"/v2/images/{image_id}/locations", {"url": "http://h/" + "u" * 3_000})

    assert (tagged.status_code, located.status_code) == (413, 413)


def test_a_large_image_stays_readable_and_may_shrink_and_be_renamed(database: str, generous: Client) -> None:
    own = {f"p{n}": "x" * 30_000 for n in range(4)}
    image_id = generous.add(properties=own)["id"]
    strict = Client(make_settings(database))
    try:
        assert strict.show(image_id)["properties"] == own
        assert strict.patch(image_id, {"op": "replace", "path": "/name", "value": "short"}).status_code == 200
        assert strict.patch(image_id, {"op": "replace", "path": "/name", "value": "longer"}).status_code == 413
        assert strict.patch(image_id, {"op": "remove", "path": "/p0"}).status_code == 200
        assert strict.put(f"/images/{image_id}", {"image": {"status": "killed"}}).status_code == 200
        assert strict.delete(f"/images/{image_id}").status_code == 200
    finally:
        strict.close()


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of documents that each page brought from the database."""
    found: list[int] = []
    page = images.page

    def spy(*args: Any) -> Any:
        rows_of_page = page(*args)
        found.append(sum(map(rows.document_bytes, rows_of_page)))
        return rows_of_page

    monkeypatch.setattr(images, "page", spy)
    return found


LARGE, COUNT = 200_000, 45


@pytest.fixture
def many(generous: Client) -> list[str]:
    """More than two pages' worth of bytes, newest first, as lists are."""
    own = {f"p{n}": "x" * 50_000 for n in range(LARGE // 50_000)}
    return [generous.add(name=str(n), properties=own)["id"] for n in range(COUNT)][::-1]


def test_the_images_api_ends_a_page_early_and_offers_the_next(
    generous: Client, many: list[str], read_bytes: list[int]
) -> None:
    found, path = [], "/v2/images?limit=1000"
    while path:
        page = generous.get(path).json()
        found += [image["id"] for image in page["images"]]
        path = page.get("next", "")

    assert found == many
    assert len(read_bytes) == math.ceil(COUNT / math.ceil(rows.MAX_PAGE_BYTES / LARGE))
    assert all(read < rows.MAX_PAGE_BYTES + LARGE + 1_000 for read in read_bytes)


@pytest.mark.parametrize("query", ["limit=1000", "limit=1000&sort_key=name&sort_dir=asc", "limit=30&name=1"])
def test_the_registry_api_sends_a_whole_page_in_parts(
    generous: Client, many: list[str], read_bytes: list[int], query: str
) -> None:
    asked = dict(pair.split("=") for pair in query.split("&"))
    wanted = many
    if "sort_key" in asked:
        wanted = sorted(many, key=lambda image_id: str(COUNT - 1 - many.index(image_id)))
    if "name" in asked:
        wanted = [many[COUNT - 2]]

    answer = generous.get(f"/images/detail?{query}")

    assert [image["id"] for image in answer.json()["images"]] == wanted
    assert all(read < rows.MAX_PAGE_BYTES + LARGE + 1_000 for read in read_bytes)
    assert ("content-length" in answer.headers) == ("name" in asked)
    assert generous.get("/images/detail?limit=30").json()["images"][-1]["id"] == many[29]


def test_a_large_body_leaves_in_parts(generous: Client) -> None:
    own = {f"p{n}": "x" * 60_000 for n in range(15)}
    image_id = generous.add(properties=own)["id"]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/v2/images/{image_id}",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    generous.runner.run(generous.application(scope, receive, send))

    start, *parts = sent
    whole = b"".join(part["body"] for part in parts)
    assert dict(start["headers"])[b"content-length"] == str(len(whole)).encode()
    assert len(whole) > 3 * Answer.part_bytes
    assert all(len(part["body"]) <= Answer.part_bytes for part in parts)
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]


def test_with_a_higher_limit_the_longest_value_comes_back(generous: Client) -> None:
    own = {"n" * 255: "\U0001f40b" * 65_535}

    assert generous.show(generous.add(properties=own)["id"])["properties"] == own
