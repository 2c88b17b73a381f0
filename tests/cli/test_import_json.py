# SPDX-License-Identifier: Apache-2.0
"""`import json`: bodies written by hand, records of an export, and whatever else a file may hold."""

import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import PROGRAM, Invoke

from glance_registry.cli.import_json import BATCH_SIZE

VALID = {"name": "natty", "disk_format": "raw", "container_format": "bare", "is_public": True}
RECORD = {**VALID, "id": "one", "status": "active", "created_at": "2011-02-03T04:05:06.000007"}


def lines(*entries_: Any) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries_)


def exported(invoke: Invoke, database: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in invoke("export", "--database", database).stdout.splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        lines(VALID, {**VALID, "id": "two"}),
        lines({"image": VALID}, {"image": {**VALID, "id": "two"}}),
        b"\n\n" + lines(VALID) + b"  \n" + lines({**VALID, "id": "two"}).rstrip(),
        b"\xef\xbb\xbf" + lines(VALID, {**VALID, "id": "two"}),
        json.dumps([VALID, {"image": {**VALID, "id": "two"}}]).encode(),
        json.dumps([VALID, {**VALID, "id": "two"}], indent=2).encode(),
    ],
    ids=["lines", "wrapped", "blank lines", "byte order mark", "list", "list over lines"],
)
def test_bodies_may_be_lines_or_a_list_wrapped_or_not(invoke: Invoke, database: str, text: bytes) -> None:
    result = invoke("import", "json", "-", "--database", database, input=text)

    assert result.stdout == "registered 2, tombstones 0, already there 0, refused 0\n"
    assert result.exit_code == 0
    made, given = sorted(exported(invoke, database), key=lambda image: image["id"] == "two")
    assert (len(made["id"]), given["id"]) == (36, "two")
    assert made["status"] == "active"
    assert made["created_at"] == made["updated_at"]


def test_a_body_written_by_hand_is_kept_as_post_keeps_it(invoke: Invoke, sqlite_database: str) -> None:
    body = {
        **VALID,
        "id": 17,
        "size": "7",
        "owner": "me",
        "location": "http://a/b",
        "properties": [{"key": "a", "value": "1"}],
    }

    invoke("import", "json", "-", "--database", sqlite_database, input=lines(body))

    shown = json.loads(invoke("image", "show", "17", "--json", "--database", sqlite_database).stdout)
    assert (shown["size"], shown["owner"], shown["properties"]) == (7, "me", {"a": "1"})
    assert shown["location_data"] == [{"url": "http://a/b", "metadata": {}, "status": "active"}]


def test_times_without_an_id_are_ignored_as_post_ignores_them(invoke: Invoke, sqlite_database: str) -> None:
    body = {**VALID, "created_at": "nonsense", "updated_at": None, "deleted_at": 5, "deleted": True}

    invoke("import", "json", "-", "--database", sqlite_database, input=lines(body))

    (image,) = exported(invoke, sqlite_database)
    assert (image["deleted"], image["deleted_at"]) == (False, None)


def test_a_new_database_is_made(invoke: Invoke, new_database: str) -> None:
    result = invoke("import", "json", "-", "--database", new_database, input=lines(VALID))

    assert result.stdout.startswith("registered 1,")


def test_an_id_that_is_there_is_skipped_and_counted(invoke: Invoke, database: str) -> None:
    invoke("import", "json", "-", "--database", database, input=lines({**VALID, "id": "one"}))

    again = lines({**VALID, "id": "one", "name": "other"}, {**VALID, "id": "two"}, {**VALID, "id": "two", "name": "x"})
    result = invoke("import", "json", "-", "--database", database, input=again)

    assert result.stdout == "registered 1, tombstones 0, already there 2, refused 0\n"
    assert result.exit_code == 0
    assert [image["name"] for image in exported(invoke, database)] == ["natty", "natty"]


