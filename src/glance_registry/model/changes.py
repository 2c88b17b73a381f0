# SPDX-License-Identifier: Apache-2.0
"""What a client of the Images API v2 asks to be different: steps, in the order in which it wrote them.

A step makes another image of one, and does not look at who asks. What the caller may not do is read off the
outcome: `check_may_revise` compares the image before and after, so no way of writing a change gets around it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from glance_registry.model.access import Caller, may_publicize
from glance_registry.model.contract import Contract
from glance_registry.model.document import check_document
from glance_registry.model.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from glance_registry.model.image import LONGEST_NAME, LONGEST_VALUE, MAX_TAGS, PUBLIC, Image, delete
from glance_registry.model.locations import Place, check_may_place, placed
from glance_registry.model.status import DELETED, QUEUED, moved

Step = Callable[[Image], Image]
"""Raises Conflict, Forbidden or Invalid where it cannot be taken."""


def set_field(name: str, value: Any) -> Step:
    """A field of `Image` with a value of its type."""
    return lambda image: replace(image, **{name: value})


def set_tags(tags: Sequence[str]) -> Step:
    return lambda image: replace(image, tags=as_tags(tags))


def as_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags as they are stored: sorted, each once, so that two images with the same tags are shown alike."""
    return tuple(sorted(set(map(as_tag, tags))))


def as_tag(tag: str) -> str:
    """A tag without the blanks around it, as lists search for it."""
    return tag.strip()


def add_tag(tag: str) -> Step:
    return lambda image: replace(image, tags=as_tags((*image.tags, tag)))


def remove_tag(tag: str) -> Step:
    """Raises NotFound when the image has no such tag."""

    def step(image: Image) -> Image:
        # Older releases stored tags with blanks around them: these go, too.
        others = tuple(kept for kept in image.tags if as_tag(kept) != as_tag(tag))
        if len(others) == len(image.tags):
            raise NotFound(f"Image {image.id} has no such tag.")
        return replace(image, tags=others)

    return step


def set_property(name: str, value: str | None, *, is_there: bool | None = None) -> Step:
    """Set a property.

    With `is_there` it must exist already, or must not. One that is null counts as both, since not every client is
    shown it.
    """

    def step(image: Image) -> Image:
        is_null = name in image.properties and image.properties[name] is None
        if is_there is not None and not is_null and (name in image.properties) != is_there:
            raise Conflict(f"Property {name} {'does not exist' if is_there else 'is already present'}.")
        return replace(image, properties={**image.properties, name: value})

    return step


def remove_property(name: str) -> Step:
    def step(image: Image) -> Image:
        if name not in image.properties:
            raise Conflict(f"Property {name} does not exist.")
        return replace(image, properties={kept: value for kept, value in image.properties.items() if kept != name})

    return step


def set_places(places: Sequence[Place]) -> Step:
    return lambda image: placed(image, places)


def first_place(place: Place) -> Step:
    """The only location of an image that has none yet. Raises Conflict when it has."""

    def step(image: Image) -> Image:
        if image.status != QUEUED:
            raise Conflict(f"It is not allowed to add locations if image status is '{image.status}'.")
        return placed(image, [place])

    return step


def insert_place(position: int | None, place: Place) -> Step:
    """A further location before the one at a position, the first being 0; without one, after all."""

    def step(image: Image) -> Image:
        at = len(image.locations) if position is None else position
        if at > len(image.locations):
            raise Invalid(f"There is no position {at} among the image's locations.")
        return placed(image, [*image.locations[:at], place, *image.locations[at:]])

    return step


def remove_place(position: int) -> Step:
    def step(image: Image) -> Image:
        if position >= len(image.locations):
            raise Invalid(f"There is no position {position} among the image's locations.")
        return placed(image, [place for at, place in enumerate(image.locations) if at != position])

    return step


def deletion(now: datetime) -> Step:
    """The image deleted. Raises Forbidden when it is protected."""
    return lambda image: delete(moved(image, DELETED), now)


def all_of(steps: Sequence[Step]) -> Step:
    """One step after the other."""

    def step(image: Image) -> Image:
        for one in steps:
            image = one(image)
        return image

    return step


def check_may_revise(caller: Caller, before: Image, after: Image, contract: Contract) -> None:
    """Raise unless the caller, who may modify the image, may make this of it, and it is one that can be kept."""
    if after.owner != before.owner and not caller.writer:
        raise Forbidden("Only an admin gives an image to another project.")
    if after.visibility == PUBLIC != before.visibility:
        _check_may_publicize(caller)
    for name in ("disk_format", "container_format"):
        if getattr(after, name) != getattr(before, name) and before.status not in (QUEUED, "importing"):
            raise Forbidden(f"{name} can be changed only while the image is queued.")
    check_may_place(caller, before, after, contract.location_schemes)
    _check_sizes(before, after, contract)


def check_may_create(caller: Caller, image: Image, contract: Contract) -> None:
    """Raise unless the caller may register this image, and it is one that can be kept."""
    if not caller.writer and image.owner != caller.project:
        raise Forbidden(f"You are not permitted to create images owned by '{image.owner}'.")
    if image.visibility == PUBLIC:
        _check_may_publicize(caller)
    nothing = replace(image, status=QUEUED, name=None, properties={}, tags=(), locations=())
    check_may_place(caller, nothing, image, contract.location_schemes)
    _check_sizes(nothing, image, contract)


def _check_may_publicize(caller: Caller) -> None:
    if not may_publicize(caller):
        raise Forbidden("You are not permitted to make an image public.")


def _check_sizes(before: Image, after: Image, contract: Contract) -> None:
    """Only what is new must be short enough: an image that has more already can still be renamed."""
    if len(after.properties) > max(contract.most_properties, len(before.properties)):
        raise TooLarge(f"An image may have at most {contract.most_properties} properties.")
    if len(after.tags) > max(MAX_TAGS, len(before.tags)):
        raise TooLarge(f"An image may have at most {MAX_TAGS} tags.")
    for tag in set(after.tags) - set(before.tags):
        if not 0 < len(tag) <= LONGEST_NAME:
            raise Invalid(f"A tag must have 1 to {LONGEST_NAME} characters.")
    for name, value in after.properties.items() - before.properties.items():
        if not 0 < len(name) <= LONGEST_NAME:
            raise Invalid(f"A property's name must have 1 to {LONGEST_NAME} characters.")
        if value is not None and len(value) > LONGEST_VALUE:
            raise Invalid(f"Property '{name}' is longer than {LONGEST_VALUE} characters.")
    check_document(before, after, contract.image_document_bytes)
