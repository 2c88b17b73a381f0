# SPDX-License-Identifier: Apache-2.0
"""A limited number of slots, shared fairly between callers.

Whoever sends most requests must not make the others wait behind all of them. So a free slot goes to the waiting
callers in turn, one caller alone never gets the last slots, and when the queue is full, the caller with most requests
in it loses one.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

from glance_registry.catalogue.fair_queue import FairQueue, Item
from glance_registry.model.errors import Overloaded

caller_key: ContextVar[str] = ContextVar("caller_key", default="")
"""For whom the database works in this context. All requests with the same key share what one caller gets."""


class _Waiting(NamedTuple):
    key: str
    turn: asyncio.Future[None]


class Slots:
    """At most `slots` operations run at a time, and at most `max_waiting` wait. For one event loop."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._free = slots
        # Half, at least one, is left for others. They need not wait until a long operation ends, nor share the cores of
        # a machine with more of one caller's statements than these can run.
        self._max_running_per_caller = max(1, slots - max(1, slots // 2))
        self._max_waiting = max_waiting
        self._running: dict[str, int] = {}
        self._queue = FairQueue[_Waiting]()

    @property
    def waiting(self) -> int:
        """How many operations wait for a slot."""
        return len(self._queue)

    def take_free(self) -> str | None:
        """Take a slot if there is one at once; the result is what `release` needs."""
        key = caller_key.get()
        if not self._free or key in self._queue or not self._may_run(key):
            return None
        self._start(key)
        return key

    async def acquire(self) -> str:
        """Wait for a slot; the result is what `release` needs. Raises Overloaded."""
        if (taken := self.take_free()) is not None:
            return taken
        key = caller_key.get()
        make_room(self._queue, self._max_waiting, key, _refuse)
        waiting = _Waiting(key, asyncio.get_running_loop().create_future())
        self._queue.add(waiting, key)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._queue.remove(waiting, key)
            elif waiting.turn.exception() is None:
                self.release(key)  # The slot and the cancellation came at the same time.
            raise
        return key

    def release(self, key: str) -> None:
        self._free += 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        while self._free and (following := self._queue.take(self._may_run)) is not None:
            if not following.turn.done():
                self._start(following.key)
                following.turn.set_result(None)

    def _may_run(self, key: str) -> bool:
        return self._running.get(key, 0) < self._max_running_per_caller

    def _start(self, key: str) -> None:
        self._free -= 1
        self._running[key] = self._running.get(key, 0) + 1


def make_room(queue: FairQueue[Item], max_waiting: int, key: str, refuse: Callable[[Item], None]) -> None:
    """Let one more of this caller's items wait: when the queue is full, the caller with most in it loses one.

    Raises Overloaded when no other caller has more.
    """
    if len(queue) < max_waiting:
        return
    dropped = queue.drop_newest_of_largest(key)
    if dropped is None:
        raise Overloaded
    refuse(dropped)


def _refuse(waiting: _Waiting) -> None:
    if not waiting.turn.done():
        waiting.turn.set_exception(Overloaded())
