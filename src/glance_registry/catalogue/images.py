# SPDX-License-Identifier: Apache-2.0
"""Operations on images: each takes a connection with a transaction running."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, insert, select, tuple_, union_all, update

from glance_registry.catalogue.instants import from_column, to_column
from glance_registry.catalogue.paging import page
from glance_registry.catalogue.tables import images, tombstones
from glance_registry.catalogue.visible import listed, seen_by_id
from glance_registry.model.access import Caller
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Conflict, NotFound
from glance_registry.model.image import Change, Image, Location, delete
from glance_registry.model.query import Query

_COLUMNS = [column for column in images.c if column is not images.c.number]
_PLAIN = [
    column.name
    for column in _COLUMNS
    if column.name not in ("created_at", "updated_at", "deleted_at", "properties", "locations")
]
_read_properties = msgspec.json.Decoder(dict[str, str]).decode
_read_locations = msgspec.json.Decoder(tuple[Location, ...]).decode
_write_json = msgspec.json.Encoder().encode

_BY_ID = select(*_COLUMNS).where(images.c.id == bindparam("image_id"))
_BY_ID_TO_CHANGE = _BY_ID.with_for_update()
_ID_TAKEN = union_all(
    select(images.c.id).where(images.c.id == bindparam("image_id")),
    select(tombstones.c.id).where(tombstones.c.id == bindparam("image_id")),
)
_INSERT = insert(images)
_SAVE = update(images).where(images.c.id == bindparam("image_id"), images.c.version == bindparam("read_version"))


def get(connection: Connection, image_id: str, caller: Caller, contract: Contract) -> Image:
    """One image. Raises NotFound when there is none that the caller may see."""
    row = connection.execute(_BY_ID, {"image_id": image_id}).first()
    if row is None:
        raise NotFound("Image not found")
    image = _image(row)
    if not seen_by_id(image, caller, contract):
        raise NotFound("Image not found")
    return image


def find(connection: Connection, query: Query) -> list[Image]:
    """A page of the images asked for. Raises Invalid when the marker is not an image."""
    statement = page(select(*_COLUMNS).where(*listed(query)), query, connection)
    return [_image(row) for row in connection.execute(statement)]


def add(connection: Connection, image: Image) -> Image:
    """Register an image. Raises Conflict when its id was ever used before."""
    if connection.execute(_ID_TAKEN, {"image_id": image.id}).first() is not None:
        raise Conflict(f"Image with identifier {image.id} already exists!")
    connection.execute(_INSERT, _row(image))
    return image


def change(connection: Connection, image_id: str, wanted: Change, now: datetime, contract: Contract) -> Image:
    """Apply a change to an image and keep the outcome, which the contract must allow.

    Raises NotFound, Conflict (status or version is another than the change starts from), Invalid.
    """
    image = _get_to_change(connection, image_id)
    changed = wanted.apply(image, now)
    contract.check(changed)
    return save(connection, changed)


def remove(connection: Connection, image_id: str, now: datetime) -> Image:
    """Delete an image softly; its id stays taken. Raises NotFound, or Forbidden when it is protected."""
    return save(connection, delete(_get_to_change(connection, image_id), now))


def save(connection: Connection, image: Image) -> Image:
    """Replace the row of the version before this one. Raises Conflict when another change came between."""
    outcome = connection.execute(_SAVE, {"image_id": image.id, "read_version": image.version - 1, **_row(image)})
    if outcome.rowcount != 1:
        raise Conflict(f"Image {image.id} was changed by another request at the same time.")
    return image


def count_by_status(connection: Connection) -> dict[str, int]:
    """How many images that are not deleted have each status. Reads the whole table."""
    statement = (
        select(images.c.status, func.count().label("images"))
        .where(images.c.deleted_at.is_(None))
        .group_by(images.c.status)
    )
    return {row.status: row.images for row in connection.execute(statement)}


def after(connection: Connection, created_at: datetime | None, image_id: str, limit: int) -> list[Image]:
    """Up to `limit` images of any kind, deleted ones too, in the order of (created_at, id) after the given ones."""
    statement = select(*_COLUMNS).order_by(images.c.created_at, images.c.id).limit(limit)
    if created_at is not None:
        statement = statement.where(tuple_(images.c.created_at, images.c.id) > tuple_(to_column(created_at), image_id))
    return [_image(row) for row in connection.execute(statement)]


def _get_to_change(connection: Connection, image_id: str) -> Image:
    row = connection.execute(_BY_ID_TO_CHANGE, {"image_id": image_id}).first()
    if row is None or row.deleted_at is not None:
        raise NotFound("Image not found")
    return _image(row)


def _image(row: Row[Any]) -> Image:
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


def _row(image: Image) -> dict[str, Any]:
    return {
        **{name: getattr(image, name) for name in _PLAIN},
        "created_at": to_column(image.created_at),
        "updated_at": to_column(image.updated_at),
        "deleted_at": None if image.deleted_at is None else to_column(image.deleted_at),
        "properties": _write_json(image.properties).decode(),
        "locations": _write_json(image.locations).decode(),
    }