def test_the_id_of_a_purged_image_is_never_used_again(invoke: Invoke, database: str) -> None:
    tombstone = {"id": "one", "purged_at": "2012-01-01T00:00:00"}

    result = invoke("import", "json", "-", "--database", database, input=lines(tombstone, tombstone, RECORD))
    again = invoke("import", "json", "-", "--database", database, input=lines({**VALID, "id": "one"}, tombstone))

    assert result.stdout == "registered 0, tombstones 1, already there 2, refused 0\n"
    assert again.stdout == "registered 0, tombstones 0, already there 2, refused 0\n"
    assert exported(invoke, database) == [{"id": "one", "purged_at": "2012-01-01T00:00:00.000000"}]


def test_a_record_is_kept_whatever_the_contract_allows_to_be_written(invoke: Invoke, sqlite_database: str) -> None:
    record = {**RECORD, "disk_format": None, "container_format": "docker", "status": "deactivated"}

    result = invoke("import", "json", "-", "--database", sqlite_database, input=lines(record))

    assert result.stdout.startswith("registered 1,")
    (image,) = exported(invoke, sqlite_database)
    assert (image["disk_format"], image["container_format"], image["status"]) == (None, "docker", "deactivated")
    assert image["created_at"] == image["updated_at"] == "2011-02-03T04:05:06.000007"


def test_an_image_that_another_registry_shows_as_deleted_stays_deleted(invoke: Invoke, sqlite_database: str) -> None:
    contents = {"properties": {"a": "1"}, "location": "http://a/b"}
    record = {**RECORD, **contents, "updated_at": "2012-01-01T01:00:00+01:00", "deleted": True}

    invoke("import", "json", "-", "--database", sqlite_database, input=lines(record))

    (image,) = exported(invoke, sqlite_database)
    assert image["deleted_at"] == image["updated_at"] == "2012-01-01T00:00:00.000000"
    assert (image["properties"], image["location_data"]) == ({}, [])
    assert invoke("db", "check", "--database", sqlite_database).exit_code == 0


REFUSED = [
    (b"{", "is not valid JSON"),
    (b'"text"', "must be a JSON object"),
    (b"5", "must be a JSON object"),
    (b"\xff\xfe", "is not valid JSON"),
    (b"{" * 100_000, "JSON"),
    (b'{"a":' * 100_000, "nested too deeply"),
    (lines({"image": 5}), "Field 'image' is unknown."),
    (lines({**VALID, "disk_format": "iso"}), "Invalid disk format 'iso' for image."),
    (lines({**VALID, "name": "x" * 256}), "'name'"),
    (lines({**VALID, "id": "a b"}), "Invalid image id"),
    (b'{"name": "a\\u0000b", "disk_format": "raw", "container_format": "bare"}', "NUL"),
    (lines({**RECORD, "created_at": "yesterday"}), "'created_at'"),
    (lines({**RECORD, "created_at": "0001-01-01T00:00:00+14:00"}), "outside the years"),
    (lines({**RECORD, "updated_at": "2011-02-03T04:05:06.000006"}), "'created_at' is later"),
    (lines({**RECORD, "deleted_at": "2011-02-03T04:05:06.000006"}), "'created_at' is later"),
    (lines({**RECORD, "visibility": "secret"}), "'visibility'"),
    (lines({**RECORD, "version": 0}), "'version'"),
    (lines({**RECORD, "status": "wrong"}), "Invalid image status 'wrong'"),
    (lines({**RECORD, "members": [{"member_id": ""}]}), "member_id"),
    (
        lines({**RECORD, "location_data": [{"url": "a", "id": 1}, {"url": "b", "id": 1}]}),
        "gives two locations the same id",
    ),
    (lines({**RECORD, "os_distro": "debian"}), "Field 'os_distro' is unknown."),
    (lines({**RECORD, "locations": []}), "Field 'locations' is unknown."),
    (lines({**RECORD, "members": [{"member_id": "a", "since": 1}]}), "unknown field since"),
    (lines({**RECORD, "location_data": [{"url": "http://a", "weight": 1}]}), "unknown field weight"),
    (lines({**VALID, "os_distro": "debian"}), "Field 'os_distro' is unknown."),
    (lines({**VALID, "visibility": "community"}), "Field 'visibility' is read only with both an 'id' and"),
    (lines({"image": VALID, "images": []}), "Field 'images' is unknown."),
    (lines({"id": "a", "purged_at": "2012-01-01T00:00:00", "name": "a"}), "unknown field name"),
    (lines({**RECORD, "tags": ["a", " "]}), "Field 'tags'"),
    (lines({"id": "a/b", "purged_at": "2012-01-01T00:00:00"}), "Invalid image id"),
    (lines({"id": "a", "purged_at": "long ago"}), "'purged_at'"),
]


