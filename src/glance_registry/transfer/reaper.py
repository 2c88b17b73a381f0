# SPDX-License-Identifier: Apache-2.0
"""What is left over goes: uploads that nobody renews, objects that no row refers to any more."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from glance_registry.catalogue import blobs, uploads
from glance_registry.model.errors import RegistryError
from glance_registry.stores.base import cause_of
from glance_registry.transfer.counts import IMAGES_RELEASED, OBJECTS_REMOVED, UPLOADS_EXPIRED
from glance_registry.transfer.upload import Transfers

log = logging.getLogger(__name__)

SWEEP_SECONDS = 20
"""Between two sweeps when nothing wakes the reaper."""

PAUSE_SECONDS = 1
"""Between two sweeps in any case."""

MAX_BATCH = 100
"""Rows of one transaction."""

RETRY = timedelta(minutes=1)
"""After a store failed to remove an object."""


class Reaper:
    """Runs in every process that serves; that several are at the same work does no harm."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to do: do not wait for the next sweep."""
        self._woken.set()

    async def run(self, transfers: Transfers) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await sweep(transfers)
            except RegistryError as error:
                transfers.counts.reaper_failed(1)
                log.warning("a sweep of the reaper failed; tried again", extra={"fields": {"cause": str(error)}})
            except Exception:
                transfers.counts.reaper_failed(1)
                log.exception("a sweep of the reaper failed; tried again")
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._woken.wait()
            self._woken.clear()


async def sweep(transfers: Transfers) -> int:
    """Do all that is due; how many uploads were aborted, images released and objects removed."""
    done = 0
    if not await transfers.catalogue.read(blobs.is_work_waiting, transfers.now()):
        return done
    while count := await transfers.catalogue.write(uploads.expire, transfers.now(), MAX_BATCH):
        transfers.counts.reaped(UPLOADS_EXPIRED, count)
        done += count
    while count := await transfers.catalogue.write(blobs.release_deleted, MAX_BATCH):
        transfers.counts.reaped(IMAGES_RELEASED, count)
        done += count
    while removals := await transfers.catalogue.write(blobs.claim, transfers.now(), transfers.now() + RETRY, MAX_BATCH):
        gone = []
        for removal in removals:
            try:
                await transfers.stores.find(removal.store).delete(removal.key)
                gone.append(removal.key)
            except RegistryError as error:
                fields = {"store": removal.store, "key": removal.key, "cause": cause_of(error)}
                log.warning("an object was not removed; tried again later", extra={"fields": fields})
        if gone:
            await transfers.catalogue.write(blobs.removed, gone)
            transfers.counts.reaped(OBJECTS_REMOVED, len(gone))
        if failed := len(removals) - len(gone):
            transfers.counts.reaper_failed(failed)
        done += len(gone)
    return done
