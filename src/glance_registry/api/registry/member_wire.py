# SPDX-License-Identifier: Apache-2.0
"""The Registry API's bodies about members, to and from model values."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from glance_registry.api.json_body import convert, read_object, read_switch
from glance_registry.model.errors import Invalid
from glance_registry.model.member import MAX_MEMBERS

MemberId = Annotated[str, Meta(min_length=1, max_length=255)]


class MembershipBody(Struct):
    member_id: MemberId
    can_share: bool | None = None


class MembershipsRequest(Struct):
    memberships: Annotated[list[MembershipBody], Meta(max_length=MAX_MEMBERS)]


class CanShareBody(Struct):
    can_share: bool | None = None


class MemberRequest(Struct):
    member: CanShareBody


class ShownMember(Struct):
    member_id: str
    can_share: bool


class Members(Struct):
    members: list[ShownMember]


class SharedImage(Struct):
    image_id: str
    can_share: bool


class SharedImages(Struct):
    shared_images: list[SharedImage]


def read_memberships(body: bytes) -> Mapping[str, bool | None]:
    """The members that shall replace all, and whether each may share; None where that is not said. Raises Invalid."""
    value = read_object(body)
    entries = value.get("memberships")
    if isinstance(entries, list):
        value = {**value, "memberships": [_loosen(entry) for entry in entries]}
    request = convert(value, MembershipsRequest)
    return {entry.member_id: entry.can_share for entry in request.memberships}


def read_can_share(body: bytes) -> bool | None:
    """Whether the member may share; None when the body, which is optional, does not say. Raises Invalid."""
    if not body:
        return None
    value = read_object(body)
    if "member" not in value:
        raise Invalid('The body must be empty or have the field \'member\': {"member": {"can_share": true}}.')
    return convert({"member": _loosen(value["member"])}, MemberRequest).member.can_share


def _loosen(entry: Any) -> Any:
    if isinstance(entry, dict) and "can_share" in entry:
        return {**entry, "can_share": read_switch(entry["can_share"])}
    return entry
