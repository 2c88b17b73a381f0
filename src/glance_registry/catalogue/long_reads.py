# SPDX-License-Identifier: Apache-2.0
"""Which reads turned out to take long, so that the next ones like them wait for each other and not in front of others.

Reads are alike when they run the same operation for the same caller, and their queries differ in values alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from glance_registry.catalogue.slots import caller_key
from glance_registry.model.query import Query

MAX_LONG_READS = 1_024
"""Kinds of long reads that are remembered; after that the one not used for longest is forgotten."""


class LongReads:
    """The kinds of reads that were long the last time."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def find(self, operation: Callable[..., Any], args: tuple[Any, ...]) -> Hashable | None:
        """The kind of this read if it is known to be long."""
        if not self._known:
            return None
        kind = kind_of(operation, args)
        return kind if kind in self._known else None

    def add(self, operation: Callable[..., Any], args: tuple[Any, ...]) -> Hashable:
        """Remember a read that is long; the result is its kind."""
        kind = kind_of(operation, args)
        self._known[kind] = None
        self._known.move_to_end(kind)
        if len(self._known) > MAX_LONG_READS:
            self._known.popitem(last=False)
        return kind

    def note(self, kind: Hashable, *, long: bool) -> None:
        """How a read of a known kind went this time."""
        if kind in self._known:
            if long:
                self._known.move_to_end(kind)
            else:
                del self._known[kind]


def kind_of(operation: Callable[..., Any], args: tuple[Any, ...]) -> Hashable:
    query = args[0] if args and isinstance(args[0], Query) else None
    if query is None:
        return caller_key.get(), operation
    return (
        caller_key.get(),
        operation,
        tuple([(wanted.field, wanted.operator) for wanted in query.filters]),
        len(query.properties),
        len(query.terms),
        query.changes_since is None,
        query.page.marker is None,
        query.sort,
        query.view,
        query.public,
        query.deleted,
        query.hidden,
    )
