# SPDX-License-Identifier: Apache-2.0
"""The rows that a caller may see, as clauses for point reads and lists.

The clauses are constant. Their parameters are the caller's `project` and the query's `member_status`.
"""

from collections.abc import Iterable
from enum import Enum

from sqlalchemy import ColumnElement, and_, bindparam, exists, literal_column, or_, select, true

from glance_registry.catalogue.sql import among, unindexed
from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller
from glance_registry.model.image import COMMUNITY, PRIVATE, PUBLIC, SHARED, VISIBILITIES
from glance_registry.model.query import Query, View

_PROJECT = bindparam("project", type_=images.c.owner.type)
_MEMBER_STATUS = bindparam("member_status", type_=image_members.c.status.type)


class Scope(Enum):
    """Which images a caller may see."""

    ALL = "every image"
    PROJECT = "public images, its project's, and those shared with that; community images by id, or asked for"
    USER = "public images; community images by id, or asked for"
    PUBLIC = "public images"


def scope_of(caller: Caller) -> Scope:
    if caller.admin or caller.writer:
        return Scope.ALL
    if caller.project is not None:
        return Scope.PROJECT
    return Scope.PUBLIC if caller.anonymous else Scope.USER


def readable(scope: Scope) -> ColumnElement[bool]:
    """The rows that a caller of this scope may read by id."""
    match scope:
        case Scope.ALL:
            return true()
        case Scope.PUBLIC:
            return _ordinary(False)
    return or_(_ordinary(scope is Scope.PROJECT), images.c.visibility == COMMUNITY)


class Part(Enum):
    """A set of images. Lists are made of several such sets, which have no image in common."""

    PUBLIC = PUBLIC
    COMMUNITY = COMMUNITY
    SHARED = SHARED
    PRIVATE = PRIVATE
    OWN = "the project's own, public ones apart"
    WITH_ME = "shared with the project, its own apart"
    WITH_ME_AS = "the same, as far as its membership has a status"
    OWN_COMMUNITY = "the project's own community images"
    OTHER_COMMUNITY = "those of others"


BY_VISIBILITY = frozenset({Part.PUBLIC, Part.COMMUNITY, Part.SHARED, Part.PRIVATE, Part.OTHER_COMMUNITY})
"""The parts that are read along the index of a sort key. The others are read as a whole."""

_NON_PUBLIC = (Part.COMMUNITY, Part.SHARED, Part.PRIVATE)


def parts(caller: Caller, query: Query) -> tuple[Part, ...]:
    """The parts that a list for the caller is made of."""
    if query.view is not None:
        return _viewed_by_admin(caller, query.view) if caller.admin else _viewed(caller, query.view)
    if not caller.admin or query.public:
        return (Part.PUBLIC,) if caller.project is None else (Part.PUBLIC, Part.OWN, Part.WITH_ME)
    return _NON_PUBLIC if query.public is False else (Part.PUBLIC, *_NON_PUBLIC)


def _viewed_by_admin(caller: Caller, view: View) -> tuple[Part, ...]:
    if view.visibility is None:
        own = () if caller.project is None else (Part.OWN_COMMUNITY,)
        return (Part.PUBLIC, Part.SHARED, Part.PRIVATE, *own)
    return (Part.PUBLIC, *_NON_PUBLIC) if view.visibility == "all" else (Part(view.visibility),)


def _viewed(caller: Caller, view: View) -> tuple[Part, ...]:
    """The parts of a view. If a part has images of other visibilities too, `filters.conditions_of` removes them."""
    if caller.anonymous:
        # "Without identity: read-only, public images only" (protocol, section 3).
        return (Part.PUBLIC,) if view.visibility in (None, "all", PUBLIC) else ()
    if caller.project is None:
        return _VIEWED_WITHOUT_PROJECT[view.visibility]
    with_me = Part.WITH_ME if view.member_status is None else Part.WITH_ME_AS
    match view.visibility:
        case "public" | "community":
            return (Part(view.visibility),)
        case "private":
            return (Part.OWN,)
        case "shared":
            return Part.OWN, with_me
        case "all":
            return Part.PUBLIC, Part.OTHER_COMMUNITY, Part.OWN, with_me
    return Part.PUBLIC, Part.OWN, with_me


_VIEWED_WITHOUT_PROJECT: dict[str | None, tuple[Part, ...]] = {
    None: (Part.PUBLIC,),
    PUBLIC: (Part.PUBLIC,),
    COMMUNITY: (Part.COMMUNITY,),
    "all": (Part.PUBLIC, Part.COMMUNITY),
    SHARED: (),
    PRIVATE: (),
}


def in_part(part: Part, *, by_creation: bool = True) -> ColumnElement[bool]:
    """The rows of one part, along an index; with `by_creation` in the order of creation, if they are a project's."""
    own = images.c.owner == _PROJECT
    if not by_creation:
        live = images.c.deleted_at.is_(None)
        own = among(images.c.number, select(images.c.number).where(own, live).correlate(None))
    theirs = select(image_members.c.image_number).where(_membership(part))
    return _in_part(part, images.c.visibility, own, among(images.c.number, theirs))


def anywhere() -> ColumnElement[bool]:
    """The rows of every visibility, along the index of a field, whose first column is the visibility."""
    return images.c.visibility.in_([literal_column(f"'{name}'") for name in VISIBILITIES])


def in_any(parts: Iterable[Part]) -> ColumnElement[bool]:
    """The rows of all these parts, if another condition chooses the index."""
    visibility, own = unindexed(images.c.visibility), images.c.owner == _PROJECT
    return or_(*(_in_part(part, visibility, own, _shared_with_project(part)) for part in parts))


def _in_part(
    part: Part, visibility: ColumnElement[str], own: ColumnElement[bool], shared: ColumnElement[bool]
) -> ColumnElement[bool]:
    foreign = images.c.owner.is_distinct_from(_PROJECT)
    match part:
        case Part.OWN:
            return and_(own, visibility != PUBLIC)
        case Part.WITH_ME | Part.WITH_ME_AS:
            # Read by the index of members. An equality would let the planner choose an index on visibility.
            return and_(shared, *(visibility != name for name in (PUBLIC, COMMUNITY, PRIVATE)), foreign)
        case Part.OWN_COMMUNITY:
            return and_(own, unindexed(images.c.visibility) == COMMUNITY)
        case Part.OTHER_COMMUNITY:
            return and_(visibility == COMMUNITY, foreign)
    name: str = part.value
    return visibility == name


def _membership(part: Part | None = None) -> ColumnElement[bool]:
    mine = image_members.c.member_id == _PROJECT
    return and_(mine, image_members.c.status == _MEMBER_STATUS) if part is Part.WITH_ME_AS else mine


def _shared_with_project(part: Part | None = None) -> ColumnElement[bool]:
    """Checked for each row, because a project may be a member of very many images."""
    return exists().where(_membership(part), image_members.c.image_number == images.c.number)


def _ordinary(has_project: bool) -> ColumnElement[bool]:
    """Public images, and those that a project owns or that are shared with it."""
    public = images.c.visibility == PUBLIC
    if not has_project:
        return public
    return or_(public, images.c.owner == _PROJECT, and_(images.c.visibility == SHARED, _shared_with_project()))
