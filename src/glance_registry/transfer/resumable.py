# SPDX-License-Identifier: Apache-2.0
"""An image gets its bytes in several requests, with breaks between them.

Begin (one transaction) - any number of requests that append, each of which holds the upload while it writes - finish
(one transaction). How far the bytes have come is what the store has kept. The state of a digest cannot be kept: if the
bytes came in several requests, the object is read back once before the image is active.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.catalogue import blobs, resumable, uploads
from glance_registry.catalogue.resumable import ResumableUpload
from glance_registry.catalogue.uploads import NewUpload
from glance_registry.model.access import Caller
from glance_registry.model.changes import ANY, Precondition
from glance_registry.model.errors import (
    Conflict,
    FormatRefused,
    Gone,
    Invalid,
    RegistryError,
    Unavailable,
    UploadBusy,
    UploadTaken,
    WrongOffset,
)
from glance_registry.model.image import Image
from glance_registry.model.limits import OwnerLimits
from glance_registry.stores.base import ObjectMissing, Store
from glance_registry.stores.base import Upload as StoreUpload
from glance_registry.transfer.counts import uploading
from glance_registry.transfer.digests import NoDigests
from glance_registry.transfer.upload import Findings, Running, Transfers, abort, damaged_key, limits_for, too_large

log = logging.getLogger(__name__)

WRITER_LEASE = timedelta(seconds=10)
"""A request that writes has died if it has not renewed its hold for so long."""

LOOK_SECONDS = 1.0
"""A request that writes looks so often whether another one waits for it to stop."""

LOOKS_PER_RENEWAL = 3

MAX_TAKEOVER_SECONDS = 5.0
"""A request waits so long for another one to stop, before it is told to come again."""

_POLL_SECONDS = 0.1

_CHECK_RETRY_SECONDS = 5


class Piece(Struct, frozen=True, kw_only=True):
    """What a request appends, without its bytes."""

    offset: int
    """Of its first byte in the image."""
    last: bool
    """Whether the image ends where this piece ends."""
    length: int | None = None
    """Bytes of the whole image, if the request says it."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far an upload has come."""

    offset: int
    """Bytes that are kept: the client goes on here."""
    length: int | None
    """Bytes of the whole image, if known."""
    complete: bool
    """Whether the image is active."""
    expires_at: datetime | None = None


async def begin(
    transfers: Transfers,
    image_id: str,
    caller: Caller,
    *,
    length: int | None = None,
    store_name: str | None = None,
    condition: Precondition = ANY,
) -> str:
    """Reserve a queued image; the id of its upload. Raises Invalid, TooLarge, what `uploads.begin` raises."""
    store = transfers.stores.find(store_name)
    if length is not None and length > transfers.image_size_cap:
        raise too_large(transfers.image_size_cap)
    new = NewUpload(
        id=transfers.new_key(),
        store=store.name,
        announced=length or 0,
        expires_at=transfers.now() + transfers.upload_expiry,
        resumable=True,
        length=length,
    )
    limits = await limits_for(transfers, image_id, caller)
    await transfers.catalogue.write(uploads.begin, image_id, new, limits, transfers.now(), caller, condition)
    return new.id


async def append(
    transfers: Transfers,
    image_id: str,
    upload_id: str,
    body: AsyncIterator[bytes],
    caller: Caller,
    piece: Piece,
    condition: Precondition = ANY,
) -> Progress:
    """Append the bytes of the body; after the last piece the image is active.

    What came is kept when this fails, unless the bytes as a whole are refused: then the image is queued again. Raises
    NotFound, Forbidden, PreconditionFailed; WrongOffset; UploadBusy; UploadTaken when a newer request goes on; Invalid
    when there are more or fewer bytes than announced; FormatRefused, TooLarge, StoreUnavailable, Gone; and what `body`
    raises.
    """
    with uploading(transfers.counts):
        found = await transfers.catalogue.read(resumable.find, image_id, upload_id, caller, condition)
        if found.upload is None:
            raise Conflict("The upload is complete: the image has its bytes.")
        limits = await transfers.limits_of(found.image.owner)
        async with await _hold(transfers, upload_id, found.upload.store, limits) as writing:
            return await writing.append(found.image, body, piece, caller, condition)


