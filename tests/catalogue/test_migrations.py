# SPDX-License-Identifier: Apache-2.0
"""From every older schema to today's, on both databases, with what is in them."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, text
from tests.catalogue.examples import upgrade
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.catalogue import migrations, schema
from glance_registry.catalogue.integrity.check import Fault, check
from glance_registry.catalogue.listing.indexes import metadata
from glance_registry.catalogue.listing.property_index import search_key
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.purge import purge
from glance_registry.catalogue.snapshot import snapshot
from glance_registry.model.errors import Conflict


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    return ScriptDirectory.from_config(config)


STEPS = sorted(script.revision for script in _scripts().walk_revisions())
OLD_STEPS = STEPS[:-1]

# As the release of step 0001 wrote them.
INSERT = (
    "INSERT INTO images (id, version, created_at, updated_at, deleted_at, name, status, visibility, disk_format,"
    " container_format, size, min_disk, min_ram, protected, properties, locations) VALUES (:id, 3, :at, :at,"
    " :deleted_at, :name, 'active', 'public', 'raw', 'bare', 7, 1, 2, :protected, :properties, :locations)"
)
LOCATIONS = '[{"url":"http://store/1","metadata":{},"status":"active","id":1}]'


def run(url: str, operation: Any, *args: Any) -> Any:
    async def once() -> Any:
        catalogue = open_catalogue(url)
        try:
            return await catalogue.write(operation, *args)
        finally:
            await catalogue.close()

    return asyncio.run(once())


def execute(connection: Connection, statement: str, rows: Any = None) -> None:
    connection.execute(text(statement), rows)


def rows(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(text(statement))]


def index_properties(connection: Connection) -> None:
    """What releases from step 0003 on write beside an image."""
    for number, created_at, document in rows(connection, "SELECT number, created_at, properties FROM images"):
        for name, value in json.loads(document).items():
            entry = {"name": name, "value": search_key(value), "created_at": created_at, "number": number}
            execute(connection, "INSERT INTO image_properties VALUES (:name, :value, :created_at, :number)", entry)


def fill(url: str, count: int) -> None:
    """Images of an old release: one in ten deleted, with properties, one of them long."""
    run(
        url,
        execute,
        INSERT,
        [
            {
                "id": f"i{number}",
                "at": 1_302_868_800_000_000 + number,
                "deleted_at": 1_302_868_900_000_000 if number % 10 == 9 else None,
                "name": f"natty ä {number}",
                "protected": number % 2 == 0,
                "properties": json.dumps({"arch": "x86_64", "number": str(number), "long": "ä" * 1000}),
                "locations": LOCATIONS,
            }
            for number in range(count)
        ],
    )


def faults(url: str) -> list[Fault]:
    found: list[Fault] = []
    asyncio.run(snapshot(url, check, found.append))
    return found


def state(url: str) -> schema.State:
    return asyncio.run(schema.state(url))


def test_today_s_schema_is_the_newest_step_and_the_steps_are_one_row() -> None:
    scripts = _scripts()

    assert scripts.get_heads() == [schema.HEAD]
    assert scripts.get_bases() == [STEPS[0]]
    assert [scripts.get_revision(step).down_revision for step in STEPS[1:]] == OLD_STEPS
    assert all(Path(scripts.get_revision(step).path).name.startswith(f"{step}_") for step in STEPS)


# In full, since Alembic compares no collations, partial or expression indexes, and no WITHOUT ROWID.
COLUMNS = """
    SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, collation_name, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> :own"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> :own"
# A column that a step has added stands elsewhere in a table's text: hence not the text.
SQLITE_COLUMNS = """
    SELECT tables.name, columns.name, columns.type, columns."notnull", columns.dflt_value, columns.pk
    FROM sqlite_master AS tables, pragma_table_xinfo(tables.name) AS columns
    WHERE tables.type = 'table' AND tables.name <> :own"""
