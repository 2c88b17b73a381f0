# SPDX-License-Identifier: Apache-2.0
"""An image's row: how it is found by id, and what it is as a value."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from glance_registry.catalogue.statements import Prepared, PreparedWrite
from glance_registry.catalogue.tables import images
from glance_registry.catalogue.visibility import Sight, readable, sight
from glance_registry.model.access import Caller
from glance_registry.model.errors import NotFound
from glance_registry.model.image import Image, Location
from glance_registry.model.member import Member

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def from_column(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


HOT_IMAGES = 2_048
"""So many images are kept as values: most requests are for the same few."""

ONE_IN = 16
"""When there is no room, one in so many of those that might be kept takes the place of the one that came first."""

MOST_MET = 16 * HOT_IMAGES
"""So many images are known to have been met before; then this is forgotten."""

LARGEST_HOT = 4_096
"""Characters of a row's documents at most: so the images that are kept are some tens of MB at the very most."""

MAX_PAGE_BYTES = 1_048_576
"""Bytes of a page's documents, after which the page ends early; the image that goes past it is still on the page."""

MAX_BYTES_ON_LOOP = 262_144
"""Bytes of a page's documents, after which SQLite's event loop leaves the page to a thread."""

NOTE_LARGE_PAGE = "note large page"
"""Under this key `Connection.info` may have a function without arguments: it is called when a page is found to have
more than `MAX_BYTES_ON_LOOP`. Raises TooLong where such a page must not be read."""


class TooLong(Exception):
    """A read must not go on in this thread."""


class Stored(NamedTuple):
    """An image and the number of its row, by which the other tables know it."""

    number: int
    image: Image


_PLAIN = [
    column.name
    for column in images.c
    if column.name
    not in ("number", "created_at", "updated_at", "deleted_at", "properties", "null_properties", "locations", "tags")
]

_read_properties: Callable[[str], Any] = msgspec.json.Decoder(dict[str, str]).decode
_read_names = msgspec.json.Decoder(tuple[str, ...]).decode
_read_locations = msgspec.json.Decoder(tuple[Location, ...]).decode
_read_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_write_json = msgspec.json.Encoder().encode

ROW = select(images)
"""What `as_stored` reads."""

_DOCUMENTS = [
    ROW.selected_columns.keys().index(name) for name in ("properties", "null_properties", "locations", "tags")
]


def document_bytes(row: Sequence[Any]) -> int:
    """The bytes of a row's documents in UTF-8. To ask whether a text is ASCII takes no look at its characters."""
    return sum(
        len(text) if text.isascii() else len(text.encode())
        for text in (row[document] for document in _DOCUMENTS)
        if text is not None
    )


class PreparedPage(Prepared):
    """A prepared list of `ROW`, of which no more rows are read than make `MAX_PAGE_BYTES`.

    SQLite hands over a row when it is asked for it. A server is told to stop, because its driver reads all that it
    sends: it knows a document's size without reading it.
    """

    def _sent(self, connection: Connection) -> Select[Any]:
        assert isinstance(self.statement, Select)
        if connection.dialect.name == "sqlite":
            return self.statement
        found = self.statement.subquery("found")
        size = (
            func.octet_length(found.c.properties)
            + func.coalesce(func.octet_length(found.c.null_properties), 0)
            + func.octet_length(found.c.locations)
            + func.octet_length(found.c.tags)
        )
        # Without an order of its own the window takes the rows in theirs, and leaves them in it.
        so_far = func.sum(size).over(rows=(None, 0))
        summed = select(found, (so_far - size).label("before")).subquery("summed")
        columns = [summed.c[column.name] for column in found.c]
        return select(*columns).where(summed.c.before < literal_column(str(MAX_PAGE_BYTES)))

    def _fetch(self, connection: Connection, result: Any) -> Sequence[Sequence[Any]]:
        rows, size, limit = [], 0, MAX_BYTES_ON_LOOP
        for row in result:
            rows.append(row)
            size += document_bytes(row)
            if size < limit:
                continue
            if size >= MAX_PAGE_BYTES:
                result.close()
                break
            limit = MAX_PAGE_BYTES
            note = connection.info.get(NOTE_LARGE_PAGE)
            if note is not None:
                note()
        return rows


WRITTEN = [column.name for column in images.c if column.name != "number"]
"""What `as_row` gives."""

_BY_ID = ROW.where(images.c.id == bindparam("image_id"))
_SEEN_BY_ID = {sight: Prepared(_BY_ID.where(readable(sight))) for sight in Sight}
_LOCKED_BY_ID = {sight: PreparedWrite(_BY_ID.where(readable(sight)).with_for_update(of=images)) for sight in Sight}


