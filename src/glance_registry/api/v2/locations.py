# SPDX-License-Identifier: Apache-2.0
"""The calls on locations that version 2.17 brought, and the locations of bytes that lie in our stores.

These are kept as the keys of objects; their URLs are made when they are shown, before the locations that others gave.
"""

from collections.abc import Sequence
from http import HTTPStatus

from msgspec.structs import replace

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, encoded_answer, json_answer
from glance_registry.api.v2 import conditional, wire
from glance_registry.api.v2.offer import offer_of
from glance_registry.catalogue import blobs, images
from glance_registry.model.access import check_may_see_locations
from glance_registry.model.changes import Change, SetFirstLocation, SetLocations
from glance_registry.model.errors import Forbidden
from glance_registry.model.image import Image, Location
from glance_registry.model.rules import ImagesRules


async def list_locations(request: Request) -> Answer:
    """Where an image's bytes lie, for API servers, services and admins."""
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    check_may_see_locations(request.caller)
    (shown,) = await with_kept_locations(request, [image])
    return json_answer(wire.shown_locations(shown.locations))


async def create_location(request: Request) -> Answer:
    """Says where the bytes of a queued image lie, and what they are; it is active from then on."""
    registry, offer = request.registry, offer_of(request.registry)
    location = wire.read_location(await request.read_body(), offer)
    rules, condition = ImagesRules(registry.contract), conditional.precondition(request)
    image = await request.change_image([SetFirstLocation(location)], rules, condition)
    return encoded_answer(wire.shown_json(image, offer), HTTPStatus.ACCEPTED)


async def with_kept_locations(request: Request, found: Sequence[Image]) -> list[Image]:
    """These images with the locations of their bytes in our stores, as clients are shown them."""
    numbers = {image.blob_number for image in found if image.blob_number is not None}
    copies = await request.registry.catalogue.read(blobs.copies_of, numbers) if numbers else {}
    stores = request.registry.transfers.stores.by_name
    return [
        image
        if image.blob_number is None
        else replace(
            image,
            locations=(
                *(
                    Location(stores[copy.store].url(copy.key), {"store": copy.store})
                    for copy in copies.get(image.blob_number, ())
                    # A store that the settings do not name any more, or a copy that is not the image's yet.
                    if copy.store in stores and copy.store in image.stores
                ),
                *image.locations,
            ),
        )
        for image in found
    ]


async def without_kept_locations(request: Request, changes: Sequence[Change]) -> list[Change]:
    """Changes that replace the locations, without those in our stores, which must be among the new ones.

    Raises NotFound, Forbidden.
    """
    if not any(isinstance(change, SetLocations) for change in changes):
        return list(changes)
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    (shown,) = await with_kept_locations(request, [image])
    kept = {location.url for location in shown.locations} - {location.url for location in image.locations}
    return [_without(change, kept) if isinstance(change, SetLocations) else change for change in changes]


def _without(change: SetLocations, kept: set[str]) -> SetLocations:
    if not kept <= {location.url for location in change.locations}:
        raise Forbidden("The registry keeps the image's bytes: their locations cannot be removed.")
    return SetLocations(tuple(location for location in change.locations if location.url not in kept))
