# SPDX-License-Identifier: Apache-2.0
"""Images that are read again and again, cached with their rows."""

from collections.abc import Sequence
from sys import getsizeof
from typing import Any

from sqlalchemy import Connection

from glance_registry.catalogue.bounded_cache import BoundedCache
from glance_registry.catalogue.rows import DOCUMENTS, Stored, as_stored
from glance_registry.model.image import Image

MAX_BYTES = 8 * 2**20
"""Of one catalogue's cache: some 2,500 images of usual size."""

MAX_SEEN = 32_768
"""So many images are known to have been read before; then they are forgotten, all at once."""

_SHORT_COLUMNS = 900
"""Bytes of all columns but the documents, in the row and in the image."""

_OPTION = "image_cache"


class ImageCache:
    """The images of one catalogue, with their rows.

    A cached image is used only if the row is byte for byte the same, so a change by any process is seen. An image is
    cached when it is read for the second time: a caller who reads all images once removes nobody's. All readers of a
    catalogue share it, in several threads: what is not locked is one operation of a dict or a set.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._entries: BoundedCache[str, tuple[tuple[Any, ...], Stored]] = BoundedCache(max_bytes, _size)
        self._seen: set[int] = set()

    @property
    def options(self) -> dict[str, Any]:
        """The execution options of a connection whose operations use this cache."""
        return {_OPTION: self}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self._entries.size

    def load(self, row: Sequence[Any]) -> Stored:
        """The image of a row of `rows.ROW`; the same object each time while it is cached."""
        number, image_id = row[0], row[1]
        entry = self._entries.get(image_id)
        if entry is not None and entry[0] == row:
            return entry[1]
        stored = as_stored(row)
        if number in self._seen:
            self._entries.put(image_id, (tuple(row), stored))
        else:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(number)
        return stored

    def size_of(self, image: Image) -> int:
        """About the bytes that this very object takes in the cache; 0 when it is not cached."""
        entry = self._entries.get(image.id)
        return self._entries.size_of(image.id) if entry is not None and entry[1].image is image else 0


def _size(entry: tuple[tuple[Any, ...], Stored]) -> int:
    """The approximate size of a row and its image in bytes, from measurements.

    The short columns vary little, and the value of a document takes three times as much as the document.
    """
    row = entry[0]
    return _SHORT_COLUMNS + 4 * sum([getsizeof(row[document]) for document in DOCUMENTS])


def cache_of(connection: Connection) -> ImageCache:
    """The cache of the catalogue that opened the connection."""
    cache: ImageCache = connection.get_execution_options()[_OPTION]
    return cache
