# SPDX-License-Identifier: Apache-2.0
"""python-glanceclient's `Client("2")`, which Nova, Cinder and Ironic grew up with, against a server that runs."""

import uuid

import pytest
from tests.clients.callers import Caller, Refused
from tests.clients.conftest import Person

PROJECT = "6" * 32
URL = "https://images.test/disk.qcow2"


def create(caller: Caller, name: str, **fields: object) -> str:
    """Register an image; its id."""
    image_id: str = caller.glance("images.create", name=name, disk_format="raw", container_format="bare", **fields)[
        "id"
    ]
    return image_id


def names(caller: Caller, *, filters: dict[str, object], **query: object) -> list[str]:
    return [image["name"] for image in caller.glance("images.list", filters=filters, **query)]


def test_an_image_is_created_shown_and_deleted(admin: Caller, tag: str) -> None:
    image_id = str(uuid.uuid4())
    fields = {"min_disk": 3, "min_ram": 512, "visibility": "public", "protected": False, "os_distro": "debian"}
    made = admin.glance(
        "images.create", id=image_id, name=tag, disk_format="vmdk", container_format="ova", tags=[tag], **fields
    )
    assert made.items() >= {**fields, "id": image_id, "status": "queued", "tags": [tag]}.items()
    assert admin.glance("images.get", image_id) == made

    admin.glance("images.delete", image_id)

    with pytest.raises(Refused, match="HTTPNotFound"):
        admin.glance("images.get", image_id)
    with pytest.raises(Refused, match="HTTPConflict"):
        admin.glance("images.create", id=image_id)


def test_the_schema_keeps_the_client_from_nonsense(admin: Caller) -> None:
    with pytest.raises(Refused, match=r"TypeError.*disk_format"):
        admin.glance("images.create", name="image", disk_format="floppy")
    with pytest.raises(Refused, match=r"TypeError.*min_ram"):
        admin.glance("images.create", name="image", min_ram="much")
    for kind in ("image", "images", "member", "members"):
        assert admin.glance("schemas.get", kind)


def test_lists_are_filtered_sorted_and_paged(admin: Caller, tag: str) -> None:
    for letter in "bca":
        create(admin, f"{tag}-{letter}", tags=[tag], visibility="public" if letter == "a" else "private")
    every = [f"{tag}-{letter}" for letter in "abc"]

    assert names(admin, filters={"tag": [tag]}, sort="name:asc", page_size=1) == every
    assert names(admin, filters={"tag": [tag]}, sort_key=["name"], sort_dir=["desc"]) == every[::-1]
    assert names(admin, filters={"tag": [tag]}, sort="name", limit=2) == every[::-1][:2]
    assert names(admin, filters={"tag": [tag], "visibility": "public"}) == every[:1]
    assert names(admin, filters={"tag": [tag], "name": every[1]}) == every[1:2]
    assert names(admin, filters={"tag": [tag], "status": "active"}) == []
    with pytest.raises(Refused, match="HTTPBadRequest"):
        names(admin, filters={"member_status": "nobody"})
    with pytest.raises(Refused, match="HTTPBadRequest"):
        names(admin, filters={}, marker="unknown")


def test_an_image_is_updated(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, color="red", note="old")

    changes = {"name": f"{tag}-2", "min_ram": 64, "os_hidden": True, "protected": True, "note": "new", "fresh": "1"}
    updated = admin.glance("images.update", image_id, remove_props=["color"], **changes)

    assert updated.items() >= changes.items()
    assert "color" not in updated
    assert names(admin, filters={"name": f"{tag}-2", "os_hidden": True}) == [f"{tag}-2"]
    with pytest.raises(Refused, match="HTTPForbidden"):
        admin.glance("images.delete", image_id)


def test_tags_come_and_go(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, tags=["old"])

    admin.glance("image_tags.update", image_id, "new")
    admin.glance("image_tags.delete", image_id, "old")

    assert admin.glance("images.get", image_id)["tags"] == ["new"]
    with pytest.raises(Refused, match="HTTPNotFound"):
        admin.glance("image_tags.delete", image_id, "old")


def test_an_image_is_shared(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag)

    assert admin.glance("image_members.create", image_id, PROJECT)["status"] == "pending"
    for status in ("accepted", "rejected", "pending"):
        assert admin.glance("image_members.update", image_id, PROJECT, status)["status"] == status
    assert [one["member_id"] for one in admin.glance("image_members.list", image_id)] == [PROJECT]
    with pytest.raises(Refused, match="HTTPConflict"):
        admin.glance("image_members.create", image_id, PROJECT)

    admin.glance("image_members.delete", image_id, PROJECT)

    with pytest.raises(Refused, match="HTTPNotFound"):
        admin.glance("image_members.get", image_id, PROJECT)


def test_an_image_whose_bytes_lie_elsewhere_is_active(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag)

    made = admin.glance("images.add_image_location", image_id, URL)

    assert made["status"] == "active"
    assert [place["url"] for place in admin.glance("images.get_image_locations", image_id)] == [URL]
    admin.glance("images.deactivate", image_id)
    assert admin.glance("images.get", image_id)["status"] == "deactivated"
    admin.glance("images.reactivate", image_id)
    assert admin.glance("images.get", image_id)["status"] == "active"


def test_an_image_without_bytes_has_none(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag)

    assert admin.glance("images.data", image_id) is None
    with pytest.raises(Refused, match="HTTPForbidden"):
        admin.glance("images.deactivate", image_id)


def test_what_is_not_served_is_refused(admin: Caller) -> None:
    assert admin.glance("images.get_import_info")["import-methods"]["value"] == []
    assert admin.glance("images.get_stores_info") == {"stores": [{"id": "local", "default": "true"}]}
    with pytest.raises(Refused, match="HTTPNotFound"):
        admin.glance("metadefs_namespace.list")


def test_others_see_what_is_shared_with_them(person: Person, tag: str) -> None:
    alice, bob = person("alice"), person("bob")
    image_id = create(alice, tag, tags=[tag])
    with pytest.raises(Refused, match="HTTPNotFound"):
        bob.glance("images.get", image_id)

    alice.glance("image_members.create", image_id, bob.project)
    pending = {"tag": [tag], "visibility": "shared", "member_status": "pending"}
    assert (names(bob, filters={"tag": [tag]}), names(bob, filters=pending)) == ([], [tag])
    bob.glance("image_members.update", image_id, bob.project, "accepted")

    assert names(bob, filters={"tag": [tag]}) == [tag]
    with pytest.raises(Refused, match="HTTPForbidden"):
        bob.glance("images.update", image_id, name="mine")
