# SPDX-License-Identifier: Apache-2.0
"""The three clients with the tokens of a real Keystone, which also tells them where we are."""

from tests.clients.conftest import Login


def test_an_image_belongs_to_the_project_of_the_token(login: Login, tag: str) -> None:
    alice, bob = login("alice"), login("bob")

    made = alice.see(f"image create --property os_distro=debian --tag {tag} {tag}")

    assert made["owner"] == alice.project
    assert (alice.names(f"--tag {tag}"), bob.names(f"--tag {tag}")) == ([tag], [])
    assert alice.sdk("image.find_image", tag, ignore_missing=False)["owner_id"] == alice.project
    assert alice.glance("images.get", made["id"])["os_distro"] == "debian"
    alice.run(f"image set --name {tag}-2 --min-disk 2 {tag}")
    alice.run(f"image unset --property os_distro {tag}-2")
    alice.run(f"image delete {tag}-2")
    assert alice.names(f"--tag {tag}") == []


def test_an_image_is_shared_and_accepted_without_naming_oneself(login: Login, tag: str) -> None:
    alice, bob = login("alice"), login("bob")
    image_id = alice.see(f"image create --shared --tag {tag} {tag}")["id"]

    alice.run(f"image add project {tag} {bob.project}")
    assert bob.names(f"--tag {tag} --shared --member-status pending") == [tag]
    bob.run(f"image set --accept {image_id}")

    assert bob.names(f"--tag {tag}") == [tag]
    listed = alice.see(f"image member list {tag}")
    assert listed == [{"Image ID": image_id, "Member ID": bob.project, "Status": "accepted"}]
    bob.run(f"image set --reject {image_id}")
    assert bob.names(f"--tag {tag}") == []


def test_an_admin_publishes_and_finds_projects_by_name(login: Login, tag: str) -> None:
    admin, alice, bob = login("admin"), login("alice"), login("bob")
    admin.run(f"image create --public --protected --tag {tag} {tag}")
    assert (alice.names(f"--tag {tag} --public"), alice.names(f"--tag {tag} --private")) == ([tag], [])
    assert "403" in alice.fail(f"image set --unprotected {tag}")

    given = admin.see(f"image create --project other --private --tag {tag} {tag}-2")
    assert given["owner"] == bob.project
    assert bob.names(f"--tag {tag} --private") == [f"{tag}-2"]
    assert admin.names(f"--tag {tag} --project other") == [f"{tag}-2"]
    assert "403" in alice.fail(f"image create --public {tag}-3")


def test_programs_share_with_keystone_too(login: Login, tag: str) -> None:
    alice, bob = login("alice"), login("bob")
    image_id = alice.sdk("image.create_image", tag, disk_format="raw", container_format="bare", tags=[tag])["id"]

    alice.glance("image_members.create", image_id, bob.project)
    bob.sdk("image.update_member", bob.project, image_id, status="accepted")

    assert [image["name"] for image in bob.glance("images.list", filters={"tag": [tag]})] == [tag]


def test_a_wrong_password_is_refused_by_keystone(login: Login) -> None:
    assert "401" in login("alice").with_password("wrong").fail("image list")
