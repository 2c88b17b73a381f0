# SPDX-License-Identifier: Apache-2.0
"""An object that is being written to a bucket, in parts.

A part is filled in memory and then sent, while the next one is filled. The store sees a part as a whole, so one that
failed can be sent again. What an upload that is suspended has of an unfinished part becomes an object of its own, its
tail: S3 takes no small parts, and a client with a bad connection must get on nevertheless.
"""

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from glance_registry.model.errors import RegistryError, StoreUnavailable
from glance_registry.stores.base import ObjectMissing
from glance_registry.stores.budget import Budget
from glance_registry.stores.s3_client import PAUSES, Body, Bucket, Refused, suppress_reason

MIB = 1_048_576

MIN_PART_BYTES = 8 * MIB
"""Of ours, but for the last one. S3 takes no smaller ones than 5 MiB."""
TAIL = ".tail"
"""What the key of a tail ends with."""
MAX_PARTS = 10_000
"""Of one object: S3's limit."""
PARTS_AIMED_AT = 9_500
"""Of an object whose size is announced."""
DOUBLED_AFTER = 1_200
"""Parts of an object of unknown size, after which they are twice as large. 10,000 parts then have 3 TiB."""

MAX_PARTS_AT_ONCE = 2
"""Of one upload that are being sent."""
SENDING_BYTES = 32 * MIB
"""Of all uploads of a process that are being sent."""

COMPLETE_SECONDS = 60
"""In which a store makes one object of the parts, each time that it is asked."""
ABORT_SECONDS = 10


class Part(NamedTuple):
    """A part that the store has."""

    number: int
    etag: str
    size: int


