# SPDX-License-Identifier: Apache-2.0
"""The Registry API's query strings: which images, in which order, how many (protocol, section 3)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from glance_registry.api.query_string import (
    one_of,
    read_limit,
    read_pairs,
    read_text,
    read_time,
    read_truth,
    read_whole,
)
from glance_registry.model.access import Caller
from glance_registry.model.contract import Contract
from glance_registry.model.image import MAX_INT32, MAX_INT64
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS, Filter, Page, Query, Sort

PROPERTY = "property-"


def read_query(
    query_string: bytes, caller: Caller, contract: Contract, default_limit: int, largest_limit: int
) -> Query:
    """The list that a query string asks for. Raises Invalid."""
    # Compat: of a repeated parameter the first counts, the others are ignored as an unknown one is.
    given = dict(reversed(read_pairs(query_string)))
    changes_since = read_time("changes-since", given["changes-since"]) if "changes-since" in given else None
    return Query(
        page=Page(read_limit(given.get("limit"), default_limit, largest_limit), given.get("marker")),
        sort=Sort(
            one_of("sort_key", given.get("sort_key"), SORT_KEYS),
            one_of("sort_dir", given.get("sort_dir"), SORT_DIRECTIONS) == "desc",
        ),
        filters=tuple(
            Filter(field, operator, read(name, given[name]))
            for name, (field, operator, read) in _FILTERS.items()
            if name in given
        ),
        properties=tuple(
            (name.removeprefix(PROPERTY), value)
            for name, value in given.items()
            if name.startswith(PROPERTY) and name != PROPERTY
        ),
        changes_since=changes_since,
        # "deleted and is_public are for admins": from anybody else they are ignored.
        public=_is_public(given.get("is_public")) if caller.admin else True,
        deleted=_deleted(given.get("deleted") if caller.admin else None, changes_since),
        unlisted_statuses=contract.unlisted_statuses,
    )


_FILTERS: dict[str, tuple[str, Any, Callable[[str, str], Any]]] = {
    "name": ("name", "eq", read_text),
    "status": ("status", "eq", read_text),
    "container_format": ("container_format", "eq", read_text),
    "disk_format": ("disk_format", "eq", read_text),
    "min_ram": ("min_ram", "eq", read_whole(MAX_INT32)),
    "min_disk": ("min_disk", "eq", read_whole(MAX_INT32)),
    "size_min": ("size", "ge", read_whole(MAX_INT64)),
    "size_max": ("size", "le", read_whole(MAX_INT64)),
    "protected": ("protected", "eq", read_truth),
}


def _is_public(given: str | None) -> bool | None:
    """True when it is not given; "is_public=None means all"."""
    if given is None:
        return True
    return None if given.lower() == "none" else read_truth("is_public", given)


def _deleted(given: str | None, changes_since: datetime | None) -> bool | None:
    """Only rows that are not deleted, unless the caller asks otherwise; a list of changes has both kinds."""
    if given is not None:
        return read_truth("deleted", given)
    return False if changes_since is None else None
