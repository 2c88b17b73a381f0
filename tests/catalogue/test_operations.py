# SPDX-License-Identifier: Apache-2.0
"""Images in the catalogue, on both databases: get, add, change, remove."""

from typing import Any

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, REGISTRY, after_noon, everything, image

from glance_registry.catalogue import images
from glance_registry.catalogue.lookup import lock_visible
from glance_registry.model.changes import ANY, Change, Delete, Precondition, SetField, SetProperties, Touch, apply
from glance_registry.model.contract import CACTUS, QUEENS
from glance_registry.model.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from glance_registry.model.image import Image, Location

LATER = after_noon(1)
FULL = image(
    name="natty ä \U0001f40b",
    status="queued",
    size=2**63 - 1,
    virtual_size=0,
    checksum="c" * 32,
    owner="o" * 255,
    min_disk=2**31 - 1,
    min_ram=2**31 - 1,
    protected=True,
    properties={"ä" * 255: "x" * 65_535, "empty": ""},
    locations=(Location("http://store/1", {"a": [1, None, {"b": 0.5}]}, "deleted", 3), Location("x", {}, "active", 4)),
)


@pytest.mark.parametrize("kept", [image(), FULL, image(disk_format=None, container_format=None)])
def test_an_image_is_read_as_it_was_added(read: Any, write: Any, kept: Image) -> None:
    assert write(images.add, kept) == kept
    assert read(images.get, "one", ADMIN, CACTUS) == kept
    assert read(images.find, everything(), ADMIN) == [kept]


@pytest.mark.parametrize("unknown", ["two", "ONE", "one ", "", "'; DROP TABLE images; --", "%", "o_e"])
def test_an_unknown_id_is_not_found(read: Any, write: Any, unknown: str) -> None:
    write(images.add, image())

    for change in (Touch(), Delete()):
        with pytest.raises(NotFound):
            write(images.change, unknown, [change], LATER, ADMIN, REGISTRY)
    with pytest.raises(NotFound):
        read(images.get, unknown, ADMIN, CACTUS)


def test_an_id_is_taken_for_ever(write: Any) -> None:
    write(images.add, image())
    with pytest.raises(Conflict, match="Image with identifier one already exists!"):
        write(images.add, image(name="another"))

    write(images.change, "one", [Delete()], LATER, ADMIN, REGISTRY)
    with pytest.raises(Conflict, match="Image with identifier one already exists!"):
        write(images.add, image())


def test_a_change_is_kept_and_counts_as_a_version(read: Any, write: Any) -> None:
    write(images.add, image(name="old", properties={"a": "1"}))

    changes = [SetField("name", "new"), SetProperties({"b": "2"})]
    changed = write(images.change, "one", changes, LATER, ADMIN, REGISTRY)

    assert (changed.name, changed.version, changed.updated_at) == ("new", 2, LATER)
    assert changed.properties == {"a": "1", "b": "2"}
    assert read(images.get, "one", ADMIN, CACTUS) == changed


@pytest.mark.parametrize(
    ("wanted", "condition", "refusal"),
    [
        (SetField("status", "pending"), ANY, Invalid),
        (SetField("disk_format", None), ANY, Invalid),
        (SetField("disk_format", "ami"), ANY, Invalid),
        (SetProperties({f"p{number}": "" for number in range(129)}), ANY, Invalid),
        (SetField("name", "new"), Precondition(from_status="queued"), Conflict),
        (SetField("name", "new"), Precondition(revisions=frozenset({"1-0"})), PreconditionFailed),
    ],
)
def test_a_change_that_is_refused_changes_nothing(
    read: Any, write: Any, wanted: Change, condition: Precondition, refusal: Any
) -> None:
    before = write(images.add, image(properties={"a": "1"}))

    with pytest.raises(refusal):
        write(images.change, "one", [wanted], LATER, ADMIN, REGISTRY, condition)

    assert read(images.get, "one", ADMIN, CACTUS) == before


def test_an_old_version_is_never_saved_over_a_newer_one(read: Any, write: Any) -> None:
    before = write(images.add, image())

    def save_too_late(connection: Connection) -> None:
        number, seen = lock_visible(connection, "one", ADMIN)
        images.change(connection, "one", [SetField("name", "first")], LATER, ADMIN, REGISTRY)
        images.save(connection, number, seen, apply(seen, [SetField("name", "second")], LATER))

    with pytest.raises(Conflict, match="was changed by another request"):
        write(save_too_late)
    assert read(images.get, "one", ADMIN, CACTUS) == before


def test_a_removed_image_is_gone_for_readers_and_its_row_stays(read: Any, write: Any) -> None:
    write(images.add, image(properties={"a": "1"}, locations=(Location("x", {}, "active", 1),)))

    gone = write(images.change, "one", [Delete()], LATER, ADMIN, REGISTRY)

    assert (gone.deleted_at, gone.properties, gone.locations, gone.version) == (LATER, {}, (), 2)
    with pytest.raises(NotFound):
        read(images.get, "one", ADMIN, CACTUS)
    assert read(images.get, "one", ADMIN, QUEENS) == gone
    assert read(images.find, everything(), ADMIN) == []
    with pytest.raises(NotFound):
        write(images.change, "one", [Delete()], LATER, ADMIN, REGISTRY)
    with pytest.raises(NotFound):
        write(images.change, "one", [Touch()], LATER, ADMIN, REGISTRY)


def test_a_protected_image_stays(read: Any, write: Any) -> None:
    kept = write(images.add, image(protected=True))

    with pytest.raises(Forbidden):
        write(images.change, "one", [Delete()], LATER, ADMIN, REGISTRY)
    assert read(images.get, "one", ADMIN, CACTUS) == kept


def test_what_an_operation_did_before_it_failed_is_undone(read: Any, write: Any) -> None:
    def add_then_fail(connection: Connection) -> None:
        images.add(connection, image("half"))
        raise ArithmeticError("in the middle")

    with pytest.raises(ArithmeticError):
        write(add_then_fail)
    assert read(images.find, everything(), ADMIN) == []


@pytest.mark.parametrize("broken", ["NOT SQL", "SELECT no_such_column FROM images"])
def test_a_broken_statement_harms_no_later_one(read: Any, write: Any, broken: str) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text(broken))

    for run in (write, read):
        with pytest.raises(Exception, match=r"(?i)sql|column"):
            run(fail)
    kept = write(images.add, image())
    assert read(images.get, "one", ADMIN, CACTUS) == kept


def test_images_are_counted_by_status_without_deleted_ones(read: Any, write: Any) -> None:
    for number, status in enumerate(("active", "active", "queued", "killed")):
        write(images.add, image(f"i{number}", status=status))
    write(images.change, "i3", [Delete()], LATER, ADMIN, REGISTRY)

    assert read(images.count_by_status) == {"active": 2, "queued": 1}
