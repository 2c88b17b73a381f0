# SPDX-License-Identifier: Apache-2.0
"""The whole API as one table. 405, `Allow` and the OpenAPI document come from it, and tests walk it."""

from glance_registry.api import health
from glance_registry.api.registry.routes import ROUTES as REGISTRY
from glance_registry.api.routing import Access, Route, route
from glance_registry.api.v2.routes import ROUTES as IMAGES

__all__ = ["OPERATION", "ROUTES", "Access", "Route"]

OPEN = Access.OPEN

OPERATION = (
    route("GET", "/healthcheck", health.check_health, OPEN, "text/plain"),
    route("GET", "/metrics", health.show_metrics, OPEN, "text/plain"),
    route("GET", "/openapi.json", health.show_openapi, OPEN, "application/json"),
)
"""What operators ask, whichever APIs are switched on."""

ROUTES = (*OPERATION, *REGISTRY, *IMAGES)
