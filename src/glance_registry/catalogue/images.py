# SPDX-License-Identifier: Apache-2.0
"""Operations on images: each takes a connection with a transaction running."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, union_all, update

from glance_registry.catalogue import blobs
from glance_registry.catalogue.clock import time_of_change
from glance_registry.catalogue.image_cache import cache_of
from glance_registry.catalogue.listing import property_index
from glance_registry.catalogue.listing.pages import page
from glance_registry.catalogue.lookup import lock_visible, read_visible
from glance_registry.catalogue.rows import (
    MAX_PAGE_BYTES,
    WRITTEN,
    Stored,
    as_member,
    as_member_row,
    as_row,
    as_stored,
    document_bytes,
    to_column,
)
from glance_registry.catalogue.statements import PreparedWrite
from glance_registry.catalogue.tables import image_members, images, tombstones
from glance_registry.model.access import Caller
from glance_registry.model.changes import ANY, Change, Precondition, apply
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Conflict, NotFound, TooLarge
from glance_registry.model.image import Image
from glance_registry.model.member import Member
from glance_registry.model.query import Query
from glance_registry.model.rules import Rules, check_change

_ID_TAKEN = PreparedWrite(
    union_all(
        select(images.c.id).where(images.c.id == bindparam("image_id")),
        select(tombstones.c.id).where(tombstones.c.id == bindparam("image_id")),
    )
)
_IDS_TAKEN = union_all(
    select(images.c.id).where(images.c.id.in_(bindparam("ids", expanding=True))),
    select(tombstones.c.id).where(tombstones.c.id.in_(bindparam("ids", expanding=True))),
)
_INSERT = PreparedWrite(insert(images).returning(images.c.number), WRITTEN)
_INSERT_ALL = insert(images).returning(images.c.id, images.c.number)
_SAVE = PreparedWrite(
    update(images).where(images.c.number == bindparam("image_number"), images.c.version == bindparam("read_version")),
    WRITTEN,
)


def get(connection: Connection, image_id: str, caller: Caller, contract: Contract | None = None) -> Image:
    """One image. Raises NotFound if the caller may not see it, or if it is deleted, unless the contract shows it."""
    image = read_visible(connection, image_id, caller).image
    # "Deleted: 404, but an admin still sees it by id" (protocol, section 3).
    if image.deleted and not (contract is not None and contract.admin_sees_deleted and caller.admin):
        raise NotFound("Image not found")
    return image


class ImagePage(list[Image]):
    """The images of a page; `cut` if its size ended it before its limit, so that more may follow."""

    cut = False


def find(connection: Connection, query: Query, caller: Caller) -> ImagePage:
    """A page of the images that a query selects. Raises Invalid if the marker is not an image."""
    rows = page(connection, query, caller)
    load = cache_of(connection).load
    found = ImagePage(load(row).image for row in rows)
    found.cut = len(rows) < query.page.limit and sum(map(document_bytes, rows)) >= MAX_PAGE_BYTES
    return found


def add(connection: Connection, image: Image, max_images: int | None = None) -> Image:
    """Register an image.

    Raises Conflict if its id was ever used before, TooLarge if its owner has `max_images` images (None: no limit).
    """
    if _ID_TAKEN.run(connection, {"image_id": image.id}).rows:
        raise Conflict(f"Image with identifier {image.id} already exists!")
    if max_images is not None and image.owner is not None:
        _check_room(connection, image.owner, max_images)
    at = time_of_change(connection, image.created_at)
    if at != image.created_at:
        image = replace(image, created_at=at, updated_at=at)
    ((number,),) = _INSERT.run(connection, as_row(image)).rows
    property_index.add(connection, [Stored(number, image)])
    return image


def _check_room(connection: Connection, owner: str, max_images: int) -> None:
    """Raise TooLarge if the owner may have no more images. Reads up to `max_images` entries of images_owner.

    On PostgreSQL, two images that are added at the same moment may exceed the limit by one.
    """
    theirs = select(images.c.number).where(images.c.owner == owner, images.c.deleted_at.is_(None)).limit(max_images)
    if connection.execute(select(func.count()).select_from(theirs.subquery())).scalar_one() >= max_images:
        # Glance also answers 413, if `image_count_total` is reached.
        raise TooLarge(f"Project {owner} has {max_images} images, as many as it may have: delete one first.")


def change(
    connection: Connection,
    image_id: str,
    changes: Sequence[Change],
    now: datetime,
    caller: Caller,
    rules: Rules,
    condition: Precondition = ANY,
) -> Image:
    """Apply changes to an image, and save the result if it differs and the rules allow it.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict, Invalid, TooLarge.
    """
    number, image = lock_visible(connection, image_id, caller)
    rules.check_may_change(caller, image)
    condition.check(image)
    changed = apply(image, changes, now)
    if changed is image:
        return image
    check_change(caller, image, changed, rules)
    at = time_of_change(connection, now)
    if at > changed.updated_at:
        changed = replace(changed, updated_at=at, deleted_at=at if changed.deleted else None)
    return save(connection, number, image, changed)


def count_of(connection: Connection, owner: str) -> int:
    """How many images an owner has, without deleted ones. Reads all its entries of images_owner."""
    theirs = select(func.count()).where(images.c.owner == owner, images.c.deleted_at.is_(None))
    return int(connection.execute(theirs).scalar_one())


def count_by_status(connection: Connection) -> dict[str, int]:
    """The number of images of each status, without deleted ones. Reads the whole table."""
    statement = (
        select(images.c.status, func.count().label("images"))
        .where(images.c.deleted_at.is_(None))
        .group_by(images.c.status)
    )
    return {row.status: row.images for row in connection.execute(statement)}


class ImageRecord(Struct, frozen=True):
    """An image with its members, as exports write it and imports read it."""

    image: Image
    members: tuple[Member, ...] = ()


def after(connection: Connection, created_at: datetime | None, image_id: str, limit: int) -> list[ImageRecord]:
    """Up to `limit` images after the given key in the order of (created_at, id), deleted ones too."""
    statement = select(images).order_by(images.c.created_at.nulls_first(), images.c.id).limit(limit)
    if created_at is not None:
        statement = statement.where(tuple_(images.c.created_at, images.c.id) > tuple_(to_column(created_at), image_id))
    rows = connection.execute(statement).all()
    members: dict[int, list[Member]] = {row.number: [] for row in rows}
    theirs = select(image_members).where(image_members.c.image_number.in_(list(members)))
    for row in connection.execute(theirs.order_by(image_members.c.member_id)):
        members[row.image_number].append(as_member(row))
    return [ImageRecord(as_stored(row).image, tuple(members[row.number])) for row in rows]


def add_all(connection: Connection, wanted: Sequence[ImageRecord]) -> int:
    """Register those whose ids were never used before, and of two with one id the first; the number registered."""
    taken = ids_taken(connection, [record.image.id for record in wanted])
    new: dict[str, ImageRecord] = {}
    for record in wanted:
        if record.image.id not in taken:
            new.setdefault(record.image.id, record)
    if not new:
        return 0
    rows = connection.execute(_INSERT_ALL, [as_row(record.image) for record in new.values()])
    numbers = {row.id: row.number for row in rows.all()}
    property_index.add(connection, [Stored(numbers[image_id], record.image) for image_id, record in new.items()])
    members = [
        as_member_row(numbers[image_id], member) for image_id, record in new.items() for member in record.members
    ]
    if members:
        connection.execute(insert(image_members), members)
    return len(new)


def ids_taken(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these ids that an image has or had."""
    return set(connection.execute(_IDS_TAKEN, {"ids": list(ids)}).scalars())


def save(connection: Connection, number: int, old: Image, new: Image) -> Image:
    """Replace the row of the old version. Raises Conflict if another request has changed the image meanwhile."""
    saved = _SAVE.run(connection, {"image_number": number, "read_version": old.version, **as_row(new)})
    if saved.changed != 1:
        raise Conflict(f"Image {new.id} was changed by another request at the same time.")
    property_index.replace(connection, Stored(number, old), new)
    blobs.after_save(connection, number, old, new)
    return new
