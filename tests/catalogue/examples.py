# SPDX-License-Identifier: Apache-2.0
"""Images to keep, and the callers and questions of the catalogue's tests. Light: other processes import it, too."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from glance_registry.catalogue import images, schema
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.statements import Prepared
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.model.contract import CACTUS
from glance_registry.model.image import PUBLIC, Image
from glance_registry.model.query import Page, Query, Sort
from glance_registry.model.rules import ImagesRules, RegistryRules

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
ADMIN = ANYONE_IS_ADMIN
REGISTRY, IMAGES = RegistryRules(CACTUS), ImagesRules(CACTUS)


_ONE = Prepared(select(1))


def ping(connection: Connection) -> None:
    """The smallest operation: it succeeds when the database answers."""
    _ONE.first(connection, {})


def after_noon(microseconds: int) -> datetime:
    return NOON + timedelta(microseconds=microseconds)


def image(image_id: str = "one", at: int = 0, **fields: Any) -> Image:
    given = {"disk_format": "raw", "container_format": "bare", "visibility": PUBLIC, **fields}
    return Image(id=image_id, created_at=after_noon(at), updated_at=after_noon(at), **given)


def everything(limit: int = 1_000, marker: str | None = None, **order: Any) -> Query:
    """Images of every visibility, in the given order."""
    return Query(page=Page(limit, marker), sort=Sort(**order), public=None)


async def ids(catalogue: Catalogue) -> set[str]:
    """The ids of all images but the deleted ones."""
    return {found.id for found in await catalogue.read(images.find, everything(), ADMIN)}


def add_many(database: str, prefix: str, count: int) -> None:
    """Register images one after the other: what one of several processes does."""

    async def add() -> None:
        catalogue = open_catalogue(database)
        for number in range(count):
            await catalogue.write(images.add, image(f"{prefix}-{number}", at=number, properties={"a": prefix}))
        await catalogue.close()

    asyncio.run(add())


def upgrade(database: str, to: str = schema.HEAD) -> None:
    asyncio.run(schema.upgrade(database, to))
