# SPDX-License-Identifier: Apache-2.0
"""Purging: the rows of images deleted long ago go; a tombstone keeps each id from being used again."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from glance_registry.catalogue.instants import to_column
from glance_registry.catalogue.tables import images, tombstones


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
