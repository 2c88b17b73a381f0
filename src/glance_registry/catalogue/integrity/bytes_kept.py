# SPDX-License-Identifier: Apache-2.0
"""Checks of the tables about the bytes of images: whether images, blobs, copies, uploads and removals agree.

No fault is: an image whose status is `saving` without an upload, because API servers of old store its bytes; and a blob
of an image that the release before blobs deleted, because the reaper removes it.
"""

from collections.abc import Callable, Iterator
from itertools import groupby

import msgspec
from sqlalchemy import Connection, and_, select

from glance_registry.catalogue.integrity.streaming import stream
from glance_registry.catalogue.tables import blob_copies, blobs, images, removals, uploads
from glance_registry.model.status import SAVING

Found = Iterator[tuple[str | None, str]]
"""Faults: the image's id or None, and a sentence."""

_LIVE_WITH_BLOB = and_(images.c.blob_number.is_not(None), images.c.deleted_at.is_(None))


def _blobs_of_images(connection: Connection) -> Found:
    """Each live image with bytes has a blob of the same size and digest."""
    columns = (images.c.id, images.c.size, images.c.os_hash_algo, images.c.os_hash_value, images.c.blob_number)
    theirs = (blobs.c.digest, blobs.c.size.label("blob_size"))
    joined = images.outerjoin(blobs, blobs.c.number == images.c.blob_number)
    found = select(*columns, *theirs).select_from(joined).where(_LIVE_WITH_BLOB).order_by(images.c.number)
    for row in stream(connection, found):
        if row.digest is None:
            yield row.id, f"The image has the blob number {row.blob_number}, which is not there."
            continue
        if row.size != row.blob_size:
            yield row.id, f"The image's size is {row.size}, and that of its blob {row.blob_size}."
        if row.digest != f"{row.os_hash_algo}:{row.os_hash_value}":
            yield row.id, "The image's os_hash_algo and os_hash_value are not the digest of its blob."


def _stores_of_images(connection: Connection) -> Found:
    """A blob has a copy in each store that an image names."""
    columns = (images.c.number, images.c.id, images.c.stores, blob_copies.c.store)
    joined = images.outerjoin(blob_copies, blob_copies.c.blob_number == images.c.blob_number)
    found = select(*columns).select_from(joined).where(_LIVE_WITH_BLOB).order_by(images.c.number)
    for _, group in groupby(stream(connection, found), key=lambda row: row.number):
        rows = list(group)
        copies = {row.store for row in rows}
        for name in _names(rows[0].stores):
            if name not in copies:
                yield rows[0].id, f"The image is in store {name!r}, but its blob has no copy there."


def _names(stores: str | None) -> list[str]:
    """The names in an image's column; none when it is damaged, which is a rule about the image's row."""
    try:
        return msgspec.json.decode(stores or "[]", type=list[str])
    except (msgspec.MsgspecError, ValueError, TypeError):
        return []


def _unused_blobs(connection: Connection) -> Found:
    used = select(images.c.number).where(images.c.blob_number == blobs.c.number).exists()
    for row in stream(connection, select(blobs).where(~used)):
        yield None, f"The blob number {row.number} ({row.digest}) is no image's."
    copied = select(blob_copies.c.store).where(blob_copies.c.blob_number == blobs.c.number).exists()
    for row in stream(connection, select(blobs).where(~copied)):
        yield None, f"The blob number {row.number} ({row.digest}) is in no store."


def _copies_of_none(connection: Connection) -> Found:
    known = select(blobs.c.number).where(blobs.c.number == blob_copies.c.blob_number).exists()
    for row in stream(connection, select(blob_copies).where(~known)):
        yield None, f"The object {row.key} in store {row.store!r} is one of blob {row.blob_number}, which is not there."


def _uploads_of_none(connection: Connection) -> Found:
    """An upload belongs to an image that waits for its bytes."""
    columns = (uploads.c.id.label("upload"), images.c.id, images.c.status, images.c.deleted_at)
    joined = uploads.outerjoin(images, images.c.number == uploads.c.image_number)
    for row in stream(connection, select(*columns).select_from(joined)):
        if row.id is None:
            yield None, f"The upload {row.upload} is one of an image that is not there."
        elif row.deleted_at is not None:
            yield row.id, "The image is deleted and has an upload."
        elif row.status != SAVING:
            yield row.id, f"The image has an upload, and its status is {row.status!r}."


def _removals_of_used(connection: Connection) -> Found:
    """The reaper would remove the bytes of an image, or those that come."""
    for table, key in ((blob_copies, blob_copies.c.key), (uploads, uploads.c.id)):
        wanted = select(removals).where(select(key).where(key == removals.c.key).exists())
        for row in stream(connection, wanted):
            yield None, f"The object {row.key} in store {row.store!r} is to be removed, but table {table.name} has it."


CHECKS: tuple[tuple[str, Callable[[Connection], Found]], ...] = (
    ("images", _blobs_of_images),
    ("images", _stores_of_images),
    ("blobs", _unused_blobs),
    ("blob_copies", _copies_of_none),
    ("uploads", _uploads_of_none),
    ("removals", _removals_of_used),
)
"""The name of each check, and what finds its faults."""
