# SPDX-License-Identifier: Apache-2.0
"""The store in a bucket, when the object store or the way to it misbehaves."""

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
from tests.faulty_s3 import FaultyS3, Reply, Spoil, answered, cut_after, hang, lose_answer, reset, with_headers
from tests.processes import free_port
from tests.stores.contract import listed, put, read, run
from tests.swift import Swift

from glance_registry.model.errors import Invalid, StoreFull, StoreUnavailable
from glance_registry.stores import s3, s3_client, s3_upload
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing
from glance_registry.stores.budget import Budget
from glance_registry.stores.s3 import S3Store
from glance_registry.stores.s3_settings import read_section

pytestmark = pytest.mark.external

MIB = 1_048_576
PART = 5 * MIB
LARGE = os.urandom(MIB) * 10 + b"end"
"""Three parts."""


@pytest.fixture(scope="module")
def module_proxy(swift: Swift) -> Iterator[FaultyS3]:
    proxy = FaultyS3(swift.url)
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(module_proxy: FaultyS3) -> Iterator[FaultyS3]:
    module_proxy.released.clear()
    module_proxy.calls.clear()
    yield module_proxy
    module_proxy.heal()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "PAUSES", (0, 0))
    monkeypatch.setattr(s3_upload, "PAUSES", (0, 0))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def make_store(swift: Swift, proxy: FaultyS3, threads: ThreadPoolExecutor) -> Callable[..., S3Store]:
    def make(**options: Any) -> S3Store:
        section = swift.section(f"{uuid4().hex}/", proxy.url, s3_store_large_object_chunk_size=5)
        return S3Store("cold", read_section("cold", {**asdict(section), **options}), threads, Budget(64 * MIB))

    return make


@pytest.fixture
def store(make_store: Callable[..., S3Store]) -> S3Store:
    return make_store()


def assert_unavailable(store: S3Store, work: Awaitable[Any], cause: str, kind: type = StoreUnavailable) -> None:
    """The error has the store's name, and what led to it has the cause."""
    with pytest.raises(kind) as raised:
        run(work, store)
    assert "'cold'" in str(raised.value)
    assert cause in f"{type(raised.value.__cause__).__name__}: {raised.value.__cause__}"


UPLOAD_FAULTS: dict[str, tuple[str, str, Spoil, str]] = {
    "500 to begin": ("POST", "?uploads", answered(500), "InternalError"),
    "200 to begin with an error in it": ("POST", "?uploads", answered(200), "InternalError"),
    "no id": ("POST", "?uploads", lambda _: Reply(200, {}, b"<Result></Result>"), "gave it no id"),
    "500 to a part": ("PUT", "partNumber=2", answered(500), "InternalError"),
    "a part's connection breaks": ("PUT", "partNumber=2", reset, "ConnectionClosedError"),
    "a part has another ETag": (
        "PUT",
        "partNumber=2",
        with_headers(ETag='"' + "0" * 32 + '"'),
        "other bytes than were",
    ),
    "a part has no ETag": ("PUT", "partNumber=2", with_headers(ETag=""), "other bytes"),
    "500 to the end": ("POST", "uploadId=", answered(500), "InternalError"),
    "200 to the end with an error in it": ("POST", "uploadId=", answered(200), "InternalError"),
    "the whole has another size": ("HEAD", "", with_headers(Content_Length="17"), "17 bytes of an object"),
    "the whole is not there": ("HEAD", "", answered(404), "404"),
}


@pytest.mark.parametrize(("method", "text", "spoil", "cause"), UPLOAD_FAULTS.values(), ids=UPLOAD_FAULTS)
def test_an_upload_to_a_store_that_fails_is_an_error_with_its_name_and_leaves_nothing(
    store: S3Store, proxy: FaultyS3, method: str, text: str, spoil: Spoil, cause: str
) -> None:
    proxy.spoil(method, text, spoil)

    async def upload() -> None:
        begun = await store.create(uuid4().hex)
        try:
            await begun.write(LARGE)
            await begun.commit()
        finally:
            await begun.abort()

    assert_unavailable(store, upload(), cause)
    proxy.heal()
    assert run(listed(store), store) == {}


PASSING_FAULTS: dict[str, tuple[str, str, Spoil]] = {
    "503 to a part": ("PUT", "partNumber=2", answered(503, "SlowDown")),
    "a part's connection breaks": ("PUT", "partNumber=2", reset),
    "a part's answer is lost": ("PUT", "partNumber=2", lose_answer),
    "the answer to the beginning is lost": ("POST", "?uploads", lose_answer),
    "the end fails": ("POST", "uploadId=", answered(500)),
    "the answer to the end is lost": ("POST", "uploadId=", lose_answer),
    "the look at the whole fails": ("HEAD", "", reset),
}


