# SPDX-License-Identifier: Apache-2.0
"""The query string of the page with the list: the parameters of the Images API, and what a form makes of them."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from glance_registry.api.query_string import read_pairs
from glance_registry.api.ui.render import PATH
from glance_registry.api.v2.query import read_query
from glance_registry.model.errors import Invalid
from glance_registry.model.query import Query

Pairs = Sequence[tuple[str, str]]

COLUMNS = (
    ("name", "Name"),
    ("status", "Status"),
    ("", "Visibility"),
    ("", "System"),
    ("disk_format", "Format"),
    ("size", "Size"),
    ("updated_at", "Changed"),
)
"""What a list can be sorted by, where it can, and what people call it."""

_PLACES = frozenset({"marker", "sort"})
_FIRST_DESCENDING = frozenset({"size", "updated_at"})
_NEWEST_FIRST = ("created_at", "desc")


class Column(NamedTuple):
    """A head of the table. `sorted` is what `aria-sort` says of it; no `link`: one cannot sort by it."""

    label: str
    link: str | None = None
    sorted: str | None = None


class Listing(NamedTuple):
    """A list that is asked for: as a query, and as its page shows it."""

    query: Query
    pairs: Pairs

    @property
    def given(self) -> dict[str, str]:
        """What stands in the form."""
        return dict(self.pairs)

    @property
    def narrowed(self) -> bool:
        """Whether anything but search, order and marker is given."""
        return bool(self.given.keys() - _PLACES - {"q", "limit"})

    @property
    def first(self) -> str:
        return _link(self._without("marker"))

    def following(self, marker: str) -> str:
        return _link([*self._without("marker"), ("marker", marker)])

    def columns(self) -> list[Column]:
        key, _, direction = self.given.get("sort", ":".join(_NEWEST_FIRST)).partition(":")
        return [self._column(name, label, direction if name == key else "") for name, label in COLUMNS]

    def _column(self, key: str, label: str, direction: str) -> Column:
        if not key:
            return Column(label)
        other = "desc" if direction == "asc" or (not direction and key in _FIRST_DESCENDING) else "asc"
        link = _link([*self._without("marker", "sort"), ("sort", f"{key}:{other}")])
        return Column(label, link, {"asc": "ascending", "desc": "descending"}.get(direction))

    def _without(self, *names: str) -> list[tuple[str, str]]:
        return [pair for pair in self.pairs if pair[0] not in names]


def read_listing(query_string: bytes, default_limit: int, largest_limit: int) -> Listing:
    """The list that the page's query string asks for. Raises Invalid."""
    # A form sends also the fields that were left empty.
    pairs = [(name, value.strip()) for name, value in read_pairs(query_string) if value.strip()]
    asked = [_as_property(value) if name == "property" else (name, value) for name, value in pairs]
    return Listing(read_query(urlencode(asked).encode(), default_limit, largest_limit).query, pairs)


def _as_property(given: str) -> tuple[str, str]:
    name, separator, value = given.partition("=")
    if not separator or not name.strip():
        raise Invalid("A property must be given as in os_distro=ubuntu.")
    return name.strip(), value.strip()


def _link(pairs: Pairs) -> str:
    return f"{PATH}?{urlencode(pairs)}" if pairs else PATH