@pytest.mark.parametrize(("entry", "sentence"), REFUSED)
def test_an_entry_that_is_refused_is_named_with_its_line_and_does_not_stop_the_rest(
    invoke: Invoke, sqlite_database: str, entry: bytes, sentence: str
) -> None:
    text = lines({**VALID, "id": "before"}) + b"\n" + entry.rstrip() + b"\n" + lines({**VALID, "id": "after"})

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.stdout == "registered 2, tombstones 0, already there 0, refused 1\n"
    assert result.exit_code == 1
    (complaint,) = result.stderr.splitlines()
    assert complaint.startswith("line 3: ")
    assert sentence in complaint


def test_an_entry_of_a_list_is_named_with_its_line_too(invoke: Invoke, sqlite_database: str) -> None:
    text = b'\n[\n{"name": "wrong"},\n {"name":\n "wrong"}\n\n, {"name": "wrong"},' + lines(VALID) + b"]"

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 3", "line 4", "line 7"]
    assert result.stdout == "registered 1, tombstones 0, already there 0, refused 3\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'[\n{"a": 1},\nnonsense\n]', 3),
        (b'[\n{"a": 1},\n', 2),
        (b"[\n]\n]", 3),
        (b"[" * 100_000, 1),
        (b"[\n\n\xff]", 3),
    ],
)
def test_a_list_that_is_not_json_registers_nothing_and_its_line_is_named(
    invoke: Invoke, sqlite_database: str, text: bytes, line: int
) -> None:
    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.exit_code == 1
    assert f"Error: line {line}: The list is " in result.stderr
    assert exported(invoke, sqlite_database) == []


def test_a_line_without_end_is_refused_without_being_read_into_memory(
    invoke: Invoke, sqlite_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glance_registry.cli.export_format.MAX_LINE_BYTES", 200)
    text = lines(VALID) + b"x" * 1_000 + b"\n" + lines(VALID) + b"y" * 1_000

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.stdout == "registered 2, tombstones 0, already there 0, refused 2\n"
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 2", "line 4"]


def test_what_a_complaint_repeats_cannot_steer_the_terminal(invoke: Invoke, sqlite_database: str) -> None:
    body = {**VALID, "disk_format": "\x1b[31m\x9b"}

    result = invoke("import", "json", "-", "--database", sqlite_database, input=lines(body))

    assert "\\x1b[31m\\x9b" in result.stderr
    assert "\x1b" not in result.stderr


def test_nothing_is_an_empty_file(invoke: Invoke, sqlite_database: str) -> None:
    result = invoke("import", "json", "-", "--database", sqlite_database, input=b"")

    assert (result.exit_code, result.stdout) == (0, "registered 0, tombstones 0, already there 0, refused 0\n")


@pytest.mark.external
def test_lines_are_registered_as_they_come_and_an_interruption_leaves_whole_batches(
    invoke: Invoke, sqlite_database: str
) -> None:
    path = Path(sqlite_database.removeprefix("sqlite:///"))
    command = [*PROGRAM, "import", "json", "-", "--database", sqlite_database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(lines(*({**VALID, "name": str(number)} for number in range(2 * BATCH_SIZE + 7))))
        process.stdin.flush()
        try:
            _wait_for_images(path, 2 * BATCH_SIZE)
        finally:
            process.kill()

    images = exported(invoke, sqlite_database)
    assert [image["name"] for image in images] == [str(number) for number in range(2 * BATCH_SIZE)]


def _wait_for_images(path: Path, count: int) -> None:
    given_up = time.monotonic() + 60
    while True:
        connection = sqlite3.connect(path)
        (found,) = connection.execute("SELECT count(*) FROM images").fetchone()
        connection.close()
        if found >= count:
            return
        assert time.monotonic() < given_up, f"only {found} images were registered before the end of the input"
        time.sleep(0.05)
