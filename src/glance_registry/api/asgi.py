# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: finds route and caller, runs the handler, answers errors, counts and logs requests."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from http import HTTPStatus
from os import urandom
from typing import Any

from starlette.types import Receive, Scope, Send

from glance_registry.api.cross_site import SAFE, check_site
from glance_registry.api.dialect import Access, Dialect, Route
from glance_registry.api.errors import error_headers, failure_sentence, status_of
from glance_registry.api.failures import Failures, request_outages
from glance_registry.api.host_check import HostCheck
from glance_registry.api.identity import Identify
from glance_registry.api.patience import Patience
from glance_registry.api.request import Registry, Request
from glance_registry.api.responses import Answer, Header
from glance_registry.api.routing import Router
from glance_registry.catalogue.outages import Outages
from glance_registry.catalogue.slots import caller_key
from glance_registry.model.access import ANONYMOUS, Caller, check_may_write
from glance_registry.model.errors import RegistryError

log = logging.getLogger(__name__)

# A client's own request id is echoed and logged only when it cannot break a header or a log line.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# A browser must not take an answer with names of images for a page of HTML.
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
NO_ROUTE = "-"

SMALL_PART_BYTES = 65_536
"""Of a long answer's first parts."""

SLOW_START_BYTES = 6_291_456
"""Of a long answer are sent in small parts: more than the system takes for a client that reads nothing."""


class Application:
    """`await application(scope, receive, send)`; it closes the catalogue when the server stops."""

    def __init__(
        self,
        open_registry: Callable[[], Awaitable[Registry]],
        check_host: HostCheck,
        identify: Identify,
        dialects: Iterable[Dialect],
        outages: Outages | None = None,
    ) -> None:
        self._open_registry = open_registry
        self._check_host = check_host
        self._identify = identify
        self._router = Router(dialects)
        self._registry: Registry | None = None
        self._patience = Patience()
        self._failures = Failures(outages or request_outages())
        self._background: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def open(self) -> Registry:
        """Open the catalogue, once, on the loop that serves."""
        if self._registry is None:
            self._registry = await self._open_registry()
        return self._registry

    def stop(self) -> None:
        """Cancel requests that only read, after a short time. Call it on the event loop when the program stops."""
        self._patience.stop()

    async def close(self) -> None:
        """Stop what runs in the background, cancel transfers, close stores and catalogue."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background = []
        # Uploads that are cancelled write to the catalogue once more.
        await self._patience.close()
        if self._registry is not None:
            await self._registry.transfers.close()
            await self._registry.catalogue.close()
            if self._registry.request_log is not None:
                self._registry.request_log.flush()
            self._registry = None
        self._patience = Patience()  # What is opened again serves again.

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan: open before the first request, close after the last one."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    registry = await self.open()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": _why_not_started(error)})
                    return
                self._background = [asyncio.create_task(run()) for run in registry.background]
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        registry = await self.open()
        method = scope["method"]
        request_id = _request_id(scope)
        route, route_path, since = None, NO_ROUTE, self._failures.clock()
        request = None
        try:
            self._check_host(scope)
            route, parts = self._router.find(method, scope["path"])
            route_path = route.path
            if method not in SAFE:
                check_site(scope)
            request = Request(scope, receive, registry, parts)
            caller = ANONYMOUS
            if route.access is not Access.OPEN:
                request.caller = caller = await self._identify(request)
            if route.access is Access.WRITE:
                check_may_write(caller)
            caller_key.set(_key(scope, caller))
            async with self._watch(route, method, receive):
                answer = await route.handler(request)
            self._failures.worked(route, since)
        except RegistryError as error:
            registry.metrics.count_error(error.code)
            self._failures.failed(error, route, request_id.decode(), registry)
            answer = self._error(scope, status_of(error), str(error), error_headers(error))
        except Exception:
            failed = request_id.decode()
            log.exception("request %s failed", failed, extra={"fields": {"request_id": failed}})
            answer = self._error(scope, HTTPStatus.INTERNAL_SERVER_ERROR, failure_sentence(failed))
        if request is not None and route is not None and route.takes_bytes:
            await request.drain()
        answer.raw_headers += (_NO_SNIFFING, answer.cache_control, (b"x-openstack-request-id", request_id))
        try:
            await self._send(answer, method, receive, send)
        except RegistryError as error:
            # The server closes the connection before the body's end, so the client knows that it does not have all.
            self._failures.failed(error, route, request_id.decode(), registry)
        seconds = time.perf_counter() - started
        registry.metrics.count_request(method, route_path, answer.status_code, seconds)
        if registry.request_log is not None:
            registry.request_log.add(request_id.decode(), method, route_path, answer.status_code, seconds)

    def _watch(self, route: Route, method: str, receive: Receive) -> AbstractAsyncContextManager[None]:
        if method in SAFE:
            return self._patience.watch(receive)
        return self._patience.watch_upload() if route.takes_bytes else nullcontext()

    async def _send(self, answer: Answer, method: str, receive: Receive, send: Send) -> None:
        """Send an answer. If it comes in parts, what makes them is closed in any case.

        Raises ClientGone, Stopping, and what the making of the parts raises.
        """
        if answer.following is None:
            await _send_start(answer, method, send)
            return
        async with aclosing(answer.following) as following:
            if method == "HEAD":
                await _send_start(answer, method, send)
                return
            # When the client has gone, the server goes on to take what is sent and says nothing.
            async with self._patience.watch_download(receive):
                whole, sent = answer.part_bytes, len(answer.body)
                answer.part_bytes = _part_bytes(0, whole)
                await _send_start(answer, method, send, more=True)
                async for part in following:
                    await _send_body(part, _part_bytes(sent, whole), send, more=True)
                    sent += len(part)
                await send({"type": "http.response.body", "body": b""})

    def _error(self, scope: Scope, status: HTTPStatus, sentence: str, headers: Sequence[Header] = ()) -> Answer:
        """The answer to a request that failed, as the dialect of its path renders it."""
        return self._router.dialect_of(scope["path"]).render_error(status, sentence, headers, _accept(scope))


def _key(scope: Scope, caller: Caller) -> str:
    """The key under which requests share one caller's turns: the project, else the user, else the address."""
    if caller.project:
        return f"project {caller.project}"
    if caller.user:
        return f"user {caller.user}"
    return f"address {scope['client'][0]}" if scope.get("client") else ""


