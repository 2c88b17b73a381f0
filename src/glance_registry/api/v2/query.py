# SPDX-License-Identifier: Apache-2.0
"""The query strings of the Images API v2: which images, in which order, how many."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from glance_registry.api.query_string import (
    one_of,
    read_limit,
    read_pairs,
    read_text,
    read_time,
    read_truth,
    read_whole,
)
from glance_registry.model.changes import as_tag
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_INT32, MAX_INT64, VISIBILITIES
from glance_registry.model.member import ACCEPTED, STATUSES
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS, TAG, Filter, Operator, Page, Query, Sort, View
from glance_registry.model.search import read_terms

PATH = "/v2/images"
MAX_CONDITIONS = 64
"""Filters of one list: each is a part of the statement."""

_NOT_FILTERS = frozenset(
    {"limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status", "tag", "os_hidden", "q"}
)
_UNLISTED = frozenset({"killed"})
"""Unless a filter asks for a status."""

Reader = Callable[[str, str], Any]
_READERS: dict[str, Reader] = {
    **dict.fromkeys(("owner", "checksum", "os_hash_algo", "os_hash_value"), read_text),
    **dict.fromkeys(("min_ram", "min_disk"), read_whole(MAX_INT32)),
    **dict.fromkeys(("size", "virtual_size"), read_whole(MAX_INT64)),
    "protected": read_truth,
}
_RANGES: dict[str, tuple[str, Operator]] = {"size_min": ("size", "ge"), "size_max": ("size", "le")}
_LISTABLE = frozenset({"name", "status", "container_format", "disk_format", "id"})
_TIMES = frozenset({"created_at", "updated_at"})
_OPERATORS: dict[str, Operator] = {
    "eq": "eq", "neq": "ne", "gt": "gt", "gte": "ge", "lt": "lt", "lte": "le", "in": "in",
}  # fmt: skip
_LISTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?=,|$)|([^,"]*)(?=,|$)', re.DOTALL)


class Asked(Struct, frozen=True):
    """A list that is asked for, and the parameters with which another page of it is."""

    query: Query
    pairs: Sequence[tuple[str, str]]

    @property
    def first(self) -> str:
        return _link([pair for pair in self.pairs if pair[0] != "marker"])

    def following(self, marker: str) -> str:
        return _link([*(pair for pair in self.pairs if pair[0] != "marker"), ("marker", marker)])


def _link(pairs: Sequence[tuple[str, str]]) -> str:
    return f"{PATH}?{urlencode(pairs)}" if pairs else PATH


def read_query(query_string: bytes, default_limit: int, largest_limit: int) -> Asked:
    """The list that a query string asks for. Raises Invalid."""
    pairs = read_pairs(query_string)
    if len(pairs) > MAX_CONDITIONS:
        raise Invalid(f"A list may be asked for with at most {MAX_CONDITIONS} parameters.")
    # Of a repeated parameter the last counts, unless it is one that may be repeated.
    given = dict(pairs)
    if "changes-since" in given:
        raise Invalid("Parameter 'changes-since' is not available here; use updated_at=gt:….")
    conditions = [(name, value) for name, value in given.items() if name not in _NOT_FILTERS]
    properties = [pair for pair in conditions if not _is_field(pair[0])]
    tags = dict.fromkeys(as_tag(value) for name, value in pairs if name == "tag")
    query = Query(
        page=Page(read_limit(given.get("limit"), default_limit, largest_limit), given.get("marker")),
        sort=_read_sort(pairs),
        filters=tuple(_read_filter(name, value) for name, value in conditions if _is_field(name)),
        properties=(*properties, *((TAG, tag) for tag in tags)),
        terms=read_terms(given["q"]) if "q" in given else (),
        view=_read_view(given),
        hidden=read_truth("os_hidden", given.get("os_hidden", "false")),
        unlisted_statuses=frozenset() if "status" in given else _UNLISTED,
    )
    return Asked(query, pairs)


def _read_view(given: dict[str, str]) -> View:
    visibility = given.get("visibility")
    if visibility is not None:
        one_of("visibility", visibility, (*VISIBILITIES, "all"))
    member_status = one_of("member_status", given.get("member_status", ACCEPTED), (*STATUSES, "all"))
    return View(visibility, None if member_status == "all" else member_status)  # type: ignore[arg-type]


def _is_field(name: str) -> bool:
    return name in _READERS or name in _RANGES or name in _LISTABLE or name in _TIMES


def _read_filter(name: str, given: str) -> Filter:
    if name in _RANGES:
        field, operator = _RANGES[name]
        return Filter(field, operator, read_whole(MAX_INT64)(name, given))
    if name in _READERS:
        return Filter(name, "eq", _READERS[name](name, given))
    prefix, _, rest = given.partition(":")
    named = _OPERATORS.get(prefix) if rest or given.endswith(":") else None
    if name in _TIMES:
        if named == "in":
            raise Invalid(f"Parameter '{name}' knows no operator 'in'.")
        return Filter(name, named or "eq", read_time(name, rest if named else given))
    if named is None:
        # A name may have a colon of its own: "debian:12" is one.
        return Filter(name, "eq", given)
    if named not in ("eq", "in"):
        raise Invalid(f"Parameter '{name}' knows no operator '{prefix}'.")
    return Filter(name, named, rest) if named == "eq" else Filter(name, "in", tuple(_split(name, rest)))


def _split(name: str, listed: str) -> Iterator[str]:
    """The values of `in:`, between commas; in double quotes where one has a comma, or a quote after a backslash."""
    position = 0
    while True:
        found = _LISTED.match(listed, position)
        if found is None:
            raise Invalid(f"Parameter '{name}' has a quotation mark at a wrong place.")
        yield re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
        position = found.end() + 1
        if position > len(listed):
            return


def _read_sort(pairs: Sequence[tuple[str, str]]) -> Sort:
    """`sort=name:asc,size:desc`, or `sort_key` and `sort_dir`, each repeated; one direction is for all keys."""
    short = [value for name, value in pairs if name == "sort"]
    keys = [value for name, value in pairs if name == "sort_key"]
    directions = [value for name, value in pairs if name == "sort_dir"]
    if short and (keys or directions):
        raise Invalid("Parameter 'sort' cannot be combined with 'sort_key' and 'sort_dir'.")
    if short:
        terms = [term.partition(":") for term in short[-1].split(",")]
        keys = [key.strip() for key, _, _ in terms]
        directions = [direction.strip() or SORT_DIRECTIONS[0] for _, _, direction in terms]
    if len(directions) > max(len(keys), 1) or 1 < len(directions) < len(keys):
        raise Invalid("There must be one 'sort_dir', or as many as there are 'sort_key'.")
    for key in keys:
        one_of("sort_key", key, SORT_KEYS)
    descending = [one_of("sort_dir", direction, SORT_DIRECTIONS) == "desc" for direction in directions or ("desc",)]
    return _sort(keys or [SORT_KEYS[0]], descending)


def _sort(keys: Sequence[str], descending: Sequence[bool]) -> Sort:
    if len(set(keys)) < len(keys):
        raise Invalid("A list can be sorted by a key once only.")
    if len(descending) == 1:
        return Sort(keys[0], descending[0], tuple((key, descending[0]) for key in keys[1:]))
    # Compat: with several directions ties break towards the newest.
    ties = (("created_at", True), ("id", True))
    return Sort(keys[0], descending[0], (*zip(keys[1:], descending[1:], strict=True), *ties))
