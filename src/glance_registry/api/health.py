# SPDX-License-Identifier: Apache-2.0
"""What operators and monitoring ask, whichever APIs are served: health, metrics, the API's description."""

from glance_registry.api.dialect import Access, Dialect, route
from glance_registry.api.networks import is_within
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, text_answer
from glance_registry.model.errors import Forbidden


async def check_health(request: Request) -> Answer:
    """`OK` when the database answers, has its tables and takes writes; 503 with the reason when not."""
    await request.registry.catalogue.check()
    return text_answer("OK\n")


async def show_metrics(request: Request) -> Answer:
    """Counters since the program started, for Prometheus."""
    if not is_within(request.address, request.registry.metrics_networks):
        raise Forbidden("Metrics are not shown to this address; [metrics] allowed_addresses says to which.")
    metrics = request.registry.metrics
    await metrics.count_images(request.registry.catalogue)
    await metrics.look_at_stores(request.registry.transfers.stores.free)
    return Answer(metrics.render(), metrics.content_type)


async def show_openapi(request: Request) -> Answer:
    """The API as an OpenAPI 3.1 document."""
    return Answer(request.registry.openapi(), b"application/json")


DIALECT = Dialect(
    name="operation",
    routes=(
        route("GET", "/healthcheck", check_health, Access.OPEN, "text/plain"),
        route("GET", "/metrics", show_metrics, Access.OPEN, "text/plain"),
        route("GET", "/openapi.json", show_openapi, Access.OPEN, "application/json"),
    ),
)
