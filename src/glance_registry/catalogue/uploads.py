# SPDX-License-Identifier: Apache-2.0
"""Uploads: an image gets its bytes in three transactions.

`begin` reserves the image (status `saving`) and the owner's bytes, and writes down the key of the object. The one who
writes the object calls `renew` as long as it is at it. `finish` makes the image active; `abort` makes it queued again
and has the object removed. `expire` does the same for uploads whose writer has vanished.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, delete, func, insert, select, update

from glance_registry.catalogue import blobs, images
from glance_registry.catalogue.clock import time_of_change
from glance_registry.catalogue.lookup import lock_visible, locked_number
from glance_registry.catalogue.rows import to_column
from glance_registry.catalogue.sql import lock_name
from glance_registry.catalogue.tables import images as images_table
from glance_registry.catalogue.tables import uploads
from glance_registry.model.access import Caller, check_may_modify
from glance_registry.model.changes import ANY, Precondition
from glance_registry.model.errors import Conflict, Gone, Invalid, TooLarge
from glance_registry.model.image import ACTIVE, Image
from glance_registry.model.limits import OwnerLimits, Usage
from glance_registry.model.status import QUEUED, SAVING

_GONE = "The image was deleted, or its upload paused for too long."


class NewUpload(Struct, frozen=True, kw_only=True):
    """What is known of an upload when it begins."""

    id: str
    store: str
    announced: int
    """Bytes that the client says will come; 0 when it does not say."""
    expires_at: datetime
    resumable: bool = False
    """Whether it may go on after a break; see `resumable.py`."""
    length: int | None = None
    """Of a resumable upload: as `announced`, but None when the client does not say."""


class StoredBytes(Struct, frozen=True, kw_only=True):
    """What was found of an image's bytes while they came."""

    size: int
    virtual_size: int | None
    checksum: str
    os_hash_algo: str
    os_hash_value: str
    inspected_as: tuple[str | None, str | None]
    """The disk_format and container_format that the image had while its bytes came."""
    damaged_key: str | None = None
    """The object in the store that other images have of the same bytes, if the store has it not, or not all of it."""

    @property
    def digest(self) -> str:
        """The digest that names the blob."""
        return f"{self.os_hash_algo}:{self.os_hash_value}"


def begin(
    connection: Connection,
    image_id: str,
    new: NewUpload,
    limits: OwnerLimits,
    now: datetime,
    caller: Caller,
    condition: Precondition = ANY,
) -> Image:
    """Reserve a queued image for an upload.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict (it is not queued, or its bytes lie elsewhere), Invalid (a
    format is missing), TooLarge (its owner has too many bytes or uploads).
    """
    number, image = lock_visible(connection, image_id, caller)
    check_may_modify(caller, image)
    condition.check(image)
    if image.status != QUEUED:
        raise Conflict(f"Bytes are taken only while an image is queued; its status is '{image.status}'.")
    if image.blob_number is not None:
        raise Conflict("The registry keeps this image's bytes already.")
    if image.locations:
        raise Conflict("The image has a location, so its bytes lie there.")
    missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
    if missing:
        raise Invalid(f"{' and '.join(missing)} must be set before the bytes of the image are uploaded.")
    _check_uploads(connection, image.owner, limits)
    _check_bytes(connection, image.owner, new.announced, limits)
    connection.execute(
        insert(uploads).values(
            id=new.id,
            image_number=number,
            owner=image.owner,
            store=new.store,
            reserved=new.announced,
            expires_at=to_column(new.expires_at),
            resumable=new.resumable or None,
            length=new.length,
            kept=0 if new.resumable else None,
        )
    )
    return _save(connection, number, image, replace(image, status=SAVING, size=new.announced or None), now)


def renew(connection: Connection, upload_id: str, reserved: int, limits: OwnerLimits, expires_at: datetime) -> None:
    """Keep an upload from expiring, and reserve so many bytes for it in all.

    Raises Gone when it has expired, or its image was deleted; TooLarge when its owner may not have so many bytes.
    """
    row = connection.execute(select(uploads.c.owner, uploads.c.reserved).where(uploads.c.id == upload_id)).first()
    if row is None:
        raise Gone(_GONE)
    if reserved > row.reserved:
        _check_bytes(connection, row.owner, reserved - row.reserved, limits)
    changed = {"reserved": max(reserved, row.reserved), "expires_at": to_column(expires_at)}
    connection.execute(update(uploads).where(uploads.c.id == upload_id).values(changed))


