# SPDX-License-Identifier: Apache-2.0
"""Reads that take too long, or that nobody waits for any more, are stopped; those of other callers go on."""

import asyncio
import math
import sqlite3
import threading
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Connection, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only
from tests.catalogue.examples import ADMIN, everything, image, ping

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.long_reads import MAX_LONG_READS, LongReads
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.postgresql.catalogue import ServerCatalogue
from glance_registry.catalogue.rows import MAX_BYTES_ON_LOOP, NOTE_LARGE_PAGE
from glance_registry.catalogue.slots import caller_key
from glance_registry.catalogue.sqlite.reads import MAX_WAITING_READS, READ_THREADS
from glance_registry.catalogue.statements import Prepared
from glance_registry.model.errors import Overloaded, ReadTimeout
from glance_registry.model.query import Query

Story = Callable[[Catalogue], Awaitable[None]]


def tell(loop: asyncio.Runner, database: str, story: Story, read_seconds: float = 600) -> None:
    async def run() -> None:
        catalogue = open_catalogue(database, read_seconds=read_seconds)
        try:
            async with asyncio.timeout(60):  # A test that fails must not hang.
                await story(catalogue)
        finally:
            await catalogue.close()

    loop.run(run())


ENDLESS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
    "postgresql": "SELECT pg_sleep(3600)",
}


def never_end(connection: Connection, threads: list[threading.Thread] | None = None) -> None:
    """Read until it is stopped; say before in which thread."""
    if threads is not None:
        threads.append(threading.current_thread())
    connection.execute(text(ENDLESS[connection.dialect.name])).all()


def count_sleeping(connection: Connection) -> int:
    """How many statements of `never_end` a PostgreSQL server runs."""
    if connection.dialect.name == "sqlite":
        return 0
    activity = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE :sleep"
    activity += " AND state = 'active' AND pid <> pg_backend_pid()"
    return int(connection.execute(text(activity), {"sleep": "SELECT pg_sleep%"}).scalar_one())


def count_far(connection: Connection) -> int:
    """Too far for the event loop of SQLite."""
    counting = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300000) SELECT max(x) FROM c"
    return int(connection.execute(text(counting)).scalar_one())


async def wait_until_running(catalogue: Catalogue, threads: list[threading.Thread]) -> None:
    """Until a read of `never_end` has left SQLite's event loop, or a PostgreSQL server runs one."""
    main = threading.main_thread()
    while {*threads} <= {main} and not await catalogue.write(count_sleeping):  # noqa: ASYNC110 - neither tells
        await asyncio.sleep(0.01)


async def wait_until_stopped(catalogue: Catalogue) -> None:
    while await catalogue.write(count_sleeping):  # noqa: ASYNC110 - a server tells nobody
        await asyncio.sleep(0.01)


def test_a_read_that_takes_too_long_is_stopped_and_its_slot_is_free_again(loop: asyncio.Runner, database: str) -> None:
    async def story(catalogue: Catalogue) -> None:
        for _ in range(3):
            reads = [catalogue.read(never_end) for _ in range(20)]
            outcomes = await asyncio.gather(*reads, return_exceptions=True)
            assert {str(outcome) for outcome in outcomes} == {
                "The database did not answer this request within 0.2 seconds."
            }
            assert {type(outcome) for outcome in outcomes} == {ReadTimeout}
        await wait_until_stopped(catalogue)
        await catalogue.read(ping)

    tell(loop, database, story, read_seconds=0.2)


def test_a_read_that_nobody_waits_for_any_more_is_stopped(loop: asyncio.Runner, database: str) -> None:
    async def story(catalogue: Catalogue) -> None:
        for _ in range(3):
            threads: list[threading.Thread] = []
            tasks = [asyncio.create_task(catalogue.read(never_end, threads)) for _ in range(20)]
            await wait_until_running(catalogue, threads)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
        await wait_until_stopped(catalogue)

        assert await catalogue.read(count_far) == 300_000

    tell(loop, database, story)


