# SPDX-License-Identifier: Apache-2.0
"""Operations on the members of images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, false, insert, select, true, update

from glance_registry.catalogue.rows import locked, seen
from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller, check_may_share
from glance_registry.model.errors import NotFound
from glance_registry.model.member import Member


class SharedImage(NamedTuple):
    """An image that is shared with somebody, and whether they may share it on."""

    image_id: str
    can_share: bool


def find(connection: Connection, image_id: str, caller: Caller) -> list[Member]:
    """The members of an image; a member who lists sees only itself. Raises NotFound."""
    number, image = seen(connection, image_id, caller)
    if image.deleted and not caller.admin:
        raise NotFound("Image not found")
    members = _members(connection, number)
    if caller.admin or caller.writer or caller.owns(image):
        return members
    return [member for member in members if member.member_id == caller.project]


def find_shared(connection: Connection, member_id: str, caller: Caller) -> list[SharedImage]:
    """The images that are shared with a member, as far as they are the caller's or shared with the caller."""
    if caller.admin or caller.writer or (caller.project is not None and caller.project == member_id):
        own_business: ColumnElement[bool] = true()
    else:
        # A caller without project owns nothing, images without owner least of all.
        own_business = false() if caller.project is None else images.c.owner == caller.project
    statement = (
        select(images.c.id, image_members.c.can_share)
        .join(images, images.c.number == image_members.c.image_number)
        .where(image_members.c.member_id == member_id, images.c.deleted_at.is_(None), own_business)
        .order_by(images.c.created_at, images.c.id)
    )
    return [SharedImage(*row) for row in connection.execute(statement)]


def put(connection: Connection, image_id: str, member_id: str, can_share: bool | None, caller: Caller) -> None:
    """Add a member or change it; `can_share` None leaves what there is. Raises NotFound or Forbidden."""
    number, members = _to_share(connection, image_id, caller)
    if member_id not in members:
        _insert(connection, number, [Member(member_id=member_id, can_share=bool(can_share))])
    elif can_share is not None:
        connection.execute(update(image_members).where(*_one(number, member_id)).values(can_share=can_share))


def replace(connection: Connection, image_id: str, wanted: Sequence[Member], caller: Caller) -> None:
    """Make these the image's only members. Raises NotFound or Forbidden."""
    number, _ = _to_share(connection, image_id, caller)
    connection.execute(delete(image_members).where(image_members.c.image_number == number))
    _insert(connection, number, list({member.member_id: member for member in wanted}.values()))


def remove(connection: Connection, image_id: str, member_id: str, caller: Caller) -> None:
    """Remove a member. Raises NotFound (image or membership) or Forbidden."""
    number, members = _to_share(connection, image_id, caller)
    if member_id not in members:
        raise NotFound("Membership could not be found.")
    connection.execute(delete(image_members).where(*_one(number, member_id)))


def _to_share(connection: Connection, image_id: str, caller: Caller) -> tuple[int, dict[str, Member]]:
    """The image's number and its members, when the caller may see the image and share it.

    The row is locked: two changes of one image's members come one after the other.
    """
    seen(connection, image_id, caller)
    number, image = locked(connection, image_id)
    members = {member.member_id: member for member in _members(connection, number)}
    check_may_share(caller, image, members.get(caller.project or ""))
    return number, members


def _members(connection: Connection, number: int) -> list[Member]:
    statement = (
        select(image_members.c.member_id, image_members.c.can_share)
        .where(image_members.c.image_number == number)
        .order_by(image_members.c.member_id)
    )
    return [Member(member_id=row.member_id, can_share=row.can_share) for row in connection.execute(statement)]


def _one(number: int, member_id: str) -> tuple[Any, Any]:
    return image_members.c.member_id == member_id, image_members.c.image_number == number


def _insert(connection: Connection, number: int, members: Sequence[Member]) -> None:
    if members:
        connection.execute(
            insert(image_members),
            [
                {"member_id": member.member_id, "image_number": number, "can_share": member.can_share}
                for member in members
            ],
        )
