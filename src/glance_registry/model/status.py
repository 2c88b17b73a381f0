# SPDX-License-Identifier: Apache-2.0
"""What may follow a status, for clients that do not set it themselves.

Source: the Images API v2. API servers that keep their images here set whatever status their contract allows.
"""

from msgspec.structs import replace

from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import ACTIVE, Image

QUEUED = "queued"
"""The status of a new image: nothing is known of its bytes yet."""

SAVING = "saving"
"""Its bytes are being uploaded."""

DEACTIVATED = "deactivated"
"""Active but for its bytes, which nobody gets until the image is reactivated."""

PENDING_DELETE = "pending_delete"
"""An API server has yet to remove its bytes."""

DELETED = "deleted"

TRANSITIONS: dict[str, frozenset[str]] = {
    QUEUED: frozenset({ACTIVE, DELETED}),
    SAVING: frozenset({DELETED}),
    "uploading": frozenset({DELETED}),
    "importing": frozenset({DELETED}),
    ACTIVE: frozenset({DEACTIVATED, DELETED}),
    DEACTIVATED: frozenset({ACTIVE, DELETED}),
    "killed": frozenset({DELETED}),
    PENDING_DELETE: frozenset({DELETED}),
    DELETED: frozenset(),
}
"""`saving`, `uploading` and `importing` belong to the API server that is at it: only that goes on from there."""


def moved(image: Image, status: str) -> Image:
    """The image in another status. Raises Conflict when that cannot follow, Invalid when a format is missing."""
    if status not in TRANSITIONS.get(image.status, frozenset()):
        raise Conflict(f"An image whose status is '{image.status}' cannot become '{status}'.")
    if image.status == QUEUED and status == ACTIVE:
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        if missing:
            raise Invalid(f"{' and '.join(missing)} must be set before the image can become active.")
    return replace(image, status=status)


def switched(image: Image, before: str, after: str, verb: str) -> Image:
    """The image in the status after; itself when it is in that already. Raises Forbidden in another than before."""
    if image.status == after:
        return image
    if image.status != before:
        raise Forbidden(f"Not allowed to {verb} image in status '{image.status}'.")
    return moved(image, after)
