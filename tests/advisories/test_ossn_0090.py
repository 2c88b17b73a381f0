# SPDX-License-Identifier: Apache-2.0
"""OSSN-0090 (CVE-2022-4134) through the Registry API: users say where an image's bytes lie, and read passwords.

With `[registry] clients = users`, the default, locations, checksum and size are written by writers alone, and shown to
writers and admins alone. `tests/compat/test_api_server.py` has the other setting.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.conftest import Client, Verbs
from tests.options import make_settings

SECRET = "swift+https://glance:hunter2@keystone.test/v3/images/1"
FORGED = [
    {"location": "file:///etc/shadow"},
    {"location": "rbd://fsid/pool/image/snap"},
    {"location": "http://user:password@host/"},
    {"location": "https://images.test/plain"},
    {"location_data": [{"url": "file:///etc/shadow"}]},
    {"location": SECRET + "0"},
    {"checksum": "f" * 32},
    {"size": 5},
    {"status": "active", "location": "https://images.test/plain", "checksum": "f" * 32, "size": 5},
]


@pytest.fixture(params=["cactus", "queens"])
def users(request: pytest.FixtureRequest, database: str) -> Iterator[Client]:
    client = Client(make_settings(database, registry__contract=request.param, identity__mode="context"))
    yield client
    client.close()


def _image(client: Client, status: str = "active", **fields: Any) -> dict[str, Any]:
    """An image of the project "owner", as an API server has registered it."""
    writer = client.caller("services", "service")
    fields = {"status": status, "location": SECRET, "checksum": "c" * 32, "size": 7, **fields}
    return writer.add(owner="owner", **fields)


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("status", ["active", "queued"])
def test_an_owner_changes_neither_bytes_nor_location(users: Client, forged: dict[str, Any], status: str) -> None:
    image = _image(users, status)
    path = f"/images/{image['id']}"

    answer = users.caller("owner").put(path, {"image": forged})

    assert answer.status_code == 403
    assert "written by API servers" in answer.text
    assert users.caller("services", "service").show(image["id"]) == image


@pytest.mark.parametrize("forged", FORGED)
def test_a_user_registers_no_location_and_nothing_of_bytes(users: Client, forged: dict[str, Any]) -> None:
    body = {"name": "forged", "disk_format": "raw", "container_format": "bare", "status": "queued", **forged}

    answer = users.caller("owner").post("/images", {"image": body})

    assert answer.status_code == 403
    assert users.caller("admins", "admin").names("name=forged") == []


def _shown(caller: Verbs, image_id: str) -> list[str]:
    """All that a caller is told of an image by the Registry API."""
    one = caller.get(f"/images/{image_id}")
    return [one.text, str(one.headers), caller.get("/images").text, caller.get("/images/detail").text]


def test_who_is_neither_writer_nor_admin_is_shown_no_location(users: Client) -> None:
    image = _image(users, is_public=True)
    owner, stranger = users.caller("owner"), users.caller("stranger")
    nobody = users.caller(None, user=None)

    for caller in (owner, stranger, nobody):
        assert "hunter2" not in "".join(_shown(caller, image["id"]))
        assert (caller.show(image["id"])["location"], caller.show(image["id"])["location_data"]) == (None, [])
    for trusted in (users.caller("admins", "admin"), users.caller("services", "service")):
        assert trusted.show(image["id"])["location"] == SECRET
        assert SECRET in str(trusted.get(f"/images/{image['id']}").headers)


def test_the_answer_to_a_change_shows_no_more_than_the_image_itself(users: Client) -> None:
    image = _image(users, is_public=True)
    owner, path = users.caller("owner"), f"/images/{image['id']}"

    changed, deleted = owner.put(path, {"image": {"name": "new"}}), owner.delete(path)

    assert (changed.status_code, deleted.status_code) == (200, 200)
    assert "hunter2" not in changed.text + deleted.text


def test_a_whole_shown_image_sent_back_is_no_change_of_its_bytes(users: Client) -> None:
    image = _image(users, is_public=True, properties={"a": "1"})
    owner = users.caller("owner")

    answer = owner.put(f"/images/{image['id']}", {"image": owner.show(image["id"])})

    assert answer.status_code == 200, answer.text
    kept = users.caller("services", "service").show(image["id"])
    assert {**kept, "updated_at": None} == {**image, "updated_at": None}


def test_without_an_identity_mode_whoever_reaches_the_port_is_trusted(client: Client) -> None:
    image = client.add(location=SECRET, checksum="c" * 32, size=7)

    assert client.show(image["id"])["location"] == SECRET


@pytest.mark.parametrize("setting", ["images__show_multiple_locations", "images__show_image_direct_url"])
def test_the_images_api_shows_nobody_a_location_with_a_password(sqlite_database: str, setting: str) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context", **{setting: True}))
    image = _image(client, is_public=True, location_data=[{"url": "https://images.test/plain"}])

    shown = client.caller("admins", "admin").get(f"/v2/images/{image['id']}").json()
    listed = client.caller("services", "service").get(f"/v2/images/{image['id']}/locations").json()
    client.close()

    assert "hunter2" not in str(shown)
    assert SECRET in str(listed)
