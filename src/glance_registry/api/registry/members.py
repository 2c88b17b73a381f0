# SPDX-License-Identifier: Apache-2.0
"""The Registry API's calls on members: parse, run one operation, answer."""

from glance_registry.api.registry import member_wire as wire
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, empty_answer, json_answer
from glance_registry.catalogue import members


async def list_members(request: Request) -> Answer:
    """The members of an image."""
    found = await request.registry.catalogue.read(members.find, request.image_id, request.caller)
    return json_answer(wire.Members([wire.ShownMember(member.member_id, member.can_share) for member in found]))


async def replace_members(request: Request) -> Answer:
    """Replaces all members of an image."""
    wanted = wire.read_memberships(await request.read_body())
    registry = request.registry
    await registry.catalogue.write(members.replace, request.image_id, wanted, registry.now(), request.caller)
    return empty_answer()


async def update_member(request: Request) -> Answer:
    """Adds a member to an image, or changes whether it may share."""
    can_share = wire.read_can_share(await request.read_body())
    registry, member_id = request.registry, request.parts["member_id"]
    await registry.catalogue.write(members.put, request.image_id, member_id, can_share, registry.now(), request.caller)
    return empty_answer()


async def delete_member(request: Request) -> Answer:
    """Removes a member from an image."""
    await request.registry.catalogue.write(members.remove, request.image_id, request.parts["member_id"], request.caller)
    return empty_answer()


async def list_shared_images(request: Request) -> Answer:
    """The images that are shared with a member."""
    found = await request.registry.catalogue.read(members.find_shared, request.parts["member_id"], request.caller)
    return json_answer(wire.SharedImages([wire.SharedImage(image_id, can_share) for image_id, can_share in found]))
