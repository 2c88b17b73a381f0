# SPDX-License-Identifier: Apache-2.0
"""Lists page by key: the images that follow the marker's (sort value, created_at, id)."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visible import readable, sight
from glance_registry.model.access import Caller
from glance_registry.model.errors import Invalid
from glance_registry.model.query import Query

# A missing text sorts as the empty one and a missing size as -1: both databases agree on the order, and a
# marker without a value has its place in it.
_SORTED_AS: dict[str, ColumnElement[Any]] = {
    "name": func.coalesce(images.c.name, ""),
    "container_format": func.coalesce(images.c.container_format, ""),
    "disk_format": func.coalesce(images.c.disk_format, ""),
    "size": func.coalesce(images.c.size, -1),
}


def page(statement: Select[Any], query: Query, caller: Caller, connection: Connection) -> Select[Any]:
    """The statement, ordered and cut to the page asked for.

    Raises Invalid when the marker is not an image that the caller may see. One that was deleted since
    the page before still marks its place, so that a walk through the list goes on.
    """
    keys = _keys(query.sort.key)
    if query.page.marker is not None:
        place = select(*keys).where(images.c.id == query.page.marker, readable(sight(caller)))
        marker = connection.execute(place, {"project": caller.project}).first()
        if marker is None:
            raise Invalid(f"Marker '{query.page.marker}' is not an image.")
        here, there = tuple_(*keys), tuple_(*marker)
        statement = statement.where(here < there if query.sort.descending else here > there)
    ordered = [key.desc() if query.sort.descending else key.asc() for key in keys]
    return statement.order_by(*ordered).limit(query.page.limit)


def _keys(sort_key: str) -> list[ColumnElement[Any]]:
    if sort_key == "id":
        return [images.c.id]
    ties: list[ColumnElement[Any]] = [images.c.created_at, images.c.id]
    if sort_key == "created_at":
        return ties
    return [_SORTED_AS.get(sort_key, images.c[sort_key]), *ties]
