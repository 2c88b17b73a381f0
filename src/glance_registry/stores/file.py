# SPDX-License-Identifier: Apache-2.0
"""A store in a folder.

    FOLDER/incoming/KEY     an object that is being written
    FOLDER/objects/KK/KEY   an object; KK are the first two digits of its key

`commit` syncs the file, renames it, and syncs both folders: after that the object survives a power failure. Blocks of
zeros are not written, so a sparse image stays sparse. File operations run in threads, because a slow disk must not stop
the event loop. Only bytes that are in the page cache are read on the loop: threads would take twice the CPU time.
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from glance_registry.model.errors import Invalid, RegistryError, StoreFull, StoreUnavailable
from glance_registry.stores.base import CHUNK_BYTES, ObjectMissing, StoredObject, Upload, check_key

T = TypeVar("T")

_HOLE_BYTES = 65_536
_ZEROS = bytes(_HOLE_BYTES)

_WRITE_BEHIND_BYTES = 16 * CHUNK_BYTES
"""After so many bytes the disk begins to write, so that the last sync is short."""

_LOOK_AGAIN_BYTES = 64 * CHUNK_BYTES
"""After bytes that were not in the page cache, so many are read in threads before it is looked for others there."""

_MARK = "user.glance_registry.durable"
"""Attribute of a file that is being written."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_LIST_BATCH = 256
"""Objects that are listed in one turn of a thread."""


