# SPDX-License-Identifier: Apache-2.0
"""Settings become an application: the only module that knows all the others."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from uuid import uuid4

from msgspec.structs import replace

from glance_registry.api.asgi import Application
from glance_registry.api.failures import request_outages
from glance_registry.api.host_check import check_for
from glance_registry.api.identity import Identify, anyone
from glance_registry.api.identity.context import trust_headers
from glance_registry.api.metrics import Metrics
from glance_registry.api.networks import read_networks
from glance_registry.api.openapi import describe
from glance_registry.api.registry.routes import ROUTES as REGISTRY
from glance_registry.api.request import Registry, RequestLog
from glance_registry.api.routes import OPERATION
from glance_registry.api.routing import Route
from glance_registry.api.ui.routes import PAGES
from glance_registry.api.v2.offer import Offer
from glance_registry.api.v2.routes import ROUTES as IMAGES
from glance_registry.api.v2.schemas import load_schemas
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.open import open_catalogue, read_urls
from glance_registry.catalogue.outages import Outages
from glance_registry.model.contract import CONTRACTS, Contract
from glance_registry.model.errors import Invalid, RegistryError
from glance_registry.settings import Settings

log = logging.getLogger(__name__)


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
    routes = _routes(settings)
    offer = Offer(
        public_endpoint=settings.public_endpoint,
        show_direct_url=settings.show_direct_url,
        show_locations=settings.show_locations,
        schemas=load_schemas(settings.schema_file),
    )

    async def open_registry() -> Registry:
        metrics = Metrics(clock)
        if request_log is not None:
            request_log.on_loss(metrics.count_lost_lines)
        return Registry(
            catalogue=_open_catalogue(settings),
            contract=contract_of(settings),
            offer=offer,
            default_page=settings.default_page,
            largest_page=settings.largest_page,
            largest_body=settings.largest_body,
            body_seconds=settings.request_timeout,
            most_images=settings.most_images,
            now=now,
            new_id=new_id,
            metrics=metrics,
            metrics_networks=metrics_networks,
            openapi=cache(partial(describe, routes)),
            request_log=request_log,
        )

    outages = request_outages()
    hosts = check_for(settings.identity_mode == "none", settings.host, settings.allowed_hosts, settings.public_endpoint)
    served = (*routes, *(PAGES if settings.pages else ()))
    return Application(open_registry, hosts, _identify(settings, outages, clock), served, outages)


def _open_catalogue(settings: Settings) -> Catalogue:
    """The catalogue of the settings. When it cannot be opened, the log says which database that is, and why."""
    try:
        return open_catalogue(settings.database, settings.replica, settings.read_timeout)
    except RegistryError as error:
        url, _ = read_urls(settings.database, settings.replica)
        database = locate(url)
        fields = {"database": database.name, "message": str(error), "cause": database.cause(error) or str(error)}
        log.error("the database cannot be opened", extra={"fields": fields})
        raise


def contract_of(settings: Settings) -> Contract:
    """What clients may write, under these settings."""
    return replace(
        CONTRACTS[settings.contract],
        most_properties=settings.most_properties,
        image_document_bytes=settings.image_document_bytes,
        clients=settings.clients,
        location_schemes=frozenset(scheme.lower() for scheme in settings.location_schemes),
    )


def _routes(settings: Settings) -> tuple[Route, ...]:
    """What is served but for the pages. Raises Invalid when every API is switched off."""
    if not (settings.registry_api or settings.images_api or settings.pages):
        raise Invalid("Nothing would be served: switch on one of [api] registry, images and pages.")
    return (
        *OPERATION,
        *(REGISTRY if settings.registry_api else ()),
        *(IMAGES if settings.images_api else ()),
    )


def _identify(settings: Settings, outages: Outages, clock: Callable[[], float]) -> Identify:
    """Raises Invalid for what the mode cannot use. What one mode needs is not loaded in another."""
    match settings.identity_mode:
        case "none":
            return anyone
        case "context":
            return trust_headers(
                settings.trusted_addresses,
                settings.writer_roles,
                settings.service_roles,
                anonymous=settings.anonymous,
            )
        case "http_basic":
            from glance_registry.api.identity.http_basic import check_passwords

            return check_passwords(settings.htpasswd_file, settings.users_file, settings.writer_roles, clock)
        case "keystone":
            from glance_registry.api.identity.keystone import check_tokens

            return check_tokens(
                settings.config_files,
                settings.token_cache_time,
                settings.writer_roles,
                settings.service_roles,
                outages,
                clock,
            )
    raise Invalid(f"There is no identity mode '{settings.identity_mode}'.")
