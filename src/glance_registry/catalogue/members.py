# SPDX-License-Identifier: Apache-2.0
"""Operations on the members of images.

Both APIs keep their members here. In the Registry API a membership gives the right to share on, and lists show
the image at once; in the Images API v2 it has a status, and lists show what the member has accepted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, delete, false, insert, select, true, update

from glance_registry.catalogue.lookup import locked, seen
from glance_registry.catalogue.rows import as_member, as_member_row
from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller, check_may_decide, check_may_invite, check_may_share
from glance_registry.model.changes import ANY, Precondition
from glance_registry.model.errors import Conflict, Forbidden, NotFound, TooLarge
from glance_registry.model.image import SHARED, Image
from glance_registry.model.member import MOST_MEMBERS, Member


class SharedImage(NamedTuple):
    """An image that is shared with somebody, and whether they may share it on."""

    image_id: str
    can_share: bool


def find(connection: Connection, image_id: str, caller: Caller) -> list[Member]:
    """The members of an image. Raises NotFound.

    A member sees only itself. A deleted image, which only an admin sees, has none.
    """
    number, image = seen(connection, image_id, caller)
    if image.deleted and not caller.admin:
        raise NotFound("Image not found")
    if image.deleted:
        return []
    return _known_to(caller, image, _members(connection, number))


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


def put(
    connection: Connection, image_id: str, member_id: str, can_share: bool | None, now: datetime, caller: Caller
) -> None:
    """Add a member or change it; `can_share` None leaves what there is. Raises NotFound or Forbidden."""
    number, members = _to_share(connection, image_id, caller)
    if member_id not in members:
        _insert(connection, number, [_new(member_id, now, can_share=bool(can_share))])
    elif can_share is not None:
        _update(
            connection,
            number,
            structs.replace(members[member_id], can_share=can_share, updated_at=_later(members[member_id], now)),
        )


def replace(
    connection: Connection, image_id: str, wanted: Mapping[str, bool | None], now: datetime, caller: Caller
) -> None:
    """Make these the image's only members. Who stays keeps the rest, and what it may share where that is None.

    Raises NotFound or Forbidden.
    """
    number, members = _to_share(connection, image_id, caller)
    connection.execute(delete(image_members).where(image_members.c.image_number == number))
    replaced = []
    for member_id, can_share in wanted.items():
        member = members.get(member_id) or _new(member_id, now)
        replaced.append(member if can_share is None else structs.replace(member, can_share=can_share))
    _insert(connection, number, replaced)


def remove(connection: Connection, image_id: str, member_id: str, caller: Caller) -> None:
    """Remove a member. Raises NotFound (image or membership) or Forbidden."""
    number, members = _to_share(connection, image_id, caller)
    _delete(connection, number, members, member_id)


class Membership(NamedTuple):
    """A shared image and one of its members."""

    image: Image
    member: Member


def find_of_shared(connection: Connection, image_id: str, caller: Caller) -> tuple[Image, list[Member]]:
    """A shared image and its members; a member sees only itself.

    Raises NotFound, or Forbidden when the image is not shared.
    """
    number, image = _shared(connection, image_id, caller)
    return image, _known_to(caller, image, _members(connection, number))


def invite(
    connection: Connection, image_id: str, member_id: str, now: datetime, caller: Caller, condition: Precondition = ANY
) -> Membership:
    """Make a project a member of a shared image; it has yet to accept.

    Raises Conflict when it is a member already, NotFound, Forbidden, PreconditionFailed (for all members) or TooLarge.
    """
    number, image = _shared(connection, image_id, caller, lock=True)
    check_may_invite(caller, image)
    members = _by_id(connection, number)
    condition.check_members(list(members.values()))
    if member_id in members:
        raise Conflict(f"Member {member_id} is a member of image {image_id} already.")
    if len(members) >= MOST_MEMBERS:
        raise TooLarge(f"An image may have at most {MOST_MEMBERS} members.")
    member = _new(member_id, now)
    _insert(connection, number, [member])
    return Membership(image, member)


def decide(
    connection: Connection, image_id: str, wanted: Member, now: datetime, caller: Caller, condition: Precondition = ANY
) -> Membership:
    """Set the status of a membership.

    Raises NotFound (image or membership), Forbidden or PreconditionFailed.
    """
    number, image = _shared(connection, image_id, caller, lock=True)
    # Who else is a member is not for everybody: only the owner hears that somebody is none.
    if not caller.owns(image):
        check_may_decide(caller, wanted.member_id)
    member = _one_of(_by_id(connection, number), wanted.member_id)
    check_may_decide(caller, wanted.member_id)
    condition.check_members([member])
    decided = structs.replace(member, status=wanted.status, updated_at=_later(member, now))
    _update(connection, number, decided)
    return Membership(image, decided)


def expel(connection: Connection, image_id: str, member_id: str, caller: Caller, condition: Precondition = ANY) -> None:
    """Remove a member of a shared image. Raises NotFound (image or membership), Forbidden or PreconditionFailed."""
    number, image = _shared(connection, image_id, caller, lock=True)
    check_may_invite(caller, image)
    members = _by_id(connection, number)
    condition.check_members([_one_of(members, member_id)])
    _delete(connection, number, members, member_id)


def _shared(connection: Connection, image_id: str, caller: Caller, *, lock: bool = False) -> tuple[int, Image]:
    number, image = (locked if lock else seen)(connection, image_id, caller)
    if image.deleted:
        raise NotFound("Image not found")
    if image.visibility != SHARED:
        raise Forbidden("Only shared images have members.")
    return number, image


def _to_share(connection: Connection, image_id: str, caller: Caller) -> tuple[int, dict[str, Member]]:
    """The image's number and its members, when the caller may see the image and share it.

    The row is locked: two changes of one image's members come one after the other.
    """
    number, image = locked(connection, image_id, caller)
    members = _by_id(connection, number)
    check_may_share(caller, image, members.get(caller.project or ""))
    return number, members


def _known_to(caller: Caller, image: Image, members: list[Member]) -> list[Member]:
    if caller.admin or caller.writer or caller.owns(image):
        return members
    return [member for member in members if member.member_id == caller.project]


def _members(connection: Connection, number: int) -> list[Member]:
    theirs = select(image_members).where(image_members.c.image_number == number)
    return [as_member(row) for row in connection.execute(theirs.order_by(image_members.c.member_id))]


def _by_id(connection: Connection, number: int) -> dict[str, Member]:
    return {member.member_id: member for member in _members(connection, number)}


def _one_of(members: dict[str, Member], member_id: str) -> Member:
    if member_id not in members:
        raise NotFound("Membership could not be found.")
    return members[member_id]


def _later(member: Member, now: datetime) -> datetime:
    """The time of a change, which no clock that goes back puts before the one before it."""
    return now if member.updated_at is None else max(now, member.updated_at)


def _new(member_id: str, now: datetime, *, can_share: bool = False) -> Member:
    return Member(member_id=member_id, can_share=can_share, created_at=now, updated_at=now)


def _one(number: int, member_id: str) -> tuple[Any, Any]:
    return image_members.c.member_id == member_id, image_members.c.image_number == number


def _insert(connection: Connection, number: int, members: Sequence[Member]) -> None:
    if members:
        connection.execute(insert(image_members), [as_member_row(number, member) for member in members])


def _update(connection: Connection, number: int, member: Member) -> None:
    values = as_member_row(number, member)
    connection.execute(update(image_members).where(*_one(number, member.member_id)).values(values))


def _delete(connection: Connection, number: int, members: dict[str, Member], member_id: str) -> None:
    _one_of(members, member_id)
    connection.execute(delete(image_members).where(*_one(number, member_id)))
