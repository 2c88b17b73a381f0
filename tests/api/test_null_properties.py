# SPDX-License-Identifier: Apache-2.0
"""Properties that came as numbers or null, in both dialects (registry protocol, section 3; operators' schemas)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.catalogue.integrity.check import Fault, check

# As Glance's own schema-image.json has them.
SCHEMA = {
    "kernel_id": {"type": ["null", "string"], "pattern": "^([0-9a-f]{4})$", "description": "ID of the kernel"},
    "os_distro": {"type": "string"},
    "cores": {"type": "integer"},
}
FORMATS = {"disk_format": "raw", "container_format": "bare"}


@pytest.fixture
def with_schema(database: str, tmp_path: Path) -> Iterator[Client]:
    """A registry whose operator says that `kernel_id` may be null."""
    file = tmp_path / "schema-image.json"
    file.write_text(json.dumps(SCHEMA))
    client = Client(make_settings(database, images__schema_file=str(file)))
    yield client
    client.close()


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), (7, "7"), (-1.5, "-1.5"), (0, "0"), (2**63 - 1, str(2**63 - 1)), (1e-7, "1e-07"), ("", "")],
)
def test_a_number_is_kept_as_text_and_null_as_null(client: Client, given: Any, kept: str | None, as_list: bool) -> None:
    properties: Any = [{"name": "p", "value": given}] if as_list else {"p": given}

    image = client.add(properties=properties)

    assert image["properties"] == {"p": kept}
    assert client.show(image["id"]) == image
    assert client.get("/images/detail").json()["images"] == [image]
    changed = client.put(f"/images/{image['id']}", {"image": {"properties": {"p": "text", "q": given}}})
    assert changed.json()["image"]["properties"] == {"p": "text", "q": kept}


@pytest.mark.parametrize("given", [True, [], {}, 2**70, 1e300])
def test_another_value_of_a_property_is_refused(client: Client, given: Any) -> None:
    answer = client.post("/images", {"image": {**FORMATS, "properties": {"p": given}}})

    assert answer.status_code == 400
    assert "p" in answer.text


def test_a_shown_image_with_a_null_property_can_be_sent_back(client: Client) -> None:
    image = client.add(properties={"p": None, "q": "1"})

    changed = client.put(f"/images/{image['id']}", {"image": image}).json()["image"]

    assert changed == {**image, "updated_at": changed["updated_at"]}


def test_a_null_property_has_no_header_and_is_not_counted_as_omitted(client: Client) -> None:
    image_id = client.add(properties={"p": None, "q": "1"})["id"]

    headers = client.get(f"/images/{image_id}").headers

    assert headers["x-image-meta-property-q"] == "1"
    assert "x-image-meta-property-p" not in headers
    assert "x-image-meta-properties-omitted" not in headers


def test_null_properties_are_set_purged_and_deleted_like_others(client: Client) -> None:
    path = f"/images/{client.add(properties={'p': '1', 'q': '2'})['id']}"

    def put(properties: dict[str, Any], purge: str = "false") -> Any:
        headers = {"X-Glance-Registry-Purge-Props": purge}
        return client.put(path, {"image": {"properties": properties}}, headers=headers).json()["image"]["properties"]

    assert put({"p": None}) == {"p": None, "q": "2"}
    assert client.names("property-p=1") == []
    assert put({"r": None}, "true") == {"r": None}
    assert put({"r": "3"}) == {"r": "3"}
    assert client.names("property-r=3") == ["image"]
    put({"r": None})
    assert client.delete(path).json()["image"]["properties"] == {}
    assert check_of(client) == []


def test_null_properties_count_towards_the_limit(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, limits__properties_per_image=2))

    answer = client.post("/images", {"image": {**FORMATS, "properties": dict.fromkeys("abc")}})

    assert answer.status_code == 400
    client.close()


def test_a_null_property_is_no_word_and_no_value_that_a_filter_finds(client: Client) -> None:
    client.add(name="first", properties={"p": None, "q": "word"})

    found = {
        query: client.get(f"/v2/images?{query}").json()["images"] for query in ("q=null", "p=null", "p=None", "p=")
    }

    assert not any(found.values())
    assert len(client.get("/v2/images?q=first+word").json()["images"]) == 1
    assert client.names("property-p=") == client.names("property-p=None") == []
    assert check_of(client) == []


def test_the_images_api_leaves_out_a_null_that_no_schema_allows(client: Client) -> None:
    """Clients take what no schema describes for a string."""
    image_id = client.add(properties={"p": None, "q": "1"})["id"]

    shown = client.get(f"/v2/images/{image_id}").json()

    assert "p" not in shown
    assert shown["q"] == "1"
    for version, operation in (("2.0", {"add": "/p", "value": "new"}), ("2.1", {"op": "remove", "path": "/p"})):
        assert client.patch(image_id, operation, version=version).status_code == 200
        client.put(f"/images/{image_id}", {"image": {"properties": {"p": None}}})
    replaced = client.patch(image_id, {"op": "replace", "path": "/p", "value": "again"})
    assert replaced.json()["p"] == "again"
    assert client.post("/v2/images", {"p": None}).status_code == 400
    assert client.patch(image_id, {"op": "add", "path": "/p", "value": None}).status_code == 400


def test_an_operator_s_schema_may_allow_null(with_schema: Client) -> None:
    image = with_schema.register(kernel_id=None, os_distro="debian")

    assert image["kernel_id"] is None
    assert with_schema.get(image["self"]).json() == image
    assert with_schema.get("/v2/images").json()["images"] == [image]
    assert with_schema.show(image["id"])["properties"] == {"kernel_id": None, "os_distro": "debian"}
    for value in ("abcd", None):
        changed = with_schema.patch(image["id"], {"op": "replace", "path": "/kernel_id", "value": value})
        assert (changed.status_code, changed.json()["kernel_id"]) == (200, value)
    with_schema.put(f"/images/{image['id']}", {"image": {"properties": {"os_distro": None}}})
    assert "os_distro" not in with_schema.get(image["self"]).json()


def test_what_a_schema_allows_and_is_no_text_is_refused_in_both_calls(with_schema: Client) -> None:
    image = with_schema.register()

    created = with_schema.post("/v2/images", {"cores": 4})
    changed = with_schema.patch(image["id"], {"op": "add", "path": "/cores", "value": 4})

    assert created.status_code == changed.status_code == 400
    assert "Property 'cores' must be a string." in created.text
    assert "Property 'cores' must be a string." in changed.text


def test_the_pages_show_a_null_and_leave_it_as_it_is(client: Client) -> None:
    image_id = client.add(properties={"os_version": None, "empty-handed": None, "q": "1"})["id"]

    for path in ("/ui", f"/ui/images/{image_id}", f"/ui/images/{image_id}/edit"):
        assert client.get(path).status_code == 200
    assert "empty-handed" in client.get(f"/ui/images/{image_id}").text
    assert "empty-handed" not in client.get(f"/ui/images/{image_id}/edit").text


def test_an_older_release_reads_and_writes_an_image_with_null_properties(client: Client) -> None:
    """It knows the column `properties` alone, as a mapping of names to strings."""
    ids = [client.add(properties={"p": None, "q": "1"})["id"] for _ in range(2)]

    def as_an_older_release(connection: Connection) -> list[str]:
        found = connection.execute(text("SELECT properties FROM images ORDER BY number")).scalars().all()
        given = {"id": ids[0], "properties": '{"p":"2","q":"1"}'}
        connection.execute(text("UPDATE images SET version = 2, properties = :properties WHERE id = :id"), given)
        index = "INSERT INTO image_properties SELECT 'p', '2', created_at, number FROM images WHERE id = :id"
        connection.execute(text(index), {"id": ids[0]})
        deleted = "UPDATE images SET version = 2, properties = '{}', deleted_at = updated_at WHERE id = :id"
        connection.execute(text(deleted), {"id": ids[1]})
        connection.execute(
            text("DELETE FROM image_properties WHERE image_number <> (SELECT number FROM images WHERE id = :id)"),
            {"id": ids[0]},
        )
        return [str(each) for each in found]

    documents = client.operate(as_an_older_release)

    assert documents == ['{"q":"1"}'] * 2
    assert client.show(ids[0])["properties"] == {"p": "2", "q": "1"}
    changes = client.get("/images/detail?changes-since=2020-01-01T00:00:00Z").json()["images"]
    assert {image["id"]: image["properties"] for image in changes} == {ids[0]: {"p": "2", "q": "1"}, ids[1]: {}}
    assert check_of(client) == []


@pytest.mark.parametrize("name", ["min_disk", "min_ram"])
def test_a_null_minimum_is_0(client: Client, name: str) -> None:
    image = client.add(**{name: None})
    assert image[name] == 0

    client.put(f"/images/{image['id']}", {"image": {name: 5}})
    changed = client.put(f"/images/{image['id']}", {"image": {name: None}})

    assert (changed.status_code, changed.json()["image"][name]) == (200, 0)


def test_an_empty_owner_is_none(client: Client) -> None:
    image = client.add(owner="")
    assert image["owner"] is None

    client.put(f"/images/{image['id']}", {"image": {"owner": "acme"}})
    assert client.put(f"/images/{image['id']}", {"image": {"owner": ""}}).json()["image"]["owner"] is None

    assert client.register(owner="")["owner"] is None
    replaced = client.patch(image["id"], {"op": "replace", "path": "/owner", "value": ""})
    assert replaced.json()["owner"] is None


def check_of(client: Client) -> list[Fault]:
    """What `db check` finds."""
    found: list[Fault] = []
    client.operate(check, found.append)
    return found