async def progress(transfers: Transfers, image_id: str, upload_id: str, caller: Caller) -> Progress:
    """How far an upload has come. A request that writes it is ended: its client asks because it lost the connection.

    Raises NotFound, Forbidden; UploadBusy when the other request does not end soon; StoreUnavailable.
    """
    found = await transfers.catalogue.read(resumable.find, image_id, upload_id, caller)
    upload = found.upload
    if upload is None:
        size = found.image.size or 0
        return Progress(offset=size, length=size, complete=True)
    now = transfers.now()
    kept = upload.kept
    if kept is None or (upload.is_written(now) and not upload.is_checked(now)):
        async with await _hold(transfers, upload_id, upload.store, OwnerLimits()) as writing:
            kept = await writing.measure()
    return Progress(offset=kept, length=upload.length, complete=False, expires_at=upload.expires_at)


async def cancel(transfers: Transfers, image_id: str, upload_id: str, caller: Caller) -> None:
    """Give an upload up: the image is queued again. Raises NotFound, Forbidden, Conflict when it is complete."""
    found = await transfers.catalogue.read(resumable.find, image_id, upload_id, caller)
    if found.upload is None:
        raise Conflict("The upload is complete: the image has its bytes.")
    await transfers.catalogue.write(uploads.abort, upload_id, transfers.now())
    _stop_writer(transfers, upload_id)
    transfers.wake_reaper()


async def _hold(transfers: Transfers, upload_id: str, store_name: str, limits: OwnerLimits) -> "_Writing":
    """Hold an upload for this request, as soon as another one has stopped. Raises NotFound, UploadBusy, UploadTaken."""
    store = transfers.stores.find(store_name)
    writer = transfers.new_key()
    try:
        before = await _claim(transfers, upload_id, writer)
    except asyncio.CancelledError:
        # The transaction may be committed nevertheless.
        with suppress(RegistryError):
            await asyncio.shield(transfers.catalogue.write(resumable.release, upload_id, writer, None))
        raise
    return _Writing(transfers, store, before, writer, limits)


async def _claim(transfers: Transfers, upload_id: str, writer: str) -> ResumableUpload:
    try:
        async with asyncio.timeout(MAX_TAKEOVER_SECONDS):
            while True:
                now = transfers.now()
                found = await transfers.catalogue.write(resumable.claim, upload_id, writer, now, now + WRITER_LEASE)
                if found.is_checked(now):
                    sentence = "All bytes have come, and another request checks them and makes the image active."
                    raise UploadBusy(sentence, _CHECK_RETRY_SECONDS)
                if not found.is_written(now):
                    return found
                _stop_writer(transfers, upload_id)
                found = await _wait_for_writer(transfers, upload_id, writer)
    except TimeoutError:
        left = (found.writer_until or now) - transfers.now()
        seconds = max(1, math.ceil(left.total_seconds()))
        raise UploadBusy("Another request writes this upload and does not stop.", seconds) from None


async def _wait_for_writer(transfers: Transfers, upload_id: str, writer: str) -> ResumableUpload:
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        found = await transfers.catalogue.read(resumable.look, upload_id)
        if found.next_writer != writer:
            raise UploadTaken("A newer request goes on with this upload.")
        if not found.is_written(transfers.now()) or found.kept is not None:
            return found


def _stop_writer(transfers: Transfers, upload_id: str) -> None:
    """Ask a writer of this process to stop. One of another process finds out when it looks."""
    stop = transfers.writers.get(upload_id)
    if stop is not None:
        stop()


