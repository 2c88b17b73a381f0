# SPDX-License-Identifier: Apache-2.0
"""Settings become an application: the only module that knows all the others."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from glance_registry.api.application import Application
from glance_registry.api.identity import Identify, anyone
from glance_registry.api.identity.context import trust_headers
from glance_registry.api.metrics import Metrics
from glance_registry.api.openapi import describe
from glance_registry.api.request import Registry
from glance_registry.api.routes import ROUTES
from glance_registry.catalogue.open import open_catalogue
from glance_registry.model.contract import CONTRACTS
from glance_registry.settings import Settings


def build(
    settings: Settings,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> Application:
    """The ASGI application; it opens its catalogue when the server starts it, on that server's event loop."""

    async def open_registry() -> Registry:
        return Registry(
            catalogue=open_catalogue(settings.database),
            contract=CONTRACTS[settings.contract],
            default_page=settings.default_page,
            largest_page=settings.largest_page,
            largest_body=settings.largest_body,
            now=now,
            new_id=new_id,
            metrics=Metrics(),
            openapi=describe(ROUTES),
        )

    return Application(open_registry, _identify(settings))


def _identify(settings: Settings) -> Identify:
    if settings.identity_mode == "context":
        return trust_headers(settings.trusted_addresses, settings.writer_roles)
    return anyone
