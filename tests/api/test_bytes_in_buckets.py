# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads through the API, with the bytes in a bucket of a real Swift, and what happens when it fails."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from click.testing import CliRunner
from tests.conftest import Client
from tests.faulty_s3 import FaultyS3, answered, cut_after, reset, with_headers
from tests.options import make_settings
from tests.swift import Swift

from glance_registry.catalogue import uploads
from glance_registry.cli import main
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.settings import Settings, StoreSection
from glance_registry.stores import s3_client, s3_upload
from glance_registry.stores.base import Store
from glance_registry.transfer import check as check_module

pytestmark = pytest.mark.external

Check = Callable[..., tuple[int, str]]

MIB = 1_048_576
BYTES = {"Content-Type": "application/octet-stream"}
DATA = os.urandom(MIB) * 10 + b"the end"
"""Three parts, which are as small as they may be."""
DOWN = "Store 'cold' does not answer."


@pytest.fixture(scope="module")
def module_proxy(swift: Swift) -> Iterator[FaultyS3]:
    proxy = FaultyS3(swift.url)
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(module_proxy: FaultyS3) -> Iterator[FaultyS3]:
    module_proxy.calls.clear()
    yield module_proxy
    module_proxy.heal()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "PAUSES", (0, 0))
    monkeypatch.setattr(s3_upload, "PAUSES", (0, 0))


@pytest.fixture
def section(swift: Swift, proxy: FaultyS3) -> StoreSection:
    return swift.section(f"{uuid4().hex}/", proxy.url, s3_store_large_object_chunk_size=5)


@pytest.fixture
def settings(sqlite_database: str, section: StoreSection, tmp_path: Path) -> Settings:
    return make_settings(
        sqlite_database,
        stores__enabled=("cold:s3", "local:file"),
        stores__directory=str(tmp_path / "images"),
        stores__reserve_free=0,
        store_sections={"cold": section},
    )


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(settings: Settings, clock: Clock) -> Iterator[Client]:
    client = Client(settings, now=clock)
    yield client
    client.close()


def upload(client: Client, image_id: str, data: Any = DATA, **headers: str) -> httpx.Response:
    return client.request("PUT", f"/v2/images/{image_id}/file", content=data, headers={**BYTES, **headers})


def active(client: Client, data: bytes = DATA) -> str:
    image_id: str = client.register()["id"]
    assert upload(client, image_id, data).status_code == 204
    return image_id


def status(client: Client, image_id: str) -> str:
    found: str = client.get(f"/v2/images/{image_id}").json()["status"]
    return found


async def in_chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def bucket_of(client: Client) -> Store:
    return (await client.application.open()).transfers.stores.find("cold")


def objects(client: Client) -> dict[str, bool]:
    """What the bucket has, by key, and whether it is complete."""

    async def list_() -> dict[str, bool]:
        store = await bucket_of(client)
        return {found.key: found.complete async for found in store.list()}

    return client.runner.run(list_())


def remove(client: Client, key: str) -> None:
    async def delete() -> None:
        await (await bucket_of(client)).delete(key)

    client.runner.run(delete())


@pytest.mark.parametrize("data", [DATA, b"few", b""], ids=["parts", "few", "empty"])
@pytest.mark.parametrize("framing", [in_chunks, bytes], ids=["chunked", "with length"])
def test_what_was_uploaded_is_downloaded(client: Client, data: bytes, framing: Callable[[bytes], Any]) -> None:
    image_id = client.register()["id"]
    assert upload(client, image_id, framing(data)).status_code == 204

    shown = client.get(f"/v2/images/{image_id}").json()
    assert (shown["status"], shown["size"], shown["stores"]) == ("active", len(data), "cold")
    assert shown["checksum"] == hashlib.md5(data).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert client.get(f"/v2/images/{image_id}/file").content == data


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-0", 0, 1),
        ("5-", 5, len(DATA)),
        ("-7", len(DATA) - 7, len(DATA)),
        (f"{5 * MIB - 3}-{8 * MIB}", 5 * MIB - 3, 8 * MIB + 1),
    ],
)
def test_a_range_is_downloaded(client: Client, asked: str, start: int, end: int) -> None:
    image_id = active(client)

    answer = client.get(f"/v2/images/{image_id}/file", headers={"Range": f"bytes={asked}"})

    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def test_of_a_deleted_image_nothing_stays(client: Client, swift: Swift) -> None:
    before = swift.stored_files()
    image_id = active(client)
    assert len(swift.stored_files()) > len(before)

    assert client.delete(f"/v2/images/{image_id}").status_code == 204
    client.sweep()

    assert objects(client) == {}
    assert swift.stored_files() == before


