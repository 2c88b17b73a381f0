# SPDX-License-Identifier: Apache-2.0
"""Where an image's bytes lie, and what they are: by PATCH, and by the calls of version 2.17."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.model.contract import LOCATION_SCHEMES

SHA = {"os_hash_algo": "sha512", "os_hash_value": "A" * 128}
CLAIMS = {**SHA, "checksum": "b" * 32, "size": 7}


@pytest.fixture
def open_client(database: str) -> Iterator[Client]:
    """A registry that shows locations and trusts identity headers."""
    settings = make_settings(
        database,
        registry__contract="queens",
        registry__clients="api_servers",
        identity__mode="context",
        images__show_multiple_locations=True,
        images__show_image_direct_url=True,
    )
    client = Client(settings)
    yield client
    client.close()


def place(url: str = "https://images.test/i", **claims: Any) -> dict[str, Any]:
    return {"url": url, "metadata": {"store": "web"}, **({"validation_data": claims} if claims else {})}


def add(value: Any, at: str = "-") -> dict[str, Any]:
    return {"op": "add", "path": f"/locations/{at}", "value": value}


def test_an_image_whose_bytes_lie_elsewhere_becomes_active(open_client: Client) -> None:
    owner = open_client.caller("owner")
    image = owner.register()
    assert (image["locations"], "direct_url" in image) == ([], False)

    active = owner.patch(image["id"], add(place(**CLAIMS))).json()

    assert (active["status"], active["size"], active["checksum"]) == ("active", 7, "b" * 32)
    assert (active["os_hash_algo"], active["os_hash_value"]) == ("sha512", "a" * 128)
    assert active["locations"] == [{"url": "https://images.test/i", "metadata": {"store": "web"}}]
    assert active["direct_url"] == "https://images.test/i"
    assert owner.get(image["self"]).json() == active
    old = owner.show(image["id"])
    assert (old["status"], old["size"], old["checksum"]) == ("active", 7, "b" * 32)
    assert old["location"] == "https://images.test/i"


def test_a_writer_adds_replaces_and_removes_further_locations(open_client: Client) -> None:
    writer = open_client.caller("services", "service")
    image = writer.register(owner="owner")
    path = {"op": "replace", "path": "/locations"}

    writer.patch(image["id"], add(place("rbd://a/b/c/d", **SHA)), add(place("s3://bucket/key"), "0"))
    writer.patch(image["id"], add(place("file:///srv/i"), "1"), {"op": "remove", "path": "/locations/2"})
    shown = writer.get(image["self"]).json()

    assert [found["url"] for found in shown["locations"]] == ["s3://bucket/key", "file:///srv/i"]
    assert writer.patch(image["id"], {**path, "value": [place("http://x/y")]}).status_code == 200
    assert writer.patch(image["id"], {**path, "value": []}).status_code == 403
    assert writer.patch(image["id"], {"op": "remove", "path": "/locations/0"}).status_code == 403
    assert [found["url"] for found in writer.get(image["self"]).json()["locations"]] == ["http://x/y"]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (place("images.test/i"), 400),
        (place("https://user:secret@images.test/i"), 400),
        (place("https://images.test/a b"), 400),
        (place("http://x/" + "y" * 5_000), 400),
        ({"url": "https://x/y"}, 400),
        ({"metadata": {}}, 400),
        ("https://x/y", 400),
        (place(os_hash_algo="sha512"), 400),
        (place(os_hash_algo="md5", os_hash_value="0" * 32), 400),
        (place(**{**SHA, "os_hash_value": "0" * 64}), 400),
        (place(**{**SHA, "os_hash_value": "x" * 128}), 400),
        (place(**{**CLAIMS, "checksum": "0"}), 400),
        (place(**{**CLAIMS, "checksum": "z" * 32}), 400),
        (place(**{**CLAIMS, "size": -1}), 400),
        (place(**{**CLAIMS, "owner": "me"}), 400),
        (place("file:///etc/passwd"), 403),
        (place("rbd://a/b/c/d"), 403),
        (place("filesystem:///etc/passwd"), 403),
        (place("ftp://x/y"), 400),
    ],
)
def test_a_location_that_cannot_be_leaves_the_image_queued(open_client: Client, value: Any, status: int) -> None:
    owner = open_client.caller("owner")
    image = owner.register()

    answer = owner.patch(image["id"], add(value))
    called = owner.post(image["self"] + "/locations", value)

    assert answer.status_code == status, answer.text
    assert called.status_code == (202 if value == {"url": "https://x/y"} else status)
    if called.status_code != 202:
        assert owner.get(image["self"]).json() == image


def test_formats_come_before_bytes(open_client: Client) -> None:
    owner = open_client.caller("owner")
    image = owner.register(container_format=None)

    refused = owner.patch(image["id"], add(place()))
    both = [{"op": "replace", "path": "/container_format", "value": "bare"}, add(place())]

    assert refused.status_code == 400
    assert "container_format" in refused.json()["error"]["message"]
    assert owner.patch(image["id"], *both).json()["status"] == "active"


@pytest.mark.parametrize(("position", "status"), [("0", 200), ("1", 400), ("x", 400), ("-1", 400), ("9" * 99, 400)])
def test_a_location_s_position_is_one_that_is_there(open_client: Client, position: str, status: int) -> None:
    image = open_client.caller("owner").register()

    assert open_client.caller("owner").patch(image["id"], add(place(), position)).status_code == status


def test_what_is_known_of_the_bytes_stays(open_client: Client) -> None:
    writer = open_client.caller("services", "service")
    image = writer.register()
    writer.patch(image["id"], add(place(**CLAIMS)))
    before = writer.get(image["self"]).json()

    for claims in ({**CLAIMS, "size": 8}, {**SHA, "os_hash_value": "c" * 128}):
        assert writer.patch(image["id"], add(place("http://x/y", **claims))).status_code == 409
    assert writer.patch(image["id"], add(place())).status_code == 400  # The same url twice.
    assert writer.get(image["self"]).json() == before
    assert writer.patch(image["id"], add(place("http://x/y", **CLAIMS))).status_code == 200


def test_without_the_setting_nobody_sees_or_patches_locations(context: Client) -> None:
    owner, writer = context.caller("owner"), context.caller("services", "service")
    image = owner.register()

    assert writer.patch(image["id"], add(place())).status_code == 403
    assert owner.post(image["self"] + "/locations", place(**CLAIMS)).status_code == 202
    shown = owner.get(image["self"]).json()
    assert shown["status"] == "active"
    assert shown.keys().isdisjoint({"locations", "direct_url"})
    assert owner.get(image["self"] + "/locations").status_code == 403
    assert writer.get(image["self"] + "/locations").json() == [
        {"url": "https://images.test/i", "metadata": {"store": "web"}}
    ]


def test_version_2_17_gives_a_queued_image_its_first_location(context: Client) -> None:
    owner = context.caller("owner")
    image = owner.register()

    assert owner.post(image["self"] + "/locations", {"url": "https://x/y"}).status_code == 202
    assert owner.post(image["self"] + "/locations", {"url": "https://x/z"}).status_code == 409


def test_of_a_deactivated_image_nobody_is_told_where_the_bytes_lie(open_client: Client) -> None:
    owner, writer = open_client.caller("owner"), open_client.caller("services", "service")
    image = owner.register()
    owner.patch(image["id"], add(place()))
    owner.post(image["self"] + "/actions/deactivate")

    shown = owner.get(image["self"]).json()

    assert (shown["locations"], "direct_url" in shown) == ([], False)
    assert len(writer.get(image["self"] + "/locations").json()) == 1
    assert owner.patch(image["id"], add(place("http://x/y"))).status_code in (403, 409)


SCHEMES = sorted(LOCATION_SCHEMES)


@pytest.mark.parametrize("scheme", [*SCHEMES, "RBD"])
def test_a_writer_names_whatever_glance_s_stores_make_in_both_apis(sqlite_context: Client, scheme: str) -> None:
    writer = sqlite_context.caller("services", "service")
    url = f"{scheme}://host/pool/image"

    old, new = writer.add(location=url), writer.register()
    answer = writer.post(new["self"] + "/locations", {"url": url, "metadata": {}})

    assert old["location"] == url
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_user_names_web_addresses_alone(sqlite_context: Client, scheme: str) -> None:
    owner = sqlite_context.caller("owner")

    answer = owner.post(owner.register()["self"] + "/locations", {"url": f"{scheme}://host/i", "metadata": {}})

    assert answer.status_code == (202 if scheme in ("http", "https") else 403)


def test_one_setting_says_which_schemes_there_are(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, images__location_schemes=("https", "nfs")))
    urls = {"https://h/i": True, "nfs://h/i": True, "http://h/i": False, "file:///i": False}
    body = {"disk_format": "raw", "container_format": "bare", "name": "i"}
    old = {url: client.post("/images", {"image": {**body, "location": url}}) for url in urls}
    new = {url: client.post(client.register()["self"] + "/locations", {"url": url, "metadata": {}}) for url in urls}
    client.close()

    assert {url: answer.status_code == 200 for url, answer in old.items()} == urls
    assert {url: answer.status_code == 202 for url, answer in new.items()} == urls
    assert "https: or nfs:" in old["http://h/i"].text


def upload(client: Client, image: dict[str, Any], data: bytes = b"bytes") -> None:
    answer = client.request("PUT", image["file"], content=data, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 204, answer.text


def test_everyone_who_sees_an_image_sees_where_its_bytes_lie_if_the_settings_say_so(open_client: Client) -> None:
    owner, service = open_client.caller("owner"), open_client.caller("services", "service")
    image = owner.register()
    upload(owner, image)

    shown = owner.get(image["self"]).json()
    (listed,) = owner.get("/v2/images").json()["images"]

    (location,) = shown["locations"]
    assert location["metadata"] == {"store": "local"}
    assert Path(location["url"].removeprefix("file://")).read_bytes() == b"bytes"
    assert shown["direct_url"] == location["url"]
    assert listed == shown
    assert service.get(f"{image['self']}/locations").json() == [location]


def test_nobody_but_services_is_told_otherwise_where_bytes_lie(sqlite_context: Client) -> None:
    owner, service = sqlite_context.caller("owner"), sqlite_context.caller("services", "service")
    image = owner.register(visibility="community")
    upload(owner, image)

    assert owner.get(image["self"]).json().keys().isdisjoint({"locations", "direct_url"})
    assert owner.get(f"{image['self']}/locations").status_code == 403
    assert [one["metadata"] for one in service.get(f"{image['self']}/locations").json()] == [{"store": "local"}]


def test_locations_of_bytes_that_are_kept_come_first_and_stay(open_client: Client) -> None:
    writer = open_client.caller("services", "service")
    image = writer.register(visibility="community")
    upload(writer, image)
    (kept,) = writer.get(image["self"]).json()["locations"]

    more = writer.patch(image["id"], add(place())).json()
    at_first = writer.patch(image["id"], add(place("https://images.test/j"), at="0"))
    first_gone = writer.patch(image["id"], {"op": "remove", "path": "/locations/0"})
    others = writer.patch(image["id"], {"op": "replace", "path": "/locations", "value": [place("https://x.test/k")]})
    swapped = writer.patch(
        image["id"], {"op": "replace", "path": "/locations", "value": [place("https://x.test/k"), kept]}
    ).json()
    less = writer.patch(image["id"], {"op": "remove", "path": "/locations/1"}).json()

    assert more["locations"] == [kept, {"url": "https://images.test/i", "metadata": {"store": "web"}}]
    assert (at_first.status_code, first_gone.status_code, others.status_code) == (403, 403, 403)
    assert [location["url"] for location in swapped["locations"]] == [kept["url"], "https://x.test/k"]
    assert less["locations"] == [kept]
    assert writer.get(image["file"]).content == b"bytes"
