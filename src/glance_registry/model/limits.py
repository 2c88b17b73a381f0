# SPDX-License-Identifier: Apache-2.0
"""How much one owner may have."""

from msgspec import Struct


class OwnerLimits(Struct, frozen=True, kw_only=True):
    """The limits of one owner; None: no limit."""

    images_per_owner: int | None = None
    bytes_per_owner: int | None = None
    """Of the images whose bytes are kept here, and of uploads under way."""
    uploads_per_owner: int | None = None
    """At the same time."""


class Usage(Struct, frozen=True, kw_only=True):
    """What an owner has of what is limited."""

    images: int
    bytes: int
    uploads: int
