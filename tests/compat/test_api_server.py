# SPDX-License-Identifier: Apache-2.0
"""The API servers of 2014.2 and later, from their side: what they send depends on what the registry answered.

They keep a table of locations of their own. Given a location with an `id`, they remove its bytes, look the id up in
that table, find nothing, and set the image back to `active`. The requests are those of the recorded conversation
(`queens.jsonl`), in the order in which those servers send them.
"""

from typing import Any

import pytest
from tests.conftest import Caller, Client

URL = "file:///var/lib/glance/images/{}"


class ApiServer:
    """An API server with a store; `stored` are the URLs of the bytes that it holds."""

    def __init__(self, registry: Caller) -> None:
        self.registry = registry
        self.stored: set[str] = set()
        self._own_locations: dict[int, str] = {}

    def upload(self, **fields: Any) -> str:
        image = self.registry.add(status="queued", **fields)
        path, url = f"/images/{image['id']}", URL.format(image["id"])
        self._update(path, {"status": "saving"}, None)
        self.stored.add(url)
        self._update(path, {"checksum": "c" * 32, "size": 70_000}, "saving")
        entry = {"url": url, "metadata": {}, "status": "active"}
        self._update(path, {"location": url, "status": "active", "location_data": [entry]}, "saving")
        return str(image["id"])

    def delete(self, image_id: str) -> None:
        path = f"/images/{image_id}"
        shown = self.registry.show(image_id)
        self._update(path, {"status": "deleted"}, None)
        try:
            for entry in shown["location_data"]:
                self.stored.discard(entry["url"])
                if "id" in entry:
                    del self._own_locations[entry["id"]]
        except KeyError:
            self._update(path, {"status": "active"}, None)
            return
        assert self.registry.delete(path).status_code == 200

    def _update(self, path: str, image: dict[str, Any], from_state: str | None) -> None:
        answer = self.registry.put(path, {"image": image, "from_state": from_state})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def api_server(context: Client) -> ApiServer:
    """It passes on the identity of an ordinary user."""
    return ApiServer(context.caller("owner", "member"))


def test_a_user_of_an_api_server_uploads_and_downloads(api_server: ApiServer) -> None:
    image = api_server.registry.show(api_server.upload())

    assert (image["status"], image["size"], image["checksum"]) == ("active", 70_000, "c" * 32)
    assert image["location"] in api_server.stored
    assert [entry["url"] for entry in image["location_data"]] == [image["location"]]


def test_deleting_removes_the_bytes_and_the_image(api_server: ApiServer) -> None:
    image_id = api_server.upload()

    api_server.delete(image_id)

    assert api_server.stored == set()
    assert api_server.registry.get(f"/images/{image_id}").status_code == 404


def test_no_answer_numbers_a_location(api_server: ApiServer) -> None:
    path = f"/images/{api_server.upload(is_public=True)}"
    registry = api_server.registry
    answers = [
        registry.get(path).json()["image"],
        *registry.get("/images/detail").json()["images"],
        registry.put(path, {"image": {"name": "new"}}).json()["image"],
        registry.delete(path).json()["image"],
    ]

    entries = [entry for image in answers for entry in image["location_data"]]
    assert len(entries) == 3
    assert {*entries[0]} == {*entries[1]} == {*entries[2]} == {"url", "metadata", "status"}


@pytest.mark.parametrize("number", [1, 7, "1", None])
def test_a_number_that_is_sent_is_ignored(api_server: ApiServer, number: Any) -> None:
    image = api_server.registry.show(api_server.upload())
    entries = [{**entry, "id": number} for entry in image["location_data"]]

    changed = api_server.registry.put(f"/images/{image['id']}", {"image": {"location_data": entries}}).json()["image"]

    assert changed["location_data"] == image["location_data"]


def test_the_locations_of_a_deactivated_image_are_shown_to_admins_alone(context: Client, api_server: ApiServer) -> None:
    image_id = api_server.upload()
    api_server.registry.put(f"/images/{image_id}", {"image": {"status": "deactivated"}})
    admin = context.caller("admins", "admin")

    owners, admins = api_server.registry.show(image_id), admin.show(image_id)

    assert (owners["location"], owners["location_data"]) == (None, [])
    assert admins["location"] in api_server.stored
