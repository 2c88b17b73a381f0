# SPDX-License-Identifier: Apache-2.0
"""The tables. One row of `images` is one image; `indexes.py` has the indexes.

Times are microseconds since 1970, UTC. Text sorts by code point on both databases (collation "C" on
PostgreSQL, BINARY on SQLite), so that a page ends at the same image whichever is used.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    func,
    literal_column,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

metadata = MetaData()


def _text(length: int) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_NUMBER = BigInteger().with_variant(Integer, "sqlite")


images = Table(
    "images",
    metadata,
    # SQLite stores a row under its integer key: short, and what every index points at.
    Column("number", _NUMBER, primary_key=True),
    Column("id", _text(36), nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("name", _text(255)),
    Column("status", _text(30), nullable=False),
    Column("visibility", _text(10), nullable=False),
    Column("disk_format", _text(20)),
    Column("container_format", _text(20)),
    Column("size", BigInteger),
    Column("virtual_size", BigInteger),
    Column("checksum", _text(32)),
    Column("owner", _text(255)),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("protected", Boolean, nullable=False),
    # JSON documents: a mapping of names to strings, a list of {id, url, metadata, status}, a list of strings.
    Column("properties", Text, nullable=False),
    Column("locations", Text, nullable=False),
    # The release before step 0005 does not write what follows: hence the defaults.
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("os_hidden", Boolean, nullable=False, server_default=false()),
    Column("os_hash_algo", _text(64)),
    Column("os_hash_value", _text(128)),
    # A list of the names of properties without a value, which are not in `properties`: a release before step 0008 reads
    # that as a mapping of names to strings. Null when there is none.
    Column("null_properties", Text),
)

# The constants are part of the indexes' expressions, so they must not become parameters.
_STANDS_FOR_NULL: dict[str, ColumnElement[Any]] = {
    "name": literal_column("''"),
    "container_format": literal_column("''"),
    "disk_format": literal_column("''"),
    "size": literal_column("-1"),
}

Columns = ReadOnlyColumnCollection[str, Any]


def sorted_as(key: str, columns: Columns = images.c) -> ColumnElement[Any]:
    """What a list sorts by for a sort key.

    A missing text sorts as the empty one and a missing size as -1: both databases agree on the order, and a
    marker without a value has its position in it.
    """
    column: ColumnElement[Any] = columns[key]
    return func.coalesce(column, _STANDS_FOR_NULL[key]) if key in _STANDS_FOR_NULL else column


image_properties = Table(
    "image_properties",
    metadata,
    # What filters by property search; the image's row has the properties themselves. A tag is a property without
    # a name.
    Column("name", _text(255), primary_key=True),
    # The value, or its digest where it is long: see `catalogue.properties.search_key`.
    Column("value", _text(256), primary_key=True),
    # The image's, so that a property's images are in the default order of lists.
    Column("created_at", BigInteger, primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    sqlite_with_rowid=False,
)

image_members = Table(
    "image_members",
    metadata,
    # "Shared with me": the images of a member. "Who are its members" has an index.
    Column("member_id", _text(255), primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    Column("can_share", Boolean, nullable=False),
    # As the release before step 0005 writes a membership, it is pending and has no times.
    Column("status", _text(20), nullable=False, server_default="pending"),
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    sqlite_with_rowid=False,
)

tombstones = Table(
    "tombstones",
    metadata,
    # The ids of purged images: never used again.
    Column("id", _text(36), primary_key=True),
    Column("purged_at", BigInteger, nullable=False),
)
