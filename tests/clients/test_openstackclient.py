# SPDX-License-Identifier: Apache-2.0
"""`openstack image …`, as people type it, against a server that runs."""

import uuid
from pathlib import Path

import pytest
from tests.clients.callers import Caller
from tests.clients.conftest import Person

PROJECT = "6" * 32
FULL = (
    "--container-format ovf --disk-format qcow2 --min-disk 3 --min-ram 512 --protected --public"
    " --property os_distro=debian --property note='two words'"
)


def test_an_image_is_created_with_every_option_and_shown(admin: Caller, tag: str) -> None:
    image_id = str(uuid.uuid4())

    made = admin.see(f"image create {FULL} --id {image_id} --tag web --tag {tag} {tag}")
    by_name, by_id = admin.see(f"image show {tag}"), admin.see(f"image show {image_id}")

    assert made == by_name == by_id
    assert (made["id"], made["name"], made["status"]) == (image_id, tag, "queued")
    assert (made["container_format"], made["disk_format"]) == ("ovf", "qcow2")
    assert (made["min_disk"], made["min_ram"], made["protected"]) == (3, 512, True)
    assert made["visibility"] == "public"
    assert sorted(made["tags"]) == [tag, "web"]
    assert made["properties"].items() >= {"os_distro": "debian", "note": "two words", "os_hidden": False}.items()


def test_an_image_has_the_client_s_defaults_and_the_formats_it_offers(admin: Caller, tag: str) -> None:
    made = admin.see(f"image create {tag}")
    assert (made["container_format"], made["disk_format"], made["visibility"]) == ("bare", "raw", "shared")

    for kind in ("ami", "ari", "aki", "vhd", "vmdk", "vhdx", "vdi", "iso", "ploop"):
        assert admin.run(f"image create --disk-format {kind} -f value -c disk_format {tag}-{kind}") == f"{kind}\n"
    for kind in ("ami", "ari", "aki", "docker", "ova"):
        shown = admin.run(f"image create --container-format {kind} -f value -c container_format {tag}-{kind}")
        assert shown == f"{kind}\n"


@pytest.mark.parametrize("visibility", ["public", "community", "shared", "private"])
def test_images_are_listed_by_visibility(admin: Caller, tag: str, visibility: str) -> None:
    admin.run(f"image create --{visibility} --tag {tag} {tag}")

    found = {kind: admin.names(f"--{kind} --tag {tag}") for kind in ("public", "community", "shared", "private")}

    assert found == {kind: [tag] if kind == visibility else [] for kind in found}
    assert admin.names(f"--all --tag {tag}") == [tag]


def test_images_are_listed_by_what_they_have(admin: Caller, tag: str) -> None:
    admin.run(f"image create --tag {tag} --tag lts --property size_class={tag} {tag}-a")
    admin.run(f"image create --tag {tag} {tag}-b")

    assert admin.names(f"--name {tag}-b") == [f"{tag}-b"]
    assert admin.names(f"--tag {tag} --tag lts") == [f"{tag}-a"]
    assert admin.names(f"--property size_class={tag}") == [f"{tag}-a"]
    assert admin.names(f"--tag {tag} --status queued --sort name:desc") == [f"{tag}-b", f"{tag}-a"]
    assert admin.names(f"--tag {tag} --status active") == []
    assert admin.names(f"--tag {tag} --member-status all") == [f"{tag}-a", f"{tag}-b"]


def test_a_list_is_sorted_and_cut_into_pages(admin: Caller, tag: str) -> None:
    for name, disk_format in (("b", "raw"), ("c", "iso"), ("a", "raw"), ("d", "raw")):
        admin.run(f"image create --tag {tag} --disk-format {disk_format} {tag}-{name}")

    assert admin.names(f"--tag {tag} --sort name:asc") == [f"{tag}-{name}" for name in "abcd"]
    assert admin.names(f"--tag {tag} --sort disk_format:asc,name:desc") == [f"{tag}-{name}" for name in "cdba"]
    assert len(admin.names(f"--tag {tag} --page-size 1")) == 4
    # The client sorts what it got; the pages are those of the server's order.
    first = admin.names(f"--tag {tag} --limit 2")
    rests = [admin.names(f"--tag {tag} --limit 9 --marker {name}") for name in first]
    assert [f"{tag}-{name}" for name in "abcd" if f"{tag}-{name}" not in first] in rests


def test_a_long_list_has_the_columns_that_people_know(admin: Caller, tag: str) -> None:
    admin.run(f"image create --tag {tag} --property a=b {tag}")

    (row,) = admin.see(f"image list --long --tag {tag}")

    assert (row["Name"], row["Status"], row["Visibility"], row["Protected"]) == (tag, "queued", "shared", False)
    assert (row["Disk Format"], row["Container Format"], row["Tags"]) == ("raw", "bare", [tag])
    assert row["Project"] == admin.project


