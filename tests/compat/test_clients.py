# SPDX-License-Identifier: Apache-2.0
"""Requests as the clients and API servers of 2011 to 2019 send them."""

import json
from typing import Any

import pytest
from tests.conftest import Client, Verbs

QUEUED_2011 = {
    "name": "natty",
    "status": "queued",
    "type": "kernel",
    "disk_format": "raw",
    "container_format": "bare",
    "is_public": True,
    "location": None,
    "properties": {},
}
URL = "file:///var/lib/glance/images/1"


def _but_for_the_time(image: dict[str, Any]) -> dict[str, Any]:
    return {**image, "updated_at": None}


def _send(client: Client, method: str, path: str, body: Any, *headers: tuple[str, str]) -> Any:
    """A body with these headers and no others that a client chooses, as `http.client` sends it."""
    answer = client.request(method, path, content=json.dumps(body).encode(), headers=list(headers))
    assert answer.status_code == 200, answer.text
    return answer.json()["image"]


def test_the_api_server_of_2011_registers_and_uploads_without_any_content_type(client: Client) -> None:
    image = _send(client, "POST", "/images", {"image": QUEUED_2011})
    path = f"/images/{image['id']}"
    _send(client, "PUT", path, {"image": {"status": "saving"}})
    shown = client.show(image["id"])

    _send(client, "PUT", path, {"image": {**shown, "checksum": "c" * 32, "size": 3}})
    uploaded = _send(client, "PUT", path, {"image": {**shown, "location": URL, "status": "active"}})

    assert (uploaded["status"], uploaded["location"]) == ("active", URL)
    assert client.show(image["id"]) == uploaded


def test_the_api_server_of_2018_uploads_in_three_compare_and_sets(queens: Client) -> None:
    image = queens.add(status="queued", size=0)
    path = f"/images/{image['id']}"

    steps = [
        {"image": {"status": "saving"}, "from_state": None},
        {"image": {"checksum": "c" * 32, "size": 70000}, "from_state": "saving"},
        {
            "image": {
                "location": URL,
                "status": "active",
                "location_data": [{"url": URL, "metadata": {}, "status": "active"}],
            },
            "from_state": "saving",
        },
    ]
    *_, last = [queens.put(path, step) for step in steps]

    after = {"status": "active", "checksum": "c" * 32, "size": 70000, "location": URL}
    after["location_data"] = [{"url": URL, "metadata": {}, "status": "active"}]
    assert _but_for_the_time(last.json()["image"]) == _but_for_the_time({**image, **after})


@pytest.mark.parametrize("status", ["deleted", "pending_delete"])
def test_the_api_server_of_2018_deletes_in_two_steps(queens: Client, status: str) -> None:
    image = queens.add(location=URL, properties={"k": "v"})
    path = f"/images/{image['id']}"

    queens.put(path, {"image": {"status": status}, "from_state": None})
    deleted = queens.delete(path).json()["image"]

    gone = {"status": status, "deleted": True, "properties": {}, "location": None, "location_data": []}
    times = {"updated_at": deleted["updated_at"], "deleted_at": deleted["deleted_at"]}
    assert deleted == {**image, **gone, **times}
    assert deleted["deleted_at"] == deleted["updated_at"]
    assert queens.show(image["id"]) == deleted


def test_a_failed_upload_is_killed_and_an_image_can_be_activated_without_one(queens: Client) -> None:
    failed, by_url = queens.add(status="queued"), queens.add(status="queued", location="http://example.org/i")

    queens.put(f"/images/{failed['id']}", {"image": {"status": "killed"}, "from_state": None})
    queens.put(f"/images/{by_url['id']}", {"image": {"status": "active", "location": "http://example.org/i"}})

    assert queens.show(failed["id"])["status"] == "killed"
    assert queens.show(by_url["id"])["location_data"] == by_url["location_data"]


def test_a_whole_shown_image_of_2011_is_taken_back_unchanged(client: Client) -> None:
    image = client.add(name="café", size=7, min_ram=64, properties={"a": "1", "b": ""})

    for given in (image, {**image, "location": None}, {**image, "created_at": "x", "deleted": "x", "deleted_at": 1}):
        again = _send(client, "PUT", f"/images/{image['id']}", {"image": given})

        assert _but_for_the_time(again) == _but_for_the_time(image)


def test_a_whole_shown_image_of_2018_is_taken_back_unchanged(queens: Client) -> None:
    metadata = {"encryption": {"key": [1, None, True, "é"]}}
    places = [{"url": "rbd://a/1", "metadata": {}, "status": "deleted"}, {"url": URL, "metadata": metadata}]
    image = queens.add(disk_format=None, location_data=places, properties={"é": "ü"}, protected=True, virtual_size=1)

    again = _send(queens, "PUT", f"/images/{image['id']}", {"image": image, "from_state": image["status"]})

    assert _but_for_the_time(again) == _but_for_the_time(image)
    assert queens.show(image["id"]) == again


@pytest.mark.parametrize("value", ["True", "TRUE", "1", "yes", "", "false", "true,true"])
def test_properties_are_purged_only_by_the_exact_word_true(queens: Client, value: str) -> None:
    image = queens.add(properties={"kept": "1"})
    body = {"image": {"properties": {"new": "2"}}}

    queens.put(f"/images/{image['id']}", body, headers={"X-Glance-Registry-Purge-Props": value})

    assert queens.show(image["id"])["properties"] == {"kept": "1", "new": "2"}


@pytest.mark.parametrize("name", ["X-Glance-Registry-Purge-Props", "x-glance-registry-purge-props"])
def test_a_header_s_name_has_no_case(queens: Client, name: str) -> None:
    image = queens.add(properties={"gone": "1"})

    queens.put(f"/images/{image['id']}", {"image": {"properties": {"new": "2"}}}, headers={name: "true"})

    assert queens.show(image["id"])["properties"] == {"new": "2"}


