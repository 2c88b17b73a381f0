# SPDX-License-Identifier: Apache-2.0
"""Settings become an application: the only module that knows all the others."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

from msgspec.structs import replace

from glance_registry.api.asgi import Application
from glance_registry.api.dialect import Dialect
from glance_registry.api.failures import request_outages
from glance_registry.api.host_check import check_for
from glance_registry.api.identity import Identify, anyone
from glance_registry.api.identity.context import trust_headers
from glance_registry.api.metrics import Metrics
from glance_registry.api.networks import read_networks
from glance_registry.api.openapi import describe
from glance_registry.api.render_cache import RenderCache
from glance_registry.api.request import Registry, RequestLog
from glance_registry.api.routes import IMAGES, OPERATION, PAGES, REGISTRY
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.open import open_catalogue, read_urls
from glance_registry.catalogue.outages import Outages
from glance_registry.model.contract import CONTRACTS, Contract
from glance_registry.model.errors import Invalid, RegistryError
from glance_registry.model.limits import OwnerLimits
from glance_registry.settings import DatabaseGroup, LimitsGroup, Settings, StoreSection, store_kinds
from glance_registry.stores.base import Store
from glance_registry.stores.by_name import Stores
from glance_registry.stores.file import FileStore
from glance_registry.transfer.counts import Counts
from glance_registry.transfer.reaper import Reaper
from glance_registry.transfer.unified_limits import UnifiedLimits
from glance_registry.transfer.upload import DIGEST_THREADS, Transfers

log = logging.getLogger(__name__)

STORE_THREADS = 8
"""Of one process, for all stores: they wait for disks. A slow client holds none of them."""


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
    read_urls(settings.database.connection, settings.database.replica_connection)

    metrics_networks = read_networks(settings.metrics.allowed_addresses, "[metrics] allowed_addresses")
    dialects = _dialects(settings)
    # Two dialects may need the same: it is made once.
    prepare = {dialect.prepare for dialect in dialects if dialect.prepare is not None}
    prepared = {type(value): value for value in (make(settings) for make in prepare)}

    outages = request_outages()
    unified = UnifiedLimits(settings.config_files, outages, clock) if settings.limits.use_keystone_limits else None

    async def open_registry() -> Registry:
        metrics = Metrics(clock)
        if request_log is not None:
            request_log.on_loss(metrics.count_lost_lines)
        catalogue = _open_catalogue(settings.database)
        reaper = Reaper()
        transfers = _open_transfers(settings, catalogue, now, reaper, metrics, unified)
        return Registry(
            catalogue=catalogue,
            transfers=transfers,
            background=(partial(reaper.run, transfers),),
            render_cache=RenderCache(catalogue.image_cache.size_of),
            settings=settings,
            contract=contract_of(settings),
            prepared=prepared,
            now=now,
            new_id=new_id,
            metrics=metrics,
            metrics_networks=metrics_networks,
            openapi=cache(partial(describe, dialects)),
            request_log=request_log,
        )

    mode_none = settings.identity.mode == "none"
    hosts = check_for(mode_none, settings.bind_host, settings.allowed_hosts, settings.public_endpoint)
    return Application(open_registry, hosts, _identify(settings, outages, clock), dialects, outages)


def open_stores(settings: Settings) -> Stores:
    """The stores of the settings. Raises Invalid for a setting that cannot be used."""
    threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    kinds = store_kinds(settings.stores.enabled)
    sections = {name: settings.store_sections.get(name, StoreSection()) for name in kinds}
    open_bucket = _bucket_opener(threads) if "s3" in kinds.values() else None
    stores: dict[str, Store] = {}
    # Of equal weights the one that is named first comes first. The default store is the first one that is named.
    for name in sorted(kinds, key=lambda name: -sections[name].weight):
        if kinds[name] == "s3":
            assert open_bucket is not None
            stores[name] = open_bucket(name, sections[name])
        else:
            given = sections[name].filesystem_store_datadir
            folder = Path(given) if given else Path(settings.stores.directory) / name
            stores[name] = FileStore(name, folder.absolute(), threads, settings.stores.reserve_free * 1024**2)
    descriptions = {name: section.store_description for name, section in sections.items() if section.store_description}
    return Stores(stores, threads, settings.stores.default_backend or next(iter(kinds)), descriptions)


def _bucket_opener(threads: Executor) -> Callable[[str, StoreSection], Store]:
    """What makes stores of kind s3. Only a program that has such a store loads the client. Raises Invalid."""
    try:
        from glance_registry.stores.budget import Budget
        from glance_registry.stores.s3 import S3Store
        from glance_registry.stores.s3_settings import read_section
        from glance_registry.stores.s3_upload import SENDING_BYTES
    except ModuleNotFoundError as error:
        raise Invalid("A store of kind s3 needs aiobotocore: pip install 'glance-registry[s3]'.") from error
    sending = Budget(SENDING_BYTES)
    return lambda name, section: S3Store(name, read_section(name, asdict(section)), threads, sending)


def _open_transfers(
    settings: Settings,
    catalogue: Catalogue,
    now: Callable[[], datetime],
    reaper: Reaper,
    counts: Counts,
    unified: UnifiedLimits | None,
) -> Transfers:
    limits, images = settings.limits, settings.images
    return Transfers(
        catalogue=catalogue,
        stores=open_stores(settings),
        threads=ThreadPoolExecutor(DIGEST_THREADS, thread_name_prefix="digest"),
        now=now,
        new_key=lambda: uuid4().hex,
        wake_reaper=reaper.wake,
        counts=counts,
        hash_algorithm=images.hash,
        require_image_format_match=images.require_image_format_match,
        image_size_cap=limits.image_size_cap,
        upload_expiry=timedelta(seconds=limits.upload_expiry),
        limits=_owner_limits(limits),
        unified_limits=unified,
    )


def _owner_limits(limits: LimitsGroup) -> OwnerLimits:
    """The limits of the settings, in which 0 is no limit."""
    return OwnerLimits(
        images_per_owner=limits.images_per_owner or None,
        bytes_per_owner=limits.bytes_per_owner or None,
        uploads_per_owner=limits.uploads_per_owner or None,
    )


def _open_catalogue(settings: DatabaseGroup) -> Catalogue:
    """The catalogue of the settings. When it cannot be opened, the log says which database that is, and why."""
    try:
        return open_catalogue(settings.connection, settings.replica_connection, settings.read_timeout)
    except RegistryError as error:
        url, _ = read_urls(settings.connection, settings.replica_connection)
        database = locate(url)
        fields = {"database": database.name, "message": str(error), "cause": database.cause(error) or str(error)}
        log.error("the database cannot be opened", extra={"fields": fields})
        raise


def contract_of(settings: Settings) -> Contract:
    """The contract of the Registry API, with the limits of these settings."""
    return replace(
        CONTRACTS[settings.registry.contract],
        max_properties=settings.limits.properties_per_image,
        image_document_bytes=settings.limits.image_document_bytes,
        clients=settings.registry.clients,
        location_schemes=frozenset(scheme.lower() for scheme in settings.images.location_schemes),
    )


def _dialects(settings: Settings) -> tuple[Dialect, ...]:
    """The dialects that are served. Raises Invalid when every API is switched off."""
    api = settings.api
    switches = ((REGISTRY, api.registry), (IMAGES, api.images), (PAGES, api.pages))
    served = [dialect for dialect, is_on in switches if is_on]
    if not served:
        raise Invalid("Nothing would be served: switch on one of [api] registry, images and pages.")
    return (OPERATION, *served)


def _identify(settings: Settings, outages: Outages, clock: Callable[[], float]) -> Identify:
    """The identity mode of the settings; modules of other modes are not loaded. Raises Invalid."""
    identity, writer_roles = settings.identity, settings.registry.writer_role
    match identity.mode:
        case "none":
            return anyone
        case "context":
            return trust_headers(
                identity.trusted_addresses,
                writer_roles,
                identity.service_roles,
                anonymous=identity.anonymous,
            )
        case "http_basic":
            from glance_registry.api.identity.http_basic import check_passwords

            return check_passwords(identity.htpasswd_file, identity.users_file, writer_roles, clock)
        case "keystone":
            from glance_registry.api.identity.keystone import check_tokens

            return check_tokens(
                settings.config_files,
                identity.token_cache_time,
                writer_roles,
                identity.service_roles,
                outages,
                clock,
            )
    raise Invalid(f"There is no identity mode '{identity.mode}'.")
