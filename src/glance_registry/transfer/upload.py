# SPDX-License-Identifier: Apache-2.0
"""An image gets its bytes.

Begin (one transaction) - stream - finish (one transaction). While bytes stream, no transaction runs. Memory: the chunk
that is worked on, and the one that comes meanwhile, of 2 MiB at most. Whatever fails, the image is queued again; what a
crash leaves, the reaper removes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Self

from msgspec import Struct, field
from msgspec.structs import replace

from glance_registry.catalogue import blobs, images, uploads
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.uploads import NewUpload, StoredBytes
from glance_registry.model.access import Caller
from glance_registry.model.changes import ANY, Precondition
from glance_registry.model.errors import Gone, Invalid, RegistryError, StoreUnavailable, TooLarge
from glance_registry.model.image import Image
from glance_registry.model.limits import OwnerLimits
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing, Store
from glance_registry.stores.base import Upload as StoreUpload
from glance_registry.stores.by_name import Stores
from glance_registry.transfer.counts import UPLOAD, Counts, Uncounted, uploading
from glance_registry.transfer.digests import Digesting, Digests
from glance_registry.transfer.inspection import Inspection
from glance_registry.transfer.unified_limits import UnifiedLimits

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""An upload that was not renewed for so long has no writer any more."""

RENEW_SECONDS = 15

DIGEST_THREADS = 4
"""Of one process, for digests and inspection of all uploads."""

MIN_CHUNK_BYTES, MAX_CHUNK_BYTES = CHUNK_BYTES // 2, 2 * CHUNK_BYTES
GATHERED_BYTES = 8 * CHUNK_BYTES
"""Uploads under way share this between their chunks: few get large ones, which take less CPU time for each byte."""

_RESERVED_AHEAD = 64 * CHUNK_BYTES
"""Bytes that are reserved at once for an upload of unknown size."""


class Transfers(Struct, frozen=True, kw_only=True):
    """What all transfers of one program share."""

    catalogue: Catalogue
    stores: Stores
    threads: Executor
    """For what takes CPU time: digests and inspection. Those of the stores wait for disks."""
    now: Callable[[], datetime]
    new_key: Callable[[], str]
    wake_reaper: Callable[[], None]
    counts: Counts = Uncounted()
    hash_algorithm: str = "sha512"
    require_image_format_match: bool = True
    image_size_cap: int = 1_099_511_627_776
    """In bytes."""
    limits: OwnerLimits = OwnerLimits()
    """Of every owner, unless there are unified limits."""
    unified_limits: UnifiedLimits | None = None
    uploads: set[str] = field(default_factory=set)
    """The ids of those under way in this process."""
    upload_expiry: timedelta = timedelta(days=1)
    """So long after its last byte a resumable upload ends."""
    writers: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Ask the request of this process that writes a resumable upload, by the upload's id, to stop."""

    async def limits_of(self, owner: str | None) -> OwnerLimits:
        """How much an owner may have. Raises LimitsUnavailable."""
        if self.unified_limits is None:
            return self.limits
        return OwnerLimits() if owner is None else await self.unified_limits.of(owner)

    async def close(self) -> None:
        """Wait for what threads are at, and let go of the stores."""
        if self.unified_limits is not None:
            self.unified_limits.close()
        await self.stores.close()
        self.threads.shutdown(wait=True)


async def upload(
    transfers: Transfers,
    image_id: str,
    body: AsyncIterator[bytes],
    caller: Caller,
    *,
    announced: int = 0,
    store_name: str | None = None,
    condition: Precondition = ANY,
) -> Image:
    """The image, active with the bytes of the body. `announced`: how many will come, 0 when nobody knows.

    Raises what `uploads.begin` raises; Invalid when the body has another size than announced; TooLarge (the cap, the
    owner's quota, a full store), FormatRefused, StoreUnavailable, Gone; and what `body` raises.
    """
    with uploading(transfers.counts):
        return await _upload(transfers, image_id, body, caller, announced, store_name, condition)


