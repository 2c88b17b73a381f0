# SPDX-License-Identifier: Apache-2.0
"""What operators ask: does it live, what has it done, what does it speak."""

from glance_registry.api.networks import is_within
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, text_answer
from glance_registry.model.errors import Forbidden


async def check_health(request: Request) -> Answer:
    """`OK` when the database answers, has its tables and takes writes; 503 with the reason when not."""
    await request.registry.catalogue.check()
    return text_answer("OK\n")


async def show_metrics(request: Request) -> Answer:
    """What the program has done since it started, for Prometheus."""
    if not is_within(request.address, request.registry.metrics_networks):
        raise Forbidden("Metrics are not shown to this address; [metrics] allowed_addresses says to which.")
    metrics = request.registry.metrics
    await metrics.count_images(request.registry.catalogue)
    return Answer(metrics.render(), metrics.content_type)


async def show_openapi(request: Request) -> Answer:
    """This API as an OpenAPI 3.1 document."""
    return Answer(request.registry.openapi(), b"application/json")
