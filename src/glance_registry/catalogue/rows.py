# SPDX-License-Identifier: Apache-2.0
"""An image's row: how it is found by id, and what it is as a value."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, select

from glance_registry.catalogue.instants import from_column, to_column
from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visible import readable
from glance_registry.model.access import Caller
from glance_registry.model.errors import NotFound
from glance_registry.model.image import Image, Location

COLUMNS = [column for column in images.c if column is not images.c.number]
_PLAIN = [
    column.name
    for column in COLUMNS
    if column.name not in ("created_at", "updated_at", "deleted_at", "properties", "locations")
]
_read_properties = msgspec.json.Decoder(dict[str, str]).decode
_read_locations = msgspec.json.Decoder(tuple[Location, ...]).decode
_write_json = msgspec.json.Encoder().encode

_BY_ID = select(images).where(images.c.id == bindparam("image_id"))
_BY_ID_TO_CHANGE = _BY_ID.with_for_update()


def visible_row(connection: Connection, image_id: str, caller: Caller) -> Row[Any]:
    """The row of an image, deleted or not. Raises NotFound when the caller may not see it, or there is none."""
    # An admin may see all: the commonest and shortest statement.
    statement = _BY_ID if caller.admin else _BY_ID.where(readable(caller))
    row = connection.execute(statement, {"image_id": image_id}).first()
    if row is None:
        raise NotFound("Image not found")
    return row


def row_to_change(connection: Connection, image_id: str) -> Row[Any]:
    """The row of an image that is not deleted, locked against other changes. Raises NotFound."""
    row = connection.execute(_BY_ID_TO_CHANGE, {"image_id": image_id}).first()
    if row is None or row.deleted_at is not None:
        raise NotFound("Image not found")
    return row


def as_image(row: Row[Any]) -> Image:
    return Image(
        id=row.id,
        version=row.version,
        created_at=from_column(row.created_at),
        updated_at=from_column(row.updated_at),
        deleted_at=None if row.deleted_at is None else from_column(row.deleted_at),
        name=row.name,
        status=row.status,
        visibility=row.visibility,
        disk_format=row.disk_format,
        container_format=row.container_format,
        size=row.size,
        virtual_size=row.virtual_size,
        checksum=row.checksum,
        owner=row.owner,
        min_disk=row.min_disk,
        min_ram=row.min_ram,
        protected=row.protected,
        properties=_read_properties(row.properties),
        locations=_read_locations(row.locations),
    )


def as_row(image: Image) -> dict[str, Any]:
    return {
        **{name: getattr(image, name) for name in _PLAIN},
        "created_at": to_column(image.created_at),
        "updated_at": to_column(image.updated_at),
        "deleted_at": None if image.deleted_at is None else to_column(image.deleted_at),
        "properties": _write_json(image.properties).decode(),
        "locations": _write_json(image.locations).decode(),
    }
