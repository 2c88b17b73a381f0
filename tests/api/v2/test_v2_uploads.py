# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on after a break, over HTTP: every status and header, on both databases."""

import asyncio
import hashlib
import itertools
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.test_health import scrape
from tests.api.test_patience import Connection
from tests.api.v2.test_v2_file import create, download, keystone_like, show, upload
from tests.catalogue.examples import NOON
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api import patience, request
from glance_registry.api.asgi import Application
from glance_registry.catalogue import resumable as rows
from glance_registry.transfer import resumable
from glance_registry.transfer.upload import LEASE

__all__ = ["keystone_like"]

PARTIAL = "application/partial-upload"
DATA = b"".join(b"%d " % number for number in range(1_000))
ABSENT = "0" * 32


class Clock:
    """What time it is for a program."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> Any:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database: str, clock: Clock) -> Iterator[Client]:
    client = Client(make_settings(database), now=clock)
    yield client
    client.close()


def begin(client: Any, image_id: str, **headers: str) -> str:
    answer = client.request("POST", f"/v2/images/{image_id}/uploads", headers=_headers(headers))
    assert answer.status_code == 201, answer.text
    assert answer.headers["upload-offset"] == "0"
    location: str = answer.headers["location"]
    assert re.fullmatch(rf"/v2/images/{image_id}/uploads/[0-9a-f]{{32}}", location)
    return location


def append(client: Any, location: str, offset: int, content: Any, last: bool = False, **headers: str) -> httpx.Response:
    given = {"content-type": PARTIAL, "upload-offset": str(offset), "upload-complete": f"?{last:d}"}
    answer: httpx.Response = client.request("PATCH", location, content=content, headers={**given, **_headers(headers)})
    return answer


def head(client: Any, location: str) -> httpx.Response:
    answer: httpx.Response = client.request("HEAD", location)
    return answer


def offset_of(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("upload-offset"), answer.headers.get("upload-complete")


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def test_an_image_gets_its_bytes_in_pieces(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id, upload_length=str(len(DATA)))
    assert show(client, image_id)["status"] == "saving"

    first = append(client, location, 0, DATA[:1_000])
    assert (first.status_code, offset_of(first)) == (204, ("1000", "?0"))
    asked = head(client, location)
    assert (asked.status_code, offset_of(asked)) == (204, ("1000", "?0"))
    assert asked.headers["upload-length"] == str(len(DATA))
    assert asked.headers["cache-control"] == "no-store"
    last = append(client, location, 1_000, DATA[1_000:], last=True)

    assert (last.status_code, offset_of(last)) == (204, (str(len(DATA)), "?1"))
    image = show(client, image_id)
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(DATA), len(DATA))
    assert image["checksum"] == hashlib.md5(DATA).hexdigest()
    assert image["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert download(client, image_id).content == DATA


def test_all_bytes_may_come_in_one_piece(client: Client) -> None:
    image_id = create(client)

    assert append(client, begin(client, image_id), 0, DATA, last=True).status_code == 204

    assert show(client, image_id)["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    assert download(client, image_id).content == DATA


@pytest.mark.parametrize("length", [{}, {"upload_length": "0"}])
def test_an_image_of_no_bytes(client: Client, length: dict[str, str]) -> None:
    image_id = create(client)
    location = begin(client, image_id, **length)

    assert offset_of(append(client, location, 0, b"")) == ("0", "?0")
    assert offset_of(append(client, location, 0, b"", last=True)) == ("0", "?1")

    image = show(client, image_id)
    assert (image["status"], image["size"], image["checksum"]) == ("active", 0, hashlib.md5(b"").hexdigest())


def test_a_client_whose_last_answer_was_lost_learns_that_it_succeeded(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)
    append(client, location, 0, DATA, last=True)

    asked = head(client, location)
    assert (asked.status_code, offset_of(asked)) == (204, (str(len(DATA)), "?1"))
    again = append(client, location, 0, DATA, last=True)
    assert (again.status_code, again.json()["error"]["message"]) == (
        409,
        "The upload is complete: the image has its bytes.",
    )
    assert client.delete(location).status_code == 409
    assert download(client, image_id).content == DATA


def test_what_the_server_allows_is_said(timed: Client, clock: Clock) -> None:
    answer = timed.request("POST", f"/v2/images/{create(timed)}/uploads")
    assert answer.headers["upload-limit"] == "max-size=1099511627776, max-age=86400"

    clock.now += timedelta(hours=1)

    assert head(timed, answer.headers["location"]).headers["upload-limit"] == "max-size=1099511627776, max-age=82800"
    piece = append(timed, answer.headers["location"], 0, b"piece")
    assert piece.headers["upload-limit"] == "max-size=1099511627776, max-age=86400"


@pytest.mark.parametrize("offset", [0, 3, 5, 10**14])
def test_a_wrong_offset_is_answered_with_the_right_one(client: Client, offset: int) -> None:
    location = begin(client, create(client))
    append(client, location, 0, b"four")

    answer = append(client, location, offset, b"more")

    assert (answer.status_code, offset_of(answer)) == (409, ("4", None))
    assert answer.json()["error"]["message"] == "The upload has 4 bytes; go on with the byte at that offset."
    assert offset_of(head(client, location)) == ("4", "?0")


@pytest.mark.parametrize(
    ("headers", "status", "sentence"),
    [
        ({"content_type": "application/octet-stream"}, 415, "The Content-Type of a piece"),
        ({"content_type": ""}, 415, "The Content-Type of a piece"),
        ({"upload_offset": "x"}, 400, "Upload-Offset must be a whole number"),
        ({"upload_offset": "-1"}, 400, "Upload-Offset must be a whole number"),
        ({"upload_offset": "1" * 16}, 400, "Upload-Offset must be a whole number"),
        ({"upload_complete": "1"}, 400, "Upload-Complete must be"),
        ({"upload_complete": ""}, 400, "Upload-Complete must be"),
        ({"upload_length": "many"}, 400, "Upload-Length must be a whole number"),
        ({"upload_length": "11"}, 400, "Upload-Length is 11, and this upload has a length of 10"),
    ],
)
def test_a_piece_that_cannot_be_right_is_refused(
    client: Client, headers: dict[str, str], status: int, sentence: str
) -> None:
    location = begin(client, create(client), upload_length="10")

    answer = append(client, location, 0, b"bytes", **headers)

    assert (answer.status_code, sentence in answer.text) == (status, True)
    assert offset_of(head(client, location)) == ("0", "?0")
    assert append(client, location, 0, b"ten bytes!", last=True).status_code == 204


def test_a_piece_must_say_where_it_begins(client: Client) -> None:
    location = begin(client, create(client))

    answer = client.request(
        "PATCH", location, content=b"bytes", headers={"content-type": PARTIAL, "upload-complete": "?0"}
    )

    assert (answer.status_code, "Upload-Offset must say" in answer.text) == (400, True)


def test_another_number_of_bytes_than_announced_is_refused_and_what_fits_is_kept(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id, upload_length="10")

    fewer = append(client, location, 0, b"nine byte", last=True)
    assert (fewer.status_code, "10 bytes were announced, and 9 came" in fewer.text) == (400, True)
    more = append(client, location, 9, b"s!!", last=True)
    assert (more.status_code, "10 bytes were announced, and more came" in more.text) == (400, True)
    assert append(client, location, 9, b"s", last=True).status_code == 204

    assert download(client, image_id).content == b"nine bytes"


@pytest.mark.parametrize(
    ("fields", "headers", "body", "status"),
    [
        ({}, {"x_image_meta_store": "none"}, b"", 400),
        ({}, {"upload_length": "many"}, b"", 400),
        ({}, {"upload_length": str(2**40 + 1)}, b"", 413),
        ({}, {"if_match": '"other"'}, b"", 412),
        ({}, {}, b"bytes", 400),
        ({"disk_format": None}, {}, b"", 400),
    ],
)
def test_an_upload_that_cannot_begin_changes_nothing(
    client: Client, fields: dict[str, Any], headers: dict[str, str], body: bytes, status: int
) -> None:
    image_id = create(client, **fields)
    before = show(client, image_id)

    answer = client.request("POST", f"/v2/images/{image_id}/uploads", content=body, headers=_headers(headers))

    assert answer.status_code == status, answer.text
    assert show(client, image_id) == before
    assert client.get(f"/v2/images/{image_id}/uploads").json() == {"uploads": []}


def test_a_piece_may_say_the_length_that_was_not_known_before(client: Client) -> None:
    location = begin(client, create(client))

    assert append(client, location, 0, b"some", upload_length="8").headers["upload-length"] == "8"
    assert head(client, location).headers["upload-length"] == "8"
    assert append(client, location, 4, b"bytes", last=True).status_code == 400
    assert append(client, location, 4, b"more", last=True).status_code == 204


def test_only_a_queued_image_takes_an_upload(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)

    assert client.request("POST", f"/v2/images/{image_id}/uploads").status_code == 409
    assert upload(client, image_id).status_code == 409
    append(client, location, 0, DATA, last=True)
    assert client.request("POST", f"/v2/images/{image_id}/uploads").status_code == 409


def test_a_client_that_lost_the_url_finds_it(timed: Client) -> None:
    image_id = create(timed)
    location = begin(timed, image_id, upload_length="100")
    append(timed, location, 0, b"some")

    assert timed.get(f"/v2/images/{image_id}/uploads").json() == {
        "uploads": [
            {
                "id": location.rpartition("/")[2],
                "store": "local",
                "offset": 4,
                "length": 100,
                "expires_at": (NOON + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
                "self": location,
            }
        ]
    }


def test_an_upload_that_is_given_up_leaves_the_image_queued(client: Client) -> None:
    image_id = create(client)
    before = {name: value for name, value in show(client, image_id).items() if name != "updated_at"}
    location = begin(client, image_id, upload_length="100")
    append(client, location, 0, b"some")

    assert client.delete(location).status_code == 204

    assert {name: value for name, value in show(client, image_id).items() if name != "updated_at"} == before
    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []
    assert (head(client, location).status_code, client.delete(location).status_code) == (404, 404)
    assert append(client, location, 4, b"more").status_code == 404
    assert upload(client, image_id).status_code == 204


@pytest.mark.parametrize("upload_id", [ABSENT, "rubbish", "A" * 32])
def test_an_upload_that_is_not_there(client: Client, upload_id: str) -> None:
    location = f"/v2/images/{create(client)}/uploads/{upload_id}"

    assert head(client, location).status_code == 404
    assert append(client, location, 0, b"bytes").status_code == 404
    assert client.delete(location).status_code == 404


def test_an_upload_belongs_to_its_image_alone(client: Client) -> None:
    location = begin(client, create(client))
    other = location.replace(location.split("/")[3], create(client))

    assert head(client, other).status_code == 404
    assert append(client, other, 0, b"bytes").status_code == 404
    assert client.delete(other).status_code == 404


def test_an_upload_is_not_one_of_a_plain_upload(client: Client) -> None:
    """The id of a plain upload is nobody's business, and it cannot go on after a break."""
    image_id = create(client)
    seen: list[Any] = []

    async def look() -> AsyncIterator[bytes]:
        yield b"bytes"
        seen.append((await client.http.get(f"/v2/images/{image_id}/uploads")).json())

    upload(client, image_id, look())

    assert seen == [{"uploads": []}]


