# SPDX-License-Identifier: Apache-2.0
"""Tables that are derived from the images' rows, for searches, and their repair."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import MsgspecError, Struct
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, tuple_

from glance_registry.catalogue.listing import property_index
from glance_registry.catalogue.rows import ROW, Stored, as_stored
from glance_registry.catalogue.tables import image_properties, images

_DELETED_AT = ROW.selected_columns.keys().index("deleted_at")

Entry = tuple[Any, ...]
"""A row of a derived table."""


class Derived(Struct, frozen=True):
    """A derived table. All its columns are its key, and `image_number` names the image."""

    table: Table
    entries: Callable[[Stored], Iterable[Mapping[str, Any]]]
    """The rows that the table must have for an image."""
    noun: str

    def expected(self, row: Sequence[Any]) -> set[Entry] | None:
        """The entries that an image's row must have, none if it is deleted; None if the row cannot be read."""
        allowed = self.allowed(row)
        return set() if allowed and row[_DELETED_AT] is not None else allowed

    def allowed(self, row: Sequence[Any]) -> set[Entry] | None:
        """The entries that an image's row may have.

        A deleted image may have some: older releases did not remove its properties, nor their entries. A purge removes
        both.
        """
        try:
            stored = as_stored(row)
        except (MsgspecError, ValueError, TypeError, OverflowError):
            return None
        return {tuple(entry[column.name] for column in self.table.c) for entry in self.entries(stored)}


DERIVED = (Derived(image_properties, property_index.entries, "property index"),)


def add_missing(connection: Connection, derived: Derived, after: int, limit: int) -> int | None:
    """Add the missing entries of up to `limit` images after a number; the last image's number."""
    rows = connection.execute(
        ROW.where(images.c.number > after).order_by(images.c.number).limit(limit).with_for_update()
    ).all()
    wanted = [entry for row in rows for entry in derived.expected(row) or ()]
    _delete(connection, derived.table, wanted)
    if wanted:
        connection.execute(insert(derived.table), [_named(derived.table, entry) for entry in wanted])
    return rows[-1].number if rows else None


def drop_surplus(connection: Connection, derived: Derived, after: Entry | None, limit: int) -> Entry | None:
    """Remove the surplus entries among up to `limit` entries after a given one; the last of these entries."""
    key = tuple(derived.table.c)
    statement = select(derived.table).order_by(*key).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    entries = [tuple(row) for row in connection.execute(statement)]
    number_column = list(derived.table.c.keys()).index("image_number")
    numbers = {entry[number_column] for entry in entries}
    # Locked, so that no image changes before its entries are removed.
    theirs = connection.execute(ROW.where(images.c.number.in_(numbers)).with_for_update())
    allowed = {row.number: derived.allowed(row) for row in theirs}
    surplus = [entry for entry in entries if _is_surplus(entry, allowed.get(entry[number_column], set()))]
    _delete(connection, derived.table, surplus)
    return entries[-1] if entries else None


def _is_surplus(entry: Entry, allowed: set[Entry] | None) -> bool:
    """Whether an entry is too many. Entries of an image that cannot be read are not."""
    return allowed is not None and entry not in allowed


def _delete(connection: Connection, table: Table, entries: Sequence[Entry]) -> None:
    if entries:
        statement = delete(table).where(*(column == bindparam(f"old_{column.name}") for column in table.c))
        connection.execute(
            statement, [{f"old_{name}": value for name, value in _named(table, entry).items()} for entry in entries]
        )


def _named(table: Table, entry: Entry) -> dict[str, Any]:
    return dict(zip(table.c.keys(), entry, strict=True))
