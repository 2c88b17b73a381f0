# SPDX-License-Identifier: Apache-2.0
"""openstacksdk's `connection.image`, as programs call it, against a server that runs."""

import uuid

import pytest
from tests.clients.callers import Caller, Refused
from tests.clients.conftest import Person

PROJECT = "6" * 32
URL = "https://images.test/disk.qcow2"
DIGEST = "ab" * 32


def create(caller: Caller, name: str, **fields: object) -> str:
    """Register an image; its id."""
    given = {"disk_format": "raw", "container_format": "bare", **fields}
    image_id: str = caller.sdk("image.create_image", name, allow_duplicates=True, **given)["id"]
    return image_id


def names(caller: Caller, **query: object) -> list[str]:
    return [image["name"] for image in caller.sdk("image.images", **query)]


def test_an_image_is_created_found_and_deleted(admin: Caller, tag: str) -> None:
    image_id = str(uuid.uuid4())
    fields = {"min_disk": 3, "min_ram": 512, "visibility": "public", "os_distro": "debian", "hw_cpu_cores": 2}
    made = admin.sdk(
        "image.create_image", tag, id=image_id, container_format="ovf", disk_format="iso", tags=[tag], **fields
    )
    assert (made["id"], made["status"], made["tags"]) == (image_id, "queued", [tag])

    shown = admin.sdk("image.get_image", image_id)
    assert shown == admin.sdk("image.find_image", tag, ignore_missing=False)
    assert {name: shown[name] for name in fields} == fields

    admin.sdk("image.delete_image", image_id)
    assert admin.sdk("image.find_image", tag, ignore_missing=True) is None
    with pytest.raises(Refused, match="NotFoundException"):
        admin.sdk("image.get_image", image_id)
    with pytest.raises(Refused, match="ConflictException"):
        admin.sdk("image.create_image", tag, id=image_id, container_format="bare", disk_format="raw")


def test_lists_are_filtered(admin: Caller, tag: str) -> None:
    create(admin, f"{tag}-a", tags=[tag, "lts"], visibility="public", is_protected=True)
    create(admin, f"{tag}-b", tags=[tag], visibility="private", disk_format="iso")
    hidden = create(admin, f"{tag}-c", tags=[tag])
    admin.sdk("image.update_image", hidden, is_hidden=True)

    assert names(admin, tag=tag, name=f"{tag}-b") == [f"{tag}-b"]
    assert names(admin, tag=["lts", tag]) == [f"{tag}-a"]
    assert names(admin, tag=tag, visibility="public") == [f"{tag}-a"]
    assert names(admin, tag=tag, is_protected=False) == [f"{tag}-b"]
    assert names(admin, tag=tag, is_hidden=True) == [f"{tag}-c"]
    assert names(admin, tag=tag, disk_format="iso") == [f"{tag}-b"]
    assert names(admin, id=f"in:{hidden}", is_hidden=True) == [f"{tag}-c"]
    assert names(admin, tag=tag, created_at="gt:2100-01-01T00:00:00Z") == []
    assert len(names(admin, tag=tag, updated_at="gte:2000-01-01T00:00:00Z")) == 2
    with pytest.raises(Refused, match="BadRequestException"):
        names(admin, visibility="secret")


def test_lists_are_sorted_and_paged(admin: Caller, tag: str) -> None:
    for letter in "bca":
        create(admin, f"{tag}-{letter}", tags=[tag])

    for limit in (1, 2, 3):
        assert names(admin, tag=tag, sort="name:asc", limit=limit) == [f"{tag}-{letter}" for letter in "abc"]
    assert names(admin, tag=tag, sort_key="name", sort_dir="desc") == [f"{tag}-{letter}" for letter in "cba"]
    first = admin.sdk("image.find_image", f"{tag}-a", ignore_missing=False)["id"]
    page = names(admin, tag=tag, sort="name:asc", marker=first, limit=1, paginated=False)
    assert page == [f"{tag}-b"]
    with pytest.raises(Refused, match="BadRequestException"):
        names(admin, marker="unknown")


