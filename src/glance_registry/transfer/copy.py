# SPDX-License-Identifier: Apache-2.0
"""An image's bytes are copied from one store to another, and verified on the way.

Begin (one transaction) - stream - finish (one transaction). Memory: two chunks of 1 MiB. What a crash leaves, the
reaper removes.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime

from glance_registry.catalogue import copies
from glance_registry.catalogue.blobs import Copy, StoredCopy
from glance_registry.model.access import Caller
from glance_registry.model.errors import Gone, RegistryError, StoreUnavailable
from glance_registry.stores.base import Store
from glance_registry.transfer.counts import COPY
from glance_registry.transfer.upload import LEASE, RENEW_SECONDS, Transfers

log = logging.getLogger(__name__)


async def copy_to_store(transfers: Transfers, image_id: str, store_name: str, caller: Caller) -> None:
    """Give an active image its bytes in one more store; it is no error when it has them there already.

    Raises NotFound, Conflict (the image is not active), Invalid (there is no such store), StoreFull, StoreUnavailable,
    Gone (the image was deleted meanwhile).
    """
    target = transfers.stores.find(store_name)
    sources = await transfers.catalogue.read(copies.sources, image_id, caller)
    blob_number = sources[0].blob_number
    if await transfers.catalogue.write(copies.share, image_id, blob_number, target.name, transfers.now()):
        return
    key = transfers.new_key()
    lease = _Lease(transfers, Copy(target.name, key))
    try:
        async with lease.kept():
            await _write(transfers, sources, target, key, lease)
        await transfers.catalogue.write(copies.finish, image_id, blob_number, lease.copy, lease.until, transfers.now())
    except BaseException:
        await asyncio.shield(_give_up(transfers, key))
        raise


async def _write(transfers: Transfers, sources: list[StoredCopy], target: Store, key: str, lease: "_Lease") -> None:
    """Write the object from the first source that has the bytes. Raises StoreUnavailable when none has them."""
    error: StoreUnavailable | None = None
    for source in sources:
        if source.store not in transfers.stores.by_name:
            continue
        sink = await target.create(key, source.size)
        try:
            size = 0
            async for chunk in _verified(transfers, source):
                lease.check()
                await sink.write(chunk)
                size += len(chunk)
                transfers.counts.moved(COPY, target.name, len(chunk))
            await sink.commit()
        except StoreUnavailable as failed:
            await asyncio.shield(sink.abort())
            if failed.store == target.name:
                raise
            log.error("a store failed", extra={"fields": {"store": source.store, "cause": _cause(failed)}})
            error = failed
        except BaseException:
            await asyncio.shield(sink.abort())
            raise
        else:
            return
    raise error or StoreUnavailable(sources[0].store)


async def _verified(transfers: Transfers, source: StoredCopy) -> AsyncIterator[bytes]:
    """The bytes of an object. Raises StoreUnavailable after the last one, unless their digest is that of the blob."""
    algorithm, _, wanted = source.digest.partition(":")
    digest = hashlib.new(algorithm)
    loop = asyncio.get_running_loop()
    reading = transfers.stores.by_name[source.store].read(source.key, 0, source.size)
    async with aclosing(reading):
        async for chunk in reading:
            hashing = loop.run_in_executor(transfers.threads, digest.update, chunk)
            try:
                yield chunk
            finally:
                await hashing
    if digest.hexdigest() != wanted:
        error = StoreUnavailable(source.store)
        error.add_note(f"object {source.key} has other bytes than the catalogue says: run `store check --deep`")
        raise error


def _cause(error: Exception) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


async def _give_up(transfers: Transfers, key: str) -> None:
    """Have the object removed. If the database does not answer, that is done when the lease ends."""
    with suppress(RegistryError):
        await transfers.catalogue.write(copies.give_up, key)
    transfers.wake_reaper()


class _Lease:
    """The right to write an object, until `until` unless it is renewed."""

    def __init__(self, transfers: Transfers, copy: Copy) -> None:
        self.copy = copy
        self.until: datetime = transfers.now() + LEASE
        self._transfers = transfers
        self._ended = asyncio.Event()
        self._lost: Gone | None = None

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Begin, and renew the lease as long as this context lasts."""
        await self._transfers.catalogue.write(copies.begin, self.copy, self.until)
        renewing = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            # Not cancelled: a renewal that is under way must end, or nobody knows until when the lease is.
            self._ended.set()
            await renewing

    def check(self) -> None:
        """Raise Gone once the lease is lost."""
        if self._lost is not None:
            raise self._lost

    async def _keep(self) -> None:
        while self._lost is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._ended.wait()
                    return
            until = self._transfers.now() + LEASE
            try:
                await self._transfers.catalogue.write(copies.renew, self.copy.key, self.until, until)
                self.until = until
            except Gone as gone:
                self._lost = gone
            except RegistryError as error:
                log.warning("a copy was not renewed; tried again", extra={"fields": {"cause": str(error)}})
