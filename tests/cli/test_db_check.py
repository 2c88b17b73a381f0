# SPDX-License-Identifier: Apache-2.0
"""`db check`: what it prints, for people and for programs, and how it ends."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text
from tests.cli.conftest import Invoke

from glance_registry.catalogue import schema
from glance_registry.cli.files import opened_catalogue


def execute(url: str, statement: str) -> None:
    def run(connection: Connection) -> None:
        connection.execute(text(statement))

    with opened_catalogue(url) as (catalogue, runner):
        runner.run(catalogue.write(run))


@pytest.fixture
def damage(invoke: Invoke, database: str) -> Callable[[str], None]:
    """Runs a statement in a catalogue with one image."""
    kind = ("--disk-format", "raw", "--container-format", "bare")
    invoke("image", "add", "--database", database, *kind, "--id", "one", "--property", "a=1")
    return lambda statement: execute(database, statement)


@pytest.mark.usefixtures("damage")
def test_a_sound_database_is_one_line_and_status_0(invoke: Invoke, database: str) -> None:
    result = invoke("db", "check", "--database", database)

    assert result.stdout == (
        f"The database is up to date (schema {schema.HEAD})."
        " Rows: images 1, image_properties 1, image_members 0, tombstones 0, blobs 0, blob_copies 0, uploads 0,"
        " removals 0. Faults: 0.\n"
    )
    assert (result.exit_code, result.stderr) == (0, "")


def test_each_fault_is_a_line_and_the_status_is_1(invoke: Invoke, database: str, damage: Callable[[str], None]) -> None:
    damage("UPDATE images SET version = 0, status = 'l\x1bst'")
    damage("INSERT INTO tombstones VALUES ('one', 1)")

    result = invoke("db", "check", "--database", database)

    *faults, summary = result.stdout.splitlines()
    assert faults == [
        "image one: The version is 0; the first one is 1.",
        "image one: There is no status 'l\\x1bst'.",
        "image one: The image is there although its id was purged.",
    ]
    assert summary.endswith("Faults: 3.")
    assert result.exit_code == 1


def test_json_is_one_object_a_fault_and_one_with_the_counts(
    invoke: Invoke, database: str, damage: Callable[[str], None]
) -> None:
    damage("UPDATE images SET version = 0")
    damage("INSERT INTO image_members (member_id, image_number, can_share) VALUES ('m', 77, true)")

    result = invoke("db", "check", "--json", "--database", database)

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"check": "images", "image_id": "one", "fault": "The version is 0; the first one is 1."},
        {
            "check": "image_members",
            "image_id": None,
            "fault": "Member 'm' is one of the image number 77, which is not there.",
        },
        {
            "schema": schema.HEAD,
            "rows": {
                "images": 1,
                "image_properties": 1,
                "image_members": 1,
                "tombstones": 0,
                "blobs": 0,
                "blob_copies": 0,
                "uploads": 0,
                "removals": 0,
            },
            "faults": 2,
        },
    ]
    assert result.exit_code == 1


def test_a_repair_makes_the_index_anew_and_touches_nothing_else(
    invoke: Invoke, database: str, damage: Callable[[str], None]
) -> None:
    damage("UPDATE images SET version = 0")
    damage("UPDATE image_properties SET value = 'wrong'")

    repaired = invoke("db", "check", "--repair", "--database", database)

    assert repaired.stderr == "The property index was built again.\n"
    assert repaired.stdout.splitlines()[:-1] == ["image one: The version is 0; the first one is 1."]
    assert repaired.exit_code == 1
    damage("UPDATE images SET version = 1")
    assert invoke("db", "check", "--database", database).exit_code == 0


@pytest.mark.usefixtures("damage")
def test_a_repair_of_a_sound_database_changes_nothing(invoke: Invoke, database: str) -> None:
    result = invoke("db", "check", "--repair", "--database", database)

    assert (result.exit_code, result.stderr) == (0, "")


def test_a_database_without_today_s_schema_is_refused(invoke: Invoke, new_database: str) -> None:
    result = invoke("db", "check", "--database", new_database)

    assert result.exit_code == 1
    assert "run: glance-registry db upgrade" in result.stderr
