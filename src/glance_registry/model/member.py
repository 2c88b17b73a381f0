# SPDX-License-Identifier: Apache-2.0
"""A project with which an image is shared."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

import msgspec
from msgspec import Struct

PENDING = "pending"
"""What a new membership is: the image is the member's by its id, but not yet in its lists of shared images."""

ACCEPTED = "accepted"
REJECTED = "rejected"
STATUSES = (PENDING, ACCEPTED, REJECTED)

MOST_MEMBERS = 1_000
"""Of one image."""


class Member(Struct, frozen=True, kw_only=True):
    """One membership. With `can_share` the member may share the image with others.

    The times are None when a release that did not keep them made the membership.
    """

    member_id: str
    can_share: bool = False
    status: str = PENDING
    created_at: datetime | None = None
    updated_at: datetime | None = None


def revision_of(members: Sequence[Member]) -> str:
    """A name for the state of these memberships."""
    return blake2b(msgspec.json.encode(members), digest_size=12).hexdigest()
