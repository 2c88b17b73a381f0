# SPDX-License-Identifier: Apache-2.0
"""A queue that serves addresses in turn, after the items that go first."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items by address. An address with many items delays the first item of another by one only."""

    def __init__(self) -> None:
        self._first: deque[Item] = deque()
        self._by_address: OrderedDict[str, deque[Item]] = OrderedDict()

    def add_first(self, item: Item) -> None:
        """Add an item that is taken before all items of `add`."""
        self._first.append(item)

    def add(self, item: Item, address: str) -> None:
        self._by_address.setdefault(address, deque()).append(item)

    def take(self) -> Item | None:
        """The next item, or None."""
        if self._first:
            return self._first.popleft()
        if not self._by_address:
            return None
        address, items = self._by_address.popitem(last=False)
        item = items.popleft()
        if items:
            self._by_address[address] = items  # At the end, so that other addresses are next.
        return item

    def count(self, address: str) -> int:
        """The number of items of this address, without those of `add_first`."""
        return len(self._by_address.get(address, ()))

    def drop_newest_of_largest(self, than: str) -> Item | None:
        """Remove the newest item of the address with the most items, if it has more than `than`."""
        if not self._by_address:
            return None
        largest = max(self._by_address, key=self.count)
        if self.count(largest) <= self.count(than) + 1:
            return None
        return self._by_address[largest].pop()

    def remove(self, item: Item, address: str) -> None:
        """Remove an item of `add`, if it still waits."""
        items = self._by_address.get(address)
        if items is not None and item in items:
            items.remove(item)
            if not items:
                del self._by_address[address]