def test_who_may_not_change_an_image_has_no_business_with_its_uploads(keystone_like: Client) -> None:
    owner, other = keystone_like.caller("mine"), keystone_like.caller("other")
    image_id, private = create(owner, visibility="community"), create(owner)
    location, hidden = begin(owner, image_id), begin(owner, private)

    for path, status in ((location, 403), (hidden, 404)):
        assert head(other, path).status_code == status
        assert append(other, path, 0, b"bytes").status_code == status
        assert other.delete(path).status_code == status
        assert other.get(path.rpartition("/")[0]).status_code == status
        assert other.request("POST", path.rpartition("/")[0]).status_code == status
    assert append(owner, location, 0, DATA, last=True).status_code == 204


def test_rights_are_looked_at_again_when_the_last_byte_has_come(keystone_like: Client) -> None:
    owner, admin = keystone_like.caller("mine"), keystone_like.caller("ops", "admin")
    image_id = create(owner, visibility="community")
    location = begin(owner, image_id)

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        # It becomes another project's.
        given = await keystone_like.http.put(
            f"/images/{image_id}", json={"image": {"owner": "other"}}, headers=admin.headers
        )
        assert given.status_code == 200

    answer = append(owner, location, 0, body(), last=True)

    assert answer.status_code == 403
    assert show(admin, image_id)["status"] == "saving"
    assert append(keystone_like.caller("other"), location, len(DATA), b"", last=True).status_code == 204
    assert download(admin, image_id).content == DATA