@pytest.mark.parametrize(("method", "text", "spoil"), PASSING_FAULTS.values(), ids=PASSING_FAULTS)
def test_what_fails_once_is_tried_again(store: S3Store, proxy: FaultyS3, method: str, text: str, spoil: Spoil) -> None:
    proxy.spoil(method, text, spoil, times=1)

    async def conversation() -> bytes:
        key = await put(store, LARGE)
        found = await read(store, key, 0, len(LARGE))
        await store.delete(key)
        assert await listed(store) == {}
        return found

    assert run(conversation(), store) == LARGE


def test_a_call_is_tried_three_times_at_most(store: S3Store, proxy: FaultyS3) -> None:
    proxy.spoil("HEAD", "", answered(503))

    assert_unavailable(store, store.size(uuid4().hex), "503")

    assert len(proxy.calls) == 3


def test_an_end_whose_answers_are_all_lost_is_looked_for(store: S3Store, proxy: FaultyS3) -> None:
    proxy.spoil("POST", "uploadId=", reset)
    proxy.spoil("POST", "uploadId=", lose_answer, times=1)

    async def conversation() -> int:
        return await store.size(await put(store, LARGE))

    assert run(conversation(), store) == len(LARGE)


@pytest.mark.parametrize(("method", "text"), [("POST", "?uploads"), ("PUT", "partNumber=1"), ("HEAD", ""), ("GET", "")])
def test_a_store_that_hangs_is_given_up_soon(
    store: S3Store, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch, method: str, text: str
) -> None:
    """Once: after a time like this no other attempt is made."""
    for name in ("CALL_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(s3_client, name, 0.3)
    monkeypatch.setattr(s3_upload, "ABORT_SECONDS", 0.3)
    key = run(put(store, b"there"), store)
    proxy.spoil(method, text, hang)
    proxy.calls.clear()

    async def conversation() -> None:
        if method == "GET":
            await read(store, key, 0, 5)
        if method == "HEAD":
            await store.size(key)
        begun = await store.create(uuid4().hex)
        try:
            await begun.write(LARGE)
            await begun.commit()
        finally:
            await begun.abort()

    assert_unavailable(store, conversation(), "TimeoutError")
    assert len([call for call in proxy.calls if call.startswith(method) and text in call]) == 1


def test_the_longest_wait_for_a_store_that_hangs_is_about_a_minute() -> None:
    """A call, or a part that is not taken; then the abort waits for parts, and ends what was begun."""
    longest = max(s3_client.CALL_SECONDS, s3_client.STALL_SECONDS) + 3 * s3_upload.ABORT_SECONDS

    assert longest <= 60
    assert s3_client.CONNECT_SECONDS + s3_client.READ_SECONDS < s3_client.CALL_SECONDS


def test_a_store_that_is_down_is_used_again_when_it_is_back(store: S3Store, proxy: FaultyS3) -> None:
    async def conversation() -> bytes:
        key = await put(store, b"there")
        proxy.stop()
        try:
            for work in (
                read(store, key, 0, 5),
                put(store, b"more"),
                store.size(key),
                listed(store),
                store.delete(key),
            ):
                with pytest.raises(StoreUnavailable, match="'cold' does not answer") as raised:
                    await work
                assert "Could not connect" in str(raised.value.__cause__)
        finally:
            proxy.start()
        return await read(store, key, 0, 5)

    assert run(conversation(), store) == b"there"


def test_a_download_that_breaks_goes_on_where_it_was(store: S3Store, proxy: FaultyS3) -> None:
    async def conversation() -> bytes:
        key = await put(store, LARGE)
        for size in (0, MIB + 5, 3 * MIB):
            proxy.spoil("GET", key, cut_after(size), times=1)
        proxy.calls.clear()
        return await read(store, key, 3, len(LARGE))

    assert run(conversation(), store) == LARGE[3:]
    assert len(proxy.calls) == 4


def test_a_download_is_not_continued_for_ever(store: S3Store, proxy: FaultyS3) -> None:
    key = run(put(store, LARGE), store)
    proxy.spoil("GET", key, cut_after(CHUNK_BYTES - 1))
    proxy.calls.clear()

    assert_unavailable(store, read(store, key, 0, len(LARGE)), "")

    assert len(proxy.calls) == 1 + s3.MAX_CONTINUED


def test_a_download_is_not_continued_with_another_object(store: S3Store, proxy: FaultyS3) -> None:
    async def conversation() -> None:
        key = await put(store, LARGE)
        proxy.spoil("GET", key, cut_after(2 * MIB), times=1)
        chunks = store.read(key, 0, len(LARGE))
        assert await anext(chunks) == LARGE[:MIB]
        other = await store.create(key)
        await other.write(bytes(len(LARGE)))
        await other.commit()
        assert [chunk async for chunk in chunks] == []

    assert_unavailable(store, conversation(), "PreconditionFailed")


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Content_Range": "bytes 0-4/1000"}, StoreUnavailable),
        ({"Content_Range": "bytes 10-100/1000"}, StoreUnavailable),
        ({"Content_Range": "bytes 10-19/15"}, ObjectMissing),
        ({"Content_Range": "nonsense"}, StoreUnavailable),
        ({"Content_Range": ""}, StoreUnavailable),
    ],
)
def test_a_store_that_sends_another_range_is_not_believed(
    store: S3Store, proxy: FaultyS3, headers: dict[str, str], kind: type
) -> None:
    key = run(put(store, bytes(1_000)), store)
    proxy.spoil("GET", key, with_headers(**headers))

    assert_unavailable(store, read(store, key, 10, 20), "", kind)


