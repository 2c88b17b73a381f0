# SPDX-License-Identifier: Apache-2.0
"""The tables. One row of `images` is one image; every index names the query that it serves.

Times are microseconds since 1970, UTC. Text sorts by code point on both databases (collation "C" on
PostgreSQL, BINARY on SQLite), so that a page ends at the same image whichever is used.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

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
    # JSON documents: a mapping of names to strings, and a list of {id, url, metadata, status}.
    Column("properties", Text, nullable=False),
    Column("locations", Text, nullable=False),
)

# A page of images in the default order; the export of everything.
Index("images_created_at", images.c.created_at, images.c.id)

# Purge: the rows deleted before a day.
Index(
    "images_deleted_at",
    images.c.deleted_at,
    sqlite_where=images.c.deleted_at.is_not(None),
    postgresql_where=images.c.deleted_at.is_not(None),
)

image_properties = Table(
    "image_properties",
    metadata,
    # What filters by property search; the image's row has the properties themselves.
    Column("name", _text(255), primary_key=True),
    # The value, or its digest where it is long: see `catalogue.properties.search_key`.
    Column("value", _text(256), primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    sqlite_with_rowid=False,
)

image_members = Table(
    "image_members",
    metadata,
    # "Shared with me": the images of a member. "Who are its members": the index below.
    Column("member_id", _text(255), primary_key=True),
    Column("image_number", _NUMBER, primary_key=True),
    Column("can_share", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# The members of an image.
Index("image_members_image", image_members.c.image_number)

tombstones = Table(
    "tombstones",
    metadata,
    # The ids of purged images: never used again.
    Column("id", _text(36), primary_key=True),
    Column("purged_at", BigInteger, nullable=False),
)
