# SPDX-License-Identifier: Apache-2.0
"""Checks of credentials that are too slow for the event loop: run in threads, shared by all who wait, remembered."""

import asyncio
import hmac
import math
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from glance_registry.model.errors import IdentityUnavailable

Found = TypeVar("Found")

REMEMBERED_AT_MOST = 1000
WAITING_AT_MOST = 500
"""Checks that run or wait for a thread. Guessing passwords must not fill the memory."""
PATIENCE_SECONDS = 30
"""How long one request waits for its check."""


class Passed(Struct, Generic[Found], frozen=True):
    """What a check has found, and for how many seconds that is true at most."""

    found: Found
    seconds: float = math.inf


class _Kept(Struct, Generic[Found], frozen=True):
    found: Found
    until: float


class SlowChecks(Generic[Found]):
    """The checks of one process. Only what passed is remembered, under a keyed digest of its secret, never the secret.

    The key is random and this process's own: make one of these in each worker. No thread starts before a check does.
    """

    def __init__(self, seconds: float, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="identity")
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._kept: dict[bytes, _Kept[Found]] = {}
        self._running: dict[bytes, asyncio.Future[Passed[Found]]] = {}

    async def run(self, secret: bytes, check: Callable[[], Passed[Found]]) -> Found:
        """What the check of this secret finds, or found a moment ago. Raises what the check raises, and
        IdentityUnavailable when too many others wait for theirs.
        """
        digest = hmac.digest(self._key, secret, "sha256")
        kept = self._kept.get(digest)
        if kept is not None and self._clock() < kept.until:
            return kept.found
        running = self._running.get(digest)
        if running is None:
            if len(self._running) >= WAITING_AT_MOST:
                raise IdentityUnavailable("Too many callers are being identified now; try again later.")
            running = asyncio.get_running_loop().run_in_executor(self._threads, check)
            self._running[digest] = running
            running.add_done_callback(partial(self._keep, digest, self._clock()))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # Shielded: others may wait for the same check when this request's client has gone.
                return (await asyncio.shield(running)).found
        except TimeoutError:
            raise IdentityUnavailable("Finding out who calls took too long; try again later.") from None

    def _keep(self, digest: bytes, started: float, check: asyncio.Future[Passed[Found]]) -> None:
        del self._running[digest]
        if check.cancelled() or check.exception() is not None:
            return
        passed = check.result()
        self._kept.pop(digest, None)
        seconds = min(self._seconds, passed.seconds)
        if seconds > 0:
            self._kept[digest] = _Kept(passed.found, started + seconds)
        if len(self._kept) > REMEMBERED_AT_MOST:
            # A dictionary keeps its order, so this is the one that was checked longest ago.
            del self._kept[next(iter(self._kept))]