def test_a_condition_is_looked_at_again_when_the_last_byte_has_come(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)
    tag = client.get(f"/v2/images/{image_id}").headers["etag"]
    assert append(client, location, 0, b"a", if_match='"other"').status_code == 412
    assert append(client, location, 0, b"a", if_match=tag).status_code == 204

    async def body() -> AsyncIterator[bytes]:
        yield b"b"
        await client.http.put(f"/v2/images/{image_id}/tags/changed")

    assert append(client, location, 1, body(), last=True, if_match=tag).status_code == 412
    assert show(client, image_id)["status"] == "saving"
    assert append(client, location, 2, b"", last=True).status_code == 204
    assert download(client, image_id).content == b"ab"


def test_an_upload_expires_a_day_after_its_last_byte(timed: Client, clock: Clock) -> None:
    image_id = create(timed)
    location = begin(timed, image_id)
    clock.now += timedelta(hours=20)
    append(timed, location, 0, b"some")
    clock.now += timedelta(hours=23)
    timed.sweep()
    assert offset_of(head(timed, location)) == ("4", "?0")

    clock.now += timedelta(hours=2)
    timed.sweep()

    assert head(timed, location).status_code == 404
    assert show(timed, image_id)["status"] == "queued"
    assert [path for path in timed.stores.rglob("*") if path.is_file()] == []


