# SPDX-License-Identifier: Apache-2.0
"""Rows become images and members, and images and members become rows."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, func, literal_column, select

from glance_registry.catalogue.statements import Prepared
from glance_registry.catalogue.tables import images
from glance_registry.model.image import Image, Location
from glance_registry.model.member import Member

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def from_column(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


MAX_PAGE_BYTES = 1_048_576
"""Bytes of a page's documents. A page ends with the image that reaches this."""

MAX_BYTES_ON_LOOP = 262_144
"""Bytes of a page's documents, after which the page is a long read: on SQLite it is left to a thread."""

NOTE_LARGE_PAGE = "note large page"
"""The key in `Connection.info` of a function without arguments, which is called if a page has more than
`MAX_BYTES_ON_LOOP`. It raises TooLong where such a page must not be read."""


class TooLong(Exception):
    """A read is too long for this thread."""


class Stored(NamedTuple):
    """An image and the number of its row, which is its key in other tables."""

    number: int
    image: Image


_PLAIN = [
    column.name
    for column in images.c
    if column.name
    not in (
        "number",
        "created_at",
        "updated_at",
        "deleted_at",
        "properties",
        "null_properties",
        "locations",
        "tags",
        "stores",
    )
]

_read_properties: Callable[[str], Any] = msgspec.json.Decoder(dict[str, str]).decode
_read_names = msgspec.json.Decoder(tuple[str, ...]).decode
_read_locations = msgspec.json.Decoder(tuple[Location, ...]).decode
_read_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_write_json = msgspec.json.Encoder().encode

ROW = select(images)
"""What `as_stored` reads."""

DOCUMENTS = [ROW.selected_columns.keys().index(name) for name in ("properties", "null_properties", "locations", "tags")]


def document_bytes(row: Sequence[Any]) -> int:
    """The bytes of a row's documents in UTF-8. `isascii` is quick: it does not read the characters."""
    return sum(
        len(text) if text.isascii() else len(text.encode())
        for text in (row[document] for document in DOCUMENTS)
        if text is not None
    )


class PreparedPage(Prepared):
    """A prepared list of `ROW` that is read until its documents have `MAX_PAGE_BYTES`.

    SQLite returns row by row. PostgreSQL's driver reads all rows, so the statement itself ends the page: the server
    knows a document's size without reading it.
    """

    def all(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        rows = super().all(connection, parameters)
        if connection.dialect.name != "sqlite":  # There `_fetch` says so, before all of them are read.
            note = connection.info.get(NOTE_LARGE_PAGE)
            if note is not None and sum(map(document_bytes, rows)) >= MAX_BYTES_ON_LOOP:
                note()
        return rows

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
        # Without an order of its own, the window keeps the order of the rows.
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


def as_stored(row: Sequence[Any]) -> Stored:
    """The image of a row of `ROW`, with the driver's values: SQLite has no booleans."""
    (number, image_id, version, created_at, updated_at, deleted_at, name, status, visibility, disk_format,
     container_format, size, virtual_size, checksum, owner, min_disk, min_ram, protected, properties,
     locations, tags, os_hidden, os_hash_algo, os_hash_value, null_properties, blob_number,
     stores) = row  # fmt: skip
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
            blob_number=blob_number,
            stores=() if stores is None else _read_names(stores),
        ),
    )


def _properties(texts: str, nulls: str | None) -> dict[str, str | None]:
    """All properties.

    An older release does not know the column `nulls`: it may have given one of these properties a value, or have
    deleted the image, without changing that.
    """
    properties: dict[str, str | None] = _read_properties(texts)
    if nulls is not None:
        properties = {**dict.fromkeys(_read_names(nulls)), **properties}
    return properties


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
        "stores": _write_json(image.stores).decode() if image.stores else None,
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
