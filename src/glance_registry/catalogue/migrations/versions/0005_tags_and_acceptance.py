# SPDX-License-Identifier: Apache-2.0
"""Tags, hidden images, digests; and whether members have accepted an image.

Every new column has a default or may be null, so that the release before this step goes on writing meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("images", sa.Column("tags", sa.Text, nullable=False, server_default="[]"))
    op.add_column("images", sa.Column("os_hidden", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("images", sa.Column("os_hash_algo", _text(64)))
    op.add_column("images", sa.Column("os_hash_value", _text(128)))
    op.add_column("image_members", sa.Column("status", _text(20), nullable=False, server_default="pending"))
    op.add_column("image_members", sa.Column("created_at", sa.BigInteger))
    op.add_column("image_members", sa.Column("updated_at", sa.BigInteger))
    hidden = sa.text("os_hidden IS true AND deleted_at IS NULL")
    op.create_index(
        "images_hidden",
        "images",
        ["visibility", "created_at"],
        sqlite_where=sa.text("os_hidden IS 1 AND deleted_at IS NULL"),
        postgresql_where=hidden,
    )
