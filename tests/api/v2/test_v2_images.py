# SPDX-License-Identifier: Apache-2.0
"""Images of the Images API: registered, shown, changed, deleted."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from tests.conftest import Client
from tests.options import make_settings
from tests.raw import Body, ask

from glance_registry.catalogue import images
from glance_registry.model.image import Image

LONG_AGO = datetime(2011, 2, 3, tzinfo=UTC)

BYTES = "application/octet-stream"
UUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
FIELDS = {
    *("id", "name", "status", "visibility", "protected", "os_hidden", "owner", "disk_format", "container_format"),
    *("size", "virtual_size", "min_disk", "min_ram", "checksum", "os_hash_algo", "os_hash_value", "tags"),
    *("created_at", "updated_at", "self", "file", "schema"),
}


def replace(name: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": f"/{name}", "value": value}


def add(name: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/{name}", "value": value}


def remove(name: str) -> dict[str, Any]:
    return {"op": "remove", "path": f"/{name}"}


def test_a_new_image_is_queued_and_shown_whole(client: Client) -> None:
    answer = client.post("/v2/images", {"name": "Größe", "os_distro": "debian", "tags": ["b", "a", "b"]})
    image = answer.json()

    assert answer.status_code == 201
    assert answer.headers["location"] == image["self"] == f"/v2/images/{image['id']}"
    assert image.keys() == FIELDS | {"os_distro"}
    assert (image["status"], image["visibility"], image["name"]) == ("queued", "shared", "Größe")
    assert (image["tags"], image["os_distro"]) == (["a", "b"], "debian")
    assert (image["file"], image["schema"]) == (image["self"] + "/file", "/v2/schemas/image")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", image["created_at"])
    assert client.get(image["self"]).json() == image


def test_a_new_image_comes_with_the_stores_that_its_bytes_may_go_to(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, stores__enabled=("fast:file", "cold:file")))

    made = client.post("/v2/images", {})
    shown = client.get(made.headers["location"])
    client.close()

    assert made.headers["openstack-image-store-ids"] == "fast,cold"
    assert "openstack-image-store-ids" not in shown.headers


def test_an_image_without_anything_is_one(client: Client) -> None:
    image = client.post("/v2/images", {}).json()

    assert image["name"] is None
    assert image["disk_format"] is None
    assert (image["min_disk"], image["min_ram"], image["protected"], image["os_hidden"]) == (0, 0, False, False)


def test_an_id_may_be_chosen_once(client: Client) -> None:
    assert client.register(id=UUID)["id"] == UUID

    assert client.post("/v2/images", {"id": UUID}).status_code == 409
    assert client.delete(f"/v2/images/{UUID}").status_code == 204
    assert client.post("/v2/images", {"id": UUID}).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": 1}, 400),
        ({"name": "x" * 256}, 400),
        ({"visibility": "open"}, 400),
        ({"disk_format": "floppy"}, 400),
        ({"container_format": ""}, 400),
        ({"min_disk": -1}, 400),
        ({"min_ram": 2**31}, 400),
        ({"min_ram": "1"}, 400),
        ({"min_ram": True}, 400),
        ({"protected": "no"}, 400),
        ({"tags": "x"}, 400),
        ({"tags": [""]}, 400),
        ({"tags": ["x" * 256]}, 400),
        ({"tags": [str(number) for number in range(129)]}, 413),
        ({"id": "a/b"}, 400),
        ({"id": "detail"}, 400),
        ({"os_distro": None}, 400),
        ({"os_distro": 12}, 400),
        ({"p" * 256: ""}, 400),
        ({"": ""}, 400),
        ({f"p{number}": "" for number in range(129)}, 413),
        ({"long": "x" * 65_536}, 400),
        ({"name": "a\0b"}, 400),
        ([], 400),
        ("text", 400),
        ({"status": "active"}, 403),
        ({"size": 1}, 403),
        ({"checksum": "0" * 32}, 403),
        ({"created_at": "2026-11-23T09:36:08Z"}, 403),
        ({"self": "x"}, 403),
        ({"direct_url": "x"}, 403),
        ({"location": "x"}, 403),
        ({"deleted": False}, 403),
        ({"os_glance_import_task": "x"}, 403),
        ({"locations": [{"url": "http://x/y", "metadata": {}}]}, 403),
    ],
)
def test_what_cannot_be_registered_is_refused_with_a_sentence(sqlite_client: Client, body: Any, status: int) -> None:
    answer = sqlite_client.post("/v2/images", body)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert sqlite_client.get("/v2/images").json()["images"] == []


def test_a_body_that_is_no_json_is_refused(sqlite_client: Client) -> None:
    for content in (b"", b"{", b"\xff", b'{"name": "\\ud800"}'):
        assert sqlite_client.request("POST", "/v2/images", content=content).status_code == 400


def test_the_content_type_of_a_new_image_does_not_matter(sqlite_client: Client) -> None:
    headers = {"Content-Type": "application/octet-stream"}

    assert sqlite_client.request("POST", "/v2/images", content=b"{}", headers=headers).status_code == 201
    assert sqlite_client.get("/v2/images", headers=headers).status_code == 200


def test_a_change_is_many_operations_or_none(client: Client) -> None:
    image = client.register(os_distro="debian", min_disk=1)

    changed = client.patch(
        image["id"],
        replace("name", "new"),
        replace("os_distro", "ubuntu"),
        add("os_version", "24"),
        replace("min_disk", 2),
        replace("tags", ["x"]),
        add("a~1b~0c", "escaped"),
    )
    failed = client.patch(image["id"], replace("name", "newer"), remove("absent"))

    assert changed.status_code == 200
    shown = client.get(image["self"]).json()
    assert shown == changed.json()
    assert (shown["name"], shown["os_distro"], shown["os_version"], shown["min_disk"]) == ("new", "ubuntu", "24", 2)
    assert (shown["tags"], shown["a/b~c"]) == (["x"], "escaped")
    assert failed.status_code == 409


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (replace("absent", "x"), 409),
        (remove("absent"), 409),
        (remove("name"), 403),
        (replace("status", "active"), 403),
        (replace("id", UUID), 403),
        (replace("size", 1), 403),
        (add("os_glance_x", "y"), 403),
        (replace("deleted", "true"), 403),
        (replace("locations", []), 403),
        (add("locations/-", {"url": "http://x/y", "metadata": {}}), 403),
        (replace("name", 1), 400),
        (replace("name", "x" * 256), 400),
        (replace("disk_format", "floppy"), 400),
        (replace("visibility", "open"), 400),
        (replace("tags", ["x", 1]), 400),
        (add("p", {"deep": 1}), 400),
        (add("tags/-", "x"), 400),
        (add("a/b", "x"), 400),
        ({"op": "replace", "path": "name", "value": "x"}, 400),
        ({"op": "replace", "path": "/", "value": "x"}, 400),
        ({"op": "replace", "path": "/~2", "value": "x"}, 400),
        ({"op": "replace", "path": 1, "value": "x"}, 400),
        ({"op": "replace", "path": "/name"}, 400),
        ({"op": "move", "path": "/name", "from": "/x"}, 400),
        ({"path": "/name", "value": "x"}, 400),
        ({"op": ["add"], "path": "/name", "value": "x"}, 400),
        ("replace", 400),
        (None, 400),
    ],
)
def test_an_operation_that_cannot_be_changes_nothing(sqlite_client: Client, operation: Any, status: int) -> None:
    image = sqlite_client.register()

    answer = sqlite_client.patch(image["id"], operation)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert sqlite_client.get(image["self"]).json() == image


def test_the_draft_s_form_of_a_change_adds_only_what_is_not_there(sqlite_client: Client) -> None:
    image = sqlite_client.register(kept="1")
    send = sqlite_client.patch

    done = send(image["id"], {"add": "/new", "value": "x"}, {"replace": "/kept", "value": "2"}, version="2.0")

    assert (done.status_code, done.json()["new"], done.json()["kept"]) == (200, "x", "2")
    assert send(image["id"], {"remove": "/new"}, version="2.0").status_code == 200
    assert send(image["id"], {"add": "/kept", "value": "x"}, version="2.0").status_code == 409
    assert send(image["id"], {"add": "/name", "value": "x"}, version="2.0").status_code == 409
    assert send(image["id"], {"add": "/a", "remove": "/b", "value": "x"}, version="2.0").status_code == 400


@pytest.mark.parametrize("content_type", ["application/json", "", "application/openstack-images-v2.2-json-patch"])
def test_another_form_of_a_change_is_415_and_told_which_are_understood(
    sqlite_client: Client, content_type: str
) -> None:
    image = sqlite_client.register()

    answer = sqlite_client.patch(image["id"], replace("name", "x"), headers={"Content-Type": content_type})

    assert answer.status_code == 415
    assert answer.headers["accept-patch"] == (
        "application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch"
    )


def test_formats_are_settled_once_the_image_is_active(client: Client) -> None:
    image = client.add()

    assert client.patch(image["id"], replace("disk_format", "qcow2")).status_code == 403
    assert client.patch(image["id"], replace("disk_format", "raw"), replace("name", "n")).status_code == 200


def test_only_a_writer_makes_an_image_public_or_gives_it_away(sqlite_context: Client) -> None:
    owner, admin = sqlite_context.caller("owner"), sqlite_context.caller("admins", "admin")
    image = owner.register()

    assert image["owner"] == "owner"
    assert owner.post("/v2/images", {"visibility": "public"}).status_code == 403
    assert owner.post("/v2/images", {"owner": "else"}).status_code == 403
    assert owner.patch(image["id"], replace("visibility", "public")).status_code == 403
    assert owner.patch(image["id"], replace("owner", "else")).status_code == 403
    assert owner.patch(image["id"], replace("owner", "owner"), replace("visibility", "community")).status_code == 200
    given = admin.patch(image["id"], replace("visibility", "public"), replace("owner", "else"))
    assert (given.json()["visibility"], given.json()["owner"]) == ("public", "else")
    assert admin.register(owner="else")["owner"] == "else"


def test_a_protected_image_is_not_deleted(client: Client) -> None:
    image = client.register(protected=True, os_distro="debian", tags=["t"])

    assert client.delete(image["self"]).status_code == 403
    assert client.patch(image["id"], replace("protected", False)).status_code == 200
    assert client.delete(image["self"]).status_code == 204
    for method in ("GET", "DELETE"):
        assert client.request(method, image["self"]).status_code == 404
    assert client.patch(image["id"], replace("name", "x")).status_code == 404


def test_tags_come_and_go_one_by_one(client: Client) -> None:
    image = client.register(tags=["a"])
    path = image["self"] + "/tags/"

    assert client.put(path + "é b").status_code == 204
    assert client.put(path + "a").status_code == 204
    assert client.get(image["self"]).json()["tags"] == ["a", "é b"]
    assert client.delete(path + "a").status_code == 204
    assert client.delete(path + "a").status_code == 404
    assert client.put(path + "x" * 256).status_code == 400
    assert client.get(image["self"]).json()["tags"] == ["é b"]


def test_a_tag_is_found_whatever_blanks_it_was_given_with(client: Client) -> None:
    created = client.register(tags=[" a\u00a0", "a"])
    patched = client.register()
    client.patch(patched["id"], replace("tags", ["\ta "]))
    put = client.register()
    client.put(put["self"] + "/tags/%20a%20")

    for image in (created, patched, put):
        assert client.get(image["self"]).json()["tags"] == ["a"]
    found = client.get("/v2/images?tag=%20a").json()["images"]
    assert {image["id"] for image in found} == {created["id"], patched["id"], put["id"]}
    assert client.delete(put["self"] + "/tags/%20a").status_code == 204
    assert client.get(put["self"]).json()["tags"] == []


def test_a_tag_must_have_more_than_blanks(client: Client) -> None:
    image = client.register()

    assert client.put(image["self"] + "/tags/%20").status_code == 400
    assert client.post("/v2/images", {"tags": [" "]}).status_code == 400
    assert client.patch(image["id"], replace("tags", ["a", " "])).status_code == 400


def test_a_tag_that_an_older_release_stored_with_blanks_can_be_removed(client: Client) -> None:
    old = Image(id=str(uuid4()), created_at=LONG_AGO, updated_at=LONG_AGO, visibility="public", tags=(" a", "b"))
    client.operate(images.add, old)

    assert client.delete(f"/v2/images/{old.id}/tags/a").status_code == 204
    assert client.get(f"/v2/images/{old.id}").json()["tags"] == ["b"]


def test_no_more_tags_than_an_image_may_have(sqlite_client: Client) -> None:
    image = sqlite_client.register(tags=[f"t{number}" for number in range(128)])

    assert sqlite_client.put(image["self"] + "/tags/one-more").status_code == 413
    assert sqlite_client.put(image["self"] + "/tags/t5").status_code == 204


def test_an_image_is_deactivated_and_reactivated(client: Client) -> None:
    image_id = client.add()["id"]
    actions = f"/v2/images/{image_id}/actions/"

    for action, status in (("deactivate", "deactivated"), ("deactivate", "deactivated"), ("reactivate", "active")):
        assert client.post(actions + action).status_code == 204
        assert client.get(f"/v2/images/{image_id}").json()["status"] == status
    queued = client.register()
    for action in ("deactivate", "reactivate"):
        assert client.post(f"{queued['self']}/actions/{action}").status_code == 403


def test_the_file_of_an_image_says_where_its_bytes_are(sqlite_client: Client) -> None:
    """Bytes are taken now (test_v2_file.py), but only as what they are."""
    queued, active = sqlite_client.register(), sqlite_client.add()

    empty = sqlite_client.get(queued["file"])

    assert (empty.status_code, empty.content) == (204, b"")
    assert sqlite_client.get(f"/v2/images/{active['id']}/file").status_code == 404
    assert sqlite_client.request("PUT", queued["file"], content=b"bytes").status_code == 415
    assert sqlite_client.get(queued["self"]).json() == queued


OCTETS = {"Content-Type": "application/octet-stream"}
DIGESTS_OF_NOTHING = {
    "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    "os_hash_algo": "sha512",
    "os_hash_value": "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
}


async def _no_chunks() -> AsyncIterator[bytes]:
    for chunk in ():
        yield chunk


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("headers", [{}, {"X-OpenStack-Image-Size": "0"}, {"Content-Type": f"{BYTES}; charset=x"}])
def test_an_empty_file_makes_a_queued_image_active(client: Client, chunked: bool, headers: dict[str, str]) -> None:
    """As Nova makes the snapshot of a server that boots from a volume."""
    queued = client.register()
    content = _no_chunks() if chunked else b""

    answer = client.request("PUT", queued["file"], content=content, headers={**OCTETS, **headers})

    assert (answer.status_code, answer.content) == (204, b"")
    shown = client.get(queued["self"]).json()
    expected = {**queued, **DIGESTS_OF_NOTHING, "status": "active", "size": 0, "stores": "local"}
    assert shown == {**expected, "updated_at": shown["updated_at"]}
    file = client.get(queued["file"])
    assert (file.status_code, file.content, file.headers["content-type"]) == (200, b"", BYTES)
    assert file.headers["content-md5"] == DIGESTS_OF_NOTHING["checksum"]
    assert client.show(queued["id"])["location"] is None


def test_an_empty_file_is_refused_in_the_order_of_the_incumbent(client: Client) -> None:
    queued, without = client.register(), client.register(disk_format=None)
    active, deactivated = client.add(), client.add()
    client.post(f"/v2/images/{deactivated['id']}/actions/deactivate")
    placed = client.add(status="queued", location="https://images.test/i")

    def put(image_id: str, headers: dict[str, str] | None = None) -> int:
        given = OCTETS if headers is None else headers
        return client.request("PUT", f"/v2/images/{image_id}/file", content=b"", headers=given).status_code

    assert put("none", {}) == put("none", {"Content-Type": "text/plain"}) == 415
    assert put("none") == 404
    assert put(active["id"]) == put(deactivated["id"]) == put(placed["id"]) == 409
    assert put(without["id"]) == 400
    for size in ("5", "-1", "many"):
        assert put(queued["id"], {**OCTETS, "X-OpenStack-Image-Size": size}) == 400
    assert client.get(queued["self"]).json() == queued
    assert client.get(without["self"]).json() == without


def test_a_client_that_hangs_up_before_the_first_byte_makes_no_empty_image(client: Client) -> None:
    class HungUp(Body):
        async def receive(self) -> dict[str, Any]:
            return {"type": "http.disconnect"}

    queued = client.register()

    ask(client, "PUT", queued["file"], body=HungUp([]), headers=[(b"content-type", BYTES.encode())])

    assert client.get(queued["self"]).json() == queued
