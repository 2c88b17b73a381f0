# SPDX-License-Identifier: Apache-2.0
"""The Registry API's calls on images: parse, run one operation, answer."""

from collections.abc import AsyncGenerator, Callable
from functools import partial

from msgspec.structs import replace

from glance_registry.api.registry import wire
from glance_registry.api.registry.headers import image_headers
from glance_registry.api.registry.query import read_query
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, encoded_answer, streamed_answer
from glance_registry.catalogue import images
from glance_registry.model.access import may_read_locations
from glance_registry.model.changes import Delete
from glance_registry.model.image import Image
from glance_registry.model.query import Page, Query
from glance_registry.model.rules import RegistryRules, check_change


async def list_images(request: Request) -> Answer:
    """Brief information about public images."""
    return await _page(request, partial(request.registry.render_cache.render, wire.brief_json))


async def list_images_detail(request: Request) -> Answer:
    """Detailed information about public images."""
    return await _page(request, partial(_shown_json, request))


async def show_image(request: Request) -> Answer:
    """Metadata about one image, in HTTP headers and in the body."""
    registry = request.registry
    image = await registry.catalogue.read(images.get, request.image_id, request.caller, registry.contract)
    with_locations = may_read_locations(request.caller, image, registry.contract)
    body, headers = registry.render_cache.render(_body_and_headers, image, with_locations)
    answer = encoded_answer(body)
    answer.raw_headers += headers
    return answer


def _body_and_headers(image: Image, with_locations: bool) -> tuple[bytes, list[Header]]:
    shown = wire.shown(image, with_locations)
    body = wire.one_json(shown)
    return body, image_headers(shown, len(body))


async def create_image(request: Request) -> Answer:
    """Registers metadata about a new image."""
    registry = request.registry
    body = await request.read_body()
    image = wire.read_new(body, registry.contract, request.caller, registry.new_id, registry.now())
    check_change(request.caller, None, image, RegistryRules(registry.contract))
    limits = await registry.transfers.limits_of(image.owner)
    added = await registry.catalogue.write(images.add, image, limits.images_per_owner)
    return _one(request, added)


async def update_image(request: Request) -> Answer:
    """Updates metadata: given fields change, the rest stay."""
    registry = request.registry
    body = await request.read_body()
    # "An unknown id is 404 whatever the body" (protocol, section 3).
    await registry.catalogue.read(images.get, request.image_id, request.caller, registry.contract)
    # "with X-Glance-Registry-Purge-Props: true (exactly) those not given go" (section 3).
    purge = request.headers.get("x-glance-registry-purge-props") == "true"
    changes, condition = wire.read_update(body, request.image_id, request.caller, purge=purge)
    return _one(request, await request.change_image(changes, RegistryRules(registry.contract), condition))


async def delete_image(request: Request) -> Answer:
    """Removes the metadata, softly, and answers the image as it is then."""
    return _one(request, await request.change_image([Delete()], RegistryRules(request.registry.contract)))


def _one(request: Request, image: Image) -> Answer:
    with_locations = may_read_locations(request.caller, image, request.registry.contract)
    return encoded_answer(wire.one_json(wire.shown(image, with_locations)))


async def _page(request: Request, render: Callable[[Image], bytes]) -> Answer:
    """As `wire.ShownImages` or `wire.BriefImages` says.

    Compat: a page that is too large to be read at once is read and sent in parts and not cut. Clients take a page with
    fewer images than their limit for the last one.
    """
    query = _query(request)
    found = await request.registry.catalogue.read(images.find, query, request.caller)
    shown = b",".join([render(image) for image in found])
    if not found.cut:
        return encoded_answer(b'{"images":[%b]}' % shown)
    return streamed_answer(b'{"images":[%b' % shown, _following(request, render, query, found))


async def _following(
    request: Request, render: Callable[[Image], bytes], query: Query, found: images.ImagePage
) -> AsyncGenerator[bytes, None]:
    """The rest of a page after its first images, a part for each read, to the end of the JSON."""
    while found.cut:
        rest = Page(query.page.limit - len(found), found[-1].id)
        query = replace(query, page=rest)
        found = await request.registry.catalogue.read(images.find, query, request.caller)
        for image in found:
            yield b"," + render(image)
    yield b"]}"


def _shown_json(request: Request, image: Image) -> bytes:
    registry = request.registry
    return registry.render_cache.render(
        wire.shown_json, image, may_read_locations(request.caller, image, registry.contract)
    )


def _query(request: Request) -> Query:
    registry = request.registry
    return read_query(
        request.scope["query_string"],
        request.caller,
        registry.contract,
        registry.settings.limit_param_default,
        registry.settings.api_limit_max,
    )
