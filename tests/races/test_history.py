# SPDX-License-Identifier: Apache-2.0
"""The judge of histories itself: what no order explains is refused, what one does is not."""

import pytest
from tests.races.history import Event, explained
from tests.races.model import Create, Delete, Image, ListMembers, Share, ShareAnew, Show, Update, pairs

A, B = pairs({"a": "1"}), pairs({"b": "2"})
QUEUED = Image("queued")
ACTIVATE = Update(status="active", from_state="queued")


def shown(status: str = "queued", **properties: str) -> tuple[int, object]:
    return 200, (status, pairs(properties))


EXPLAINED = {
    "nothing happened": [],
    "one after the other": [Event(Update(A), 1, 2, shown(a="1")), Event(Update(B), 3, 4, shown(a="1", b="2"))],
    "at once, the later one first": [Event(Update(A), 1, 4, shown(a="1", b="2")), Event(Update(B), 2, 3, shown(b="2"))],
    "a look between": [
        Event(Update(A), 1, 9, shown(a="1")),
        Event(Show(), 2, 3, shown()),
        Event(Show(), 4, 5, shown(a="1")),
    ],
    "deleted first": [Event(Delete(), 1, 4, shown()), Event(Update(A), 2, 3, (404, None))],
    "updated first": [Event(Delete(), 1, 4, shown()), Event(Update(A), 2, 3, shown(a="1"))],
    "one of two": [Event(ACTIVATE, 1, 4, (409, None)), Event(ACTIVATE, 2, 3, shown("active"))],
}
IMPOSSIBLE = {
    "a lost update": [
        *(Event(Update(A), 1, 4, shown(a="1")), Event(Update(B), 2, 3, shown(b="2"))),
        Event(Show(), 5, 6, shown(b="2")),
    ],
    "neither saw the other": [Event(Update(A), 1, 4, shown(a="1")), Event(Update(B), 2, 3, shown(b="2"))],
    "a look into the past": [Event(Update(A), 1, 2, shown(a="1")), Event(Show(), 3, 4, shown())],
    "back and forth": [
        *(Event(Update(A), 1, 9, shown(a="1")), Event(Show(), 2, 3, shown(a="1")), Event(Show(), 4, 5, shown())),
    ],
    "twice from one state": [Event(ACTIVATE, 1, 4, shown("active")), Event(ACTIVATE, 2, 3, shown("active"))],
    "nobody won": [Event(ACTIVATE, 1, 4, (409, None)), Event(ACTIVATE, 2, 3, (409, None))],
    "deleted twice": [Event(Delete(), 1, 4, shown()), Event(Delete(), 2, 3, shown())],
    "an update of a deleted image": [Event(Delete(), 1, 2, shown()), Event(Update(A), 3, 4, shown(a="1"))],
    "registered twice": [Event(Create(), 1, 4, shown()), Event(Create(), 2, 3, shown())],
    "mixed members": [
        Event(ShareAnew(pairs({"m": True})), 1, 4, (204, None)),
        Event(ShareAnew(pairs({"n": True})), 2, 3, (204, None)),
        Event(ListMembers(), 5, 6, (200, pairs({"m": True, "n": True}))),
    ],
    "a lost member": [
        *(Event(Share("m"), 1, 4, (204, None)), Event(Share("n"), 2, 3, (204, None))),
        Event(ListMembers(), 5, 6, (200, pairs({"n": False}))),
    ],
}


@pytest.mark.parametrize("history", EXPLAINED.values(), ids=EXPLAINED)
def test_what_an_order_explains_is_explained(history: list[Event]) -> None:
    assert explained(history, QUEUED)


@pytest.mark.parametrize("history", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_order_explains_is_refused(history: list[Event]) -> None:
    assert not explained(history, QUEUED)


def test_of_two_who_register_one_id_one_does() -> None:
    winner, loser = Event(Create(A), 1, 4, shown(a="1")), Event(Create(B), 2, 3, (409, None))

    assert explained([winner, loser])
    assert not explained([winner, Event(Create(B), 2, 3, shown(b="2"))])
    assert not explained([loser])
