# SPDX-License-Identifier: Apache-2.0
"""The whole API as one table. 405, `Allow` and the OpenAPI document come from it, and tests walk it."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from glance_registry.api import operation
from glance_registry.api.answer import Answer
from glance_registry.api.registry import images, wire
from glance_registry.api.request import Request

Handler = Callable[[Request], Awaitable[Answer]]


class Route(Struct, frozen=True):
    """One row: a GET is also answered to HEAD. `takes` and `answers` are the types on the wire, or a media type."""

    method: str
    path: str
    handler: Handler
    answers: type[Struct] | str
    takes: type[Struct] | None = None
    query: tuple[str, ...] = ()
    status: int = 200


PAGING = ("limit", "marker", "sort_key", "sort_dir")

ROUTES = (
    Route("GET", "/", operation.list_versions_as_choices, operation.Versions, status=300),
    Route("GET", "/versions", operation.list_versions, operation.Versions),
    Route("GET", "/healthcheck", operation.check_health, "text/plain"),
    Route("GET", "/metrics", operation.show_metrics, "text/plain"),
    Route("GET", "/openapi.json", operation.show_openapi, "application/json"),
    Route("GET", "/images", images.list_images, wire.BriefImages, query=PAGING),
    Route("GET", "/images/detail", images.list_images_detail, wire.ShownImages, query=PAGING),
    Route("POST", "/images", images.create_image, wire.OneImage, takes=wire.ImageRequest),
    Route("GET", "/images/{image_id}", images.show_image, wire.OneImage),
    Route("PUT", "/images/{image_id}", images.update_image, wire.OneImage, takes=wire.ImageRequest),
    Route("DELETE", "/images/{image_id}", images.delete_image, wire.OneImage),
)
