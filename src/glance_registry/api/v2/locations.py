# SPDX-License-Identifier: Apache-2.0
"""The calls on locations that version 2.17 brought."""

from http import HTTPStatus

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, encoded_answer, json_answer
from glance_registry.api.v2 import conditional, wire
from glance_registry.api.v2.offer import offer_of
from glance_registry.catalogue import images
from glance_registry.model.access import check_may_see_locations
from glance_registry.model.changes import SetFirstLocation
from glance_registry.model.rules import ImagesRules


async def list_locations(request: Request) -> Answer:
    """Where an image's bytes lie, for API servers, services and admins."""
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    check_may_see_locations(request.caller)
    return json_answer(wire.shown_locations(image.locations))


async def create_location(request: Request) -> Answer:
    """Says where the bytes of a queued image lie, and what they are; it is active from then on."""
    registry, offer = request.registry, offer_of(request.registry)
    location = wire.read_location(await request.read_body(), offer)
    rules, condition = ImagesRules(registry.contract), conditional.precondition(request)
    image = await request.change_image([SetFirstLocation(location)], rules, condition)
    return encoded_answer(wire.shown_json(image, offer), HTTPStatus.ACCEPTED)
