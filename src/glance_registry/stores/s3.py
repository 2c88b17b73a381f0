# SPDX-License-Identifier: Apache-2.0
"""A store in a bucket of an object store that speaks S3: AWS, MinIO, Ceph, OpenStack Swift, Google Cloud Storage.

    PREFIX KEY          an object; while it is written, an upload in parts under the same key
    PREFIX KEY .tail    the unfinished part of an upload that is suspended

Nothing that the store says is believed without a look: sizes and digests of parts, the size of the whole, the range
that a download gets.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError, SSLError

from glance_registry.model.errors import Invalid, StoreUnavailable
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing, StoredObject, check_key
from glance_registry.stores.budget import Budget
from glance_registry.stores.s3_client import (
    CALL_SECONDS,
    FAILURES,
    Bucket,
    Refused,
    suppress_reason,
)
from glance_registry.stores.s3_settings import BucketSettings
from glance_registry.stores.s3_upload import TAIL, Part, S3Upload, in_sequence, part_size

log = logging.getLogger(__name__)

MAX_CONTINUED = 3
"""Times that a download is continued after its connection broke, for each chunk that comes."""

MAX_PAGES = 100_000
"""Of a list, with up to 1,000 entries each: a store that always says that there are more is stopped."""

MAX_TAIL_BYTES = 512 * 1_048_576
"""Of an unfinished part. A larger one is dropped: nobody knows who made it."""

LOOK_SECONDS = 15
"""For the look at the start of the program."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

_KEY_REFUSED = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "AccountProblem"})


