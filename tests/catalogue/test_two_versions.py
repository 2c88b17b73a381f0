# SPDX-License-Identifier: Apache-2.0
"""Two releases over one schema: an older program runs until it is replaced, whatever today's steps have added.

The next release is not there yet, so its step is one of our own making, which adds what a step may add.
"""

import threading
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.exc import SAWarning
from tests.catalogue.examples import NOON, upgrade
from tests.catalogue.test_migrations import STEPS, execute, rows, run, state
from tests.conftest import Client
from tests.options import make_settings
from tests.processes import Server, free_port, run_program

from glance_registry.catalogue import schema
from glance_registry.catalogue.purge import purge
from glance_registry.model.errors import Conflict

TOMORROW = (
    "ALTER TABLE images ADD COLUMN note VARCHAR(20)",
    "ALTER TABLE images ADD COLUMN grade INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE image_members ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'none'",
    "CREATE TABLE notes (image_number BIGINT PRIMARY KEY, note VARCHAR(20))",
    "CREATE INDEX images_grade ON images (grade, created_at)",
)


def step_to_tomorrow(connection: Connection, since: str = schema.HEAD) -> None:
    for statement in TOMORROW:
        execute(connection, statement)
    execute(connection, f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999', compatible_since = '{since}'")


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    client = Client(make_settings(database, registry__contract="queens"))
    yield client
    client.close()


def test_a_program_that_runs_while_the_schema_moves_on_goes_on_working(client: Client, database: str) -> None:
    older = [client.add(name=f"older{number}", properties={"a": "1"}) for number in range(3)]
    assert client.put(f"/images/{older[0]['id']}/members/p1").status_code == 204
    assert len(client.names("sort_key=name")) == 3

    client.operate(step_to_tomorrow)

    newer = client.add(name="newer", properties={"a": "1", "b": "2"})
    assert client.show(older[0]["id"]) == older[0]
    changed = client.put(f"/images/{older[1]['id']}", {"image": {"properties": {"a": "2"}}})
    assert changed.json()["image"]["properties"] == {"a": "2"}
    assert client.put(f"/images/{newer['id']}/members/p1", {"member": {"can_share": True}}).status_code == 204
    assert client.put(f"/images/{newer['id']}/members", {"memberships": [{"member_id": "p2"}]}).status_code == 204
    assert client.get(f"/images/{newer['id']}/members").json()["members"][0]["member_id"] == "p2"
    for key in ("id", "name", "status", "size", "disk_format", "container_format", "created_at", "updated_at"):
        assert len(client.names(f"sort_key={key}")) == 4
    assert client.names("property-a=1&sort_key=name&sort_dir=asc") == ["newer", "older0", "older2"]
    assert client.delete(f"/images/{older[2]['id']}").status_code == 200
    now = NOON + timedelta(days=100_000)
    assert client.operate(purge, now, now, 10) == 1
    assert len(client.names()) == 3
    assert client.operate(rows, "SELECT DISTINCT grade, note FROM images") == [(0, None)]


@pytest.mark.external
def test_an_older_program_starts_over_a_newer_schema_that_it_works_with(database: str, tmp_path: Path) -> None:
    run(database, step_to_tomorrow)

    assert state(database) is schema.State.FITTING
    upgrade(database)
    assert run(database, rows, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [("9999",)]
    checked = run_program(tmp_path, "db", "check", "--database", database)
    assert (checked.returncode, checked.stderr) == (0, "")
    with Server(tmp_path, database) as server:
        server.add(name="kept")
        assert server.stop() == 0
    purged = run_program(tmp_path, "db", "purge", "--older-than", "0", "--database", database)
    assert (purged.returncode, purged.stdout) == (0, "Purged 0 images.\n")


@pytest.mark.external
@pytest.mark.parametrize("since", ["9999", None])
def test_an_older_program_does_not_start_over_a_schema_that_is_too_new_for_it(
    database: str, tmp_path: Path, since: str | None
) -> None:
    run(database, step_to_tomorrow, "9999")
    if since is None:
        run(database, execute, f"ALTER TABLE {schema.VERSION_TABLE} DROP COLUMN compatible_since")

    assert state(database) is schema.State.NEWER
    with pytest.raises(Conflict, match="newer release"):
        upgrade(database)
    assert run(database, rows, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [("9999",)]
    started = run_program(tmp_path, "serve", "--port", str(free_port()), "--database", database)
    assert started.returncode == 1
    assert "newer release" in started.stderr


def test_writers_do_not_notice_a_step(postgresql_database: str, tmp_path: Path) -> None:
    with Server(tmp_path, postgresql_database) as first, Server(tmp_path, postgresql_database) as second:
        stopped = threading.Event()
        statuses: list[int] = []

        def write(server: Server) -> None:
            image_id = server.add(properties={"a": "1"})["id"]
            while not stopped.is_set():
                statuses.append(server.http.put(f"/images/{image_id}", json={"image": {"min_ram": 1}}).status_code)

        writers = [threading.Thread(target=write, args=[server]) for server in (first, second)]
        for writer in writers:
            writer.start()
        run(postgresql_database, step_to_tomorrow)
        before = len(statuses)
        while len(statuses) < before + 50:
            assert any(writer.is_alive() for writer in writers)
        stopped.set()
        for writer in writers:
            writer.join()

    assert set(statuses) == {200}


Shape = dict[str, Any]


def shape(connection: Connection) -> Shape:
    """What statements of an older program rely on, or may be refused by."""
    inspector = inspect(connection)
    found: Shape = {}
    for table in set(inspector.get_table_names()) - {schema.VERSION_TABLE}:
        for column in inspector.get_columns(table):
            length = getattr(column["type"], "length", None)
            needed = not column["nullable"] and column["default"] is None and column.get("autoincrement") is not True
            found[f"{table}.{column['name']}"] = (type(column["type"]).__name__, length, needed)
        for name in constraints(inspector, table):
            found[f"{table}: constraint {name}"] = True
    return found


def constraints(inspector: Inspector, table: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # It skips expression indexes of SQLite; ours are not unique.
        unique = [index for index in inspector.get_indexes(table) if index["unique"]]
        named = (*unique, *inspector.get_unique_constraints(table), *inspector.get_check_constraints(table))
    keys = inspector.get_foreign_keys(table)
    return [str(found["name"]) for found in named] + [str(key["constrained_columns"]) for key in keys]


def breaks(before: Shape, after: Shape) -> list[str]:
    """What an older program's statements would trip over after a step."""
    tables = {name.partition(".")[0].partition(":")[0] for name in before}
    gone = [name for name, what in before.items() if after.get(name) != what]
    new = {name: what for name, what in after.items() if name not in before}
    own = {name: what for name, what in new.items() if name.partition(".")[0].partition(":")[0] in tables}
    demanded = [name for name, what in own.items() if what is True or what[2]]
    return sorted(gone + demanded)


def test_steps_that_older_programs_survive_only_add_what_these_do_not_notice(empty_database: str) -> None:
    assert schema.COMPATIBLE_SINCE in STEPS
    broken: dict[str, list[str]] = {}
    before: Shape = {}
    for step in STEPS:
        upgrade(empty_database, step)
        after = run(empty_database, shape)
        broken[step] = breaks(before, after)
        before = after

    assert before
    assert {step: why for step, why in broken.items() if why and step > schema.COMPATIBLE_SINCE} == {}


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE images DROP COLUMN min_ram", ["images.min_ram"]),
        ("ALTER TABLE images RENAME COLUMN min_ram TO ram", ["images.min_ram", "images.ram"]),
        ("ALTER TABLE images ADD COLUMN needed INTEGER NOT NULL", ["images.needed"]),
        ("ALTER TABLE images ALTER COLUMN owner TYPE VARCHAR(10)", ["images.owner"]),
        ("ALTER TABLE images ALTER COLUMN name SET NOT NULL", ["images.name"]),
        ("ALTER TABLE images ADD CHECK (min_ram < 5)", ["images: constraint images_min_ram_check"]),
        ("CREATE UNIQUE INDEX one_name ON images (name)", ["images: constraint one_name"]),
        ("DROP TABLE tombstones", ["tombstones.id", "tombstones.purged_at"]),
    ],
)
def test_a_step_that_does_more_than_add_is_found(postgresql_database: str, statement: str, found: list[str]) -> None:
    before = run(postgresql_database, shape)

    run(postgresql_database, execute, statement)

    assert breaks(before, run(postgresql_database, shape)) == found


def test_what_tomorrow_s_step_adds_is_found_harmless(database: str) -> None:
    before = run(database, shape)

    run(database, step_to_tomorrow)

    assert breaks(before, run(database, shape)) == []
