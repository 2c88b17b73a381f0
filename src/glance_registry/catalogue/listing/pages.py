# SPDX-License-Identifier: Apache-2.0
"""A page of images: which index leads to it, so that it costs the same however many images there are.

Lists page by key: the images that follow the marker's (sort value, created_at, id). There are three ways to a
page, each along an index of `tables.py`:

- **walk** along the sort order, one branch for each part of what the caller may see, every branch cut at the
  page's size, then merged. Passed over are the images that a condition without an index leaves out.
- **property**: along the images of one property, which its index keeps in the default order.
- **gather**: to all the images that meet a condition, if these are few, which are then sorted.

A statement depends on the query's shape alone: it is built, and compiled, once for each shape.
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
    Sight,
    anywhere,
    in_any,
    in_part,
    parts,
    readable,
    sight,
)
from glance_registry.model.access import Caller
from glance_registry.model.errors import Invalid
from glance_registry.model.image import ACTIVE
from glance_registry.model.query import Query, Sort

MOST_GATHERED = 2_000
"""A condition that more images meet is not gathered by: to walk past the others is quicker then."""

_DEFAULT_ORDER = (Sort(), Sort(descending=False))
_LEADING = ("name", "status", "disk_format", "container_format")
"""Filters whose index keeps the default order; the earlier in this list leads."""

_OWNER = "owner"
"""The filter whose index knows no parts: a project's images are walked whatever their visibility."""

_TIMES = ("created_at", "updated_at")
_BOUNDED = ("size", *_TIMES)
"""Filters whose index does not."""


class Way(Struct, frozen=True):
    """How a page is read.

    Along the index of the field `lead`, or of the property number `lead`; or from the numbers `gathered`, which meet
    the condition `lead`.
    """

    lead: str | int | None = None
    gathered: bool = False


class Shape(Struct, frozen=True):
    """All that a statement depends on."""

    parts: tuple[Part, ...]
    conditions: Conditions
    sort: Sort
    marked: bool
    way: Way


def page(connection: Connection, query: Query, caller: Caller) -> Sequence[Sequence[Any]]:
    """The page's rows, fewer than its limit when their documents reach `rows.MAX_PAGE_BYTES`.

    Raises Invalid when the marker is not an image that the caller may see.

    A marker whose image was deleted since the page before still marks its place, so that a walk goes on.
    """
    place = None if query.page.marker is None else _marker(connection, query, caller)
    settled = _without_fixed_key(query, place)
    if settled is None:
        return ()
    query, place = settled
    values = {**filters.parameters(query), "project": caller.project, "limit": query.page.limit}
    if query.terms:
        values |= search_query.parameters(connection.dialect.name, query.terms)
    values |= {f"after{i}": value for i, value in enumerate(place or ())}
    conditions, looked_through = filters.shape(query), parts(caller, query)
    if not looked_through:
        return ()
    # A project's own images, and those shared with it, are few beside all that meet a condition.
    way, numbers = Way(), None
    if not BY_VISIBILITY.isdisjoint(looked_through):
        way, numbers = _way(connection, query, conditions, values)
    if numbers is not None:
        values["numbers"] = msgspec.json.encode(numbers).decode()
    shape = Shape(looked_through, conditions, query.sort, place is not None, way)
    return _statement(shape).all(connection, values)


def _keys(sort: Sort, columns: Columns = images.c) -> list[ColumnElement[Any]]:
    """What the order is made of: the sort keys, then created_at, then id."""
    return [sorted_as(name, columns) for name in sort.order()]


def _marker(connection: Connection, query: Query, caller: Caller) -> Sequence[Any]:
    """The marker's place in the order."""
    place = _marker_statement(query.sort, sight(caller))
    row = place.first(connection, {"marker": query.page.marker, "project": caller.project})
    if row is None:
        raise Invalid(f"Marker '{query.page.marker}' is not an image.")
    return row


def _without_fixed_key(query: Query, place: Sequence[Any] | None) -> tuple[Query, Sequence[Any] | None] | None:
    """The same query in the default order, if a filter allows only one value of the sort key.

    Then any index may lead to the page. If the marker has another value, either all of these images come after it,
    which is a page without a marker, or none does, and there is nothing to read.
    """
    fixed = [wanted.value for wanted in query.filters if (wanted.field, wanted.operator) == (query.sort.key, "eq")]
    if not fixed or query.sort.then or query.sort.key in ("created_at", "id"):
        return query, place
    query = replace(query, sort=Sort(descending=query.sort.descending))
    if place is None or place[0] == fixed[0]:
        return query, place and place[1:]
    return (query, None) if (fixed[0] < place[0]) == query.sort.descending else None


