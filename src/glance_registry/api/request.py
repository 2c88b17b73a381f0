# SPDX-License-Identifier: Apache-2.0
"""What a handler is given."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from starlette.requests import Request as StarletteRequest
from starlette.types import Receive, Scope

from glance_registry.api.errors import RequestTimeout
from glance_registry.api.metrics import Metrics
from glance_registry.api.networks import Network
from glance_registry.api.v2.offer import Offer
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.access import Caller
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Invalid, TooLarge

T = TypeVar("T")


class RequestLog(Protocol):
    """Where one line for each request goes."""

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None: ...

    def flush(self) -> None: ...

    def on_loss(self, count: Callable[[int], None]) -> None: ...


class Registry(Struct, frozen=True, kw_only=True):
    """What every request of one program shares. Time and ids come from outside, so that tests can choose them."""

    catalogue: Catalogue
    contract: Contract
    offer: Offer
    default_page: int
    largest_page: int
    largest_body: int
    """In bytes."""
    body_seconds: float
    """How long a body may take to come."""
    most_images: int
    """Of one owner; 0: as many as it likes."""
    metrics: Metrics
    metrics_networks: tuple[Network, ...]
    """From where the metrics may be asked for."""
    openapi: Callable[[], bytes]
    """The API's description as it is sent, made when it is first asked for."""
    request_log: RequestLog | None = None
    now: Callable[[], datetime]
    new_id: Callable[[], str]


class Request(StarletteRequest):
    """One request: who calls, with which parts of the path."""

    def __init__(self, scope: Scope, receive: Receive, registry: Registry, parts: dict[str, str]) -> None:
        super().__init__(scope, receive)
        self.registry = registry
        self.parts = parts
        self.caller: Caller

    @property
    def image_id(self) -> str:
        return self.parts["image_id"]

    @property
    def address(self) -> str:
        """Where the request comes from; empty when the server does not know."""
        return self.client.host if self.client else ""

    async def brings_bytes(self) -> bool:
        """Whether there is anything in the body; it is read no further than to its first byte.

        Raises RequestTimeout when neither that nor the end comes in time, Invalid when the client goes away before.
        """
        return await self._in_time(self._find_byte())

    async def read_body(self) -> bytes:
        """The whole body.

        Raises TooLarge as soon as it is known to be longer than the setting allows, and RequestTimeout when it does not
        come in time.
        """
        return await self._in_time(self._read())

    async def _find_byte(self) -> bool:
        while True:
            message: Any = await self.receive()
            if message["type"] == "http.disconnect":
                raise Invalid("The body ended before it was complete.")
            if message.get("body"):
                return True
            if not message.get("more_body", False):
                return False

    async def _read(self) -> bytes:
        largest = self.registry.largest_body
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
        seconds = self.registry.body_seconds
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError:
            raise RequestTimeout(f"The body did not come within {seconds} seconds.") from None
