# SPDX-License-Identifier: Apache-2.0
"""Properties without a value.

They have a column of their own, so that the releases before this step can still read `properties`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("null_properties", sa.Text))
