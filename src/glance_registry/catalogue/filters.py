# SPDX-License-Identifier: Apache-2.0
"""A query's conditions as clauses over named parameters: they depend on the query's shape, not on its values."""

import operator
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, FromClause, and_, bindparam, exists, literal_column, select

from glance_registry.catalogue.engine import unindexed
from glance_registry.catalogue.instants import to_column
from glance_registry.catalogue.properties import search_key
from glance_registry.catalogue.tables import image_properties, images, sorted_as
from glance_registry.model.query import Query

_OPERATORS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "ge": operator.ge,
    "le": operator.le,
}

SINCE = "since"


class Conditions(Struct, frozen=True):
    """What a query's images must meet, apart from who may see them: the shape, without the values."""

    filters: tuple[tuple[str, str], ...]
    """Fields and operators; the values are the parameters `filter0`, `filter1`…"""
    properties: int
    """How many; names and values are the parameters `name0`, `value0`…"""
    changes_since: bool
    deleted: bool | None
    without_statuses: tuple[str, ...]


def shape(query: Query) -> Conditions:
    asks_for_status = any(wanted.field == "status" for wanted in query.filters)
    hides = query.deleted is False and not asks_for_status
    return Conditions(
        filters=tuple((wanted.field, wanted.operator) for wanted in query.filters),
        properties=len(query.properties),
        changes_since=query.changes_since is not None,
        deleted=query.deleted,
        without_statuses=tuple(sorted(query.unlisted_statuses)) if hides else (),
    )


def parameters(query: Query) -> dict[str, Any]:
    """The values of the conditions' parameters."""
    values: dict[str, Any] = {f"filter{i}": wanted.value for i, wanted in enumerate(query.filters)}
    for i, (name, value) in enumerate(query.properties):
        values[f"name{i}"], values[f"value{i}"] = name, search_key(value)
    if query.changes_since is not None:
        values[SINCE] = to_column(query.changes_since)
    return values


def clauses(conditions: Conditions, lead: str | int | None = None) -> list[ColumnElement[bool]]:
    """All conditions but that on life; only the one on the field `lead` may choose the index that is walked. When
    `lead` is the number of a property, the caller walks along that."""
    found: list[ColumnElement[bool]] = []
    if conditions.changes_since:
        found.append(unindexed(images.c.updated_at) > bindparam(SINCE, type_=images.c.updated_at.type))
    found += [unindexed(images.c.status) != status for status in conditions.without_statuses]
    found += [filtered(conditions, i, indexed=field == lead) for i, (field, _) in enumerate(conditions.filters)]
    found += [_has_property(i) for i in range(conditions.properties) if i != lead]
    return found


def life(conditions: Conditions, deleted_at: ColumnElement[Any] = images.c.deleted_at) -> list[ColumnElement[bool]]:
    """The condition on being deleted, if there is one; on an unindexed column it leaves the choice to another."""
    if conditions.deleted is None:
        return []
    return [deleted_at.is_not(None) if conditions.deleted else deleted_at.is_(None)]


def filtered(conditions: Conditions, i: int, *, indexed: bool) -> ColumnElement[bool]:
    """The i-th filter. The index of a field that may be null has an expression, which stands in for null."""
    field, name = conditions.filters[i]
    compare, value = _OPERATORS[name], bindparam(f"filter{i}", type_=images.c[field].type)
    exact = compare(unindexed(images.c[field]), value)
    return and_(compare(sorted_as(field), value), exact) if indexed else exact


def property_is(i: int, rows: FromClause = image_properties) -> ColumnElement[bool]:
    """The rows of the property index for the i-th property."""
    return and_(
        rows.c.name == bindparam(f"name{i}", type_=image_properties.c.name.type),
        rows.c.value == bindparam(f"value{i}", type_=image_properties.c.value.type),
    )


def _has_property(i: int) -> ColumnElement[bool]:
    """Whether an image has the i-th property: asked of one image after the other, as a walk comes to it. Without the
    offset PostgreSQL would first collect all images that have it."""
    rows = image_properties.alias()
    found = select(rows.c.image_number).where(
        property_is(i, rows), rows.c.created_at == images.c.created_at, rows.c.image_number == images.c.number
    )
    return exists(found.offset(literal_column("0")))