def test_the_same_bytes_are_stored_once(client: Client) -> None:
    first, second = active(client), active(client)
    client.sweep()

    assert len(objects(client)) == 1
    client.delete(f"/v2/images/{first}")
    client.sweep()
    assert client.get(f"/v2/images/{second}/file").content == DATA


def test_a_client_that_goes_away_leaves_no_part(client: Client, swift: Swift) -> None:
    before = swift.stored_files()
    image_id = client.register()["id"]
    two_parts_came = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), MIB):
            yield DATA[start : start + MIB]
        two_parts_came.set()
        await asyncio.Event().wait()

    async def conversation() -> None:
        uploading = asyncio.create_task(client.http.put(f"/v2/images/{image_id}/file", content=body(), headers=BYTES))
        await two_parts_came.wait()
        uploading.cancel()
        with suppress(asyncio.CancelledError):
            await uploading

    client.runner.run(conversation())
    client.sweep()

    assert status(client, image_id) == "queued"
    assert objects(client) == {}
    assert swift.stored_files() == before


def test_a_process_that_died_leaves_no_part_after_the_reaper(client: Client, clock: Clock, swift: Swift) -> None:
    before = swift.stored_files()
    image_id = client.register()["id"]

    async def die() -> None:
        """As far as the store and the database can see."""
        registry = await client.application.open()
        new = uploads.NewUpload(id=uuid4().hex, store="cold", announced=0, expires_at=clock() + timedelta(minutes=1))
        limits = registry.transfers.limits
        await registry.catalogue.write(uploads.begin, image_id, new, limits, clock(), ANYONE_IS_ADMIN)
        upload = await registry.transfers.stores.find("cold").create(new.id)
        await upload.write(DATA[: 6 * MIB])
        await upload.suspend()

    client.runner.run(die())
    assert list(objects(client).values()) == [False]
    clock.now += timedelta(minutes=2)
    client.sweep()

    assert status(client, image_id) == "queued"
    assert objects(client) == {}
    assert swift.stored_files() == before


