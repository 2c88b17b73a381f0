# SPDX-License-Identifier: Apache-2.0
"""Members: with whom an image is shared (registry protocol, section 3).

Who may share what with whom is in test_access.py, caller by caller; here is what sharing does.
"""

from typing import Any
from urllib.parse import quote

import pytest
from tests.conftest import Caller, Client

NOBODY_S = "00000000-0000-4000-8000-000000000000"


def _private(owner: Caller, *members: str, **fields: Any) -> str:
    """A new private image's path, shared with these; a member "x+" may share it."""
    image_id = owner.add(is_public=False, **fields)["id"]
    for member in members:
        path = f"/images/{image_id}/members/{member.removesuffix('+')}"
        owner.put(path, {"member": {"can_share": member.endswith("+")}})
    return f"/images/{image_id}"


def _members(caller: Caller, path: str) -> dict[str, bool]:
    answer = caller.get(f"{path}/members")
    assert answer.status_code == 200, answer.text
    return {member["member_id"]: member["can_share"] for member in answer.json()["members"]}


def _shared_with(caller: Caller, member: str) -> list[Any]:
    return caller.get(f"/shared-images/{member}").json()["shared_images"]


def test_a_member_is_added_changed_and_removed_without_a_word(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner)

    for can_share in (False, True, False):
        answer = owner.put(f"{path}/members/m", {"member": {"can_share": can_share}})
        assert (answer.status_code, answer.content, "content-type" in answer.headers) == (204, b"", False)
        assert owner.get(f"{path}/members").json() == {"members": [{"member_id": "m", "can_share": can_share}]}
    removed = owner.delete(f"{path}/members/m")

    assert (removed.status_code, removed.content) == (204, b"")
    assert owner.get(f"{path}/members").json() == {"members": []}


def test_a_member_sees_the_image_and_its_own_membership_alone(context: Client) -> None:
    owner, member, other = (context.caller(project) for project in ("o", "m", "other"))
    path = _private(owner, "m", "n+", name="shared")

    assert member.get(path).json() == owner.get(path).json()
    assert member.names() == ["shared"]
    assert _members(member, path) == {"m": False}
    assert _members(context.caller("n"), path) == {"n": True}
    assert other.get(path).status_code == other.get(f"{path}/members").status_code == 404
    assert other.names() == []


def test_a_removed_member_sees_nothing_any_more(context: Client) -> None:
    owner, member = context.caller("o"), context.caller("m")
    path = _private(owner, "m+")

    owner.delete(f"{path}/members/m")

    assert member.get(path).status_code == 404
    assert member.names() == []
    assert member.put(f"{path}/members/n").status_code == 404
    assert _shared_with(member, "m") == []


def test_a_member_with_can_share_shares_on_and_one_without_does_not(context: Client) -> None:
    path = _private(context.caller("o"), "m+")

    assert context.caller("m").put(f"{path}/members/n").status_code == 204
    refused = context.caller("n").put(f"{path}/members/x", {"member": {"can_share": True}})

    assert (refused.status_code, refused.text) == (403, "No permission to share that image\n")
    assert _members(context.caller("o"), path) == {"m": True, "n": False}


def test_a_member_who_may_share_changes_nothing_else(context: Client) -> None:
    path = _private(context.caller("o"), "m+", name="old")
    member = context.caller("m")

    assert member.put(path, {"image": {"name": "new"}}).status_code == 404
    assert member.delete(path).status_code == 404
    assert member.get(path).json()["image"]["name"] == "old"


@pytest.mark.parametrize("again", [None, {"member": {}}, {"member": {"can_share": None}}])
def test_adding_without_a_word_on_sharing_leaves_what_there_is(context: Client, again: Any) -> None:
    owner = context.caller("o")
    path = _private(owner, "m+")

    for member in ("m", "n"):
        assert owner.put(f"{path}/members/{member}", again).status_code == 204

    assert _members(owner, path) == {"m": True, "n": False}


@pytest.mark.parametrize("body", [None, {"member": {"can_share": True}}])
def test_adding_a_removed_member_again_revives_it(context: Client, body: Any) -> None:
    owner = context.caller("o")
    path = _private(owner, "m")
    owner.delete(f"{path}/members/m")

    assert owner.put(f"{path}/members/m", body).status_code == 204

    assert _members(owner, path) == {"m": body is not None}
    assert context.caller("m").get(path).status_code == 200
    assert len(_shared_with(owner, "m")) == 1


@pytest.mark.parametrize(("given", "meant"), [("True", True), ("true", True), (1, True), ("False", False), (0, False)])
def test_can_share_may_come_as_a_string(sqlite_context: Client, given: Any, meant: bool) -> None:
    owner = sqlite_context.caller("o")
    path = _private(owner)

    owner.put(f"{path}/members/m", {"member": {"can_share": given}})
    assert _members(owner, path) == {"m": meant}
    owner.put(f"{path}/members", {"memberships": [{"member_id": "n", "can_share": given}]})
    assert _members(owner, path) == {"n": meant}


