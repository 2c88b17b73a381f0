# SPDX-License-Identifier: Apache-2.0
"""The Registry API's bodies about images, to and from model values.

The Struct types are the shapes on the wire: they validate what comes in and describe it in the OpenAPI document.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from glance_registry.api.json_body import convert, read_object, read_switch
from glance_registry.model.access import Caller, owner_of_new, permitted
from glance_registry.model.changes import (
    Change,
    OverwriteLocations,
    Precondition,
    SetField,
    SetProperties,
    SetPublic,
    Touch,
)
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_INT32, MAX_INT64, PUBLIC, SHARED, Image, Location, number

_encode = msgspec.json.Encoder().encode

EXACT = 2**53
"""A JSON number with a fraction or an exponent may be rounded to a whole number from here on."""

Name = Annotated[str, Meta(max_length=255)]
Bytes = Annotated[int, Meta(ge=0, le=MAX_INT64)]
Whole = Annotated[int, Meta(ge=0, le=MAX_INT32)]
Url = Annotated[str, Meta(max_length=4096)]
PropertyName = Annotated[str, Meta(min_length=1, max_length=255)]
PropertyValue = Annotated[str, Meta(max_length=65_535)] | int | float | None


class PropertyBody(Struct):
    """An entry of `properties` when that is a list; the name is under `name` or `key`."""

    value: PropertyValue
    name: PropertyName | None = None
    key: PropertyName | None = None


class LocationBody(Struct):
    url: Annotated[str, Meta(min_length=1, max_length=4096)]
    metadata: dict[str, Any] = {}
    status: Literal["active", "pending_delete", "deleted"] = "active"


class ImageBody(Struct):
    """What a client may set. Any other field is ignored, as the times and `deleted` are."""

    id: int | str | UnsetType | None = UNSET
    name: Name | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    disk_format: str | UnsetType | None = UNSET
    container_format: str | UnsetType | None = UNSET
    size: Bytes | UnsetType | None = UNSET
    virtual_size: Bytes | UnsetType | None = UNSET
    checksum: Annotated[str, Meta(max_length=32)] | UnsetType | None = UNSET
    owner: Name | UnsetType | None = UNSET
    min_disk: Whole | UnsetType | None = UNSET
    min_ram: Whole | UnsetType | None = UNSET
    is_public: bool | UnsetType = UNSET
    protected: bool | UnsetType = UNSET
    location: Url | UnsetType | None = UNSET
    location_data: list[LocationBody] | UnsetType | None = UNSET
    properties: dict[PropertyName, PropertyValue] | list[PropertyBody] | UnsetType | None = UNSET


class ImageRequest(Struct):
    image: ImageBody
    from_state: str | None = None


class BriefImage(Struct):
    id: str
    name: str | None
    size: int | None
    disk_format: str | None
    container_format: str | None
    checksum: str | None


class ShownLocation(Struct):
    """Without a number.

    Compat: API servers of 2014.2 and later, given an `id`, look it up in a database of their own when they delete the
    image: they have removed the bytes by then, find nothing, and make the image active again.
    """

    url: str
    metadata: Mapping[str, Any]
    status: str


class ShownImage(BriefImage):
    status: str
    created_at: str
    updated_at: str
    deleted_at: str | None
    deleted: bool
    is_public: bool
    owner: str | None
    min_disk: int
    min_ram: int
    protected: bool
    virtual_size: int | None
    location: str | None
    location_data: list[ShownLocation]
    properties: dict[str, str | None]


class OneImage(Struct):
    image: ShownImage


class BriefImages(Struct):
    images: list[BriefImage]


class ShownImages(Struct):
    images: list[ShownImage]


_SET_AS_GIVEN = (
    *("name", "status", "disk_format", "container_format", "size", "virtual_size"),
    *("checksum", "owner", "min_disk", "min_ram", "protected"),
)
# Compat: header-born values of 2011 arrive as strings; "numbers as strings are accepted", "is_public: 'False'
# means false" (protocol, section 3).
_NUMBERS = frozenset({"size", "virtual_size", "min_disk", "min_ram"})
_SWITCHES = frozenset({"is_public", "protected"})


def read_new(body: bytes, contract: Contract, caller: Caller, new_id: Callable[[], str], now: datetime) -> Image:
    """The image that a client wants registered, under the id that it chose, if any. Raises Invalid."""
    request = _read_request(body)
    given = request.image.id
    image_id = new_id() if given is UNSET or given is None else contract.image_id(given)
    fields = _fields(request.image)
    return Image(
        id=image_id,
        created_at=now,
        updated_at=now,
        visibility=PUBLIC if request.image.is_public is True else SHARED,
        properties=_properties(request.image.properties),
        locations=number(_locations(request.image), ()),
        **{**fields, "owner": owner_of_new(caller, fields.get("owner"))},
    )


def read_update(body: bytes, image_id: str, caller: Caller, *, purge: bool) -> tuple[list[Change], Precondition]:
    """What a client wants changed in an image, and from which status. Raises Invalid."""
    request = _read_request(body)
    image = request.image
    if image.id is not UNSET and image.id is not None and str(image.id) != image_id:
        raise Invalid("Field 'id' cannot be changed; it must be the id in the path, or be left out.")
    # Compat: an update that changes nothing makes a new version with a new `updated_at`, too.
    changes: list[Change] = [Touch(), *(SetField(*field) for field in permitted(caller, _fields(image)).items())]
    if image.is_public is not UNSET:
        changes.append(SetPublic(image.is_public))
    if (properties := _properties(image.properties)) or purge:
        changes.append(SetProperties(properties, purge))
    if locations := _locations(image):
        changes.append(OverwriteLocations(locations))
    return changes, Precondition(from_status=request.from_state)


def _read_request(body: bytes) -> ImageRequest:
    value = read_object(body)
    if not isinstance(value.get("image"), dict):
        raise Invalid("The body must be a JSON object with the field 'image': {\"image\": {…}}.")
    image = {name: _loosen(name, given) for name, given in value["image"].items()}
    return convert({**value, "image": image}, ImageRequest)


def _loosen(name: str, given: Any) -> Any:
    """A number or a switch that came as a string, as what it means."""
    if name in _NUMBERS and isinstance(given, str) and re.fullmatch(r"\d{1,30}", given, re.ASCII):
        return int(given)
    return read_switch(given) if name in _SWITCHES else given


def _fields(image: ImageBody) -> dict[str, Any]:
    """The fields of `Image` that are given."""
    given = {name: getattr(image, name) for name in _SET_AS_GIVEN}
    # "null min_disk and min_ram are 0, an empty owner is null" (protocol, section 3).
    meant: dict[str, Any] = {name: 0 for name in ("min_disk", "min_ram") if given[name] is None}
    if given["owner"] == "":
        meant["owner"] = None
    return {name: value for name, value in {**given, **meant}.items() if value is not UNSET}


def _properties(given: Any) -> dict[str, str | None]:
    if given is UNSET or given is None:
        return {}
    if isinstance(given, dict):
        return {name: _property_text(name, value) for name, value in given.items()}
    properties: dict[str, str | None] = {}
    for entry in given:
        name = entry.name or entry.key
        if not name:
            raise Invalid("Every entry of field 'properties' needs a 'name' (or 'key') and a 'value'.")
        properties[name] = _property_text(name, entry.value)
    return properties


def _property_text(name: str, value: str | float | None) -> str | None:
    """A property's value as it is stored.

    Raises Invalid for a number that may have been rounded when it was read, or that has more than 64 bits.
    """
    if value is None or isinstance(value, str):
        return value
    if abs(value) >= EXACT if isinstance(value, float) else value.bit_length() > 64:
        raise Invalid(f"The number of property '{name}' is too large: send it as a text.")
    return str(value)


def _locations(image: ImageBody) -> tuple[Location, ...]:
    """Both fields as one list; "the same url in both is one", absent or empty means no change."""
    given = [Location(entry.url, entry.metadata, entry.status) for entry in image.location_data or ()]
    if image.location and all(location.url != image.location for location in given):
        given.insert(0, Location(image.location))
    return tuple(given)


def brief(image: Image) -> BriefImage:
    return BriefImage(
        id=image.id,
        name=image.name,
        size=image.size,
        disk_format=image.disk_format,
        container_format=image.container_format,
        checksum=image.checksum,
    )


def shown(image: Image, with_locations: bool) -> ShownImage:
    locations = image.locations if with_locations else ()
    return ShownImage(
        id=image.id,
        name=image.name,
        size=image.size,
        disk_format=image.disk_format,
        container_format=image.container_format,
        checksum=image.checksum,
        status=image.status,
        created_at=timestamp(image.created_at),
        updated_at=timestamp(image.updated_at),
        deleted_at=None if image.deleted_at is None else timestamp(image.deleted_at),
        deleted=image.deleted,
        is_public=image.is_public,
        owner=image.owner,
        min_disk=image.min_disk,
        min_ram=image.min_ram,
        protected=image.protected,
        virtual_size=image.virtual_size,
        location=image.location if with_locations else None,
        location_data=[ShownLocation(location.url, location.metadata, location.status) for location in locations],
        properties=dict(image.properties),
    )


def brief_json(image: Image) -> bytes:
    return _encode(brief(image))


def one_json(shown: ShownImage) -> bytes:
    return _encode(OneImage(shown))


def shown_json(image: Image, with_locations: bool) -> bytes:
    return _encode(shown(image, with_locations))


def timestamp(instant: datetime) -> str:
    """`2026-11-23T09:36:08.007599`: UTC, no zone (protocol, section 3)."""
    # As msgspec writes it, which is ten times as quick as isoformat; it leaves out a fraction of zero.
    text = _encode(instant)[1:27].decode()
    return text if instant.microsecond else f"{text[:19]}.000000"
