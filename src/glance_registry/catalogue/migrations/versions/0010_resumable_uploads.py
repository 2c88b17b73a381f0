# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on after a break.

Every column may be null: the release before this step begins uploads without them. Its reaper ends a resumable upload
as it ends others, when it has expired.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("uploads", sa.Column("resumable", sa.Boolean))
    op.add_column("uploads", sa.Column("length", sa.BigInteger))
    op.add_column("uploads", sa.Column("kept", sa.BigInteger))
    op.add_column("uploads", sa.Column("writer", _text(32)))
    op.add_column("uploads", sa.Column("writer_until", sa.BigInteger))
    op.add_column("uploads", sa.Column("next_writer", _text(32)))
