# SPDX-License-Identifier: Apache-2.0
"""What a change makes of an image: pure, with the clock in hand (registry protocol, section 3)."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from glance_registry.model.changes import (
    ANY,
    AddLocation,
    AddTag,
    Change,
    Deactivate,
    Delete,
    OverwriteLocations,
    Precondition,
    Reactivate,
    RemoveLocation,
    RemoveProperty,
    RemoveTag,
    SetField,
    SetFirstLocation,
    SetLocations,
    SetProperties,
    SetProperty,
    SetPublic,
    SetTags,
    Touch,
    apply,
)
from glance_registry.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    RegistryError,
)
from glance_registry.model.image import COMMUNITY, PUBLIC, SHARED, Image, Location
from glance_registry.model.locations import GivenLocation
from glance_registry.model.member import Member, revision_of

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)
A, B, C = (Location(f"http://store/{name}") for name in "abc")


def image(**fields: Any) -> Image:
    return Image(**{"id": "one", "created_at": NOON, "updated_at": NOON, **fields})


def numbered(*locations: tuple[Location, int]) -> tuple[Location, ...]:
    return tuple(Location(each.url, each.metadata, each.status, number) for each, number in locations)


def test_given_fields_change_the_rest_stays_and_the_version_counts() -> None:
    before = image(name="old", size=7, properties={"a": "1"}, version=4)

    after = apply(before, [SetField("name", "new")], LATER)

    assert after == Image(
        id="one", created_at=NOON, updated_at=LATER, name="new", size=7, properties={"a": "1"}, version=5
    )
    assert before.name == "old"


def test_a_field_can_be_made_null_which_is_not_the_same_as_left_out() -> None:
    assert apply(image(name="old"), [SetField("name", None)], LATER).name is None


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

    assert apply(before, [SetProperties(given, purge)], LATER).properties == kept
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
    given = [] if is_public is None else [SetPublic(is_public)]

    changed = apply(image(visibility=current), given, LATER)

    assert changed.visibility == outcome
    assert changed.is_public == (outcome == PUBLIC)


def test_a_change_from_a_status_applies_only_there() -> None:
    saving = image(status="saving")

    Precondition(from_status="saving").check(saving)
    with pytest.raises(Conflict, match="Image operation conflicts"):
        Precondition(from_status="queued").check(saving)


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
    assert apply(image(locations=before), [OverwriteLocations(given)], LATER).locations == after


def test_a_location_given_again_has_its_new_status_and_metadata_under_the_old_id() -> None:
    again = Location(A.url, {"zone": "2"}, "pending_delete")

    changed = apply(image(locations=OLD), [OverwriteLocations((again,))], LATER)

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
    locations = tuple(Location(f"http://store/{number}", {}, status) for number, status in enumerate(statuses))

    assert image(locations=locations).location == (None if shown is None else f"http://store/{shown}")


def test_a_deleted_image_keeps_its_fields_but_not_its_properties_and_locations() -> None:
    before = image(name="natty", size=7, status="active", properties={"a": "1"}, locations=OLD, version=4)

    gone = apply(before, [Delete()], LATER)

    assert gone == Image(id="one", created_at=NOON, updated_at=LATER, deleted_at=LATER, name="natty", size=7, version=5)
    assert gone.deleted


def test_a_protected_image_cannot_be_deleted() -> None:
    with pytest.raises(Forbidden, match="Image one is protected"):
        apply(image(protected=True), [Delete()], LATER)


def test_an_image_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        image().name = "new"  # type: ignore[misc]


def test_nothing_is_changed_or_deleted_before_it_is_created_whatever_the_clocks_say() -> None:
    earlier = NOON - timedelta(seconds=1)

    gone = apply(image(), [Delete()], earlier)

    assert apply(image(), [Touch()], earlier).updated_at == NOON
    assert gone.deleted_at == gone.updated_at == NOON


FORMATS = {"disk_format": "raw", "container_format": "bare"}
QUEUED, ACTIVE = image(status="queued", **FORMATS), image(**FORMATS, locations=OLD, size=7)
GIVEN = GivenLocation(url=C.url, metadata={"zone": "1"}, claims={"size": 7})
AGAIN = GivenLocation(url=A.url)
TAGGED = image(tags=("a", "b"), properties={"p": "1", "null": None})
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"

# before | change | what is different after it
OUTCOMES: list[tuple[Image, Change, dict[str, Any]]] = [
    (TAGGED, SetField("min_disk", 3), {"min_disk": 3}),
    (TAGGED, SetField("protected", True), {"protected": True}),
    (TAGGED, SetTags(("z", " y ", "z")), {"tags": ("y", "z")}),
    (TAGGED, AddTag(" c "), {"tags": ("a", "b", "c")}),
    (TAGGED, RemoveTag("a"), {"tags": ("b",)}),
    (image(tags=(" a ", "b")), RemoveTag("a"), {"tags": ("b",)}),
    (TAGGED, SetProperty("p", None), {"properties": {"p": None, "null": None}}),
    (TAGGED, SetProperty("p", "2", exists=True), {"properties": {"p": "2", "null": None}}),
    (TAGGED, SetProperty("q", "2", exists=False), {"properties": {"p": "1", "null": None, "q": "2"}}),
    (TAGGED, SetProperty("null", "2", exists=True), {"properties": {"p": "1", "null": "2"}}),
    (TAGGED, SetProperty("null", "2", exists=False), {"properties": {"p": "1", "null": "2"}}),
    (TAGGED, RemoveProperty("null"), {"properties": {"p": "1"}}),
    (TAGGED, SetPublic(True), {"visibility": PUBLIC}),
    (QUEUED, OverwriteLocations((A,)), {"locations": numbered((A, 1))}),
    (QUEUED, SetLocations((GIVEN,)), {"size": 7, "locations": (Location(C.url, {"zone": "1"}, id=1),)}),
    (ACTIVE, SetLocations((AGAIN,)), {"locations": numbered((A, 1))}),
    (QUEUED, SetFirstLocation(AGAIN), {"status": "active", "locations": numbered((A, 1))}),
    (ACTIVE, AddLocation(GivenLocation(url=C.url), 1), {"locations": numbered((A, 1), (C, 4), (B, 3))}),
    (ACTIVE, AddLocation(GivenLocation(url=C.url)), {"locations": numbered((A, 1), (B, 3), (C, 4))}),
    (ACTIVE, RemoveLocation(0), {"locations": numbered((B, 3))}),
    (ACTIVE, Deactivate(), {"status": "deactivated"}),
    (image(status="deactivated"), Reactivate(), {"status": "active"}),
    (ACTIVE, Delete(), {"deleted_at": LATER, "locations": ()}),
    (ACTIVE, Delete("deleted"), {"deleted_at": LATER, "locations": (), "status": "deleted"}),
    (TAGGED, Touch(), {}),
]


@pytest.mark.parametrize(("before", "change", "different"), OUTCOMES)
def test_a_change_makes_a_new_version_with_what_it_says(
    before: Image, change: Change, different: dict[str, Any]
) -> None:
    after = apply(before, [change], LATER)

    assert {name: getattr(after, name) for name in different} == different
    assert (after.version, after.updated_at) == (before.version + 1, LATER)


def test_there_is_an_example_of_every_change() -> None:
    assert {type(change) for _, change, _ in OUTCOMES} | {SetProperties} == set(get_args(Change))


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (TAGGED, SetField("min_disk", 0)),
        (TAGGED, AddTag("a")),
        (TAGGED, SetProperty("p", "1")),
        (TAGGED, SetPublic(False)),
        (ACTIVE, OverwriteLocations(())),
        (ACTIVE, Reactivate()),
        (image(status="deactivated"), Deactivate()),
    ],
)
def test_what_is_so_already_makes_no_new_version(before: Image, change: Change) -> None:
    assert apply(before, [change], LATER) is before


@pytest.mark.parametrize(
    ("before", "change", "refusal", "sentence"),
    [
        (TAGGED, RemoveTag("c"), NotFound, "Image one has no such tag"),
        (TAGGED, SetProperty("p", "2", exists=False), Conflict, "Property p is already present"),
        (TAGGED, SetProperty("q", "2", exists=True), Conflict, "Property q does not exist"),
        (TAGGED, RemoveProperty("q"), Conflict, "Property q does not exist"),
        (image(status="saving"), SetLocations((AGAIN,)), Conflict, "whose status is 'saving'"),
        (ACTIVE, SetLocations(()), Forbidden, "keeps its last location"),
        (image(status="queued"), SetLocations((AGAIN,)), Invalid, "must be set before"),
        (ACTIVE, SetFirstLocation(AGAIN), Conflict, "add locations if image status is 'active'"),
        (ACTIVE, AddLocation(GIVEN, 3), Invalid, "no position 3"),
        (ACTIVE, AddLocation(AGAIN), Invalid, "given twice"),
        (ACTIVE, RemoveLocation(2), Invalid, "no position 2"),
        (image(locations=(A,)), RemoveLocation(0), Forbidden, "keeps its last location"),
        (QUEUED, Deactivate(), Forbidden, "Not allowed to deactivate"),
        (QUEUED, Reactivate(), Forbidden, "Not allowed to reactivate"),
        (image(status="deleted"), Delete("deleted"), Conflict, "cannot become 'deleted'"),
        (image(protected=True), Delete("deleted"), Forbidden, "is protected"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(
    before: Image, change: Change, refusal: type[RegistryError], sentence: str
) -> None:
    with pytest.raises(refusal, match=sentence):
        apply(before, [change], LATER)


def test_changes_are_made_in_their_order_and_are_one_version() -> None:
    changes = [AddTag("c"), RemoveTag("a"), SetProperty("q", "2", exists=False), RemoveProperty("q")]

    after = apply(TAGGED, changes, LATER)

    assert after == image(tags=("b", "c"), properties=TAGGED.properties, version=2, updated_at=LATER)


EXAMPLES = st.sampled_from([change for _, change, _ in OUTCOMES])
TEXTS = st.text(max_size=5)
LOCATIONS = st.builds(
    GivenLocation,
    url=TEXTS,
    metadata=st.dictionaries(TEXTS, st.none() | st.integers(-9, 9) | TEXTS, max_size=2),
    claims=st.dictionaries(st.sampled_from(["size", "checksum", "os_hash_algo", "os_hash_value"]), TEXTS, max_size=2),
)
CHANGES = (
    EXAMPLES
    | st.builds(SetField, st.sampled_from(["name", "owner", "disk_format"]), st.none() | TEXTS)
    | st.builds(SetField, st.sampled_from(["min_disk", "size"]), st.integers(0, 2**63 - 1))
    | st.builds(SetTags, st.lists(TEXTS, max_size=3).map(tuple))
    | st.builds(SetProperty, TEXTS, st.none() | TEXTS, st.none() | st.booleans())
    | st.builds(SetProperties, st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3), st.booleans())
    | st.builds(OverwriteLocations, st.lists(st.builds(Location, TEXTS), max_size=3).map(tuple))
    | st.builds(AddLocation, LOCATIONS, st.none() | st.integers(0, 3))
    | st.builds(SetLocations, st.lists(LOCATIONS, max_size=3).map(tuple))
)
BEFORE = st.sampled_from([QUEUED, ACTIVE, TAGGED, image(status="deactivated"), image(protected=True)])
DECODER = msgspec.json.Decoder(list[Change])


@drawn(BEFORE, st.lists(CHANGES, max_size=4))
def test_changes_that_were_stored_do_the_same(before: Image, changes: list[Change]) -> None:
    stored = DECODER.decode(msgspec.json.encode(changes))

    assert stored == changes
    assert _outcome(before, stored) == _outcome(before, changes)


def _outcome(before: Image, changes: list[Change]) -> Image | tuple[type[RegistryError], str]:
    try:
        return apply(before, changes, LATER)
    except RegistryError as error:
        return type(error), str(error)


def test_a_change_is_stored_under_its_name_without_what_is_left_out() -> None:
    assert msgspec.json.encode([Touch(), SetProperty("a", "1"), Delete()]) == (
        b'[{"change":"Touch"},{"change":"SetProperty","name":"a","value":"1"},{"change":"Delete"}]'
    )


def test_a_change_is_printed_without_the_secrets_of_a_location() -> None:
    url, metadata = "swift+https://user:secret@store.test/secret", {"key": "secret"}
    given = GivenLocation(url=url, metadata=metadata, claims={"size": 7})
    before = image(locations=(Location(url, metadata, id=1), Location("secret")))
    changes = [AddLocation(given, 1), SetLocations((given,)), OverwriteLocations(before.locations)]

    assert repr(AddLocation(given, 1)) == (
        "AddLocation(location=GivenLocation(swift+https://…, claims={'size': 7}), position=1)"
    )
    assert "secret" not in repr(changes) + repr(SetFirstLocation(given)) + repr(before)


def test_a_precondition_names_the_revision_of_an_image() -> None:
    seen = Precondition(revisions=frozenset({"0-0", ACTIVE.revision}))
    seen.check(ACTIVE)

    for newer in (apply(ACTIVE, [Touch()], NOON), image(version=1, updated_at=LATER)):
        with pytest.raises(PreconditionFailed, match="Image one was changed since"):
            seen.check(newer)
    with pytest.raises(PreconditionFailed):
        Precondition(revisions=frozenset()).check(ACTIVE)
    ANY.check(ACTIVE)


def test_a_precondition_names_the_revision_of_members() -> None:
    members = [Member(member_id="anna")]
    seen = Precondition(revisions=frozenset({revision_of(members)}))
    seen.check_members(members)

    with pytest.raises(PreconditionFailed, match="The members of the image were changed since"):
        seen.check_members([])
    ANY.check_members([])
