# SPDX-License-Identifier: Apache-2.0
"""Where an image's bytes may be said to lie, and what they are (the Images API v2)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import Image, Location
from glance_registry.model.locations import MOST_LOCATIONS, with_locations
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
        (image("queued"), [Given(url=f"{A}/{n}") for n in range(MOST_LOCATIONS + 1)], Invalid),
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
