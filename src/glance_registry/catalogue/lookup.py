# SPDX-License-Identifier: Apache-2.0
"""One image, found by its id."""

from sqlalchemy import Connection, bindparam

from glance_registry.catalogue.image_cache import cache_of
from glance_registry.catalogue.rows import ROW, Stored, as_stored
from glance_registry.catalogue.statements import Prepared, PreparedWrite
from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visibility import Sight, readable, sight
from glance_registry.model.access import Caller
from glance_registry.model.errors import NotFound

_BY_ID = ROW.where(images.c.id == bindparam("image_id"))
_SEEN_BY_ID = {sight: Prepared(_BY_ID.where(readable(sight))) for sight in Sight}
_LOCKED_BY_ID = {sight: PreparedWrite(_BY_ID.where(readable(sight)).with_for_update(of=images)) for sight in Sight}


def seen(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image, deleted or not. Raises NotFound when there is none that the caller may see."""
    row = _SEEN_BY_ID[sight(caller)].first(connection, {"image_id": image_id, "project": caller.project})
    if row is None:
        raise NotFound("Image not found")
    return cache_of(connection).load(row)


def locked(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image that is not deleted, locked against other changes.

    Raises NotFound when there is none that the caller may see.
    """
    rows = _LOCKED_BY_ID[sight(caller)].run(connection, {"image_id": image_id, "project": caller.project}).rows
    if not rows or (stored := as_stored(rows[0])).image.deleted:
        raise NotFound("Image not found")
    return stored
