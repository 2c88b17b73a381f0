# SPDX-License-Identifier: Apache-2.0
"""A cache that is bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import count
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ONE_IN = 16
"""Of so many new keys one is admitted when the cache is full."""

MAX_PART = 128
"""One value may take the cache's bytes divided by this: so no value removes more than a few dozen others."""


class BoundedCache(Generic[K, V]):
    """Values by key. When there is no room, the oldest entries are removed.

    A full cache admits one in `ONE_IN` new keys. If it admitted all, and more keys were in use than it has room for,
    each would be removed before its next use.

    Threads may share a cache: `get` is one operation of a dict, and `put` holds a lock.
    """

    def __init__(self, max_bytes: int, measure: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._measure = measure
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._sizes: dict[K, int] = {}
        self._lock = Lock()
        self._refusals = count(1)
        self.size = 0
        """In bytes, as `measure` counts them."""
        self.get: Callable[[K], V | None] = self._entries.get
        """The value of a key, or None. Not a method, which would cost one call more."""

    def __len__(self) -> int:
        return len(self._entries)

    def size_of(self, key: K) -> int:
        """The bytes of a key's value; 0 when there is none."""
        return self._sizes.get(key, 0)

    def put(self, key: K, value: V) -> None:
        """Add a value, or replace the key's value. A value that is too large is not added."""
        largest = self._max_bytes // MAX_PART
        with self._lock:
            is_new = key not in self._entries
            if is_new and self.size > self._max_bytes - largest and next(self._refusals) % ONE_IN:
                return
            if not is_new:
                self._remove(key)
            size = self._measure(value)
            if size > largest:
                return
            self._entries[key] = value
            self._sizes[key] = size
            self.size += size
            while self.size > self._max_bytes:
                self._remove(next(iter(self._entries)))

    def _remove(self, key: K) -> None:
        del self._entries[key]
        self.size -= self._sizes.pop(key)
