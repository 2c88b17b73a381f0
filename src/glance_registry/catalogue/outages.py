# SPDX-License-Identifier: Apache-2.0
"""Log lines about failures: one for each cause, and one when everything works again."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

log = logging.getLogger(__name__)

QUIET_SECONDS = 60
"""A cause is logged once in so many seconds at most."""

MAX_CAUSES = 32
"""Further causes count as one, OTHER."""

OTHER = "other"


class _Outage(Struct):
    kinds: set[str]
    logged_at: float = float("-inf")
    is_logged: bool = False
    """Whether it was logged since it began."""
    failed_at: float = 0
    began_at: float = 0
    failures: int = 0


class Outages:
    """What fails now, and why. Each kind of work, such as reads or writes, fails and recovers by itself."""

    def __init__(self, failing: str, working: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`failing` and `working` are the events of the log lines."""
        self._failing = failing
        self._working = working
        self.clock = clock
        self.is_open = False
        """Whether anything fails now."""
        self._outages: dict[str, _Outage] = {}
        self._lock = threading.Lock()

    def failed(self, kind: str, cause: str, fields: Mapping[str, Any]) -> None:
        """Note that work failed. If this is the first failure by this cause, log a line with `fields`."""
        now = self.clock()
        with self._lock:
            outage = self._of(cause)
            if not outage.kinds:
                outage.began_at, outage.failures, outage.is_logged = now, 0, False
            outage.kinds.add(kind)
            outage.failed_at = now
            outage.failures += 1
            self.is_open = True
            if outage.is_logged or now - outage.logged_at < QUIET_SECONDS:
                return
            outage.logged_at, outage.is_logged = now, True
        log.error(self._failing, extra={"fields": dict(fields)})

    def worked(self, kind: str, since: float) -> None:
        """Note that work which began at `since`, by the same clock, succeeded."""
        with self._lock:
            over = []
            for outage in self._outages.values():
                if kind in outage.kinds and outage.failed_at <= since:
                    outage.kinds.remove(kind)
                    over += [] if outage.kinds else [outage]
            self.is_open = any(outage.kinds for outage in self._outages.values())
        logged = [outage for outage in over if outage.is_logged]
        if logged:
            seconds = self.clock() - min(outage.began_at for outage in logged)
            fields = {"failures": sum(outage.failures for outage in logged), "seconds": round(seconds, 1)}
            log.info(self._working, extra={"fields": fields})

    def _of(self, cause: str) -> _Outage:
        if cause not in self._outages and len(self._outages) >= MAX_CAUSES:
            over = next((known for known, outage in self._outages.items() if not outage.kinds), None)
            if over is None:
                cause = OTHER
            else:
                del self._outages[over]
        return self._outages.setdefault(cause, _Outage(set()))
