# SPDX-License-Identifier: Apache-2.0
"""Calls to a bucket: every one has an end, is tried again only a few times, and fails with an error of this program.

One client for each process and store, opened with the first call on the event loop that makes it.
"""

import asyncio
import io
import logging
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError, SSLError
from botocore.handlers import add_expect_header

from glance_registry.model.errors import RegistryError, StoreFull, StoreUnavailable
from glance_registry.stores.base import ObjectMissing
from glance_registry.stores.s3_settings import BucketSettings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
READ_SECONDS = 20
"""In which an answer must begin, and its next bytes must come."""
CALL_SECONDS = 30
"""For a call without many bytes, with all its attempts."""
STALL_SECONDS = 20
"""After so long without a byte taken, a store is down."""
SLOWEST_BYTES = 262_144
"""Bytes in a second that a store must take of a part, on average."""

PAUSES = (0.2, 0.8)
"""Seconds, about, before the second attempt and the third one, which is the last."""

MAX_READS = 1_000
"""Downloads of a process that hold a connection to one store; a slow client holds one for long."""
MAX_OTHER_CALLS = 100

TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
FULL = frozenset({"EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
MISSING = frozenset({"NoSuchKey", "404"})
"""An answer to HEAD has no body that could say more than 404."""

FAILURES = (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError, OSError)
"""What a call, or the reading of its answer, may raise."""


class Refused(StoreUnavailable):
    """The store answered with an error that no repetition cures."""

    code = "store-refused"

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store)
        self.reason = reason
        """S3's code, such as NoSuchBucket."""


class Body(io.BytesIO):
    """What is sent; tells when some of it was taken."""

    taken: Callable[[], None] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.taken is not None:
            self.taken()
        return super().read(size)


class Bucket:
    """A bucket of an object store."""

    def __init__(self, store: str, settings: BucketSettings, threads: Executor) -> None:
        self.store = store
        self.settings = settings
        self.threads = threads
        self.reads = asyncio.Semaphore(MAX_READS)
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()

    async def close(self) -> None:
        """Close all connections."""
        self._client = None
        await self._open.aclose()

    async def call(self, operation: str, *, seconds: float | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to an operation of S3, named as in the client.

        Raises ObjectMissing, StoreFull, Refused; StoreUnavailable when the store does not answer in time.
        """
        body: Body | None = parameters.get("Body")
        with self.translated():
            client = await self._opened()
            async with _limited(CALL_SECONDS if seconds is None else seconds, body):
                answer: dict[str, Any] = await self._attempt(client, operation, body, parameters)
                return answer

    async def first_call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The same for the call with which an object begins; makes the bucket if that is allowed and needed."""
        try:
            return await self.call(operation, **parameters)
        except Refused as refused:
            if refused.reason != "NoSuchBucket" or not self.settings.create_bucket:
                raise
        await self.make()
        return await self.call(operation, **parameters)

    async def make(self) -> None:
        """Make the bucket."""
        region = self.settings.region
        where: dict[str, Any] = {}
        if region not in ("", "us-east-1"):
            where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with suppress_reason("BucketAlreadyOwnedByYou"):
            await self.call("create_bucket", **where)

    def translated(self) -> "_Translated":
        """A context that turns the failures of the client into errors of this program."""
        return _Translated(self.store)

    def unavailable(self, note: str) -> StoreUnavailable:
        """The error for a store that does not do what a store must; the log has the note."""
        error = StoreUnavailable(self.store)
        error.__cause__ = ValueError(note)
        return error

    def missing(self, note: str) -> ObjectMissing:
        """The error for an object that is not there, or not all of it."""
        error = ObjectMissing(self.store)
        error.__cause__ = ValueError(note)
        return error

    def key(self, key: str) -> str:
        return self.settings.prefix + key

    async def _attempt(self, client: Any, operation: str, body: Body | None, parameters: dict[str, Any]) -> Any:
        for pause in (*PAUSES, None):
            try:
                if body is not None:
                    body.seek(0)
                return await getattr(client, operation)(Bucket=self.settings.bucket, **parameters)
            except FAILURES as error:
                if pause is None or not _is_passing(error):
                    raise
                fields = {"store": self.store, "call": operation, "cause": str(error)}
                log.info("a call to a store failed; tried again", extra={"fields": fields})
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        raise AssertionError("the last attempt returns or raises")

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                loop = asyncio.get_running_loop()
                session = await loop.run_in_executor(self.threads, _load_session)
                client = await self._open.enter_async_context(self._create(session))
                # A store that does not speak it would let every upload wait.
                client.meta.events.unregister("before-call.s3", add_expect_header)
                self._client = client
        return self._client

    def _create(self, session: AioSession) -> Any:
        settings = self.settings
        config = AioConfig(
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=MAX_READS + MAX_OTHER_CALLS,
            retries={"total_max_attempts": 1},
            # What other checksums clients send by default, most stores do not know: parts have an MD5.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": settings.addressing, "payload_signing_enabled": False},
        )
        return session.create_client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region or "us-east-1",
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            # Without TLS, authorities need not be loaded.
            verify=(settings.ca_file or None) if settings.endpoint.startswith("https:") else False,
            config=config,
        )


def suppress_reason(*reasons: str) -> "_SuppressedReason":
    """A context that ignores answers of a store with one of these codes."""
    return _SuppressedReason(reasons)


class _SuppressedReason:
    def __init__(self, reasons: tuple[str, ...]) -> None:
        self._reasons = reasons

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, Refused) and error.reason in self._reasons


class _Translated:
    def __init__(self, store: str) -> None:
        self._store = store

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FAILURES):
            raise self._error(error) from error

    def _error(self, error: BaseException) -> RegistryError:
        if not isinstance(error, ClientError):
            return StoreUnavailable(self._store)
        reason = str(error.response.get("Error", {}).get("Code", ""))
        status = _status(error)
        if reason in MISSING:
            return ObjectMissing(self._store)
        if reason in FULL or status in (413, 507):
            return StoreFull(self._store)
        return StoreUnavailable(self._store) if status in TRY_AGAIN else Refused(self._store, reason)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_passing(error: BaseException) -> bool:
    """Whether another attempt may succeed in time. What hung once has taken the time of all attempts."""
    if isinstance(error, ClientError):
        return _status(error) in TRY_AGAIN
    return not isinstance(error, ReadTimeoutError | ConnectTimeoutError | SSLError | TimeoutError)


@asynccontextmanager
async def _limited(seconds: float, body: Body | None) -> AsyncIterator[None]:
    """End a call after so many seconds; one with a body when too little of it is taken."""
    loop = asyncio.get_running_loop()
    if body is None:
        async with asyncio.timeout(seconds):
            yield
        return
    last = loop.time() + seconds + len(body.getbuffer()) / SLOWEST_BYTES
    async with asyncio.timeout(STALL_SECONDS) as limit:

        def go_on() -> None:
            with suppress(RuntimeError):  # The time was over already.
                limit.reschedule(min(last, loop.time() + STALL_SECONDS))

        body.taken = go_on
        try:
            yield
        finally:
            body.taken = None


@cache
def _load_session() -> AioSession:
    """The client's tables: a tenth of a second of work, in a thread, once for all stores of a process."""
    session = AioSession()
    loader = session.get_component("data_loader")
    for table in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        loader.load_service_model("s3", table)
    return session
