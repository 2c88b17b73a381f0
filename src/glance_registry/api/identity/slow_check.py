# SPDX-License-Identifier: Apache-2.0
"""Checks of credentials that are too slow for the event loop: run in threads, shared by all who wait, remembered.

Whoever sends wrong credentials, or many, waits for themselves: credentials that passed lately are checked before
others, of the others each address has its turn, and each address and user has a limit.
"""

import asyncio
import hmac
import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from msgspec import Struct

from glance_registry.api.errors import TooManyAttempts
from glance_registry.api.identity.guesses import Guesses, Source
from glance_registry.catalogue.fair_queue import FairQueue
from glance_registry.model.errors import IdentityUnavailable, Unauthorized

Found = TypeVar("Found")

REMEMBERED_AT_MOST = 1000
WAITING_AT_MOST = 500
"""Checks that run or wait for a thread. Guessing passwords must not fill the memory."""
MAX_WAITING_OF_ADDRESS = 32
MAX_WAITING_OF_USER = 4
"""Checks that run or wait for one name from one address."""
MAX_KNOWN = 10_000
"""Digests of credentials that passed, by which they are known when they come again."""
PATIENCE_SECONDS = 30
"""How long one request waits for its check."""


class Passed(Struct, Generic[Found], frozen=True):
    """What a check has found, and for how many seconds that is true at most."""

    found: Found
    seconds: float = math.inf


class _Kept(Struct, Generic[Found], frozen=True):
    found: Found
    until: float


class _Check(Struct, Generic[Found], eq=False):
    """A check that runs or waits. `source` is None when it is not limited: nobody is, or its secret is known."""

    secret: bytes
    """Its digest."""
    version: bytes
    run: Callable[[], Passed[Found]]
    result: asyncio.Future[Passed[Found]]
    asked_at: float
    source: Source | None
    requests: int = 0
    running: bool = False

    @property
    def key(self) -> bytes:
        return self.secret + self.version


class SlowChecks(Generic[Found]):
    """The checks of one process. Only what passed is remembered, under a keyed digest of its secret, never the secret.

    The key is random and this process's own: make one of these in each worker. No thread starts before a check does.
    """

    def __init__(self, seconds: float, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="identity")
        self._idle = threads
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._kept: dict[bytes, _Kept[Found]] = {}
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._checks: dict[bytes, _Check[Found]] = {}
        self._queue = FairQueue[_Check[Found]]()
        self._of_address = Counter[str]()
        self._of_source = Counter[Source]()
        self._guesses = Guesses(clock)

    async def run(
        self, secret: bytes, check: Callable[[], Passed[Found]], source: Source | None = None, version: bytes = b""
    ) -> Found:
        """What the check of this secret finds, or found a moment ago with the same version of what it is compared with.

        Raises what the check raises; TooManyAttempts when the source is to wait, unless its secret passed before; and
        IdentityUnavailable when too many others wait for theirs.
        """
        digest = hmac.digest(self._key, secret, "sha256")
        kept = self._kept.get(digest + version)
        if kept is not None and self._clock() < kept.until:
            return kept.found
        running = self._checks.get(digest + version)
        if running is None:
            known = digest in self._known
            running = self._admit(_Check(digest, version, check, _future(), self._clock(), None if known else source))
        running.requests += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # Shielded: others may wait for the same check when this request's client has gone.
                found = (await asyncio.shield(running.result)).found
        except TimeoutError:
            raise IdentityUnavailable("Finding out who calls took too long; try again later.") from None
        finally:
            running.requests -= 1
            if not running.requests and not running.running:
                self._drop(running)
        if source is not None:
            self._remember_secret(digest, source)
        return found

    def _admit(self, check: _Check[Found]) -> _Check[Found]:
        source = check.source
        if source is not None:
            self._refuse_too_many(source)
        # Checks of known secrets are at most as many as these.
        if len(self._checks) >= WAITING_AT_MOST and check.secret not in self._known:
            self._make_room(source)
        self._checks[check.key] = check
        if check.secret in self._known:
            self._queue.add_first(check)
        else:
            self._queue.add(check, source.address if source else "")
        if source is not None:
            self._of_address[source.address] += 1
            self._of_source[source] += 1
        self._start_next()
        return check

    def _refuse_too_many(self, source: Source) -> None:
        seconds = self._guesses.seconds_to_wait(source)
        if seconds > 0:
            raise TooManyAttempts("Too many wrong passwords; try again later.", math.ceil(seconds))
        if self._of_source[source] >= MAX_WAITING_OF_USER or self._of_address[source.address] >= MAX_WAITING_OF_ADDRESS:
            raise TooManyAttempts("Too many passwords from this address are being checked; try again later.", 1)

    def _make_room(self, source: Source | None) -> None:
        """Give up a check of the address that has the most, if that is another one's."""
        dropped = self._queue.drop_newest_of_largest(source.address if source else "")
        if dropped is not None:
            self._forget(dropped)
            dropped.result.set_exception(
                TooManyAttempts("Too many passwords from this address are being checked; try again later.", 1)
            )
        else:
            raise IdentityUnavailable("Too many callers are being identified now; try again later.")

    def _start_next(self) -> None:
        while self._idle and (check := self._queue.take()) is not None:
            self._idle -= 1
            check.running = True
            running = asyncio.get_running_loop().run_in_executor(self._threads, check.run)
            running.add_done_callback(partial(self._end, check))

    def _end(self, check: _Check[Found], ended: asyncio.Future[Passed[Found]]) -> None:
        self._idle += 1
        self._forget(check)
        error = None if ended.cancelled() else ended.exception()
        if ended.cancelled():
            check.result.cancel()
        elif error is not None:
            if isinstance(error, Unauthorized):
                self._known.pop(check.secret, None)
                if check.source is not None:
                    self._guesses.count_failure(check.source)
            check.result.set_exception(error)
        else:
            self._remember(check, ended.result())
            check.result.set_result(ended.result())
        self._start_next()

    def _drop(self, check: _Check[Found]) -> None:
        """All who waited for it have gone."""
        if check.source is not None and not check.result.done():
            self._queue.remove(check, check.source.address)
            self._forget(check)
            check.result.cancel()

    def _forget(self, check: _Check[Found]) -> None:
        del self._checks[check.key]
        if check.source is not None:
            self._of_address -= Counter([check.source.address])  # What comes to 0 leaves the table.
            self._of_source -= Counter([check.source])

    def _remember(self, check: _Check[Found], passed: Passed[Found]) -> None:
        self._kept.pop(check.key, None)
        seconds = min(self._seconds, passed.seconds)
        if seconds > 0:
            self._kept[check.key] = _Kept(passed.found, check.asked_at + seconds)
        if len(self._kept) > REMEMBERED_AT_MOST:
            # A dictionary keeps its order, so this is the one that was checked longest ago.
            del self._kept[next(iter(self._kept))]

    def _remember_secret(self, secret: bytes, source: Source) -> None:
        self._guesses.forget(source)
        self._known[secret] = None
        self._known.move_to_end(secret)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _future() -> asyncio.Future[Any]:
    """A result whose error is nobody's when nobody waits for it any more."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda result: result.cancelled() or result.exception())
    return future
