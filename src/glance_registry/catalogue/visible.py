# SPDX-License-Identifier: Apache-2.0
"""One clause: the rows that a caller may see; used by get, list and count alike."""

from sqlalchemy import ColumnElement, false, or_, select, true

from glance_registry.catalogue.tables import image_members, images
from glance_registry.model.access import Caller
from glance_registry.model.image import COMMUNITY, PUBLIC


def listed(caller: Caller, public: bool | None = True) -> ColumnElement[bool]:
    """The rows that belong into a list for the caller; `public` as in `model.query.Query`."""
    if not caller.admin or public:
        return _ordinary(caller)
    return true() if public is None else images.c.visibility != PUBLIC


def readable(caller: Caller) -> ColumnElement[bool]:
    """The rows that the caller may see when it knows their id."""
    if caller.admin or caller.writer:
        return true()
    known_by_id = images.c.visibility == COMMUNITY if not caller.anonymous else false()
    return or_(_ordinary(caller), known_by_id)


def _ordinary(caller: Caller) -> ColumnElement[bool]:
    """Public, or its own, or shared with it. A caller without project has no own and no shared images."""
    public = images.c.visibility == PUBLIC
    if caller.project is None:
        return public
    shared = select(image_members.c.image_number).where(image_members.c.member_id == caller.project)
    return or_(public, images.c.owner == caller.project, images.c.number.in_(shared))
