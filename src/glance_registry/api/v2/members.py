# SPDX-License-Identifier: Apache-2.0
"""Calls on the members of shared images: parse, run one operation, answer."""

import msgspec

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, empty_answer, encoded_answer
from glance_registry.api.v2 import conditional, wire
from glance_registry.catalogue import members
from glance_registry.model.errors import NotFound
from glance_registry.model.image import Image
from glance_registry.model.member import Member

_encode = msgspec.json.Encoder().encode


async def list_members(request: Request) -> Answer:
    """The members of a shared image; a member sees only itself."""
    image, found = await request.registry.catalogue.read(members.find_of_shared, request.image_id, request.caller)
    body = _encode(wire.ListedMembers([wire.shown_member(image, member) for member in found]))
    return conditional.answer(request, body, conditional.members_etag(found))


async def create_member(request: Request) -> Answer:
    """Invites a project to share an image; it has yet to accept."""
    registry = request.registry
    member_id = wire.read_invitation(await request.read_body())
    image, member = await registry.catalogue.write(
        members.invite, request.image_id, member_id, registry.now(), request.caller, conditional.precondition(request)
    )
    return _one(image, member)


async def show_member(request: Request) -> Answer:
    """One member of a shared image."""
    image, found = await request.registry.catalogue.read(members.find_of_shared, request.image_id, request.caller)
    for member in found:
        if member.member_id == request.parts["member_id"]:
            body = _encode(wire.shown_member(image, member))
            return conditional.answer(request, body, conditional.members_etag([member]))
    raise NotFound("Membership could not be found.")


async def update_member(request: Request) -> Answer:
    """Accepts or rejects an image that is shared with the caller's project."""
    registry = request.registry
    wanted = Member(member_id=request.parts["member_id"], status=wire.read_decision(await request.read_body()))
    image, member = await registry.catalogue.write(
        members.decide, request.image_id, wanted, registry.now(), request.caller, conditional.precondition(request)
    )
    return _one(image, member)


async def delete_member(request: Request) -> Answer:
    """Shares an image with a project no longer."""
    member_id = request.parts["member_id"]
    await request.registry.catalogue.write(
        members.expel, request.image_id, member_id, request.caller, conditional.precondition(request)
    )
    return empty_answer()


def _one(image: Image, member: Member) -> Answer:
    tag = conditional.members_etag([member])
    return encoded_answer(_encode(wire.shown_member(image, member)), headers=[(b"etag", tag.encode())])
