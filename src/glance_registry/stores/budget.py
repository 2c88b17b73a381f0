# SPDX-License-Identifier: Apache-2.0
"""Bytes that may be in use at once, handed out in the order in which they are asked for."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """A number of bytes. A wish for more than all of them waits until it can have all."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[None]:
        """Have so many bytes during the context."""
        await self.take(wanted)
        try:
            yield
        finally:
            self.give(wanted)

    async def take(self, wanted: int) -> None:
        """Wait for so many bytes; `give` gives them back."""
        await self._take(min(wanted, self._size))

    def give(self, taken: int) -> None:
        self._free += min(taken, self._size)
        self._hand_out()

    async def _take(self, wanted: int) -> None:
        if not self._waiting and wanted <= self._free:
            self._free -= wanted
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += wanted  # It came at the same moment.
            self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
