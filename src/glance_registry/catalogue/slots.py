# SPDX-License-Identifier: Apache-2.0
"""A limited number of slots, shared fairly between callers.

Whoever sends most requests must not make the others wait behind all of them. So a free slot goes to the waiting
callers in turn, one caller alone never gets the last slots, and when the queue is full, the caller with most requests
in it loses one.
"""

import asyncio
from collections import deque
from contextvars import ContextVar

from glance_registry.model.errors import Overloaded

caller_key: ContextVar[str] = ContextVar("caller_key", default="")
"""For whom the database works in this context. All requests with the same key share what one caller gets."""


class Slots:
    """At most `slots` operations run at a time, and at most `max_waiting` wait. For one event loop."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._free = slots
        # Half, at least one, is left for others. They need not wait until a long operation ends, nor share the cores of
        # a machine with more of one caller's statements than these can run.
        self._max_running_per_caller = max(1, slots - max(1, slots // 2))
        self._max_waiting = max_waiting
        self._running: dict[str, int] = {}
        # The order of the callers is the order of their turns: a caller that had its turn goes to the end.
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self.waiting = 0
        """How many operations wait for a slot."""

    def take_free(self) -> str | None:
        """Take a slot if there is one at once; the result is what `release` needs."""
        key = caller_key.get()
        if not self._free or key in self._queues or not self._may_run(key):
            return None
        self._start(key)
        return key

    async def acquire(self) -> str:
        """Wait for a slot; the result is what `release` needs. Raises Overloaded."""
        if (taken := self.take_free()) is not None:
            return taken
        key = caller_key.get()
        self._make_room(key)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(key, turn)
            elif turn.exception() is None:
                self.release(key)  # The slot and the cancellation came at the same time.
            raise
        return key

    def release(self, key: str) -> None:
        self._free += 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        while self._free and (following := self._next_caller()) is not None:
            queue = self._queues.pop(following)
            turn = queue.popleft()
            if queue:
                self._queues[following] = queue
            self.waiting -= 1
            if not turn.done():
                self._start(following)
                turn.set_result(None)

    def _next_caller(self) -> str | None:
        return next((key for key in self._queues if self._may_run(key)), None)

    def _may_run(self, key: str) -> bool:
        return self._running.get(key, 0) < self._max_running_per_caller

    def _start(self, key: str) -> None:
        self._free -= 1
        self._running[key] = self._running.get(key, 0) + 1

    def _make_room(self, key: str) -> None:
        """Let one more of this caller's operations wait. Raises Overloaded when the queue is full and no other caller
        has more in it."""
        if self.waiting < self._max_waiting:
            return
        own = len(self._queues.get(key, ()))
        busiest = max(self._queues, key=lambda other: len(self._queues[other]), default=key)
        if len(self._queues.get(busiest, ())) <= own + 1:
            raise Overloaded
        last = self._queues[busiest][-1]
        self._remove(busiest, last)
        if not last.done():
            last.set_exception(Overloaded())

    def _remove(self, key: str, turn: asyncio.Future[None]) -> None:
        """Take a waiting operation out of the queue, unless `release` or `_make_room` has done so."""
        queue = self._queues.get(key)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self._queues[key]