@lru_cache
def _marker_statement(sort: Sort, sight: Sight) -> Prepared:
    return Prepared(select(*_keys(sort)).where(images.c.id == bindparam("marker"), readable(sight)))


def _way(
    connection: Connection, query: Query, conditions: Conditions, values: dict[str, Any]
) -> tuple[Way, list[int] | None]:
    """The way to the page, and the numbers of the images when they are gathered."""
    by_default = query.sort in _DEFAULT_ORDER and query.deleted is False
    if by_default and len(query.properties) == 1 and not query.terms:
        return Way(lead=0), None
    few: list[int] | None = None
    lead = None
    for name, probe in _probes(conditions, by_default, MOST_GATHERED):
        found = [number for (number,) in probe.all(connection, values)]
        if len(found) <= MOST_GATHERED and (few is None or len(found) < len(few)):
            few, lead = found, name
    if few is not None:
        return Way(lead, gathered=True), few
    if by_default and query.properties:
        return Way(lead=0), None
    return Way(lead=_leading_filter(query) if by_default else None), None


def _leading_filter(query: Query) -> str | None:
    """The filter whose index is walked: the rarest, by what is known of images: most are active."""
    equal = {wanted.field: wanted.value for wanted in query.filters if wanted.operator == "eq"}
    if equal.get("status") == ACTIVE and equal.keys() & {"disk_format", "container_format"}:
        del equal["status"]
    lead = next((field for field in (_OWNER, *_LEADING) if field in equal), None)
    return filters.HIDDEN if lead is None and query.hidden else lead


@lru_cache(maxsize=256)
def _probes(conditions: Conditions, by_default: bool, most: int) -> list[tuple[str | None, Prepared]]:
    """For each condition with an index, the statement that reads the numbers of the matching images.

    It reads one more than the limit. The limit is not a parameter, because PostgreSQL plans for it.
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
        (None, Prepared(probe.limit(literal_column(str(most + 1))))) for probe in found
    ]
    if conditions.words:
        # What the words have led to need not be asked for them once more.
        probes.append((search_query.WORDS, Prepared(search_query.found(most + 1, one_word=conditions.one_word))))
    return probes


def _field_probes(conditions: Conditions, by_default: bool) -> Iterator[Select[Any]]:
    """The filters on fields with an index; in the default order an equality is better walked along its index."""
    for field in ("id", _OWNER, *_LEADING, *_BOUNDED):
        found = [i for i, (name, compare) in enumerate(conditions.filters) if name == field and compare != "ne"]
        walked = by_default and field in _LEADING and any(conditions.filters[i][1] == "eq" for i in found)
        if not found or walked:
            continue
        bounds = [filters.filtered(conditions, i, indexed=True) for i in found]
        # An id needs no part to be found by, and a project has an index of its own.
        within = () if field in ("id", _OWNER) else (anywhere(),)
        yield select(images.c.number).where(*within, *filters.life(conditions), *bounds)
    if conditions.hidden and not by_default:
        yield select(images.c.number).where(anywhere(), *filters.life(conditions), images.c.os_hidden.is_(True))


@lru_cache(maxsize=1024)
def _statement(shape: Shape) -> PreparedPage:
    way, keys = shape.way, _keys(shape.sort)
    if isinstance(way.lead, int):
        return PreparedPage(_along_property(shape, way.lead))
    if way.gathered:
        gathered = among(images.c.number, select(listed("numbers")))
        return PreparedPage(_cut(_anywhere(shape).where(gathered), [*map(unindexed, keys)], shape))
    if shape.conditions.deleted is not False or way.lead == _OWNER:
        own_way = filters.clauses(shape.conditions, way.lead)
        return PreparedPage(
            _cut(ROW.where(in_any(shape.parts), *filters.life(shape.conditions), *own_way), keys, shape)
        )
    conditions = filters.life(shape.conditions) + filters.clauses(shape.conditions, way.lead, shape.sort.key)
    by_creation = shape.sort.key == "created_at"
    branches = [
        ([in_part(part, by_creation=by_creation), *conditions, *behind], order)
        for part in shape.parts
        for behind, order in _behind_marker(shape, part)
    ]
    if len(branches) == 1:
        clauses, order = branches[0]
        return PreparedPage(_ordered(ROW.where(*clauses), order, shape))
    # Merged by what the order is made of alone: to carry whole rows of every branch along costs more than the page.
    places = select(images.c.number, *(images.c[name] for name in shape.sort.order()))
    merged = union_all(
        *(select(_ordered(places.where(*clauses), order, shape).subquery()) for clauses, order in branches)
    ).subquery()
    first = _ordered(select(merged.c.number), _keys(shape.sort, merged.c), shape)
    return PreparedPage(_ordered(ROW.where(among(images.c.number, first)), [*map(unindexed, keys)], shape))


def _behind_marker(shape: Shape, part: Part) -> list[tuple[list[ColumnElement[bool]], Sequence[ColumnElement[Any]]]]:
    """The rows behind the marker, in parts that each begin at one point of an index.

    One part are the rows that agree with the marker in the sort key, which may be thousands, for example with a status.
    The other part are those that do not. Each part has its conditions and the columns by which it is still to be
    sorted.
    """
    keys = _keys(shape.sort)
    if not shape.marked:
        return [([], keys)]
    if len(keys) == 1 or shape.sort in _DEFAULT_ORDER or part not in BY_VISIBILITY:
        return [([_behind(keys, shape.sort)], keys)]
    key, *ties = keys
    if shape.sort.then:
        # Only the index of the first key is of use: few images agree in that.
        ties = [*map(unordered, ties)]
    return [([key == _marked(0, key), _behind(ties, shape.sort, first=1)], ties), ([_behind([key], shape.sort)], keys)]


def _anywhere(shape: Shape) -> Select[Any]:
    """The rows of all parts, along whichever way is added to this."""
    life = filters.life(shape.conditions, unindexed(images.c.deleted_at))
    return ROW.where(in_any(shape.parts), *life, *filters.clauses(shape.conditions, shape.way.lead))


def _along_property(shape: Shape, i: int) -> Select[Any]:
    statement = _anywhere(shape).where(filters.property_is(i), images.c.number == image_properties.c.image_number)
    keys = [image_properties.c.created_at, images.c.id]
    if shape.marked:
        # No more than the comparison of both keys says, but of one table: so PostgreSQL's index leads to the marker.
        place = _marked(0, keys[0])
        statement = statement.where(keys[0] <= place if shape.sort.descending else keys[0] >= place)
    return _cut(statement, keys, shape)


def _cut(statement: Select[Any], keys: Sequence[ColumnElement[Any]], shape: Shape) -> Select[Any]:
    """The statement's first rows behind the marker, in order."""
    if shape.marked:
        statement = statement.where(_behind(keys, shape.sort))
    return _ordered(statement, keys, shape)


