# SPDX-License-Identifier: Apache-2.0
"""`db check` finds every kind of damage, planted here on both databases, and nothing in a sound catalogue."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, REGISTRY, after_noon, image

from glance_registry.catalogue import images, members, uploads
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.integrity import check, repair, words
from glance_registry.catalogue.integrity.check import Fault
from glance_registry.catalogue.purge import purge
from glance_registry.catalogue.rows import ROW
from glance_registry.catalogue.snapshot import snapshot
from glance_registry.catalogue.uploads import NewUpload, StoredBytes
from glance_registry.model.changes import Delete, SetProperties
from glance_registry.model.image import Location
from glance_registry.model.limits import OwnerLimits
from glance_registry.model.status import QUEUED, SAVING

LONG = "ä" * 300
PLACES = (Location("http://store/1", id=1), Location("http://store/2", id=2))


def check_all(url: str) -> tuple[list[Fault], dict[str, int | None]]:
    found: list[Fault] = []
    outcome = asyncio.run(snapshot(url, check.check, found.append))
    assert outcome.faults == len(found)
    return found, outcome.rows


def fill(write: Callable[..., Any]) -> None:
    """A catalogue in which everything has happened once: `one` lives, `gone` is deleted, `past` is purged."""
    properties = {"a": "1", "long": LONG, "A": ""}
    write(images.add, image("one", 1, properties=properties, locations=PLACES))
    write(images.add, image("two", 2, properties=properties))
    write(images.change, "two", [SetProperties({"a": "2"}, purge=True)], after_noon(3), ADMIN, REGISTRY)
    write(members.replace, "one", {"m": None, "n": True}, after_noon(3), ADMIN)
    for number, image_id in enumerate(("past", "gone"), 4):
        write(images.add, image(image_id, number, properties=properties, locations=PLACES))
        write(members.put, image_id, "m", True, after_noon(number), ADMIN)
        write(images.change, image_id, [Delete()], after_noon(10 * number), ADMIN, REGISTRY)
    write(purge, after_noon(45), after_noon(60), 10)
    write(images.add, image("empty", 50, status=QUEUED))
    write(images.add, image("coming", 51, status=QUEUED))
    write(images.add, image("theirs", 52, status=SAVING))  # An API server of old stores its bytes.
    for image_id, key, store in (("kept", "a" * 32, "fast"), ("same", "b" * 32, "cold"), ("again", "c" * 32, "fast")):
        write(images.add, image(image_id, 53, status=QUEUED))
        _begin(write, image_id, key, store)
        write(uploads.finish, key, FOUND, after_noon(54))
    _begin(write, "coming", "d" * 32, "fast")


ROWS = {
    "images": 9,
    "image_properties": 4,
    "image_members": 3,
    "tombstones": 1,
    "blobs": 1,
    "blob_copies": 2,
    "uploads": 1,
    "removals": 1,
}
FOUND = StoredBytes(
    size=3,
    virtual_size=3,
    checksum="m" * 32,
    os_hash_algo="sha512",
    os_hash_value="e" * 128,
    inspected_as=("raw", "bare"),
)


def _begin(write: Callable[..., Any], image_id: str, key: str, store: str) -> None:
    new = NewUpload(id=key, store=store, announced=3, expires_at=after_noon(55))
    write(uploads.begin, image_id, new, OwnerLimits(), after_noon(54), ADMIN)


@pytest.fixture
def execute(loop: asyncio.Runner, catalogue: Catalogue) -> Callable[[str], None]:
    """Runs one statement in a sound and filled catalogue."""
    fill(lambda *operation: loop.run(catalogue.write(*operation)))

    def run(connection: Connection, statement: str) -> None:
        connection.execute(text(statement.replace(":", r"\:")))

    return lambda statement: loop.run(catalogue.write(run, statement))


@pytest.mark.usefixtures("execute")
def test_a_sound_catalogue_has_no_faults(database: str) -> None:
    found, rows = check_all(database)

    assert found == []
    assert rows == {
        "images": 9,
        "image_properties": 4,
        "image_members": 3,
        "tombstones": 1,
        "blobs": 1,
        "blob_copies": 2,
        "uploads": 1,
        "removals": 1,
    }


class Planted(NamedTuple):
    """A statement that does damage, and what `db check` says of it: in which check, of which image, in which words."""

    statement: str
    check: str
    image_id: str | None
    sentence: str


def changed(assignment: str, sentence: str, image_id: str = "one", check: str = "images") -> Planted:
    return Planted(f"UPDATE images SET {assignment} WHERE id = '{image_id}'", check, image_id, sentence)


NUMBER = "(SELECT number FROM images WHERE id = 'one')"
LACKS, TOO_MANY = "The property index lacks an entry 'a'.", "The property index has an entry 'a' too many."
DAMAGE = [
    changed("version = 0", "The version is 0; the first one is 1."),
    changed("visibility = 'secret'", "There is no visibility 'secret'."),
    changed("status = 'lost'", "There is no status 'lost'."),
    changed("size = -1", "Column size is less than 0."),
    changed("min_ram = -1", "Column min_ram is less than 0."),
    changed("updated_at = created_at - 1", "The image was changed before it was created."),
    changed("updated_at = 9000000000000000000", "Column updated_at is no time between the years 1 and 9999."),
    changed("deleted_at = created_at - 1", "The image was deleted before it was created.", "gone"),
    changed("properties = '{\"a\": 1}'", "Column properties is not a JSON object of texts", "gone"),
    changed("properties = '[]'", "Column properties is not a JSON object of texts", "gone"),
    changed("properties = '{\"a'", "Column properties is not a JSON object of texts", "gone"),
    changed("properties = ''", "Column properties is not a JSON object of texts", "gone"),
    changed('properties = \'{"": "x"}\'', "A property has no name.", "gone"),
    changed("null_properties = '{}'", "Column null_properties is not a JSON list of texts", "gone"),
    changed("null_properties = '[\"\"]'", "A property without a value has no name."),
    changed('null_properties = \'["x", "x"]\'', "A property without a value comes twice."),
    changed('locations = \'[{"url": "a", "id": 1}, {"url": "b", "id": 1}]\'', "The locations are not numbered", "gone"),
    changed("locations = '{}'", "Column locations is not a JSON list of locations"),
    changed("locations = '[{\"id\": 1}]'", "Column locations is not a JSON list of locations"),
    changed('locations = \'[{"url": "", "id": 1}]\'', "A location has no url."),
    changed('locations = \'[{"url": "a"}]\'', "The locations are not numbered"),
    changed('locations = \'[{"url": "a", "id": 1}, {"url": "b", "id": 1}]\'', "The locations are not numbered"),
    changed("tags = '[1]'", "Column tags is not a JSON list of texts", "gone"),
    changed("tags = '{'", "Column tags is not a JSON list of texts", "gone"),
    changed("tags = '[\"\"]'", "A tag is empty.", "gone"),
    changed('tags = \'["b", "a"]\'', "The tags are not sorted, or one comes twice.", "gone"),
    changed("tags = '[\"t\"]'", "The property index lacks an entry ''.", check="image_properties"),
    changed('properties = \'{"a": "1", "A": ""}\'', "has an entry 'long' too many.", check="image_properties"),
    Planted("DELETE FROM image_properties WHERE name = 'a'", "image_properties", "one", LACKS),
    Planted("UPDATE image_properties SET value = '2' WHERE value = '1'", "image_properties", "one", LACKS),
    Planted("UPDATE image_properties SET value = '2' WHERE value = '1'", "image_properties", "one", TOO_MANY),
    Planted("UPDATE image_properties SET created_at = 5 WHERE value = '1'", "image_properties", "one", LACKS),
    Planted(
        f"INSERT INTO image_properties VALUES ('b', 'x', 1, {NUMBER})",
        *("image_properties", "one", "The property index has an entry 'b' too many."),
    ),
    Planted(
        "UPDATE image_properties SET value = 'short' WHERE name = 'long'",
        *("image_properties", "one", "The property index lacks an entry 'long'."),
    ),
    Planted(
        "INSERT INTO image_properties SELECT 'a', '1', created_at, number FROM images WHERE id = 'gone'",
        *("image_properties", "gone", TOO_MANY),
    ),
    Planted(
        "INSERT INTO image_properties VALUES ('a', '1', 1, 77)",
        *("image_properties", None, "The property index has 'a' under the number 77, which no image has."),
    ),
    Planted(
        "INSERT INTO image_properties VALUES ('a', '1', 1, -1)",
        *("image_properties", None, "The property index has 'a' under the number -1, which no image has."),
    ),
    Planted(
        "UPDATE image_members SET image_number = 77 WHERE member_id = 'n'",
        *("image_members", None, "Member 'n' is one of the image number 77, which is not there."),
    ),
    Planted("UPDATE tombstones SET id = 'one'", *("ids", "one", "The image is there although its id was purged.")),
    changed("id = 'a b'", "The id has characters that a URL cannot carry.")._replace(image_id="a b"),
]


@pytest.mark.parametrize("planted", DAMAGE, ids=lambda planted: f"{planted.statement} {planted.sentence[:25]}")
def test_damage_is_found(execute: Callable[[str], None], database: str, planted: Planted) -> None:
    execute(planted.statement)

    found, _ = check_all(database)

    assert any(
        (fault.check, fault.image_id) == planted[1:3] and planted.sentence in fault.sentence for fault in found
    ), found
    assert {fault.check for fault in found} == {planted.check}


UNUSED = f"INSERT INTO blobs (number, digest, size, created_at) VALUES (77, 'sha256:{'f' * 64}', 1, 1)"
OF_BYTES = [
    changed("blob_number = 77", "The image has the blob number 77, which is not there.", "kept"),
    changed("stores = NULL", "The image has a blob and is in no store.", "kept"),
    changed("stores = '{}'", "Column stores is not a JSON list of texts", "kept"),
    changed("stores = '[]'", "The list of stores is empty, or one has no name.", "kept"),
    changed("stores = '[\"\"]'", "The list of stores is empty, or one has no name.", "kept"),
    changed('stores = \'["fast", "cold"]\'', "The stores are not sorted, or one comes twice.", "kept"),
    changed('stores = \'["cold", "lost"]\'', "The image is in store 'lost', but its blob has no copy there.", "kept"),
    changed("stores = '[\"fast\"]'", "The image is in stores and has no blob.", "empty"),
    changed("size = 4", "The image's size is 4, and that of its blob 3.", "kept"),
    changed("size = NULL", "The image's size is None, and that of its blob 3.", "kept"),
    changed("os_hash_algo = 'sha256'", "os_hash_algo and os_hash_value are not the digest of its blob.", "kept"),
    changed("os_hash_value = NULL", "os_hash_algo and os_hash_value are not the digest of its blob.", "kept"),
    Planted("DELETE FROM blob_copies WHERE store = 'cold'", "images", "same", "in store 'cold'"),
    Planted(UNUSED, "blobs", None, "The blob number 77 (sha256:ffff"),
    Planted(UNUSED, "blobs", None, "is in no store."),
    Planted(
        f"INSERT INTO blob_copies VALUES (78, 'fast', '{'e' * 32}')",
        *("blob_copies", None, f"The object {'e' * 32} in store 'fast' is one of blob 78, which is not there."),
    ),
    Planted(
        "UPDATE uploads SET image_number = 77",
        *("uploads", None, f"The upload {'d' * 32} is one of an image that is not there."),
    ),
    Planted(
        "UPDATE uploads SET image_number = (SELECT number FROM images WHERE id = 'gone')",
        *("uploads", "gone", "The image is deleted and has an upload."),
    ),
    Planted(
        "UPDATE uploads SET image_number = (SELECT number FROM images WHERE id = 'empty')",
        *("uploads", "empty", "The image has an upload, and its status is 'queued'."),
    ),
    Planted(
        f"UPDATE removals SET key = '{'a' * 32}'",
        *("removals", None, f"The object {'a' * 32} in store 'fast' is to be removed, but table blob_copies has it."),
    ),
    Planted(
        f"UPDATE removals SET key = '{'d' * 32}'",
        *("removals", None, f"The object {'d' * 32} in store 'fast' is to be removed, but table uploads has it."),
    ),
]


@pytest.mark.parametrize("planted", OF_BYTES, ids=lambda planted: f"{planted.statement} {planted.sentence[:25]}")
def test_damage_to_what_is_known_of_bytes_is_found(
    execute: Callable[[str], None], database: str, planted: Planted
) -> None:
    on_images = "" if database.startswith("sqlite") else " ON images"
    execute(f"DROP TRIGGER images_frozen_bytes{on_images}")
    execute(planted.statement)

    found, _ = check_all(database)

    assert any(
        (fault.check, fault.image_id) == planted[1:3] and planted.sentence in fault.sentence for fault in found
    ), found
    assert {fault.check for fault in found} == {planted.check}


def test_what_the_release_before_blobs_does_is_no_fault(execute: Callable[[str], None], database: str) -> None:
    """It deletes an image without a look at its blob; the reaper finds that."""
    execute("UPDATE images SET deleted_at = updated_at, status = 'deleted' WHERE id IN ('kept', 'same', 'again')")

    assert check_all(database)[0] == []


OTHERS = Fault("image_words", "The index of words has not those of its name, tags and properties.", "one")
STRAY = "The index of words has some under the number 77, which no image has that is not deleted."
WORDS = {
    "too many": (
        f"INSERT INTO image_words (rowid, words) VALUES ({NUMBER}, 'more')",
        f"UPDATE image_words SET words = words || 'more' WHERE image_number = {NUMBER}",
        OTHERS,
    ),
    "other places": (
        f"INSERT INTO image_words (image_words, rowid, words) VALUES ('delete', {NUMBER}, '1')",
        f"UPDATE image_words SET words = setweight(words, 'A') WHERE image_number = {NUMBER}",
        OTHERS,
    ),
    "none": ("INSERT INTO image_words (image_words) VALUES ('delete-all')", "DELETE FROM image_words", OTHERS),
    "no image's": (
        "INSERT INTO image_words (rowid, words) VALUES (77, 'x')",
        "INSERT INTO image_words VALUES (77, 'x')",
        Fault("image_words", STRAY),
    ),
    "a deleted image's": (
        "INSERT INTO image_words (rowid, words) SELECT number, 'x' FROM images WHERE id = 'gone'",
        "INSERT INTO image_words SELECT number, 'x' FROM images WHERE id = 'gone'",
        None,
    ),
}


@pytest.mark.parametrize("damage", WORDS)
def test_words_that_are_not_the_images_are_found_and_made_anew(
    loop: asyncio.Runner, catalogue: Catalogue, execute: Callable[[str], None], database: str, damage: str
) -> None:
    on_sqlite, on_postgresql, fault = WORDS[damage]
    execute(on_sqlite if database.startswith("sqlite") else on_postgresql)

    found, _ = check_all(database)
    assert {each.check for each in found} == {"image_words"}
    assert fault is None or fault in found

    number: int | None = 0
    while number is not None:
        number = loop.run(catalogue.write(words.refill, number, 1))
    assert check_all(database)[0] == []


def test_two_images_of_one_id_are_found(execute: Callable[[str], None], database: str) -> None:
    if database.startswith("sqlite"):
        with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE (id)', 'CHECK (1)')")
            connection.execute("DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_images_1'")
        connection.close()
        with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE images SET id = 'one' WHERE id = 'two'")
        connection.close()
    else:
        execute("ALTER TABLE images DROP CONSTRAINT images_id_key")
        execute("UPDATE images SET id = 'one' WHERE id = 'two'")

    found, _ = check_all(database)

    assert Fault("ids", "The id is that of 2 images.", "one") in found


@pytest.fixture
def file(loop: asyncio.Runner, sqlite_database: str) -> Path:
    """A filled SQLite file that nobody has open."""
    from glance_registry.catalogue.open import open_catalogue

    async def filled() -> None:
        catalogue = open_catalogue(sqlite_database)
        operations: list[tuple[Any, ...]] = []
        fill(lambda *operation: operations.append(operation))
        for operation in operations:
            await catalogue.write(*operation)
        await catalogue.close()

    loop.run(filled())
    return Path(sqlite_database.removeprefix("sqlite:///"))


def plant(file: Path, *statements: str) -> list[Fault]:
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return check_all(f"sqlite:///{file}")[0]


SCHEMA = "PRAGMA writable_schema = ON"
OWNERLESS = "UPDATE sqlite_schema SET sql = replace(sql, 'owner VARCHAR(255)', 'owner VARCHAR(255) NOT NULL')"


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (["UPDATE images SET name = x'ff00' WHERE id = 'one'"], Fault("images", "Column name holds no text.", "one")),
        (
            ["UPDATE images SET name = CAST(x'ff' AS TEXT) WHERE id = 'one'"],
            Fault("images", "Column name is not UTF-8.", "one"),
        ),
        (
            ["UPDATE images SET version = 'x' WHERE id = 'one'"],
            Fault("images", "Column version holds no whole number.", "one"),
        ),
        (
            ["UPDATE images SET created_at = 1.5 WHERE id = 'one'"],
            Fault("images", "Column created_at holds no whole number.", "one"),
        ),
        (
            [f"UPDATE images SET checksum = '{LONG}' WHERE id = 'one'"],
            Fault("images", "Column checksum is longer than 32 characters.", "one"),
        ),
        (
            ["INSERT INTO image_properties VALUES ('a', '1', 1, 'x')"],
            Fault("image_properties", "The property index has 'a' under the number 'x', which no image has."),
        ),
        (
            ["UPDATE tombstones SET purged_at = 'x'"],
            Fault("tombstones", "Table tombstones, row ('past', 'x'): Column purged_at holds no whole number."),
        ),
        (
            [SCHEMA, OWNERLESS],
            Fault("file", "SQLite says: NULL value in images.owner."),
        ),
        (
            ["CREATE TABLE child (parent REFERENCES images (id))", "INSERT INTO child VALUES ('nobody')"],
            Fault("file", "Row 1 of table child points at a row of images that is not there."),
        ),
    ],
    ids=lambda given: str(given)[:50],
)
def test_damage_that_only_sqlite_lets_happen_is_found(file: Path, statements: list[str], fault: Fault) -> None:
    assert fault in plant(file, *statements)


def test_an_index_of_sqlite_that_lost_an_entry_is_found(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        (saved,) = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'images_owner'")
        connection.execute(SCHEMA)
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'images_owner'")
    connection.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE images SET owner = 'o' WHERE id = 'one'")
        connection.execute(SCHEMA)
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", saved)
    connection.close()

    assert any("missing from index images_owner" in fault.sentence for fault in check_all(f"sqlite:///{file}")[0])


def test_a_file_with_overwritten_pages_is_said_to_be_damaged_and_does_not_end_the_check(file: Path) -> None:
    content = bytearray(file.read_bytes())
    with sqlite3.connect(file) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'image_properties'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    content[(root - 1) * size : root * size] = b"\xff" * size
    file.write_bytes(content)

    found, rows = check_all(f"sqlite:///{file}")

    assert found[0].check == "file"
    assert Fault("image_properties", "The database could not be read to the end of this check.") in found
    assert rows == {**ROWS, "image_properties": None}


def test_the_check_sees_one_moment_while_others_write(
    loop: asyncio.Runner, catalogue: Catalogue, database: str
) -> None:
    """Between the checks images come, change and go; the one that looks sees none of it."""
    from concurrent.futures import ThreadPoolExecutor

    fill(lambda *operation: loop.run(catalogue.write(*operation)))
    seen: list[int] = []

    def look(connection: Connection) -> int:
        before = connection.execute(ROW).all()
        with ThreadPoolExecutor(1) as thread:
            thread.submit(meanwhile).result()
        assert connection.execute(ROW).all() == before
        return check.check(connection, lambda fault: seen.append(1)).faults

    def meanwhile() -> None:
        from glance_registry.catalogue.open import open_catalogue

        async def write() -> None:
            other = open_catalogue(database)
            await other.write(images.change, "one", [Delete()], after_noon(70), ADMIN, REGISTRY)
            await other.write(images.add, image("late", 80, properties={"a": "1"}))
            await other.close()

        asyncio.run(write())

    assert asyncio.run(snapshot(database, look)) == 0
    assert check_all(database)[0] == []


def test_the_index_is_made_anew_from_the_images(
    loop: asyncio.Runner, catalogue: Catalogue, database: str, execute: Callable[[str], None]
) -> None:
    execute("DELETE FROM image_properties WHERE name = 'a'")
    execute("UPDATE image_properties SET created_at = 5 WHERE name = 'long'")
    execute(f"INSERT INTO image_properties VALUES ('b', 'x', 1, {NUMBER}), ('b', 'x', 1, 77), ('a', '1', 1, -1)")
    assert check_all(database)[0] != []

    (index,) = repair.DERIVED
    number: int | None = 0
    while number is not None:
        number = loop.run(catalogue.write(repair.add_missing, index, number, 1))
    entry = loop.run(catalogue.write(repair.drop_surplus, index, None, 2))
    while entry is not None:
        entry = loop.run(catalogue.write(repair.drop_surplus, index, entry, 2))

    assert check_all(database)[0] == []
