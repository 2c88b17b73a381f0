# SPDX-License-Identifier: Apache-2.0
"""Who is next when many wait: what must not wait comes first, and of the others each caller in turn."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


def _anybody(_: str) -> bool:
    return True


class FairQueue(Generic[Item]):
    """Items of callers, who are told apart by a key. One with many items delays another's first item by one."""

    def __init__(self) -> None:
        self._first: deque[Item] = deque()
        # The order of the callers is the order of their turns: a caller that had its turn goes to the end.
        self._by_key: dict[str, deque[Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._first) + self._count

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def add_first(self, item: Item) -> None:
        """To be taken before all that `add` has added."""
        self._first.append(item)

    def add(self, item: Item, key: str) -> None:
        self._by_key.setdefault(key, deque()).append(item)
        self._count += 1

    def take(self, may_have_turn: Callable[[str], bool] = _anybody) -> Item | None:
        """The next item, or None. Callers that may have no turn now are passed over."""
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
        """How many items of this caller wait, those that were added first left out."""
        return len(self._by_key.get(key, ()))

    def drop_newest_of_largest(self, than: str) -> Item | None:
        """Remove the newest item of the caller that has the most, if it has more than `than` has with one more."""
        largest = max(self._by_key, key=self.count, default=than)
        if self.count(largest) <= self.count(than) + 1:
            return None
        self._count -= 1
        return self._by_key[largest].pop()

    def remove(self, item: Item, key: str) -> None:
        """Remove an item that `add` has added, if it still waits."""
        items = self._by_key.get(key)
        if items is not None and item in items:
            items.remove(item)
            self._count -= 1
            if not items:
                del self._by_key[key]
