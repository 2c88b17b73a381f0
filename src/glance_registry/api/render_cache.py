# SPDX-License-Identifier: Apache-2.0
"""What is sent of an image, rendered once."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

from glance_registry.catalogue.bounded_cache import BoundedCache
from glance_registry.model.image import Image

T = TypeVar("T", bound=bytes | Sequence[Any])

MAX_BYTES = 24 * 2**20
"""Of one program's renderings: some 6,000 of usual size."""

_ENTRY_BYTES = 256
"""What an entry takes beside its rendering."""

_OBJECT_BYTES = 64
"""What each part of a rendering takes beside its bytes."""


_Key = tuple[int, Callable[..., Any], Hashable]


class _Entry(NamedTuple):
    rendering: Any
    image: Image
    image_bytes: int


class RenderCache:
    """The renderings of images, by the image's identity, what renders it, and its option.

    Only images that the catalogue caches are worth it: another image is a new object each time that it is read.
    `size_of` says how many bytes an image takes in the catalogue's cache; 0 when it is not there. An entry holds its
    image, so that no other object can have the same id, and counts it: the catalogue may have removed it.
    """

    def __init__(self, size_of: Callable[[Image], int], max_bytes: int = MAX_BYTES) -> None:
        self._size_of = size_of
        self._entries: BoundedCache[_Key, _Entry] = BoundedCache(max_bytes, _measure)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self._entries.size

    def render(self, function: Callable[..., T], image: Image, option: Hashable = None) -> T:
        """`function(image, option)`, or `function(image)` without option, which must depend on nothing else.

        The result must not be changed.
        """
        key = (id(image), function, option)
        entry = self._entries.get(key)
        if entry is not None:
            rendering: T = entry.rendering
            return rendering
        rendering = function(image) if option is None else function(image, option)
        if image_bytes := self._size_of(image):
            self._entries.put(key, _Entry(rendering, image, image_bytes))
        return rendering


def _measure(entry: _Entry) -> int:
    return _ENTRY_BYTES + entry.image_bytes + _rendering_bytes(entry.rendering)


def _rendering_bytes(rendering: Any) -> int:
    """Of bytes, or of sequences of them."""
    size = len(rendering) if isinstance(rendering, bytes) else sum(map(_rendering_bytes, rendering))
    return _OBJECT_BYTES + size
