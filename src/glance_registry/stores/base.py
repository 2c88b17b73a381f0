# SPDX-License-Identifier: Apache-2.0
"""What every store can do.

A store has objects: sequences of bytes under keys that this program makes up. An object is written once and never
changed. It is there as a whole or not at all.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import NamedTuple, Protocol

from glance_registry.model.errors import Invalid, RegistryError, StoreUnavailable

CHUNK_BYTES = 1_048_576
"""Of one write and of one read: large enough that a switch of threads costs little beside it."""

_KEY = re.compile(r"[0-9a-f]{32}")


class StoredObject(NamedTuple):
    """What a store says of an object."""

    key: str
    size: int
    """In bytes."""
    changed_at: datetime
    """Aware, in UTC."""
    complete: bool
    """False for what was begun and is not committed."""


class Upload(Protocol):
    """An object that is being written. Nobody can read it until `commit` has returned."""

    @property
    def size(self) -> int:
        """How many bytes were taken so far."""

    async def write(self, data: bytes) -> None:
        """Append bytes. Raises StoreFull or StoreUnavailable; then only `abort` may follow."""

    async def commit(self) -> None:
        """Make the object durable and readable. Raises StoreFull or StoreUnavailable."""

    async def abort(self) -> None:
        """Remove what was written, unless it was committed. Raises nothing: the reaper removes what is left."""

    async def suspend(self) -> int:
        """Make durable what can be kept, and let go of files and connections; how many bytes are kept.

        `Store.resume` goes on with the object. A store that writes in parts may drop an unfinished part. May follow a
        write that failed or was cancelled. Raises StoreFull or StoreUnavailable; `resume` then tells what is kept.
        """


class Store(Protocol):
    """One store. Every method but `read` may raise StoreUnavailable at any time."""

    name: str

    description: str
    """What it is and where, for people; without secrets."""

    def prepare(self) -> None:
        """Look at the start of the program whether the store can be used. Raises Invalid."""

    async def create(self, key: str, announced: int = 0) -> Upload:
        """Begin an object; `announced` is its size in bytes, 0 when nobody knows. Raises StoreFull."""

    async def resume(self, key: str) -> Upload:
        """Go on with an object that was begun; its `size` is what the store has of it.

        It was suspended, or its process died. If it was committed, which a process that died could not write down, it
        may only be committed again. The caller makes sure that nobody else writes. Raises ObjectMissing when nothing
        was begun.
        """

    def url(self, key: str) -> str:
        """Where others who can reach the store find the object; without secrets."""

    def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `end`, in chunks of at most `CHUNK_BYTES`.

        Raises ObjectMissing when the object is not there or ends earlier, before the first chunk where that can be
        known; StoreUnavailable. Who does not read to the end closes the generator.
        """

    async def size(self, key: str) -> int:
        """The object's size in bytes. Raises ObjectMissing."""

    async def delete(self, key: str) -> None:
        """Remove an object; it is no error when it is not there."""

    def list(self) -> AsyncIterator[StoredObject]:
        """Every object, also those that are begun and not committed, in any order."""

    async def free(self) -> int | None:
        """How many bytes can still be written; None when nobody knows."""

    async def close(self) -> None:
        """Let go of connections and threads."""


class ObjectMissing(StoreUnavailable):
    """The catalogue says that a store has an object, and the store has it not, or not all of it."""

    code = "object-missing"


def check_key(key: str) -> str:
    """The key, if this program can have made it: nothing that a client says becomes a path."""
    if not _KEY.fullmatch(key):
        raise Invalid("A key of a store has 32 hexadecimal digits.")
    return key


def cause_of(error: RegistryError) -> str:
    """Why a store failed, for the log and the command line, never for clients."""
    cause = error.__cause__
    return (str(cause) or type(cause).__name__ if cause is not None else str(error)).rstrip(".")
