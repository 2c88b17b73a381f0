# SPDX-License-Identifier: Apache-2.0
"""A page of images, and the index that leads to it: its cost does not grow with the number of images.

A page has the images after the marker's key (sort value, created_at, id). There are three access paths, each along an
index of `indexes.py`:

- **walk** along the sort order, with one branch for each part of the images that the caller may see. Each branch
  is limited to the page's size, then they are merged. Images that do not meet a condition without an index are skipped.
- **property**: along the images with one property, whose index has the default order.
- **gather**: read all images that meet a condition, if they are few, and sort them.

A statement does not depend on the query's values: it is built and compiled once for each `Plan`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from glance_registry.catalogue.listing import filters
from glance_registry.catalogue.listing.filters import Conditions
from glance_registry.catalogue.rows import ROW, PreparedPage
from glance_registry.catalogue.search import query as search_query
from glance_registry.catalogue.sql import among, listed, unindexed, unordered
from glance_registry.catalogue.statements import Prepared
from glance_registry.catalogue.tables import Columns, image_properties, images, sorted_as
from glance_registry.catalogue.visibility import (
    BY_VISIBILITY,
    Part,
    Scope,
    anywhere,
    in_any,
    in_part,
    parts,
    readable,
    scope_of,
)
from glance_registry.model.access import Caller
from glance_registry.model.errors import Invalid
from glance_registry.model.image import ACTIVE
from glance_registry.model.query import Query, Sort

MAX_GATHERED = 2_000
"""If more images meet a condition, a walk that skips the others is quicker than to gather them."""

_DEFAULT_ORDER = (Sort(), Sort(descending=False))
_LEADING = ("name", "status", "disk_format", "container_format")
"""Filters whose index has the default order. The first of these that a query has is used."""

_OWNER = "owner"
"""The filter whose index does not begin with the visibility: it has all images of a project."""

_TIMES = ("created_at", "updated_at")
_BOUNDED = ("size", *_TIMES)
"""Filters whose index has another order."""


class AccessPath(Struct, frozen=True):
    """How a page is read.

    Along the index of the field `lead`, or of the property number `lead`, or from the images `gathered`, which meet the
    condition `lead`.
    """

    lead: str | int | None = None
    gathered: bool = False


class Plan(Struct, frozen=True):
    """Everything that a statement depends on."""

    parts: tuple[Part, ...]
    conditions: Conditions
    sort: Sort
    marked: bool
    path: AccessPath


def page(connection: Connection, query: Query, caller: Caller) -> Sequence[Sequence[Any]]:
    """The page's rows, fewer than its limit if their documents reach `rows.MAX_PAGE_BYTES`.

    Raises Invalid if the marker is not an image that the caller may see. A deleted image is still a marker, so that
    clients that read page by page can go on.
    """
    position = None if query.page.marker is None else _marker(connection, query, caller)
    settled = _without_fixed_key(query, position)
    if settled is None:
        return ()
    query, position = settled
    values = {**filters.parameters(query), "project": caller.project, "limit": query.page.limit}
    if query.terms:
        values |= search_query.parameters(connection.dialect.name, query.terms)
    values |= {f"after{i}": value for i, value in enumerate(position or ())}
    conditions, looked_through = filters.conditions_of(query), parts(caller, query)
    if not looked_through:
        return ()
    # Otherwise the list has a project's own images and those shared with it, which are few.
    path, numbers = AccessPath(), None
    if not BY_VISIBILITY.isdisjoint(looked_through):
        path, numbers = _choose_path(connection, query, conditions, values)
    if numbers is not None:
        values["numbers"] = msgspec.json.encode(numbers).decode()
    plan = Plan(looked_through, conditions, query.sort, position is not None, path)
    return _statement(plan).all(connection, values)


def _keys(sort: Sort, columns: Columns = images.c) -> list[ColumnElement[Any]]:
    """The columns of the order: the sort keys, created_at, id."""
    return [sorted_as(name, columns) for name in sort.order()]


def _marker(connection: Connection, query: Query, caller: Caller) -> Sequence[Any]:
    """The marker's values of the columns of the order."""
    statement = _marker_statement(query.sort, scope_of(caller))
    row = statement.first(connection, {"marker": query.page.marker, "project": caller.project})
    if row is None:
        raise Invalid(f"Marker '{query.page.marker}' is not an image.")
    return row