def test_a_store_that_is_down_is_503_with_its_name_and_works_again_without_a_restart(
    client: Client, proxy: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    image_id, queued = active(client), client.register()["id"]
    proxy.stop()
    try:
        answers = [client.get(f"/v2/images/{image_id}/file"), upload(client, queued)]
        assert client.get(f"/v2/images/{image_id}").status_code == 200
        assert client.register()["status"] == "queued"
        assert client.delete(f"/v2/images/{client.register()['id']}").status_code == 204
    finally:
        proxy.start()

    assert [answer.status_code for answer in answers] == [503, 503]
    assert all(DOWN in answer.text for answer in answers)
    assert all("127.0.0.1" not in answer.text for answer in answers)
    failures = [record.fields for record in caplog.records if record.message == "requests fail"]  # type: ignore[attr-defined]
    assert {fields["store"] for fields in failures} == {"cold"}
    assert all("Could not connect to the endpoint URL" in fields["cause"] for fields in failures)
    assert client.get(f"/v2/images/{image_id}/file").content == DATA
    assert upload(client, queued).status_code == 204


def test_bytes_come_from_another_store_that_has_them(
    client: Client, proxy: FaultyS3, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = client.register()["id"]
    assert upload(client, image_id, **{"x-image-meta-store": "local"}).status_code == 204
    proxy.spoil("GET", "", answered(500))

    assert client.get(f"/v2/images/{image_id}/file?prefer=cold").content == DATA


def test_an_upload_that_the_store_spoils_is_refused_and_the_image_is_queued(client: Client, proxy: FaultyS3) -> None:
    image_id = client.register()["id"]
    proxy.spoil("PUT", "partNumber=2", with_headers(ETag='"0"'))

    answer = upload(client, image_id)

    assert (answer.status_code, status(client, image_id)) == (503, "queued")
    assert DOWN in answer.text
    proxy.heal()
    client.sweep()
    assert objects(client) == {}
    assert upload(client, image_id).status_code == 204


def test_a_store_without_room_is_413(client: Client, proxy: FaultyS3) -> None:
    image_id = client.register()["id"]
    proxy.spoil("PUT", "partNumber=2", answered(403, "QuotaExceeded"))

    answer = upload(client, image_id)

    assert (answer.status_code, status(client, image_id)) == (413, "queued")
    assert "Store 'cold' has no room left for these bytes." in answer.text


def test_an_object_that_was_lost_is_503_until_it_is_uploaded_again(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = active(client)
    (key,) = objects(client)
    remove(client, key)

    answer = client.get(f"/v2/images/{image_id}/file")

    assert (answer.status_code, DOWN in answer.text) == (503, True)
    assert any("NoSuchKey" in str(getattr(record, "fields", {}).get("cause")) for record in caplog.records)
    active(client)
    assert client.get(f"/v2/images/{image_id}/file").content == DATA


def test_a_download_whose_connection_to_the_store_breaks_is_whole(client: Client, proxy: FaultyS3) -> None:
    image_id = active(client)
    (key,) = objects(client)
    proxy.spoil("GET", key, reset, times=1)
    proxy.spoil("GET", key, cut_after(3 * MIB + 1), times=1)

    assert client.get(f"/v2/images/{image_id}/file").content == DATA


def test_a_removal_that_fails_is_tried_again(client: Client, proxy: FaultyS3, clock: Clock) -> None:
    image_id = active(client)
    client.delete(f"/v2/images/{image_id}")
    proxy.spoil("DELETE", "", answered(500))
    client.sweep()
    assert len(objects(client)) == 1
    proxy.heal()
    clock.now += timedelta(minutes=2)

    client.sweep()

    assert objects(client) == {}


def test_what_moves_is_counted_by_store(client: Client) -> None:
    image_id = active(client)
    client.get(f"/v2/images/{image_id}/file", headers={"Range": "bytes=0-99"})

    text = client.get("/metrics").text
    moved = re.findall(r'glance_registry_transfer_bytes_total\{kind="(.*)",store="cold"\} (.*)', text)
    assert {kind: float(size) for kind, size in moved} == {"upload": len(DATA), "download": 100}
    assert 'glance_registry_store_free_bytes{store="local"}' in text
    assert 'glance_registry_store_free_bytes{store="cold"}' not in text


def test_users_are_told_of_the_stores(settings: Settings, section: StoreSection) -> None:
    described = replace(section, store_description="The cheap one", weight=-1)
    client = Client(replace(settings, store_sections={"cold": described}))

    assert client.get("/v2/info/stores").json() == {
        "stores": [{"id": "local"}, {"id": "cold", "description": "The cheap one", "default": "true"}]
    }
    client.close()


@pytest.fixture
def check(client: Client, section: StoreSection, sqlite_database: str, tmp_path: Path) -> Check:
    """`store check`, as an operator runs it: exit code and output."""
    options = "".join(
        f"{name} = {getattr(section, name)}\n"
        for name in (
            *("s3_store_host", "s3_store_access_key", "s3_store_secret_key", "s3_store_bucket"),
            "s3_store_object_prefix",
        )
    )
    file = tmp_path / "registry.conf"
    file.write_text(f"[stores]\nenabled = cold:s3\n[database]\nconnection = {sqlite_database}\n[cold]\n{options}")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["store", "check", *arguments, "--config-file", str(file)])
        return result.exit_code, result.output

    return run


def put(client: Client, key: str, data: bytes) -> None:
    async def write() -> None:
        upload = await (await bucket_of(client)).create(key)
        await upload.write(data)
        await upload.commit()

    client.runner.run(write())


def test_a_sound_bucket_has_no_faults(client: Client, check: Check) -> None:
    active(client)

    code, output = check("--deep")

    assert (code, f"Objects: 1, {len(DATA)} bytes. Faults: 0." in output) == (0, True)


@pytest.mark.parametrize(
    ("data", "arguments", "sentence"),
    [
        (None, (), "The object is missing"),
        (DATA[:-1], (), f"The object has {len(DATA) - 1} bytes, and the database says {len(DATA)}"),
        (bytes(len(DATA)), ("--deep",), "The bytes are not those that were uploaded"),
    ],
    ids=["missing", "short", "other bytes"],
)
def test_damage_in_a_bucket_is_found(
    client: Client, check: Check, data: bytes | None, arguments: tuple[str, ...], sentence: str
) -> None:
    image_id = active(client)
    (key,) = objects(client)
    remove(client, key)
    if data is not None:
        put(client, key, data)

    code, output = check(*arguments)

    assert code == 1
    assert sentence in output
    assert image_id in output


def test_what_is_surplus_in_a_bucket_is_removed(client: Client, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object, an upload that was begun, and one that was suspended."""
    monkeypatch.setattr(check_module, "GRACE", timedelta(hours=-1))
    active(client)
    (known,) = objects(client)
    put(client, uuid4().hex, b"surplus")

    async def begin() -> None:
        store = await bucket_of(client)
        await store.create(uuid4().hex)
        suspended = await store.create(uuid4().hex)
        await suspended.write(DATA[: 6 * MIB])
        await suspended.suspend()

    client.runner.run(begin())
    code, output = check()
    assert (code, output.count("No row refers to the object")) == (1, 3)
    assert f"which has {6 * MIB} bytes" in output

    code, output = check("--repair")

    assert (code, "Removed: 3. Faults: 0." in output) == (0, True)
    assert objects(client) == {known: True}
    assert check()[0] == 0


def test_a_bucket_that_cannot_be_listed_is_a_fault(
    client: Client, check: Check, proxy: FaultyS3, section: StoreSection
) -> None:
    proxy.spoil("GET", "list-type", answered(500))

    code, output = check()

    assert code == 1
    assert "store cold: The store cannot be listed: An error occurred (InternalError)" in output
    assert section.s3_store_secret_key not in output


PARTIAL = "application/partial-upload"


def append(client: Client, location: str, offset: int, content: Any, *, last: bool = False) -> httpx.Response:
    headers = {"content-type": PARTIAL, "upload-offset": str(offset), "upload-complete": f"?{last:d}"}
    return client.request("PATCH", location, content=content, headers=headers)


def test_an_upload_goes_on_after_breaks_and_a_restart(settings: Settings, clock: Clock) -> None:
    """The pieces begin and end in the middle of parts."""
    first = Client(settings, now=clock)
    image_id = first.register()["id"]
    location = first.request("POST", f"/v2/images/{image_id}/uploads").headers["location"]

    async def breaking() -> AsyncIterator[bytes]:
        yield DATA[3 * MIB : 9 * MIB]
        raise httpx.ReadError("The client has gone.")

    assert append(first, location, 0, DATA[: 3 * MIB]).headers["upload-offset"] == str(3 * MIB)
    with suppress(httpx.ReadError):
        append(first, location, 3 * MIB, breaking())
    first.close()

    second = Client(settings, now=clock)
    clock.now += timedelta(minutes=1)  # If the first one still held it.
    offset = int(second.request("HEAD", location).headers["upload-offset"])
    assert 3 * MIB <= offset <= 9 * MIB
    done = append(second, location, offset, DATA[offset:], last=True)

    assert (done.status_code, done.headers["upload-complete"]) == (204, "?1")
    shown = second.get(f"/v2/images/{image_id}").json()
    assert (shown["status"], shown["os_hash_value"]) == ("active", hashlib.sha512(DATA).hexdigest())
    assert second.get(f"/v2/images/{image_id}/file").content == DATA
    second.close()


def test_an_upload_waits_for_a_store_that_is_down(client: Client, proxy: FaultyS3) -> None:
    image_id = client.register()["id"]
    location = client.request("POST", f"/v2/images/{image_id}/uploads").headers["location"]
    append(client, location, 0, DATA[: 6 * MIB])
    proxy.stop()

    assert append(client, location, 6 * MIB, DATA[6 * MIB :], last=True).status_code == 503
    assert status(client, image_id) == "saving"
    proxy.start()

    offset = int(client.request("HEAD", location).headers["upload-offset"])
    assert append(client, location, offset, DATA[offset:], last=True).status_code == 204
    assert client.get(f"/v2/images/{image_id}/file").content == DATA
