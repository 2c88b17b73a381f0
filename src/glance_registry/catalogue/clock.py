# SPDX-License-Identifier: Apache-2.0
"""The time of a change: later than those of all earlier changes, although clocks differ and go back.

A client that asks for all changes since the last one that it knows must not miss any.
"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select

from glance_registry.catalogue.rows import from_column, to_column
from glance_registry.catalogue.statements import PreparedWrite
from glance_registry.catalogue.tables import images

log = logging.getLogger(__name__)

MAX_LEAD = timedelta(hours=1)
"""If the newest change is further ahead of the clock, its time is ignored. A clock that was wrong once must not give
wrong times to all later changes."""

# Both read one entry of the index images_updated_at.
NEWEST = select(func.max(images.c.updated_at))
NEWEST_UNTIL = NEWEST.where(images.c.updated_at <= bindparam("latest"))
_NEWEST, _NEWEST_UNTIL = PreparedWrite(NEWEST), PreparedWrite(NEWEST_UNTIL)

_warned: set[int] = set()


def time_of_change(connection: Connection, now: datetime) -> datetime:
    """The time of a change in this transaction: now, or just after the newest change."""
    newest = _NEWEST.run(connection, {}).rows[0][0]
    if newest is None or newest < to_column(now):
        return now
    latest = to_column(now + MAX_LEAD)
    if newest > latest:
        _warn(newest)
        newest = _NEWEST_UNTIL.run(connection, {"latest": latest}).rows[0][0]
        if newest is None or newest < to_column(now):
            return now
    return from_column(newest + 1)


def _warn(newest: int) -> None:
    """Log it once for each such time. There are few, since no change gets a time after them."""
    if newest in _warned:
        return
    _warned.clear()
    _warned.add(newest)
    log.warning(
        "an image was changed at a time far ahead of this machine's clock: who asks for changes since then misses"
        " those that are made before",
        extra={"fields": {"updated_at": from_column(newest).isoformat()}},
    )
