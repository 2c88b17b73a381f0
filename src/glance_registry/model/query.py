# SPDX-License-Identifier: Apache-2.0
"""A list of images asked for, as data."""

from msgspec import Struct

SORT_KEYS = ("created_at", "updated_at", "name", "status", "container_format", "disk_format", "size", "id")
SORT_DIRECTIONS = ("desc", "asc")


class Sort(Struct, frozen=True):
    """Order by `key`; ties break on created_at, then id, in the same direction."""

    key: str = "created_at"
    descending: bool = True


class Page(Struct, frozen=True):
    """At most `limit` images, those that follow the image whose id is `marker`."""

    limit: int
    marker: str | None = None


class Query(Struct, frozen=True, kw_only=True):
    """Which images, in which order, how many. `public` None means public and non-public ones."""

    page: Page
    sort: Sort = Sort()
    public: bool | None = True
    unlisted_statuses: frozenset[str] = frozenset()
