# SPDX-License-Identifier: Apache-2.0
"""A server that is lost, hangs or is somebody else's turn: what was answered is true, and nobody waits for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ids, image, ping
from tests.conftest import PostgreSQL
from tests.processes import free_port
from tests.wire import Fate, Wire

from glance_registry.catalogue import images
from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.postgresql import hosts
from glance_registry.catalogue.postgresql.catalogue import Limits, ServerCatalogue
from glance_registry.model.errors import OutcomeUnknown, ReadTimeout, Unavailable

Story = Callable[[ServerCatalogue, Wire], Awaitable[Any]]


def tell(loop: asyncio.Runner, database: str, story: Story, limits: Limits | None = None, others: str = "") -> None:
    """Run a story with a catalogue whose wire to the server can be cut."""

    async def run() -> None:
        async with Wire(database) as wire:
            url = wire.url.replace("127.0.0.1:", others + "127.0.0.1:")
            catalogue = ServerCatalogue(parse_url(url), limits)
            try:
                await story(catalogue, wire)
            finally:
                wire.go_on()
                await catalogue.close()

    loop.run(run())


def test_writes_do_not_notice_that_idle_connections_were_cut(
    loop: asyncio.Runner, postgresql: PostgreSQL, postgresql_database: str
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        for turn in range(3):
            await asyncio.gather(*(catalogue.write(images.add, image(f"{turn}{number}")) for number in range(20)))
            await asyncio.to_thread(postgresql.terminate, postgresql_database)
        assert len(await ids(catalogue)) == 60

    tell(loop, postgresql_database, story)


def test_a_write_whose_connection_breaks_before_its_commit_is_done_once_on_another(
    loop: asyncio.Runner, postgresql_database: str
) -> None:
    attempts: list[int] = []

    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        def add(connection: Connection) -> None:
            attempts.append(len(attempts))
            images.add(connection, image(f"attempt{len(attempts)}"))
            if len(attempts) == 1:
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        await catalogue.write(add)
        assert await ids(catalogue) == {"attempt2"}

    tell(loop, postgresql_database, story)
    assert attempts == [0, 1]


@pytest.mark.parametrize(("fate", "kept"), [("lost", set()), ("done", {"one"})])
def test_a_write_whose_commit_was_not_answered_is_never_run_again(
    loop: asyncio.Runner, postgresql_database: str, fate: Fate, kept: set[str]
) -> None:
    attempts: list[int] = []

    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        def add(connection: Connection) -> None:
            attempts.append(len(attempts))
            images.add(connection, image())

        wire.cut_at_commit = fate
        with pytest.raises(OutcomeUnknown, match="not known"):
            await catalogue.write(add)
        await catalogue.write(images.add, image("after"))
        assert await ids(catalogue) == {"after", *kept}

    tell(loop, postgresql_database, story)
    assert attempts == [0]


def test_a_commit_that_the_server_refuses_is_known_not_to_be_done(
    loop: asyncio.Runner, postgresql_database: str
) -> None:
    """A deferred trigger fails at COMMIT: the server says so, and asks for the transaction to be run again."""
    refuse = "BEGIN RAISE EXCEPTION 'wanted' USING ERRCODE = '40001'; END"
    attempts: list[int] = []

    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        def prepare(connection: Connection) -> None:
            connection.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS '{quoted}'"))
            connection.execute(
                text(
                    "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON images DEFERRABLE INITIALLY DEFERRED"
                    " FOR EACH ROW WHEN (NEW.name = 'refused') EXECUTE FUNCTION refuse()"
                )
            )

        def add(connection: Connection) -> None:
            attempts.append(len(attempts))
            images.add(connection, image(f"attempt{len(attempts)}", name="refused" if len(attempts) < 3 else "kept"))

        await catalogue.write(prepare)
        await catalogue.write(add)
        assert await ids(catalogue) == {"attempt3"}

    quoted = refuse.replace("'", "''")
    tell(loop, postgresql_database, story)
    assert attempts == [0, 1, 2]


def test_a_server_that_has_become_a_standby_is_left_for_another(loop: asyncio.Runner, postgresql_database: str) -> None:
    servers: list[int] = []

    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        def add(connection: Connection) -> None:
            servers.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            if len(servers) == 1:
                connection.execute(text("SET TRANSACTION READ ONLY"))
            images.add(connection, image())

        await catalogue.write(add)
        assert await ids(catalogue) == {"one"}

    tell(loop, postgresql_database, story)
    assert len(set(servers)) == 2


def test_a_server_that_hangs_is_unavailable_in_bounded_time_and_used_again_when_it_goes_on(
    loop: asyncio.Runner, postgresql_database: str
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await asyncio.gather(*(catalogue.write(images.add, image(f"i{number}")) for number in range(9)))
        wire.hang()

        calls = [catalogue.write(images.add, image(f"hung{number}")) for number in range(30)]
        outcomes = await asyncio.gather(*calls, *(catalogue.read(ping) for _ in range(30)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {Unavailable, ReadTimeout}
        wire.go_on()

        await catalogue.write(images.add, image("after"))
        assert await ids(catalogue) == {"after", *(f"i{number}" for number in range(9))}

    tell(loop, postgresql_database, story, Limits(seconds=0.5, read_seconds=0.5))


def test_while_one_asks_a_server_that_hangs_the_others_are_refused_at_once(
    loop: asyncio.Runner, postgresql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await catalogue.read(ping)
        wire.hang()
        wire.cut()
        with pytest.raises(Unavailable):
            await catalogue.read(ping)
        wire.holds.clear()
        asking = asyncio.create_task(catalogue.read(ping))
        await wire.holds.wait()

        for run in (catalogue.read, catalogue.write) * 100:
            with pytest.raises(Unavailable):
                await run(ping)
        assert not asking.done()
        wire.go_on()

        await asking
        await catalogue.read(ping)

    monkeypatch.setattr(hosts, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(hosts, "CONNECT_SECONDS", 1)
    tell(loop, postgresql_database, story)


def test_who_would_wait_behind_too_many_is_refused_at_once(loop: asyncio.Runner, postgresql_database: str) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await catalogue.write(images.add, image())
        wire.hang()
        first = [asyncio.create_task(catalogue.write(images.add, image(f"i{number}"))) for number in range(5)]
        await asyncio.sleep(0)

        with pytest.raises(Unavailable, match="busy"):
            await catalogue.write(images.add, image("late"))
        assert not any(task.done() for task in first)
        wire.go_on()
        await asyncio.gather(*first)

        assert await ids(catalogue) == {"one", "i0", "i1", "i2", "i3", "i4"}

    tell(loop, postgresql_database, story, Limits(writers=2, waiting=4))  # One caller has one of two.


def test_a_request_that_nobody_waits_for_any_more_leaves_nothing_behind(
    loop: asyncio.Runner, postgresql_database: str
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await catalogue.write(images.add, image())
        wire.hang()
        abandoned = [asyncio.create_task(catalogue.write(images.add, image(f"i{number}"))) for number in range(6)]
        await wire.holds.wait()
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        wire.go_on()

        await asyncio.gather(*(catalogue.write(images.add, image(f"after{number}")) for number in range(6)))
        assert await ids(catalogue) == {"one", *(f"after{number}" for number in range(6))}

    tell(loop, postgresql_database, story, Limits(writers=2))


def test_the_next_of_several_servers_is_asked_when_one_is_not_there(
    loop: asyncio.Runner, postgresql_database: str
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await catalogue.write(images.add, image())
        wire.cut()
        assert await ids(catalogue) == {"one"}

    tell(loop, postgresql_database, story, others=f"127.0.0.1:{free_port()},")


def test_a_server_that_is_away_is_not_flooded_with_attempts(
    loop: asyncio.Runner, postgresql: PostgreSQL, postgresql_database: str
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        await catalogue.write(images.add, image())
        await asyncio.to_thread(postgresql.close_door, postgresql_database)
        before = wire.connections
        for _ in range(3):
            outcomes = await asyncio.gather(*(catalogue.read(ping) for _ in range(200)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
        # One connection each while it was still thought to be there, then one at a time for all who wait.
        assert wire.connections - before < 60
        await asyncio.to_thread(postgresql.open_door, postgresql_database)

        assert await ids(catalogue) == {"one"}

    tell(loop, postgresql_database, story)


def test_old_connections_are_replaced(
    loop: asyncio.Runner, postgresql_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(catalogue: ServerCatalogue, wire: Wire) -> None:
        for _ in range(3):
            await catalogue.read(ping)
        assert wire.connections == 3

    monkeypatch.setattr("glance_registry.catalogue.postgresql.pool.RECYCLE_SECONDS", 0)
    tell(loop, postgresql_database, story)
