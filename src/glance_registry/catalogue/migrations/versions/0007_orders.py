# SPDX-License-Identifier: Apache-2.0
"""On PostgreSQL, the indexes of all images by a time get an order of nulls that only lists of all images ask for.

The planner must not take them for a page of the images that somebody may see. An older release still finds changes
since a time by its index; its export sorts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for key in ("created_at", "updated_at"):
        op.drop_index(f"images_{key}", "images")
        op.create_index(f"images_{key}", "images", [sa.column(key).nulls_first()])
