# SPDX-License-Identifier: Apache-2.0
"""Writes that wait for the one thread that writes to SQLite: whose turn it is, and who is refused."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Connection
from tests.catalogue.examples import image

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.slots import caller_key
from glance_registry.catalogue.sqlite import writer
from glance_registry.model.errors import Overloaded


class HeldWrites:
    """Writes of several callers, which run in the order of their turns when the first one, which is held, has ended."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._holding = threading.Event()
        self._go_on = threading.Event()

    async def hold(self) -> None:
        """Keep the thread busy, so that all others wait."""
        self.tasks["held"] = asyncio.create_task(self._catalogue.write(self._hold))
        await asyncio.to_thread(self._holding.wait, 60)

    def _hold(self, _: Connection) -> None:
        self._holding.set()
        self._go_on.wait(60)

    async def come(self, caller: str, numbers: range) -> None:
        """Writes of a caller: a1, a2, …"""
        caller_key.set(caller)
        for number in numbers:
            name = f"{caller}{number}"
            self.tasks[name] = asyncio.create_task(self._catalogue.write(self._add, name))
        await asyncio.sleep(0)

    def _add(self, connection: Connection, name: str) -> None:
        images.add(connection, image(name))
        self.order.append(name)

    async def end(self) -> set[str]:
        """Let all end; the names of those that were refused."""
        self._go_on.set()
        await asyncio.wait(self.tasks.values())
        return {name for name, task in self.tasks.items() if isinstance(task.exception(), Overloaded)}


def tell(loop: asyncio.Runner, database: str, story: Callable[[HeldWrites], Awaitable[None]]) -> None:
    async def run() -> None:
        catalogue = open_catalogue(database)
        writes = HeldWrites(catalogue)
        try:
            async with asyncio.timeout(60):
                await writes.hold()
                await story(writes)
        finally:
            await writes.end()
            await catalogue.close()

    loop.run(run())


def test_callers_have_turns_write_by_write_and_each_caller_s_keep_their_order(
    loop: asyncio.Runner, sqlite_database: str
) -> None:
    async def story(writes: HeldWrites) -> None:
        await writes.come("a", range(1, 301))
        await writes.come("b", range(1, 3))
        await writes.come("c", range(1, 2))
        assert await writes.end() == set()

        assert writes.order[:7] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
        assert [name for name in writes.order if name.startswith("a")] == [f"a{number}" for number in range(1, 301)]
        assert len(writes.order) == 303

    tell(loop, sqlite_database, story)


def test_a_full_queue_refuses_the_caller_that_fills_it_and_still_takes_others(
    loop: asyncio.Runner, sqlite_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING_WRITES", 4)

    async def story(writes: HeldWrites) -> None:
        await writes.come("a", range(1, 6))
        await writes.come("b", range(1, 4))
        await writes.come("c", range(1, 2))

        # With two each, neither of a and b makes room for the other; c has none yet.
        assert await writes.end() == {"a5", "a4", "a3", "b3", "a2"}
        assert writes.order == ["a1", "b1", "c1", "b2"]

    tell(loop, sqlite_database, story)