class Gate:
    """Holds reads in the threads of SQLite until it is opened, and notes the order in which they ran."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.open = threading.Event()
        self._one_more = threading.Semaphore(0)

    def read(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT unhurried('')")).all()  # On the event loop it ends here.
        self.entered.append(name)
        self._one_more.release()
        self.open.wait(60)

    async def come(self, catalogue: Catalogue, caller: str, name: str) -> asyncio.Task[None]:
        async def read() -> None:
            caller_key.set(caller)
            await catalogue.read(self.read, name)

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        return task

    async def wait_for(self, number: int) -> None:
        while len(self.entered) < number:
            await asyncio.to_thread(self._one_more.acquire)


def test_a_caller_with_a_hundred_long_reads_keeps_no_other_caller_s_waiting(
    loop: asyncio.Runner, sqlite_database: str
) -> None:
    gate = Gate()

    async def story(catalogue: Catalogue) -> None:
        crowd = [await gate.come(catalogue, "project:crowd", f"crowd{number}") for number in range(100)]
        await gate.wait_for(READ_THREADS - 1)
        other = await gate.come(catalogue, "project:other", "other")
        await gate.wait_for(READ_THREADS)
        assert set(gate.entered) == {"crowd0", "crowd1", "other"}
        gate.open.set()
        await asyncio.gather(other, *crowd)
        assert len(gate.entered) == 101

    tell(loop, sqlite_database, story)


def test_more_long_reads_than_may_wait_are_refused_at_once(loop: asyncio.Runner, sqlite_database: str) -> None:
    gate = Gate()

    async def story(catalogue: Catalogue) -> None:
        running = READ_THREADS - 1
        crowd = [await gate.come(catalogue, "a", str(number)) for number in range(running + MAX_WAITING_READS)]
        await gate.wait_for(running)

        with pytest.raises(Overloaded, match="too many requests wait"):
            await (await gate.come(catalogue, "a", "late"))
        other = await gate.come(catalogue, "b", "other")
        await gate.wait_for(running + 1)
        assert gate.entered[-1] == "other"
        gate.open.set()
        await asyncio.gather(other, *crowd)

    tell(loop, sqlite_database, story)


def test_a_waiting_read_that_nobody_waits_for_any_more_does_not_run(loop: asyncio.Runner, sqlite_database: str) -> None:
    gate = Gate()

    async def story(catalogue: Catalogue) -> None:
        tasks = [await gate.come(catalogue, "a", str(number)) for number in range(20)]
        await gate.wait_for(READ_THREADS - 1)
        for task in tasks[2:18]:
            task.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks[:2], *tasks[18:])

        assert sorted(gate.entered) == ["0", "1", "18", "19"]

    tell(loop, sqlite_database, story)


class Reader:
    """Reads so many rows of nothing as a prepared statement, and notes where: True for the event loop."""

    def __init__(self) -> None:
        counting = (
            "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < :most) SELECT max(x) FROM c)"
        )
        self._statement = Prepared(select(text(counting)))
        self.most = 300_000
        self.on_loop: list[bool] = []

    def read(self, connection: Connection, _query: Query | None = None) -> int:
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        row = self._statement.first(connection, {"most": self.most})
        assert row is not None
        return int(row[0])


def test_a_read_that_was_long_goes_to_a_thread_at_once_until_it_is_short(
    loop: asyncio.Runner, sqlite_database: str
) -> None:
    reader = Reader()

    async def story(catalogue: Catalogue) -> None:
        assert [await catalogue.read(reader.read) for _ in range(3)] == [300_000] * 3
        assert reader.on_loop == [True, False, False, False]
        reader.most = 10
        reader.on_loop.clear()
        assert [await catalogue.read(reader.read) for _ in range(3)] == [10] * 3
        assert reader.on_loop == [False, True, True]

    tell(loop, sqlite_database, story)


def test_a_long_read_sends_no_other_to_a_thread(loop: asyncio.Runner, sqlite_database: str) -> None:
    """Neither another caller's, nor one for another kind of query."""
    reader = Reader()

    async def story(catalogue: Catalogue) -> None:
        caller_key.set("a")
        await catalogue.read(reader.read, everything(5))
        await catalogue.read(reader.read, everything(7))
        assert reader.on_loop == [True, False, False]
        reader.most = 10
        reader.on_loop.clear()
        await catalogue.read(reader.read, everything(5, "marker"))
        caller_key.set("b")
        await catalogue.read(reader.read, everything(5))
        assert reader.on_loop == [True, True]

    tell(loop, sqlite_database, story)


def test_the_kinds_of_long_reads_are_bounded() -> None:
    long_reads = LongReads()
    operations = [lambda _connection: None for _ in range(MAX_LONG_READS + 10)]

    for operation in operations:
        long_reads.add(operation, ())

    assert [long_reads.find(operation, ()) is None for operation in operations] == [True] * 10 + [
        False
    ] * MAX_LONG_READS


