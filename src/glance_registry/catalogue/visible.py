# SPDX-License-Identifier: Apache-2.0
"""One clause: the rows that a caller may see; used by get, list and count alike.

The clauses are constant but for the parameter `project`, the caller's.
"""

from collections.abc import Iterable
from enum import Enum

from sqlalchemy import ColumnElement, and_, bindparam, exists, literal_column, or_, select, true

from glance_registry.catalogue.engine import among, unindexed
from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller
from glance_registry.model.image import COMMUNITY, PRIVATE, PUBLIC, SHARED, VISIBILITIES

_PROJECT = bindparam("project", type_=images.c.owner.type)


class Sight(Enum):
    """How far a caller sees."""

    ALL = "every image"
    PROJECT = "public images, its project's, and those shared with that; community images by id"
    USER = "public images; community images by id"
    PUBLIC = "public images"


def sight(caller: Caller) -> Sight:
    if caller.admin or caller.writer:
        return Sight.ALL
    if caller.project is not None:
        return Sight.PROJECT
    return Sight.PUBLIC if caller.anonymous else Sight.USER


def readable(sight: Sight) -> ColumnElement[bool]:
    """The rows that such a caller may see when it knows their id."""
    match sight:
        case Sight.ALL:
            return true()
        case Sight.PUBLIC:
            return _ordinary(False)
    return or_(_ordinary(sight is Sight.PROJECT), images.c.visibility == COMMUNITY)


class Part(Enum):
    """One of the parts, without an image in common, that make up what a list is taken from."""

    PUBLIC = PUBLIC
    COMMUNITY = COMMUNITY
    SHARED = SHARED
    PRIVATE = PRIVATE
    OWN = "the project's own, public ones apart"
    WITH_ME = "shared with the project, its own and public ones apart"


_NON_PUBLIC = (Part.COMMUNITY, Part.SHARED, Part.PRIVATE)


def parts(caller: Caller, public: bool | None) -> tuple[Part, ...]:
    """What a list for the caller is taken from; `public` as in `model.query.Query`."""
    if not caller.admin or public:
        return (Part.PUBLIC,) if caller.project is None else (Part.PUBLIC, Part.OWN, Part.WITH_ME)
    return _NON_PUBLIC if public is False else (Part.PUBLIC, *_NON_PUBLIC)


def in_part(part: Part, *, by_creation: bool = True) -> ColumnElement[bool]:
    """The rows of one part, along an index; that of a project's own images keeps the order of their creation."""
    own = images.c.owner == _PROJECT
    if not by_creation:
        live = images.c.deleted_at.is_(None)
        own = among(images.c.number, select(images.c.number).where(own, live).correlate(None))
    theirs = select(image_members.c.image_number).where(image_members.c.member_id == _PROJECT)
    return _in_part(part, images.c.visibility, own, among(images.c.number, theirs))


def anywhere() -> ColumnElement[bool]:
    """The rows of every visibility, along the index of a field, which begins with that."""
    return images.c.visibility.in_([literal_column(f"'{name}'") for name in VISIBILITIES])


def in_any(parts: Iterable[Part]) -> ColumnElement[bool]:
    """The rows of all these parts, when another condition chooses the index."""
    visibility, own = unindexed(images.c.visibility), images.c.owner == _PROJECT
    return or_(*(_in_part(part, visibility, own, _shared_with_project()) for part in parts))


def _in_part(
    part: Part, visibility: ColumnElement[str], own: ColumnElement[bool], shared: ColumnElement[bool]
) -> ColumnElement[bool]:
    not_public = visibility != PUBLIC
    match part:
        case Part.OWN:
            return and_(own, not_public)
        case Part.WITH_ME:
            return and_(shared, not_public, images.c.owner.is_distinct_from(_PROJECT))
    name: str = part.value
    return visibility == name


def _shared_with_project() -> ColumnElement[bool]:
    """Asked of one row after the other: a project may be a member of very many images."""
    mine = image_members.c.member_id == _PROJECT
    return exists().where(mine, image_members.c.image_number == images.c.number)


def _ordinary(has_project: bool) -> ColumnElement[bool]:
    """Public, or its own, or shared with it. A caller without project has no own and no shared images."""
    public = images.c.visibility == PUBLIC
    return or_(public, images.c.owner == _PROJECT, _shared_with_project()) if has_project else public
