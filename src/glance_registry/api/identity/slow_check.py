# SPDX-License-Identifier: Apache-2.0
"""Runs slow checks of credentials in threads, shares running ones, and caches results.

Wrong or many credentials delay only their sender. Credentials that passed before are checked first. The others are
checked address by address in turn, with a limit for each address and user.
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

MAX_REMEMBERED = 1000
MAX_CHECKS = 500
"""Checks that run or wait for a thread; guessed passwords must not fill the memory."""
MAX_CHECKS_PER_ADDRESS = 32
MAX_CHECKS_PER_USER = 4
"""Checks for one name from one address that run or wait."""
MAX_KNOWN = 10_000
"""Digests of credentials that passed, which are checked first when they come again."""
MAX_WAIT_SECONDS = 30
"""How long a request waits for its check."""


class Passed(Struct, Generic[Found], frozen=True):
    """The result of a check, and for how many seconds it is valid at most."""

    found: Found
    seconds: float = math.inf


class _Result(Struct, Generic[Found], frozen=True):
    found: Found
    until: float


class _Check(Struct, Generic[Found], eq=False):
    """A check that runs or waits.

    `source` is None if it has no limit: the mode has none, or the secret is known.
    """

    secret: bytes
    """The digest of the credentials."""
    version: bytes
    run: Callable[[], Passed[Found]]
    result: asyncio.Future[Passed[Found]]
    requested_at: float
    source: Source | None
    requests: int = 0
    running: bool = False

    @property
    def key(self) -> bytes:
        return self.secret + self.version


class SlowChecks(Generic[Found]):
    """The checks of one process.

    Only good results are cached, under a keyed digest of the secret. The key is random, so each worker needs its own
    object. No thread starts before the first check.
    """

    def __init__(
        self,
        seconds: float,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
        start_thread: Callable[[], None] | None = None,
    ) -> None:
        """Make the checks of one process; `start_thread` is run in each thread before its first check."""
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="identity", initializer=start_thread)
        self._idle = threads
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._results: dict[bytes, _Result[Found]] = {}
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._checks: dict[bytes, _Check[Found]] = {}
        self._queue = FairQueue[_Check[Found]]()
        self._by_address = Counter[str]()
        self._by_source = Counter[Source]()
        self._guesses = Guesses(clock)

    async def run(
        self, secret: bytes, check: Callable[[], Passed[Found]], source: Source | None = None, version: bytes = b""
    ) -> Found:
        """The result of the check of this secret, or the cached one if `version` is the same.

        Raises what the check raises; TooManyAttempts if the source must wait, unless the secret passed before;
        IdentityUnavailable if too many others wait.
        """
        digest = hmac.digest(self._key, secret, "sha256")
        result = self._results.get(digest + version)
        if result is not None and self._clock() < result.until:
            return result.found
        running = self._checks.get(digest + version)
        if running is None:
            known = digest in self._known
            running = self._admit(_Check(digest, version, check, _future(), self._clock(), None if known else source))
        running.requests += 1
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                # Shielded, because others may wait for the same check when this client has gone.
                found = (await asyncio.shield(running.result)).found
        except TimeoutError:
            raise IdentityUnavailable("Checking the credentials took too long; try again later.") from None
        finally:
            running.requests -= 1
            if not running.requests and not running.running:
                self._abandon(running)
        if source is not None:
            self._remember_secret(digest, source)
        return found

    def _admit(self, check: _Check[Found]) -> _Check[Found]:
        source = check.source
        if source is not None:
            self._refuse_too_many(source)
        # Known secrets need no limit here: their number is limited by MAX_KNOWN.
        if len(self._checks) >= MAX_CHECKS and check.secret not in self._known:
            self._displace(source)
        self._checks[check.key] = check
        if check.secret in self._known:
            self._queue.add_first(check)
        else:
            self._queue.add(check, source.address if source else "")
        if source is not None:
            self._by_address[source.address] += 1
            self._by_source[source] += 1
        self._start_next()
        return check

    def _refuse_too_many(self, source: Source) -> None:
        seconds = self._guesses.seconds_to_wait(source)
        if seconds > 0:
            raise TooManyAttempts("Too many wrong passwords; try again later.", math.ceil(seconds))
        if self._by_source[source] >= MAX_CHECKS_PER_USER or self._by_address[source.address] >= MAX_CHECKS_PER_ADDRESS:
            raise TooManyAttempts("Too many passwords from this address are being checked; try again later.", 1)

    def _displace(self, source: Source | None) -> None:
        """Drop a check of the address with the most checks, if that is another address."""
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
            running.add_done_callback(partial(self._finish, check))

    def _finish(self, check: _Check[Found], ended: asyncio.Future[Passed[Found]]) -> None:
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
            self._store(check, ended.result())
            check.result.set_result(ended.result())
        self._start_next()

    def _abandon(self, check: _Check[Found]) -> None:
        """Remove a check whose requests have all gone."""
        if check.source is not None and not check.result.done():
            self._queue.remove(check, check.source.address)
            self._forget(check)
            check.result.cancel()

    def _forget(self, check: _Check[Found]) -> None:
        del self._checks[check.key]
        if check.source is not None:
            self._by_address -= Counter([check.source.address])  # Subtraction removes counts of 0.
            self._by_source -= Counter([check.source])

    def _store(self, check: _Check[Found], passed: Passed[Found]) -> None:
        self._results.pop(check.key, None)
        seconds = min(self._seconds, passed.seconds)
        if seconds > 0:
            self._results[check.key] = _Result(passed.found, check.requested_at + seconds)
        if len(self._results) > MAX_REMEMBERED:
            # The first key of a dictionary is the oldest one.
            del self._results[next(iter(self._results))]

    def _remember_secret(self, secret: bytes, source: Source) -> None:
        self._guesses.forget(source)
        self._known[secret] = None
        self._known.move_to_end(secret)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _future() -> asyncio.Future[Any]:
    """A future that logs no error if nobody waits for it."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda result: result.cancelled() or result.exception())
    return future