def test_an_upload_outlives_the_lease_of_a_plain_one(timed: Client, clock: Clock) -> None:
    location = begin(timed, create(timed))
    append(timed, location, 0, b"some")
    clock.now += 2 * LEASE
    timed.sweep()

    assert append(timed, location, 4, b" more", last=True).status_code == 204


def test_when_an_upload_expires_is_a_setting(database: str, clock: Clock) -> None:
    client = Client(make_settings(database, limits__upload_expiry=3_600), now=clock)
    location = begin(client, create(client))
    clock.now += timedelta(hours=2)
    client.sweep()

    assert head(client, location).status_code == 404
    client.close()


def test_an_upload_survives_a_restart(database: str, tmp_path: Any) -> None:
    settings = make_settings(database, stores__directory=str(tmp_path / "images"))
    first = Client(settings)
    image_id = create(first)
    location = begin(first, image_id)
    append(first, location, 0, DATA[:1_500])
    first.close()

    second = Client(settings)
    assert offset_of(head(second, location)) == ("1500", "?0")
    assert append(second, location, 1_500, DATA[1_500:], last=True).status_code == 204
    assert download(second, image_id).content == DATA
    second.close()


def test_bytes_that_are_refused_end_the_upload(client: Client) -> None:
    for cut in (0, 4):
        image_id = create(client, disk_format="qcow2")
        location = begin(client, image_id)
        append(client, location, 0, DATA[:cut])

        answer = append(client, location, cut, DATA[cut:], last=True)

        assert (answer.status_code, "its bytes are raw" in answer.text) == (415, True)
        image = show(client, image_id)
        assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
        assert head(client, location).status_code == 404
    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []


def test_formats_that_changed_meanwhile_are_inspected_again(client: Client) -> None:
    image_id = create(client, disk_format="qcow2")
    location = begin(client, image_id)

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        given = await client.http.put(f"/images/{image_id}", json={"image": {"disk_format": "raw"}})
        assert given.status_code == 200

    append(client, location, 0, b"")
    refused = append(client, location, 0, body(), last=True)
    assert refused.status_code == 415  # It was qcow2 when the bytes began to come.
    location = begin(client, image_id)
    assert append(client, location, 0, DATA, last=True).status_code == 204


def test_an_image_that_is_deleted_takes_its_upload_along(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)
    append(client, location, 0, b"some")

    assert client.delete(f"/v2/images/{image_id}").status_code == 204

    assert head(client, location).status_code == 404
    assert append(client, location, 4, b"more").status_code == 404
    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("what", ["image", "upload"])
def test_deleting_during_a_piece_ends_it(client: Client, what: str, last: bool) -> None:
    image_id = create(client)
    location = begin(client, image_id)

    async def body() -> AsyncIterator[bytes]:
        yield DATA
        path = location if what == "upload" else f"/v2/images/{image_id}"
        assert (await client.http.delete(path)).status_code == 204
        yield DATA

    answer = append(client, location, 0, body(), last=last)

    assert answer.status_code == 410
    client.sweep()
    assert [path for path in client.stores.rglob("*") if path.is_file()] == []
    if what == "upload":
        assert show(client, image_id)["status"] == "queued"