def test_attributes_are_set(admin: Caller, tag: str) -> None:
    admin.run(f"image create {tag}")

    admin.run(f"image set --name {tag}-2 {tag}")
    admin.run(f"image set --min-disk 5 --min-ram 64 --disk-format vmdk --container-format ova {tag}-2")
    admin.run(f"image set --public {tag}-2")

    shown = admin.see(f"image show {tag}-2")
    assert (shown["min_disk"], shown["min_ram"]) == (5, 64)
    assert (shown["disk_format"], shown["container_format"]) == ("vmdk", "ova")
    assert shown["visibility"] == "public"
    admin.run(f"image set --private {tag}-2")
    assert admin.see(f"image show {tag}-2")["visibility"] == "private"


def test_properties_and_tags_are_set_and_unset(admin: Caller, tag: str) -> None:
    admin.run(f"image create --tag old --property gone=1 --property kept=2 {tag}")
    kernel = str(uuid.uuid4())

    admin.run(f"image set --property os_version=13 --property kept=3 --tag new {tag}")
    admin.run(f"image set --architecture x86_64 --os-distro ubuntu --os-version 24.04 --kernel-id {kernel} {tag}")
    admin.run(f"image unset --tag old --property gone {tag}")

    shown = admin.see(f"image show {tag}")
    expected = {"kept": "3", "os_version": "24.04", "os_distro": "ubuntu", "architecture": "x86_64"}
    assert shown["properties"].items() >= {**expected, "kernel_id": kernel}.items()
    assert "gone" not in shown["properties"]
    assert shown["tags"] == ["new"]
    assert "'none' is a nonexistent tag" in admin.fail(f"image unset --tag none {tag}")
    assert "'none' is a nonexistent property" in admin.fail(f"image unset --property none {tag}")


def test_a_hidden_image_is_found_by_name_and_not_listed(admin: Caller, tag: str) -> None:
    admin.run(f"image create --tag {tag} {tag}")

    admin.run(f"image set --hidden {tag}")
    assert admin.names(f"--tag {tag}") == []
    assert admin.names(f"--tag {tag} --hidden") == [tag]
    assert admin.see(f"image show {tag}")["properties"]["os_hidden"] is True

    admin.run(f"image set --unhidden {tag}")
    assert admin.names(f"--tag {tag}") == [tag]


def test_a_protected_image_stays_until_it_is_unprotected(admin: Caller, tag: str) -> None:
    admin.run(f"image create --protected {tag}")
    assert "is protected and cannot be deleted" in admin.fail(f"image delete {tag}")

    admin.run(f"image set --unprotected {tag}")
    admin.run(f"image delete {tag}")

    assert admin.fail(f"image show {tag}") == f"No Image found for {tag}\n"


def test_several_images_are_deleted_at_once(admin: Caller, tag: str) -> None:
    for name in "ab":
        admin.run(f"image create --tag {tag} {tag}-{name}")

    admin.run(f"image delete {tag}-a {tag}-b")

    assert admin.names(f"--tag {tag}") == []


def test_projects_are_added_listed_and_removed(admin: Caller, tag: str) -> None:
    image_id = admin.see(f"image create --shared {tag}")["id"]

    added = admin.see(f"image add project {tag} {PROJECT}")
    assert (added["image_id"], added["member_id"], added["status"]) == (image_id, PROJECT, "pending")
    for option, status in (("accept", "accepted"), ("reject", "rejected"), ("pending", "pending")):
        admin.run(f"image set --{option} --project {PROJECT} {tag}")
        listed = admin.see(f"image member list {tag}")
        assert listed == [{"Image ID": image_id, "Member ID": PROJECT, "Status": status}]
    assert admin.see(f"image member get {tag} {PROJECT}")["member_id"] == PROJECT
    assert "409" in admin.fail(f"image add project {tag} {PROJECT}")

    admin.run(f"image remove project {tag} {PROJECT}")
    assert admin.see(f"image member list {tag}") == []


def test_an_image_is_made_for_and_given_to_another_project(admin: Caller, tag: str) -> None:
    assert admin.see(f"image create --project {PROJECT} {tag}")["owner"] == PROJECT

    admin.run(f"image set --project {'7' * 32} {tag}")

    assert admin.see(f"image show {tag}")["owner"] == "7" * 32
    assert admin.names(f"--project {'7' * 32} --name {tag}") == [tag]


