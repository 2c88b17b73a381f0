# SPDX-License-Identifier: Apache-2.0
"""Which rows a caller may see."""

from sqlalchemy import ColumnElement

from glance_registry.catalogue.tables import images
from glance_registry.model.access import Caller
from glance_registry.model.contract import Contract
from glance_registry.model.image import PUBLIC, Image
from glance_registry.model.query import Query


def listed(query: Query) -> list[ColumnElement[bool]]:
    """The conditions under which a row belongs to the list asked for."""
    conditions: list[ColumnElement[bool]] = [images.c.deleted_at.is_(None)]
    if query.public is not None:
        conditions.append(images.c.visibility == PUBLIC if query.public else images.c.visibility != PUBLIC)
    if query.unlisted_statuses:
        conditions.append(images.c.status.not_in(sorted(query.unlisted_statuses)))
    return conditions


def seen_by_id(image: Image, caller: Caller, contract: Contract) -> bool:
    """A deleted image is shown to nobody, or to an admin where the contract says so."""
    return not image.deleted or (caller.admin and contract.admin_sees_deleted)
