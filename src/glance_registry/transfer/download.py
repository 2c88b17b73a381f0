# SPDX-License-Identifier: Apache-2.0
"""An image's bytes are read."""

import logging
from collections.abc import AsyncGenerator, Sequence

from glance_registry.catalogue import blobs
from glance_registry.model.errors import StoreUnavailable
from glance_registry.model.image import Image
from glance_registry.stores.base import cause_of
from glance_registry.transfer.counts import downloading
from glance_registry.transfer.upload import Transfers

log = logging.getLogger(__name__)


async def open_bytes(
    transfers: Transfers, image: Image, start: int, end: int, prefer: Sequence[str] = ()
) -> tuple[bytes, AsyncGenerator[bytes, None]]:
    """The first chunk of an image's bytes from `start` to before `end`, and those that follow.

    The stores in `prefer` are tried first, in this order, then the others. A store that fails before its first chunk
    is left for the next one. Raises Invalid for a store that is not there, StoreUnavailable when none has the bytes.
    """
    assert image.blob_number is not None
    for name in prefer:
        transfers.stores.find(name)
    copies = {copy.store: copy for copy in await transfers.catalogue.read(blobs.copies, image.blob_number)}
    error: StoreUnavailable = StoreUnavailable(image.stores[0] if image.stores else transfers.stores.default)
    for name in dict.fromkeys((*prefer, *transfers.stores.by_name)):
        if name not in copies or name not in image.stores:
            continue
        following = transfers.stores.find(name).read(copies[name].key, start, end)
        try:
            first = await anext(following, b"")
        except StoreUnavailable as failed:
            fields = {"store": name, "image_id": image.id, "message": str(failed), "cause": cause_of(failed)}
            log.error("a store failed", extra={"fields": fields})
            error = failed
        else:
            return first, downloading(len(first), following, name, transfers.counts)
    raise error
