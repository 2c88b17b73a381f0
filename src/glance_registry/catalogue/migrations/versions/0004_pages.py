# SPDX-License-Identifier: Apache-2.0
"""An index for each order and filter of a page of images."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SORTED_AS = {
    "created_at": "created_at",
    "id": "id",
    "updated_at": "updated_at",
    "status": "status",
    "name": "coalesce(name, '')",
    "container_format": "coalesce(container_format, '')",
    "disk_format": "coalesce(disk_format, '')",
    "size": "coalesce(size, -1)",
}


def upgrade() -> None:
    live, deleted = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")
    for key, expression in _SORTED_AS.items():
        columns: list[str | sa.TextClause] = ["visibility", sa.text(expression)]
        if key not in ("created_at", "id"):
            columns.append("created_at")
        _create(f"images_by_{key}", columns, live)
    _create("images_owner", ["owner", "created_at"], live)
    _create("images_deleted", ["created_at"], deleted)
    _create("images_updated_at", ["updated_at"], None)
    op.drop_index("images_created_at", "images")
    _create("images_created_at", ["created_at"], None)


def _create(name: str, columns: list[str | sa.TextClause], where: sa.TextClause | None) -> None:
    op.create_index(name, "images", columns, sqlite_where=where, postgresql_where=where)