def test_only_a_shared_image_takes_projects(admin: Caller, tag: str) -> None:
    admin.run(f"image create --private {tag}")

    assert "403" in admin.fail(f"image add project {tag} {PROJECT}")


def test_an_active_image_is_deactivated_and_activated(admin: Caller, tag: str) -> None:
    image_id = admin.see(f"image create --disk-format qcow2 {tag}")["id"]
    admin.glance("images.add_image_location", image_id, "https://images.test/disk.qcow2", {})
    assert admin.see(f"image show {tag}")["status"] == "active"

    admin.run(f"image set --deactivate {tag}")
    assert admin.see(f"image show {tag}")["status"] == "deactivated"
    admin.run(f"image set --activate {tag}")

    assert admin.names(f"--status active --name {tag}") == [tag]


def test_an_image_without_bytes_is_saved_as_an_empty_file(admin: Caller, tag: str, tmp_path: Path) -> None:
    admin.run(f"image create {tag}")

    admin.run(f"image save --file {tmp_path / tag} {tag}")

    assert (tmp_path / tag).read_bytes() == b""


def test_without_a_terminal_a_new_image_is_one_of_no_bytes(admin: Caller, tag: str, tmp_path: Path) -> None:
    admin.run(f"image create {tag}", at_terminal=False)

    shown = admin.see(f"image show {tag}")
    assert (shown["status"], shown["size"], shown["checksum"]) == ("active", 0, "d41d8cd98f00b204e9800998ecf8427e")
    admin.run(f"image save --file {tmp_path / tag} {tag}")
    assert (tmp_path / tag).read_bytes() == b""


def test_an_id_is_given_once(admin: Caller, tag: str) -> None:
    image_id = str(uuid.uuid4())
    admin.run(f"image create --id {image_id} {tag}")
    assert "409" in admin.fail(f"image create --id {image_id} {tag}")

    admin.run(f"image delete {image_id}")

    assert "409" in admin.fail(f"image create --id {image_id} {tag}")


def test_a_name_that_two_images_have_is_not_enough(admin: Caller, tag: str) -> None:
    first, second = (admin.see(f"image create {tag}")["id"] for _ in range(2))

    assert admin.fail(f"image show {tag}") == f"More than one Image exists with the name '{tag}'.\n"
    admin.run(f"image delete {first}")
    assert admin.see(f"image show {tag}")["id"] == second


def test_what_is_not_served_is_refused_with_a_sentence(admin: Caller) -> None:
    assert admin.see("image import info") == {"import-methods": []}
    assert admin.see("image stores list") == [{"ID": "local", "Description": None, "Default": True}]
    assert "Tasks are not served here" in admin.fail("image task list")
    assert "Metadata definitions are not served here" in admin.fail("image metadef namespace list")
    assert "There is no cache of images here" in admin.fail("cached image list")


def test_a_wrong_password_is_401(person: Person) -> None:
    stranger = person("alice").with_password("wrong")

    assert "401" in stranger.fail("image list")


def test_the_images_of_others_are_not_there(person: Person, tag: str) -> None:
    alice, bob = person("alice"), person("bob")
    alice.run(f"image create --tag {tag} {tag}")

    assert (alice.names(f"--tag {tag}"), bob.names(f"--tag {tag}")) == ([tag], [])
    assert bob.fail(f"image show {tag}") == f"No Image found for {tag}\n"
    assert "403" in alice.fail(f"image set --public {tag}")


def test_a_shared_image_is_listed_when_its_member_has_accepted_it(person: Person, tag: str) -> None:
    alice, bob = person("alice"), person("bob")
    image_id = alice.see(f"image create --shared --tag {tag} {tag}")["id"]

    alice.run(f"image add project {tag} {bob.project}")
    assert (bob.names(f"--tag {tag}"), bob.names(f"--tag {tag} --shared --member-status pending")) == ([], [tag])
    assert "403" in alice.fail(f"image set --accept --project {bob.project} {image_id}")

    bob.run(f"image set --accept --project {bob.project} {image_id}")
    assert bob.names(f"--tag {tag}") == [tag]
    assert "403" in bob.fail(f"image set --name mine {image_id}")
    bob.run(f"image set --reject --project {bob.project} {image_id}")
    assert bob.names(f"--tag {tag}") == []


def test_a_community_image_is_found_by_id_by_everybody(person: Person, tag: str) -> None:
    image_id = person("alice").see(f"image create --community --tag {tag} {tag}")["id"]

    bob = person("bob")

    assert bob.see(f"image show {image_id}")["name"] == tag
    assert (bob.names(f"--tag {tag}"), bob.names(f"--tag {tag} --community")) == ([], [tag])
