# SPDX-License-Identifier: Apache-2.0
"""Requests about one image at the same moment, to real processes: some order explains what each was answered."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import ENGINES
from tests.figures import Figure
from tests.processes import SECONDS, Server
from tests.races.history import Event, explained
from tests.races.model import (
    Create,
    Delete,
    ListMembers,
    Operation,
    Result,
    Share,
    ShareAnew,
    Show,
    Unshare,
    Update,
    pairs,
)
from tests.speeds import scaled

CLIENTS = 6


class Arena:
    """A server with two workers, and clients who send together, each over a connection of its own."""

    def __init__(self, server: Server) -> None:
        self._clients = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS) for _ in range(CLIENTS)]
        self._threads = ThreadPoolExecutor(CLIENTS)
        self._numbers = itertools.count()
        self.requests = 0

    def play(self, before: Sequence[Operation], together: Sequence[Operation]) -> list[Event]:
        """The history of a new image: some requests in turn, some at the same moment, then a look at the outcome."""
        image_id = f"race-{next(self._numbers)}"
        first = self._clients[0]
        history = [_ask(first, operation, image_id) for operation in before]
        ready = threading.Barrier(len(together))
        asked = [
            self._threads.submit(_ask, client, operation, image_id, ready)
            for client, operation in zip(self._clients, together, strict=False)
        ]
        history += [event.result() for event in asked]
        history += [_ask(first, operation, image_id) for operation in (Show(), ListMembers())]
        self.requests += len(history)
        return history

    def close(self) -> None:
        self._threads.shutdown()
        for client in self._clients:
            client.close()


def _ask(
    client: http.client.HTTPConnection, operation: Operation, image_id: str, ready: threading.Barrier | None = None
) -> Event:
    method, path, body = operation.request(image_id)
    purge = isinstance(operation, Update) and operation.purge
    headers = {"X-Glance-Registry-Purge-Props": "true"} if purge else {}
    if ready is not None:
        ready.wait(SECONDS)
    sent = time.monotonic_ns()
    client.request(method, path, None if body is None else json.dumps(body), headers)
    answer = client.getresponse()
    content = answer.read()
    return Event(operation, sent, time.monotonic_ns(), _result(answer.status, content))


def _result(status: int, content: bytes) -> Result:
    if status != 200:
        return status, None
    body: dict[str, Any] = json.loads(content)
    if "members" in body:
        return status, pairs({member["member_id"]: member["can_share"] for member in body["members"]})
    return status, (body["image"]["status"], pairs(body["image"]["properties"]))


@pytest.fixture(scope="module", params=ENGINES)
def arena(
    request: pytest.FixtureRequest, make_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    folder: Path = tmp_path_factory.mktemp("races")
    with Server(folder, make_database(request.param), "--workers", "2") as server:
        arena = Arena(server)
        yield arena
        arena.close()


def told(history: Sequence[Event]) -> str:
    start = history[0].sent
    return "\n".join(
        f"{(event.sent - start) // 1000:>8} {(event.answered - start) // 1000:>8} us"
        f"  {event.operation} -> {event.result}"
        for event in history
    )


def assert_explained(history: Sequence[Event]) -> None:
    assert explained(history), told(history)


A, B, C = ({name: "1"} for name in "abc")
ACTIVATE = Update(pairs(A), status="active", from_state="queued")
RACES: dict[str, tuple[list[Operation], list[Operation]]] = {
    "two updates": ([Create()], [Update(pairs(A)), Update(pairs(B))]),
    "six updates": ([Create()], [Update(pairs({name: "1"}), purge=name > "d") for name in "abcdef"]),
    "two updates of one property": ([Create()], [Update(pairs({"a": "1"})), Update(pairs({"a": "2"})), Show()]),
    "a delete during updates": ([Create(pairs(A))], [Update(pairs(B)), Delete(), Update(pairs(C)), Show()]),
    "two deletes": ([Create()], [Delete(), Delete(), Show()]),
    "one id twice": ([], [Create(pairs(A)), Create(pairs(B)), Show()]),
    "an id that is being deleted": ([Create()], [Delete(), Create(), Show()]),
    "from_state twice": ([Create()], [ACTIVATE, ACTIVATE]),
    "from_state four times": ([Create()], [ACTIVATE, ACTIVATE, Update(status="killed", from_state="queued"), ACTIVATE]),
    "replace-members twice": (
        [Create(), Share("old")],
        [ShareAnew(pairs({"m": True, "n": False})), ShareAnew(pairs({"n": True, "o": False})), ListMembers()],
    ),
    "members while the image goes": ([Create(), Share("m")], [Delete(), Share("n"), ShareAnew(), Unshare("m")]),
    "one member, put and removed": ([Create()], [Share("m"), Unshare("m"), Share("m", True), ListMembers()]),
}


@pytest.mark.parametrize("race", RACES)
def test_some_order_explains_what_happened(arena: Arena, race: str) -> None:
    before, together = RACES[race]

    for _ in range(10):
        assert_explained(arena.play(before, together))


PROPERTIES = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["1", "2"]), max_size=2).map(pairs)
MEMBERS = st.dictionaries(st.sampled_from("mn"), st.booleans(), max_size=2).map(pairs)
STATUSES = st.sampled_from([None, "queued", "active"])
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Update, PROPERTIES, STATUSES, STATUSES, st.booleans()),
    st.builds(Create, PROPERTIES),
    st.builds(Delete),
    st.builds(Show),
    st.builds(Share, st.sampled_from("mn"), st.booleans()),
    st.builds(Unshare, st.sampled_from("mn")),
    st.builds(ShareAnew, MEMBERS),
    st.builds(ListMembers),
)
GO = settings(
    deadline=None,
    database=None,
    # What happens at once does not happen twice: there is nothing to shrink.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("examples", [60, pytest.param(3_000, marks=pytest.mark.nightly)])
def test_some_order_explains_whatever_clients_do_at_once(
    arena: Arena, examples: int, figure: Figure, request: pytest.FixtureRequest
) -> None:
    @settings(GO, max_examples=scaled(examples))
    @given(
        before=st.lists(OPERATIONS, max_size=2).map(lambda operations: [Create(), *operations]) | st.just([]),
        together=st.lists(OPERATIONS, min_size=2, max_size=CLIENTS),
    )
    def every_history_is_explained(before: list[Operation], together: list[Operation]) -> None:
        assert_explained(arena.play(before, together))

    every_history_is_explained()
    engine = request.node.callspec.params["arena"]
    figure(f"races, {engine}: histories, each explained by an order", examples)
    figure(f"races, {engine}: requests in them", arena.requests)
