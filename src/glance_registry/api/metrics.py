# SPDX-License-Identifier: Apache-2.0
"""Counters for Prometheus; of all worker processes when there are several."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.errors import Unavailable
from glance_registry.transfer.counts import DOWNLOAD, IMAGES_RELEASED, OBJECTS_REMOVED, UPLOAD, UPLOADS_EXPIRED

log = logging.getLogger(__name__)

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
COUNT_IMAGES_EVERY = 60
"""Seconds for which a count of the images is good: counting reads the whole table."""

RENDER_EVERY = 1
"""Seconds for which all scrapes get the same text: to render it takes a hundred times as long as to send it."""

COUNT_AGAIN_AFTER = 5
"""Seconds after a count that failed."""

MAX_COUNTING_SHARE = 0.05
"""Of all time that counting may take: where it takes long, the next count comes later."""

LOOK_AT_STORES_EVERY = 15
"""Seconds for which the free room of the stores is good."""

STORE_SECONDS = 1
"""So long an answer waits for that: a disk that hangs must not keep the other counters."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A method of a client's own invention must not become a time series of its own."""

DATABASE_ERRORS = ("unavailable", "overloaded", "read-timeout", "storage-full")


disable_created_metrics()  # type: ignore[no-untyped-call]

_FILES = ("counter", "histogram", "gauge_mostrecent", "gauge_livesum")
_FILE_BYTES = 256 * 1024
"""More than all routes, methods and statuses need."""


def _have_files(folder: str | None) -> bool:
    """Make the files in which this worker counts, with their room on the disk, if there is any.

    They are mapped into memory, and a process that writes into a mapped page which a full disk cannot hold is ended
    by the kernel. Without files a worker counts by itself.
    """
    if folder is None:
        return False
    for file in Path(folder).glob("gauge_livesum_*.db"):
        # A worker that was killed transfers nothing any more.
        if not Path(f"/proc/{file.stem.rpartition('_')[2]}").exists():
            file.unlink(missing_ok=True)
    files = [Path(folder) / f"{kind}_{os.getpid()}.db" for kind in _FILES]
    try:
        for file in files:
            file.write_bytes(bytes(_FILE_BYTES))
    except OSError as error:
        log.warning(
            "no room for shared counters: this worker counts by itself", extra={"fields": {"error": str(error)}}
        )
        for file in files:
            file.unlink(missing_ok=True)
        return False
    return True