class FileStore:
    """Objects as files in a folder."""

    def __init__(self, name: str, folder: Path, threads: Executor, reserve_free: int = 0) -> None:
        """`reserve_free`: bytes that must stay free on the folder's disk."""
        self.name = name
        self.description = f"the folder {folder}"
        self._folder = folder
        self._threads = threads
        self._reserve_free = reserve_free
        self._turn = asyncio.Lock()
        self._buffer = bytearray(CHUNK_BYTES)
        """What is read on the event loop comes here first."""

    def prepare(self) -> None:
        """Make the folder at the start of the program. Raises Invalid when it cannot be used.

        Not later: if a disk is not mounted, the bytes must not be written into the empty folder beneath.
        """
        try:
            for part in ("incoming", "objects"):
                (self._folder / part).mkdir(mode=0o750, parents=True, exist_ok=True)
            if not os.access(self._folder / "incoming", os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise Invalid(f"Store '{self.name}' cannot use the folder {self._folder}: {error.strerror}.") from error

    async def create(self, key: str, announced: int = 0) -> Upload:  # noqa: ARG002 - as every store
        check_key(key)
        await self.run(self.check_room, CHUNK_BYTES)
        return _FileUpload(self, key, await self._opened(_create, self.incoming(key)))

    async def resume(self, key: str) -> Upload:
        committed = False
        try:
            descriptor = await self._opened(_open_begun, self.incoming(key))
        except ObjectMissing:
            descriptor, committed = await self._opened(os.open, self.path(key), os.O_RDONLY | os.O_CLOEXEC), True
        return _FileUpload(self, key, descriptor, os.fstat(descriptor).st_size, committed=committed)

    def url(self, key: str) -> str:
        return self.path(key).as_uri()

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        descriptor = await self._opened(self._open, key, start, end)
        reading: asyncio.Future[bytes] | None = None
        look_again_at = start
        try:
            while start < end:
                chunk = b""
                if reading is None and start >= look_again_at:
                    chunk = await self._read_cached(descriptor, start, min(CHUNK_BYTES, end - start))
                if not chunk:
                    if reading is None:
                        look_again_at = start + _LOOK_AGAIN_BYTES
                        reading = self._read_ahead(descriptor, start, end)
                    # Shielded, because a thread that has begun cannot be stopped: see below.
                    chunk = await asyncio.shield(reading)
                    # The next chunk is read while the client takes this one.
                    following, until = start + len(chunk), min(end, look_again_at)
                    reading = self._read_ahead(descriptor, following, until) if following < until else None
                start += len(chunk)
                yield chunk
        finally:
            # A thread may still read: it must not find another file under the same number.
            if reading is not None and not reading.done():
                reading.add_done_callback(lambda _: os.close(descriptor))
            else:
                os.close(descriptor)

    async def size(self, key: str) -> int:
        return (await self.run(os.stat, self.path(key))).st_size

    async def delete(self, key: str) -> None:
        await self.run(self._unlink, key)

    async def list(self) -> AsyncIterator[StoredObject]:
        objects = self._walk()
        while batch := await self.run(_take, objects, _LIST_BATCH):
            for one in batch:
                yield one

    async def free(self) -> int | None:
        found = await self.run(os.statvfs, self._folder)
        return max(0, found.f_bavail * found.f_frsize - self._reserve_free)

    async def close(self) -> None:
        """The threads belong to the caller."""

    def path(self, key: str) -> Path:
        return self._folder / "objects" / check_key(key)[:2] / key

    def incoming(self, key: str) -> Path:
        return self._folder / "incoming" / check_key(key)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Run a function of files in a thread, and translate its errors."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args))
        except OSError as error:
            raise self._error(error) from error

    def check_room(self, wanted: int) -> None:
        """Raise StoreFull unless so many bytes fit without using what must stay free."""
        if not self._reserve_free:
            return
        found = os.statvfs(self._folder)
        if found.f_bavail * found.f_frsize - wanted < self._reserve_free:
            raise StoreFull(self.name)

    def sync_incoming(self) -> None:
        """In a thread: an object that was begun is there after a power failure."""
        _sync(self._folder / "incoming")

    def commit(self, key: str, descriptor: int) -> None:
        """In a thread."""
        os.fsync(descriptor)
        path = self.path(key)
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o750)
            _sync(path.parent.parent)
        self.incoming(key).rename(path)
        _sync(path.parent)
        self.sync_incoming()

    async def _opened(self, function: Callable[..., int], *args: object) -> int:
        """Open a file in a thread. If the caller is cancelled, the file is closed as soon as it is open."""
        opening = asyncio.ensure_future(self.run(function, *args))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise

    def _open(self, key: str, start: int, end: int) -> int:
        descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(descriptor).st_size
        if end > size:
            os.close(descriptor)
            raise self._missing(f"an object ends after {size} bytes, before {end}")
        os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_SEQUENTIAL)
        return descriptor

    async def _read_cached(self, descriptor: int, start: int, wanted: int) -> bytes:
        """So many bytes if all of them are in the page cache, else none. Never waits for a disk.

        Readers take turns: between two reads the loop looks after other requests.
        """
        async with self._turn:
            view = memoryview(self._buffer)[:wanted]
            try:
                count = os.preadv(descriptor, [view], start, os.RWF_NOWAIT)
            except OSError:
                # Not in the cache, or the file system cannot tell. Of any other fault the thread says what it is.
                return b""
            chunk = bytes(view) if count == wanted else b""
            await asyncio.sleep(0)
            return chunk

    def _read_ahead(self, descriptor: int, start: int, end: int) -> "asyncio.Future[bytes]":
        return asyncio.ensure_future(self.run(self._pread, descriptor, start, min(CHUNK_BYTES, end - start)))

    def _pread(self, descriptor: int, start: int, wanted: int) -> bytes:
        data = os.pread(descriptor, wanted, start)
        if not data:
            raise self._missing(f"an object ended at {start} while it was read")
        return data

    def _unlink(self, key: str) -> None:
        for path in (self.path(key), self.incoming(key)):
            with suppress(FileNotFoundError):
                path.unlink()

    def _walk(self) -> Iterator[StoredObject]:
        folders = [(self._folder / "incoming", False)]
        with os.scandir(self._folder / "objects") as found:
            entries = sorted(found, key=_name)
        folders += [(Path(entry.path), True) for entry in entries if entry.is_dir(follow_symlinks=False)]
        yield from (_found(entry, complete=True) for entry in entries if not entry.is_dir(follow_symlinks=False))
        for folder, complete in folders:
            with os.scandir(folder) as found:
                for entry in found:
                    with suppress(FileNotFoundError):  # It was removed meanwhile.
                        yield _found(entry, complete=complete)

    def _missing(self, cause: str) -> ObjectMissing:
        error = ObjectMissing(self.name)
        error.add_note(cause)
        return error

    def _error(self, error: OSError) -> RegistryError:
        if isinstance(error, FileNotFoundError) and (self._folder / "objects").is_dir():
            return ObjectMissing(self.name)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return StoreFull(self.name)
        return StoreUnavailable(self.name)