def test_putting_memberships_replaces_them_all(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "gone+", "kept+")
    wanted = [{"member_id": "kept"}, {"member_id": "new", "can_share": True}, {"member_id": "kept"}]

    answer = owner.put(f"{path}/members", {"memberships": wanted})

    assert (answer.status_code, answer.content) == (204, b"")
    assert _members(owner, path) == {"kept": True, "new": True}
    assert context.caller("gone").get(path).status_code == 404


def test_replaced_memberships_keep_what_they_may_share_unless_it_is_given(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "a+", "b", "c+", "d+")
    wanted = [{"member_id": name} for name in "abe"]
    wanted += [{"member_id": "c", "can_share": False}, {"member_id": "d", "can_share": None}]

    owner.put(f"{path}/members", {"memberships": wanted})

    assert _members(owner, path) == {"a": True, "b": False, "c": False, "d": True, "e": False}


def test_putting_no_memberships_removes_them_all(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "m", "n")

    assert owner.put(f"{path}/members", {"memberships": []}).status_code == 204

    assert _members(owner, path) == {}


def test_members_are_those_of_one_image(context: Client) -> None:
    owner = context.caller("o")
    one, other = _private(owner, "m", "n"), _private(owner, "m+")

    owner.put(f"{one}/members", {"memberships": []})

    assert (_members(owner, one), _members(owner, other)) == ({}, {"m": True})


WRONG_MEMBERS = [
    ({"member": []}, "member"),
    ({"member": "m"}, "member"),
    ({"member": None}, "member"),
    ({"memberships": []}, "member"),
    ({}, "member"),
    ([], "object"),
    ("m", "object"),
    ({"member": {"can_share": "perhaps"}}, "can_share"),
    ({"member": {"can_share": 2}}, "can_share"),
    ({"member": {"can_share": []}}, "can_share"),
]


@pytest.mark.parametrize(("body", "word"), WRONG_MEMBERS)
def test_a_body_that_says_nothing_sensible_of_a_member_is_refused(sqlite_context: Client, body: Any, word: str) -> None:
    owner = sqlite_context.caller("o")
    path = _private(owner)

    answer = owner.put(f"{path}/members/m", body)

    assert answer.status_code == 400
    assert word in answer.text
    assert _members(owner, path) == {}


def _memberships(*entries: Any) -> Any:
    return {"memberships": list(entries)}


WRONG_MEMBERSHIPS = [
    (None, "JSON"),
    ({}, "memberships"),
    ({"members": []}, "memberships"),
    ({"memberships": None}, "memberships"),
    ({"memberships": {"member_id": "m"}}, "memberships"),
    (_memberships("m"), "memberships"),
    (_memberships({"can_share": True}), "member_id"),
    (_memberships({"member_id": ""}), "member_id"),
    (_memberships({"member_id": None}), "member_id"),
    (_memberships({"member_id": 7}), "member_id"),
    (_memberships({"member_id": "x" * 256}), "member_id"),
    (_memberships({"member_id": "a\0b"}), "member_id"),
    (_memberships({"member_id": "m"}, {"member_id": "n", "can_share": "perhaps"}), "can_share"),
    (_memberships(*[{"member_id": f"m{number}"} for number in range(1001)]), "memberships"),
]


@pytest.mark.parametrize(("body", "word"), WRONG_MEMBERSHIPS)
def test_memberships_with_one_mistake_change_nothing(sqlite_context: Client, body: Any, word: str) -> None:
    owner = sqlite_context.caller("o")
    path = _private(owner, "before+")

    answer = owner.put(f"{path}/members", body)

    assert answer.status_code == 400
    assert word in answer.text
    assert _members(owner, path) == {"before": True}


ODD = [
    "x" * 255,
    "é" * 255,
    "\U0001f40b",
    "a b",
    "a+b",
    "a%2Fb",
    "%",
    "a;b,c=d?#&",
    "'; --",
    "members",
    "M",
    "m",
    "none",
]


@pytest.mark.parametrize("member", ODD)
def test_a_member_s_id_may_be_long_and_odd(context: Client, member: str) -> None:
    owner = context.caller("o")
    path = _private(owner, "m", "M")
    member_path = f"{path}/members/{quote(member, safe='')}"

    assert owner.put(member_path, {"member": {"can_share": True}}).status_code == 204
    assert _members(owner, path) == {"m": False, "M": False, member: True}
    assert [shared["can_share"] for shared in _shared_with(owner, quote(member, safe=""))] == [True]
    assert owner.delete(member_path).status_code == 204
    assert _members(owner, path) == {name: False for name in ("m", "M") if name != member}


