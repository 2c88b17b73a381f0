# SPDX-License-Identifier: Apache-2.0
"""How many statements an operation sends: a constant, whatever the size of a page or of an image, on both databases."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, event
from tests.catalogue.examples import ADMIN, IMAGES, REGISTRY, after_noon, everything, image, ping

from glance_registry.catalogue import images, statements
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.statements import driver as sqlite_driver
from glance_registry.model.changes import Change, Delete, SetField, SetProperties, SetTags
from glance_registry.model.contract import CACTUS
from glance_registry.model.image import Location

MANY = {f"p{number}": "x" for number in range(100)}
PLACES = tuple(Location(f"http://store/{number}", {}, "active", number) for number in range(1, 50))


class Recorder:
    """A driver's connection that notes what it is given."""

    def __init__(self, inner: Any, sent: list[str]) -> None:
        self._inner, self._sent = inner, sent

    def __getattr__(self, name: str) -> Any:
        def run(sql: str, *values: Any) -> Any:
            self._sent.append(sql)
            return getattr(self._inner, name)(sql, *values)

        return run


def counted(connection: Connection, operation: Callable[..., Any], *args: Any) -> int:
    """Run an operation and say how many statements were sent; many rows of one INSERT are one."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    try:
        with patch.object(statements, "driver", lambda connection: Recorder(sqlite_driver(connection), sent)):
            operation(connection, *args)
    finally:
        event.remove(connection, "before_cursor_execute", note)
    return len(sent)


def seen_by_driver(connection: Connection, operation: Callable[..., Any], *args: Any) -> int:
    """Run an operation and say how many statements the driver was given, by whomever."""
    sent: list[Any] = []
    if connection.dialect.name == "sqlite":
        sqlite_driver(connection).set_trace_callback(sent.append)
        operation(connection, *args)
        sqlite_driver(connection).set_trace_callback(None)
    else:
        before = _statements_so_far(connection)
        own = _statements_so_far(connection) - before
        operation(connection, *args)
        sent = [None] * (_statements_so_far(connection) - before - 2 * own)
    return len(sent)


def _statements_so_far(connection: Connection) -> int:
    """The server's own count: in autocommit mode every statement is a transaction."""
    connection.exec_driver_sql("SELECT pg_stat_force_next_flush()").close()
    connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()").close()
    found = connection.exec_driver_sql("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(found.scalar_one())


@pytest.fixture
def kept(loop: asyncio.Runner, catalogue: Catalogue) -> Catalogue:
    async def fill() -> None:
        await catalogue.write(images.add, image("small"))
        await catalogue.write(images.add, image("large", at=1, properties=MANY, locations=PLACES))
        for number in range(30):
            await catalogue.write(images.add, image(f"i{number}", at=2 + number, properties={"a": "1", "b": "2"}))

    loop.run(fill())
    return catalogue


@pytest.mark.parametrize("image_id", ["small", "large"])
def test_a_point_read_is_one_statement(loop: asyncio.Runner, kept: Catalogue, image_id: str) -> None:
    assert loop.run(kept.read(seen_by_driver, images.get, image_id, ADMIN, CACTUS)) == 1


def test_a_ping_is_one_statement(loop: asyncio.Runner, kept: Catalogue) -> None:
    assert loop.run(kept.read(seen_by_driver, ping)) == 1


@pytest.mark.parametrize("limit", [0, 1, 5, 1000])
def test_a_page_is_one_statement_and_with_a_marker_two(loop: asyncio.Runner, kept: Catalogue, limit: int) -> None:
    assert loop.run(kept.read(seen_by_driver, images.find, everything(limit), ADMIN)) == 1
    assert loop.run(kept.read(seen_by_driver, images.find, everything(limit, "i20"), ADMIN)) == 2


def test_an_image_is_added_with_as_many_statements_however_large_it_is(loop: asyncio.Runner, kept: Catalogue) -> None:
    plain = loop.run(kept.write(counted, images.add, image("a")))
    small = loop.run(kept.write(counted, images.add, image("b", properties={"a": "1"})))
    large = loop.run(kept.write(counted, images.add, image("c", properties=MANY, locations=PLACES)))

    assert (plain, small, large) == (3, 4, 4)


@pytest.mark.parametrize("image_id", ["small", "large"])
def test_a_change_takes_as_many_statements_however_large_the_image_is(
    loop: asyncio.Runner, kept: Catalogue, image_id: str
) -> None:
    renamed, described = SetField("name", "new"), SetProperties({f"n{number}": "" for number in range(20)})

    def change(connection: Connection, wanted: Change) -> None:
        images.change(connection, image_id, [wanted], after_noon(99), ADMIN, REGISTRY)

    assert loop.run(kept.write(counted, change, renamed)) == 3
    assert loop.run(kept.write(counted, change, described)) == 4


@pytest.mark.parametrize("image_id", ["small", "large"])
def test_a_revision_takes_as_many_statements_however_large_the_image_is(
    loop: asyncio.Runner, kept: Catalogue, image_id: str
) -> None:
    def revise(connection: Connection, *changes: Change) -> None:
        images.change(connection, image_id, changes, after_noon(99), ADMIN, IMAGES)

    tags = SetTags(tuple(f"t{number}" for number in range(20)))

    assert loop.run(kept.write(counted, revise, SetField("name", "new"))) == 3
    assert loop.run(kept.write(counted, revise, SetField("name", "new"))) == 1  # It changes nothing.
    assert loop.run(kept.write(counted, revise, tags)) == 4


def test_a_removal_takes_as_many_statements_however_large_the_image_is(loop: asyncio.Runner, kept: Catalogue) -> None:
    removals = [
        loop.run(kept.write(counted, images.change, image_id, [Delete()], after_noon(99), ADMIN, REGISTRY))
        for image_id in ("i1", "large")
    ]

    assert removals == [4, 4]