class _FileUpload:
    """One file in `incoming`."""

    def __init__(self, store: FileStore, key: str, descriptor: int, size: int = 0, *, committed: bool = False) -> None:
        self._store = store
        self._key = key
        self._descriptor = descriptor
        self._size = size
        self._started = size
        """Up to here the disk was told to begin writing."""
        self._committed = committed
        self._running: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        return self._size

    async def write(self, data: bytes) -> None:
        await self._run(self._write, data)
        self._size += len(data)

    async def commit(self) -> None:
        if self._committed:
            self._close()
            return
        await self._run(self._commit)
        self._committed = True

    async def abort(self) -> None:
        """Also when a write or the commit was cancelled: its thread may still be at it."""
        await self._finish_running()
        self._close()
        if not self._committed:
            with suppress(RegistryError):
                await self._store.delete(self._key)

    async def suspend(self) -> int:
        await self._finish_running()
        try:
            if self._descriptor >= 0 and not self._committed:
                await self._run(self._sync)
        finally:
            await self._finish_running()
            self._close()
        return self._size

    async def _run(self, function: Callable[..., None], *args: object) -> None:
        self._running = asyncio.ensure_future(self._store.run(function, *args))
        await asyncio.shield(self._running)

    async def _finish_running(self) -> None:
        """Wait for the thread of a call that was cancelled."""
        if self._running is not None and not self._running.done():
            with suppress(Exception):
                await self._running

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        self._store.check_room(len(data))
        view = memoryview(data)
        for first, end in _filled(data):
            start = first
            while start < end:
                start += os.pwrite(self._descriptor, view[start:end], self._size + start)
        written = self._size + len(data)
        if written - self._started >= _WRITE_BEHIND_BYTES:
            # Linux then begins to write these pages, which are not clean and so stay in the cache.
            os.posix_fadvise(self._descriptor, self._started, written - self._started, os.POSIX_FADV_DONTNEED)
            self._started = written

    def _sync(self) -> None:
        # The last block may be a hole, and a write that failed may have left a part of its bytes.
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)
        # Only now: what the mark says is on disk must be.
        _mark(self._descriptor, self._size)
        os.fsync(self._descriptor)
        self._store.sync_incoming()

    def _commit(self) -> None:
        os.ftruncate(self._descriptor, self._size)  # The last block may be a hole.
        self._store.commit(self._key, self._descriptor)
        self._close()


def _create(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
    _mark(descriptor, 0)
    return descriptor


def _open_begun(path: Path) -> int:
    """An object that was begun, without what a power failure may have spoilt."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        durable = _durable(descriptor, size)
        if durable < size:
            os.ftruncate(descriptor, durable)
        _mark(descriptor, min(size, durable))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _mark(descriptor: int, size: int) -> None:
    """Note how much is on disk for sure, and for which run of the system its page cache has the rest."""
    with suppress(OSError):  # Not every file system has such attributes.
        os.setxattr(descriptor, _MARK, f"{_boot()} {size}".encode())


def _durable(descriptor: int, size: int) -> int:
    """How many bytes of an object that was begun can be trusted.

    If the program died, all of them: the page cache has what it wrote. If the system started again since, or the writer
    was another machine that shares the folder, only what was synced: file systems write pages in any order, and leave
    zeros for those that were not written.
    """
    try:
        boot, _, kept = os.getxattr(descriptor, _MARK).decode().partition(" ")
        return size if boot == _boot() else int(kept)
    except (OSError, ValueError):
        return size


def _boot() -> str:
    """What tells one run of the system from the next."""
    return _BOOT_ID.read_text().strip()


def _close_result(opened: "asyncio.Future[int]") -> None:
    if not opened.cancelled() and opened.exception() is None:
        os.close(opened.result())


def _filled(data: bytes) -> Iterator[tuple[int, int]]:
    """From where to before where the data has blocks that are not all zeros."""
    first = None
    for start in range(0, len(data), _HOLE_BYTES):
        if data.startswith(_ZEROS, start):
            if first is not None:
                yield first, start
            first = None
        elif first is None:
            first = start
    if first is not None:
        yield first, len(data)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(objects: Iterator[StoredObject], count: int) -> list[StoredObject]:
    return [one for _, one in zip(range(count), objects, strict=False)]


def _found(entry: os.DirEntry[str], *, complete: bool) -> StoredObject:
    status = entry.stat()
    return StoredObject(entry.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), complete)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
