# SPDX-License-Identifier: Apache-2.0
"""The bytes of images over HTTP: upload, download, ranges, refusals.

Statuses and headers are those of Glance 33 where docs/compat.md does not say otherwise.
"""

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import Client
from tests.options import make_settings

BYTES = "application/octet-stream"
DATA = b"".join(b"%d " % number for number in range(1_000))[:1_000]
MD5 = hashlib.md5(DATA).hexdigest()


def create(client: Any, **fields: Any) -> str:
    body = {"name": "image", "disk_format": "raw", "container_format": "bare", **fields}
    answer = client.request("POST", "/v2/images", json=body)
    assert answer.status_code == 201, answer.text
    image_id: str = answer.json()["id"]
    return image_id


def upload(client: Any, image_id: str, content: Any = DATA, **headers: str) -> httpx.Response:
    given = {"content-type": BYTES, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer: httpx.Response = client.request("PUT", f"/v2/images/{image_id}/file", content=content, headers=given)
    return answer


def download(client: Any, image_id: str, query: str = "", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: httpx.Response = client.get(f"/v2/images/{image_id}/file{query}", headers=given)
    return answer


def show(client: Any, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v2/images/{image_id}").json()
    return found


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


@pytest.fixture
def active(client: Client) -> str:
    image_id = create(client)
    assert upload(client, image_id).status_code == 204
    return image_id


@pytest.fixture
def keystone_like(sqlite_database: str) -> Iterator[Client]:
    """Callers are known by headers."""
    client = Client(make_settings(sqlite_database, identity__mode="context"))
    yield client
    client.close()


def test_an_upload_makes_the_image_active(client: Client) -> None:
    image_id = create(client)

    answer = upload(client, image_id)

    assert (answer.status_code, answer.content) == (204, b"")
    image = show(client, image_id)
    assert (image["status"], image["size"], image["virtual_size"], image["checksum"]) == ("active", 1_000, 1_000, MD5)
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(DATA).hexdigest())
    assert image["stores"] == "local"
    assert client.show(image_id)["checksum"] == MD5  # The Registry API sees the same.


def test_a_download_has_the_bytes_and_what_clients_look_for(client: Client, active: str) -> None:
    answer = download(client, active)

    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == BYTES
    assert answer.headers["content-length"] == "1000"
    assert answer.headers["content-md5"] == MD5
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{hashlib.sha512(DATA).hexdigest()}"'


def test_head_answers_like_get_without_the_body(client: Client, active: str) -> None:
    answer = client.request("HEAD", f"/v2/images/{active}/file")

    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["content-length"], answer.headers["content-md5"]) == ("1000", MD5)


@pytest.mark.parametrize(
    ("headers", "status", "expected", "content_range"),
    [
        ({"range": "bytes=0-9"}, 206, DATA[:10], "bytes 0-9/1000"),
        ({"range": "bytes=990-"}, 206, DATA[990:], "bytes 990-999/1000"),
        ({"range": "bytes=-10"}, 206, DATA[990:], "bytes 990-999/1000"),
        ({"range": "bytes=-2000"}, 206, DATA, "bytes 0-999/1000"),
        ({"range": "bytes=0-999"}, 206, DATA, "bytes 0-999/1000"),
        ({"range": "BYTES = 0 - 9"}, 206, DATA[:10], "bytes 0-9/1000"),
        ({"range": "bytes=5-5000"}, 206, DATA[5:], "bytes 5-999/1000"),
        ({"range": "bytes=1000-"}, 416, None, "bytes */1000"),
        ({"range": "bytes=9-5"}, 416, None, "bytes */1000"),
        ({"range": "bytes=-0"}, 416, None, "bytes */1000"),
        ({"range": "bytes=-"}, 416, None, "bytes */1000"),
        ({"range": "rubbish"}, 416, None, "bytes */1000"),
        ({"range": "bytes=0-1,3-4"}, 400, None, None),
        ({"content_range": "bytes 20-29/1000"}, 206, DATA[20:30], "bytes 20-29/1000"),
        ({"content_range": "rubbish"}, 416, None, "bytes */1000"),
        ({"range": "bytes=0-9", "content_range": "bytes 20-29/1000"}, 206, DATA[:10], "bytes 0-9/1000"),
        ({"range": "bytes=0-9", "if_range": '"other"'}, 200, DATA, None),
        ({}, 200, DATA, None),
    ],
)
def test_ranges(
    client: Client, active: str, headers: dict[str, str], status: int, expected: bytes | None, content_range: str | None
) -> None:
    answer = download(client, active, **headers)

    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    if expected is not None:
        assert answer.content == expected
        assert answer.headers["content-length"] == str(len(expected))
        assert answer.headers["content-md5"] == MD5


def test_a_client_that_has_the_bytes_is_not_sent_them_again(client: Client, active: str) -> None:
    etag = download(client, active).headers["etag"]

    known = download(client, active, if_none_match=etag)
    half = download(client, active, range="bytes=500-", if_range=etag)

    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    assert (half.status_code, half.content) == (206, DATA[500:])


def test_an_empty_upload_makes_an_image_of_no_bytes(client: Client) -> None:
    """Compat: Nova makes the snapshot of a server that boots from a volume so."""
    image_id = create(client)

    assert upload(client, image_id, b"").status_code == 204

    image = show(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("active", 0, hashlib.md5(b"").hexdigest())
    empty = download(client, image_id)
    assert (empty.status_code, empty.content, empty.headers["content-length"]) == (200, b"", "0")
    assert download(client, image_id, range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/json"}, 415),
        ({"content_type": ""}, 415),
        ({"x_openstack_image_size": "abc"}, 400),
        ({"x_openstack_image_size": "-1"}, 400),
        ({"x_openstack_image_size": "999"}, 400),
        ({"x_openstack_image_size": "1001"}, 400),
        ({"x_image_meta_store": "none"}, 400),
        ({"if_match": '"other"'}, 412),
    ],
)
def test_a_refused_upload_leaves_the_image_queued_and_may_be_sent_again(
    client: Client, headers: dict[str, str], status: int
) -> None:
    image_id = create(client)

    answer = upload(client, image_id, **headers)

    assert answer.status_code == status, answer.text
    image = show(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
    assert "stores" not in image
    assert upload(client, image_id).status_code == 204


def test_the_formats_must_be_known_before_the_bytes_come(client: Client) -> None:
    image_id = create(client, disk_format=None)

    answer = upload(client, image_id)

    assert answer.status_code == 400
    assert "disk_format must be set" in answer.text


def test_bytes_of_another_format_are_refused(client: Client) -> None:
    image_id = create(client, disk_format="qcow2")

    answer = upload(client, image_id)

    assert answer.status_code == 415
    assert "disk_format is qcow2, but its bytes are raw" in answer.text


def test_a_second_upload_is_a_conflict_and_changes_nothing(client: Client, active: str) -> None:
    assert upload(client, active, b"other").status_code == 409
    assert download(client, active).content == DATA


def test_a_queued_image_has_no_bytes_yet(client: Client) -> None:
    answer = download(client, create(client))

    assert (answer.status_code, answer.content) == (204, b"")


def test_an_image_is_downloaded_from_the_store_that_the_client_prefers(client: Client, active: str) -> None:
    assert download(client, active, "?prefer=local").content == DATA
    assert download(client, active, "?prefer=none").status_code == 400


def test_a_lost_object_is_a_503_with_the_store_s_name(client: Client, active: str) -> None:
    for path in client.stores.rglob("objects/*/*"):
        path.unlink()

    answer = download(client, active)

    assert answer.status_code == 503
    assert "Store 'local'" in answer.text


def test_deleting_an_image_removes_its_bytes(client: Client, active: str) -> None:
    assert client.request("DELETE", f"/v2/images/{active}").status_code == 204

    assert client.sweep() == 1
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []
    assert download(client, active).status_code == 404


def test_an_image_that_the_registry_api_deletes_loses_its_bytes_too(client: Client, active: str) -> None:
    assert client.request("DELETE", f"/images/{active}").status_code == 200

    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []


def test_the_registry_api_cannot_say_that_our_bytes_are_others(client: Client, active: str) -> None:
    for field, value in (("size", 5), ("checksum", "c" * 32)):
        answer = client.request("PUT", f"/images/{active}", json={"image": {field: value}})
        assert answer.status_code == 409, answer.text

    assert show(client, active)["checksum"] == MD5


def test_a_deactivated_image_s_bytes_are_for_admins(keystone_like: Client) -> None:
    owner = keystone_like.caller("mine", "member")
    admin = keystone_like.caller("admins", "admin")
    image_id = create(owner)
    upload(owner, image_id)
    keystone_like.caller("admins", "admin").request("POST", f"/v2/images/{image_id}/actions/deactivate")

    assert download(owner, image_id).status_code == 403
    assert download(admin, image_id).content == DATA
    assert upload(owner, image_id).status_code == 409


def test_who_may_upload_and_download(keystone_like: Client) -> None:
    owner, other = (keystone_like.caller(project, "member") for project in ("mine", "other"))
    private = create(owner, visibility="private")
    community = create(owner, visibility="community")

    assert upload(other, private).status_code == 404
    assert upload(other, community).status_code == 403
    for image_id in (private, community):
        assert upload(owner, image_id).status_code == 204
    assert download(other, private).status_code == 404
    assert download(other, community).content == DATA


def test_the_quota_of_a_project_is_413(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context", limits__bytes_per_owner=1_500))
    owner = client.caller("mine", "member")
    first, second = create(owner), create(owner)

    assert upload(owner, first).status_code == 204
    assert upload(owner, second).status_code == 413
    assert show(owner, second)["status"] == "queued"
    assert owner.request("DELETE", f"/v2/images/{first}").status_code == 204
    assert upload(owner, second).status_code == 204
    client.close()


def test_an_image_has_at_most_the_cap(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, limits__image_size_cap=999))
    image_id = create(client)

    assert upload(client, image_id).status_code == 413
    assert upload(client, image_id, parts(DATA[:500], DATA[500:])).status_code == 413
    assert show(client, image_id)["status"] == "queued"
    client.close()


def test_another_digest_may_be_chosen(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, images__hash="sha256"))
    image_id = create(client)
    upload(client, image_id)

    image = show(client, image_id)
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha256", hashlib.sha256(DATA).hexdigest())
    client.close()


def test_a_client_that_sends_nothing_more_is_cut_off(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, limits__request_timeout=1))
    image_id = create(client)

    async def stalled() -> AsyncIterator[bytes]:
        yield DATA
        await asyncio.sleep(3_600)

    answer = upload(client, image_id, stalled())

    assert answer.status_code == 408
    assert show(client, image_id)["status"] == "queued"
    client.close()