SQLITE_TABLES = "SELECT name, wr, strict FROM pragma_table_list WHERE name <> :own AND name NOT LIKE 'sqlite_schema%'"
SQLITE_INDEXES = "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name <> :own"
IN_FULL = {
    "sqlite": (SQLITE_COLUMNS, SQLITE_TABLES, SQLITE_INDEXES),
    "postgresql": (COLUMNS, INDEXES),
}


def details(connection: Connection) -> list[str]:
    kind = connection.dialect.name
    found = [connection.execute(text(query), {"own": schema.VERSION_TABLE}) for query in IN_FULL[kind]]
    return sorted(" ".join(" ".join(map(str, row)).split()) for result in found for row in result)


def test_the_migrated_schema_is_the_one_of_the_tables_in_every_detail(
    empty_database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kind = "sqlite" if empty_database.startswith("sqlite") else "postgresql"
    created = f"sqlite:///{tmp_path / 'other'}" if kind == "sqlite" else request.getfixturevalue("postgresql").create()
    upgrade(empty_database)
    run(created, metadata.create_all)

    assert run(empty_database, details) == run(created, details)


# The statements of each step as its release ran them on an empty database. Never edit them: that a step still runs
# the same ones is what the first test below asserts.
SQL = Path(__file__).parent / "steps"
CHANGES = re.compile(r"\s*(CREATE|ALTER|DROP|INSERT|UPDATE)\b")


def own_sql(database: str, step: str) -> list[str]:
    kind = "sqlite" if database.startswith("sqlite") else "postgresql"
    return (SQL / f"{step}.{kind}.sql").read_text().removesuffix("\n").split("\n--\n")


def test_each_step_still_runs_the_statements_of_its_release(empty_database: str) -> None:
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if CHANGES.match(statement) and "compatible_since" not in statement:
            lines = statement.strip().replace("\t", "    ").splitlines()
            sent.append("\n".join(line.rstrip() for line in lines))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        upgrade(empty_database)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert sent == [statement for step in STEPS for statement in own_sql(empty_database, step)]


@pytest.mark.parametrize("step", STEPS)
def test_a_database_made_by_each_step_s_own_sql_ends_at_today_s_schema(
    empty_database: str, step: str, make_database: Callable[[str], str]
) -> None:
    def make(connection: Connection) -> None:
        for each in STEPS[: STEPS.index(step) + 1]:
            for statement in own_sql(empty_database, each):
                connection.exec_driver_sql(statement).close()

    run(empty_database, make)
    fill(empty_database, 12)
    if step >= "0003":
        run(empty_database, index_properties)

    upgrade(empty_database)

    client = Client(make_settings(empty_database))
    assert client.show("i0")["properties"] == {"arch": "x86_64", "number": "0", "long": "ä" * 1000}
    assert len(client.get("/images", params={"property-long": "ä" * 1000}).json()["images"]) == 11
    searched = client.get("/v2/images", params={"q": "natty 5"}).json()["images"]
    assert [image["id"] for image in searched] == ["i5"]
    client.close()
    today = make_database("sqlite" if empty_database.startswith("sqlite") else "postgresql")
    assert run(empty_database, details) == run(today, details)


@pytest.mark.parametrize("step", OLD_STEPS)
def test_an_old_database_with_images_walks_to_today_and_is_served(empty_database: str, step: str) -> None:
    upgrade(empty_database, step)
    fill(empty_database, 12)
    if step >= "0003":
        run(empty_database, index_properties)
    assert state(empty_database) is schema.State.OLD

    upgrade(empty_database)

    assert state(empty_database) is schema.State.CURRENT
    assert faults(empty_database) == []
    client = Client(make_settings(empty_database))
    shown = client.show("i0")
    assert (shown["name"], shown["size"], shown["location"]) == ("natty ä 0", 7, "http://store/1")
    assert (shown["created_at"], shown["protected"]) == ("2011-04-15T12:00:00.000000", True)
    listed = [image["id"] for image in client.get("/images").json()["images"]]
    assert listed == [f"i{number}" for number in range(11, -1, -1) if number != 9]
    assert [image["id"] for image in client.get("/images?property-number=5").json()["images"]] == ["i5"]
    assert len(client.get("/images", params={"property-long": "ä" * 1000}).json()["images"]) == 11
    assert client.put("/images/i0", {"image": {"properties": {"arch": "arm"}}}).status_code == 200
    assert client.delete("/images/i1").status_code == 200
    assert client.post("/images", {"image": {"id": "i9"}}).status_code in (400, 409)
    client.add(id="new", properties={"arch": "x86_64"})
    client.close()
    assert faults(empty_database) == []
    run(empty_database, purge, datetime.now(UTC), datetime.now(UTC), 100)
    assert run(empty_database, rows, "SELECT name FROM image_properties WHERE image_number = 10") == []
    assert faults(empty_database) == []


def test_a_large_old_database_loses_no_image_and_no_property(empty_database: str) -> None:
    upgrade(empty_database, STEPS[0])
    fill(empty_database, 2_050)

    upgrade(empty_database)

    images = run(empty_database, rows, "SELECT count(*) FROM images")
    indexed = run(empty_database, rows, "SELECT name, count(*) FROM image_properties GROUP BY name ORDER BY name")
    assert images == [(2_050,)]
    assert indexed == [("arch", 2_050), ("long", 2_050), ("number", 2_050)]


def test_an_upgrade_of_today_s_database_changes_nothing(database: str) -> None:
    client = Client(make_settings(database))
    image = client.add(properties={"a": "1"})
    upgrade(database)

    assert client.show(image["id"]) == image
    client.close()


def test_a_step_that_fails_takes_the_whole_walk_back(empty_database: str) -> None:
    upgrade(empty_database, STEPS[0])
    fill(empty_database, 3)
    run(empty_database, execute, "CREATE TABLE image_members (mine INTEGER)")

    with pytest.raises(Exception, match="image_members"):
        upgrade(empty_database)

    assert run(empty_database, rows, f"SELECT version_num FROM {schema.VERSION_TABLE}") == [(STEPS[0],)]
    with pytest.raises(Exception, match="tombstones"):
        run(empty_database, rows, "SELECT * FROM tombstones")
    run(empty_database, execute, "DROP TABLE image_members")
    upgrade(empty_database)
    assert state(empty_database) is schema.State.CURRENT


@pytest.mark.parametrize("table", ["images", "image_members", "tombstones"])
def test_another_program_s_database_is_refused_and_left_alone(empty_database: str, table: str) -> None:
    run(empty_database, execute, f"CREATE TABLE {table} (theirs INTEGER)")

    assert state(empty_database) is schema.State.FOREIGN
    with pytest.raises(Conflict, match="another program"):
        upgrade(empty_database)
    assert run(empty_database, rows, f"SELECT theirs FROM {table}") == []


def test_the_states_of_a_database_are_told_apart(empty_database: str) -> None:
    assert state(empty_database) is schema.State.EMPTY
    for step in STEPS:
        upgrade(empty_database, step)
        assert state(empty_database) is (schema.State.CURRENT if step == STEPS[-1] else schema.State.OLD)


@pytest.mark.external
@pytest.mark.parametrize("from_step", [None, STEPS[0]])
def test_of_processes_that_upgrade_at_once_all_succeed(empty_database: str, from_step: str | None) -> None:
    if from_step:
        upgrade(empty_database, from_step)
        fill(empty_database, 50)

    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        for upgraded in [processes.submit(upgrade, empty_database) for _ in range(6)]:
            upgraded.result()

    assert state(empty_database) is schema.State.CURRENT
    assert len(run(empty_database, rows, "SELECT id FROM images")) == (50 if from_step else 0)


def test_an_upgrade_waits_for_who_is_writing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'busy.sqlite'}"
    upgrade(url, STEPS[0])
    other = sqlite3.connect(tmp_path / "busy.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def both() -> None:
        upgrading = asyncio.get_running_loop().run_in_executor(None, upgrade, url)
        done, _ = await asyncio.wait([upgrading], timeout=0.2)
        assert not done
        other.execute("COMMIT")
        await upgrading

    asyncio.run(both())
    other.close()

    assert state(url) is schema.State.CURRENT
