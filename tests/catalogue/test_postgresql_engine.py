# SPDX-License-Identifier: Apache-2.0
"""What is special about the catalogue on a server: transactions that it wants run again, connections that it cuts."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Integer, String, bindparam, cast, select, text
from sqlalchemy.exc import DBAPIError
from tests.catalogue.examples import ADMIN, REGISTRY, after_noon, everything, ids, image, ping
from tests.conftest import PostgreSQL, opened
from tests.processes import free_port

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.statements import Prepared
from glance_registry.catalogue.tables import images as images_table
from glance_registry.model.changes import SetField, SetProperties
from glance_registry.model.contract import CACTUS
from glance_registry.model.errors import StorageFull, Unavailable
from glance_registry.model.image import Image


@pytest.fixture
def server(loop: asyncio.Runner, postgresql_database: str) -> Iterator[Catalogue]:
    with opened(loop, postgresql_database) as catalogue:
        yield catalogue


def kept(loop: asyncio.Runner, catalogue: Catalogue) -> set[str]:
    return loop.run(ids(catalogue))


def raise_state(connection: Connection, state: str) -> None:
    """Let the server fail with an SQLSTATE."""
    connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'wanted' USING ERRCODE = '{state}'; END $$"))


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_that_the_server_wants_again_is_run_again(
    loop: asyncio.Runner, server: Catalogue, state: str
) -> None:
    attempts: list[int] = []

    def add_at_third_attempt(connection: Connection) -> Image:
        attempts.append(len(attempts))
        added = images.add(connection, image())
        if len(attempts) < 3:
            raise_state(connection, state)
        return added

    assert loop.run(server.write(add_at_third_attempt)) == image()
    assert len(attempts) == 3
    assert kept(loop, server) == {"one"}


def test_a_prepared_statement_that_fails_says_why(loop: asyncio.Runner, server: Catalogue) -> None:
    number = Prepared(select(cast(bindparam("text", type_=String), Integer)))

    def fail_in_transaction(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        with pytest.raises(DBAPIError) as refused:
            number.all(connection, {"text": "not a number"})
        assert refused.value.orig is not None
        assert getattr(refused.value.orig, "sqlstate", None) == "22P02"
        raise refused.value

    with pytest.raises(DBAPIError, match="not a number"):
        loop.run(server.write(fail_in_transaction))


ANOTHER_TYPE = "ALTER TABLE images ALTER COLUMN min_ram TYPE BIGINT"
"""The results of all statements that were prepared before it are outdated."""


async def migrate(database: str) -> None:
    """As another process does."""
    other = open_catalogue(database)
    await other.write(execute, ANOTHER_TYPE)
    await other.close()


def execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


def test_statements_that_were_prepared_before_the_schema_changed_are_prepared_anew(
    loop: asyncio.Runner, server: Catalogue, postgresql_database: str
) -> None:
    def count_twice(connection: Connection) -> int:
        """In a transaction, and with a statement that SQLAlchemy sends."""
        connection.execute(select(images_table)).all()
        return len(images.find(connection, everything(), ADMIN))

    def change(ram: int) -> Image:
        return loop.run(server.write(images.change, "one", [SetField("min_ram", ram)], after_noon(1), ADMIN, REGISTRY))

    loop.run(server.write(images.add, image()))
    for run in (server.read, server.write):
        assert loop.run(run(count_twice)) == 1
    for _ in range(2):
        assert change(1).min_ram == 1
        assert loop.run(server.read(images.get, "one", ADMIN)).min_ram == 1
    assert kept(loop, server) == {"one"}

    loop.run(migrate(postgresql_database))

    assert loop.run(server.read(images.get, "one", ADMIN)).min_ram == 1
    assert kept(loop, server) == {"one"}
    assert change(2).min_ram == 2
    for run in (server.read, server.write):
        assert loop.run(run(count_twice)) == 1


def test_a_statement_that_the_schema_has_no_columns_for_any_more_is_sent_once(
    loop: asyncio.Runner, server: Catalogue
) -> None:
    attempts: list[int] = []

    def get(connection: Connection) -> Image:
        attempts.append(len(attempts))
        return images.get(connection, "one", ADMIN)

    loop.run(server.write(images.add, image()))
    assert loop.run(server.read(get)) == image()
    loop.run(server.write(execute, "ALTER TABLE images RENAME COLUMN min_ram TO ram"))

    for run in (server.read, server.write):
        attempts.clear()
        with pytest.raises(DBAPIError, match="min_ram does not exist"):
            loop.run(run(get))
        assert len(attempts) == 1


def test_a_transaction_that_never_succeeds_is_given_up(loop: asyncio.Runner, server: Catalogue) -> None:
    attempts: list[int] = []

    def add_in_vain(connection: Connection) -> None:
        attempts.append(len(attempts))
        images.add(connection, image())
        raise_state(connection, "40001")

    with pytest.raises(Unavailable, match="busy"):
        loop.run(server.write(add_in_vain))
    assert 1 < len(attempts) < 20
    assert kept(loop, server) == set()


@pytest.mark.parametrize(
    ("state", "refusal", "sentence"),
    [
        ("53100", StorageFull, "no room left"),
        ("25006", Unavailable, "takes no writes now"),
        ("57P03", Unavailable, "takes no writes now"),
        ("53300", Unavailable, "does not answer"),
        ("57014", Unavailable, "does not answer"),
        ("08006", Unavailable, "does not answer"),
    ],
)
def test_what_the_server_reports_becomes_an_error_of_ours(
    loop: asyncio.Runner, server: Catalogue, state: str, refusal: type[Exception], sentence: str
) -> None:
    def add_and_fail(connection: Connection) -> None:
        images.add(connection, image())
        raise_state(connection, state)

    with pytest.raises(refusal, match=sentence) as raised:
        loop.run(server.write(add_and_fail))
    assert "wanted" not in str(raised.value)
    assert kept(loop, server) == set()
    loop.run(server.write(images.add, image()))


# Holds its own advisory lock, then goes on once the other transaction holds its lock, too.
MEET = """DO $$ BEGIN
  PERFORM pg_advisory_xact_lock({own});
  FOR attempt IN 1..1000 LOOP
    EXIT WHEN (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid IN (1, 2) AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) = 2;
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$"""


def test_two_changes_in_a_deadlock_both_succeed(loop: asyncio.Runner, server: Catalogue) -> None:
    attempts: list[int] = []

    def change_both(connection: Connection, own: int, first: str, second: str) -> None:
        connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
        changes = [SetProperties({f"by{own}": "x"})]
        images.change(connection, first, changes, after_noon(own), ADMIN, REGISTRY)
        if own not in attempts:
            attempts.append(own)
            connection.execute(text(MEET.format(own=own)))
        else:
            attempts.append(own)
        images.change(connection, second, changes, after_noon(own), ADMIN, REGISTRY)

    async def collide() -> None:
        for image_id in ("a", "b"):
            await server.write(images.add, image(image_id))
        await asyncio.gather(server.write(change_both, 1, "a", "b"), server.write(change_both, 2, "b", "a"))

    loop.run(collide())

    assert sorted(attempts) in ([1, 1, 2], [1, 2, 2])
    for image_id in ("a", "b"):
        changed = loop.run(server.read(images.get, image_id, ADMIN, CACTUS))
        assert changed.properties == {"by1": "x", "by2": "x"}
        assert changed.version == 3


def test_reads_do_not_notice_that_the_server_cut_their_connections(
    loop: asyncio.Runner, server: Catalogue, postgresql: PostgreSQL, postgresql_database: str
) -> None:
    async def read_many() -> list[Image]:
        return await asyncio.gather(*(server.read(images.get, "one", ADMIN, CACTUS) for _ in range(40)))

    loop.run(server.write(images.add, image()))
    loop.run(read_many())  # Now every connection is in use.

    for _ in range(2):
        postgresql.terminate(postgresql_database)
        assert loop.run(server.read(images.get, "one", ADMIN, CACTUS)) == image()
        postgresql.terminate(postgresql_database)
        assert loop.run(read_many()) == [image()] * 40


def test_a_server_that_lets_nobody_in_is_unavailable_until_it_does(
    loop: asyncio.Runner, server: Catalogue, postgresql: PostgreSQL, postgresql_database: str
) -> None:
    loop.run(server.write(images.add, image()))
    postgresql.close_door(postgresql_database)

    for _ in range(3):
        with pytest.raises(Unavailable):
            loop.run(server.read(ping))
        with pytest.raises(Unavailable):
            loop.run(server.write(images.add, image("two")))
    postgresql.open_door(postgresql_database)

    assert loop.run(server.read(images.get, "one", ADMIN, CACTUS)) == image()
    loop.run(server.write(images.add, image("two")))


@pytest.mark.external
@pytest.mark.parametrize(
    "url", ["postgresql://postgres@127.0.0.1:{port}/none", "postgresql://postgres@/none?host=/no/such/folder"]
)
def test_a_server_that_is_not_there_is_unavailable(loop: asyncio.Runner, url: str) -> None:
    async def use() -> None:
        catalogue = open_catalogue(url.format(port=free_port()))
        try:
            await catalogue.read(ping)
        finally:
            await catalogue.close()

    with pytest.raises(Unavailable, match=r"^The database does not answer\.$"):
        loop.run(use())


@pytest.mark.parametrize("change", ["/none?", "/postgres?user=nobody&"])
def test_a_server_that_knows_no_such_database_or_user_is_unavailable(
    loop: asyncio.Runner, postgresql_database: str, change: str
) -> None:
    async def use() -> None:
        catalogue = open_catalogue("postgresql://" + ("" if "user" in change else "postgres@") + change + query)
        try:
            await catalogue.write(images.add, image())
        finally:
            await catalogue.close()

    query = postgresql_database.partition("?")[2]
    with pytest.raises(Unavailable, match=r"^The database does not answer\.$"):
        loop.run(use())


def test_a_failed_operation_leaves_its_connection_usable(loop: asyncio.Runner, server: Catalogue) -> None:
    def fail(connection: Connection) -> None:
        raise_state(connection, "22012")

    async def fail_often() -> None:
        for _ in range(20):
            for run in (server.read, server.write):
                with pytest.raises(Exception, match="wanted"):
                    await run(fail)
        await asyncio.gather(*(server.read(ping) for _ in range(50)))
        await asyncio.gather(*(server.write(images.add, image(f"i{number}")) for number in range(50)))

    loop.run(fail_often())

    assert len(kept(loop, server)) == 50
