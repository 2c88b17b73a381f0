# SPDX-License-Identifier: Apache-2.0
"""The argument of every handler: one request, and what all requests share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from starlette.requests import Request as StarletteRequest
from starlette.types import Receive, Scope

from glance_registry.api.errors import ClientGone, RequestTimeout
from glance_registry.api.metrics import Metrics
from glance_registry.api.networks import Network
from glance_registry.api.render_cache import RenderCache
from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.access import Caller
from glance_registry.model.changes import ANY, Change, Precondition
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Invalid, RegistryError, TooLarge
from glance_registry.model.image import Image
from glance_registry.model.rules import Rules
from glance_registry.settings import Settings
from glance_registry.transfer.upload import Transfers

T = TypeVar("T")

MAX_DRAINED_BYTES = 16_777_216
DRAIN_SECONDS = 5


class RequestLog(Protocol):
    """The log of requests, one line each."""

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None: ...

    def flush(self) -> None: ...

    def on_loss(self, count: Callable[[int], None]) -> None: ...


class Registry(Struct, frozen=True, kw_only=True):
    """What all requests of one program share. Tests choose its time and ids."""

    catalogue: Catalogue
    settings: Settings
    contract: Contract
    """The one that the settings name, with their limits."""
    prepared: Mapping[type[Any], Any]
    """What dialects have made of the settings at the start, by its type."""
    metrics: Metrics
    metrics_networks: tuple[Network, ...]
    """Addresses that may read the metrics."""
    openapi: Callable[[], bytes]
    """The API's description as it is sent, made when it is first asked for."""
    render_cache: RenderCache
    transfers: Transfers
    request_log: RequestLog | None = None
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    """What runs as long as the server does."""


class Request(StarletteRequest):
    """One request, with its caller and the variable parts of its path."""

    def __init__(self, scope: Scope, receive: Receive, registry: Registry, parts: dict[str, str]) -> None:
        super().__init__(scope, receive)
        self.registry = registry
        self.parts = parts
        self.caller: Caller
        self.body_ended = False
        """Whether a body that is read in parts was read to its end."""

    @property
    def image_id(self) -> str:
        return self.parts["image_id"]

    @property
    def address(self) -> str:
        """The client's IP address; empty when the server does not know it."""
        return self.client.host if self.client else ""

    async def change_image(self, changes: Sequence[Change], rules: Rules, condition: Precondition = ANY) -> Image:
        """The image that the path names after these changes. Raises what `images.change` raises."""
        registry = self.registry
        image = await registry.catalogue.write(
            images.change, self.image_id, changes, registry.now(), self.caller, rules, condition
        )
        if image.deleted:
            registry.transfers.wake_reaper()
        return image

    async def stream_body(self) -> AsyncIterator[bytes]:
        """The body as it comes, however long it is and however long it takes.

        Raises RequestTimeout when nothing comes for the time of the setting, ClientGone when the client disconnects.
        """
        loop, seconds = asyncio.get_running_loop(), self.registry.settings.limits.request_timeout
        try:
            # One timer for all messages: a large body has thousands.
            async with asyncio.timeout(None) as timer:
                while not self.body_ended:
                    timer.reschedule(loop.time() + seconds)
                    message: Any = await self.receive()
                    timer.reschedule(None)
                    gone = message["type"] == "http.disconnect"
                    self.body_ended = gone or not message.get("more_body", False)
                    if gone:
                        raise ClientGone
                    if body := message.get("body", b""):
                        yield body
        except TimeoutError:
            raise RequestTimeout(f"The body did not come within {seconds} seconds.") from None

    async def drain(self) -> None:
        """Read what is left of a body that was not wanted, up to a limit.

        A client that still sends does not read the answer, and a connection that is closed with bytes unread is reset.
        """
        left = MAX_DRAINED_BYTES
        with suppress(TimeoutError, RegistryError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for part in self.stream_body():
                    left -= len(part)
                    if left < 0:
                        return

    async def read_body(self) -> bytes:
        """The whole body.

        Raises TooLarge as soon as it is known to be longer than the setting allows, and RequestTimeout when it does not
        come in time.
        """
        return await self._in_time(self._read())

    async def _read(self) -> bytes:
        largest = self.registry.settings.max_request_body_size
        declared = self.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > largest:
            raise TooLarge(f"The body is larger than {largest} bytes.")
        chunks: list[bytes] = []
        size = 0
        while True:
            message: Any = await self.receive()
            if message["type"] == "http.disconnect":
                raise Invalid("The body ended before it was complete.")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > largest:
                raise TooLarge(f"The body is larger than {largest} bytes.")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def _in_time(self, reading: Coroutine[Any, Any, T]) -> T:
        seconds = self.registry.settings.limits.request_timeout
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError:
            raise RequestTimeout(f"The body did not come within {seconds} seconds.") from None
