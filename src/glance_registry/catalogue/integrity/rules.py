# SPDX-License-Identifier: Apache-2.0
"""Rules for an image's row whose columns have values of the right types.

A deleted image may have properties and locations: older releases did not remove them, and a purge does.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row

from glance_registry.catalogue.rows import to_column
from glance_registry.model.contract import CACTUS, CONTRACTS
from glance_registry.model.image import VISIBILITIES, Location

STATUSES = frozenset().union(*(contract.statuses for contract in CONTRACTS.values()))

_EARLIEST = to_column(datetime.min.replace(tzinfo=UTC))
_LATEST = to_column(datetime.max.replace(tzinfo=UTC))
_NOT_NEGATIVE = ("size", "virtual_size", "min_disk", "min_ram")
_TIMES = ("created_at", "updated_at", "deleted_at")

Rule = Callable[[Row[Any]], Iterator[str]]


def broken(row: Row[Any]) -> Iterator[str]:
    """A sentence for each rule that a row breaks."""
    for rule in IMAGE_RULES:
        yield from rule(row)


def _identity(row: Row[Any]) -> Iterator[str]:
    if not CACTUS.id_pattern.fullmatch(row.id):
        yield "The id has characters that a URL cannot carry."
    if row.version < 1:
        yield f"The version is {row.version}; the first one is 1."


def _words(row: Row[Any]) -> Iterator[str]:
    if row.visibility not in VISIBILITIES:
        yield f"There is no visibility {row.visibility!r}."
    if row.status not in STATUSES:
        yield f"There is no status {row.status!r}."


def _numbers(row: Row[Any]) -> Iterator[str]:
    for name in _NOT_NEGATIVE:
        value = getattr(row, name)
        if value is not None and value < 0:
            yield f"Column {name} is less than 0."


def _times(row: Row[Any]) -> Iterator[str]:
    for name in _TIMES:
        value = getattr(row, name)
        if value is not None and not _EARLIEST <= value <= _LATEST:
            yield f"Column {name} is no time between the years 1 and 9999."
    if row.updated_at < row.created_at:
        yield "The image was changed before it was created."
    if row.deleted_at is not None and row.deleted_at < row.created_at:
        yield "The image was deleted before it was created."


def _properties(row: Row[Any]) -> Iterator[str]:
    try:
        properties = msgspec.json.decode(row.properties, type=dict[str, str])
    except (msgspec.MsgspecError, ValueError) as error:
        yield f"Column properties is not a JSON object of texts: {error}."
        return
    if "" in properties:
        yield "A property has no name."


def _null_properties(row: Row[Any]) -> Iterator[str]:
    """An older release may give such a property a value without changing this column. That is no fault."""
    if row.null_properties is None:
        return
    try:
        names = msgspec.json.decode(row.null_properties, type=list[str])
    except (msgspec.MsgspecError, ValueError) as error:
        yield f"Column null_properties is not a JSON list of texts: {error}."
        return
    if not all(names):
        yield "A property without a value has no name."
    if len(set(names)) < len(names):
        yield "A property without a value comes twice."


def _locations(row: Row[Any]) -> Iterator[str]:
    try:
        locations = msgspec.json.decode(row.locations, type=tuple[Location, ...])
    except (msgspec.MsgspecError, ValueError) as error:
        yield f"Column locations is not a JSON list of locations: {error}."
        return
    if any(not location.url for location in locations):
        yield "A location has no url."
    ids = [location.id for location in locations]
    if None in ids or len(set(ids)) < len(ids):
        yield "The locations are not numbered, each by a number of its own."


def _tags(row: Row[Any]) -> Iterator[str]:
    try:
        tags = msgspec.json.decode(row.tags, type=list[str])
    except (msgspec.MsgspecError, ValueError) as error:
        yield f"Column tags is not a JSON list of texts: {error}."
        return
    if not all(tags):
        yield "A tag is empty."
    if tags != sorted(set(tags)):
        yield "The tags are not sorted, or one comes twice."


def _stores(row: Row[Any]) -> Iterator[str]:
    """An image is in stores if, and only if, it has a blob. The release before blobs deletes it without a change."""
    if row.stores is None:
        if row.blob_number is not None and row.deleted_at is None:
            yield "The image has a blob and is in no store."
        return
    try:
        names = msgspec.json.decode(row.stores, type=list[str])
    except (msgspec.MsgspecError, ValueError) as error:
        yield f"Column stores is not a JSON list of texts: {error}."
        return
    if not names or not all(names):
        yield "The list of stores is empty, or one has no name."
    if names != sorted(set(names)):
        yield "The stores are not sorted, or one comes twice."
    if row.blob_number is None:
        yield "The image is in stores and has no blob."


IMAGE_RULES: tuple[Rule, ...] = (
    _identity,
    _words,
    _numbers,
    _times,
    _properties,
    _null_properties,
    _locations,
    _tags,
    _stores,
)
