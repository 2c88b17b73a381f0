# SPDX-License-Identifier: Apache-2.0
"""What the operator has decided about the Images API v2."""

from msgspec import Struct

from glance_registry.api.v2.schemas import Schemas


class Offer(Struct, frozen=True, kw_only=True):
    """The settings that concern this dialect, and the schemas that follow from them."""

    show_image_direct_url: bool
    show_multiple_locations: bool
    schemas: Schemas
