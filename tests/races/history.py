# SPDX-License-Identifier: Apache-2.0
"""A history of concurrent requests, and whether some order explains it (linearizability; Wing and Gong, 1993)."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.races.model import Image, Operation, Result


@dataclass(frozen=True)
class Event:
    """One request with its answer. Times are in nanoseconds, on one clock."""

    operation: Operation
    sent: int
    answered: int
    result: Result


def explained(history: Sequence[Event], image: Image | None = None) -> bool:
    """Whether the requests, done one at a time in some order, would have had these results.

    In the order a request that was answered before another one was sent comes first.
    """
    refuted: set[tuple[frozenset[int], Image | None]] = set()

    def search(left: frozenset[int], image: Image | None) -> bool:
        if not left:
            return True
        if (left, image) in refuted:
            return False
        first_answer = min(history[number].answered for number in left)
        for number in left:
            event = history[number]
            if event.sent > first_answer:
                continue
            after, result = event.operation.apply(image)
            if result == event.result and search(left - {number}, after):
                return True
        refuted.add((left, image))
        return False

    return search(frozenset(range(len(history))), image)
