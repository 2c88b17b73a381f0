# SPDX-License-Identifier: Apache-2.0
"""The tables that only repeat what the images' rows say, so that it can be searched; how they are made anew."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import MsgspecError, Struct
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, tuple_

from glance_registry.catalogue.listing import property_index
from glance_registry.catalogue.rows import ROW, Stored, as_stored
from glance_registry.catalogue.tables import image_properties, images

_DELETED_AT = ROW.selected_columns.keys().index("deleted_at")

Entry = tuple[Any, ...]
"""A row of such a table, its values in the order of the columns."""


class Derived(Struct, frozen=True):
    """One such table. All its columns are its key, and `image_number` says whose an entry is."""

    table: Table
    entries: Callable[[Stored], Iterable[Mapping[str, Any]]]
    """What the table must hold for an image."""
    noun: str

    def expected(self, row: Sequence[Any]) -> set[Entry] | None:
        """The entries that belong to a row of `rows.ROW`, none of a deleted one; None when the row cannot be read."""
        allowed = self.allowed(row)
        return set() if allowed and row[_DELETED_AT] is not None else allowed

    def allowed(self, row: Sequence[Any]) -> set[Entry] | None:
        """The entries that a row may have.

        Entries of a deleted image are not wrong: older releases left them together with its properties, and a purge
        removes both.
        """
        try:
            stored = as_stored(row)
        except (MsgspecError, ValueError, TypeError, OverflowError):
            return None
        return {tuple(entry[column.name] for column in self.table.c) for entry in self.entries(stored)}


DERIVED = (Derived(image_properties, property_index.entries, "property index"),)


def add_missing(connection: Connection, derived: Derived, after: int, limit: int) -> int | None:
    """Give up to `limit` images behind a row's number the entries that they must have; the last one's number."""
    rows = connection.execute(
        ROW.where(images.c.number > after).order_by(images.c.number).limit(limit).with_for_update()
    ).all()
    wanted = [entry for row in rows for entry in derived.expected(row) or ()]
    _delete(connection, derived.table, wanted)
    if wanted:
        connection.execute(insert(derived.table), [_named(derived.table, entry) for entry in wanted])
    return rows[-1].number if rows else None


def drop_surplus(connection: Connection, derived: Derived, after: Entry | None, limit: int) -> Entry | None:
    """Remove, of up to `limit` entries behind a given one, those that no image must have; the last one looked at."""
    key = tuple(derived.table.c)
    statement = select(derived.table).order_by(*key).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    entries = [tuple(row) for row in connection.execute(statement)]
    place = list(derived.table.c.keys()).index("image_number")
    numbers = {entry[place] for entry in entries}
    # Locked, so that no image changes between the look at it and the end of its entries.
    theirs = connection.execute(ROW.where(images.c.number.in_(numbers)).with_for_update())
    allowed = {row.number: derived.allowed(row) for row in theirs}
    surplus = [entry for entry in entries if _is_surplus(entry, allowed.get(entry[place], set()))]
    _delete(connection, derived.table, surplus)
    return entries[-1] if entries else None


def _is_surplus(entry: Entry, allowed: set[Entry] | None) -> bool:
    """The entries of an image that cannot be read are left alone."""
    return allowed is not None and entry not in allowed


def _delete(connection: Connection, table: Table, entries: Sequence[Entry]) -> None:
    if entries:
        statement = delete(table).where(*(column == bindparam(f"old_{column.name}") for column in table.c))
        connection.execute(
            statement, [{f"old_{name}": value for name, value in _named(table, entry).items()} for entry in entries]
        )


def _named(table: Table, entry: Entry) -> dict[str, Any]:
    return dict(zip(table.c.keys(), entry, strict=True))
