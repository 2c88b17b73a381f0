# SPDX-License-Identifier: Apache-2.0
"""The bodies of the Images API v2, to and from model values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from glance_registry.api.json_body import convert, read_object
from glance_registry.api.v2.offer import Offer
from glance_registry.model.changes import as_tags
from glance_registry.model.errors import Forbidden, Invalid
from glance_registry.model.image import ACTIVE, MAX_NAME_LENGTH, SHARED, Image, Location
from glance_registry.model.locations import GivenLocation, has_credentials
from glance_registry.model.member import Member
from glance_registry.model.status import DEACTIVATED

_encode = msgspec.json.Encoder().encode

READ_ONLY = frozenset(
    {
        *("created_at", "updated_at", "status", "checksum", "size", "virtual_size", "os_hash_algo", "os_hash_value"),
        *("direct_url", "self", "file", "schema", "stores"),
    }
)
RESERVED = frozenset({"location", "deleted", "deleted_at"})
RESERVED_PREFIX = "os_glance"

FIELDS = ("name", "visibility", "protected", "os_hidden", "owner", "container_format", "disk_format")
NUMBERS = ("min_ram", "min_disk")


class ListedMember(Struct):
    member_id: str
    image_id: str
    status: str
    created_at: str
    updated_at: str
    schema: str = "/v2/schemas/member"


class Invitation(Struct):
    member: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class Decision(Struct):
    status: Literal["pending", "accepted", "rejected"]


class ListedMembers(Struct):
    members: list[ListedMember]
    schema: str = "/v2/schemas/members"


class ListedImages(Struct):
    """A page; `first` and `next` are paths with a query."""

    images: list[Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]]
    first: str
    next: str | UnsetType = UNSET
    schema: str = "/v2/schemas/images"


class ShownLocation(Struct):
    url: str
    metadata: Mapping[str, Any]


def check_may_name(name: str) -> None:
    """Raise Forbidden for an attribute that clients do not set."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def read_new(body: bytes, offer: Offer) -> dict[str, Any]:
    """The fields of `Image` that a client gives a new one, `id` if it chose one. Raises Invalid or Forbidden."""
    value = read_object(body)
    for name in value:
        check_may_name(name)
    if "locations" in value:
        raise Forbidden("Attribute 'locations' is reserved for images that are there already.")
    offer.schemas.check_image(value)
    fields: dict[str, Any] = {name: value.pop(name) for name in FIELDS if name in value}
    # JSON has no whole numbers of its own: a schema takes 1.0 for one.
    fields |= {name: int(value.pop(name)) for name in NUMBERS if name in value}
    fields["tags"] = as_tags(value.pop("tags", ()))
    if fields.get("owner") == "":
        fields["owner"] = None
    if "id" in value:
        fields["id"] = value.pop("id")
    return {"visibility": SHARED, **fields, "properties": {name: as_property(name, value[name]) for name in value}}


def as_property(name: str, value: Any) -> str | None:
    """A property's value as it is stored, after its schema allowed it.

    Raises Invalid for a value that the Registry API would show as another one: an operator's schema may allow numbers.
    """
    if value is None or isinstance(value, str):
        return value
    raise Invalid(f"Property '{name}' must be a string.")


def read_location(body: bytes, offer: Offer) -> GivenLocation:
    """The location that a client of version 2.17 adds. Raises Invalid."""
    value = {"metadata": {}, **read_object(body)}
    offer.schemas.check_part({"locations": [value]})
    return as_location(value)


def as_location(value: Mapping[str, Any]) -> GivenLocation:
    """A location that its schema allows."""
    given: Mapping[str, Any] = value.get("validation_data", {})
    claims = {name: claim.lower() if isinstance(claim, str) else int(claim) for name, claim in given.items()}
    return GivenLocation(url=value["url"], metadata=value.get("metadata", {}), claims=claims)


def read_invitation(body: bytes) -> str:
    """The project that shall be a member. Raises Invalid."""
    return convert(read_object(body), Invitation).member


def read_decision(body: bytes) -> str:
    """The status that a membership shall have. Raises Invalid."""
    return convert(read_object(body), Decision).status


def shown_json(image: Image, offer: Offer) -> bytes:
    """The image as it is sent.

    A property with the name of a field is not shown; the Registry API has fewer fields and allows it. A null property
    is shown only if its schema allows null, because clients take any other for a string.
    """
    path = "/v2/images/" + image.id
    fields: dict[str, Any] = {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "tags": image.tags,
        "created_at": timestamp(image.created_at),
        "updated_at": timestamp(image.updated_at),
        "self": path,
        "file": path + "/file",
        "schema": "/v2/schemas/image",
    }
    if image.stores:
        fields["stores"] = ",".join(image.stores)
    # Of a deactivated image nobody is told here where the bytes lie. A URL that holds credentials, as an API server
    # may have registered it, is for those who may GET the locations.
    if offer.show_multiple_locations:
        public = [location for location in image.locations if not has_credentials(location.url)]
        fields["locations"] = [] if image.status == DEACTIVATED else shown_locations(public)
    url = image.location
    if offer.show_image_direct_url and url is not None and not has_credentials(url) and image.status != DEACTIVATED:
        fields["direct_url"] = url
    nullable = offer.schemas.nullable
    for name, value in image.properties.items():
        if name not in fields and name not in _HIDDEN and (value is not None or name in nullable):
            fields[name] = value
    return _encode(fields)


_HIDDEN = frozenset({"locations", "direct_url", "stores"})
"""Fields that are not always there: a property of the name must not be taken for one."""


def shown_locations(locations: Sequence[Location]) -> list[ShownLocation]:
    return [ShownLocation(location.url, location.metadata) for location in locations if location.status == ACTIVE]


def shown_member(image: Image, member: Member) -> ListedMember:
    """Whoever became a member before times were kept, did so no earlier than the image was there."""
    created_at = member.created_at or image.created_at
    return ListedMember(
        member_id=member.member_id,
        image_id=image.id,
        status=member.status,
        created_at=timestamp(created_at),
        updated_at=timestamp(member.updated_at or created_at),
    )


def timestamp(instant: datetime) -> str:
    """`2026-11-23T09:36:08Z`."""
    # As msgspec writes it, which is ten times as quick as isoformat.
    return _encode(instant)[1:20].decode() + "Z"