def test_uploads_count_for_their_owner(sqlite_database: str) -> None:
    settings = make_settings(
        sqlite_database, identity__mode="context", limits__uploads_per_owner=2, limits__bytes_per_owner=100
    )
    client = Client(settings)
    owner = client.caller("mine")
    location = begin(owner, create(owner), upload_length="90")
    assert (
        owner.request("POST", f"/v2/images/{create(owner)}/uploads", headers={"upload-length": "11"}).status_code == 413
    )
    unknown = begin(owner, create(owner))
    third = owner.request("POST", f"/v2/images/{create(owner)}/uploads")
    assert (third.status_code, "2 uploads under way" in third.text) == (413, True)

    refused = append(owner, unknown, 0, b"x" * 11)
    assert refused.status_code == 413
    assert append(owner, unknown, 0, b"x" * 10, last=True).status_code == 204
    assert owner.delete(location).status_code == 204
    assert append(owner, begin(owner, create(owner)), 0, b"y" * 90, last=True).status_code == 204
    client.close()


def test_an_image_has_no_more_bytes_than_the_cap(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, limits__image_size_cap=10))
    location = begin(client, create(client))

    answer = append(client, location, 0, b"12345678901")

    assert (answer.status_code, "at most 10 bytes" in answer.text) == (413, True)
    assert append(client, location, 0, b"1234567890", last=True).status_code == 204
    client.close()


def test_the_same_bytes_are_stored_once(client: Client) -> None:
    plain, pieces = create(client), create(client)
    upload(client, plain, DATA)
    location = begin(client, pieces)
    append(client, location, 0, DATA[:7])
    append(client, location, 7, DATA[7:], last=True)

    client.sweep()
    assert len([path for path in client.stores.rglob("*") if path.is_file()]) == 1
    assert download(client, pieces).content == DATA


@pytest.fixture
def watched(sqlite_database: str) -> Iterator[Client]:
    client = Client(make_settings(sqlite_database), clock=itertools.count(step=10).__next__)
    yield client
    client.close()


def test_pieces_are_counted_as_uploads(watched: Client) -> None:
    image_id = create(watched)
    location = begin(watched, image_id)
    append(watched, location, 0, DATA[:100])
    append(watched, location, 50, DATA[50:])
    append(watched, location, 100, DATA[100:], last=True)

    found = scrape(watched)
    assert found["glance_registry_transfer_bytes_total"] == {("upload", "local"): len(DATA)}
    assert found["glance_registry_failed_uploads_total"] == {("wrong-offset",): 1}
    assert found["glance_registry_transfers"][("upload",)] == 0


# Two requests at once, and clients that have gone.


