# SPDX-License-Identifier: Apache-2.0
"""The tables. One row of `images` is one image; `indexes.py` has the indexes.

Times are microseconds since 1970, UTC. Text sorts by code point on both databases (collation "C" on
PostgreSQL, BINARY on SQLite), so that pages are the same on both.
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
    # SQLite stores a row by its integer key, and every entry of an index contains that key: it must be short.
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
    # The release before step 0005 does not write these columns, so they have defaults.
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("os_hidden", Boolean, nullable=False, server_default=false()),
    Column("os_hash_algo", _text(64)),
    Column("os_hash_value", _text(128)),
    # A list of the names of properties without a value, or null if there are none. They are not in `properties`, which
    # a release before step 0008 reads as a mapping of names to strings.
    Column("null_properties", Text),
    # The bytes that we keep of this image, and a JSON list of the stores in which it has them. Null when we keep none.
    Column("blob_number", _NUMBER),
    Column("stores", Text),
)

# Literals, not parameters: they are part of the indexes' expressions.
_STANDS_FOR_NULL: dict[str, ColumnElement[Any]] = {
    "name": literal_column("''"),
    "container_format": literal_column("''"),
    "disk_format": literal_column("''"),
    "size": literal_column("-1"),
}

Columns = ReadOnlyColumnCollection[str, Any]


def sorted_as(key: str, columns: Columns = images.c) -> ColumnElement[Any]:
    """The expression that a list sorts by for a sort key.

    A missing text sorts as the empty one, and a missing size as -1. So the order is the same on both databases, and a
    marker without a value has a position in it.
    """
    column: ColumnElement[Any] = columns[key]
    return func.coalesce(column, _STANDS_FOR_NULL[key]) if key in _STANDS_FOR_NULL else column


image_properties = Table(
    "image_properties",
    metadata,
    # An index for filters by property; the properties themselves are in the image's row. A tag is a property without
    # a name.
    Column("name", _text(255), primary_key=True),
    # The value, or the start of a long one and its digest: see `property_index.search_key`.
    Column("value", _text(256), primary_key=True),
    # The image's time, so that the images with a property are in the default order of lists.
    Column("created_at", BigInteger, primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    sqlite_with_rowid=False,
)

image_members = Table(
    "image_members",
    metadata,
    # The key serves "images shared with me". The members of an image have an index.
    Column("member_id", _text(255), primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    Column("can_share", Boolean, nullable=False),
    # The release before step 0005 does not write these: its memberships are pending and have no times.
    Column("status", _text(20), nullable=False, server_default="pending"),
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    sqlite_with_rowid=False,
)

tombstones = Table(
    "tombstones",
    metadata,
    # The ids of purged images, which are never used again.
    Column("id", _text(36), primary_key=True),
    Column("purged_at", BigInteger, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    # Immutable bytes, here once however many images have them.
    Column("number", _NUMBER, primary_key=True),
    # `sha512:` or another algorithm's name, and the digest in hexadecimal digits.
    Column("digest", _text(140), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

blob_copies = Table(
    "blob_copies",
    metadata,
    # Where a blob lies: once in each store that has it.
    Column("blob_number", _NUMBER, primary_key=True),
    Column("store", _text(64), primary_key=True),
    Column("key", _text(32), nullable=False),
    sqlite_with_rowid=False,
)

uploads = Table(
    "uploads",
    metadata,
    # The id is also the key of the object that is being written.
    Column("id", _text(32), primary_key=True),
    Column("image_number", _NUMBER, nullable=False, unique=True),
    Column("owner", _text(255)),
    Column("store", _text(64), nullable=False),
    # Bytes that count for the owner until the upload ends.
    Column("reserved", BigInteger, nullable=False),
    # Who writes renews this; after it the image is queued again.
    Column("expires_at", BigInteger, nullable=False),
    # The rest is null unless the upload may go on after a break. The size of the whole image, if the client says it.
    Column("resumable", Boolean),
    Column("length", BigInteger),
    # What the store has of it. Null while a request writes, and when its process died: then the store must be asked.
    Column("kept", BigInteger),
    # The request that writes, until when it holds the upload, and the request that waits for it to stop.
    Column("writer", _text(32)),
    Column("writer_until", BigInteger),
    Column("next_writer", _text(32)),
)

removals = Table(
    "removals",
    metadata,
    # Objects that no row refers to, until they are removed from their store.
    Column("key", _text(32), primary_key=True),
    Column("store", _text(64), nullable=False),
    Column("due_at", BigInteger, nullable=False),
)
