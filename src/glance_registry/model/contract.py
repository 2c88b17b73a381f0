# SPDX-License-Identifier: Apache-2.0
"""What a client of the Registry API may write: the 2011 contract and the one of 2018, as data.

Source: the registry protocol, sections 1 and 2.
"""

import re
from typing import Any

from msgspec import Struct

from glance_registry.model.document import IMAGE_DOCUMENT_BYTES, check_document
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_PROPERTIES, Image

AMAZON_FORMATS = frozenset({"ari", "aki", "ami"})
"""An Amazon kernel, ramdisk or machine image is its own container: both formats must be the same."""

MAX_FORMAT_LENGTH = 20

USERS = "users"
API_SERVERS = "api_servers"
CLIENTS = (USERS, API_SERVERS)

LOCATION_SCHEMES = frozenset(
    {
        *("http", "https", "file", "filesystem", "rbd", "cinder", "vsphere", "sheepdog", "s3", "s3+http", "s3+https"),
        *("swift", "swift+http", "swift+https", "swift+config"),
    }
)
"""What the URLs begin with that Glance's stores make, unless a setting says otherwise."""

_OPAQUE_ID = re.compile(r"(?!\.{1,2}$|detail$)[A-Za-z0-9._~-]{1,36}")
_UUID = re.compile(r"(?i:[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})")


class Contract(Struct, frozen=True, kw_only=True):
    """One generation's rules. A set of formats that is None is not checked, and null is allowed."""

    name: str
    statuses: frozenset[str]
    disk_formats: frozenset[str] | None
    container_formats: frozenset[str] | None
    id_pattern: re.Pattern[str]
    id_sentence: str
    unlisted_statuses: frozenset[str]
    """Statuses of images that are in no list, but for lists of deleted images and of changes."""
    admin_sees_deleted: bool
    """Whether an admin who asks for a deleted image by its id is shown it."""
    max_properties: int = MAX_PROPERTIES
    """Of one image that has no more already."""
    image_document_bytes: int = IMAGE_DOCUMENT_BYTES
    """Of one image that is not larger already; see `model.document`."""
    clients: str = USERS
    """Who calls: users themselves, or API servers in their users' names."""
    location_schemes: frozenset[str] = LOCATION_SCHEMES
    """What the URL of a location may begin with."""

    def image_id(self, given: Any) -> str:
        """The id that a client chose, as a string; an integer becomes its decimal string.

        Raises Invalid when the contract does not allow such an id.
        """
        text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
        if not isinstance(text, str) or not self.id_pattern.fullmatch(text):
            raise Invalid(self.id_sentence)
        return text

    def check(self, image: Image, before: Image | None = None) -> None:
        """Raise Invalid unless the contract allows this image, with the sentence that old clients look for.

        Raises TooLarge when its document is too large.

        What was so before is nothing that this client has done: the Images API knows more statuses and formats.
        """

        def is_new(*fields: str) -> bool:
            return before is None or any(getattr(image, field) != getattr(before, field) for field in fields)

        if is_new("status"):
            _check_member("status", image.status, self.statuses, "image status")
        if self.disk_formats is not None and is_new("disk_format"):
            _check_member("disk_format", image.disk_format, self.disk_formats, "disk format")
        if self.container_formats is not None and is_new("container_format"):
            _check_member("container_format", image.container_format, self.container_formats, "container format")
        formats = {image.disk_format, image.container_format}
        if self.disk_formats is not None and is_new("disk_format", "container_format") and _is_mixed(formats):
            raise Invalid("Invalid mix of disk and container formats.")
        _check_sizes(image, max(self.max_properties, len(before.properties) if before else 0))
        check_document(before, image, self.image_document_bytes)


def _is_mixed(formats: set[str | None]) -> bool:
    return bool(formats & AMAZON_FORMATS) and len(formats) > 1


def _check_member(field: str, value: str | None, allowed: frozenset[str], noun: str) -> None:
    if not value:
        raise Invalid(f"Image {noun.removeprefix('image ')} is required.")
    if value not in allowed:
        shown = value if len(value) <= MAX_FORMAT_LENGTH else value[:MAX_FORMAT_LENGTH] + "…"
        raise Invalid(f"Invalid {noun} '{shown}' for image. Field '{field}' must be one of: {_words(allowed)}.")


def _check_sizes(image: Image, max_properties: int) -> None:
    for field, value in (("disk_format", image.disk_format), ("container_format", image.container_format)):
        if value is not None and len(value) > MAX_FORMAT_LENGTH:
            raise Invalid(f"Field '{field}' is longer than {MAX_FORMAT_LENGTH} characters.")
    if len(image.properties) > max_properties:
        raise Invalid(
            f"An image may have at most {max_properties} properties; field 'properties' would have"
            f" {len(image.properties)}."
        )


def _words(allowed: frozenset[str]) -> str:
    return ", ".join(sorted(allowed))


CACTUS = Contract(
    name="cactus",
    statuses=frozenset({"active", "saving", "queued", "killed"}),
    disk_formats=AMAZON_FORMATS | {"raw", "vhd", "vdi", "qcow2", "vmdk"},
    container_formats=AMAZON_FORMATS | {"bare", "ovf"},
    id_pattern=_OPAQUE_ID,
    id_sentence="Invalid image id: field 'id' must be an integer or 1 to 36 characters of A-Z a-z 0-9 . _ ~ -"
    " (not '.', '..' or 'detail').",
    unlisted_statuses=frozenset(),
    admin_sees_deleted=False,
)

QUEENS = Contract(
    name="queens",
    statuses=CACTUS.statuses | {"pending_delete", "deleted", "deactivated", "importing", "uploading"},
    disk_formats=None,
    container_formats=None,
    id_pattern=_UUID,
    id_sentence="Invalid image id format",
    unlisted_statuses=frozenset({"killed"}),
    admin_sees_deleted=True,
)

CONTRACTS = {contract.name: contract for contract in (CACTUS, QUEENS)}
