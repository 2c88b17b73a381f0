# SPDX-License-Identifier: Apache-2.0
"""ETags: an answer that the caller has is not sent again, a change that it has not seen is not overwritten."""

from typing import Any

import pytest
from tests.conftest import Client

RENAME = {"op": "replace", "path": "/name", "value": "new"}


def test_an_image_that_the_caller_has_is_not_sent_again(client: Client) -> None:
    image = client.register()
    tag = client.get(image["self"]).headers["etag"]

    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = client.get(image["self"], headers={"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert client.get(image["self"], headers={"If-None-Match": '"other"'}).json() == image
    client.patch(image["id"], RENAME)
    assert client.get(image["self"], headers={"If-None-Match": tag}).json()["name"] == "new"


def test_a_list_that_the_caller_has_is_not_sent_again(client: Client) -> None:
    image = client.register()
    tag = client.get("/v2/images").headers["etag"]

    assert client.get("/v2/images", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/v2/images?limit=5", headers={"If-None-Match": tag}).status_code == 200
    client.patch(image["id"], RENAME)
    assert client.get("/v2/images", headers={"If-None-Match": tag}).status_code == 200


CHANGES: dict[str, tuple[str, str, Any]] = {
    "patch": ("PATCH", "", [RENAME]),
    "tag": ("PUT", "/tags/new", None),
    "untag": ("DELETE", "/tags/t", None),
    "deactivate": ("POST", "/actions/deactivate", None),
    "delete": ("DELETE", "", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_somebody_else_has_changed_meanwhile_is_refused(client: Client, change: str) -> None:
    method, path, body = CHANGES[change]
    image_id = client.add()["id"]
    here = f"/v2/images/{image_id}"
    client.put(f"{here}/tags/t")
    seen = client.get(here).headers["etag"]
    client.patch(image_id, {"op": "add", "path": "/by", "value": "somebody else"})
    before = client.get(here)
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}

    def send(tag: str) -> int:
        return client.request(method, here + path, json=body, headers={**headers, "If-Match": tag}).status_code

    assert send(seen) == send('"other"') == send(f"W/{before.headers['etag']}") == send("nonsense") == 412
    assert client.get(here).json() == before.json()
    assert send(f'"other", {before.headers["etag"]}') in (200, 204)
    assert client.get(here).headers.get("etag") != before.headers["etag"]


def test_any_image_that_is_there_will_do_for_an_asterisk(client: Client) -> None:
    image = client.register()

    assert client.patch(image["id"], RENAME, headers={"If-Match": "*"}).status_code == 200
    assert client.patch("absent", RENAME, headers={"If-Match": "*"}).status_code == 404


def test_of_two_changes_of_one_version_one_is_kept(client: Client) -> None:
    image = client.register()
    tag = client.get(image["self"]).headers["etag"]
    requests = [("PUT", f"{image['self']}/tags/t{number}", None) for number in range(8)]

    answers = client.at_once(requests, headers={"If-Match": tag})

    assert sorted(answer.status_code for answer in answers) == [204] + [412] * 7
    assert len(client.get(image["self"]).json()["tags"]) == 1


def test_a_change_that_changes_nothing_is_no_new_version(client: Client) -> None:
    image = client.register(tags=["t"])
    before = client.get(image["self"])

    client.put(image["self"] + "/tags/t")
    client.patch(image["id"], {"op": "replace", "path": "/name", "value": image["name"]})

    after = client.get(image["self"])
    assert (after.headers["etag"], after.json()) == (before.headers["etag"], before.json())


def test_the_other_api_s_changes_count_as_well(client: Client) -> None:
    image = client.add()
    tag = client.get(f"/v2/images/{image['id']}").headers["etag"]

    client.put(f"/images/{image['id']}", {"image": {"name": "newer"}})

    assert client.patch(image["id"], RENAME, headers={"If-Match": tag}).status_code == 412
