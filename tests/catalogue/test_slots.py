# SPDX-License-Identifier: Apache-2.0
"""Slots that callers share: whose turn it is, who is refused, and what a caller that gives up leaves behind."""

import asyncio
from contextlib import suppress

import pytest

from glance_registry.catalogue.slots import Slots, caller_key
from glance_registry.model.errors import Overloaded


class Crowd:
    """Operations of several callers on the same slots. Each holds its slot until it is told to end."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self.slots = Slots(slots, max_waiting)
        self.started: list[str] = []
        self.most_at_once = 0
        self._running: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, caller: str, number: int = 1) -> None:
        """So many operations of a caller, which are told apart by numbers: a1, a2, …"""
        for _ in range(number):
            name = f"{caller}{sum(key.startswith(caller) for key in self.tasks) + 1}"
            self.tasks[name] = asyncio.create_task(self._hold(caller, name))
            await self.settle()

    async def end(self, name: str) -> None:
        self._running[name].set()
        await self.settle()

    async def end_oldest(self) -> None:
        await self.end(next(iter(self._running)))

    async def give_up(self, name: str) -> None:
        self.tasks[name].cancel()
        await self.settle()

    async def end_all(self) -> None:
        while self._running:
            await self.end_oldest()
        for task in self.tasks.values():
            with suppress(Overloaded, asyncio.CancelledError):
                await task

    def refused(self) -> set[str]:
        return {
            name
            for name, task in self.tasks.items()
            if task.done() and not task.cancelled() and isinstance(task.exception(), Overloaded)
        }

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _hold(self, caller: str, name: str) -> None:
        caller_key.set(caller)
        key = await self.slots.acquire()
        try:
            self.started.append(name)
            self._running[name] = asyncio.Event()
            self.most_at_once = max(self.most_at_once, len(self._running))
            await self._running[name].wait()
        finally:
            del self._running[name]
            self.slots.release(key)


def test_callers_have_their_turns_one_after_the_other_however_many_requests_each_has() -> None:
    async def story() -> None:
        crowd = Crowd(slots=1, max_waiting=100)
        await crowd.come("a", 50)
        await crowd.come("b", 2)
        await crowd.come("c", 1)
        await crowd.end_all()

        assert crowd.started[:7] == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
        assert len(crowd.started) == 53
        assert crowd.most_at_once == 1
        assert crowd.slots.waiting == 0

    asyncio.run(story())


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (3, 2), (8, 4), (12, 6)])
def test_one_caller_never_has_all_slots_so_that_another_one_need_not_wait(slots: int, most: int) -> None:
    async def story() -> None:
        crowd = Crowd(slots, max_waiting=100)
        await crowd.come("a", 50)
        assert len(crowd.started) == most
        await crowd.come("b")

        assert ("b1" in crowd.started) == (slots > 1)
        await crowd.end_all()
        assert len(crowd.started) == 51
        assert crowd.most_at_once <= slots

    asyncio.run(story())


def test_a_full_queue_refuses_the_caller_that_fills_it_and_still_takes_others() -> None:
    async def story() -> None:
        crowd = Crowd(slots=1, max_waiting=4)
        await crowd.come("a", 6)
        assert crowd.refused() == {"a6"}
        await crowd.come("b", 2)
        assert crowd.refused() == {"a6", "a5", "a4"}
        await crowd.come("b")  # Each of the two has two in the queue now: nobody gives way.
        await crowd.come("c")

        assert crowd.slots.waiting == 4
        assert crowd.refused() == {"a6", "a5", "a4", "b3", "a3"}
        await crowd.end_all()
        assert crowd.started == ["a1", "a2", "b1", "c1", "b2"]

    asyncio.run(story())


def test_who_gives_up_while_waiting_is_forgotten() -> None:
    async def story() -> None:
        crowd = Crowd(slots=1, max_waiting=3)
        await crowd.come("a", 4)
        for name in ("a2", "a3"):
            await crowd.give_up(name)
        assert crowd.slots.waiting == 1
        await crowd.come("a", 2)

        assert crowd.refused() == set()
        await crowd.end_all()
        assert crowd.started == ["a1", "a4", "a5", "a6"]

    asyncio.run(story())


def test_a_slot_that_is_given_to_somebody_who_gives_up_at_that_moment_goes_to_the_next() -> None:
    async def story() -> None:
        slots = Slots(1, max_waiting=3)
        first = await slots.acquire()
        second, third = asyncio.create_task(slots.acquire()), asyncio.create_task(slots.acquire())
        await asyncio.sleep(0)
        slots.release(first)
        second.cancel()
        await asyncio.wait([second])

        assert second.cancelled()
        slots.release(await third)
        assert slots.take_free() is not None

    asyncio.run(story())