class Metrics:
    """One set of counters; a program has one, a test its own."""

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text, self._render_at = b"", float("-inf")
        several = _have_files(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
        # prometheus_client chose the class of values when it was loaded.
        values.ValueClass = values.MultiProcessValue() if several else values.MutexValue  # type: ignore[no-untyped-call]
        own = CollectorRegistry()
        self._requests = Counter(
            "glance_registry_requests", "Requests answered.", ("method", "route", "status"), registry=own
        )
        self._seconds = Histogram(
            "glance_registry_request_seconds",
            "Seconds from a request's headers to its answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=own,
        )
        self._database_errors = Counter(
            "glance_registry_database_errors", "Requests that failed because of the database.", ("code",), registry=own
        )
        self._lost_lines = Counter(
            "glance_registry_log_lines_lost", "Log lines that their reader did not take.", registry=own
        )
        self._images = Gauge(
            "glance_registry_images",
            "Images that are not deleted.",
            ("status",),
            registry=own,
            multiprocess_mode="mostrecent",
        )
        self._transfer_bytes = Counter(
            "glance_registry_transfer_bytes", "Bytes of images that moved.", ("kind", "store"), registry=own
        )
        self._transfers = Gauge(
            "glance_registry_transfers",
            "Uploads and downloads under way.",
            ("kind",),
            registry=own,
            multiprocess_mode="livesum",
        )
        self._failed_uploads = Counter(
            "glance_registry_failed_uploads", "Uploads that were refused or broke off.", ("code",), registry=own
        )
        self._reaped = Counter("glance_registry_reaped", "What the reaper has done.", ("work",), registry=own)
        self._reaper_failures = Counter(
            "glance_registry_reaper_failures", "What the reaper could not do, and tries again.", registry=own
        )
        self._free = Gauge(
            "glance_registry_store_free_bytes",
            "Bytes that a store still takes.",
            ("store",),
            registry=own,
            multiprocess_mode="mostrecent",
        )
        self._look_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._count_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self._statuses: set[str] = set()
        self._bytes_children: dict[tuple[str, str], Counter] = {}
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        for code in DATABASE_ERRORS:
            self._database_errors.labels(code)
        for kind in (UPLOAD, DOWNLOAD):
            self._transfers.labels(kind)
        for work in (UPLOADS_EXPIRED, IMAGES_RELEASED, OBJECTS_REMOVED):
            self._reaped.labels(work)
        self._exposed = own
        if several:
            # Each worker counts in a file of its own; the one that answers adds them up.
            self._exposed = CollectorRegistry()
            MultiProcessCollector(self._exposed)  # type: ignore[no-untyped-call]

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method if method in METHODS else "other", route, status)
        children = self._children.get(key)
        if children is None:
            children = self._requests.labels(*key), self._seconds.labels(*key[:2])
            self._children[key] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def count_error(self, code: str) -> None:
        if code in DATABASE_ERRORS:
            self._database_errors.labels(code).inc()

    def count_lost_lines(self, lines: int) -> None:
        self._lost_lines.inc(lines)

    def moved(self, kind: str, store: str, size: int) -> None:
        counter = self._bytes_children.get((kind, store))
        if counter is None:
            counter = self._bytes_children[kind, store] = self._transfer_bytes.labels(kind, store)
        counter.inc(size)

    def under_way(self, kind: str, change: int) -> None:
        self._transfers.labels(kind).inc(change)

    def upload_failed(self, code: str) -> None:
        self._failed_uploads.labels(code).inc()

    def reaped(self, work: str, number: int) -> None:
        self._reaped.labels(work).inc(number)

    def reaper_failed(self, number: int) -> None:
        self._reaper_failures.inc(number)

    async def look_at_stores(self, free: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """Bring the free room of the stores up to date, unless that was done a moment ago.

        All callers share one look. It goes on when they do not wait any longer. `free`: bytes by the names of stores.
        """
        if self._looking is None:
            if self._clock() < self._look_at:
                return
            self._looking = asyncio.create_task(self._look(free))
        await asyncio.wait({self._looking}, timeout=STORE_SECONDS)

    async def _look(self, free: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        try:
            for store, size in (await free()).items():
                self._free.labels(store).set(size)
        finally:
            self._looking, self._look_at = None, self._clock() + LOOK_AT_STORES_EVERY
        self._render_at = float("-inf")

    async def count_images(self, catalogue: Catalogue) -> None:
        """Bring the number of images up to date, unless it was counted a moment ago.

        All callers share one count. It goes on when a caller gives up.
        """
        if self._counting is None:
            if self._clock() < self._count_at:
                return
            self._counting = asyncio.create_task(self._count_images(catalogue))
        await asyncio.shield(self._counting)

    async def _count_images(self, catalogue: Catalogue) -> None:
        started = self._clock()
        self._count_at = started + COUNT_AGAIN_AFTER
        try:
            counts = await catalogue.read(images.count_by_status)
        except Unavailable:
            return  # The other counters are needed most while the database is away.
        finally:
            self._counting = None
        ended = self._clock()
        self._count_at = ended + max(COUNT_IMAGES_EVERY, (ended - started) / MAX_COUNTING_SHARE)
        self._statuses |= counts.keys()
        for status in self._statuses:
            self._images.labels(status).set(counts.get(status, 0))
        self._render_at = float("-inf")  # The text has not these counts.

    def render(self) -> bytes:
        """The text that Prometheus reads, at most `RENDER_EVERY` seconds old."""
        now = self._clock()
        if now >= self._render_at:
            self._text, self._render_at = generate_latest(self._exposed), now + RENDER_EVERY
        return self._text
