# SPDX-License-Identifier: Apache-2.0
"""Calls on the members of shared images: parse, run one operation, answer."""

from glance_registry.api.answer import Answer, empty_answer, json_answer
from glance_registry.api.request import Request
from glance_registry.api.v2 import wire
from glance_registry.catalogue import members
from glance_registry.model.errors import NotFound


async def list_members(request: Request) -> Answer:
    """The members of a shared image; a member sees only itself."""
    image, found = await request.registry.catalogue.read(members.find_of_shared, request.image_id, request.caller)
    return json_answer(wire.ListedMembers([wire.shown_member(image, member) for member in found]))


async def create_member(request: Request) -> Answer:
    """Invites a project to share an image; it has yet to accept."""
    registry = request.registry
    member_id = wire.read_invitation(await request.read_body())
    image, member = await registry.catalogue.write(
        members.invite, request.image_id, member_id, registry.now(), request.caller
    )
    return json_answer(wire.shown_member(image, member))


async def show_member(request: Request) -> Answer:
    """One member of a shared image."""
    image, found = await request.registry.catalogue.read(members.find_of_shared, request.image_id, request.caller)
    for member in found:
        if member.member_id == request.parts["member_id"]:
            return json_answer(wire.shown_member(image, member))
    raise NotFound("Membership could not be found.")


async def update_member(request: Request) -> Answer:
    """Accepts or rejects an image that is shared with the caller's project."""
    registry = request.registry
    status = wire.read_decision(await request.read_body())
    image, member = await registry.catalogue.write(
        members.decide, request.image_id, request.parts["member_id"], status, registry.now(), request.caller
    )
    return json_answer(wire.shown_member(image, member))


async def delete_member(request: Request) -> Answer:
    """Shares an image with a project no longer."""
    await request.registry.catalogue.write(members.expel, request.image_id, request.parts["member_id"], request.caller)
    return empty_answer()
