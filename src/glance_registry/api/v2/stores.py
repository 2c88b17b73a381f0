# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image in one of several stores."""

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, empty_answer
from glance_registry.catalogue import copies
from glance_registry.model.errors import Conflict


async def delete_copy(request: Request) -> Answer:
    """Takes an image's bytes from one of several stores; admins alone."""
    registry, store = request.registry, request.parts["store"]
    # Compat: an unknown store is told first, and with 409.
    if store not in registry.transfers.stores.by_name:
        raise Conflict(f"There is no store '{store}' here.")
    await registry.catalogue.write(copies.remove, request.image_id, store, registry.now(), request.caller)
    registry.transfers.wake_reaper()
    return empty_answer()
