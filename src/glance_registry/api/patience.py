# SPDX-License-Identifier: Apache-2.0
"""Cancels long requests when their client has gone, and when the program stops."""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType

from starlette.types import Receive

from glance_registry.api.errors import ClientGone
from glance_registry.model.errors import RegistryError, Unavailable

log = logging.getLogger(__name__)

LOOK_AFTER_SECONDS = 0.2
"""A request runs so long before its client is watched: most are answered by then, and watching costs time."""

STOP_SECONDS = 2
"""Requests that only read may go on so long after the program was told to stop."""

TRANSFER_STOP_SECONDS = 10
"""Uploads and downloads may go on so long after that: those that end by then need not be repeated."""

CLOSE_SECONDS = 5
"""Transfers that are cancelled have so long to undo what they did."""


class Stopping(Unavailable):
    """The program stops; another one may answer soon."""

    code = "stopping"

    def __init__(self) -> None:
        super().__init__("The registry is shutting down.")


class Patience:
    """The long requests of one program. Of the writes only uploads are cancelled: they undo what they did."""

    def __init__(self) -> None:
        self._reads = _Group(at_once=False)
        self._transfers = _Group(at_once=True)

    def watch(self, receive: Receive) -> "Watch":
        """Cancel what runs in this context when its client has gone or the program stops.

        The request's body is not read any more. Raises ClientGone or Stopping.
        """
        return Watch(self._reads, receive)

    def watch_download(self, receive: Receive) -> "Watch":
        """The same for an answer that is sent in parts, which may go on for longer."""
        return Watch(self._transfers, receive)

    def watch_upload(self) -> "Watch":
        """Cancel an upload when the program stops. That its client has gone is seen by who reads the body."""
        return Watch(self._transfers, None)

    def stop(self) -> None:
        """Cancel what still runs in `STOP_SECONDS`, and transfers in `TRANSFER_STOP_SECONDS`."""
        loop = asyncio.get_running_loop()
        loop.call_later(STOP_SECONDS, self._reads.stop)
        loop.call_later(TRANSFER_STOP_SECONDS, self._transfers.stop)

    async def close(self) -> None:
        """Cancel the transfers that still run, and wait until they have ended."""
        self._reads.stop()
        self._transfers.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._transfers.wait_until_empty()


class _Group:
    """Requests that are cancelled at the same time."""

    def __init__(self, *, at_once: bool) -> None:
        """`at_once`: a request belongs to the group from its start, not only when it turns out to be long."""
        self.at_once = at_once
        self._watches: set[Watch] = set()
        self._stopped = False
        self._emptied = asyncio.Event()

    def stop(self) -> None:
        self._stopped = True
        if self._watches:
            fields = {"requests": len(self._watches)}
            log.warning("requests are cut because the program stops", extra={"fields": fields})
        for watch in self._watches:
            watch.give_up(Stopping())

    def add(self, watch: "Watch") -> None:
        self._watches.add(watch)
        self._emptied.clear()
        if self._stopped:
            watch.give_up(Stopping())

    def remove(self, watch: "Watch") -> None:
        self._watches.discard(watch)
        if not self._watches:
            self._emptied.set()

    async def wait_until_empty(self) -> None:
        if self._watches:
            await self._emptied.wait()


class Watch:
    """An asynchronous context manager; see `Patience.watch`."""

    def __init__(self, group: _Group, receive: Receive | None) -> None:
        self._group = group
        self._receive = receive
        self._reason: RegistryError | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, self._begin)
        if self._group.at_once:
            self._group.add(self)

    def _begin(self) -> None:
        if self._receive is not None:
            self._listening = asyncio.create_task(self._listen(self._receive))
        if not self._group.at_once:
            self._group.add(self)

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
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
        self._group.remove(self)
        if self._listening is not None:
            self._listening.cancel()
        # As asyncio.timeout does: somebody else may have cancelled the task, too.
        if (
            self._reason is not None
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise self._reason from error
