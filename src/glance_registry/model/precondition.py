# SPDX-License-Identifier: Apache-2.0
"""What must hold for a request to be carried out, as data; checked in its transaction, against the locked row."""

from collections.abc import Sequence

from msgspec import Struct

from glance_registry.model.errors import Conflict, Invalid, PreconditionFailed
from glance_registry.model.image import Image
from glance_registry.model.member import Member, revision_of


class Precondition(Struct, frozen=True, kw_only=True):
    """One of `revisions` must be that of the image (or of its members), `from_status` its status; the client must not
    have announced bytes, which are not taken here. None means anything."""

    revisions: frozenset[str] | None = None
    from_status: str | None = None
    announced_size: str = "0"

    def check(self, image: Image) -> None:
        """Raise PreconditionFailed, Conflict or Invalid."""
        if self.revisions is not None and image.revision not in self.revisions:
            raise PreconditionFailed(f"Image {image.id} was changed since; show it again.")
        if self.from_status is not None and image.status != self.from_status:
            raise Conflict("Image operation conflicts")
        if self.announced_size.strip("0"):
            raise Invalid("The body is empty, but its announced size is another than 0.")

    def check_members(self, members: Sequence[Member]) -> None:
        """Raise PreconditionFailed."""
        if self.revisions is not None and revision_of(members) not in self.revisions:
            raise PreconditionFailed("The members of the image were changed since; show them again.")


ANY = Precondition()
