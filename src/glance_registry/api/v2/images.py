# SPDX-License-Identifier: Apache-2.0
"""Calls on images of the Images API v2: parse, run one operation, answer."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, empty_answer, encoded_answer
from glance_registry.api.v2 import conditional, wire
from glance_registry.api.v2.locations import with_kept_locations, without_kept_locations
from glance_registry.api.v2.offer import offer_of
from glance_registry.api.v2.patch import read_patch
from glance_registry.api.v2.query import read_query
from glance_registry.catalogue import images
from glance_registry.model.access import owner_of_new
from glance_registry.model.changes import AddTag, Change, Deactivate, Delete, Reactivate, RemoveTag
from glance_registry.model.image import Image
from glance_registry.model.rules import ImagesRules, check_change
from glance_registry.model.status import DELETED, QUEUED

_encode = msgspec.json.Encoder().encode


async def list_images(request: Request) -> Answer:
    """The images that the caller may see, page by page, as it wants them chosen and sorted."""
    registry = request.registry
    settings = registry.settings
    asked = read_query(request.scope["query_string"], settings.limit_param_default, settings.api_limit_max)
    found = await registry.catalogue.read(images.find, asked.query, request.caller)
    render, offer = registry.render_cache.render, offer_of(registry)
    with_all = await with_kept_locations(request, found) if offer.shows_locations else found
    shown = [msgspec.Raw(render(wire.shown_json, image, offer)) for image in with_all]
    listed = wire.ListedImages(shown, asked.first)
    # "`next` whenever the page is full", also of bytes; an empty page is never full.
    if found and (found.cut or len(found) == asked.query.page.limit):
        listed.next = asked.following(found[-1].id)
    body = _encode(listed)
    return conditional.answer(request, body, conditional.body_etag(body))


async def show_image(request: Request) -> Answer:
    """Everything about one image but its bytes."""
    registry = request.registry
    offer = offer_of(registry)
    image = await registry.catalogue.read(images.get, request.image_id, request.caller)
    if offer.shows_locations:
        (image,) = await with_kept_locations(request, [image])
    body = registry.render_cache.render(wire.shown_json, image, offer)
    return conditional.answer(request, body, conditional.etag(image))


async def create_image(request: Request) -> Answer:
    """Registers an image; nothing is known of its bytes yet."""
    registry, now = request.registry, request.registry.now()
    fields = wire.read_new(await request.read_body(), offer_of(registry))
    image_id, given_owner = fields.pop("id", None) or registry.new_id(), fields.pop("owner", None)
    owner = given_owner if given_owner is not None else owner_of_new(request.caller, None)
    image = Image(id=image_id, created_at=now, updated_at=now, status=QUEUED, owner=owner, **fields)
    check_change(request.caller, None, image, ImagesRules(registry.contract))
    limits = await registry.transfers.limits_of(image.owner)
    added = await registry.catalogue.write(images.add, image, limits.images_per_owner)
    return await _one(request, added, HTTPStatus.CREATED)


async def update_image(request: Request) -> Answer:
    """Changes an image: a list of operations on its attributes, all of them or none."""
    content_type = request.headers.get("content-type", "")
    changes = read_patch(await request.read_body(), content_type, offer_of(request.registry))
    return await _one(request, await _change(request, await without_kept_locations(request, changes)))


async def delete_image(request: Request) -> Answer:
    """Deletes an image for good; its id is never used again."""
    await _change(request, [Delete(DELETED)])
    return empty_answer()


async def update_tag(request: Request) -> Answer:
    """Gives an image a tag, if it has it not already."""
    await _change(request, [AddTag(request.parts["tag"])])
    return empty_answer()


async def delete_tag(request: Request) -> Answer:
    """Takes a tag from an image."""
    await _change(request, [RemoveTag(request.parts["tag"])])
    return empty_answer()


async def create_deactivation(request: Request) -> Answer:
    """Keeps everybody from an image's bytes until it is reactivated."""
    await _change(request, [Deactivate()])
    return empty_answer()


async def delete_deactivation(request: Request) -> Answer:
    """Gives a deactivated image's bytes free again."""
    await _change(request, [Reactivate()])
    return empty_answer()


async def _change(request: Request, changes: Sequence[Change]) -> Image:
    return await request.change_image(
        changes, ImagesRules(request.registry.contract), conditional.precondition(request)
    )


async def _one(request: Request, image: Image, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    offer = offer_of(request.registry)
    if offer.shows_locations:
        (image,) = await with_kept_locations(request, [image])
    headers = [(b"etag", conditional.etag(image).encode())]
    if status is HTTPStatus.CREATED:
        headers.append((b"location", f"/v2/images/{image.id}".encode()))
        # Compat: commas without spaces, as clients split them.
        headers.append((b"openstack-image-store-ids", ",".join(request.registry.transfers.stores.by_name).encode()))
    return encoded_answer(wire.shown_json(image, offer), status, headers)
