# SPDX-License-Identifier: Apache-2.0
"""The Registry API's query strings: which images, in which order, how many (protocol, section 3)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from glance_registry.api.body import read_switch
from glance_registry.api.registry.wire import LARGEST_32, LARGEST_64
from glance_registry.model.access import Caller
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Invalid
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS, Filter, Page, Query, Sort

PROPERTY = "property-"


def read_query(
    query_string: bytes, caller: Caller, contract: Contract, default_limit: int, largest_limit: int
) -> Query:
    """The list that a query string asks for. Raises Invalid."""
    given = _read_parameters(query_string)
    changes_since = _time("changes-since", given["changes-since"]) if "changes-since" in given else None
    return Query(
        page=Page(_limit(given.get("limit"), default_limit, largest_limit), given.get("marker")),
        sort=Sort(
            _one_of("sort_key", given.get("sort_key"), SORT_KEYS),
            _one_of("sort_dir", given.get("sort_dir"), SORT_DIRECTIONS) == "desc",
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


def _read_parameters(query_string: bytes) -> dict[str, str]:
    """Compat: of a repeated parameter the first counts, the others are ignored as an unknown one is."""
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Invalid("The query string is not UTF-8.") from None
    given = dict(reversed(pairs))
    for name, value in given.items():
        if "\0" in name + value:
            raise Invalid(f"Parameter '{name}' holds a NUL character.")
    return given


def _text(name: str, given: str) -> str:  # noqa: ARG001 - the shape of a reader
    return given


def _whole(largest: int) -> Callable[[str, str], int]:
    def read(name: str, given: str) -> int:
        if not re.fullmatch(r"\d{1,30}", given, re.ASCII) or int(given) > largest:
            raise Invalid(f"Parameter '{name}' must be a whole number from 0 to {largest}.")
        return int(given)

    return read


def _switch(name: str, given: str) -> bool:
    value = read_switch(given)
    if not isinstance(value, bool):
        raise Invalid(f"Parameter '{name}' must be true or false.")
    return value


def _time(name: str, given: str) -> datetime:
    """ISO 8601; without a zone it is UTC."""
    try:
        # The "+" of a zone that a client forgot to encode arrives as a blank.
        instant = datetime.fromisoformat(re.sub(r"(T.*) (\d\d:?\d\d)$", r"\1+\2", given))
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Parameter '{name}' must be a time as in 2026-11-23T09:36:08Z.") from None


_FILTERS: dict[str, tuple[str, Any, Callable[[str, str], Any]]] = {
    "name": ("name", "eq", _text),
    "status": ("status", "eq", _text),
    "container_format": ("container_format", "eq", _text),
    "disk_format": ("disk_format", "eq", _text),
    "min_ram": ("min_ram", "eq", _whole(LARGEST_32)),
    "min_disk": ("min_disk", "eq", _whole(LARGEST_32)),
    "size_min": ("size", "ge", _whole(LARGEST_64)),
    "size_max": ("size", "le", _whole(LARGEST_64)),
    "protected": ("protected", "eq", _switch),
}


def _is_public(given: str | None) -> bool | None:
    """True when it is not given; "is_public=None means all"."""
    if given is None:
        return True
    return None if given.lower() == "none" else _switch("is_public", given)


def _deleted(given: str | None, changes_since: datetime | None) -> bool | None:
    """Only rows that are not deleted, unless the caller asks otherwise; a list of changes has both kinds."""
    if given is not None:
        return _switch("deleted", given)
    return False if changes_since is None else None


def _limit(given: str | None, default: int, largest: int) -> int:
    return min(default if given is None else _whole(LARGEST_64)("limit", given), largest)


def _one_of(name: str, given: str | None, allowed: tuple[str, ...]) -> str:
    """The parameter's value, or its default, which is the first allowed one."""
    if given is None:
        return allowed[0]
    if given not in allowed:
        raise Invalid(f"Parameter '{name}' must be one of: {', '.join(allowed)}.")
    return given
