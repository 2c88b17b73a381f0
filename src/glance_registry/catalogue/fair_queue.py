# SPDX-License-Identifier: Apache-2.0
"""A queue in which each caller has its turn."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


def _anybody(_: str) -> bool:
    return True


class FairQueue(Generic[Item]):
    """Items of callers, each with a key. A caller with many items delays another's first item by one item only."""

    def __init__(self) -> None:
        self._first: deque[Item] = deque()
        # The callers in the order of their turns: one that had its turn goes to the end.
        self._by_key: dict[str, deque[Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._first) + self._count

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def add_first(self, item: Item) -> None:
        """Add an item that is taken before all items of `add`."""
        self._first.append(item)

    def add(self, item: Item, key: str) -> None:
        self._by_key.setdefault(key, deque()).append(item)
        self._count += 1

    def take(self, may_have_turn: Callable[[str], bool] = _anybody) -> Item | None:
        """Remove and return the next item, or None. Callers that may not have a turn now are skipped."""
        if self._first:
            return self._first.popleft()
        key = next(filter(may_have_turn, self._by_key), None)
        if key is None:
            return None
        items = self._by_key.pop(key)
        item = items.popleft()
        if items:
            self._by_key[key] = items
        self._count -= 1
        return item

    def count(self, key: str) -> int:
        """How many items of this caller wait, without those of `add_first`."""
        return len(self._by_key.get(key, ()))

    def drop_newest_of_largest(self, than: str) -> Item | None:
        """Remove the newest item of the caller with most items, unless `than` has as many after its next item."""
        largest = max(self._by_key, key=self.count, default=than)
        if self.count(largest) <= self.count(than) + 1:
            return None
        self._count -= 1
        return self._by_key[largest].pop()

    def remove(self, item: Item, key: str) -> None:
        """Remove an item of `add`, if it still waits."""
        items = self._by_key.get(key)
        if items is not None and item in items:
            items.remove(item)
            self._count -= 1
            if not items:
                del self._by_key[key]