def finish(connection: Connection, upload_id: str, found: StoredBytes, now: datetime) -> Image:
    """Make the image active with the bytes that were stored. Raises Gone as `renew` does, Conflict."""
    number, store, image = _end(connection, upload_id)
    if image.status != SAVING:
        raise Gone("Another request changed the image's status while its bytes came.")
    if (image.disk_format, image.container_format) != found.inspected_as:
        raise Conflict("Another request changed the image's formats while its bytes came; upload them again.")
    copy = blobs.Copy(store, upload_id)
    blob_number = blobs.put(connection, found.digest, found.size, copy, now, found.damaged_key)
    new = replace(
        image,
        status=ACTIVE,
        size=found.size,
        virtual_size=found.virtual_size,
        checksum=found.checksum,
        os_hash_algo=found.os_hash_algo,
        os_hash_value=found.os_hash_value,
        blob_number=blob_number,
        stores=(store,),
    )
    return _save(connection, number, image, new, now)


def abort(connection: Connection, upload_id: str, now: datetime) -> None:
    """Make the image queued again, as if nothing had happened, and have the object removed. Raises Gone."""
    number, store, image = _end(connection, upload_id)
    blobs.remove_soon(connection, [blobs.Copy(store, upload_id)])
    if image.status == SAVING:
        _save(connection, number, image, replace(image, status=QUEUED, size=None), now)


def expire(connection: Connection, now: datetime, limit: int) -> int:
    """Abort up to `limit` uploads that nobody has renewed in time; how many these were."""
    vanished = select(uploads.c.id).where(uploads.c.expires_at < to_column(now)).order_by(uploads.c.expires_at)
    ids = connection.execute(vanished.limit(limit)).scalars().all()
    for upload_id in ids:
        abort(connection, upload_id, now)
    return len(ids)


def usage(connection: Connection, owner: str) -> Usage:
    """What an owner has of what is limited. Served by indexes alone."""
    used, running = _bytes_and_uploads(connection, owner)
    return Usage(images=images.count_of(connection, owner), bytes=used, uploads=running)


def receiving(connection: Connection, image_ids: Sequence[str]) -> set[str]:
    """Which of these images get their bytes at this moment."""
    joined = uploads.join(images_table, images_table.c.number == uploads.c.image_number)
    found = select(images_table.c.id).select_from(joined).where(images_table.c.id.in_(image_ids))
    return set(connection.execute(found).scalars())


def _bytes_and_uploads(connection: Connection, owner: str) -> tuple[int, int]:
    """An owner's bytes, with those that are reserved, and uploads under way."""
    theirs = select(func.coalesce(func.sum(images_table.c.size), 0)).where(
        images_table.c.owner == owner, images_table.c.blob_number.is_not(None), images_table.c.deleted_at.is_(None)
    )
    running = select(func.coalesce(func.sum(uploads.c.reserved), 0), func.count()).where(uploads.c.owner == owner)
    reserved, count = connection.execute(running).one()
    return int(connection.execute(theirs).scalar_one()) + int(reserved), count


def _check_uploads(connection: Connection, owner: str | None, limits: OwnerLimits) -> None:
    if limits.uploads_per_owner is None or owner is None:
        return
    lock_name(connection, f"quota {owner}")
    _, running = _bytes_and_uploads(connection, owner)
    if running >= limits.uploads_per_owner:
        raise TooLarge(f"Project {owner} has {running} uploads under way, as many as it may have; let one end first.")


def _check_bytes(connection: Connection, owner: str | None, more: int, limits: OwnerLimits) -> None:
    """Raise TooLarge unless the owner may have more bytes: at least one, if nobody knows how many will come."""
    if limits.bytes_per_owner is None or owner is None:
        return
    lock_name(connection, f"quota {owner}")
    used, _ = _bytes_and_uploads(connection, owner)
    if used + max(1, more) > limits.bytes_per_owner:
        raise TooLarge(f"Project {owner} may have {limits.bytes_per_owner} bytes of images, and has {used} already.")


def _end(connection: Connection, upload_id: str) -> tuple[int, str, Image]:
    """Remove an upload that ends: its image's number and value, locked, and the store."""
    ended = delete(uploads).where(uploads.c.id == upload_id).returning(uploads.c.image_number, uploads.c.store)
    row = connection.execute(ended).first()
    if row is None:
        raise Gone(_GONE)
    image = locked_number(connection, row.image_number)
    return row.image_number, row.store, image


def _save(connection: Connection, number: int, old: Image, new: Image, now: datetime) -> Image:
    at = max(old.updated_at, time_of_change(connection, now))
    return images.save(connection, number, old, replace(new, updated_at=at, version=old.version + 1))
