# SPDX-License-Identifier: Apache-2.0
"""One image, two APIs: whatever one writes, the other shows consistently and does not lose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import Client
from tests.options import make_settings
from tests.speeds import scaled

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=10)
FREE = NAMES.map(lambda name: f"x-{name}")
COMMON = ("id", "name", "status", "owner", "disk_format", "container_format", "size", "virtual_size", "checksum")
SIZES = st.none() | st.integers(0, 2**63 - 1)
WHOLE = st.integers(0, 2**31 - 1)
FIELDS = {
    "name": st.none() | TEXT,
    "disk_format": st.sampled_from([None, "raw", "qcow2", "iso"]),
    "container_format": st.sampled_from([None, "bare", "ovf", "docker"]),
    "protected": st.booleans(),
    "min_disk": WHOLE,
    "min_ram": WHOLE,
}
OLD = st.fixed_dictionaries(
    {},
    optional={
        **FIELDS,
        "status": st.sampled_from(["active", "queued", "saving", "deactivated"]),
        "size": SIZES,
        "virtual_size": SIZES,
        "checksum": st.none() | st.text("0123456789abcdef", min_size=32, max_size=32),
        "is_public": st.booleans(),
        "properties": st.dictionaries(FREE, TEXT, max_size=3),
    },
)
VISIBILITY = st.sampled_from(["public", "community", "shared", "private"])
NEW = st.fixed_dictionaries(
    {},
    optional={
        **FIELDS,
        "visibility": VISIBILITY,
        "os_hidden": st.booleans(),
        "tags": st.lists(NAMES.filter(str.strip), max_size=3),
    },
).flatmap(lambda fields: st.dictionaries(FREE, TEXT, max_size=3).map(lambda properties: {**properties, **fields}))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("dialects") / "registry.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    client = Client(make_settings(f"sqlite:///{path}", registry__contract="queens"))
    yield client
    client.close()


def agree(client: Client, image_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The image in both APIs, which must not contradict each other."""
    old, new = client.show(image_id), client.get(f"/v2/images/{image_id}").json()
    assert {name: old[name] for name in COMMON} == {name: new[name] for name in COMMON}
    assert {name: old[name] for name in ("min_disk", "min_ram", "protected")} == {
        name: new[name] for name in ("min_disk", "min_ram", "protected")
    }
    assert old["is_public"] == (new["visibility"] == "public")
    assert {name: value for name, value in new.items() if name.startswith("x-")} == old["properties"]
    for name in ("created_at", "updated_at"):
        assert old[name][:19] + "Z" == new[name]
    return old, new


@settings(max_examples=scaled(40))
@given(registered=OLD, changed=NEW)
def test_what_the_registry_api_registers_the_images_api_shows_and_changes(
    both: Client, registered: dict[str, Any], changed: dict[str, Any]
) -> None:
    image_id = both.post("/images", {"image": {"status": "queued", **registered}}).json()["image"]["id"]
    old, _ = agree(both, image_id)
    assert {name: old[name] for name in registered} == registered

    if old["status"] not in ("queued", "importing"):
        changed = {name: value for name, value in changed.items() if not name.endswith("_format")}
    patch = [
        {"op": "add", "path": "/" + name.replace("~", "~0").replace("/", "~1"), "value": value}
        for name, value in changed.items()
        if name.strip() == name
    ]
    answer = both.patch(image_id, *patch)

    assert answer.status_code == 200, answer.text
    assert agree(both, image_id)[1] == answer.json()


@settings(max_examples=scaled(40))
@given(registered=NEW, changed=OLD)
def test_what_the_images_api_registers_the_registry_api_shows_and_does_not_lose(
    both: Client, registered: dict[str, Any], changed: dict[str, Any]
) -> None:
    new = both.post("/v2/images", registered).json()
    agree(both, new["id"])
    assert new["tags"] == sorted({tag.strip() for tag in registered.get("tags", [])})

    assert both.put(f"/images/{new['id']}", {"image": changed}).status_code == 200
    _, after = agree(both, new["id"])

    for name in ("tags", "os_hidden", "os_hash_algo", "os_hash_value"):
        assert after[name] == new[name]
    was_public = new["visibility"] == "public"
    if changed.get("is_public", was_public) == was_public:
        assert after["visibility"] == new["visibility"]
    else:
        assert after["visibility"] == ("shared" if was_public else "public")


