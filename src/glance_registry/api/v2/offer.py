# SPDX-License-Identifier: Apache-2.0
"""What the operator has decided about the Images API v2."""

from msgspec import Struct

from glance_registry.api.request import Registry
from glance_registry.api.v2.schemas import Schemas, load_schemas
from glance_registry.settings import Settings


class Offer(Struct, frozen=True, kw_only=True, eq=False):
    """The settings that concern this dialect, and the schemas that follow from them.

    Compared by identity, which is quick: it is in the keys of the render cache.
    """

    show_image_direct_url: bool
    show_multiple_locations: bool
    schemas: Schemas

    @property
    def shows_locations(self) -> bool:
        """Whether everyone who sees an image sees where its bytes lie."""
        return self.show_image_direct_url or self.show_multiple_locations


def prepare_offer(settings: Settings) -> Offer:
    """Raises Invalid when the operator's schemas cannot be used."""
    return Offer(
        show_image_direct_url=settings.images.show_image_direct_url,
        show_multiple_locations=settings.images.show_multiple_locations,
        schemas=load_schemas(settings.images.schema_file),
    )


def offer_of(registry: Registry) -> Offer:
    offer: Offer = registry.prepared[Offer]
    return offer
