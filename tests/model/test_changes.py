# SPDX-License-Identifier: Apache-2.0
"""What a change makes of an image: pure, with the clock in hand (registry protocol, section 3)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from glance_registry.model.errors import Conflict, Forbidden
from glance_registry.model.image import COMMUNITY, PUBLIC, SHARED, Change, Image, Location, delete

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)
A, B, C = (Location(f"http://store/{name}") for name in "abc")


def image(**fields: Any) -> Image:
    return Image(id="one", created_at=NOON, updated_at=NOON, **fields)


def numbered(*places: tuple[Location, int]) -> tuple[Location, ...]:
    return tuple(Location(place.url, place.metadata, place.status, number) for place, number in places)


def test_a_new_image_has_what_the_change_gives_and_nothing_else() -> None:
    made = Change(fields={"name": "natty", "size": 7}, properties={"a": "1"}, locations=(A,)).create("one", NOON)

    assert made == image(name="natty", size=7, properties={"a": "1"}, locations=numbered((A, 1)))
    assert (made.version, made.status, made.visibility, made.deleted) == (1, "active", SHARED, False)


def test_a_new_image_belongs_to_the_given_owner_whatever_the_change_says() -> None:
    assert Change(fields={"owner": "forged"}).create("one", NOON, "mine").owner == "mine"
    assert Change(fields={"owner": "forged"}).create("one", NOON).owner is None


def test_given_fields_change_the_rest_stays_and_the_version_counts() -> None:
    before = image(name="old", size=7, properties={"a": "1"}, version=4)

    after = Change(fields={"name": "new"}).apply(before, LATER)

    assert after == Image(
        id="one", created_at=NOON, updated_at=LATER, name="new", size=7, properties={"a": "1"}, version=5
    )
    assert before.name == "old"


def test_a_field_can_be_made_null_which_is_not_the_same_as_left_out() -> None:
    assert Change(fields={"name": None}).apply(image(name="old"), LATER).name is None


@pytest.mark.parametrize(
    ("given", "purge", "kept"),
    [
        ({}, False, {"a": "1", "b": "2"}),
        ({"b": "3", "c": "4"}, False, {"a": "1", "b": "3", "c": "4"}),
        ({"b": "3"}, True, {"b": "3"}),
        ({}, True, {}),
    ],
)
def test_properties_are_set_and_with_purge_the_others_go(
    given: dict[str, str], purge: bool, kept: dict[str, str]
) -> None:
    before = image(properties={"a": "1", "b": "2"})

    assert Change(properties=given, purge_properties=purge).apply(before, LATER).properties == kept
    assert before.properties == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("current", "is_public", "outcome"),
    [
        *((visibility, None, visibility) for visibility in (PUBLIC, COMMUNITY, SHARED, "private")),
        *((visibility, True, PUBLIC) for visibility in (PUBLIC, COMMUNITY, SHARED, "private")),
        *((visibility, False, visibility) for visibility in (COMMUNITY, SHARED, "private")),
        (PUBLIC, False, SHARED),
    ],
)
def test_what_is_public_says_about_the_visibility(current: str, is_public: bool | None, outcome: str) -> None:
    changed = Change(is_public=is_public).apply(image(visibility=current), LATER)

    assert changed.visibility == outcome
    assert changed.is_public == (outcome == PUBLIC)


def test_a_change_from_a_status_applies_only_there() -> None:
    saving = image(status="saving")

    assert Change(fields={"status": "active"}, from_status="saving").apply(saving, LATER).status == "active"
    with pytest.raises(Conflict, match="Image operation conflicts"):
        Change(fields={"status": "active"}, from_status="queued").apply(saving, LATER)


OLD = numbered((A, 1), (B, 3))
# kept before | given | kept after
MERGES: list[tuple[tuple[Location, ...], tuple[Location, ...], tuple[Location, ...]]] = [
    ((), (), ()),
    ((), (A, B), numbered((A, 1), (B, 2))),
    ((), (A, B, A), numbered((A, 1), (B, 2))),
    (OLD, (), OLD),
    (OLD, (A, B), OLD),
    (OLD, (B, A), numbered((B, 3), (A, 1))),
    (OLD, (B,), numbered((B, 3))),
    (OLD, (C,), numbered((C, 4))),
    (OLD, (A, C, B), numbered((A, 1), (C, 4), (B, 3))),
    (OLD, numbered((B, 99), (C, 1)), numbered((B, 3), (C, 4))),
]


@pytest.mark.parametrize(("before", "given", "after"), MERGES)
def test_a_given_list_replaces_the_locations_and_kept_urls_keep_their_ids(
    before: tuple[Location, ...], given: tuple[Location, ...], after: tuple[Location, ...]
) -> None:
    assert Change(locations=given).apply(image(locations=before), LATER).locations == after


def test_a_location_given_again_has_its_new_status_and_metadata_under_the_old_id() -> None:
    again = Location(A.url, {"zone": "2"}, "pending_delete")

    changed = Change(locations=(again,)).apply(image(locations=OLD), LATER)

    assert changed.locations == (Location(A.url, {"zone": "2"}, "pending_delete", 1),)


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        ((), None),
        (("active", "active"), 0),
        (("pending_delete", "active"), 1),
        (("deleted", "pending_delete"), None),
    ],
)
def test_the_location_shown_is_the_first_in_use(statuses: tuple[str, ...], shown: int | None) -> None:
    places = tuple(Location(f"http://store/{number}", {}, status) for number, status in enumerate(statuses))

    assert image(locations=places).location == (None if shown is None else f"http://store/{shown}")


def test_a_deleted_image_keeps_its_fields_but_not_its_properties_and_locations() -> None:
    before = image(name="natty", size=7, status="active", properties={"a": "1"}, locations=OLD, version=4)

    gone = delete(before, LATER)

    assert gone == Image(id="one", created_at=NOON, updated_at=LATER, deleted_at=LATER, name="natty", size=7, version=5)
    assert gone.deleted


def test_a_protected_image_cannot_be_deleted() -> None:
    with pytest.raises(Forbidden, match="Image one is protected"):
        delete(image(protected=True), LATER)


def test_an_image_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        image().name = "new"  # type: ignore[misc]


def test_nothing_is_changed_or_deleted_before_it_is_created_whatever_the_clocks_say() -> None:
    earlier = NOON - timedelta(seconds=1)

    assert Change().apply(image(), earlier).updated_at == NOON
    assert delete(image(), earlier).deleted_at == delete(image(), earlier).updated_at == NOON