@pytest.mark.parametrize("member", ["x" * 256, "a%00b", "a%0Ab", "%7F"])
def test_an_impossible_member_s_id_in_a_path_names_nothing(context: Client, member: str) -> None:
    owner = context.caller("o")
    path = _private(owner)

    for method in ("PUT", "DELETE"):
        assert owner.request(method, f"{path}/members/{member}").status_code in (400, 404)
    assert owner.get(f"/shared-images/{member}").status_code in (400, 404)
    assert _members(owner, path) == {}


def test_one_member_cannot_be_read_or_posted(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "m")

    for method, there, allowed in (
        ("GET", f"{path}/members/m", {"DELETE", "PUT"}),
        ("POST", f"{path}/members/m", {"DELETE", "PUT"}),
        ("POST", f"{path}/members", {"GET", "HEAD", "PUT"}),
        ("DELETE", f"{path}/members", {"GET", "HEAD", "PUT"}),
        ("PUT", "/shared-images/m", {"GET", "HEAD"}),
    ):
        answer = owner.request(method, there)
        assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, allowed)


def test_removing_who_is_no_member_is_not_found(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "m")

    answer = owner.delete(f"{path}/members/n")

    assert (answer.status_code, answer.text) == (404, "Membership could not be found.\n")
    assert _members(owner, path) == {"m": False}


@pytest.mark.parametrize("image_id", [NOBODY_S, "x", "x" * 37])
def test_an_unknown_image_has_no_members(context: Client, image_id: str) -> None:
    admin = context.caller("a", "admin")

    answers = [
        admin.get(f"/images/{image_id}/members"),
        admin.put(f"/images/{image_id}/members", {"memberships": []}),
        admin.put(f"/images/{image_id}/members/m"),
        admin.delete(f"/images/{image_id}/members/m"),
    ]

    assert [(answer.status_code, answer.text) for answer in answers] == [(404, "Image not found\n")] * 4


def test_a_deleted_image_is_shared_with_nobody(context: Client) -> None:
    owner, member = context.caller("o"), context.caller("m")
    path = _private(owner, "m+")
    owner.delete(path)

    assert [caller.get(f"{path}/members").status_code for caller in (owner, member)] == [404, 404]
    assert _shared_with(member, "m") == _shared_with(owner, "m") == []
    assert member.get(path).status_code == 404
    for caller in (owner, member, context.caller("a", "admin")):
        assert caller.put(f"{path}/members/n").status_code == 404
        assert caller.put(f"{path}/members", {"memberships": []}).status_code == 404
        assert caller.delete(f"{path}/members/m").status_code == 404


def test_shared_images_are_named_with_the_right_to_share(context: Client) -> None:
    owner, other, member = context.caller("o"), context.caller("p"), context.caller("m")
    mine, theirs = _private(owner, "m"), _private(other, "m+", "n")
    wanted = [
        {"image_id": mine.removeprefix("/images/"), "can_share": False},
        {"image_id": theirs.removeprefix("/images/"), "can_share": True},
    ]

    assert _shared_with(member, "m") == _shared_with(context.caller("a", "admin"), "m") == wanted
    assert (_shared_with(owner, "m"), _shared_with(other, "m")) == (wanted[:1], wanted[1:])
    assert _shared_with(context.caller("n"), "m") == []
    assert _shared_with(owner, "o") == _shared_with(member, "unheard-of") == []


def test_an_image_without_owner_does_not_leak_to_a_caller_without_project(context: Client) -> None:
    admin = context.caller(None, "admin")
    path = _private(admin, "m")
    assert admin.get(path).json()["image"]["owner"] is None

    for caller in (context.caller(None), context.caller("p")):
        assert caller.get(path).status_code == caller.get(f"{path}/members").status_code == 404
        assert (caller.names(), _shared_with(caller, "m")) == ([], [])
    assert context.get("/shared-images/m").json() == {"shared_images": []}


def test_a_public_image_has_members_too_and_hides_them(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner, "m", "n")
    owner.put(path, {"image": {"is_public": True}})

    assert _members(owner, path) == {"m": False, "n": False}
    assert _members(context.caller("m"), path) == {"m": False}
    assert _members(context.caller("p"), path) == {}
    assert context.get(f"{path}/members").json() == {"members": []}


def test_sharing_does_not_change_the_image(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner)
    before = owner.get(path).json()

    owner.put(f"{path}/members/m")
    owner.put(f"{path}/members", {"memberships": [{"member_id": "n"}]})
    owner.delete(f"{path}/members/n")

    assert owner.get(path).json() == before


def test_changes_of_one_image_s_members_at_the_same_time_all_count(context: Client) -> None:
    owner = context.caller("o")
    path = _private(owner)
    names = [f"m{number}" for number in range(12)]

    answers = context.at_once([("PUT", f"{path}/members/{name}", None) for name in [*names, *names]], owner.headers)

    assert {answer.status_code for answer in answers} == {204}
    assert _members(owner, path) == dict.fromkeys(names, False)
