# SPDX-License-Identifier: Apache-2.0
"""What a dialect lets a caller make of an image. The catalogue is given the rules and does not know whose they are."""

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.model.access import Caller, check_may_change, check_may_modify, may_publicize
from glance_registry.model.contract import Contract
from glance_registry.model.document import check_document
from glance_registry.model.errors import Conflict, Forbidden, Invalid, TooLarge
from glance_registry.model.image import ACTIVE, MAX_NAME_LENGTH, MAX_TAGS, MAX_VALUE_LENGTH, PUBLIC, SHARED, Image
from glance_registry.model.locations import check_may_add_locations, check_may_describe_bytes
from glance_registry.model.status import DEACTIVATED, PENDING_DELETE, QUEUED


class RegistryRules(Struct, frozen=True):
    """Those of the Registry API: the contract says what an image may be."""

    contract: Contract
    check_may_change = staticmethod(check_may_change)

    def check(self, caller: Caller, before: Image | None, after: Image) -> None:
        self.contract.check(after, before)
        check_may_describe_bytes(caller, before, after, self.contract)
        if before is not None and before.blob_number is not None:
            _check_bytes_stay(before, after)


class ImagesRules(Struct, frozen=True):
    """Those of the Images API, which the pages follow, too."""

    contract: Contract
    check_may_change = staticmethod(check_may_modify)

    def check(self, caller: Caller, before: Image | None, after: Image) -> None:
        if before is None:
            if not caller.writer and after.owner != caller.project:
                raise Forbidden(f"You are not permitted to create images owned by '{after.owner}'.")
            before = replace(after, status=QUEUED, visibility=SHARED, name=None, properties={}, tags=(), locations=())
        if after.owner != before.owner and not caller.writer:
            raise Forbidden("Only an admin gives an image to another project.")
        if after.visibility == PUBLIC != before.visibility and not may_publicize(caller):
            raise Forbidden("You are not permitted to make an image public.")
        for name in ("disk_format", "container_format"):
            if getattr(after, name) != getattr(before, name) and before.status not in (QUEUED, "importing"):
                raise Forbidden(f"{name} can be changed only while the image is queued.")
        check_may_add_locations(caller, before, after, self.contract.location_schemes)
        _check_sizes(before, after, self.contract)


Rules = RegistryRules | ImagesRules
"""`check_may_change` raises unless the caller may change an image that it sees, `check` unless it may make this of it,
or, without `before`, register it."""


def check_change(caller: Caller, before: Image | None, after: Image, rules: Rules) -> None:
    """Raise Forbidden, Invalid or TooLarge unless the rules allow the caller this change, or this new image."""
    if not after.deleted:  # Of a deleted image nothing is left to check.
        rules.check(caller, before, after)


_OF_BYTES = ("size", "virtual_size", "checksum", "locations", "disk_format", "container_format")
"""What the registry found of an image's bytes, or inspected them as, and where others say that they lie."""

_WITH_BYTES = (ACTIVE, DEACTIVATED, PENDING_DELETE)
"""Not queued: a second upload would replace the bytes of an image that was active."""


def _check_bytes_stay(before: Image, after: Image) -> None:
    """Raise Conflict unless an image whose bytes are kept here stays what was uploaded."""
    for name in _OF_BYTES:
        if getattr(after, name) != getattr(before, name):
            raise Conflict(f"The registry keeps this image's bytes: field '{name}' cannot be changed.")
    if after.status != before.status and after.status not in _WITH_BYTES:
        raise Conflict(f"The registry keeps this image's bytes: its status cannot become '{after.status}'.")


def _check_sizes(before: Image, after: Image, contract: Contract) -> None:
    """Only what is new must be short enough: an image that has more already can still be renamed."""
    if len(after.properties) > max(contract.max_properties, len(before.properties)):
        raise TooLarge(f"An image may have at most {contract.max_properties} properties.")
    if len(after.tags) > max(MAX_TAGS, len(before.tags)):
        raise TooLarge(f"An image may have at most {MAX_TAGS} tags.")
    for tag in set(after.tags) - set(before.tags):
        if not 0 < len(tag) <= MAX_NAME_LENGTH:
            raise Invalid(f"A tag must have 1 to {MAX_NAME_LENGTH} characters.")
    for name, value in after.properties.items() - before.properties.items():
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise Invalid(f"A property's name must have 1 to {MAX_NAME_LENGTH} characters.")
        if value is not None and len(value) > MAX_VALUE_LENGTH:
            raise Invalid(f"Property '{name}' is longer than {MAX_VALUE_LENGTH} characters.")
    check_document(before, after, contract.image_document_bytes)
