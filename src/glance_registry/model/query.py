# SPDX-License-Identifier: Apache-2.0
"""A list of images asked for, as data."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from glance_registry.model.member import ACCEPTED
from glance_registry.model.search import Term

SORT_KEYS = ("created_at", "updated_at", "name", "status", "container_format", "disk_format", "size", "id")
SORT_DIRECTIONS = ("desc", "asc")

TAG = ""
"""The name under which a tag is asked for among the properties: no property has it."""


class Sort(Struct, frozen=True):
    """Order by `key`, then by those in `then`: (key, descending) each.

    Ties are broken by created_at, then id, in the direction of `key`.
    """

    key: str = "created_at"
    descending: bool = True
    then: tuple[tuple[str, bool], ...] = ()

    def order(self) -> Mapping[str, bool]:
        """All that the order is made of: key to descending. After the id nothing can differ."""
        ties = [(key, self.descending) for key in ("created_at", "id")]
        whole: dict[str, bool] = {}
        for key, descending in ((self.key, self.descending), *self.then, *ties):
            whole.setdefault(key, descending)
            if key == "id":
                break
        return whole


class Page(Struct, frozen=True):
    """At most `limit` images, those that follow the image whose id is `marker`."""

    limit: int
    marker: str | None = None


Operator = Literal["eq", "ge", "gt", "le", "lt", "ne", "in"]


class Filter(Struct, frozen=True):
    """A condition on a field of the image: equal, at least, more than, at most, less than, unequal, one of several."""

    field: str
    operator: Operator
    value: str | int | bool | datetime | tuple[str, ...]


class View(Struct, frozen=True):
    """Whose images a list is taken from, for clients that know all kinds of visibility.

    Without a `visibility` these are public images, the project's own and those shared with it; for an admin,
    those of everybody but the community's. `all` adds the community's. Of images that are shared with the
    project only those with this status of the membership count, all with None.
    """

    visibility: Literal["public", "community", "shared", "private", "all"] | None = None
    member_status: str | None = ACCEPTED


class Query(Struct, frozen=True, kw_only=True):
    """Which images, in which order, how many.

    Which are looked through says `view`, or else `public`: True lists what an ordinary user sees: public images,
    its own, those shared with it. Only an admin gets more: False lists non-public images, None all. `deleted`
    True lists the deleted images alone, None both kinds; `hidden` likewise. Lists without
    deleted images leave out those with one of the `unlisted_statuses`. `properties` are (name, value), a tag
    is (TAG, tag). With `terms`, images that are not deleted and have all of them in their words.
    """

    page: Page
    sort: Sort = Sort()
    filters: tuple[Filter, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    terms: tuple[Term, ...] = ()
    changes_since: datetime | None = None
    view: View | None = None
    public: bool | None = True
    deleted: bool | None = False
    hidden: bool | None = None
    unlisted_statuses: frozenset[str] = frozenset()
