# SPDX-License-Identifier: Apache-2.0
"""The whole API as one table. 405, `Allow` and the OpenAPI document come from it, and tests walk it."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from msgspec import Struct

from glance_registry.api import operation
from glance_registry.api.answer import Answer
from glance_registry.api.registry import images, member_wire, members, wire
from glance_registry.api.request import Request

Handler = Callable[[Request], Awaitable[Answer]]


class Access(Enum):
    """Who may ask. Which images a caller sees and changes is decided in the model, not here."""

    OPEN = "anybody, and nobody is asked who they are"
    READ = "every caller, the anonymous too"
    WRITE = "every caller with an identity"


class Route(Struct, frozen=True, kw_only=True):
    """One row: a GET is also answered to HEAD. `takes` and `answers` are the types on the wire, or a media type."""

    method: str
    path: str
    handler: Handler
    access: Access
    answers: type[Struct] | str | None
    """None: 204, no body."""
    takes: type[Struct] | None = None
    query: tuple[str, ...] = ()
    status: int = 200


def _route(method: str, path: str, handler: Handler, access: Access, answers: Any, **more: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        access=access,
        answers=answers,
        status=more.pop("status", 200 if answers else 204),
        **more,
    )


OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE
IMAGE, MEMBERS = "/images/{image_id}", "/images/{image_id}/members"
MEMBER = MEMBERS + "/{member_id}"
LIST = (
    *("limit", "marker", "sort_key", "sort_dir"),
    *("name", "status", "container_format", "disk_format", "min_ram", "min_disk", "size_min", "size_max"),
    *("protected", "changes-since", "is_public", "deleted"),
)

ROUTES = (
    _route("GET", "/", operation.list_versions_as_choices, OPEN, operation.Versions, status=300),
    _route("GET", "/versions", operation.list_versions, OPEN, operation.Versions),
    _route("GET", "/healthcheck", operation.check_health, OPEN, "text/plain"),
    _route("GET", "/metrics", operation.show_metrics, OPEN, "text/plain"),
    _route("GET", "/openapi.json", operation.show_openapi, OPEN, "application/json"),
    _route("GET", "/images", images.list_images, READ, wire.BriefImages, query=LIST),
    _route("GET", "/images/detail", images.list_images_detail, READ, wire.ShownImages, query=LIST),
    _route("POST", "/images", images.create_image, WRITE, wire.OneImage, takes=wire.ImageRequest),
    _route("GET", IMAGE, images.show_image, READ, wire.OneImage),
    _route("PUT", IMAGE, images.update_image, WRITE, wire.OneImage, takes=wire.ImageRequest),
    _route("DELETE", IMAGE, images.delete_image, WRITE, wire.OneImage),
    _route("GET", MEMBERS, members.list_members, READ, member_wire.Members),
    _route("PUT", MEMBERS, members.replace_members, WRITE, None, takes=member_wire.MembershipsRequest),
    _route("PUT", MEMBER, members.update_member, WRITE, None, takes=member_wire.MemberRequest),
    _route("DELETE", MEMBER, members.delete_member, WRITE, None),
    _route("GET", "/shared-images/{member_id}", members.list_shared_images, READ, member_wire.SharedImages),
)