def test_a_prepared_statement_that_fails_is_not_run_again(
    loop: asyncio.Runner, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Prepared(select(literal_column("1 FROM nothing_of_this_name")))
    executed: list[object] = []
    monkeypatch.setattr(Connection, "execute", lambda *_args: executed.append("again"))

    async def story(catalogue: Catalogue) -> None:
        with pytest.raises((sqlite3.OperationalError, DBAPIError), match="nothing_of_this_name"):
            await catalogue.read(wrong.first, {})

    tell(loop, database, story)
    assert not executed


def test_a_page_of_large_images_is_read_in_a_thread(loop: asyncio.Runner, sqlite_database: str) -> None:
    on_loop: list[bool] = []

    def find(connection: Connection, query: Query) -> int:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return len(images.find(connection, query, ADMIN))

    async def story(catalogue: Catalogue) -> None:
        for name in ("one", "two"):
            large = {"p": "v" * (MAX_BYTES_ON_LOOP // 2)}
            await catalogue.write(images.add, image(name, properties=large))
        assert [await catalogue.read(find, everything(10)) for _ in range(2)] == [2, 2]
        assert on_loop == [True, False, False]
        on_loop.clear()
        assert [await catalogue.read(find, everything(1)) for _ in range(2)] == [1, 1]
        assert on_loop == [False, True]

    tell(loop, sqlite_database, story)


class OnServer:
    """Reads on PostgreSQL, long ones while `is_long`, which end when they may, and note their server processes."""

    def __init__(self) -> None:
        self.is_long = True
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.begun: list[int] = []
        self.processes: list[int] = []
        self._one_more = asyncio.Semaphore(0)

    def read(self, connection: Connection, number: int = 0) -> None:
        if self.is_long:
            connection.info[NOTE_LARGE_PAGE]()
        self.processes.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        self.begun.append(number)
        self._one_more.release()
        await_only(self.may_end.wait())

    async def wait_for(self, number: int) -> None:
        while len(self.begun) < number:
            await self._one_more.acquire()


@pytest.fixture
def server_reads(monkeypatch: pytest.MonkeyPatch) -> OnServer:
    """On whatever machine, they are long only when they say so."""
    monkeypatch.setattr("glance_registry.catalogue.postgresql.readers.LONG_SECONDS", math.inf)
    return OnServer()


def test_a_read_that_was_long_is_among_long_ones_on_a_server_until_it_is_short(
    loop: asyncio.Runner, postgresql_database: str, server_reads: OnServer
) -> None:
    async def story(catalogue: Catalogue) -> None:
        for is_long in (True, True, True, False, False, False):
            server_reads.is_long = is_long
            await catalogue.read(server_reads.read)
        short, long = server_reads.processes[:2]
        assert short != long
        assert server_reads.processes == [short, long, long, long, short, short]

    tell(loop, postgresql_database, story)


def test_a_read_on_a_server_is_long_when_it_takes_long_and_when_it_is_given_up(
    loop: asyncio.Runner, postgresql_database: str, server_reads: OnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glance_registry.catalogue.postgresql.readers.LONG_SECONDS", 0)
    server_reads.is_long = False

    async def story(catalogue: Catalogue) -> None:
        await catalogue.read(server_reads.read)
        server_reads.may_end.clear()
        given_up = asyncio.create_task(catalogue.read(server_reads.read))
        await server_reads.wait_for(2)
        given_up.cancel()
        await asyncio.wait([given_up])
        server_reads.may_end.set()
        await catalogue.read(server_reads.read)
        first, *later = server_reads.processes
        assert first not in later

    tell(loop, postgresql_database, story)


def test_long_reads_of_a_caller_wait_for_each_other_and_its_short_ones_do_not_wait(
    loop: asyncio.Runner, postgresql_database: str, server_reads: OnServer
) -> None:
    async def story(catalogue: Catalogue) -> None:
        caller_key.set("a")
        await catalogue.read(server_reads.read, 0)
        server_reads.may_end.clear()
        tasks = [asyncio.create_task(catalogue.read(server_reads.read, number)) for number in range(1, 7)]
        await server_reads.wait_for(3)
        for _ in range(20):
            await catalogue.read(ping)
        assert sorted(server_reads.begun) == [0, 1, 2]
        server_reads.may_end.set()
        await asyncio.gather(*tasks)
        assert sorted(server_reads.begun) == list(range(7))

    tell(loop, postgresql_database, story)


@pytest.mark.usefixtures("server_reads")
def test_a_page_of_large_images_is_a_long_read_on_a_server(loop: asyncio.Runner, postgresql_database: str) -> None:
    async def story(catalogue: Catalogue) -> None:
        assert isinstance(catalogue, ServerCatalogue)
        for name in ("one", "two"):
            large = {"p": "v" * (MAX_BYTES_ON_LOOP // 2)}
            await catalogue.write(images.add, image(name, properties=large))
        for limit, is_long in ((10, True), (1, False)):
            await catalogue.read(images.find, everything(limit), ADMIN)
            known = catalogue.long_reads.find(images.find, (everything(limit), ADMIN))
            assert (known is not None) == is_long

    tell(loop, postgresql_database, story)
