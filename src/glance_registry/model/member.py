# SPDX-License-Identifier: Apache-2.0
"""A project with which an image is shared."""

from msgspec import Struct


class Member(Struct, frozen=True, kw_only=True):
    """One membership. With `can_share` the member may share the image with others."""

    member_id: str
    can_share: bool = False