def part_size(number: int, announced: int = 0, least: int = MIN_PART_BYTES) -> int:
    """The bytes of the part of this number; `announced`: of the whole object, 0 when nobody knows."""
    if announced:
        return max(least, _rounded_up(-(-announced // PARTS_AIMED_AT)))
    return int(least * 2 ** ((number - 1) // DOUBLED_AFTER))


def _rounded_up(size: int) -> int:
    return -(-size // MIB) * MIB


class S3Upload:
    """An object in parts."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        budget: Budget,
        *,
        announced: int = 0,
        upload_id: str = "",
        parts: Sequence[Part] = (),
        tail: bytes | None = None,
        committed: int | None = None,
    ) -> None:
        """`upload_id`: the store's name for what was begun; empty while nothing was. `tail`: what was suspended.

        `committed`: the size of an object that is complete already.
        """
        self.size = sum(part.size for part in parts) + len(tail or b"") + (committed or 0)
        self._bucket = bucket
        self._key = bucket.key(key)
        self._budget = budget
        self._announced = announced
        self._upload_id = upload_id
        self._parts = {part.number: part for part in parts}
        self._least = max((part.size for part in parts), default=0)
        """No smaller parts than those that are there: somebody chose their size for the whole object."""
        self._next = len(parts) + 1
        self._filling = Body()
        self._filling.write(tail or b"")
        self._has_tail = tail is not None
        self._sending: set[asyncio.Task[None]] = set()
        self._committed = committed is not None
        self._may_be_there = False
        """Whether the store was told to make the object."""

    async def begin(self) -> None:
        """Tell the store that parts will come."""
        begun = await self._bucket.first_call("create_multipart_upload", Key=self._key)
        self._upload_id = str(begun.get("UploadId") or "")
        if not self._upload_id:
            raise self._bucket.unavailable("The store began an upload and gave it no id.")

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            room = self._size_of_next() - self._filling.tell()
            if room <= 0:
                await self._send()
                continue
            self.size += self._filling.write(view[:room])
            view = view[room:]

    async def suspend(self) -> int:
        if self._committed:
            return self.size
        if not self._upload_id:
            await self.begin()
        if self._sending:
            await asyncio.gather(*self._sending, return_exceptions=True)
            self._sending.clear()
        kept = in_sequence(self._parts.values())
        self.size = sum(part.size for part in kept)
        if len(kept) == self._next - 1 and self._filling.tell():
            self.size += await self._put_tail()
        self._filling = Body()
        return self.size

    async def commit(self) -> None:
        if self._committed:
            return
        if self._parts or self._sending:
            if self._filling.tell():
                await self._send()
            await self._all_sent()
            await self._complete()
        else:
            await self._put_single()
        self._committed = True
        if self._has_tail:
            # The object is there. If this fails, the tail goes with it.
            with suppress(RegistryError):
                await self._bucket.call("delete_object", Key=self._key + TAIL)

    async def abort(self) -> None:
        await self._end_sending()
        if self._committed:
            return
        with suppress(RegistryError):
            if self._upload_id:
                with suppress_reason("NoSuchUpload"):
                    await self._bucket.call(
                        "abort_multipart_upload", Key=self._key, UploadId=self._upload_id, seconds=ABORT_SECONDS
                    )
        for key in ([self._key] if self._may_be_there else []) + ([self._key + TAIL] if self._has_tail else []):
            with suppress(RegistryError):
                await self._bucket.call("delete_object", Key=key, seconds=ABORT_SECONDS)

    async def _send(self) -> None:
        """Send the part that was filled, while the next one is filled."""
        if self._next > MAX_PARTS:
            raise self._bucket.unavailable(f"An object has more than {MAX_PARTS} parts.")
        while len(self._sending) >= MAX_PARTS_AT_ONCE:
            await self._one_sent()
        if not self._upload_id:
            await self.begin()
        number, body, size = self._next, self._filling, self._filling.tell()
        # Before the next part is begun: a part that waits for its turn is the only one of its upload that does.
        await self._budget.take(size)
        # Nothing is awaited from here on: an upload that is cancelled before can still be suspended with this part.
        self._next, self._filling = number + 1, Body()
        sending = asyncio.create_task(self._send_part(number, body))
        # Also if it is cancelled before it has run.
        sending.add_done_callback(lambda _: self._budget.give(size))
        self._sending.add(sending)

    async def _send_part(self, number: int, body: Body) -> None:
        size = body.tell()
        md5 = await self._md5(body)
        answer = await self._bucket.call(
            "upload_part",
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=base64.b64encode(md5).decode(),
        )
        etag = self._checked_etag(answer, md5)
        self._parts[number] = Part(number, etag, size)

    async def _put_tail(self) -> int:
        """Keep the unfinished part. It belongs behind the parts that the store has now."""
        body, self._has_tail = self._filling, True
        size = body.tell()
        async with self._budget.hold(size):
            md5 = await self._md5(body)
            answer = await self._bucket.call(
                "put_object",
                Key=self._key + TAIL,
                Body=body,
                ContentMD5=base64.b64encode(md5).decode(),
                Metadata={"after-part": str(self._next - 1), "md5": md5.hex()},
            )
        self._checked_etag(answer, md5)
        return size

    async def _one_sent(self) -> None:
        done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        self._sending -= done
        failures = [error for task in done if (error := task.exception()) is not None]
        if failures:
            raise failures[0]

    async def _all_sent(self) -> None:
        while self._sending:
            await self._one_sent()

    async def _end_sending(self) -> None:
        """Wait for parts that are being sent: one that the store gets after the abort would stay there."""
        if not self._sending:
            return
        _, late = await asyncio.wait(self._sending, timeout=ABORT_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._sending.clear()

    async def _put_single(self) -> None:
        """An object of one part, or none, is sent by one call."""
        body = self._filling
        self._may_be_there = True
        async with self._budget.hold(body.tell()):
            md5 = await self._md5(body)
            answer = await self._bucket.first_call(
                "put_object", Key=self._key, Body=body, ContentMD5=base64.b64encode(md5).decode()
            )
        self._checked_etag(answer, md5)
        await self._check_whole()
        if self._upload_id:
            # It was begun for parts that did not come. The object is there: that this fails does no harm.
            with suppress(RegistryError):
                await self._bucket.call("abort_multipart_upload", Key=self._key, UploadId=self._upload_id)

    async def _complete(self) -> None:
        """Have the store make one object of the parts. When no answer comes, look whether it has done so."""
        parts = [{"PartNumber": part.number, "ETag": part.etag} for _, part in sorted(self._parts.items())]
        self._may_be_there = True
        for pause in (*PAUSES, None):
            try:
                await self._bucket.call(
                    "complete_multipart_upload",
                    Key=self._key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": parts},
                    seconds=COMPLETE_SECONDS,
                )
            except StoreUnavailable as error:
                if isinstance(error, Refused) and error.reason != "NoSuchUpload":
                    raise
                try:
                    await self._check_whole()
                except ObjectMissing:
                    if pause is None:
                        raise error from error.__cause__
                    await asyncio.sleep(pause)
                    continue
                return
            else:
                await self._check_whole()
                return

    async def _check_whole(self) -> None:
        found = await self._bucket.call("head_object", Key=self._key)
        if found.get("ContentLength") != self.size:
            raise self._bucket.unavailable(
                f"The store has {found.get('ContentLength')} bytes of an object to which {self.size} were sent."
            )

    def _size_of_next(self) -> int:
        return max(self._least, part_size(self._next, self._announced, self._bucket.settings.part_bytes))

    async def _md5(self, body: Body) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._bucket.threads, _md5, body)

    def _checked_etag(self, answer: dict[str, Any], md5: bytes) -> str:
        """The store's ETag of what was sent. It is the MD5, unless the store encrypts."""
        etag = str(answer.get("ETag") or "")
        encrypted = (
            str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in answer
        )
        if etag.strip('"').lower() != md5.hex() and not (encrypted and etag):
            raise self._bucket.unavailable(f"The store has other bytes than were sent: ETag {etag}, MD5 {md5.hex()}.")
        return etag


def in_sequence(parts: Iterable[Part]) -> list[Part]:
    """The parts from the first one up to where one is missing."""
    ordered = sorted(parts)
    return [part for number, part in enumerate(ordered, 1) if part.number == number]


def _md5(body: Body) -> bytes:
    with body.getbuffer() as data:
        return hashlib.md5(data, usedforsecurity=False).digest()