def _behind(keys: Sequence[ColumnElement[Any]], sort: Sort, first: int = 0) -> ColumnElement[bool]:
    """The rows whose keys come after the marker's, of which these are the parameters from `first` on."""
    descending = list(sort.order().values())[first : first + len(keys)]
    marked = [_marked(first + i, key) for i, key in enumerate(keys)]
    if len(set(descending)) == 1:
        here, there = tuple_(*keys), tuple_(*marked)
        return here < there if descending[0] else here > there
    return or_(*(_parts_ways(i, keys, marked, descending[i]) for i in range(len(keys))))


def _parts_ways(
    i: int, keys: Sequence[ColumnElement[Any]], marked: Sequence[ColumnElement[Any]], descending: bool
) -> ColumnElement[bool]:
    """The rows that agree with the marker in the keys before the i-th and come after it by that."""
    same = (key == there for key, there in zip(keys[:i], marked[:i], strict=True))
    return and_(*same, keys[i] < marked[i] if descending else keys[i] > marked[i])


def _marked(i: int, key: ColumnElement[Any]) -> ColumnElement[Any]:
    return bindparam(f"after{i}", type_=key.type)


def _ordered(statement: Select[Any], keys: Sequence[ColumnElement[Any]], shape: Shape) -> Select[Any]:
    directions = list(shape.sort.order().values())[-len(keys) :]
    order = [key.desc() if descending else key.asc() for key, descending in zip(keys, directions, strict=True)]
    if shape.conditions.deleted is None and shape.sort.key in _TIMES:
        # No time is null: this names the order of the index that lists of all images have to themselves.
        order[0] = order[0].nulls_last() if directions[0] else order[0].nulls_first()
    return statement.order_by(*order).limit(bindparam("limit", type_=BigInteger()))