class Piece(Connection):
    """A PATCH over a connection that the test feeds."""

    def __init__(self, application: Application, location: str, offset: int, *, last: bool = False) -> None:
        headers = {"content-type": PARTIAL, "upload-offset": str(offset), "upload-complete": f"?{last:d}"}
        super().__init__(application, location, headers, method="PATCH", body=b"first ")

    def end(self) -> None:
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    def vanish(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def answered(self) -> tuple[int, str | None]:
        await self.task
        return self.sent[0]["status"], httpx.Headers(self.sent[0]["headers"]).get("upload-offset")


def tell(client: Client, story: Callable[[], Any]) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(60):  # A test that fails must not hang.
            return await story()

    return client.runner.run(run())


async def ask(
    client: Client, method: str, location: str, offset: int = 0, content: bytes = b"", last: bool = False
) -> Any:
    given = {"content-type": PARTIAL, "upload-offset": str(offset), "upload-complete": f"?{last:d}"}
    return await client.http.request(method, location, content=content, headers=given if method == "PATCH" else {})


def test_what_came_before_the_client_vanished_is_kept(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)

    async def story() -> tuple[int, str | None]:
        piece = Piece(client.application, location, 0, last=True)
        await piece.is_watched.wait()
        piece.vanish()
        return await piece.answered()

    assert tell(client, story)[0] == 400
    assert offset_of(head(client, location)) == ("6", "?0")
    assert append(client, location, 6, b"second", last=True).status_code == 204
    assert download(client, image_id).content == b"first second"


def test_what_came_before_the_program_stops_is_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TRANSFER_STOP_SECONDS", 0)
    monkeypatch.setattr(request, "DRAIN_SECONDS", 0)
    location = begin(client, create(client))

    async def story() -> Any:
        piece = Piece(client.application, location, 0)
        await piece.is_watched.wait()
        client.application.stop()
        return await piece.answered()

    assert tell(client, story)[0] == 503
    found = client.operate(rows.look, location.rpartition("/")[2])
    assert (found.writer, found.kept) == (None, 0)  # What was not yet written is dropped.


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_a_newer_request_ends_an_older_one_and_keeps_what_it_brought(client: Client, method: str) -> None:
    """The older one's client lost its connection, and the server does not know it yet."""
    image_id = create(client)
    location = begin(client, image_id)

    async def story() -> None:
        older = Piece(client.application, location, 0)
        await older.is_watched.wait()
        newer = await ask(client, method, location, 6, b"second", last=True)
        assert offset_of(newer) == (("12", "?1") if method == "PATCH" else ("6", "?0"))
        older.end()
        assert (await older.answered())[0] == 409

    tell(client, story)
    if method == "HEAD":
        assert append(client, location, 6, b"second", last=True).status_code == 204
    assert download(client, image_id).content == b"first second"


def test_of_many_requests_at_once_one_goes_on(client: Client) -> None:
    image_id = create(client)
    location = begin(client, image_id)

    async def story() -> None:
        older = Piece(client.application, location, 0)
        await older.is_watched.wait()
        answers = await asyncio.gather(*(ask(client, "PATCH", location, 6, b"second") for _ in range(8)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [204] + [409] * 7
        older.end()
        await older.task

    tell(client, story)
    assert append(client, location, 12, b"", last=True).status_code == 204
    assert download(client, image_id).content == b"first second"


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
def test_a_newer_request_ends_an_older_one_of_another_process(
    database: str, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "LOOK_SECONDS", 0.05)
    settings = make_settings(database, stores__directory=str(tmp_path / "images"))
    one, two = Client(settings), Client(settings)
    image_id = create(one)
    location = begin(one, image_id)
    ready, over = threading.Event(), threading.Event()

    async def hold() -> int:
        older = Piece(one.application, location, 0)
        await older.is_watched.wait()
        ready.set()
        await asyncio.to_thread(over.wait, 30)
        older.end()
        return (await older.answered())[0]

    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(tell, one, hold)
        assert ready.wait(30)
        if method == "HEAD":
            assert offset_of(head(two, location)) == ("6", "?0")
        assert offset_of(append(two, location, 6, b"second", last=True)) == ("12", "?1")
        over.set()
        assert held.result() == 409
    assert download(two, image_id).content == b"first second"
    one.close()
    two.close()


def held_by_another(client: Client, location: str, now: Any) -> str:
    """As if another process wrote the upload: one that does not stop, or has died."""
    writer = "f" * 32
    client.operate(rows.claim, location.rpartition("/")[2], writer, now, now + resumable.WRITER_LEASE)
    return writer


def test_an_upload_whose_writer_does_not_stop_is_busy_until_its_lease_ends(
    timed: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "MAX_TAKEOVER_SECONDS", 0.3)
    image_id = create(timed)
    location = begin(timed, image_id)
    append(timed, location, 0, b"some")
    held_by_another(timed, location, clock.now)
    clock.now += timedelta(seconds=3)

    for answer in (head(timed, location), append(timed, location, 4, b"more")):
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "7")
    clock.now += resumable.WRITER_LEASE

    assert offset_of(head(timed, location)) == ("4", "?0")
    assert append(timed, location, 4, b" more", last=True).status_code == 204
    assert download(timed, image_id).content == b"some more"


def test_while_the_bytes_are_checked_nobody_takes_the_upload(timed: Client, clock: Clock) -> None:
    image_id = create(timed)
    location = begin(timed, image_id)
    append(timed, location, 0, b"some")
    upload_id, writer = location.rpartition("/")[2], held_by_another(timed, location, clock.now)
    timed.operate(rows.seal, upload_id, writer, 4)

    asked = head(timed, location)
    assert (offset_of(asked), asked.headers["upload-length"]) == (("4", "?0"), "4")
    answer = append(timed, location, 4, b"", last=True)
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "5")
    clock.now += 2 * resumable.WRITER_LEASE

    assert append(timed, location, 4, b"more", last=True).status_code == 400
    assert append(timed, location, 4, b"", last=True).status_code == 204
    assert download(timed, image_id).content == b"some"


def test_a_writer_that_lost_the_upload_changes_nothing(timed: Client, clock: Clock) -> None:
    image_id = create(timed)
    location = begin(timed, image_id)
    append(timed, location, 0, b"some")

    async def body() -> AsyncIterator[bytes]:
        yield b" lost"
        # The process was paused for so long that another one took the upload.
        clock.now += 2 * resumable.WRITER_LEASE
        catalogue = (await timed.application.open()).catalogue
        await catalogue.write(
            rows.claim, location.rpartition("/")[2], "f" * 32, clock.now, clock.now + resumable.WRITER_LEASE
        )

    answer = append(timed, location, 4, body(), last=True)

    assert (answer.status_code, "A newer request" in answer.text) == (409, True)
    assert show(timed, image_id)["status"] == "saving"
