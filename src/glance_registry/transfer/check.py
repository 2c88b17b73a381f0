# SPDX-License-Identifier: Apache-2.0
"""Compares what the catalogue and the stores hold, while uploads and deletions go on.

Rows are read in pages by key, and objects in batches, so memory does not grow with their number. What looks wrong is
looked at again before it is called a fault, because an image may have been deleted meanwhile. An upload's row is there
before its object, and a key is never used twice: an object that no row refers to will never be referred to.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from msgspec import Struct

from glance_registry.catalogue import blobs
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.blobs import StoredCopy
from glance_registry.model.errors import Invalid, RegistryError, StoreUnavailable
from glance_registry.stores.base import ObjectMissing, Store, StoredObject, cause_of, check_key
from glance_registry.stores.by_name import Stores

GRACE = timedelta(hours=1)
"""An object without a row is surplus only when it has not changed for so long."""

MAX_BATCH = 500
"""Rows, or objects of a store, that are compared at once."""

MAX_AT_ONCE = 16
"""Objects whose sizes stores are asked for at once."""

MAX_DEEP_AT_ONCE = 4
"""Objects that are read at once: each takes the memory of two chunks."""

MAX_FAILURES = 100
"""After so many objects that a store fails to give, it is left alone: it is down."""

MAX_NAMED_IMAGES = 5
"""Images that are named for one damaged object."""


class Fault(Struct, frozen=True):
    """Something that does not agree."""

    store: str
    sentence: str
    key: str | None = None
    """The object; None if the fault is not of one."""
    images: tuple[str, ...] = ()
    """The ids of images that have it, at most `MAX_NAMED_IMAGES`."""
    removed: bool = False
    """Whether the fault is mended: the object is gone."""


class Outcome(Struct):
    """What was compared, and the number of faults that are left."""

    copies: int = 0
    objects: int = 0
    size: int = 0
    """Of all objects, in bytes."""
    faults: int = 0
    removed: int = 0


async def check(
    catalogue: Catalogue,
    stores: Stores,
    now: datetime,
    report: Callable[[Fault], None],
    *,
    deep: bool = False,
    repair: bool = False,
) -> Outcome:
    """Compare both ways, and report each fault.

    `deep`: also read all objects and compare their digests. `repair`: remove surplus objects from their stores. Raises
    Unavailable when the database does not answer.
    """
    return await _Check(catalogue, stores, now, report, deep=deep, repair=repair).run()


class _Check:
    def __init__(
        self,
        catalogue: Catalogue,
        stores: Stores,
        now: datetime,
        report: Callable[[Fault], None],
        *,
        deep: bool,
        repair: bool,
    ) -> None:
        self._catalogue = catalogue
        self._stores = stores.by_name
        self._surplus_before = now - GRACE
        self._report = report
        self._deep = deep
        self._repair = repair
        self._outcome = Outcome()
        self._failures = dict.fromkeys(self._stores, 0)
        self._at_once = asyncio.Semaphore(MAX_DEEP_AT_ONCE if deep else MAX_AT_ONCE)

    async def run(self) -> Outcome:
        known = await self._catalogue.read(blobs.objects_by_store)
        for name in sorted(set(known) - set(self._stores)):
            self._fault(
                Fault(name, f"The settings do not name this store, and rows refer to {known[name]} objects in it.")
            )
        await self._check_copies()
        for name, store in self._stores.items():
            await self._check_objects(store, is_known=name in known)
        return self._outcome

    def _fault(self, fault: Fault) -> None:
        if fault.removed:
            self._outcome.removed += 1
        else:
            self._outcome.faults += 1
        self._report(fault)

    async def _check_copies(self) -> None:
        """Whether stores have what rows say."""
        page = await self._catalogue.read(blobs.copies_after, 0, "", MAX_BATCH)
        while page:
            self._outcome.copies += len(page)
            await asyncio.gather(*(self._check_copy(copy) for copy in page if copy.store in self._stores))
            page = await self._catalogue.read(blobs.copies_after, page[-1].blob_number, page[-1].store, MAX_BATCH)

    async def _check_copy(self, copy: StoredCopy) -> None:
        async with self._at_once:
            if self._failures[copy.store] >= MAX_FAILURES:
                return
            sentence = await self._look_at(copy)
            if not sentence:
                return
            # The image may have been deleted, and its object removed, since its row was read.
            if await self._catalogue.read(blobs.is_copy, copy.blob_number, copy.key):
                ids = await self._catalogue.read(blobs.image_ids, copy.blob_number, MAX_NAMED_IMAGES)
                self._fault(Fault(copy.store, sentence, copy.key, tuple(ids)))

    async def _look_at(self, copy: StoredCopy) -> str:
        """What is wrong with an object; empty if nothing is."""
        store = self._stores[copy.store]
        try:
            size = await store.size(copy.key)
            if size != copy.size:
                return f"The object has {size} bytes, and the database says {copy.size}: restore it from a backup."
            return await _look_inside(store, copy) if self._deep else ""
        except ObjectMissing:
            return "The object is missing: restore it from a backup, or delete the images that have it."
        except StoreUnavailable as error:
            self._failures[copy.store] += 1
            if self._failures[copy.store] == MAX_FAILURES:
                return "The store failed too often; what else it has was not compared."
            return f"The object cannot be read: {cause_of(error)}."
        except Invalid:
            return "The key is none that this program makes."

    async def _check_objects(self, store: Store, *, is_known: bool) -> None:
        """Whether rows refer to what a store has. `is_known`: they do to some of it."""
        try:
            async for batch in _batches(store):
                self._outcome.objects += len(batch)
                self._outcome.size += sum(found.size for found in batch)
                await self._check_batch(store, batch, is_known=is_known)
        except StoreUnavailable as error:
            self._fault(Fault(store.name, f"The store cannot be listed: {cause_of(error)}."))

    async def _check_batch(self, store: Store, batch: Sequence[StoredObject], *, is_known: bool) -> None:
        old = {}
        for found in batch:
            if not _is_key(found.key):
                sentence = "Another program made this object; remove it if it is not needed."
                self._fault(Fault(store.name, sentence, found.key))
            elif found.changed_at < self._surplus_before:
                old[found.key] = found
        known = await self._catalogue.read(blobs.known_keys, store.name, list(old)) if old else set()
        for key, found in old.items():
            if key not in known:
                await self._surplus(store, found, is_known=is_known)

    async def _surplus(self, store: Store, found: StoredObject, *, is_known: bool) -> None:
        try:
            if found.complete:
                await store.size(found.key)
        except ObjectMissing:
            return  # The image was deleted, and the object removed, since it was listed.
        sentence = f"No row refers to the object, which has {found.size} bytes"
        if not self._repair:
            self._fault(Fault(store.name, f"{sentence}; --repair removes it.", found.key))
        elif not is_known:
            # Perhaps this is another registry's store, or another database.
            self._fault(
                Fault(
                    store.name,
                    f"{sentence}. It was not removed, because the database knows nothing in this store:"
                    " make sure that it is the right one.",
                    found.key,
                )
            )
        elif not await self._catalogue.read(blobs.known_keys, store.name, [found.key]):
            await self._remove(store, found, sentence)

    async def _remove(self, store: Store, found: StoredObject, sentence: str) -> None:
        try:
            await store.delete(found.key)
        except RegistryError as error:
            self._fault(Fault(store.name, f"{sentence}, and it was not removed: {cause_of(error)}.", found.key))
        else:
            self._fault(Fault(store.name, f"{sentence}; it was removed.", found.key, removed=True))


async def _look_inside(store: Store, copy: StoredCopy) -> str:
    algorithm, _, expected = copy.digest.partition(":")
    try:
        digest = hashlib.new(algorithm)
    except ValueError:
        return f"There is no digest {algorithm!r} on this machine."
    async with aclosing(store.read(copy.key, 0, copy.size)) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(digest.update, chunk)
    if digest.hexdigest() == expected:
        return ""
    return f"The bytes are not those that were uploaded, their {algorithm} differs: restore the object from a backup."


async def _batches(store: Store) -> AsyncIterator[list[StoredObject]]:
    batch: list[StoredObject] = []
    async for found in store.list():
        batch.append(found)
        if len(batch) == MAX_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_key(key: str) -> bool:
    try:
        check_key(key)
    except Invalid:
        return False
    return True
