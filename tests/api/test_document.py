# SPDX-License-Identifier: Apache-2.0
"""The 2011 document, clause by clause (registry protocol, section 1)."""

from datetime import UTC, datetime

import pytest
from tests.conftest import Client
from tests.options import make_settings

VALID = {"name": "natty", "status": "active", "disk_format": "raw", "container_format": "bare"}


def test_index_is_brief_information_about_public_images(client: Client) -> None:
    public = client.add(name="public", size=7)
    client.add(name="private", is_public=False)

    answer = client.get("/images")

    assert answer.status_code == 200
    assert answer.json() == {
        "images": [
            {
                "id": public["id"],
                "name": "public",
                "size": 7,
                "disk_format": "raw",
                "container_format": "bare",
                "checksum": None,
            }
        ]
    }


def test_detail_is_everything_about_public_images(client: Client) -> None:
    public = client.add(name="public", properties={"arch": "x86_64"})
    client.add(name="private", is_public=False)

    assert client.get("/images/detail").json() == {"images": [public]}


def test_show_puts_the_metadata_into_headers_and_body(client: Client) -> None:
    image = client.add(**VALID, size=7, properties={"arch": "x86_64"})

    answer = client.get(f"/images/{image['id']}")

    assert answer.json() == {"image": image}
    assert answer.headers["x-image-meta-disk_format"] == "raw"
    assert answer.headers["x-image-meta-size"] == "7"
    assert answer.headers["x-image-meta-is_public"] == "True"
    assert answer.headers["x-image-meta-property-arch"] == "x86_64"
    assert "x-image-meta-checksum" not in answer.headers


@pytest.mark.parametrize(
    ("microsecond", "shown"),
    [(7599, "2026-11-23T09:36:08.007599"), (0, "2026-11-23T09:36:08.000000"), (120_000, "2026-11-23T09:36:08.120000")],
)
def test_a_time_always_has_six_digits_of_a_second_and_no_zone(
    sqlite_database: str, microsecond: int, shown: str
) -> None:
    now = datetime(2026, 11, 23, 9, 36, 8, microsecond, tzinfo=UTC)
    client = Client(make_settings(sqlite_database), now=lambda: now)

    assert client.add()["created_at"] == shown
    client.close()


def test_head_sends_the_headers_alone(client: Client) -> None:
    image = client.add(**VALID)
    path = f"/images/{image['id']}"

    shown, head = client.get(path), client.request("HEAD", path)

    own = {"x-openstack-request-id"}
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in shown.headers.items() if k not in own
    }


@pytest.mark.parametrize("status", ["active", "saving", "queued", "killed"])
@pytest.mark.parametrize("disk_format", ["raw", "vhd", "vdi", "qcow2", "vmdk"])
@pytest.mark.parametrize("container_format", ["bare", "ovf"])
def test_the_document_s_statuses_and_formats_are_accepted(
    sqlite_client: Client, status: str, disk_format: str, container_format: str
) -> None:
    image = sqlite_client.add(status=status, disk_format=disk_format, container_format=container_format)

    assert (image["status"], image["disk_format"], image["container_format"]) == (status, disk_format, container_format)


@pytest.mark.parametrize("kind", ["ari", "aki", "ami"])
def test_an_amazon_image_is_its_own_container(client: Client, kind: str) -> None:
    assert client.add(disk_format=kind, container_format=kind)["disk_format"] == kind


REFUSED = [
    ({"status": ""}, "Image status is required."),
    ({"status": None}, "Image status is required."),
    ({"status": "pending"}, "Invalid image status 'pending' for image."),
    ({"disk_format": ""}, "Image disk format is required."),
    ({"disk_format": None}, "Image disk format is required."),
    ({"disk_format": "iso"}, "Invalid disk format 'iso' for image."),
    ({"container_format": ""}, "Image container format is required."),
    ({"container_format": None}, "Image container format is required."),
    ({"container_format": "docker"}, "Invalid container format 'docker' for image."),
    ({"disk_format": "aki"}, "Invalid mix of disk and container formats."),
    ({"container_format": "ami"}, "Invalid mix of disk and container formats."),
    ({"disk_format": "ari", "container_format": "aki"}, "Invalid mix of disk and container formats."),
]


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED)
def test_post_refuses_what_the_document_refuses(sqlite_client: Client, wrong: dict, sentence: str) -> None:
    answer = sqlite_client.post("/images", {"image": {**VALID, **wrong}})

    assert answer.status_code == 400
    assert sentence in answer.text
    assert sqlite_client.get("/images").json() == {"images": []}


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED)
def test_put_refuses_an_update_whose_outcome_the_document_refuses(
    sqlite_client: Client, wrong: dict, sentence: str
) -> None:
    image = sqlite_client.add(**VALID)

    answer = sqlite_client.put(f"/images/{image['id']}", {"image": wrong})

    assert answer.status_code == 400
    assert sentence in answer.text
    assert sqlite_client.show(image["id"]) == image


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_a_format_that_is_left_out_is_required(client: Client, missing: str) -> None:
    body = {name: value for name, value in VALID.items() if name != missing}

    answer = client.post("/images", {"image": body})

    assert answer.status_code == 400
    assert "format is required." in answer.text