def test_an_image_is_updated(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, note="old")

    changes = {"name": f"{tag}-2", "min_ram": 64, "is_hidden": True, "is_protected": True, "os_version": "13"}
    updated = admin.sdk("image.update_image", image_id, visibility="community", note="new", **changes)

    assert updated.items() >= changes.items()
    assert (updated["visibility"], updated["properties"]["note"]) == ("community", "new")
    assert admin.sdk("image.get_image", image_id) == updated
    with pytest.raises(Refused, match="ForbiddenException"):
        admin.sdk("image.delete_image", image_id)
    with pytest.raises(Refused, match="ForbiddenException"):
        admin.sdk("image.update_image", image_id, status="active")


def test_properties_and_tags_come_and_go(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, tags=["old"], kept="1")

    admin.sdk("image.update_image", image_id, os_type="linux", color="red")
    admin.sdk("image.add_tag", image_id, "new")
    admin.sdk("image.remove_tag", image_id, "old")

    shown = admin.sdk("image.get_image", image_id)
    assert (shown["os_type"], shown["tags"]) == ("linux", ["new"])
    assert shown["properties"].items() >= {"color": "red", "kept": "1"}.items()


def test_an_image_is_shared(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag)

    added = admin.sdk("image.add_member", image_id, member_id=PROJECT)
    assert (added["member_id"], added["status"]) == (PROJECT, "pending")
    for status in ("accepted", "rejected", "pending"):
        assert admin.sdk("image.update_member", PROJECT, image_id, status=status)["status"] == status
    assert [one["member_id"] for one in admin.sdk("image.members", image_id)] == [PROJECT]
    assert admin.sdk("image.find_member", PROJECT, image_id, ignore_missing=False)["status"] == "pending"

    admin.sdk("image.remove_member", PROJECT, image=image_id)

    assert admin.sdk("image.members", image_id) == []
    with pytest.raises(Refused, match="NotFoundException"):
        admin.sdk("image.get_member", PROJECT, image_id)


def test_an_image_whose_bytes_lie_elsewhere_is_active(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, disk_format="qcow2")
    evidence = {"os_hash_algo": "sha256", "os_hash_value": DIGEST}

    admin.sdk("image.add_image_location", image_id, URL, validation_data=evidence)

    shown = admin.sdk("image.get_image", image_id)
    assert (shown["status"], shown["hash_algo"], shown["hash_value"]) == ("active", "sha256", DIGEST)
    assert [place["url"] for place in admin.sdk("image.image_locations", image_id)] == [URL]
    admin.sdk("image.deactivate_image", image_id)
    assert admin.sdk("image.get_image", image_id)["status"] == "deactivated"
    admin.sdk("image.reactivate_image", image_id)
    assert names(admin, status="active", name=tag) == [tag]


def test_the_cloud_layer_finds_images_too(admin: Caller, tag: str) -> None:
    image_id = create(admin, tag, tags=[tag])

    assert admin.sdk("get_image", tag)["id"] == image_id
    assert image_id in [image["id"] for image in admin.sdk("list_images")]
    assert [image["id"] for image in admin.sdk("search_images", tag)] == [image_id]
    assert admin.sdk("delete_image", tag) is True


def test_schemas_and_what_can_be_imported_are_shown(admin: Caller) -> None:
    for kind in ("image", "images", "member", "members"):
        assert admin.sdk(f"image.get_{kind}_schema")["properties"]
    assert admin.sdk("image.get_import_info")["import_methods"]["value"] == []
    assert [(store["id"], store["is_default"]) for store in admin.sdk("image.stores")] == [("local", True)]


def test_others_see_what_is_shared_with_them(person: Person, tag: str) -> None:
    alice, bob = person("alice"), person("bob")
    image_id = create(alice, tag, tags=[tag])
    assert alice.sdk("image.get_image", image_id)["owner_id"] == alice.project
    with pytest.raises(Refused, match="NotFoundException"):
        bob.sdk("image.get_image", image_id)

    alice.sdk("image.add_member", image_id, member_id=bob.project)
    assert names(bob, tag=tag) == []
    bob.sdk("image.update_member", bob.project, image_id, status="accepted")

    assert names(bob, tag=tag) == [tag]
    with pytest.raises(Refused, match="ForbiddenException"):
        bob.sdk("image.update_image", image_id, name="mine")
    with pytest.raises(Refused, match="ForbiddenException"):
        alice.sdk("image.update_image", image_id, visibility="public")