def test_the_stores_are_listed_and_part_of_the_schema(client: Client) -> None:
    assert client.get("/v2/info/stores").json() == {"stores": [{"id": "local", "default": "true"}]}
    schema = client.get("/v2/schemas/image").json()["properties"]["stores"]
    assert (schema["type"], schema["readOnly"]) == ("string", True)


def test_a_named_store_gets_the_bytes(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, stores__enabled=("fast:file", "cold:file")))
    image_id = create(client)

    assert upload(client, image_id, x_image_meta_store="cold").status_code == 204

    assert show(client, image_id)["stores"] == "cold"
    assert len([path for path in (client.stores / "cold").rglob("*") if path.is_file()]) == 1
    assert download(client, image_id, "?prefer=fast").content == DATA
    client.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("file") / "registry.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    client = Client(make_settings(f"sqlite:///{path}", limits__images_per_owner=0))
    yield client
    client.close()


@settings(max_examples=25)
@given(data=st.data(), size=st.integers(0, 3_000_000), first=st.integers(0), last=st.integers(0))
def test_any_bytes_in_any_framing_come_back(
    shared: Client, data: st.DataObject, size: int, first: int, last: int
) -> None:
    content = os.urandom(size)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=6)))
    points = [0, *cuts, size]
    image_id = create(shared)

    framed = parts(*(content[start:end] for start, end in itertools.pairwise(points)))
    assert upload(shared, image_id, framed).status_code == 204

    assert download(shared, image_id).content == content
    if size:
        start, end = sorted((first % size, last % size))
        assert download(shared, image_id, range=f"bytes={start}-{end}").content == content[start : end + 1]
