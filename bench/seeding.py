# SPDX-License-Identifier: Apache-2.0
"""Fills a database with a realistic catalogue, by its driver's quickest way: a million images in about two minutes.

The rows are those that the program itself would write (a test compares). They are added in the order of registration
with all indexes in place, so that files and indexes are as full of holes as they would be in use.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from sqlalchemy import make_url

from bench.catalogues import catalogue
from glance_registry.catalogue import schema
from glance_registry.catalogue.listing.property_index import search_key
from glance_registry.catalogue.rows import as_member_row, as_row, to_column
from glance_registry.catalogue.tables import image_members, image_properties, images

Rows = Mapping[str, list[tuple[Any, ...]]]
"""The rows of each table, with the values of its columns in order."""

Columns = Mapping[str, list[str]]
"""The columns of each table."""

COLUMNS = {table.name: [column.name for column in table.c] for table in (images, image_properties, image_members)}
_IN_ONE_CHUNK = 5_000
_CHUNKS_AHEAD = 4


def seed(database: str, first: int, end: int) -> None:
    """Add the images of these numbers to a database; create its tables, where they are not there yet."""
    asyncio.run(schema.upgrade(database))
    fill(database, COLUMNS, chunks(rows, first, end))
    if not database.startswith("sqlite"):
        asyncio.run(_continue_numbers(database, end))


def rows(first: int, end: int) -> Rows:
    """The program's rows of the images of these numbers. Image 0 is row 1."""
    made: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}
    for number, kept in enumerate(catalogue(first, end), first + 1):
        row = {"number": number, **as_row(kept.image)}
        made["images"].append(tuple(row[name] for name in COLUMNS["images"]))
        created_at = to_column(kept.image.created_at)
        made["image_properties"] += [
            (name, search_key(value), created_at, number) for name, value in kept.image.properties.items()
        ]
        for member in kept.members:
            share = as_member_row(number, member)
            made["image_members"].append(tuple(share[name] for name in COLUMNS["image_members"]))
    return made


def chunks(make: Callable[[int, int], Rows], first: int, end: int) -> Iterator[Rows]:
    """What `make` makes of consecutive ranges of numbers, a few ahead and in a process of its own."""
    ahead: deque[Future[Rows]] = deque()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        for start in range(first, end, _IN_ONE_CHUNK):
            ahead.append(process.submit(make, start, min(end, start + _IN_ONE_CHUNK)))
            if len(ahead) > _CHUNKS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def fill(database: str, columns: Columns, made: Iterator[Rows]) -> None:
    """Add rows to tables that are there."""
    if database.startswith("sqlite"):
        _fill_file(make_url(database).database or "", columns, made)
    else:
        asyncio.run(_fill_server(database, columns, made))


def _fill_file(path: str, columns: Columns, made: Iterator[Rows]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    # What is lost when this is interrupted is made anew. 4 GB of cache: indexes are written in no order.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4000000"):
        connection.execute(f"PRAGMA {pragma}").close()
    for chunk in made:
        connection.execute("BEGIN").close()
        for table, names in columns.items():
            values = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})", chunk[table]).close()
        connection.execute("COMMIT").close()
    connection.close()


async def _fill_server(database: str, columns: Columns, made: Iterator[Rows]) -> None:
    import asyncpg

    connection = await asyncpg.connect(database)
    for chunk in made:
        for table, names in columns.items():
            await connection.copy_records_to_table(table, records=chunk[table], columns=names)
    await connection.close()


async def _continue_numbers(database: str, last: int) -> None:
    """COPY gave the rows their numbers; the next one is the database's again."""
    import asyncpg

    connection = await asyncpg.connect(database)
    await connection.execute(f"SELECT setval(pg_get_serial_sequence('images', 'number'), {last})")
    await connection.close()
