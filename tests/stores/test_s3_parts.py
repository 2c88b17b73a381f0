# SPDX-License-Identifier: Apache-2.0
"""How uploads to a bucket are cut into parts, and what they share."""

import asyncio

import pytest

from glance_registry.stores.budget import Budget
from glance_registry.stores.s3_upload import DOUBLED_AFTER, MAX_PARTS, MIB, Part, in_sequence, part_size

GIB, TIB = 2**30, 2**40


@pytest.mark.parametrize(
    ("announced", "size"),
    [(1, 8 * MIB), (74 * GIB, 8 * MIB), (75 * GIB, 9 * MIB), (TIB, 111 * MIB), (5 * TIB, 552 * MIB)],
)
def test_an_announced_size_has_parts_of_one_size(announced: int, size: int) -> None:
    assert {part_size(number, announced) for number in (1, 2, MAX_PARTS)} == {size}
    assert announced <= 9_500 * size
    assert size % MIB == 0


def test_parts_of_an_unknown_size_grow_and_have_room_for_3_tib() -> None:
    sizes = [part_size(number) for number in range(1, MAX_PARTS + 1)]

    assert sizes[0] == sizes[DOUBLED_AFTER - 1] == 8 * MIB
    assert sizes[DOUBLED_AFTER] == 16 * MIB
    assert sum(sizes) > 3 * TIB
    # How large a part may become at that size.
    assert sizes[-1] <= 2 * GIB
    total, largest = 0, 0
    for size in sizes:
        total, largest = total + size, size
        if total >= TIB:
            break
    assert largest == 512 * MIB


def test_no_part_is_smaller_than_the_setting() -> None:
    assert part_size(1, 1, 20 * MIB) == 20 * MIB
    assert part_size(1, 0, 20 * MIB) == 20 * MIB


def test_only_parts_without_a_gap_count() -> None:
    parts = {number: Part(number, "", number) for number in (1, 2, 3, 5)}

    assert in_sequence([parts[5], parts[2], parts[1]]) == [parts[1], parts[2]]
    assert in_sequence([parts[2], parts[3]]) == []
    assert in_sequence([]) == []


def test_bytes_are_handed_out_in_order_and_given_back() -> None:
    async def conversation() -> list[str]:
        budget, events = Budget(10), []
        released = {name: asyncio.Event() for name in "abcd"}

        async def use(name: str, size: int) -> None:
            async with budget.hold(size):
                events.append(f"{name} has")
                await released[name].wait()
            events.append(f"{name} gave")

        tasks = []
        for name, size in (("a", 6), ("b", 6), ("c", 1), ("d", 100)):
            tasks.append(asyncio.create_task(use(name, size)))
            await asyncio.sleep(0)
        # There is room for c, but b came before it.
        assert events == ["a has"]
        for name in "abcd":
            released[name].set()
        await asyncio.gather(*tasks)
        return events

    events = asyncio.run(conversation())
    assert [event for event in events if event.endswith("has")] == ["a has", "b has", "c has", "d has"]
    # More than there is waits for all of it.
    assert events[-2:] == ["d has", "d gave"]


@pytest.mark.parametrize("granted", [False, True], ids=["waiting", "at the same moment"])
def test_who_is_cancelled_takes_nothing(granted: bool) -> None:
    async def conversation() -> None:
        budget = Budget(10)
        first = budget.hold(10)
        await first.__aenter__()

        async def use() -> None:
            async with budget.hold(10):
                pytest.fail("it was cancelled")

        waiting = asyncio.create_task(use())
        await asyncio.sleep(0)
        if granted:
            await first.__aexit__(None, None, None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not granted:
            await first.__aexit__(None, None, None)
        async with asyncio.timeout(5), budget.hold(10):
            pass

    asyncio.run(conversation())
