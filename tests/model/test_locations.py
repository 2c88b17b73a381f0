# SPDX-License-Identifier: Apache-2.0
"""Where an image's bytes may be said to lie, and what they are (the Images API v2)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from glance_registry.model.access import Caller
from glance_registry.model.contract import API_SERVERS, QUEENS, USERS
from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import Image, Location
from glance_registry.model.locations import (
    MAX_LOCATIONS,
    check_may_add_locations,
    check_may_describe_bytes,
    has_credentials,
    with_locations,
)
from glance_registry.model.locations import GivenLocation as Given

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
A, B = "https://a.test/x", "https://b.test/x"
SHA256 = {"os_hash_algo": "sha256", "os_hash_value": "a" * 64}


def image(status: str, **fields: Any) -> Image:
    formats = {"disk_format": "raw", "container_format": "bare"}
    return Image(id="one", created_at=NOON, updated_at=NOON, status=status, **formats, **fields)


def test_a_queued_image_becomes_active_with_what_is_claimed() -> None:
    after = with_locations(image("queued"), [Given(url=A, claims={"size": 7, **SHA256}), Given(url=B)])

    assert (after.status, after.size, after.os_hash_value) == ("active", 7, "a" * 64)
    assert [location.url for location in after.locations] == [A, B]


def test_an_active_image_takes_what_is_known_already_and_a_new_order() -> None:
    before = with_locations(image("queued"), [Given(url=A, claims={"size": 7})])

    after = with_locations(before, [Given(url=B, claims={"size": 7}), *before.locations])

    assert [location.url for location in after.locations] == [B, A]
    assert after.size == 7


@pytest.mark.parametrize(
    ("before", "given", "refusal"),
    [
        (image("deactivated"), [Given(url=A)], Conflict),
        (image("queued"), [], Forbidden),
        (image("queued"), [Given(url=A), Given(url=A)], Invalid),
        (image("queued"), [Given(url=f"{A}/{n}") for n in range(MAX_LOCATIONS + 1)], Invalid),
        (
            image("queued"),
            [Given(url=A, claims={"size": 1}), Given(url=B, claims={"size": 2})],
            Conflict,
        ),
        (image("queued", size=1), [Given(url=A, claims={"size": 2})], Conflict),
        (image("active", locations=(Location(A),)), [Given(url=A, claims={"size": 2})], Conflict),
        (image("queued"), [Given(url=A, claims={"checksum": "z" * 32})], Invalid),
        (image("queued"), [Given(url=A, claims={"checksum": "a" * 31})], Invalid),
        (image("queued"), [Given(url=A, claims={"os_hash_algo": "md5", "os_hash_value": "a" * 32})], Invalid),
        (image("queued"), [Given(url=A, claims={"os_hash_algo": "sha256"})], Invalid),
        (image("queued"), [Given(url=A, claims={"os_hash_value": "a" * 64})], Invalid),
        (image("queued"), [Given(url=A, claims={**SHA256, "os_hash_algo": "sha512"})], Invalid),
    ],
)
def test_locations_that_cannot_be_are_refused(before: Image, given: list[Given], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        with_locations(before, given)


def test_a_location_given_again_keeps_its_status_and_gets_the_new_metadata() -> None:
    before = image("active", locations=(Location(A, {"zone": "1"}, "pending_delete", 7),))

    (after,) = with_locations(before, [Given(url=A, metadata={"zone": "2"})]).locations

    assert after == Location(A, {"zone": "2"}, "pending_delete", 7)


def test_a_claim_that_says_what_is_known_changes_nothing() -> None:
    before = image("active", size=7, locations=(Location(A, id=1),))

    assert with_locations(before, [Given(url=A, claims={"size": 7})]) == before


USER, WRITER, SERVICE = Caller(project="anna"), Caller(writer=True), Caller(project="anna", service=True)
SCHEMES = frozenset({"http", "https", "rbd"})
STORE = "rbd://pool/image"


@pytest.mark.parametrize(
    ("caller", "status", "url", "refusal"),
    [
        (USER, "queued", A, None),
        (USER, "queued", "HTTPS://a.test/x", None),
        (USER, "queued", STORE, Forbidden),
        (WRITER, "queued", STORE, None),
        (SERVICE, "queued", STORE, None),
        (USER, "active", A, Forbidden),
        (SERVICE, "active", A, Forbidden),
        (WRITER, "active", A, None),
        (WRITER, "queued", "file:///etc/passwd", Invalid),
        (WRITER, "queued", "https://u:p@a.test/x", Invalid),
        (WRITER, "queued", "no url", Invalid),
        (WRITER, "queued", "https://a.test/with blank", Invalid),
    ],
)
def test_who_may_give_an_image_a_location(
    caller: Caller, status: str, url: str, refusal: type[Exception] | None
) -> None:
    before = image(status)
    after = replace(before, locations=(Location(url),))

    if refusal is None:
        check_may_add_locations(caller, before, after, SCHEMES)
    else:
        with pytest.raises(refusal):
            check_may_add_locations(caller, before, after, SCHEMES)


def test_a_location_that_was_there_before_is_nobody_s_act() -> None:
    before = image("active", locations=(Location("file:///old"), Location(A)))

    check_may_add_locations(USER, before, replace(before, locations=before.locations[:1]), SCHEMES)


def test_a_user_is_told_of_no_scheme_but_those_that_users_may_name() -> None:
    with pytest.raises(Forbidden, match=r"^A location here must begin with http: or https:\.$"):
        check_may_add_locations(USER, image("queued"), image("queued", locations=(Location(STORE),)), SCHEMES)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"locations": (Location(A),)}, "locations"),
        ({"checksum": "a" * 32}, "checksum"),
        ({"size": 1}, "size"),
        ({"name": "x"}, None),
    ],
)
@pytest.mark.parametrize("before", [None, image("queued")], ids=["new", "changed"])
def test_where_users_call_only_writers_say_what_the_bytes_are(
    fields: dict[str, Any], named: str | None, before: Image | None
) -> None:
    contract, after = replace(QUEENS, clients=USERS), image("queued", **fields)

    check_may_describe_bytes(WRITER, before, after, contract)
    if named is None:
        check_may_describe_bytes(USER, before, after, contract)
    else:
        with pytest.raises(Forbidden, match=f"'{named}'"):
            check_may_describe_bytes(USER, before, after, contract)


def test_an_api_server_names_stores_of_the_setting_alone_blanks_and_all() -> None:
    contract = replace(QUEENS, clients=API_SERVERS, location_schemes=frozenset({"rbd"}))

    check_may_describe_bytes(USER, None, image("active", locations=(Location("rbd://pool/an image"),)), contract)
    with pytest.raises(Invalid, match="must begin with rbd:"):
        check_may_describe_bytes(USER, None, image("active", locations=(Location(A),)), contract)


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("https://a.test/x", False),
        ("https://u@a.test/x", True),
        ("swift+https://u:p@a.test/x", True),
        ("https://a.test/u@x", False),
        ("https://a.test?u@x", False),
        ("not a url@", False),
    ],
)
def test_a_url_with_a_user_s_name_has_credentials(url: str, has: bool) -> None:
    assert has_credentials(url) == has
