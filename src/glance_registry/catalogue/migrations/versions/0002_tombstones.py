# SPDX-License-Identifier: Apache-2.0
"""Tombstones: the ids of purged images, which are never used again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tombstones",
        sa.Column("id", sa.String(36).with_variant(sa.String(36, collation="C"), "postgresql"), primary_key=True),
        sa.Column("purged_at", sa.BigInteger, nullable=False),
    )
    deleted = sa.text("deleted_at IS NOT NULL")
    op.create_index("images_deleted_at", "images", ["deleted_at"], sqlite_where=deleted, postgresql_where=deleted)