def _without_fixed_key(query: Query, position: Sequence[Any] | None) -> tuple[Query, Sequence[Any] | None] | None:
    """The same query in the default order, if a filter allows one value of the sort key only.

    Then any index can be used. If the marker has another value, all of these images come after it, and the marker is
    dropped, or none does, and the result is None.
    """
    fixed = [wanted.value for wanted in query.filters if (wanted.field, wanted.operator) == (query.sort.key, "eq")]
    if not fixed or query.sort.then or query.sort.key in ("created_at", "id"):
        return query, position
    query = replace(query, sort=Sort(descending=query.sort.descending))
    if position is None or position[0] == fixed[0]:
        return query, position and position[1:]
    return (query, None) if (fixed[0] < position[0]) == query.sort.descending else None


@lru_cache
def _marker_statement(sort: Sort, scope: Scope) -> Prepared:
    return Prepared(select(*_keys(sort)).where(images.c.id == bindparam("marker"), readable(scope)))


def _choose_path(
    connection: Connection, query: Query, conditions: Conditions, values: dict[str, Any]
) -> tuple[AccessPath, list[int] | None]:
    """The access path, and the numbers of the gathered images."""
    by_default = query.sort in _DEFAULT_ORDER and query.deleted is False
    if by_default and len(query.properties) == 1 and not query.terms:
        return AccessPath(lead=0), None
    few: list[int] | None = None
    lead = None
    for name, probe in _probes(conditions, by_default, MAX_GATHERED):
        found = [number for (number,) in probe.all(connection, values)]
        if len(found) <= MAX_GATHERED and (few is None or len(found) < len(few)):
            few, lead = found, name
    if few is not None:
        return AccessPath(lead, gathered=True), few
    if by_default and query.properties:
        return AccessPath(lead=0), None
    return AccessPath(lead=_leading_filter(query) if by_default else None), None


def _leading_filter(query: Query) -> str | None:
    """The filter whose index is used: one that few images meet. Most images are active."""
    equal = {wanted.field: wanted.value for wanted in query.filters if wanted.operator == "eq"}
    if equal.get("status") == ACTIVE and equal.keys() & {"disk_format", "container_format"}:
        del equal["status"]
    lead = next((field for field in (_OWNER, *_LEADING) if field in equal), None)
    return filters.HIDDEN if lead is None and query.hidden else lead


@lru_cache(maxsize=256)
def _probes(conditions: Conditions, by_default: bool, limit: int) -> list[tuple[str | None, Prepared]]:
    """Statements for each condition with an index: the numbers of images that meet it.

    They find `limit` + 1 images at most. The limit is a literal, because PostgreSQL plans for it.
    """
    found: list[Select[Any]] = [
        select(image_properties.c.image_number).where(filters.property_is(i)) for i in range(conditions.properties)
    ]
    if conditions.changes_since:
        since = bindparam(filters.SINCE, type_=images.c.updated_at.type)
        found.append(select(images.c.number).where(images.c.updated_at > since))
    if conditions.deleted is False:
        found += _field_probes(conditions, by_default)
    probes: list[tuple[str | None, Prepared]] = [
        (None, Prepared(probe.limit(literal_column(str(limit + 1))))) for probe in found
    ]
    if conditions.words:
        # With its name as the lead, the condition on words is not checked again.
        probes.append((search_query.WORDS, Prepared(search_query.found(limit + 1, one_word=conditions.one_word))))
    return probes


def _field_probes(conditions: Conditions, by_default: bool) -> Iterator[Select[Any]]:
    """Statements for filters on fields with an index. In the default order, a walk is better for an equality."""
    for field in ("id", _OWNER, *_LEADING, *_BOUNDED):
        found = [i for i, (name, compare) in enumerate(conditions.filters) if name == field and compare != "ne"]
        walked = by_default and field in _LEADING and any(conditions.filters[i][1] == "eq" for i in found)
        if not found or walked:
            continue
        bounds = [filters.filtered(conditions, i, indexed=True) for i in found]
        # The indexes of ids and owners do not begin with the visibility.
        within = () if field in ("id", _OWNER) else (anywhere(),)
        yield select(images.c.number).where(*within, *filters.life(conditions), *bounds)
    if conditions.hidden and not by_default:
        yield select(images.c.number).where(anywhere(), *filters.life(conditions), images.c.os_hidden.is_(True))


