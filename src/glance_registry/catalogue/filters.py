# SPDX-License-Identifier: Apache-2.0
"""A query's conditions as clauses."""

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement

from glance_registry.catalogue.instants import to_column
from glance_registry.catalogue.properties import having
from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visible import listed
from glance_registry.model.access import Caller
from glance_registry.model.query import Query

_OPERATORS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "ge": operator.ge,
    "le": operator.le,
}


def conditions(query: Query, caller: Caller) -> list[ColumnElement[bool]]:
    """The conditions under which a row belongs to the list asked for."""
    found = [listed(caller, query.public)]
    if query.deleted is not None:
        found.append(images.c.deleted_at.is_not(None) if query.deleted else images.c.deleted_at.is_(None))
    if query.changes_since is not None:
        found.append(images.c.updated_at > to_column(query.changes_since))
    asks_for_status = any(wanted.field == "status" for wanted in query.filters)
    if query.unlisted_statuses and query.deleted is False and not asks_for_status:
        found.append(images.c.status.not_in(sorted(query.unlisted_statuses)))
    found += [_OPERATORS[wanted.operator](images.c[wanted.field], wanted.value) for wanted in query.filters]
    found += [having(name, value) for name, value in query.properties]
    return found
