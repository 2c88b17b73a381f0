# SPDX-License-Identifier: Apache-2.0
"""The check and the repair of the index of words.

Only the database knows how it splits a text into words, so it splits all texts again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, column, delete, exists, func, select, table, text

from glance_registry.catalogue.integrity.streaming import AT_ONCE, stream
from glance_registry.catalogue.search.triggers import REFILL, TEXT, sqlite_index
from glance_registry.catalogue.tables import images

NAME = "image_words"
_OTHERS = "The index of words has not those of its name, tags and properties."
_STRAY = "The index of words has some under the number {}, which no image has that is not deleted."

_index = table(NAME, column("image_number"), column("words"))
# As bytes, because a damaged text may not be UTF-8.
_POSITIONS = "SELECT doc, offset, CAST(term AS BLOB) FROM image_words_places ORDER BY doc, offset"
_TEXTS = f"SELECT number, id, CAST({TEXT} AS BLOB) FROM images WHERE deleted_at IS NULL ORDER BY number"  # noqa: S608

Positions = tuple[int, list[tuple[int, bytes]]]
"""An image's number and its words, each with its position."""


def faults(connection: Connection) -> Iterator[tuple[str | None, str]]:
    """The faults of the index: the image's id or None, and a sentence."""
    yield from (_on_sqlite if connection.dialect.name == "sqlite" else _on_postgresql)(connection)


def refill(connection: Connection, after: int, limit: int) -> int | None:
    """Index up to `limit` images after a number again; the last one's number. On SQLite all images at once."""
    if connection.dialect.name == "sqlite":
        for statement in REFILL:
            connection.exec_driver_sql(statement).close()
        return None
    # Locked, so that no image changes before its words are stored.
    some = select(images.c.number).where(images.c.number > after).order_by(images.c.number).limit(limit)
    numbers = connection.execute(some.with_for_update()).scalars().all()
    behind = _index.c.image_number > after
    until = [_index.c.image_number <= numbers[-1]] if numbers else []
    connection.execute(delete(_index).where(behind, *until))
    words = func.image_words_of(images.c.name, images.c.tags, images.c.properties)
    live = select(images.c.number, words).where(images.c.number.in_(numbers), images.c.deleted_at.is_(None))
    connection.execute(_index.insert().from_select(["image_number", "words"], live))
    return numbers[-1] if numbers else None


def _on_postgresql(connection: Connection) -> Iterator[tuple[str | None, str]]:
    theirs = _index.c.image_number == images.c.number
    words = func.image_words_of(images.c.name, images.c.tags, images.c.properties)
    same = exists().where(theirs, _index.c.words == words)
    for (image_id,) in stream(connection, select(images.c.id).where(images.c.deleted_at.is_(None), ~same)):
        yield image_id, _OTHERS
    live = exists().where(theirs, images.c.deleted_at.is_(None))
    for (number,) in stream(connection, select(_index.c.image_number).where(~live)):
        yield None, _STRAY.format(number)


def _on_sqlite(connection: Connection) -> Iterator[tuple[str | None, str]]:
    """Compare the index with another one, both in the order of the images' numbers."""
    entries = _positions(stream(connection, text(_POSITIONS)))
    entry = next(entries, None)
    for number, image_id, expected in _expected(connection):
        while entry is not None and entry[0] < number:
            yield None, _STRAY.format(entry[0])
            entry = next(entries, None)
        found: list[tuple[int, bytes]] = []
        if entry is not None and entry[0] == number:
            found = entry[1]
            entry = next(entries, None)
        if found != expected:
            yield image_id, _OTHERS
    while entry is not None:
        yield None, _STRAY.format(entry[0])
        entry = next(entries, None)


def _positions(rows: Iterator[Any]) -> Iterator[Positions]:
    for number, theirs in groupby(rows, key=lambda row: row[0]):
        yield number, [(position, word) for _, position, word in theirs]


def _expected(connection: Connection) -> Iterator[tuple[int, str, list[tuple[int, bytes]]]]:
    """Number, id and words of each image that is not deleted. The words are from another index of the same kind."""
    with closing(sqlite3.connect(":memory:")) as other:
        for statement in sqlite_index(NAME):
            other.execute(statement)
        rows = stream(connection, text(_TEXTS))
        while some := list(islice(rows, AT_ONCE)):
            other.execute(REFILL[0])
            other.executemany(
                "INSERT INTO image_words (rowid, words) VALUES (?, CAST(? AS TEXT))",
                [(number, words) for number, _, words in some],
            )
            split = dict(_positions(iter(other.execute(_POSITIONS))))
            yield from ((number, image_id, split.get(number, [])) for number, image_id, _ in some)
