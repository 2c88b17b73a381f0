# SPDX-License-Identifier: Apache-2.0
"""The index of words, with triggers: an older release that goes on writing keeps it without knowing it."""

from alembic import op

from glance_registry.catalogue import word_triggers

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    word_triggers.create(op.get_bind())
