# SPDX-License-Identifier: Apache-2.0
"""The one way in which the Images API, and the pages that follow its rules, change an image that is there."""

from glance_registry.api.request import Request
from glance_registry.catalogue import images
from glance_registry.model.changes import Step
from glance_registry.model.image import Image


async def revise(request: Request, step: Step) -> Image:
    """The image that the request names after this step, as it is kept. Raises what `images.revise` raises."""
    registry = request.registry
    return await registry.catalogue.write(
        images.revise, request.image_id, step, registry.now(), request.caller, registry.contract
    )
