# SPDX-License-Identifier: Apache-2.0
"""Members in the Images API: the owner invites, the member accepts or rejects; and what lists make of it."""

import pytest
from tests.conftest import Caller, Client


def listed(caller: Caller, query: str = "") -> list[str]:
    answer = caller.get(f"/v2/images?{query}")
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


def test_an_invitation_is_accepted_and_only_then_in_the_member_s_list(context: Client) -> None:
    owner, member = context.caller("owner"), context.caller("member")
    image = owner.register()
    path = image["self"] + "/members"

    invited = owner.post(path, {"member": "member"})
    assert invited.status_code == 200
    shown = invited.json()
    assert (shown["member_id"], shown["image_id"], shown["status"]) == ("member", image["id"], "pending")
    assert (member.get(image["self"]).status_code, listed(member)) == (200, [])
    assert listed(member, "visibility=shared&member_status=pending") == [image["id"]]

    assert member.put(f"{path}/member", {"status": "accepted"}).json()["status"] == "accepted"
    assert listed(member) == listed(member, "visibility=shared") == [image["id"]]

    assert member.put(f"{path}/member", {"status": "rejected"}).json()["status"] == "rejected"
    assert listed(member) == []
    assert listed(member, "member_status=all") == listed(member, "member_status=rejected") == [image["id"]]

    assert owner.delete(f"{path}/member").status_code == 204
    assert member.get(image["self"]).status_code == 404
    assert listed(member, "member_status=all") == []


def test_an_image_has_a_member_once(context: Client) -> None:
    owner = context.caller("owner")
    path = owner.register()["self"] + "/members"

    assert owner.post(path, {"member": "m"}).status_code == 200
    assert owner.post(path, {"member": "m"}).status_code == 409
    assert owner.get(path).json()["schema"] == "/v2/schemas/members"
    assert [member["member_id"] for member in owner.get(path).json()["members"]] == ["m"]
    assert owner.get(f"{path}/m").json() == owner.get(path).json()["members"][0]
    for method in ("GET", "DELETE"):
        assert owner.request(method, f"{path}/none").status_code == 404


@pytest.mark.parametrize("body", [{}, {"member": ""}, {"member": None}, {"member": 1}, {"member": "x" * 256}, [], "m"])
def test_an_invitation_names_a_project(sqlite_client: Client, body: object) -> None:
    path = sqlite_client.register()["self"] + "/members"

    assert sqlite_client.post(path, body).status_code == 400
    assert sqlite_client.get(path).json()["members"] == []


@pytest.mark.parametrize("body", [{}, {"status": "maybe"}, {"status": None}, {"status": ["accepted"]}, []])
def test_a_decision_is_one_of_three(sqlite_client: Client, body: object) -> None:
    path = sqlite_client.register()["self"] + "/members"
    sqlite_client.post(path, {"member": "m"})

    assert sqlite_client.put(f"{path}/m", body).status_code == 400
    assert sqlite_client.get(f"{path}/m").json()["status"] == "pending"


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
def test_only_shared_images_have_members(context: Client, visibility: str) -> None:
    """Members are kept while an image is not shared, and count again when it is."""
    admin, owner, member = context.caller("a", "admin"), context.caller("owner"), context.caller("member")
    image = owner.register()
    path = image["self"] + "/members"
    owner.post(path, {"member": "member"})
    member.put(f"{path}/member", {"status": "accepted"})

    def become(wanted: str) -> None:
        operation = {"op": "replace", "path": "/visibility", "value": wanted}
        assert admin.patch(image["id"], operation).status_code == 200

    become(visibility)
    assert owner.get(path).status_code == owner.post(path, {"member": "x"}).status_code == 403
    assert (image["id"] in listed(member)) == (visibility == "public")
    assert member.get(image["self"]).status_code == (404 if visibility == "private" else 200)
    assert member.get(f"/images/{image['id']}").status_code == (404 if visibility == "private" else 200)
    become("shared")
    assert listed(member) == [image["id"]]


def test_a_member_that_an_api_server_adds_is_pending_and_sees_the_image_in_the_old_lists(context: Client) -> None:
    owner, member = context.caller("owner"), context.caller("member")
    image = owner.add(is_public=False)

    owner.put(f"/images/{image['id']}/members/member", {"member": {"can_share": True}})

    assert owner.get(f"/v2/images/{image['id']}/members").json()["members"][0]["status"] == "pending"
    assert member.names() == [image["name"]]
    assert listed(member) == []


def test_replacing_all_members_keeps_what_those_who_stay_have_decided(context: Client) -> None:
    owner, member = context.caller("owner"), context.caller("member")
    image = owner.register()
    path = f"/v2/images/{image['id']}/members"
    owner.post(path, {"member": "member"})
    accepted = member.put(f"{path}/member", {"status": "accepted"}).json()

    both = {"memberships": [{"member_id": "member", "can_share": True}, {"member_id": "other"}]}
    assert owner.put(f"/images/{image['id']}/members", both).status_code == 204

    assert owner.get(f"{path}/member").json() == accepted
    assert owner.get(f"{path}/other").json()["status"] == "pending"


def test_what_is_rejected_is_still_seen_by_the_id(context: Client) -> None:
    owner, member, other = context.caller("owner"), context.caller("member"), context.caller("other")
    image = owner.register()
    for name in ("member", "other"):
        owner.post(image["self"] + "/members", {"member": name})
    member.put(image["self"] + "/members/member", {"status": "rejected"})

    assert member.get(image["self"]).status_code == 200
    assert [found["member_id"] for found in member.get(image["self"] + "/members").json()["members"]] == ["member"]
    assert other.put(image["self"] + "/members/member", {"status": "accepted"}).status_code == 403
    assert other.get(image["self"] + "/members/member").status_code == 404
