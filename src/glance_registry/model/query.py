# SPDX-License-Identifier: Apache-2.0
"""A list of images asked for, as data."""

from datetime import datetime
from typing import Literal

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


class Filter(Struct, frozen=True):
    """A condition on a field of the image: `eq`, at least (`ge`), at most (`le`)."""

    field: str
    operator: Literal["eq", "ge", "le"]
    value: str | int | bool


class Query(Struct, frozen=True, kw_only=True):
    """Which images, in which order, how many.

    `public` True lists what an ordinary user sees: public images, its own, those shared with it. Only an
    admin gets more: False lists non-public images, None all. `deleted` True lists the deleted images alone,
    None both kinds. `unlisted_statuses` are left out of lists without deleted images, unless a
    filter asks for a status.
    """

    page: Page
    sort: Sort = Sort()
    filters: tuple[Filter, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    changes_since: datetime | None = None
    public: bool | None = True
    deleted: bool | None = False
    unlisted_statuses: frozenset[str] = frozenset()