async def _upload(
    transfers: Transfers,
    image_id: str,
    body: AsyncIterator[bytes],
    caller: Caller,
    announced: int,
    store_name: str | None,
    condition: Precondition,
) -> Image:
    store = transfers.stores.find(store_name)
    if announced > transfers.image_size_cap:
        raise too_large(transfers.image_size_cap)
    limits = await limits_for(transfers, image_id, caller)
    running = Running(transfers, transfers.new_key(), announced, limits)
    new = NewUpload(id=running.id, store=store.name, announced=announced, expires_at=running.expiry())
    try:
        image = await transfers.catalogue.write(
            uploads.begin, image_id, new, limits, transfers.now(), caller, condition
        )
    except asyncio.CancelledError:
        # The transaction may be committed nevertheless.
        await asyncio.shield(abort(transfers, store, running.id))
        raise
    try:
        async with running:
            found = await running.receive(image, body, store)
            found = replace(found, damaged_key=await damaged_key(transfers, store, found))
        return await transfers.catalogue.write(uploads.finish, running.id, found, transfers.now())
    except BaseException as error:
        ended_before = await asyncio.shield(abort(transfers, store, running.id))
        if ended_before is not None and isinstance(error, StoreUnavailable):
            raise ended_before from error  # The object was removed with the image.
        raise


async def limits_for(transfers: Transfers, image_id: str, caller: Caller) -> OwnerLimits:
    """The limits of an image's owner, which hold until its upload ends. Raises NotFound, LimitsUnavailable."""
    if transfers.unified_limits is None:
        return transfers.limits
    image = await transfers.catalogue.read(images.get, image_id, caller)
    return await transfers.limits_of(image.owner)


async def damaged_key(transfers: Transfers, store: Store, found: StoredBytes) -> str | None:
    """The object of the same bytes that the store should have already, if it has it not, or not all of it."""
    known = await transfers.catalogue.read(blobs.find_copy, found.digest, store.name)
    if known is None:
        return None
    try:
        return None if await store.size(known.key) == found.size else known.key
    except ObjectMissing:
        return known.key


async def abort(transfers: Transfers, store: Store, upload_id: str) -> Gone | None:
    """Make the image queued again. If the database does not answer, that is done when the upload expires.

    Gone: the upload was ended by somebody else.
    """
    try:
        await transfers.catalogue.write(uploads.abort, upload_id, transfers.now())
    except Gone as gone:
        # The image was deleted, or it is active and only the answer to `finish` was lost. In the first case the object
        # may have been written after the reaper looked for it.
        with suppress(RegistryError):
            if not await transfers.catalogue.read(blobs.known_keys, store.name, [upload_id]):
                await store.delete(upload_id)
        return gone
    except RegistryError as error:
        log.warning("an upload could not be ended; it expires", extra={"fields": {"cause": str(error)}})
    transfers.wake_reaper()
    return None


class Findings:
    """What the bytes of an image are, found while they come."""

    def __init__(self, transfers: Transfers, image: Image) -> None:
        self._threads = transfers.threads
        self._formats = image.disk_format, image.container_format
        self._inspection = Inspection(
            image.disk_format or "",
            image.container_format or "",
            require_match=transfers.require_image_format_match,
        )
        self.digests = Digests(transfers.hash_algorithm, transfers.threads, self._inspection.look)
        self._virtual_size: int | None = None

    async def check(self) -> None:
        """Call it after the last byte. Raises FormatRefused."""
        loop = asyncio.get_running_loop()
        self._virtual_size = await loop.run_in_executor(self._threads, self._inspection.finish)

    def values(self, size: int) -> StoredBytes:
        return StoredBytes(
            size=size,
            virtual_size=self._virtual_size,
            **self.digests.values()._asdict(),
            inspected_as=self._formats,
        )


