# SPDX-License-Identifier: Apache-2.0
"""An image's metadata as an immutable value."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.model.errors import Forbidden

PUBLIC = "public"
COMMUNITY = "community"
"""Open to everybody who knows the id, in nobody's list."""

PRIVATE = "private"
"""For the owner alone."""

SHARED = "shared"
"""Not public; the owner may share the image with members. What `is_public: false` means."""

VISIBILITIES = (PUBLIC, COMMUNITY, SHARED, PRIVATE)

ACTIVE = "active"
"""The status of an image whose bytes can be fetched; the status of a location in use."""

MAX_INT32 = 2**31 - 1
"""Of `min_disk`, `min_ram` and `version`."""

MAX_INT64 = 2**63 - 1
"""Of sizes."""

MAX_PROPERTIES = 128
"""Of one image, unless a setting says otherwise."""

MAX_PROPERTIES_SETTING = 1_000
"""What the setting may say: the Registry API shows every property in a header."""

MAX_TAGS = 128
MAX_NAME_LENGTH = 255
"""In characters: of a name, a property's name, a tag."""
MAX_VALUE_LENGTH = 65_535
"""In characters, of a property."""


class Location(Struct, frozen=True):
    """Where an image's bytes lie. `id` is unique within the image and outlives updates that keep the url."""

    url: str
    metadata: Mapping[str, Any] = {}
    status: str = ACTIVE
    id: int | None = None

    def __repr__(self) -> str:
        return f"Location({without_secrets(self.url)}, status={self.status!r}, id={self.id})"


def without_secrets(url: str) -> str:
    """A URL as it may be logged: its scheme alone, since the rest may hold a password."""
    scheme, mark, _ = url.partition("://")
    return f"{scheme}{mark}…" if mark else "…"


class Image(Struct, frozen=True, kw_only=True):
    """One row of the catalogue.

    Sizes are in bytes, `min_disk` in GiB, `min_ram` in MiB; times are aware, in UTC. `tags` are sorted, none
    comes twice. A hidden image (`os_hidden`) is in no list that does not ask for hidden ones. `version` counts
    the changes: a save succeeds only over the version that was read. A property's value is a text, or null: a name
    without a value, which is not the empty text. `blob_number` is the row of the bytes that are kept here, `stores` the
    stores in which the image has them, sorted.
    """

    id: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    name: str | None = None
    status: str = ACTIVE
    visibility: str = SHARED
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    owner: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    properties: Mapping[str, str | None] = {}
    locations: tuple[Location, ...] = ()
    tags: tuple[str, ...] = ()
    os_hidden: bool = False
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    blob_number: int | None = None
    stores: tuple[str, ...] = ()
    version: int = 1

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def is_public(self) -> bool:
        return self.visibility == PUBLIC

    @property
    def location(self) -> str | None:
        """The url of the first location in use (registry protocol, section 3)."""
        return next((location.url for location in self.locations if location.status == ACTIVE), None)

    @property
    def revision(self) -> str:
        """A name for this version of the image. The version alone would come again after a restore from a backup."""
        return f"{self.version:x}-{int(self.updated_at.timestamp() * 1_000_000):x}"


def number(given: Sequence[Location], current: Sequence[Location]) -> tuple[Location, ...]:
    """Give every location its id: the one its url had before, or the next free one."""
    ids = {location.url: location.id for location in current if location.id is not None}
    following = max(ids.values(), default=0)
    numbered: dict[str, Location] = {}
    for location in given:
        if location.url in numbered:
            continue
        if location.url not in ids:
            following += 1
            ids[location.url] = following
        numbered[location.url] = replace(location, id=ids[location.url])
    return tuple(numbered.values())


def delete(image: Image, now: datetime) -> Image:
    """The image as a deleted row: its id stays taken, its properties, tags and locations are gone.

    Raises Forbidden when the image is protected.
    """
    if image.protected:
        raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
    at = not_before(image, now)
    return replace(
        image,
        deleted_at=at,
        updated_at=at,
        properties={},
        tags=(),
        locations=(),
        blob_number=None,
        stores=(),
        version=image.version + 1,
    )


def not_before(image: Image, now: datetime) -> datetime:
    """The time of a change: clocks differ and go back, but no change comes before the one before it."""
    return max(now, image.updated_at)
