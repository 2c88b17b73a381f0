# SPDX-License-Identifier: Apache-2.0
"""Purging: the rows of images deleted long ago go; a tombstone keeps each id from being used again."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select

from glance_registry.catalogue.images import ids_taken
from glance_registry.catalogue.instants import from_column, to_column
from glance_registry.catalogue.tables import images, tombstones


class Tombstone(Struct, frozen=True):
    """What is left of a purged image."""

    id: str
    purged_at: datetime


def purge(connection: Connection, deleted_before: datetime, now: datetime, limit: int) -> int:
    """Purge up to `limit` images deleted before a time; how many went. A small limit lets other writes in between."""
    oldest = (
        select(images.c.id)
        .where(images.c.deleted_at < to_column(deleted_before))
        .order_by(images.c.deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(oldest).scalars())
    if ids:
        purged_at = to_column(now)
        connection.execute(insert(tombstones), [{"id": image_id, "purged_at": purged_at} for image_id in ids])
        connection.execute(delete(images).where(images.c.id.in_(ids)))
    return len(ids)


def tombstones_after(connection: Connection, image_id: str, limit: int) -> list[Tombstone]:
    """Up to `limit` tombstones in the order of their ids, after the given one."""
    statement = select(tombstones).where(tombstones.c.id > image_id).order_by(tombstones.c.id).limit(limit)
    return [Tombstone(row.id, from_column(row.purged_at)) for row in connection.execute(statement)]


def bury(connection: Connection, wanted: Sequence[Tombstone]) -> int:
    """Set the tombstones of ids that no image here has or had; how many these are."""
    taken = ids_taken(connection, [tombstone.id for tombstone in wanted])
    rows = {
        tombstone.id: {"id": tombstone.id, "purged_at": to_column(tombstone.purged_at)}
        for tombstone in wanted
        if tombstone.id not in taken
    }
    if rows:
        connection.execute(insert(tombstones), list(rows.values()))
    return len(rows)