def test_an_absent_status_means_active(client: Client) -> None:
    body = {name: value for name, value in VALID.items() if name != "status"}

    assert client.post("/images", {"image": body}).json()["image"]["status"] == "active"


@pytest.mark.parametrize("key", ["name", "key"])
def test_properties_may_be_a_list_and_are_answered_as_a_mapping(client: Client, key: str) -> None:
    image = client.add(properties=[{key: "arch", "value": "x86_64"}, {key: "os", "value": "linux"}])

    assert image["properties"] == {"arch": "x86_64", "os": "linux"}


@pytest.mark.parametrize(
    ("given", "kept"), [("a", "a"), ("A-z.0_9~", "A-z.0_9~"), ("x" * 36, "x" * 36), (17, "17"), (-1, "-1")]
)
def test_an_id_is_a_short_url_safe_string_or_an_integer(client: Client, given: object, kept: str) -> None:
    assert client.add(id=given)["id"] == kept
    assert client.show(kept)["id"] == kept


@pytest.mark.parametrize("given", ["", "x" * 37, "a/b", "a b", "é", ".", "..", "detail", True, 1.5, [], {}, 10**36])
def test_another_id_is_refused(sqlite_client: Client, given: object) -> None:
    answer = sqlite_client.post("/images", {"image": {**VALID, "id": given}})

    assert answer.status_code == 400
    assert "id" in answer.text


@pytest.mark.parametrize("body", [VALID, {**VALID, "id": None}])
def test_without_an_id_a_uuid_is_made(client: Client, body: dict) -> None:
    image = client.post("/images", {"image": body}).json()["image"]

    assert len(image["id"]) == 36
    assert client.show(image["id"]) == image


def test_an_id_that_is_taken_is_a_conflict(client: Client) -> None:
    client.add(id="one")

    answer = client.post("/images", {"image": {**VALID, "id": "one"}})

    assert answer.status_code == 409
    assert "Image with identifier one already exists!" in answer.text


def test_a_deleted_image_s_id_stays_taken(client: Client) -> None:
    client.add(id="one")
    client.delete("/images/one")

    assert client.post("/images", {"image": {**VALID, "id": "one"}}).status_code == 409


def test_put_changes_what_is_given_and_leaves_the_rest(client: Client) -> None:
    image = client.add(**VALID, size=1, properties={"a": "1"})

    answer = client.put(f"/images/{image['id']}", {"image": {"name": "new", "properties": {"b": "2"}}})

    changed = {**image, "name": "new", "properties": {"a": "1", "b": "2"}}
    assert {**answer.json()["image"], "updated_at": image["updated_at"]} == changed
    assert answer.json()["image"] == client.show(image["id"])


def test_delete_answers_the_image_and_hides_it(client: Client) -> None:
    image = client.add(**VALID)

    answer = client.delete(f"/images/{image['id']}")

    assert answer.status_code == 200
    assert answer.json()["image"]["deleted"] is True
    assert client.get(f"/images/{image['id']}").status_code == 404
    assert client.get("/images").json() == {"images": []}
    assert client.delete(f"/images/{image['id']}").status_code == 404


@pytest.mark.parametrize("content_type", [None, "text/html", "application/x-www-form-urlencoded", "nonsense"])
def test_a_request_may_come_with_any_content_type_or_none(client: Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}

    answer = client.request(
        "POST", "/images", content=b'{"image": {"disk_format": "raw", "container_format": "bare"}}', headers=headers
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


def test_an_error_is_text_unless_json_is_accepted_by_name(client: Client) -> None:
    text = client.get("/images/none", headers={"accept": "*/*"})
    json = client.get("/images/none", headers={"accept": "application/json"})

    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text == "Image not found\n"
    assert json.json() == {"error": {"code": 404, "title": "Not Found", "message": "Image not found"}}