class Running:
    """An upload that has begun. As a context it renews its lease."""

    def __init__(self, transfers: Transfers, upload_id: str, announced: int, limits: OwnerLimits) -> None:
        self.id = upload_id
        self._transfers = transfers
        self._announced = announced
        self._limits = limits
        self._reserved = announced
        self._size = 0
        self._lost: RegistryError | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._transfers.uploads.add(self.id)
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transfers.uploads.discard(self.id)
        assert self._renewing is not None
        self._renewing.cancel()
        with suppress(asyncio.CancelledError):
            await self._renewing

    def expiry(self) -> datetime:
        return self._transfers.now() + LEASE

    async def receive(self, image: Image, body: AsyncIterator[bytes], store: Store) -> StoredBytes:
        """Store the body. When this returns, the bytes are durable, and what they are is known."""
        findings = Findings(self._transfers, image)
        sink = await store.create(self.id, self._announced)
        try:
            await self._stream(body, sink, findings.digests, store.name)
            if self._announced and self._size != self._announced:
                raise Invalid(f"{self._announced} bytes were announced, and {self._size} came.")
            await findings.check()
            await self._reserve(self._size)
            await sink.commit()
        except BaseException:
            await asyncio.shield(sink.abort())
            raise
        return findings.values(self._size)

    async def _stream(self, body: AsyncIterator[bytes], sink: StoreUpload, digests: Digesting, store_name: str) -> None:
        working: asyncio.Future[Any] | None = None
        try:
            async for chunk in _gathered(body, self._size_of_chunk):
                self._size += len(chunk)
                self._transfers.counts.moved(UPLOAD, store_name, len(chunk))
                if working is not None:
                    await working
                await self._check_size()
                # The next chunk comes while threads work on this one.
                working = asyncio.gather(sink.write(chunk), digests.update(chunk))
            if working is not None:
                await working
        finally:
            if working is not None and not working.done():
                working.cancel()
                with suppress(BaseException):
                    await working

    def _size_of_chunk(self) -> int:
        share = GATHERED_BYTES // max(1, len(self._transfers.uploads))
        return min(MAX_CHUNK_BYTES, max(MIN_CHUNK_BYTES, share))

    async def _check_size(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._announced and self._size > self._announced:
            raise Invalid(f"{self._announced} bytes were announced, and more came.")
        if self._size > self._transfers.image_size_cap:
            raise too_large(self._transfers.image_size_cap)
        if self._size > self._reserved:
            await self._reserve(self._size + _RESERVED_AHEAD, at_least=self._size)

    async def _reserve(self, wanted: int, at_least: int | None = None) -> None:
        """Reserve bytes for the owner, fewer when there is not so much room."""
        if self._limits.bytes_per_owner is None or wanted <= self._reserved:
            return
        try:
            await self._write_lease(wanted)
        except TooLarge:
            if at_least is None:
                raise
            await self._write_lease(at_least)

    async def _write_lease(self, reserved: int) -> None:
        await self._transfers.catalogue.write(uploads.renew, self.id, reserved, self._limits, self.expiry())
        self._reserved = max(reserved, self._reserved)

    async def _renew(self) -> None:
        while self._lost is None:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._write_lease(self._reserved)
            except Gone as gone:
                self._lost = gone
            except RegistryError as error:
                log.warning("an upload was not renewed; tried again", extra={"fields": {"cause": str(error)}})


async def _gathered(body: AsyncIterator[bytes], size_of_chunk: Callable[[], int]) -> AsyncIterator[bytes]:
    """The body in chunks of about that size: work on small ones would be mostly switches of threads."""
    parts: list[bytes] = []
    size = 0
    async for part in body:
        if not part:
            continue
        parts.append(part)
        size += len(part)
        if size >= size_of_chunk():
            yield _joined(parts)
            size = 0
    if parts:
        yield _joined(parts)


def _joined(parts: list[bytes]) -> bytes:
    """The parts as one; the list is then empty, so that nothing is held twice."""
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    parts.clear()
    return whole


def too_large(cap: int) -> TooLarge:
    return TooLarge(f"An image may have at most {cap} bytes.")
