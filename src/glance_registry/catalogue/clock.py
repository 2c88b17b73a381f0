# SPDX-License-Identifier: Apache-2.0
"""The time of a change: later than that of every change before it, although machines' clocks differ and go back.

Who asks for changes since the last one that it has seen must not miss one that comes afterwards.
"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select

from glance_registry.catalogue.rows import from_column, to_column
from glance_registry.catalogue.statements import PreparedWrite
from glance_registry.catalogue.tables import images

log = logging.getLogger(__name__)

MAX_LEAD = timedelta(hours=1)
"""How far the newest change may lie ahead of the clock and still be followed. A clock that was once wrong by more must
not give all changes wrong times for ever."""

# Both are served by the index images_updated_at, of which they read one entry.
NEWEST = select(func.max(images.c.updated_at))
NEWEST_UNTIL = NEWEST.where(images.c.updated_at <= bindparam("latest"))
_NEWEST, _NEWEST_UNTIL = PreparedWrite(NEWEST), PreparedWrite(NEWEST_UNTIL)

_warned: set[int] = set()


def time_of_change(connection: Connection, now: datetime) -> datetime:
    """The time that a change gets in this transaction: now, or just after the newest change that is there."""
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
    """Once for each such time, of which there are few: nothing follows them."""
    if newest in _warned:
        return
    _warned.clear()
    _warned.add(newest)
    log.warning(
        "an image was changed at a time far ahead of this machine's clock: who asks for changes since then misses"
        " those that are made before",
        extra={"fields": {"updated_at": from_column(newest).isoformat()}},
    )
