# SPDX-License-Identifier: Apache-2.0
"""A query's conditions as clauses over named parameters: they depend on the query's shape, not on its values."""

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, FromClause, and_, bindparam, exists, literal_column, select

from glance_registry.catalogue.listing.property_index import search_key
from glance_registry.catalogue.rows import to_column
from glance_registry.catalogue.search.query import TERMS, WORDS, has_words, is_one_word
from glance_registry.catalogue.sql import among, listed, unindexed, unordered
from glance_registry.catalogue.tables import image_properties, images, sorted_as
from glance_registry.model.image import PRIVATE, SHARED
from glance_registry.model.query import Query

_OPERATORS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
IN = "in"

SINCE = "since"
HIDDEN = "os_hidden"


class Conditions(Struct, frozen=True):
    """What a query's images must meet, apart from who may see them: the shape, without the values."""

    filters: tuple[tuple[str, str], ...]
    """Fields and operators; the values are the parameters `filter0`, `filter1`…"""
    properties: int
    """How many; names and values are the parameters `name0`, `value0`…"""
    words: bool
    one_word: bool
    changes_since: bool
    deleted: bool | None
    hidden: bool | None
    visibility: str | None
    without_statuses: tuple[str, ...]


def shape(query: Query) -> Conditions:
    return Conditions(
        filters=tuple((wanted.field, wanted.operator) for wanted in query.filters),
        properties=len(query.properties),
        words=bool(query.terms),
        one_word=bool(query.terms) and is_one_word(query.terms),
        changes_since=query.changes_since is not None,
        deleted=query.deleted,
        hidden=query.hidden,
        visibility=query.view.visibility if query.view and query.view.visibility in (PRIVATE, SHARED) else None,
        without_statuses=tuple(sorted(query.unlisted_statuses)) if query.deleted is False else (),
    )


def parameters(query: Query) -> dict[str, Any]:
    """The values of the conditions' parameters."""
    values: dict[str, Any] = {f"filter{i}": _parameter(wanted.value) for i, wanted in enumerate(query.filters)}
    for i, (name, value) in enumerate(query.properties):
        values[f"name{i}"], values[f"value{i}"] = name, search_key(value)
    if query.terms:
        values[TERMS] = msgspec.json.encode(query.terms).decode()
    if query.changes_since is not None:
        values[SINCE] = to_column(query.changes_since)
    if query.view is not None:
        values["member_status"] = query.view.member_status
    return values


def _parameter(value: Any) -> Any:
    """A filter's value as its parameter has it: of several values, their JSON list."""
    if isinstance(value, tuple):
        return msgspec.json.encode(value).decode()
    return to_column(value) if isinstance(value, datetime) else value


def clauses(conditions: Conditions, *leads: str | int | None) -> list[ColumnElement[bool]]:
    """All conditions but that on deletion.

    Only those on the fields in `leads` may choose the index. A lead that is the number of a property means that the
    caller reads along its index.
    """
    found: list[ColumnElement[bool]] = []
    if conditions.hidden is not None:
        hidden = images.c.os_hidden if HIDDEN in leads else unindexed(images.c.os_hidden)
        found.append(hidden.is_(conditions.hidden))
    if conditions.visibility is not None:
        found.append(unordered(images.c.visibility) == conditions.visibility)
    if conditions.changes_since:
        found.append(unindexed(images.c.updated_at) > bindparam(SINCE, type_=images.c.updated_at.type))
    found += [unindexed(images.c.status) != status for status in conditions.without_statuses]
    found += [filtered(conditions, i, indexed=field in leads) for i, (field, _) in enumerate(conditions.filters)]
    if conditions.words and WORDS not in leads:
        found += [unindexed(images.c.deleted_at).is_(None), has_words()]
    found += [_has_property(i) for i in range(conditions.properties) if i not in leads]
    return found


def life(conditions: Conditions, deleted_at: ColumnElement[Any] = images.c.deleted_at) -> list[ColumnElement[bool]]:
    """The condition on being deleted, if there is one; on an unindexed column it leaves the choice to another."""
    if conditions.deleted is None:
        return []
    return [deleted_at.is_not(None) if conditions.deleted else deleted_at.is_(None)]


def filtered(conditions: Conditions, i: int, *, indexed: bool) -> ColumnElement[bool]:
    """The i-th filter. The index of a field that may be null has an expression, which stands in for null."""
    field, name = conditions.filters[i]
    if name == IN:
        column = sorted_as(field) if indexed else unindexed(images.c[field])
        return among(column, select(listed(f"filter{i}", texts=True)))
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
    """Whether an image has the i-th property, tested for one image after the other.

    Without the offset PostgreSQL would first collect all images that have it.
    """
    rows = image_properties.alias()
    found = select(rows.c.image_number).where(
        property_is(i, rows), rows.c.created_at == images.c.created_at, rows.c.image_number == images.c.number
    )
    return exists(found.offset(literal_column("0")))
