# SPDX-License-Identifier: Apache-2.0
"""Members of images, and the index of properties that filters search."""

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_AT_ONCE = 1_000


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    properties = op.create_table(
        "image_properties",
        sa.Column("name", _text(255), primary_key=True),
        sa.Column("value", _text(256), primary_key=True),
        sa.Column("created_at", sa.BigInteger, primary_key=True),
        sa.Column("image_number", _number(), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "image_members",
        sa.Column("member_id", _text(255), primary_key=True),
        sa.Column("image_number", _number(), primary_key=True),
        sa.Column("can_share", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("image_members_image", "image_members", ["image_number"])
    _fill(properties)


def _fill(properties: sa.Table) -> None:
    """Index the properties of the images that are there, a portion at a time."""
    connection = op.get_bind()
    images = sa.table("images", sa.column("number"), sa.column("created_at"), sa.column("properties"))
    done = 0
    while rows := connection.execute(
        sa.select(images.c.number, images.c.created_at, images.c.properties)
        .where(images.c.number > done)
        .order_by(images.c.number)
        .limit(_AT_ONCE)
    ).all():
        entries = [
            {"name": name, "value": _search_key(value), "created_at": row.created_at, "image_number": row.number}
            for row in rows
            for name, value in json.loads(row.properties).items()
        ]
        if entries:
            connection.execute(sa.insert(properties), entries)
        done = rows[-1].number


def _search_key(value: str) -> str:
    """A short value as it is; the start of a long one and its SHA-256."""
    return value if len(value) <= 255 else value[:192] + sha256(value.encode()).hexdigest()
