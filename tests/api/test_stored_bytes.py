# SPDX-License-Identifier: Apache-2.0
"""An image whose bytes the registry keeps: what each API may still say of them.

The database has a trigger for size and digests, too (tests/catalogue). These are the sentences that callers get.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.conftest import Client
from tests.options import make_settings

BYTES = "application/octet-stream"
DATA = b"the bytes of an image"
URL = "https://images.test/i"
SENTENCE = "The registry keeps this image's bytes: "


def upload(client: Any, image_id: str, data: bytes = DATA) -> httpx.Response:
    answer: httpx.Response = client.request(
        "PUT", f"/v2/images/{image_id}/file", content=data, headers={"Content-Type": BYTES}
    )
    return answer


def create(client: Any, **fields: Any) -> dict[str, Any]:
    """An image with bytes, as the Images API shows it."""
    image = client.register(**fields)
    answer = upload(client, image["id"])
    assert answer.status_code == 204, answer.text
    shown: dict[str, Any] = client.get(image["self"]).json()
    return shown


@pytest.fixture(params=["users", "api_servers"])
def registry(request: pytest.FixtureRequest, sqlite_database: str) -> Iterator[Client]:
    """Both kinds of clients of the Registry API; without an identity mode everybody is a writer."""
    settings = make_settings(
        sqlite_database,
        registry__contract="queens",
        registry__clients=request.param,
        images__show_multiple_locations=True,
    )
    client = Client(settings)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"size": 5}, "field 'size'"),
        ({"size": None}, "field 'size'"),
        ({"virtual_size": 5}, "field 'virtual_size'"),
        ({"checksum": "c" * 32}, "field 'checksum'"),
        ({"location": "file:///forged"}, "field 'locations'"),
        ({"location_data": [{"url": URL}]}, "field 'locations'"),
        ({"disk_format": "qcow2"}, "field 'disk_format'"),
        ({"container_format": "ovf"}, "field 'container_format'"),
        ({"status": "queued"}, "status cannot become 'queued'"),
        ({"status": "saving"}, "status cannot become 'saving'"),
        ({"status": "killed"}, "status cannot become 'killed'"),
        ({"name": "new", "status": "queued", "size": None, "checksum": None}, "field 'size'"),
    ],
)
def test_the_registry_api_cannot_say_that_the_bytes_are_others(
    registry: Client, changed: dict[str, Any], named: str
) -> None:
    image = create(registry)

    answer = registry.put(f"/images/{image['id']}", {"image": changed})

    assert answer.status_code == 409
    assert answer.text.startswith(SENTENCE)
    assert named in answer.text
    assert registry.get(image["self"]).json() == image
    assert registry.get(image["file"]).content == DATA


def test_the_registry_api_changes_the_rest_and_takes_back_what_it_shows(registry: Client) -> None:
    image = create(registry)
    path = f"/images/{image['id']}"

    back = registry.put(path, {"image": {**registry.show(image["id"]), "name": "new"}})
    assert back.status_code == 200, back.text
    assert back.json()["image"]["name"] == "new"
    for status in ("deactivated", "pending_delete", "active"):
        assert registry.put(path, {"image": {"status": status}}).status_code == 200

    assert registry.get(image["file"]).content == DATA


@pytest.mark.parametrize("status", ["deactivated", "pending_delete"])
def test_no_way_through_another_status_leads_to_a_second_upload(registry: Client, status: str) -> None:
    """OSSA-2016-006: the bytes of an image that was active would be replaced."""
    image = create(registry)
    path = f"/images/{image['id']}"
    assert registry.put(path, {"image": {"status": status}}).status_code == 200

    assert registry.put(path, {"image": {"status": "queued"}}).status_code == 409
    assert upload(registry, image["id"], b"x" * len(DATA)).status_code == 409
    assert registry.put(path, {"image": {"status": "active"}}).status_code == 200
    assert registry.get(image["file"]).content == DATA


def test_a_user_is_told_that_locations_and_digests_are_not_for_users(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context"))
    owner = client.caller("owner", "member")
    image = create(owner)

    for changed in ({"size": 5}, {"checksum": "c" * 32}, {"location": URL}):
        answer = owner.put(f"/images/{image['id']}", {"image": changed})
        assert (answer.status_code, "written by API servers" in answer.text) == (403, True)
    for changed in ({"status": "queued"}, {"disk_format": "qcow2"}):
        answer = owner.put(f"/images/{image['id']}", {"image": changed})
        assert (answer.status_code, SENTENCE in answer.text) == (409, True)
    assert owner.get(image["self"]).json() == image
    client.close()


def test_a_writer_says_where_the_bytes_lie_as_well(registry: Client) -> None:
    """Their locations and ours live side by side, and ours are what is read."""
    image = create(registry)
    add = {"op": "add", "path": "/locations/-", "value": {"url": URL, "metadata": {}}}

    added = registry.patch(image["id"], add)

    assert added.status_code == 200, added.text
    ours, theirs = added.json()["locations"]
    assert (added.json()["stores"], ours["metadata"], theirs["url"]) == ("local", {"store": "local"}, URL)
    assert registry.show(image["id"])["location"] == URL
    assert registry.get(image["file"]).content == DATA
    unchanged = registry.put(f"/images/{image['id']}", {"image": registry.show(image["id"])})
    assert unchanged.status_code == 200, unchanged.text
    moved = registry.put(f"/images/{image['id']}", {"image": {"location": URL + "/2"}})
    assert (moved.status_code, SENTENCE in moved.text) == (409, True)


def test_the_last_location_can_go_while_the_bytes_are_kept_here(registry: Client) -> None:
    image = create(registry)
    added = registry.patch(image["id"], {"op": "add", "path": "/locations/-", "value": {"url": URL, "metadata": {}}})

    removed = registry.patch(image["id"], {"op": "remove", "path": "/locations/1"})

    assert (removed.status_code, removed.json()["locations"]) == (200, added.json()["locations"][:1])
    assert registry.get(image["file"]).content == DATA


def test_a_location_that_says_that_the_bytes_are_others_is_refused(registry: Client) -> None:
    image = create(registry)
    others = {"checksum": "0" * 32, "os_hash_algo": "sha512", "os_hash_value": "0" * 128, "size": 5}
    value = {"url": URL, "metadata": {}, "validation_data": others}

    answer = registry.patch(image["id"], {"op": "add", "path": "/locations/-", "value": value})

    assert answer.status_code == 409
    assert registry.get(image["self"]).json() == image


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "add", "path": "/locations/-", "value": {"url": URL, "metadata": {}}}],
        [{"op": "replace", "path": "/locations", "value": [{"url": URL, "metadata": {}}]}],
        [{"op": "replace", "path": "/disk_format", "value": "qcow2"}],
        [{"op": "replace", "path": "/container_format", "value": "ovf"}],
        [{"op": "replace", "path": "/checksum", "value": "f" * 32}],
        [{"op": "replace", "path": "/size", "value": 5}],
        [{"op": "replace", "path": "/stores", "value": "other"}],
        [{"op": "add", "path": "/stores", "value": "other"}],
        [{"op": "replace", "path": "/status", "value": "queued"}],
    ],
)
def test_an_owner_changes_nothing_of_the_bytes_by_patch(
    sqlite_database: str, operations: list[dict[str, object]]
) -> None:
    settings = make_settings(sqlite_database, identity__mode="context", images__show_multiple_locations=True)
    client = Client(settings)
    owner = client.caller("owner", "member")
    image = create(owner)

    assert owner.patch(image["id"], *operations).status_code == 403
    assert owner.post(image["self"] + "/locations", {"url": URL}).status_code == 409
    assert owner.get(image["self"]).json() == image
    client.close()
