# SPDX-License-Identifier: Apache-2.0
"""What the operator has decided about the Images API v2."""

from msgspec import Struct

from glance_registry.api.v2.schemas import Schemas


class Offer(Struct, frozen=True, kw_only=True, eq=False):
    """The settings that concern this dialect, and the schemas that follow from them."""

    public_endpoint: str
    """Where clients reach us, for links; empty: where this request was sent."""
    show_direct_url: bool
    show_locations: bool
    schemas: Schemas
