# SPDX-License-Identifier: Apache-2.0
"""What transfers report of their work, to whoever counts it."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

from glance_registry.model.errors import RegistryError

UPLOAD, DOWNLOAD, COPY = "upload", "download", "copy"

UPLOADS_EXPIRED, IMAGES_RELEASED, OBJECTS_REMOVED = "uploads expired", "images released", "objects removed"
"""Work of the reaper. Images are released that the release before this one deleted."""


class Counts(Protocol):
    """Takes what is reported. Every method is quick and raises nothing."""

    def moved(self, kind: str, store: str, size: int) -> None:
        """That many bytes of an upload or copy to a store, or of a download from one."""

    def under_way(self, kind: str, change: int) -> None:
        """A transfer has begun (1) or ended (-1)."""

    def upload_failed(self, code: str) -> None:
        """An upload was refused or broke off, with the error of this code."""

    def reaped(self, work: str, number: int) -> None:
        """The reaper has done this so many times."""

    def reaper_failed(self, number: int) -> None:
        """So many objects were not removed, or a sweep broke off."""


class Uncounted:
    """Counts nothing."""

    def moved(self, kind: str, store: str, size: int) -> None: ...

    def under_way(self, kind: str, change: int) -> None: ...

    def upload_failed(self, code: str) -> None: ...

    def reaped(self, work: str, number: int) -> None: ...

    def reaper_failed(self, number: int) -> None: ...


@contextmanager
def uploading(counts: Counts) -> Iterator[None]:
    """An upload that is under way until this context ends."""
    counts.under_way(UPLOAD, 1)
    try:
        yield
    except RegistryError as error:
        counts.upload_failed(error.code)
        raise
    finally:
        counts.under_way(UPLOAD, -1)


async def downloading(
    first_bytes: int, following: AsyncGenerator[bytes, None], store: str, counts: Counts
) -> AsyncGenerator[bytes, None]:
    """The chunks that follow a download's first one; they and that one are counted as they are taken."""
    counts.under_way(DOWNLOAD, 1)
    try:
        counts.moved(DOWNLOAD, store, first_bytes)
        async with aclosing(following):
            async for chunk in following:
                counts.moved(DOWNLOAD, store, len(chunk))
                yield chunk
    finally:
        counts.under_way(DOWNLOAD, -1)
