# SPDX-License-Identifier: Apache-2.0
"""OSSN-0075 (CVE-2016-4383): the id of a purged image given to another one. Here an id is never used again."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.conftest import Client

from glance_registry.catalogue import images
from glance_registry.catalogue.purge import purge
from glance_registry.model.image import Image

LATER = datetime.now(UTC) + timedelta(days=1)
ID = "00000000-0000-4000-8000-000000000001"


def _purge(client: Client) -> int:
    return client.operate(purge, LATER, LATER, 100)


@pytest.mark.parametrize("until", ["deleted", "purged", "purged twice"])
def test_an_id_that_was_ever_used_is_taken(context: Client, until: str) -> None:
    owner, admin = context.caller("owner"), context.caller("a", "admin")
    owner.add(id=ID, is_public=True)
    owner.delete(f"/images/{ID}")
    if until != "deleted":
        assert _purge(context) == 1
    if until == "purged twice":
        assert _purge(context) == 0

    for caller in (owner, admin, context.caller("stranger")):
        answer = caller.post("/images", {"image": {"id": ID, "status": "queued"}})
        assert (answer.status_code, answer.text) == (409, f"Image with identifier {ID} already exists!\n")
    assert admin.get(f"/images/{ID}").status_code == (200 if until == "deleted" else 404)


def test_a_purged_image_leaves_no_trace_for_a_later_one(context: Client) -> None:
    """SQLite numbers a new row as the newest one that went: whatever hung on the number must have gone with it."""
    owner, member = context.caller("owner"), context.caller("member")
    old = owner.add(is_public=False, properties={"k": "v"})
    owner.put(f"/images/{old['id']}/members/member", {"member": {"can_share": True}})
    owner.delete(f"/images/{old['id']}")
    assert _purge(context) == 1

    other = context.caller("other")
    new = other.add(is_public=False)

    assert member.get(f"/images/{new['id']}").status_code == 404
    assert member.names() == []
    assert other.get(f"/images/{new['id']}/members").json() == {"members": []}
    assert other.names("property-k=v") == []
    assert other.put(f"/images/{new['id']}", {"image": {"properties": {"k": "v"}}}).status_code == 200


def test_a_purged_image_that_was_imported_leaves_no_property_for_a_later_one(context: Client) -> None:
    """An import may bring deleted images that still have their properties."""
    deleted = Image(id=ID, created_at=LATER, updated_at=LATER, deleted_at=LATER, properties={"k": "v"})
    assert context.operate(images.add_all, [images.ImageRecord(deleted)]) == 1
    assert context.operate(purge, LATER + timedelta(days=1), LATER, 100) == 1

    new = context.caller("owner").add()

    assert context.names("property-k=v") == []
    assert context.caller("owner").put(f"/images/{new['id']}", {"image": {"properties": {"k": "v"}}}).status_code == 200


def test_an_id_in_another_spelling_is_another_id(context: Client) -> None:
    """The contract of 2018 takes a UUID with or without dashes, in any case; each is kept as it came."""
    owner = context.caller("owner")
    spellings = ["a" * 32, "A" * 32, f"{'a' * 8}-{'a' * 4}-{'a' * 4}-{'a' * 4}-{'a' * 12}"]

    assert [owner.add(id=spelling)["id"] for spelling in spellings] == spellings
    assert [owner.show(spelling)["id"] for spelling in spellings] == spellings