class S3Store:
    """Objects in a bucket."""

    def __init__(self, name: str, settings: BucketSettings, threads: Executor, sending: Budget) -> None:
        """`sending`: what all uploads of this process share."""
        self.name = name
        self.description = f"the bucket {settings.bucket} at {settings.endpoint}"
        self._settings = settings
        self._threads = threads
        self._sending = sending
        self._bucket = Bucket(name, settings, threads)

    def prepare(self) -> None:
        """Look whether the bucket can be used. Raises Invalid when the store says that it cannot.

        A store that does not answer is no reason not to start: the log says why, and it is used as soon as it answers.
        """
        asyncio.run(self._look())

    async def create(self, key: str, announced: int = 0) -> S3Upload:
        check_key(key)
        upload = S3Upload(self._bucket, key, self._sending, announced=announced)
        if not 0 < announced <= part_size(1, announced, self._settings.part_bytes):
            await upload.begin()
        return upload

    async def resume(self, key: str) -> S3Upload:
        found = [
            (parts, upload["UploadId"])
            async for upload in self._begun(check_key(key))
            if (parts := await self._parts(key, upload["UploadId"])) is not None
        ]
        if not found:
            return S3Upload(self._bucket, key, self._sending, committed=await self.size(key))
        # There are several if the answer to the first call was lost.
        parts, upload_id = max((in_sequence(parts), upload_id) for parts, upload_id in found)
        tail = await self._tail(key, len(parts))
        return S3Upload(self._bucket, key, self._sending, upload_id=upload_id, parts=parts, tail=tail)

    def url(self, key: str) -> str:
        """In the form of Glance, but without the keys to the store, which Glance has in it."""
        return f"s3+{self._settings.endpoint}/{self._settings.bucket}/{self._bucket.key(key)}"

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start == end:
            await self._check_reaches(key, end)
            return
        etag, failures = "", 0
        while start < end:
            body: Any = None
            with self._bucket.translated():
                await asyncio.wait_for(self._bucket.reads.acquire(), CALL_SECONDS)
            try:
                body, etag = await self._open(key, start, end, etag)
                while start < end and (chunk := await _gathered(body, min(CHUNK_BYTES, end - start))):
                    start += len(chunk)
                    failures = 0
                    yield chunk
                cause: BaseException = ValueError(f"An object ended at {start} while it was read.")
            except FAILURES as error:
                cause = error
            finally:
                if body is not None:
                    body.close()
                self._bucket.reads.release()
            if start < end:
                failures += 1
                if failures > MAX_CONTINUED:
                    raise StoreUnavailable(self.name) from cause
                log.info("a download is continued", extra={"fields": {"store": self.name, "cause": str(cause)}})

    async def size(self, key: str) -> int:
        try:
            found = await self._bucket.call("head_object", Key=self._bucket.key(check_key(key)))
        except ObjectMissing:
            # To HEAD, a bucket that is not there has the same answer.
            await self._bucket.call("list_objects_v2", Prefix=self._bucket.key(key), MaxKeys=1)
            raise
        size = found.get("ContentLength")
        if not isinstance(size, int):
            raise self._bucket.unavailable("The store does not say what size an object has.")
        return size

    async def delete(self, key: str) -> None:
        """Also the uploads of this key that were begun and never ended."""
        check_key(key)
        for name in (key, key + TAIL):
            with suppress(ObjectMissing):
                await self._bucket.call("delete_object", Key=self._bucket.key(name))
        async for upload in self._begun(key):
            with suppress_reason("NoSuchUpload"):
                await self._bucket.call(
                    "abort_multipart_upload", Key=self._bucket.key(key), UploadId=upload["UploadId"]
                )

    async def list(self) -> AsyncIterator[StoredObject]:
        prefix = self._settings.prefix
        tails: dict[str, StoredObject] = {}
        async for found in self._pages("list_objects_v2", "Contents", ("ContinuationToken", "NextContinuationToken")):
            key = found["Key"].removeprefix(prefix)
            if key.endswith(TAIL):
                key = key.removesuffix(TAIL)
                tails[key] = StoredObject(key, found["Size"], _utc(found["LastModified"]), False)
            else:
                yield StoredObject(key, found["Size"], _utc(found["LastModified"]), True)
        async for upload in self._begun():
            key = upload["Key"].removeprefix(prefix)
            parts = await self._parts(key, upload["UploadId"])
            if parts is not None:
                size, changed_at = sum(part.size for part in parts), _utc(upload["Initiated"])
                tail = tails.pop(key, StoredObject(key, 0, changed_at, False))
                yield StoredObject(key, size + tail.size, max(changed_at, tail.changed_at), False)
        for tail in tails.values():
            yield tail

    async def free(self) -> int | None:
        return None

    async def close(self) -> None:
        await self._bucket.close()

    async def _look(self) -> None:
        bucket = Bucket(self.name, self._settings, self._threads)
        try:
            try:
                await bucket.call("list_objects_v2", Prefix=self._settings.prefix, MaxKeys=1, seconds=LOOK_SECONDS)
            except Refused as refused:
                if refused.reason != "NoSuchBucket" or not self._settings.create_bucket:
                    raise
                await bucket.make()
            await bucket.call("list_multipart_uploads", Prefix=self._settings.prefix, MaxUploads=1)
        except Refused as refused:
            raise Invalid(f"Store '{self.name}' cannot be used: {self._refusal(refused)}") from refused
        except StoreUnavailable as error:
            fields = {"store": self.name, "message": self._outage(error.__cause__), "cause": str(error.__cause__)}
            log.error("a store does not answer; its bytes are answered 503 until it does", extra={"fields": fields})
        finally:
            await bucket.close()

    def _refusal(self, refused: Refused) -> str:
        settings = self._settings
        if refused.reason == "NoSuchBucket":
            return (
                f"there is no bucket {settings.bucket} at {settings.endpoint}. Make it, or set"
                " s3_store_create_bucket_on_put."
            )
        if refused.reason in _KEY_REFUSED:
            return (
                f"{settings.endpoint} refuses s3_store_access_key with s3_store_secret_key, or the key may not list the"
                f" bucket {settings.bucket} ({refused.reason})."
            )
        return f"{settings.endpoint} answers: {refused.__cause__}"

    def _outage(self, cause: BaseException | None) -> str:
        endpoint = self._settings.endpoint
        if isinstance(cause, SSLError):
            return f"{endpoint} has no certificate that is trusted here; see s3_store_cacert."
        if isinstance(cause, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
            return f"{endpoint} does not answer in time."
        if isinstance(cause, EndpointConnectionError):
            return f"No connection to {endpoint}: the host is unknown, or nothing listens at the port."
        return f"{endpoint} does not answer as an object store."

    async def _open(self, key: str, start: int, end: int, etag: str) -> tuple[Any, str]:
        """The body with a range of an object, and the object's ETag, which must be `etag` unless that is empty."""
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        try:
            found = await self._bucket.call(
                "get_object", Key=self._bucket.key(check_key(key)), Range=f"bytes={start}-{end - 1}", **condition
            )
        except Refused as refused:
            if refused.reason == "InvalidRange":
                raise self._bucket.missing(f"An object ends before byte {start}.") from refused
            raise
        body = found["Body"]
        try:
            self._check_range(found, start, end)
        except BaseException:
            body.close()
            raise
        return body, found.get("ETag", "")

    def _check_range(self, found: dict[str, Any], start: int, end: int) -> None:
        told = str(found.get("ContentRange", ""))
        if told:
            match = _CONTENT_RANGE.fullmatch(told)
            if match is None or int(match[1]) != start:
                raise self._bucket.unavailable(f"The store sends {told!r} instead of the range that was asked for.")
            size, last = int(match[3]), int(match[2])
            if size < end:
                raise self._bucket.missing(f"An object ends after {size} bytes, before {end}.")
            if last != end - 1:
                raise self._bucket.unavailable(f"The store sends {told!r} instead of the bytes to {end - 1}.")
        elif start or found.get("ContentLength") != end:
            if not start and isinstance(found.get("ContentLength"), int) and found["ContentLength"] < end:
                raise self._bucket.missing(f"An object ends after {found['ContentLength']} bytes, before {end}.")
            raise self._bucket.unavailable("The store sends a whole object instead of the range that was asked for.")

    async def _check_reaches(self, key: str, end: int) -> None:
        size = await self.size(key)
        if end > size:
            raise self._bucket.missing(f"An object ends after {size} bytes, before {end}.")

    async def _begun(self, key: str = "") -> AsyncIterator[dict[str, Any]]:
        """The uploads that were begun and are not complete: of one key, or all."""
        markers = ("KeyMarker", "NextKeyMarker"), ("UploadIdMarker", "NextUploadIdMarker")
        async for upload in self._pages("list_multipart_uploads", "Uploads", *markers, prefix=key):
            if not key or upload["Key"] == self._bucket.key(key):
                yield upload

    async def _parts(self, key: str, upload_id: str) -> Sequence[Part] | None:
        """The parts that the store has of an upload; None when it was ended meanwhile."""
        request: dict[str, Any] = {"Key": self._bucket.key(key), "UploadId": upload_id}
        pages = self._pages("list_parts", "Parts", ("PartNumberMarker", "NextPartNumberMarker"), **request)
        try:
            return [Part(part["PartNumber"], part["ETag"], part["Size"]) async for part in pages]
        except Refused as refused:
            if refused.reason == "NoSuchUpload":
                return None
            raise

    async def _tail(self, key: str, parts: int) -> bytes | None:
        """The unfinished part behind so many parts, if that is what the store has."""
        try:
            found = await self._bucket.call("get_object", Key=self._bucket.key(key + TAIL))
        except ObjectMissing:
            return None
        told, size = found.get("Metadata", {}), found.get("ContentLength", 0)
        with self._bucket.translated():
            try:
                if told.get("after-part") != str(parts) or size > MAX_TAIL_BYTES:
                    return b""
                async with asyncio.timeout(CALL_SECONDS):
                    tail: bytes = await found["Body"].read()
            finally:
                found["Body"].close()
        return tail if hashlib.md5(tail, usedforsecurity=False).hexdigest() == told.get("md5") else b""

    async def _pages(
        self, operation: str, entries: str, *markers: tuple[str, str], prefix: str | None = None, **request: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """What a list has, page by page; `markers`: names in the request and in the answer of where a page begins."""
        if "Key" not in request:
            request["Prefix"] = self._bucket.key(prefix or "")
        for _ in range(MAX_PAGES):
            page = await self._bucket.call(operation, **request)
            for entry in page.get(entries, ()):
                yield entry
            following = {name: page[told] for name, told in markers if page.get(told)}
            if not page.get("IsTruncated"):
                return
            if not following or all(request.get(name) == value for name, value in following.items()):
                break
            request.update(following)
        raise self._bucket.unavailable(f"The store does not go on with a list ({operation}).")


async def _gathered(body: Any, wanted: int) -> bytes:
    """The next bytes, as many as wanted unless the body ends before: small chunks would take more CPU time."""
    parts: list[bytes] = []
    while wanted and (part := await body.read(wanted)):
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
