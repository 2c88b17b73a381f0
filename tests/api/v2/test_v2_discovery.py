# SPDX-License-Identifier: Apache-2.0
"""What clients of the Images API ask first. "Small differences break whole clients"."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, validate
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.model.errors import Invalid

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(("path", "status"), [("/", 300), ("/versions", 200)])
def test_the_versions_are_listed_the_newest_first_and_current(sqlite_client: Client, path: str, status: int) -> None:
    answer = sqlite_client.get(path)
    versions = answer.json()["versions"]

    assert answer.status_code == status
    assert versions[0] == {
        "id": "v2.17",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": "http://registry.test/v2/"}],
    }
    assert {version["status"] for version in versions[1:]} == {"SUPPORTED"}
    assert [version["id"] for version in versions[1:]] == [f"v2.{n}" for n in (9, 7, 6, 5, 4, 3, 2, 1, 0)]


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2.0", "/v2.17/"])
def test_a_client_that_begins_at_v2_finds_the_version(sqlite_client: Client, path: str) -> None:
    assert sqlite_client.get(path).json()["version"]["id"] == "v2.17"


@pytest.mark.parametrize("prefix", ["/v2.0", "/v2.9", "/v2.17"])
def test_a_minor_version_s_paths_are_those_of_v2(sqlite_client: Client, prefix: str) -> None:
    image = sqlite_client.register()

    assert sqlite_client.get(f"{prefix}/images/{image['id']}").json() == image
    assert sqlite_client.get(f"{prefix}/images").json()["first"] == "/v2/images"


@pytest.mark.parametrize("path", ["/v2.x/images", "/v2./images", "/v2.100/images", "/v20/images", "/v1/images"])
def test_what_looks_like_a_version_and_is_none_is_404(sqlite_client: Client, path: str) -> None:
    assert sqlite_client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("headers", "href"),
    [
        ({"Host": "images.test:9292"}, "http://images.test:9292/v2/"),
        ({"Host": "[::1]:9191"}, "http://[::1]:9191/v2/"),
        ({"Host": "images.test", "X-Forwarded-Proto": "https"}, "https://images.test/v2/"),
        ({"Host": "images.test", "X-Forwarded-Proto": "javascript"}, "http://images.test/v2/"),
    ],
)
def test_links_lead_back_to_where_the_request_was_sent(
    sqlite_context: Client, headers: dict[str, str], href: str
) -> None:
    found = sqlite_context.get("/versions", headers=headers).json()["versions"][0]["links"][0]["href"]

    assert found == href


def test_an_operator_says_where_links_lead(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, public_endpoint="https://images.example.com/glance/"))

    found = client.get("/versions", headers={"Host": "localhost"}).json()["versions"]
    client.close()

    assert {version["links"][0]["href"] for version in found} == {"https://images.example.com/glance/v2/"}


@pytest.mark.parametrize("path", ["/v2/tenants", "/v2/tenants/acme", "/v2.0/tenants"])
def test_looking_up_a_project_is_refused_so_that_openstackclient_takes_an_id(sqlite_client: Client, path: str) -> None:
    answer = sqlite_client.get(path)

    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == "Projects cannot be looked up here: say the id of one."


@pytest.mark.parametrize("path", ["/v2/metadefs/namespaces", "/v2/tasks", "/v2/info/none", "/v2/cache", "/v2/none"])
def test_what_is_not_served_is_404_with_a_sentence(sqlite_client: Client, path: str) -> None:
    answer = sqlite_client.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"].endswith(" here.") or path == "/v2/none"


def test_there_is_no_way_to_import(sqlite_client: Client) -> None:
    assert sqlite_client.get("/v2/info/import").json()["import-methods"]["value"] == []


def test_the_usage_of_a_project_is_shown_beside_its_limits(sqlite_database: str) -> None:
    limits = {"limits__images_per_owner": 5, "limits__bytes_per_owner": 10 * MEBIBYTE, "limits__uploads_per_owner": 0}
    client = Client(make_settings(sqlite_database, identity__mode="context", **limits))
    owner, other = client.caller("mine", "member"), client.caller("other", "member")
    headers = {"content-type": "application/octet-stream"}
    for size in (2 * MEBIBYTE, 2 * MEBIBYTE - 1):
        image = owner.post("/v2/images", {"disk_format": "raw", "container_format": "bare"}).json()
        assert owner.request("PUT", image["file"], content=bytes(size), headers=headers).status_code == 204
    gone = owner.post("/v2/images", {}).json()
    assert owner.delete(gone["self"]).status_code == 204

    usage = owner.get("/v2/info/usage").json()
    of_other = other.get("/v2/info/usage").json()["usage"]
    anonymous = client.get("/v2/info/usage").json()
    client.close()

    assert usage == {
        "usage": {
            "image_size_total": {"usage": 3, "limit": 10},
            "image_count_total": {"usage": 2, "limit": 5},
            "image_count_uploading": {"usage": 0, "limit": -1},
        }
    }
    assert [one["usage"] for one in of_other.values()] == [0, 0, 0]
    assert anonymous == {"usage": {}}


def test_an_upload_that_runs_is_in_the_usage_with_what_was_announced(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context", limits__bytes_per_owner=10 * MEBIBYTE))
    owner = client.caller("mine", "member")
    image = owner.post("/v2/images", {"disk_format": "raw", "container_format": "bare"}).json()
    seen: dict[str, Any] = {}

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MEBIBYTE)
        seen.update((await client.http.get("/v2/info/usage", headers=owner.headers)).json()["usage"])
        yield bytes(MEBIBYTE)

    headers = {"content-type": "application/octet-stream", "x-openstack-image-size": str(2 * MEBIBYTE)}
    answer = owner.request("PUT", image["file"], content=body(), headers=headers)
    client.close()

    assert answer.status_code == 204
    assert (seen["image_size_total"]["usage"], seen["image_count_uploading"]["usage"]) == (2, 1)


def test_without_limits_there_is_no_usage(sqlite_database: str) -> None:
    limits = {"limits__images_per_owner": 0, "limits__bytes_per_owner": 0, "limits__uploads_per_owner": 0}
    client = Client(make_settings(sqlite_database, identity__mode="context", **limits))

    usage = client.caller("mine", "member").get("/v2/info/usage").json()
    client.close()

    assert usage == {"usage": {}}


def test_a_token_that_nobody_checks_does_not_matter(sqlite_client: Client) -> None:
    assert sqlite_client.get("/v2/images", headers={"X-Auth-Token": "notused"}).status_code == 200


@pytest.mark.parametrize("name", ["image", "images", "member", "members"])
def test_what_is_shown_is_what_the_schema_says(sqlite_client: Client, name: str) -> None:
    image = sqlite_client.register(tags=["t"], os_distro="debian")
    sqlite_client.post(image["self"] + "/members", {"member": "m"})
    path = {
        "image": image["self"],
        "images": "/v2/images",
        "members": image["self"] + "/members",
        "member": image["self"] + "/members/m",
    }[name]

    schema = sqlite_client.get(f"/v2/schemas/{name}").json()

    assert schema["name"] == name
    Draft4Validator.check_schema(schema)
    validate(sqlite_client.get(path).json(), schema, Draft4Validator)


def test_clients_find_in_the_schema_what_they_look_for(sqlite_client: Client) -> None:
    schema = sqlite_client.get("/v2/schemas/image").json()

    assert schema["additionalProperties"] == {"type": "string"}
    assert {"qcow2", "raw", "iso", None} <= set(schema["properties"]["disk_format"]["enum"])
    assert schema["properties"]["status"]["readOnly"]
    assert not any("is_base" in described for described in schema["properties"].values())


OWN: dict[str, Any] = {"os_distro": {"type": "string", "enum": ["debian", "ubuntu"], "description": "Distribution"}}


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_operator_s_properties_are_in_the_schema_and_checked(
    sqlite_database: str, tmp_path: Path, wrapped: bool
) -> None:
    file = tmp_path / "schema-image.json"
    file.write_text(json.dumps({"properties": OWN, "required": ["os_distro"]} if wrapped else OWN))
    client = Client(make_settings(sqlite_database, images__schema_file=str(file)))

    described = client.get("/v2/schemas/image").json()
    image = client.register(os_distro="debian")

    assert described["properties"]["os_distro"] == {**OWN["os_distro"], "is_base": False}
    assert client.post("/v2/images", {"os_distro": "amiga"}).status_code == 400
    assert client.post("/v2/images", {}).status_code == (400 if wrapped else 201)
    operation = {"op": "replace", "path": "/os_distro", "value": "amiga"}
    assert client.patch(image["id"], operation).status_code == 400
    assert client.patch(image["id"], {"op": "replace", "path": "/name", "value": "n"}).status_code == 200
    client.close()


@pytest.mark.parametrize("text", ["", "[]", '{"p": 1}', '{"name": {"type": "string"}}', '{"p": {"type": "strin"}}'])
def test_a_file_that_holds_no_schemas_keeps_the_program_from_starting(
    sqlite_database: str, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "schema-image.json"
    file.write_text(text)

    with pytest.raises(Invalid, match="schema"):
        Client(make_settings(sqlite_database, images__schema_file=str(file)))
    with pytest.raises(Invalid, match="cannot be read"):
        Client(make_settings(sqlite_database, images__schema_file=str(tmp_path / "absent")))
