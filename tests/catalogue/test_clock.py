# SPDX-License-Identifier: Apache-2.0
"""The times of changes: later than those of the changes before, whatever the clocks say."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, IMAGES, NOON, after_noon, image
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.catalogue import clock, images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.clock import MAX_LEAD, NEWEST, NEWEST_UNTIL
from glance_registry.catalogue.images import ImageRecord
from glance_registry.model.changes import Delete, SetField
from glance_registry.model.status import DELETED

BACK = timedelta(minutes=10)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def now() -> Clock:
    return Clock()


@pytest.fixture
def set_back(database: str, now: Clock) -> Iterator[Client]:
    """A registry whose clock goes back after its first image was registered."""
    client = Client(make_settings(database, registry__contract="queens"), now=now)
    client.add(id="0" * 32)
    now.time = NOON - BACK
    yield client
    client.close()


def changed_since(client: Client, time: str) -> list[str]:
    listed = client.get("/images/detail", params={"changes-since": time})
    assert listed.status_code == 200, listed.text
    return [found["id"] for found in listed.json()["images"]]


def newest(client: Client) -> str:
    listed = client.get("/images/detail", params={"changes-since": "2000-01-01T00:00:00"})
    return max(image["updated_at"] for image in listed.json()["images"])


@pytest.mark.parametrize("kind", ["register", "update", "patch", "delete", "v2 delete"])
def test_a_change_is_found_by_who_has_seen_the_one_before_it(set_back: Client, kind: str) -> None:
    other = set_back.add(id="1" * 32)["id"]
    seen = newest(set_back)

    match kind:
        case "register":
            other = set_back.register(visibility="public")["id"]
        case "update":
            set_back.put(f"/images/{other}", {"image": {"min_ram": 5}})
        case "patch":
            set_back.patch(other, {"op": "replace", "path": "/name", "value": "new"})
        case "delete":
            set_back.delete(f"/images/{other}")
        case "v2 delete":
            set_back.delete(f"/v2/images/{other}")

    assert changed_since(set_back, seen) == [other]


def test_a_deletion_is_no_earlier_than_the_change_before_it(set_back: Client) -> None:
    set_back.delete(f"/v2/images/{'0' * 32}")

    (gone,) = set_back.get("/images/detail?deleted=true").json()["images"]
    assert gone["created_at"] < gone["deleted_at"] == gone["updated_at"]


def test_a_clock_that_was_far_ahead_is_not_followed_and_is_in_the_log_once(
    loop: asyncio.Runner, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    far = NOON + MAX_LEAD + timedelta(days=365)
    loop.run(catalogue.write(images.add_all, [ImageRecord(image("far")), ImageRecord(image("near", at=60_000_000))]))
    loop.run(catalogue.write(images.change, "far", [SetField("name", "a")], far, ADMIN, IMAGES))
    clock._warned.clear()

    with caplog.at_level(logging.WARNING):
        first = loop.run(catalogue.write(images.change, "near", [SetField("name", "b")], NOON, ADMIN, IMAGES))
        again = loop.run(catalogue.write(images.change, "near", [SetField("name", "c")], NOON, ADMIN, IMAGES))
        own = loop.run(catalogue.write(images.change, "far", [Delete(DELETED)], NOON, ADMIN, IMAGES))

    assert (first.updated_at, again.updated_at) == (after_noon(60_000_001), after_noon(60_000_002))
    assert own.updated_at == own.deleted_at == far
    assert [record.message[:60] for record in caplog.records] == [
        "an image was changed at a time far ahead of this machine's c"
    ]


def test_the_newest_change_is_one_entry_of_an_index(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    def plans(connection: Connection) -> list[str]:
        if connection.dialect.name == "sqlite":
            explain = "EXPLAIN QUERY PLAN "
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN "
        found = []
        for statement in (NEWEST, NEWEST_UNTIL):
            sql = str(statement.compile(connection, compile_kwargs={"literal_binds": False}))
            parameters = (5,) if statement is NEWEST_UNTIL else ()
            rows = connection.exec_driver_sql(explain + sql, parameters).all()
            found.append("\n".join(str(row) for row in rows))
        return found

    for plan in loop.run(catalogue.write(plans)):
        assert "images_updated_at" in plan
        assert "SEARCH" in plan or "Limit" in plan
