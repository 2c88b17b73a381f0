# SPDX-License-Identifier: Apache-2.0
"""Changes of an image and their preconditions, as data, and the one function that applies changes.

A request is a sequence of changes, in the order in which its client wrote them. They can be printed, compared and
stored: `msgspec.json` encodes them, and decodes a `Change`. A change does not look at who asks: `model.rules` compares
the image before and after, so no way of writing a change gets around a rule.

URLs of locations may hold passwords. They are left out of what `repr` gives, but not of the JSON.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.model.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from glance_registry.model.image import ACTIVE, PUBLIC, SHARED, Image, Location, delete, not_before, number
from glance_registry.model.locations import GivenLocation, with_locations
from glance_registry.model.member import Member, revision_of
from glance_registry.model.status import DEACTIVATED, QUEUED, moved, switched


class _Tagged(Struct, frozen=True, tag_field="change", tag=True, omit_defaults=True):
    """In JSON a change has the name of its class: whoever renames one must go on to decode the old name."""


class Touch(_Tagged, frozen=True):
    """Make a new version of the image, even if nothing in it is different."""


class SetField(_Tagged, frozen=True):
    """Give a field of `Image` a value of its type."""

    name: str
    value: str | int | bool | None


class SetPublic(_Tagged, frozen=True):
    """Make the image public, or make a public image shared; one that is not public stays what it is."""

    is_public: bool


class SetTags(_Tagged, frozen=True):
    tags: tuple[str, ...]


class AddTag(_Tagged, frozen=True):
    tag: str


class RemoveTag(_Tagged, frozen=True):
    tag: str


class SetProperty(_Tagged, frozen=True):
    """Set a property. Raises Conflict when it exists, or does not, against `exists`.

    One that is null counts as both, since not every client is shown it.
    """

    name: str
    value: str | None
    exists: bool | None = None


class RemoveProperty(_Tagged, frozen=True):
    name: str


class SetProperties(_Tagged, frozen=True):
    """Set properties; with `purge` the others go."""

    properties: Mapping[str, str | None]
    purge: bool = False


class OverwriteLocations(_Tagged, frozen=True):
    """Replace the locations by those that an API server has recorded, whatever the status. None given: they stay."""

    locations: tuple[Location, ...]


class SetLocations(_Tagged, frozen=True):
    """Replace the locations. Raises what `with_locations` raises, as the next three do."""

    locations: tuple[GivenLocation, ...]


class SetFirstLocation(_Tagged, frozen=True):
    """Give a queued image its only location. Raises Conflict in another status."""

    location: GivenLocation


class AddLocation(_Tagged, frozen=True):
    """Add a location before the one at a position, the first being 0; without one, after all.

    Raises Invalid, Forbidden for a position among the locations in our stores, which come first.
    """

    location: GivenLocation
    position: int | None = None


class RemoveLocation(_Tagged, frozen=True):
    """Remove the location at a position, the first being 0. Raises Invalid, Forbidden for one in our stores."""

    position: int


class Deactivate(_Tagged, frozen=True):
    """Raises Forbidden unless the image is active or deactivated."""


class Reactivate(_Tagged, frozen=True):
    """Raises Forbidden unless the image is deactivated or active."""


class Delete(_Tagged, frozen=True):
    """Delete the image, in its status or in one that may follow. Raises Forbidden when it is protected, Conflict."""

    status: str | None = None


Change = (
    (Touch | SetField | SetPublic | SetTags | AddTag | RemoveTag | SetProperty | RemoveProperty | SetProperties)
    | (OverwriteLocations | SetLocations | SetFirstLocation | AddLocation | RemoveLocation)
    | (Deactivate | Reactivate | Delete)
)


class Precondition(Struct, frozen=True, kw_only=True):
    """What must hold for a request to be carried out; checked in its transaction, against the locked row.

    One of `revisions` must be that of the image (or of its members), `from_status` its status. None means anything.
    """

    revisions: frozenset[str] | None = None
    from_status: str | None = None

    def check(self, image: Image) -> None:
        """Raise PreconditionFailed or Conflict."""
        if self.revisions is not None and image.revision not in self.revisions:
            raise PreconditionFailed(f"Image {image.id} was changed since; show it again.")
        if self.from_status is not None and image.status != self.from_status:
            raise Conflict("Image operation conflicts")

    def check_members(self, members: Sequence[Member]) -> None:
        """Raise PreconditionFailed."""
        if self.revisions is not None and revision_of(members) not in self.revisions:
            raise PreconditionFailed("The members of the image were changed since; show them again.")


ANY = Precondition()


def apply(image: Image, changes: Sequence[Change], now: datetime) -> Image:
    """The image after these changes, one version on; the image itself when nothing is different.

    Raises Conflict, Forbidden, Invalid or NotFound when one of them cannot be made.
    """
    after = image
    for change in changes:
        after = _apply_one(after, change, now)
    if after == image and not any(isinstance(change, Touch) for change in changes):
        return image
    return replace(after, updated_at=not_before(image, now), version=image.version + 1)


def _apply_one(image: Image, change: Change, now: datetime) -> Image:  # noqa: C901 - a case for each kind of change
    match change:
        case SetField(name, value):
            return replace(image, **{name: value})
        case Touch():
            return image
        case SetPublic(is_public):
            if is_public == image.is_public:
                return image
            return replace(image, visibility=PUBLIC if is_public else SHARED)
        case SetProperties(properties, purge):
            return replace(image, properties=dict(properties) if purge else {**image.properties, **properties})
        case SetProperty(name, value, exists):
            is_null = name in image.properties and image.properties[name] is None
            if exists is not None and not is_null and (name in image.properties) != exists:
                raise Conflict(f"Property {name} {'does not exist' if exists else 'is already present'}.")
            return replace(image, properties={**image.properties, name: value})
        case RemoveProperty(name):
            if name not in image.properties:
                raise Conflict(f"Property {name} does not exist.")
            return replace(image, properties={other: text for other, text in image.properties.items() if other != name})
        case SetTags(tags):
            return replace(image, tags=as_tags(tags))
        case AddTag(tag):
            return replace(image, tags=as_tags((*image.tags, tag)))
        case RemoveTag(tag):
            # Older releases stored tags with blanks around them: these go, too.
            others = tuple(other for other in image.tags if as_tag(other) != as_tag(tag))
            if len(others) == len(image.tags):
                raise NotFound(f"Image {image.id} has no such tag.")
            return replace(image, tags=others)
        case OverwriteLocations(locations):
            return replace(image, locations=number(locations, image.locations)) if locations else image
        case SetLocations(locations):
            return with_locations(image, locations)
        case SetFirstLocation(location):
            if image.status != QUEUED:
                raise Conflict(f"It is not allowed to add locations if image status is '{image.status}'.")
            return with_locations(image, [location])
        case AddLocation(location, position):
            at = len(image.locations) if position is None else position - _kept(image)
            if at > len(image.locations):
                raise Invalid(f"There is no position {position} among the image's locations.")
            if at < 0:
                raise Forbidden("The locations of the bytes that the registry keeps stay the first ones.")
            return with_locations(image, [*image.locations[:at], location, *image.locations[at:]])
        case RemoveLocation(position):
            at = position - _kept(image)
            if at >= len(image.locations):
                raise Invalid(f"There is no position {position} among the image's locations.")
            if at < 0:
                raise Forbidden("The registry keeps the bytes at this location: it cannot be removed.")
            return with_locations(image, [*image.locations[:at], *image.locations[at + 1 :]])
        case Deactivate():
            return switched(image, ACTIVE, DEACTIVATED, "deactivate")
        case Reactivate():
            return switched(image, DEACTIVATED, ACTIVE, "reactivate")
        case Delete(status):
            return delete(image if status is None else moved(image, status), now)


def _kept(image: Image) -> int:
    """How many locations in our stores clients see before the others: one for each."""
    return 0 if image.blob_number is None else len(image.stores)


def as_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags as they are stored: sorted, each once, so that two images with the same tags are shown alike."""
    return tuple(sorted(set(map(as_tag, tags))))


def as_tag(tag: str) -> str:
    """A tag without the blanks around it, as lists search for it."""
    return tag.strip()
