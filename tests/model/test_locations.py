# SPDX-License-Identifier: Apache-2.0
"""Where an image's bytes may be said to lie, and what they are (the Images API v2)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import Image, Location
from glance_registry.model.locations import MOST_LOCATIONS, Place, placed

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
A, B = "https://a.test/x", "https://b.test/x"
SHA256 = {"os_hash_algo": "sha256", "os_hash_value": "a" * 64}


def image(status: str, **fields: Any) -> Image:
    formats = {"disk_format": "raw", "container_format": "bare"}
    return Image(id="one", created_at=NOON, updated_at=NOON, status=status, **formats, **fields)


def test_a_queued_image_becomes_active_with_what_is_claimed() -> None:
    after = placed(image("queued"), [Place(url=A, claims={"size": 7, **SHA256}), Place(url=B)])

    assert (after.status, after.size, after.os_hash_value) == ("active", 7, "a" * 64)
    assert [place.url for place in after.locations] == [A, B]


def test_an_active_image_takes_what_is_known_already_and_a_new_order() -> None:
    before = placed(image("queued"), [Place(url=A, claims={"size": 7})])

    after = placed(before, [Place(url=B, claims={"size": 7}), *before.locations])

    assert [place.url for place in after.locations] == [B, A]
    assert after.size == 7


@pytest.mark.parametrize(
    ("before", "places", "refusal"),
    [
        (image("deactivated"), [Place(url=A)], Conflict),
        (image("queued"), [], Forbidden),
        (image("queued"), [Place(url=A), Place(url=A)], Invalid),
        (image("queued"), [Place(url=f"{A}/{n}") for n in range(MOST_LOCATIONS + 1)], Invalid),
        (image("queued"), [Place(url=A, claims={"size": 1}), Place(url=B, claims={"size": 2})], Conflict),
        (image("queued", size=1), [Place(url=A, claims={"size": 2})], Conflict),
        (image("active", locations=(Location(A),)), [Place(url=A, claims={"size": 2})], Conflict),
        (image("queued"), [Place(url=A, claims={"checksum": "z" * 32})], Invalid),
        (image("queued"), [Place(url=A, claims={"checksum": "a" * 31})], Invalid),
        (image("queued"), [Place(url=A, claims={"os_hash_algo": "md5", "os_hash_value": "a" * 32})], Invalid),
        (image("queued"), [Place(url=A, claims={"os_hash_algo": "sha256"})], Invalid),
        (image("queued"), [Place(url=A, claims={"os_hash_value": "a" * 64})], Invalid),
        (image("queued"), [Place(url=A, claims={**SHA256, "os_hash_algo": "sha512"})], Invalid),
    ],
)
def test_locations_that_cannot_be_are_refused(before: Image, places: list[Place], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        placed(before, places)
