# SPDX-License-Identifier: Apache-2.0
"""One clause: the rows that a caller may see; used by get, list and count alike.

The clauses are constant but for the parameter `project`, the caller's.
"""

from enum import Enum

from sqlalchemy import ColumnElement, bindparam, or_, select, true

from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller
from glance_registry.model.image import COMMUNITY, PUBLIC

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


def listed(caller: Caller, public: bool | None = True) -> ColumnElement[bool]:
    """The rows that belong into a list for the caller; `public` as in `model.query.Query`."""
    if not caller.admin or public:
        return _ordinary(caller.project is not None)
    return true() if public is None else images.c.visibility != PUBLIC


def _ordinary(has_project: bool) -> ColumnElement[bool]:
    """Public, or its own, or shared with it. A caller without project has no own and no shared images."""
    public = images.c.visibility == PUBLIC
    if not has_project:
        return public
    shared = select(image_members.c.image_number).where(image_members.c.member_id == _PROJECT)
    return or_(public, images.c.owner == _PROJECT, images.c.number.in_(shared))