class _Writing(Running):
    """A request that holds an upload. As a context it goes on holding it, and notices that it shall stop."""

    def __init__(
        self, transfers: Transfers, store: Store, before: ResumableUpload, writer: str, limits: OwnerLimits
    ) -> None:
        """`before`: the upload as it was before this request held it."""
        super().__init__(transfers, before.id, before.length or 0, limits)
        self._store = store
        self._before = before
        self._length = before.length
        self._writer = writer
        self._reserved = before.reserved
        self._until = transfers.now() + WRITER_LEASE
        self._waiting: asyncio.Timeout | None = None
        """While the next bytes of the body are waited for."""
        self._broken: RegistryError | None = None
        """Why the body ended early."""
        self._stopping = False
        """Whether a newer request waits for this one to stop. What has come is then still written."""
        self._came = False
        """Whether any bytes have come."""
        self._ended: Gone | None = None
        """Set when somebody else has ended the upload."""

    async def __aenter__(self) -> "_Writing":
        self._transfers.writers[self.id] = self._stop
        return await super().__aenter__()

    async def __aexit__(self, *error: object) -> None:
        if self._transfers.writers.get(self.id) == self._stop:
            del self._transfers.writers[self.id]
        await super().__aexit__(*error)

    def expiry(self) -> datetime:
        return self._transfers.now() + self._transfers.upload_expiry

    async def measure(self) -> int:
        """How many bytes the store has kept."""
        sink = await self._open()
        kept = await asyncio.shield(self._let_go(sink))
        return sink.size if kept is None else kept

    async def append(
        self, image: Image, body: AsyncIterator[bytes], piece: Piece, caller: Caller, condition: Precondition
    ) -> Progress:
        sink = await self._open()
        findings = Findings(self._transfers, image) if self._is_whole(piece) else None
        try:
            self._check_piece(piece, sink.size)
            self._size = sink.size
            digests = NoDigests() if findings is None else findings.digests
            await self._stream(self._until_broken(body), sink, digests, self._store.name)
            if self._broken is not None:
                raise self._broken
            if piece.last:
                await self._seal(findings)
                await sink.commit()
        except FormatRefused:
            await asyncio.shield(sink.abort())
            await asyncio.shield(abort(self._transfers, self._store, self.id))
            raise
        except BaseException as error:
            await asyncio.shield(self._let_go(sink))
            self._check_ended(error)
            raise
        if piece.last:
            await self._finish(image, findings, caller, condition)
            return Progress(offset=self._size, length=self._size, complete=True)
        kept = await asyncio.shield(self._let_go(sink))
        if self._ended is not None:
            raise self._ended
        if kept is None:
            raise Unavailable("The bytes came, and it is not known how many of them are kept; ask for the offset.")
        expires_at = self.expiry() if self._came else self._before.expires_at
        return Progress(offset=kept, length=self._length, complete=False, expires_at=expires_at)

    def _is_whole(self, piece: Piece) -> bool:
        """Whether all bytes come in this request, and no other one can have left a write behind."""
        return piece.last and piece.offset == 0 and self._before.writer is None

    def _check_piece(self, piece: Piece, size: int) -> None:
        if piece.length is not None and piece.length != self._length:
            if self._length is not None:
                raise Invalid(
                    f"Upload-Length is {piece.length}, and this upload has a length of {self._length} already."
                )
            self._length = piece.length
        if piece.offset != size:
            raise WrongOffset(size)

    async def _open(self) -> StoreUpload:
        """The object in the store; if it is not there, a new one: what a store has lost must be sent again."""
        try:
            try:
                return await self._store.resume(self.id)
            except ObjectMissing:
                return await self._store.create(self.id, self._length or 0)
        except BaseException:
            await asyncio.shield(self._release(self._before.kept))
            raise

    async def _until_broken(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body until it ends, breaks off, or this request is asked to stop: what has come until then is kept."""
        parts = aiter(body)
        while self._lost is None and not self._stopping:
            try:
                async with asyncio.timeout(None) as self._waiting:
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                break
            except RegistryError as error:
                self._broken = error
                return
            finally:
                self._waiting = None
            yield part
        self._broken = self._lost or UploadTaken("A newer request goes on with this upload.")

    async def _seal(self, findings: Findings | None) -> None:
        """Note that all bytes have come, if they are as many as announced and the owner may have them."""
        length = self._length
        if length is not None and self._size != length:
            raise Invalid(f"{length} bytes were announced, and {self._size} came.")
        if findings is not None:
            await findings.check()
        await self._reserve(self._size)
        if self._lost is not None:
            raise self._lost
        await self._transfers.catalogue.write(resumable.seal, self.id, self._writer, self._size)

    async def _finish(self, image: Image, findings: Findings | None, caller: Caller, condition: Precondition) -> None:
        """Make the image active with the object, which is complete."""
        transfers = self._transfers
        try:
            if findings is None:
                findings = await self._read_back(image)
            found = findings.values(self._size)
            found = replace(found, damaged_key=await damaged_key(transfers, self._store, found))
            await transfers.catalogue.write(
                resumable.finish, self.id, self._writer, found, transfers.now(), caller, condition
            )
        except FormatRefused:
            await asyncio.shield(abort(transfers, self._store, self.id))
            raise
        except BaseException as error:
            await asyncio.shield(self._release(self._size))
            self._check_ended(error)
            raise

    async def _read_back(self, image: Image) -> Findings:
        findings = Findings(self._transfers, image)
        chunks = self._store.read(self.id, 0, self._size)
        async with aclosing(chunks):
            async for chunk in chunks:
                if self._lost is not None:
                    raise self._lost
                await findings.digests.update(chunk)
        await findings.check()
        return findings

    async def _let_go(self, sink: StoreUpload) -> int | None:
        """Keep what can be kept, and hold the upload no more; how many bytes are kept, if that is known."""
        kept = None
        try:
            kept = await sink.suspend()
        except RegistryError as error:
            fields = {"store": self._store.name, "key": self.id, "cause": str(error)}
            log.warning("an upload was not suspended; what it has is asked for later", extra={"fields": fields})
        await self._release(kept)
        return kept

    def _check_ended(self, error: BaseException) -> None:
        """Raise Gone if that is why it failed: the object was removed with the image or the upload."""
        if self._ended is not None and isinstance(error, Unavailable | UploadTaken):
            raise self._ended from error

    async def _release(self, kept: int | None) -> None:
        """Hold the upload no more. If it was ended by somebody else, remove what it had."""
        transfers = self._transfers
        expires_at = self.expiry() if self._came else None
        try:
            await transfers.catalogue.write(resumable.release, self.id, self._writer, kept, self._length, expires_at)
        except Gone as gone:
            # The object may have been written after the reaper looked for it.
            with suppress(RegistryError):
                if not await transfers.catalogue.read(blobs.known_keys, self._store.name, [self.id]):
                    await self._store.delete(self.id)
            self._ended = gone
        except RegistryError as error:
            fields = {"cause": str(error)}
            log.warning("an upload is held until its writer counts as dead", extra={"fields": fields})

    async def _check_size(self) -> None:
        self._came = True
        length = self._length
        if length is not None and self._size > length:
            raise Invalid(f"{length} bytes were announced, and more came.")
        if self._transfers.now() >= self._until:
            await self._write_lease(self._reserved)  # Another one may hold the upload by now.
        await super()._check_size()

    async def _write_lease(self, reserved: int) -> None:
        transfers = self._transfers
        until = transfers.now() + WRITER_LEASE
        await transfers.catalogue.write(
            resumable.hold, self.id, self._writer, until, self.expiry(), reserved, self._limits
        )
        self._until = until
        self._reserved = max(reserved, self._reserved)

    async def _renew(self) -> None:
        looks = 0
        while self._lost is None:
            await asyncio.sleep(LOOK_SECONDS)
            looks += 1
            try:
                found = await self._transfers.catalogue.read(resumable.look, self.id)
                if found.writer != self._writer or found.next_writer is not None:
                    self._stop()
                if looks % LOOKS_PER_RENEWAL == 0:
                    await self._write_lease(self._reserved)
            except (Gone, UploadTaken) as error:
                self._give_up(error)
            except RegistryError as error:
                log.warning("an upload was not renewed; tried again", extra={"fields": {"cause": str(error)}})
                if self._transfers.now() >= self._until:
                    self._give_up(error)

    def _stop(self) -> None:
        """Take no more bytes: a newer request waits."""
        self._stopping = True
        self._end_waiting()

    def _give_up(self, reason: RegistryError) -> None:
        if self._lost is None:
            self._lost = reason
        self._end_waiting()

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
