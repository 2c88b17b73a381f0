# SPDX-License-Identifier: Apache-2.0
"""Bodies of the Registry API become images and changes (registry protocol, section 3)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from glance_registry.api.registry.wire import read_new, read_update
from glance_registry.model.access import Caller
from glance_registry.model.changes import (
    ANY,
    Change,
    OverwriteLocations,
    Precondition,
    SetField,
    SetProperties,
    SetPublic,
    Touch,
)
from glance_registry.model.contract import CACTUS
from glance_registry.model.image import SHARED, Image, Location

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
MINE, WRITER = Caller(project="mine"), Caller(writer=True)
A = Location("http://store/a")


def body(image: Any, **others: Any) -> bytes:
    return json.dumps({"image": image, **others}).encode()


def read(image: dict[str, Any], caller: Caller = WRITER) -> Image:
    return read_new(body(image), CACTUS, caller, lambda: "one", NOON)


def test_a_new_image_has_what_the_body_gives_and_nothing_else() -> None:
    made = read({"name": "natty", "size": 7, "properties": {"a": "1"}, "location": A.url})

    assert made == Image(
        id="one",
        created_at=NOON,
        updated_at=NOON,
        name="natty",
        size=7,
        properties={"a": "1"},
        locations=(Location(A.url, id=1),),
    )
    assert (made.version, made.status, made.visibility, made.deleted) == (1, "active", SHARED, False)


def test_a_new_image_belongs_to_its_caller_whatever_the_body_says() -> None:
    assert read({"owner": "forged"}, MINE).owner == "mine"
    assert read({"owner": "forged"}, Caller()).owner is None
    assert read({"owner": "given"}).owner == "given"


@pytest.mark.parametrize(
    ("given", "purge", "changes"),
    [
        ({}, False, []),
        ({}, True, [SetProperties({}, purge=True)]),
        ({"owner": "forged", "name": None}, False, [SetField("name", None)]),
        ({"is_public": False}, False, [SetPublic(False)]),
        ({"properties": {"a": 1}}, False, [SetProperties({"a": "1"})]),
        ({"location": A.url, "location_data": []}, False, [OverwriteLocations((A,))]),
        ({"location": "", "properties": None}, False, []),
    ],
)
def test_an_update_is_a_sequence_of_changes(given: dict[str, Any], purge: bool, changes: list[Change]) -> None:
    assert read_update(body(given), "one", MINE, purge=purge) == ([Touch(), *changes], ANY)


def test_an_update_may_name_the_status_that_it_starts_from() -> None:
    _, condition = read_update(body({}, from_state="saving"), "one", MINE, purge=False)

    assert condition == Precondition(from_status="saving")
