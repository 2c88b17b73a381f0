# SPDX-License-Identifier: Apache-2.0
"""${message}

A step must also run under the previous release's code: add, fill, and only a release later take away.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
