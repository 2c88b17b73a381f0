# SPDX-License-Identifier: Apache-2.0
"""Checks of a whole catalogue, as a table. `db check` runs them over a snapshot.

Each check reads one table, with a few hundred rows in memory at a time. A new rule about one image's row is a function
in `rules.IMAGE_RULES`; a new table that is derived from the images' rows is an entry of `repair.DERIVED`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, Table, func, select
from sqlalchemy.exc import DBAPIError

from glance_registry.catalogue.integrity import bytes_kept, rules, words
from glance_registry.catalogue.integrity.repair import DERIVED, Derived, Entry
from glance_registry.catalogue.integrity.streaming import stream
from glance_registry.catalogue.rows import ROW
from glance_registry.catalogue.tables import (
    blob_copies,
    blobs,
    image_members,
    images,
    removals,
    tombstones,
    uploads,
)


class Fault(Struct, frozen=True):
    """One fault; `check` is the name in `CHECKS`."""

    check: str
    sentence: str
    image_id: str | None = None
    """None if the fault does not belong to an image."""


class Check(Struct, frozen=True):
    """A check. `find` yields faults: the image's id or None, and a sentence."""

    name: str
    find: Callable[[Connection], Iterator[tuple[str | None, str]]]


class Outcome(Struct, frozen=True):
    """The number of rows of each table (None if it cannot be read), and the number of faults."""

    rows: dict[str, int | None]
    faults: int


def check(connection: Connection, report: Callable[[Fault], None]) -> Outcome:
    """Report all faults, check by check. Changes nothing."""
    count = 0
    for count, fault in enumerate(_faults(connection), 1):  # noqa: B007 - the last count is the answer
        report(fault)
    tables = (images, *(derived.table for derived in DERIVED), image_members, tombstones, *_OF_BYTES)
    return Outcome({table.name: _count(connection, table) for table in tables}, count)


def _faults(connection: Connection) -> Iterator[Fault]:
    for one in CHECKS:
        try:
            for image_id, sentence in one.find(connection):
                yield Fault(one.name, sentence, image_id)
        except DBAPIError as error:
            _raise_unless_damaged(connection, error)
            yield Fault(one.name, "The database could not be read to the end of this check.")


def _count(connection: Connection, table: Table) -> int | None:
    try:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
    except DBAPIError as error:
        _raise_unless_damaged(connection, error)
        return None


def _raise_unless_damaged(connection: Connection, error: DBAPIError) -> None:
    """Damage in an SQLite file ends one statement only. On a server it ends the transaction."""
    if connection.dialect.name != "sqlite" or error.connection_invalidated:
        raise error


def _file(connection: Connection) -> Iterator[tuple[str | None, str]]:
    """SQLite's own checks: the pages of the file, its indexes, its constraints."""
    if connection.dialect.name != "sqlite":
        return
    for (found,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if found != "ok":
            yield None, f"SQLite says: {found}."
    for table, number, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield None, f"Row {number} of table {table} points at a row of {parent} that is not there."


def _images(connection: Connection) -> Iterator[tuple[str | None, str]]:
    """Check each row: the types of its columns, then, if they are right, the rules."""
    for row in stream(connection, ROW.order_by(images.c.number)):
        mistyped = list(_mistyped(images, row))
        for sentence in mistyped or rules.broken(row):
            yield str(row.id), sentence


def _columns_of(table: Table) -> Callable[[Connection], Iterator[tuple[str | None, str]]]:
    def find(connection: Connection) -> Iterator[tuple[str | None, str]]:
        for row in stream(connection, select(table)):
            for sentence in _mistyped(table, row):
                yield None, f"Table {table.name}, row {tuple(row)}: {sentence}"

    return find


def _mistyped(table: Table, row: Row[Any]) -> Iterator[str]:
    """Check types and lengths: SQLite stores any value in any column."""
    for column, value in zip(table.c, row, strict=True):
        kind: Any = column.type.python_type
        longest = getattr(column.type, "length", None)
        if value is None:
            if not column.nullable:
                yield f"Column {column.name} is empty."
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"Column {column.name} holds no {_WORDS[kind]}."
        elif isinstance(value, str) and not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
            yield f"Column {column.name} is not UTF-8."
        elif longest is not None and len(value) > longest:
            yield f"Column {column.name} is longer than {longest} characters."


_WORDS = {int: "whole number", str: "text", bool: "truth value"}


def _agreement(derived: Derived) -> Callable[[Connection], Iterator[tuple[str | None, str]]]:
    """Compare a derived table with the images. Both are read in the order of the images' numbers."""
    noun = derived.noun

    def find(connection: Connection) -> Iterator[tuple[str | None, str]]:
        entries = stream(connection, select(derived.table).order_by(derived.table.c.image_number))
        entry = next(entries, None)
        for row in stream(connection, ROW.order_by(images.c.number)):
            while entry is not None and _number(entry) < row.number:
                yield None, _stray(noun, entry)
                entry = next(entries, None)
            found: set[Entry] = set()
            while entry is not None and _number(entry) == row.number:
                found.add(tuple(entry))
                entry = next(entries, None)
            allowed = derived.allowed(row)
            if allowed is not None:
                expected = allowed if row.deleted_at is None else set()
                yield from ((row.id, f"The {noun} lacks an entry {each[0]!r}.") for each in expected - found)
                yield from ((row.id, f"The {noun} has an entry {each[0]!r} too many.") for each in found - allowed)
        while entry is not None:
            yield None, _stray(noun, entry)
            entry = next(entries, None)

    return find


def _number(entry: Row[Any]) -> float:
    """The image's number of an entry. Values that are not numbers sort behind all numbers."""
    return entry.image_number if isinstance(entry.image_number, int) else math.inf


def _stray(noun: str, entry: Row[Any]) -> str:
    return f"The {noun} has {entry[0]!r} under the number {entry.image_number!r}, which no image has."


def _members_of_none(connection: Connection) -> Iterator[tuple[str | None, str]]:
    known = select(images.c.number).where(images.c.number == image_members.c.image_number)
    for row in stream(connection, select(image_members).where(~known.exists())):
        yield None, f"Member {row.member_id!r} is one of the image number {row.image_number}, which is not there."


def _doubled_ids(connection: Connection) -> Iterator[tuple[str | None, str]]:
    doubled = select(images.c.id, func.count().label("rows")).group_by(images.c.id).having(func.count() > 1)
    for row in stream(connection, doubled):
        yield row.id, f"The id is that of {row.rows} images."


def _purged_ids(connection: Connection) -> Iterator[tuple[str | None, str]]:
    for row in stream(connection, select(images.c.id).where(images.c.id == tombstones.c.id)):
        yield row.id, "The image is there although its id was purged."


_OF_BYTES = (blobs, blob_copies, uploads, removals)

CHECKS = (
    Check("file", _file),
    Check("images", _images),
    *(Check(derived.table.name, _agreement(derived)) for derived in DERIVED),
    Check(words.NAME, words.faults),
    Check("image_members", _columns_of(image_members)),
    Check("image_members", _members_of_none),
    Check("tombstones", _columns_of(tombstones)),
    *(Check(table.name, _columns_of(table)) for table in _OF_BYTES),
    *(Check(name, find) for name, find in bytes_kept.CHECKS),
    Check("ids", _doubled_ids),
    Check("ids", _purged_ids),
)