@lru_cache(maxsize=1024)
def _statement(plan: Plan) -> PreparedPage:
    path, keys = plan.path, _keys(plan.sort)
    if isinstance(path.lead, int):
        return PreparedPage(_along_property(plan, path.lead))
    if path.gathered:
        gathered = among(images.c.number, select(listed("numbers")))
        return PreparedPage(_cut(_anywhere(plan).where(gathered), [*map(unindexed, keys)], plan))
    if plan.conditions.deleted is not False or path.lead == _OWNER:
        own_clauses = filters.clauses(plan.conditions, path.lead)
        return PreparedPage(
            _cut(ROW.where(in_any(plan.parts), *filters.life(plan.conditions), *own_clauses), keys, plan)
        )
    conditions = filters.life(plan.conditions) + filters.clauses(plan.conditions, path.lead, plan.sort.key)
    by_creation = plan.sort.key == "created_at"
    branches = [
        ([in_part(part, by_creation=by_creation), *conditions, *behind], order)
        for part in plan.parts
        for behind, order in _behind_marker(plan, part)
    ]
    if len(branches) == 1:
        clauses, order = branches[0]
        return PreparedPage(_ordered(ROW.where(*clauses), order, plan))
    # The branches have only the columns of the order: to merge whole rows costs more than to read the page.
    sort_keys = select(images.c.number, *(images.c[name] for name in plan.sort.order()))
    merged = union_all(
        *(select(_ordered(sort_keys.where(*clauses), order, plan).subquery()) for clauses, order in branches)
    ).subquery()
    first = _ordered(select(merged.c.number), _keys(plan.sort, merged.c), plan)
    return PreparedPage(_ordered(ROW.where(among(images.c.number, first)), [*map(unindexed, keys)], plan))


def _behind_marker(plan: Plan, part: Part) -> list[tuple[list[ColumnElement[bool]], Sequence[ColumnElement[Any]]]]:
    """The rows behind the marker, as clauses and the columns that order them.

    Those with the marker's sort value, of which there may be thousands, are apart from the others: an index leads to
    the first row of each.
    """
    keys = _keys(plan.sort)
    if not plan.marked:
        return [([], keys)]
    if len(keys) == 1 or plan.sort in _DEFAULT_ORDER or part not in BY_VISIBILITY:
        return [([_behind(keys, plan.sort)], keys)]
    key, *ties = keys
    if plan.sort.then:
        # Only the index of the first key is used: few images have the same value of that.
        ties = [*map(unordered, ties)]
    return [([key == _marked(0, key), _behind(ties, plan.sort, first=1)], ties), ([_behind([key], plan.sort)], keys)]


def _anywhere(plan: Plan) -> Select[Any]:
    """The rows of all parts. The caller adds the condition that chooses the index."""
    life = filters.life(plan.conditions, unindexed(images.c.deleted_at))
    return ROW.where(in_any(plan.parts), *life, *filters.clauses(plan.conditions, plan.path.lead))


def _along_property(plan: Plan, i: int) -> Select[Any]:
    statement = _anywhere(plan).where(filters.property_is(i), images.c.number == image_properties.c.image_number)
    keys = [image_properties.c.created_at, images.c.id]
    if plan.marked:
        # Implied by the comparison of both keys, but of one table only: so PostgreSQL's index leads to the marker.
        first = _marked(0, keys[0])
        statement = statement.where(keys[0] <= first if plan.sort.descending else keys[0] >= first)
    return _cut(statement, keys, plan)


def _cut(statement: Select[Any], keys: Sequence[ColumnElement[Any]], plan: Plan) -> Select[Any]:
    """The statement's rows behind the marker, ordered and limited."""
    if plan.marked:
        statement = statement.where(_behind(keys, plan.sort))
    return _ordered(statement, keys, plan)


def _behind(keys: Sequence[ColumnElement[Any]], sort: Sort, first: int = 0) -> ColumnElement[bool]:
    """The rows whose keys come after the marker's; `first` is the number of the first key's parameter."""
    descending = list(sort.order().values())[first : first + len(keys)]
    marked = [_marked(first + i, key) for i, key in enumerate(keys)]
    if len(set(descending)) == 1:
        here, there = tuple_(*keys), tuple_(*marked)
        return here < there if descending[0] else here > there
    return or_(*(_first_differs_at(i, keys, marked, descending[i]) for i in range(len(keys))))


def _first_differs_at(
    i: int, keys: Sequence[ColumnElement[Any]], marked: Sequence[ColumnElement[Any]], descending: bool
) -> ColumnElement[bool]:
    """The rows that have the marker's values in the keys before the i-th, and come after it by the i-th."""
    same = (key == there for key, there in zip(keys[:i], marked[:i], strict=True))
    return and_(*same, keys[i] < marked[i] if descending else keys[i] > marked[i])


def _marked(i: int, key: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(f"after{i}", type_=key.type)


def _ordered(statement: Select[Any], keys: Sequence[ColumnElement[Any]], plan: Plan) -> Select[Any]:
    directions = list(plan.sort.order().values())[-len(keys) :]
    order = [key.desc() if descending else key.asc() for key, descending in zip(keys, directions, strict=True)]
    if plan.conditions.deleted is None and plan.sort.key in _TIMES:
        # No time is null, but the index for lists of all images has this order of nulls.
        order[0] = order[0].nulls_last() if directions[0] else order[0].nulls_first()
    return statement.order_by(*order).limit(bindparam("limit", type_=BigInteger()))