def test_a_strict_contract_does_not_mind_what_was_so_before(client: Client) -> None:
    image = client.register(disk_format="iso", container_format=None)
    here = f"/images/{image['id']}"

    assert client.put(here, {"image": {"name": "new", "properties": {"a": "1"}}}).status_code == 200
    assert client.put(here, {"image": client.show(image["id"])}).status_code == 200
    assert client.put(here, {"image": {"disk_format": "ploop"}}).status_code == 400
    assert client.put(here, {"image": {"disk_format": None}}).status_code == 400
    shown = client.get(image["self"]).json()
    assert (shown["name"], shown["disk_format"], shown["container_format"]) == ("new", "iso", None)


def test_what_one_api_deletes_is_gone_from_both(client: Client) -> None:
    old, new = client.add(), client.register(tags=["t"])

    assert client.delete(f"/v2/images/{old['id']}").status_code == 204
    assert client.delete(f"/images/{new['id']}").status_code == 200
    for image_id in (old["id"], new["id"]):
        assert client.get(f"/images/{image_id}").status_code == client.get(f"/v2/images/{image_id}").status_code == 404
        assert client.post("/images", {"image": {**old, "id": image_id}}).status_code == 409
        assert client.post("/v2/images", {"id": image_id}).status_code == 409
    assert client.get("/v2/images?tag=t").json()["images"] == []


def test_a_property_named_like_a_field_does_not_stand_in_for_it(client: Client) -> None:
    properties = {"tags": "x", "self": "y", "visibility": "private", "locations": "z", "os_hidden": "true"}
    image = client.add(properties=properties)

    shown = client.get(f"/v2/images/{image['id']}").json()

    assert (shown["tags"], shown["visibility"], shown["os_hidden"]) == ([], "public", False)
    assert shown["self"] == f"/v2/images/{image['id']}"
    assert "locations" not in shown
    assert client.show(image["id"])["properties"] == properties


@pytest.mark.parametrize("contract", ["cactus", "queens"])
def test_the_published_pattern_is_the_rule_for_ids_under_every_contract(sqlite_database: str, contract: str) -> None:
    client = Client(make_settings(sqlite_database, registry__contract=contract))
    pattern = client.get("/v2/schemas/image").json()["properties"]["id"]["pattern"]
    refused = [".", "..", "detail", "", "x" * 37, "a/b", "a b", "ü", "1\n", "%41"]
    ids = ["7", "not-a-uuid", "...", "Detail", "details", "x" * 36, str(uuid4()), uuid4().hex, *refused]

    answers = {image_id: client.post("/v2/images", {"id": image_id}) for image_id in ids}
    shown = {image_id: client.get(f"/v2/images/{image_id}") for image_id in ids if image_id not in refused}
    client.close()

    assert {image_id for image_id, answer in answers.items() if answer.status_code == 400} == set(refused)
    assert {image_id for image_id, answer in answers.items() if answer.status_code == 201} == shown.keys()
    assert {image_id for image_id in ids if re.search(pattern, image_id)} - {"1\n"} == shown.keys()
    assert {answer.status_code for answer in shown.values()} == {200}


def test_an_id_of_one_contract_is_served_under_the_other(sqlite_database: str) -> None:
    old, new = (Client(make_settings(sqlite_database, registry__contract=name)) for name in ("cactus", "queens"))
    old.post("/images", {"image": {"id": 7, "name": "seven", "disk_format": "raw", "container_format": "bare"}})

    answers = [new.get(path) for path in ("/v2/images/7", "/images/7")]
    refused = new.post("/images", {"image": {"id": "8", "name": "eight", "disk_format": "raw"}})
    old.close()
    new.close()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert (refused.status_code, "Invalid image id format" in refused.text) == (400, True)
