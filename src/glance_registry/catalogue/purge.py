# SPDX-License-Identifier: Apache-2.0
"""Purging: remove the rows of images deleted long ago. A tombstone prevents that an id is used again."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select

from glance_registry.catalogue import blobs
from glance_registry.catalogue.images import ids_taken
from glance_registry.catalogue.listing import property_index
from glance_registry.catalogue.rows import ROW, as_stored, from_column, to_column
from glance_registry.catalogue.tables import image_members, images, tombstones


class Tombstone(Struct, frozen=True):
    """The record that remains of a purged image."""

    id: str
    purged_at: datetime


def purge(connection: Connection, deleted_before: datetime, now: datetime, limit: int) -> int:
    """Purge up to `limit` images deleted before a time; the number purged. Small limits let other writes in between."""
    oldest = (
        ROW.where(images.c.deleted_at < to_column(deleted_before))
        .order_by(images.c.deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = [as_stored(row) for row in connection.execute(oldest).all()]
    if gone:
        purged_at = to_column(now)
        connection.execute(insert(tombstones), [{"id": image.id, "purged_at": purged_at} for _, image in gone])
        # SQLite gives the number of a removed newest row to the next image: no entry may still have that number.
        for stored in gone:
            property_index.replace(connection, stored, None)
        blobs.after_purge(connection, gone)
        numbers = [number for number, _ in gone]
        connection.execute(delete(image_members).where(image_members.c.image_number.in_(numbers)))
        connection.execute(delete(images).where(images.c.number.in_(numbers)))
    return len(gone)


def tombstones_after(connection: Connection, image_id: str, limit: int) -> list[Tombstone]:
    """Up to `limit` tombstones in the order of their ids, after the given one."""
    statement = select(tombstones).where(tombstones.c.id > image_id).order_by(tombstones.c.id).limit(limit)
    return [Tombstone(row.id, from_column(row.purged_at)) for row in connection.execute(statement)]


def add_tombstones(connection: Connection, wanted: Sequence[Tombstone]) -> int:
    """Add the tombstones of ids that no image has or had; the number added."""
    taken = ids_taken(connection, [tombstone.id for tombstone in wanted])
    rows = {
        tombstone.id: {"id": tombstone.id, "purged_at": to_column(tombstone.purged_at)}
        for tombstone in wanted
        if tombstone.id not in taken
    }
    if rows:
        connection.execute(insert(tombstones), list(rows.values()))
    return len(rows)
