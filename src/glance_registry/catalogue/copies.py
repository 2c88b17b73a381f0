# SPDX-License-Identifier: Apache-2.0
"""An image's bytes in several stores: copies are added, and taken away.

`begin` writes down the object that is about to be written as one that is to be removed after a lease. Who writes it
calls `renew`. `finish` takes it from that list and gives it to the image, in one transaction. So whatever ends in
between, the reaper removes the object.
"""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection, delete, insert, select, update

from glance_registry.catalogue import blobs, images
from glance_registry.catalogue.blobs import Copy, StoredCopy
from glance_registry.catalogue.clock import time_of_change
from glance_registry.catalogue.lookup import lock_visible, locked_number, read_visible
from glance_registry.catalogue.rows import Stored, to_column
from glance_registry.catalogue.tables import blob_copies, removals
from glance_registry.catalogue.tables import blobs as blobs_table
from glance_registry.catalogue.tables import images as images_table
from glance_registry.model.access import Caller, check_may_choose_stores
from glance_registry.model.errors import Conflict, Forbidden, Gone, NotFound
from glance_registry.model.image import ACTIVE, Image

_GONE = "The copy took too long, or the image was deleted."


def sources(connection: Connection, image_id: str, caller: Caller) -> list[StoredCopy]:
    """Where an active image's bytes lie, and what they are. Raises NotFound, Conflict when it has none with us."""
    image = read_visible(connection, image_id, caller).image
    if image.status != ACTIVE or image.blob_number is None:
        raise Conflict("Only the bytes of an active image, which the registry keeps, can be copied.")
    found = (
        select(blob_copies, blobs_table.c.size, blobs_table.c.digest)
        .join(blobs_table, blobs_table.c.number == blob_copies.c.blob_number)
        .where(blob_copies.c.blob_number == image.blob_number)
        .order_by(blob_copies.c.store)
    )
    return [StoredCopy(row.blob_number, row.store, row.key, row.size, row.digest) for row in connection.execute(found)]


def begin(connection: Connection, copy: Copy, lease_until: datetime) -> None:
    """Write down an object that is about to be written."""
    connection.execute(insert(removals).values(key=copy.key, store=copy.store, due_at=to_column(lease_until)))


def renew(connection: Connection, key: str, lease_from: datetime, lease_until: datetime) -> None:
    """Go on writing the object. `lease_from` is the end of the lease before. Raises Gone when the reaper has it."""
    ours = (removals.c.key == key) & (removals.c.due_at == to_column(lease_from))
    if not connection.execute(update(removals).where(ours).values(due_at=to_column(lease_until))).rowcount:
        raise Gone(_GONE)


def give_up(connection: Connection, key: str) -> None:
    """Have the reaper remove the object now."""
    connection.execute(update(removals).where(removals.c.key == key).values(due_at=0))


def finish(
    connection: Connection, image_id: str, blob_number: int, copy: Copy, lease_until: datetime, now: datetime
) -> Image:
    """The object is written: the image is in that store, too.

    If the blob has an object there by now, that one stays, and the reaper removes the new one. Raises Gone when the
    reaper has the object, or the image is not active with this blob any more.
    """
    row = _locked(connection, image_id)
    if row is None or row.image.blob_number != blob_number or row.image.status != ACTIVE:
        raise Gone(_GONE)
    ours = (removals.c.key == copy.key) & (removals.c.due_at == to_column(lease_until))
    if blobs.has_copy(connection, blob_number, copy.store):
        give_up(connection, copy.key)
    elif connection.execute(delete(removals).where(ours)).rowcount:
        connection.execute(insert(blob_copies).values(blob_number=blob_number, store=copy.store, key=copy.key))
    else:
        raise Gone(_GONE)
    return _save(connection, row, (*row.image.stores, copy.store), now)


def share(connection: Connection, image_id: str, blob_number: int, store: str, now: datetime) -> bool:
    """Name the store in the image as well, if its blob has an object there already. Raises Gone."""
    row = _locked(connection, image_id)
    if row is None or row.image.blob_number != blob_number or row.image.status != ACTIVE:
        raise Gone(_GONE)
    if not blobs.has_copy(connection, blob_number, store):
        return False
    _save(connection, row, (*row.image.stores, store), now)
    return True


def remove(connection: Connection, image_id: str, store: str, now: datetime, caller: Caller) -> Image:
    """Take an image's bytes from one of its stores. The object goes when no other image has it there.

    Raises NotFound, Forbidden when the caller is no admin or no other store has the bytes, Conflict when the image is
    not active.
    """
    row = lock_visible(connection, image_id, caller)
    image = row.image
    check_may_choose_stores(caller)
    if image.status != ACTIVE:
        raise Conflict(f"Bytes are taken from a store only while an image is active; its status is '{image.status}'.")
    if image.blob_number is None or len(image.stores) < 2:
        raise Forbidden("No other store has the image's bytes: delete the image instead.")
    if store not in image.stores:
        raise NotFound(f"The image is not in store '{store}'.")
    saved = _save(connection, row, tuple(name for name in image.stores if name != store), now)
    blobs.release_copy(connection, image.blob_number, store)
    return saved


def _locked(connection: Connection, image_id: str) -> Stored | None:
    found = select(images_table.c.number).where(images_table.c.id == image_id, images_table.c.deleted_at.is_(None))
    number = connection.execute(found).scalar()
    return None if number is None else Stored(number, locked_number(connection, number))


def _save(connection: Connection, row: Stored, stores: tuple[str, ...], now: datetime) -> Image:
    old = row.image
    at = max(old.updated_at, time_of_change(connection, now))
    new = replace(old, stores=tuple(sorted(set(stores))), updated_at=at, version=old.version + 1)
    return images.save(connection, row.number, old, new)
