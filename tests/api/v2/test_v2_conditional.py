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


def test_members_that_the_caller_has_are_not_sent_again(context: Client) -> None:
    owner, member = context.caller("owner"), context.caller("member")
    path = owner.register()["self"] + "/members"
    owner.post(path, {"member": "member"})

    for here in (path, f"{path}/member"):
        tag = owner.get(here).headers["etag"]
        answer = owner.get(here, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        member.put(f"{path}/member", {"status": "accepted"})
        assert owner.get(here, headers={"If-None-Match": tag}).status_code == 200


MEMBER_CHANGES: dict[str, tuple[str, str, Any]] = {
    "decide": ("PUT", "/member", {"status": "rejected"}),
    "expel": ("DELETE", "/member", None),
    "invite": ("POST", "", {"member": "other"}),
}


@pytest.mark.parametrize("change", MEMBER_CHANGES)
def test_a_change_of_members_that_somebody_else_has_changed_meanwhile_is_refused(context: Client, change: str) -> None:
    method, path, body = MEMBER_CHANGES[change]
    owner, member = context.caller("owner"), context.caller("member")
    members = owner.register()["self"] + "/members"
    owner.post(members, {"member": "member"})
    caller = member if change == "decide" else owner
    seen = caller.get(members + path).headers["etag"]
    member.put(f"{members}/member", {"status": "accepted"})
    before = owner.get(members)

    def send(tag: str) -> int:
        return caller.request(method, members + path, json=body, headers={"If-Match": tag}).status_code

    assert send(seen) == send('"other"') == send("nonsense") == 412
    assert owner.get(members).json() == before.json()
    assert send(caller.get(members + path).headers["etag"]) in (200, 204)
    assert owner.get(members).json() != before.json()
    assert send("*") in (200, 404, 409)


def test_an_answer_about_a_membership_names_the_state_that_it_shows(context: Client) -> None:
    owner, member = context.caller("owner"), context.caller("member")
    path = owner.register()["self"] + "/members"

    invited = owner.post(path, {"member": "member"})
    assert invited.headers["etag"] == owner.get(f"{path}/member").headers["etag"]
    accepted = member.put(f"{path}/member", {"status": "accepted"}, headers={"If-Match": invited.headers["etag"]})
    assert accepted.headers["etag"] == owner.get(f"{path}/member").headers["etag"] != invited.headers["etag"]


def test_what_the_registry_api_makes_of_a_membership_counts_as_well(context: Client) -> None:
    owner = context.caller("owner")
    image = owner.register()
    path = image["self"] + "/members"
    seen = owner.post(path, {"member": "m"}).headers["etag"]

    owner.put(f"/images/{image['id']}/members/m", {"member": {"can_share": True}})

    assert owner.delete(f"{path}/m", headers={"If-Match": seen}).status_code == 412