def _why_not_started(error: Exception) -> str:
    if isinstance(error, RegistryError):
        return str(error)
    log.error("start failed", exc_info=error)
    return "The start failed; the line before says why."


def _accept(scope: Scope) -> str:
    """The request's Accept header; the last one if there are several."""
    return next((value.decode("latin-1") for name, value in reversed(scope["headers"]) if name == b"accept"), "")


def _request_id(scope: Scope) -> bytes:
    """The client's own request id if it has the right form, else a new one."""
    request_id = b""
    for name, value in scope["headers"]:
        if name == b"x-openstack-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
    return request_id or _new_request_id()


def _new_request_id() -> bytes:
    """`req-` and a random UUID, as OpenStack's services make them."""
    digits = urandom(16).hex()
    return f"req-{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}".encode()


def _part_bytes(sent: int, whole: int) -> int:
    """How large the parts of an answer are after so many bytes: small ones until its client has taken some.

    The server holds about five parts for each client, and a client may take nothing.
    """
    return whole if sent >= SLOW_START_BYTES else min(whole, SMALL_PART_BYTES)


async def _send_start(answer: Answer, method: str, send: Send, *, more: bool = False) -> None:
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    if method == "HEAD":
        await send({"type": "http.response.body", "body": b""})
    else:
        await _send_body(answer.body, answer.part_bytes, send, more=more)


async def _send_body(body: Any, part_bytes: int, send: Send, *, more: bool) -> None:
    """Send a large body in parts: each waits until the client has taken most of those before."""
    for start in range(0, len(body) - part_bytes, part_bytes):
        await send({"type": "http.response.body", "body": body[start : start + part_bytes], "more_body": True})
    last = max(0, (len(body) - 1) // part_bytes * part_bytes)
    await send({"type": "http.response.body", "body": body[last:] if last else body, "more_body": more})
