# SPDX-License-Identifier: Apache-2.0
"""Cancels long requests when their client has gone, and when the program stops."""

import asyncio
from types import TracebackType

from starlette.types import Receive

from glance_registry.api.errors import ClientGone
from glance_registry.model.errors import RegistryError, Unavailable

LOOK_AFTER_SECONDS = 0.2
"""A request runs so long before its client is watched: most are answered by then, and watching costs time."""

STOP_SECONDS = 2
"""Requests that only read may go on so long after the program was told to stop."""


class Patience:
    """The long requests of one program that only read; a write is never cancelled."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._stopped = False

    def watch(self, receive: Receive) -> "Watch":
        """Cancel what runs in this context when its client has gone or the program stops.

        The request's body is not read any more. Raises ClientGone or Unavailable.
        """
        return Watch(self, receive)

    def stop(self) -> None:
        """Cancel what still runs in `STOP_SECONDS`."""
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._stop_all)

    def _stop_all(self) -> None:
        self._stopped = True
        for watch in self._watches:
            watch.give_up(Unavailable("The registry is shutting down."))

    def add(self, watch: "Watch") -> None:
        self._watches.add(watch)
        if self._stopped:
            watch.give_up(Unavailable("The registry is shutting down."))

    def remove(self, watch: "Watch") -> None:
        self._watches.discard(watch)


class Watch:
    """An asynchronous context manager; see `Patience.watch`."""

    def __init__(self, patience: Patience, receive: Receive) -> None:
        self._patience = patience
        self._receive = receive
        self._reason: RegistryError | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._listening = asyncio.create_task(self._listen())
        self._patience.add(self)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.give_up(ClientGone())

    def give_up(self, reason: RegistryError) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
            self._patience.remove(self)
        # As asyncio.timeout does: somebody else may have cancelled the task, too.
        if (
            self._reason is not None
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise self._reason from error
