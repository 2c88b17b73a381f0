# SPDX-License-Identifier: Apache-2.0
"""Reads go to a standby while it shows all that was acknowledged, whoever was told; else to the primary."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from deploy.cluster.nodes import Cluster, Node
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, image
from tests.processes import SECONDS, free_port

from glance_registry.catalogue import images
from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.postgresql import replica
from glance_registry.catalogue.postgresql.catalogue import ServerCatalogue
from glance_registry.catalogue.postgresql.replica import Position, Shared
from glance_registry.model.contract import CACTUS
from glance_registry.model.errors import NotFound

Story = Callable[..., Awaitable[Any]]


def is_standby(connection: Connection) -> bool:
    return bool(connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one())


def tell(loop: asyncio.Runner, cluster: Cluster, replicas: str, story: Story) -> None:
    """Run a story with two processes' catalogues, of which the second one reads from the replicas."""

    async def run() -> None:
        writing = ServerCatalogue(parse_url(cluster.url))
        reading = ServerCatalogue(parse_url(cluster.url), replica=parse_url(replicas))
        try:
            for node in (cluster.primary, *cluster.nodes):
                await cluster.run("CHECKPOINT", node)
            await story(writing, reading)
        finally:
            await reading.close()
            await writing.close()

    cluster.wait_until(cluster.is_whole)
    loop.run(run())


async def until_used(reading: ServerCatalogue) -> None:
    """A standby is used when its last checkpoint is of the primary's timeline, and it has replayed all."""
    async with asyncio.timeout(SECONDS):
        while not await reading.read(is_standby):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


@pytest.fixture
def standby(cluster: Cluster) -> Node:
    cluster.wait_until(cluster.is_whole)
    return next(node for node in cluster.nodes if node is not cluster.primary)


@contextmanager
def signalled(node: Node, first: signal.Signals, then: signal.Signals) -> Iterator[None]:
    node.send(first)
    try:
        yield
    finally:
        node.send(then)


def test_what_any_process_wrote_is_read_at_once_and_mostly_from_a_standby(
    loop: asyncio.Runner, cluster: Cluster, standby: Node
) -> None:
    async def story(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        await until_used(reading)
        for _ in range(100):
            added = await writing.write(images.add, image(str(uuid4())))
            assert await reading.read(images.get, added.id, ADMIN, CACTUS) == added
        places = [await reading.read(is_standby) for _ in range(100)]
        assert sum(places) > 50
        with pytest.raises(NotFound):
            await reading.read(images.get, "none", ADMIN, CACTUS)

    tell(loop, cluster, cluster.url_of(standby), story)


def test_a_standby_that_lags_is_not_asked(loop: asyncio.Runner, cluster: Cluster, standby: Node) -> None:
    async def story(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        await until_used(reading)
        replaying = next(process for process in standby.postgresql if "startup" in " ".join(process.cmdline()))
        replaying.suspend()
        try:
            for _ in range(20):
                added = await writing.write(images.add, image(str(uuid4())))
                assert await reading.read(images.get, added.id, ADMIN, CACTUS) == added
            assert not await reading.read(is_standby)
        finally:
            replaying.resume()
        await until_used(reading)

    tell(loop, cluster, cluster.url_of(standby), story)


def test_a_standby_that_hangs_holds_nobody_up_for_long(
    loop: asyncio.Runner, cluster: Cluster, standby: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        await until_used(reading)
        with signalled(standby, signal.SIGSTOP, signal.SIGCONT):
            assert await asyncio.gather(*(reading.read(is_standby) for _ in range(50))) == [False] * 50
            await reading.check()
        await until_used(reading)

    monkeypatch.setattr(replica, "SECONDS", 1)
    monkeypatch.setattr(replica, "AVOIDED_SECONDS", 0.5)
    tell(loop, cluster, cluster.url_of(standby), story)


def test_without_a_standby_the_primary_is_asked(loop: asyncio.Runner, cluster: Cluster) -> None:
    async def story(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        added = await reading.write(images.add, image(str(uuid4())))
        assert [await reading.read(images.get, added.id, ADMIN, CACTUS) for _ in range(3)] == [added] * 3

    tell(loop, cluster, f"postgresql://registry@127.0.0.1:{free_port()}/registry", story)


def test_of_several_a_standby_is_found_and_the_primary_is_none(loop: asyncio.Runner, cluster: Cluster) -> None:
    async def of_all(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        await until_used(reading)

    async def of_the_primary(writing: ServerCatalogue, reading: ServerCatalogue) -> None:
        assert [await reading.read(is_standby) for _ in range(3)] == [False] * 3

    tell(loop, cluster, cluster.url_of(*cluster.nodes), of_all)
    tell(loop, cluster, cluster.url_of(cluster.primary), of_the_primary)


def test_a_question_that_was_on_its_way_before_ours_does_not_answer_it(loop: asyncio.Runner) -> None:
    log = [1]
    arrived: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def look() -> Position:
        seen = log[0]
        question: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrived.put_nowait(question)
        await question
        return Position(1, seen)

    async def story() -> None:
        shared = Shared(look)
        first = asyncio.create_task(shared.ask())
        question = await arrived.get()
        log[0] = 2
        later = [asyncio.create_task(shared.ask()) for _ in range(10)]
        await asyncio.sleep(0)
        assert arrived.empty()
        question.set_result(None)
        assert await first == (1, 1)
        (await arrived.get()).set_result(None)
        assert await asyncio.gather(*later) == [(1, 2)] * 10
        assert arrived.empty()

    loop.run(story())