def seen(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image, deleted or not. Raises NotFound when there is none that the caller may see."""
    row = _SEEN_BY_ID[sight(caller)].first(connection, {"image_id": image_id, "project": caller.project})
    if row is None:
        raise NotFound("Image not found")
    return as_hot(row)


def locked(connection: Connection, image_id: str, caller: Caller) -> Stored:
    """An image that is not deleted, locked against other changes. Raises NotFound when there is none that the caller
    may see."""
    rows = _LOCKED_BY_ID[sight(caller)].run(connection, {"image_id": image_id, "project": caller.project}).rows
    if not rows or (stored := as_stored(rows[0])).image.deleted:
        raise NotFound("Image not found")
    return stored


def as_stored(row: Sequence[Any]) -> Stored:
    """A row of `ROW`. Its values come as the driver has them: SQLite knows no booleans."""
    (number, image_id, version, created_at, updated_at, deleted_at, name, status, visibility, disk_format,
     container_format, size, virtual_size, checksum, owner, min_disk, min_ram, protected, properties,
     locations, tags, os_hidden, os_hash_algo, os_hash_value, null_properties) = row  # fmt: skip
    created = from_column(created_at)
    return Stored(
        number,
        Image(
            id=image_id,
            version=version,
            created_at=created,
            updated_at=created if updated_at == created_at else from_column(updated_at),
            deleted_at=None if deleted_at is None else from_column(deleted_at),
            name=name,
            status=status,
            visibility=visibility,
            disk_format=disk_format,
            container_format=container_format,
            size=size,
            virtual_size=virtual_size,
            checksum=checksum,
            owner=owner,
            min_disk=min_disk,
            min_ram=min_ram,
            protected=bool(protected),
            properties=_properties(properties, None if deleted_at is not None else null_properties),
            locations=_read_locations(locations),
            tags=_read_tags(tags),
            os_hidden=bool(os_hidden),
            os_hash_algo=os_hash_algo,
            os_hash_value=os_hash_value,
        ),
    )


def _properties(texts: str, nulls: str | None) -> dict[str, str | None]:
    """All properties. An older release may have given one a value, or have deleted the image, without a change of
    `nulls`, the column that it does not know."""
    properties: dict[str, str | None] = _read_properties(texts)
    if nulls is not None:
        properties = {**dict.fromkeys(_read_names(nulls)), **properties}
    return properties


# What is found is used only for a row that is the same in all: whatever changes one, and whoever, it is read anew.
_hot: OrderedDict[int, tuple[Sequence[Any], Stored]] = OrderedDict()
_met: set[int] = set()
_chances = count()


def as_hot(row: Sequence[Any]) -> Stored:
    """The same for a row that is read again and again: it is the very same object then, with all that is kept in it.

    What is met for the first time is not kept: whoever goes through all images would drive out those that others ask
    for. Nor is most of what comes when there is no room: where more images are asked for than there is room for, each
    would drive out another and none be found.
    """
    number = row[0]
    found = _hot.get(number)
    if found is not None and found[0] == row:
        return found[1]
    stored = as_stored(row)
    if number not in _met:
        if len(_met) >= MOST_MET:
            _met.clear()
        _met.add(number)
    elif found is not None or len(_hot) < HOT_IMAGES or next(_chances) % ONE_IN == 0:
        if sum(len(row[document] or "") for document in _DOCUMENTS) <= LARGEST_HOT:
            _hot[number] = tuple(row), stored
        if len(_hot) > HOT_IMAGES:
            _hot.popitem(last=False)
    return stored


def as_row(image: Image) -> dict[str, Any]:
    nulls = [name for name, value in image.properties.items() if value is None]
    texts = (
        {name: value for name, value in image.properties.items() if value is not None} if nulls else image.properties
    )
    return {
        **{name: getattr(image, name) for name in _PLAIN},
        "created_at": to_column(image.created_at),
        "updated_at": to_column(image.updated_at),
        "deleted_at": None if image.deleted_at is None else to_column(image.deleted_at),
        "properties": _write_json(texts).decode(),
        "null_properties": _write_json(nulls).decode() if nulls else None,
        "locations": _write_json(image.locations).decode(),
        "tags": _write_json(image.tags).decode(),
    }


def as_member(row: Any) -> Member:
    """A row of `image_members`."""
    return Member(
        member_id=row.member_id,
        can_share=bool(row.can_share),
        status=row.status,
        created_at=None if row.created_at is None else from_column(row.created_at),
        updated_at=None if row.updated_at is None else from_column(row.updated_at),
    )


def as_member_row(image_number: int, member: Member) -> dict[str, Any]:
    return {
        "member_id": member.member_id,
        "image_number": image_number,
        "can_share": member.can_share,
        "status": member.status,
        "created_at": None if member.created_at is None else to_column(member.created_at),
        "updated_at": None if member.updated_at is None else to_column(member.updated_at),
    }
