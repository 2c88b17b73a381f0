# SPDX-License-Identifier: Apache-2.0
"""The pages: parse, run one operation, show. The rules are the Images API's."""

from collections.abc import Mapping, Sequence
from typing import Any

from glance_registry.api.errors import status_of
from glance_registry.api.identity.header import COOKIE
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer
from glance_registry.api.ui.commands import commands_for
from glance_registry.api.ui.forms import (
    NEW_PROPERTIES,
    Entered,
    before_of,
    form_of,
    read_changes,
    read_entered,
    read_form,
)
from glance_registry.api.ui.listing import read_listing
from glance_registry.api.ui.merge import Changed, merge
from glance_registry.api.ui.render import PATH, answer_page, redirect
from glance_registry.api.v2 import conditional
from glance_registry.api.v2.discovery import endpoint
from glance_registry.api.v2.offer import offer_of
from glance_registry.api.v2.schemas import DISK_FORMATS
from glance_registry.catalogue import images, members
from glance_registry.model.access import ANYONE_IS_ADMIN, check_may_modify, may_modify, may_publicize, may_see_locations
from glance_registry.model.errors import Conflict, Forbidden, Invalid, PreconditionFailed, TooLarge
from glance_registry.model.image import ACTIVE, PUBLIC, SHARED, VISIBILITIES, Image, Location
from glance_registry.model.member import Member
from glance_registry.model.rules import ImagesRules
from glance_registry.model.status import DEACTIVATED, DELETED, TRANSITIONS

_REFUSED = (Invalid, Forbidden, Conflict, TooLarge)
"""What is said above the form, with all that was entered in it."""

OVERTAKEN = (
    "The image was changed since this form was made. The form below is over the newer version, with what you entered:"
    " look at it and save again."
)

_CHOICES: Mapping[str, Any] = {
    "statuses": [status for status in TRANSITIONS if status not in (DELETED, "killed")],
    "visibilities": (*VISIBILITIES, "all"),
    "disk_formats": sorted(DISK_FORMATS),
}


async def show_start(request: Request) -> Answer:
    """The list is at the path without the slash."""
    query = request.scope["query_string"].decode("latin-1")
    return redirect(f"{PATH}?{query}" if query else PATH)


async def list_images(request: Request) -> Answer:
    """The images that the caller may see, searched, filtered and sorted."""
    registry = request.registry
    settings = registry.settings
    listing = read_listing(request.scope["query_string"], settings.limit_param_default, settings.api_limit_max)
    found = await registry.catalogue.read(images.find, listing.query, request.caller)
    full = found and (found.cut or len(found) == listing.query.page.limit)
    return _page(
        request,
        "images.html",
        images=found,
        listing=listing,
        following=listing.following(found[-1].id) if full else None,
        **_CHOICES,
    )


async def show_image(request: Request) -> Answer:
    """Everything about one image, and what one types to use it."""
    return await answer_image(request)


async def answer_image(request: Request, status: int = 200, sentence: str = "") -> Answer:
    """An image's page, with a sentence on an upload that failed."""
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    locations = _locations(request, image)
    return _page(
        request,
        "image.html",
        status,
        image=image,
        sentence=sentence,
        download=_may_download(request, image),
        locations=locations,
        members=await _members(request, image),
        commands=commands_for(image, endpoint(request), _credentials(request), locations[0].url if locations else None),
        editable=may_modify(request.caller, image),
    )


async def show_form(request: Request) -> Answer:
    """The form with which an image is changed."""
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    check_may_modify(request.caller, image)
    return _form(request, image, form_of(image, conditional.etag(image)))


async def update_image(request: Request) -> Answer:
    """Changes an image as it was entered, unless somebody else has changed it since the form was made."""
    registry = request.registry
    entered, before = read_entered(read_form(await request.read_body(), request.headers.get("content-type", "")))
    image = await registry.catalogue.read(images.get, request.image_id, request.caller)
    unchanged = conditional.only(entered.tag)
    try:
        unchanged.check(image)
        changes = read_changes(entered, image, offer_of(registry))
        await request.change_image(changes, ImagesRules(registry.contract), unchanged)
    except PreconditionFailed as error:
        registry.metrics.count_error(error.code)
        newer = await registry.catalogue.read(images.get, request.image_id, request.caller)
        check_may_modify(request.caller, newer)
        merged, theirs = merge(entered, before, form_of(newer, conditional.etag(newer)))
        return _form(request, newer, merged, OVERTAKEN, status_of(error), theirs)
    except _REFUSED as error:
        registry.metrics.count_error(error.code)
        return _form(request, image, entered, str(error), status_of(error))
    return redirect(f"{PATH}/images/{image.id}")


def _may_download(request: Request, image: Image) -> bool:
    return image.blob_number is not None and (image.status == ACTIVE or request.caller.admin)


def _form(
    request: Request,
    image: Image,
    entered: Entered,
    sentence: str = "",
    status: int = 200,
    changes: Sequence[Changed] = (),
) -> Answer:
    visibilities = [name for name in VISIBILITIES if name != PUBLIC or _may_stay_public(request, image)]
    return _page(
        request,
        "edit.html",
        status,
        image=image,
        entered=entered,
        before=before_of(image),
        sentence=sentence,
        changes=changes,
        visibilities=visibilities,
        empty=range(NEW_PROPERTIES),
    )


def _may_stay_public(request: Request, image: Image) -> bool:
    return image.is_public or may_publicize(request.caller)


def _page(request: Request, template: str, status: int = 200, **values: Any) -> Answer:
    caller = request.caller
    given: dict[str, Any] = {
        "caller": caller,
        "everybody_is_admin": caller == ANYONE_IS_ADMIN,
        "signed_in": COOKIE in request.cookies,
    }
    return answer_page(template, status, **given, **values)


def _locations(request: Request, image: Image) -> Sequence[Location]:
    """Where the bytes lie, as far as the caller is told that in the Images API."""
    if image.status == DEACTIVATED or not (
        offer_of(request.registry).show_multiple_locations or may_see_locations(request.caller)
    ):
        return ()
    return [location for location in image.locations if location.status == ACTIVE]


async def _members(request: Request, image: Image) -> list[Member]:
    if image.visibility != SHARED:
        return []
    return await request.registry.catalogue.read(members.find, image.id, request.caller)


def _credentials(request: Request) -> str:
    """How curl says who calls, when the caller had to."""
    if request.headers.get("authorization"):
        return "-u USER"
    return '-H "X-Auth-Token: $OS_TOKEN"' if COOKIE in request.cookies else ""
