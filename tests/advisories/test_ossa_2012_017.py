# SPDX-License-Identifier: Apache-2.0
"""OSSA-2012-017 (CVE-2012-4573, -5482): anybody could delete anybody's image, by the delayed way too.

`tests/api/test_access.py` has every route for every caller; these are the two ways of the advisory.
"""

import pytest
from tests.conftest import Caller, Client

WAYS = {
    "DELETE": lambda caller, path: caller.delete(path),
    "the delayed way": lambda caller, path: caller.put(path, {"image": {"status": "pending_delete"}}),
    "the delayed way, as from a state": lambda caller, path: caller.put(
        path, {"image": {"status": "deleted"}, "from_state": "active"}
    ),
}


def _callers(client: Client) -> dict[str, Caller]:
    return {
        "a stranger": client.caller("stranger", "member"),
        "a member who may share": client.caller("sharer", "member"),
        "a user without project": client.caller(None, "member"),
        "nobody": Caller(client, {}),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_public", [True, False])
def test_only_the_owner_and_writers_delete_an_image(context: Client, way: str, is_public: bool) -> None:
    owner = context.caller("owner")
    image = owner.add(is_public=is_public, properties={"a": "1"}, location="file:///i")
    path = f"/images/{image['id']}"
    owner.put(f"{path}/members/sharer", {"member": {"can_share": True}})

    for who, caller in _callers(context).items():
        answer = WAYS[way](caller, path)
        assert answer.status_code in (403, 404), who
    assert owner.show(image["id"]) == image

    assert WAYS[way](owner, path).status_code == 200


def test_deleting_is_refused_before_anything_is_said_of_the_image(context: Client) -> None:
    image = context.caller("owner").add(is_public=False, protected=True)
    stranger = context.caller("stranger")

    there = stranger.delete(f"/images/{image['id']}")
    not_there = stranger.delete("/images/00000000-0000-4000-8000-000000000000")

    assert (there.status_code, there.text) == (not_there.status_code, not_there.text) == (404, "Image not found\n")
