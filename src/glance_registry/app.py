# SPDX-License-Identifier: Apache-2.0
"""Settings become an application: the only module that knows all the others."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from msgspec.structs import replace

from glance_registry.api.application import Application
from glance_registry.api.host_check import check_for
from glance_registry.api.identity import Identify, anyone
from glance_registry.api.identity.context import trust_headers
from glance_registry.api.metrics import Metrics
from glance_registry.api.networks import read_networks
from glance_registry.api.openapi import describe
from glance_registry.api.request import Registry, RequestLog
from glance_registry.api.routes import ROUTES
from glance_registry.api.ui.routes import PAGES
from glance_registry.api.v2.offer import Offer
from glance_registry.api.v2.schemas import load_schemas
from glance_registry.catalogue.open import open_catalogue, read_urls
from glance_registry.model.contract import CONTRACTS, Contract
from glance_registry.model.errors import Invalid
from glance_registry.settings import Settings


def build(
    settings: Settings,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_id: Callable[[], str] = lambda: str(uuid4()),
    request_log: RequestLog | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Application:
    """The ASGI application; it opens its catalogue when the server starts it, on that server's event loop.

    Raises Invalid for settings that cannot be used.
    """
    read_urls(settings.database, settings.replica)

    metrics_networks = read_networks(settings.allowed_addresses, "[metrics] allowed_addresses")
    offer = Offer(
        public_endpoint=settings.public_endpoint,
        show_direct_url=settings.show_direct_url,
        show_locations=settings.show_locations,
        schemas=load_schemas(settings.schema_file),
    )

    async def open_registry() -> Registry:
        return Registry(
            catalogue=open_catalogue(settings.database, settings.replica, settings.read_timeout),
            contract=contract_of(settings),
            offer=offer,
            default_page=settings.default_page,
            largest_page=settings.largest_page,
            largest_body=settings.largest_body,
            body_seconds=settings.request_timeout,
            most_images=settings.most_images,
            now=now,
            new_id=new_id,
            metrics=Metrics(clock),
            metrics_networks=metrics_networks,
            openapi=describe(ROUTES),
            request_log=request_log,
        )

    routes = (*ROUTES, *PAGES) if settings.pages else ROUTES
    hosts = check_for(settings.identity_mode == "none", settings.host, settings.allowed_hosts, settings.public_endpoint)
    return Application(open_registry, hosts, _identify(settings, clock), routes)


def contract_of(settings: Settings) -> Contract:
    """What clients may write, under these settings."""
    return replace(
        CONTRACTS[settings.contract],
        most_properties=settings.most_properties,
        image_document_bytes=settings.image_document_bytes,
    )


def _identify(settings: Settings, clock: Callable[[], float]) -> Identify:
    """Raises Invalid for what the mode cannot use. What one mode needs is not loaded in another."""
    match settings.identity_mode:
        case "none":
            return anyone
        case "context":
            return trust_headers(settings.trusted_addresses, settings.writer_roles)
        case "http_basic":
            from glance_registry.api.identity.http_basic import check_passwords

            return check_passwords(settings.htpasswd_file, settings.users_file, settings.writer_roles, clock)
        case "keystone":
            from glance_registry.api.identity.keystone import check_tokens

            return check_tokens(settings.config_files, settings.token_cache_time, settings.writer_roles, clock)
    raise Invalid(f"There is no identity mode '{settings.identity_mode}'.")
