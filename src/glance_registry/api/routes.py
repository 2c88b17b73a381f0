# SPDX-License-Identifier: Apache-2.0
"""All dialects, and the whole API as one table: for the documentation, and for tests that walk it."""

from glance_registry.api.dialect import Access, Route
from glance_registry.api.health import DIALECT as OPERATION
from glance_registry.api.registry.routes import DIALECT as REGISTRY
from glance_registry.api.ui.routes import DIALECT as PAGES
from glance_registry.api.v2.routes import DIALECT as IMAGES

__all__ = ["DIALECTS", "IMAGES", "OPERATION", "PAGES", "REGISTRY", "ROUTES", "Access", "Route"]

DIALECTS = (OPERATION, REGISTRY, IMAGES, PAGES)

ROUTES = tuple(route for dialect in DIALECTS if dialect.described for route in dialect.routes)
"""What the API's description has: all but the pages for people."""
