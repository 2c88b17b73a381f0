# SPDX-License-Identifier: Apache-2.0
"""What operators and discovery ask: does it live, what has it done, what does it speak."""

from http import HTTPStatus

from msgspec import Struct

from glance_registry.api.answer import Answer, json_answer, text_answer
from glance_registry.api.request import Request


class Versions(Struct):
    """The versions of the Images API that are served, for its clients' discovery."""

    versions: list[dict[str, str]]


async def list_versions(request: Request) -> Answer:  # noqa: ARG001 - the shape of a handler
    """The versions of the Images API that are served: none yet."""
    return json_answer(Versions([]))


async def list_versions_as_choices(request: Request) -> Answer:  # noqa: ARG001
    """The same as `/versions`, with the status that discovery expects here."""
    return json_answer(Versions([]), HTTPStatus.MULTIPLE_CHOICES)


async def check_health(request: Request) -> Answer:
    """`OK` when the database answers; 503 with the reason when not."""
    await request.registry.catalogue.check()
    return text_answer("OK\n")


async def show_metrics(request: Request) -> Answer:
    """What the program has done since it started, for Prometheus."""
    metrics = request.registry.metrics
    await metrics.count_images(request.registry.catalogue)
    return Answer(metrics.render(), metrics.content_type)


async def show_openapi(request: Request) -> Answer:
    """This API as an OpenAPI 3.1 document."""
    return Answer(request.registry.openapi, b"application/json")
