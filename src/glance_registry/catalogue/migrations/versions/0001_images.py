# SPDX-License-Identifier: Apache-2.0
"""Images, one row each."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", _text(36), nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("name", _text(255)),
        sa.Column("status", _text(30), nullable=False),
        sa.Column("visibility", _text(10), nullable=False),
        sa.Column("disk_format", _text(20)),
        sa.Column("container_format", _text(20)),
        sa.Column("size", sa.BigInteger),
        sa.Column("virtual_size", sa.BigInteger),
        sa.Column("checksum", _text(32)),
        sa.Column("owner", _text(255)),
        sa.Column("min_disk", sa.Integer, nullable=False),
        sa.Column("min_ram", sa.Integer, nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("locations", sa.Text, nullable=False),
    )
    op.create_index("images_created_at", "images", ["created_at", "id"])