ADMIN = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Tenant-Id": "t", "X-Roles": "member,admin"}
ADMINS = [
    ADMIN,
    {name.lower(): value for name, value in ADMIN.items()},
    {name.upper(): value for name, value in ADMIN.items()},
    {**ADMIN, "X-Roles": "Admin"},
    {**ADMIN, "X-Roles": " member ,  ADMIN ,"},
    {**ADMIN, "X-Roles": "member,\tadmin,reader"},
    {"X-Identity-Status": "Confirmed", "X-Roles": "admin"},
    {"X-Identity-Status": "Confirmed", "X-Project-Id": "t", "X-Roles": "admin", "X-Service-Catalog": "null"},
]


@pytest.mark.parametrize("headers", ADMINS)
def test_the_server_in_front_says_who_is_an_admin(sqlite_context: Client, headers: dict[str, str]) -> None:
    image = sqlite_context.caller("other").add(is_public=False)

    assert sqlite_context.get(f"/images/{image['id']}", headers=headers).status_code == 200


NO_ADMINS = [
    {**ADMIN, "X-Roles": "administrator,not-admin,ad min"},
    {**ADMIN, "X-Roles": "member;admin"},
    {**ADMIN, "X-Roles": ""},
    {**ADMIN, "X-Identity-Status": "confirmed"},
    {**ADMIN, "X-Identity-Status": "Invalid"},
    {**ADMIN, "X-Identity-Status": ""},
    {**ADMIN, "X-Identity-Status": "Confirmed,Confirmed"},
    {"X-Identity-Status": "Confirmed", "X-Role": "admin", "X-User-Id": "admin", "X-Tenant-Id": "admin"},
]


@pytest.mark.parametrize("headers", NO_ADMINS)
def test_what_only_looks_like_an_admin_is_none(sqlite_context: Client, headers: dict[str, str]) -> None:
    image = sqlite_context.caller("other").add(is_public=False)

    assert sqlite_context.get(f"/images/{image['id']}", headers=headers).status_code == 404


@pytest.mark.parametrize("name", ["X-Tenant-Id", "X-Project-Id", "x-tenant-id", "x-project-id"])
def test_a_tenant_and_a_project_are_the_same(sqlite_context: Client, name: str) -> None:
    image = sqlite_context.caller("mine").add(is_public=False)
    headers = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", name: "mine", "X-Roles": "member"}

    assert sqlite_context.get(f"/images/{image['id']}", headers=headers).json() == {"image": image}


@pytest.mark.parametrize("field", ["size", "virtual_size", "min_disk", "min_ram"])
@pytest.mark.parametrize(("given", "kept"), [("0", 0), ("70000", 70000), ("007", 7), (str(2**31 - 1), 2**31 - 1)])
def test_a_number_may_come_as_a_string(sqlite_client: Client, field: str, given: str, kept: int) -> None:
    image = sqlite_client.add(**{field: given})

    assert image[field] == kept
    assert sqlite_client.put(f"/images/{image['id']}", {"image": {field: given}}).json()["image"][field] == kept


@pytest.mark.parametrize("field", ["is_public", "protected"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("True", True),
        ("true", True),
        ("1", True),
        (1, True),
        ("False", False),
        ("false", False),
        ("0", False),
        (0, False),
    ],
)
def test_a_switch_may_come_as_a_string_and_false_means_false(
    sqlite_client: Client, field: str, given: object, meant: bool
) -> None:
    image = sqlite_client.add(**{field: given})

    assert image[field] is meant
    assert sqlite_client.put(f"/images/{image['id']}", {"image": {field: given}}).json()["image"][field] is meant


FILTERED = [
    "name=cirros+%26%231+%2Bx%3D%25&limit=20&sort_key=name&sort_dir=asc",
    "name=cirros%20%26%231%20%2bx%3d%25",
    "property-distro=ubuntu+%C3%A9&status=active&size_min=5&limit=20",
    "property-os%20type=a%26b",
    "property-os+type=a%26b&property-distro=ubuntu%20%c3%a9",
    "changes-since=2020-01-01T00%3A00%3A00Z&is_public=None",
    "changes-since=2020-01-01T00:00:00Z&is_public=none",
]


@pytest.mark.parametrize("query", FILTERED)
def test_filters_come_percent_encoded(queens: Client, query: str) -> None:
    name = "cirros &#1 +x=%"
    queens.add(name=name, size=7, properties={"distro": "ubuntu é", "os type": "a&b"})

    assert queens.names(query) == [name]


def _list_as_client(client: Verbs, **parameters: str) -> list[str]:
    answer = client.get("/images/detail", params=parameters)
    return [image["name"] for image in answer.json()["images"]]


def test_a_client_of_2018_walks_through_its_pages(queens: Client) -> None:
    for name in "bac":
        queens.add(name=name, is_public=False)
    common = {"is_public": "None", "limit": "2", "sort_key": "name", "sort_dir": "asc"}

    first = queens.get("/images/detail", params=common).json()["images"]
    rest = _list_as_client(queens, **common, marker=first[-1]["id"])

    assert [image["name"] for image in first] + rest == ["a", "b", "c"]
    assert _list_as_client(queens, limit="20") == []


def test_a_request_id_is_echoed_and_tokens_are_ignored(queens: Client) -> None:
    headers = {"X-Openstack-Request-ID": "req-83d6ab8e-81ee-41e8-a5fd-63af681f3bac", "x-auth-token": "tok-u-root"}

    answer = queens.get("/images", headers=headers)

    assert answer.headers["x-openstack-request-id"] == headers["X-Openstack-Request-ID"]
    assert "tok-u-root" not in str(answer.headers)
