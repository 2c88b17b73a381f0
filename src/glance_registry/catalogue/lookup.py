# SPDX-License-Identifier: Apache-2.0
"""One image, found by its id."""

from sqlalchemy import Connection, bindparam

from glance_registry.catalogue.image_cache import cache_of
from glance_registry.catalogue.rows import ROW, Stored, as_stored
from glance_registry.catalogue.statements import Prepared, PreparedWrite
from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visibility import Scope, readable, scope_of
from glance_registry.model.access import Caller
from glance_registry.model.errors import NotFound
from glance_registry.model.image import Image

_BY_ID = ROW.where(images.c.id == bindparam("image_id"))
_VISIBLE_BY_ID = {scope: Prepared(_BY_ID.where(readable(scope))) for scope in Scope}
_LOCKED_BY_ID = {scope: PreparedWrite(_BY_ID.where(readable(scope)).with_for_update(of=images)) for scope in Scope}
_BY_NUMBER_TO_CHANGE = PreparedWrite(ROW.where(images.c.number == bindparam("image_number")).with_for_update())


def read_visible(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image, deleted or not. Raises NotFound if the caller may not see it."""
    row = _VISIBLE_BY_ID[scope_of(caller)].first(connection, {"image_id": image_id, "project": caller.project})
    if row is None:
        raise NotFound("Image not found")
    return cache_of(connection).load(row)


def lock_visible(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image that is not deleted, locked against other changes. Raises NotFound if the caller may not see it."""
    rows = _LOCKED_BY_ID[scope_of(caller)].run(connection, {"image_id": image_id, "project": caller.project}).rows
    if not rows or (stored := as_stored(rows[0])).image.deleted:
        raise NotFound("Image not found")
    return stored


def locked_number(connection: Connection, number: int) -> Image:
    """The image with this number, locked against other changes. The caller knows that it is there."""
    return as_stored(_BY_NUMBER_TO_CHANGE.run(connection, {"image_number": number}).rows[0]).image