def test_an_object_that_the_store_lost_is_missing(store: S3Store, swift: Swift) -> None:
    key = run(put(store, b"lost"), store)
    run(store.delete(key), store)

    assert_unavailable(store, read(store, key, 0, 4), "NoSuchKey", ObjectMissing)
    assert_unavailable(store, store.size(key), "404", ObjectMissing)


def test_a_bucket_that_is_gone_is_no_missing_object(make_store: Callable[..., S3Store]) -> None:
    store = make_store(s3_store_bucket="gone", s3_store_create_bucket_on_put=False)

    with pytest.raises(StoreUnavailable) as raised:
        run(store.size(uuid4().hex), store)

    assert not isinstance(raised.value, ObjectMissing)
    assert "NoSuchBucket" in str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (413, "EntityTooLarge")]
)
def test_a_store_without_room_is_full(store: S3Store, proxy: FaultyS3, status: int, code: str) -> None:
    proxy.spoil("PUT", "", answered(status, code))

    with pytest.raises(StoreFull, match="Store 'cold' has no room left"):
        run(put(store, b"full"), store)


@pytest.mark.parametrize("text", ["?list-type", "uploads"])
def test_a_list_that_never_ends_is_stopped(store: S3Store, proxy: FaultyS3, text: str) -> None:
    page = "<IsTruncated>true</IsTruncated>"
    page += "".join(f"<{name}>a</{name}>" for name in ("NextContinuationToken", "NextKeyMarker"))
    same_page = Reply(200, {"Content-Type": "application/xml"}, f"<Result>{page}</Result>".encode())
    proxy.spoil("GET", text, lambda _: same_page)

    assert_unavailable(store, listed(store), "does not go on with a list")


def test_the_log_says_what_was_tried_again(store: S3Store, proxy: FaultyS3, caplog: pytest.LogCaptureFixture) -> None:
    proxy.spoil("HEAD", "", answered(503), times=1)
    with caplog.at_level(logging.INFO, "glance_registry"):
        run(put(store, b"logged"), store)

    (record,) = [record for record in caplog.records if record.message == "a call to a store failed; tried again"]
    fields = record.fields  # type: ignore[attr-defined]
    assert (fields["store"], fields["call"]) == ("cold", "head_object")
    assert "503" in fields["cause"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong secret": ({"s3_store_secret_key": "wr0ng"}, "refuses s3_store_access_key"),
    "an unknown key": ({"s3_store_access_key": "nobody"}, "refuses s3_store_access_key"),
    "no bucket": ({"s3_store_bucket": "none", "s3_store_create_bucket_on_put": False}, "there is no bucket none"),
}


@pytest.mark.parametrize(("options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_settings_that_the_store_refuses_are_said_at_the_start(
    make_store: Callable[..., S3Store], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Invalid, match=r"Store 'cold' cannot be used: .*") as raised:
        make_store(**options).prepare()

    assert sentence in str(raised.value)
    assert "wr0ng" not in str(raised.value)


OUTAGES: dict[str, tuple[str, str]] = {
    "host unknown": ("http://store.invalid", "the host is unknown"),
    "port closed": ("http://127.0.0.1:{closed}", "nothing listens at the port"),
    "no TLS": ("https://127.0.0.1:{port}", "https://127.0.0.1:{port}"),
    "something else": ("http://127.0.0.1:{port}/", "does not answer as an object store"),
}


@pytest.mark.parametrize(("host", "sentence"), OUTAGES.values(), ids=OUTAGES)
def test_a_store_that_does_not_answer_is_logged_at_the_start(
    make_store: Callable[..., S3Store], proxy: FaultyS3, caplog: pytest.LogCaptureFixture, host: str, sentence: str
) -> None:
    """The program starts nevertheless: it serves metadata, and bytes as soon as the store answers."""
    proxy.spoil("GET", "", answered(503))

    make_store(s3_store_host=host.format(port=proxy.port, closed=free_port())).prepare()

    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    fields = record.fields  # type: ignore[attr-defined]
    assert fields["store"] == "cold"
    assert sentence.format(port=proxy.port) in fields["message"]
    assert fields["cause"]
