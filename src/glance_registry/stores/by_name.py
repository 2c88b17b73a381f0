# SPDX-License-Identifier: Apache-2.0
"""All stores of a program, by name."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from glance_registry.model.errors import Invalid, StoreUnavailable
from glance_registry.stores.base import Store


class Stores:
    """The stores that the settings name, in the order in which bytes are looked for."""

    def __init__(
        self,
        stores: Mapping[str, Store],
        threads: ThreadPoolExecutor,
        default: str = "",
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        """`default`: the store that takes what no store is named for, else the first one. `descriptions`: for users.

        Raises Invalid when there is no store of that name.
        """
        self.by_name = dict(stores)
        self.threads = threads
        self.descriptions = descriptions or {}
        self.default = default or next(iter(self.by_name))
        self.find(self.default)

    def find(self, name: str | None) -> Store:
        """The store of that name; without one, the default. Raises Invalid when there is no such store."""
        store = self.by_name.get(name or self.default)
        if store is None:
            raise Invalid(f"There is no store '{name}'; there are: {', '.join(sorted(self.by_name))}.")
        return store

    def prepare(self) -> None:
        """Look at the start of the program whether all stores can be used. Raises Invalid."""
        for store in self.by_name.values():
            store.prepare()

    async def free(self) -> dict[str, int]:
        """How many bytes each store still takes; one that does not answer or does not know is left out."""
        found = {}
        for name, store in self.by_name.items():
            with suppress(StoreUnavailable):
                size = await store.free()
                if size is not None:
                    found[name] = size
        return found

    async def close(self) -> None:
        for store in self.by_name.values():
            await store.close()
        self.threads.shutdown(wait=True)
