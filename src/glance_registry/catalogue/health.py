# SPDX-License-Identifier: Apache-2.0
"""Whether a database can be used."""

import sqlite3
from uuid import uuid4

from sqlalchemy import Connection, delete, false, insert, literal_column, select
from sqlalchemy.exc import DBAPIError

from glance_registry.catalogue.statements import Prepared
from glance_registry.catalogue.tables import metadata, tombstones
from glance_registry.model.errors import Unavailable

_SQLITE_ERROR = 1
_UNDEFINED_TABLE = "42P01"

_PROBE_CHARACTERS = 65_536
"""The length of a probe on SQLite, which does not limit ids. It does not fit into free pages of the file."""

# Reads no row, but fails if a table does not exist.
_NOTHING_OF_ALL = Prepared(
    select(
        *(
            select(literal_column("1")).select_from(table).where(false()).scalar_subquery()
            for table in metadata.sorted_tables
        )
    )
)


def check_tables(connection: Connection) -> None:
    """Raise Unavailable if a table is missing; a driver's error if the database does not answer."""
    try:
        _NOTHING_OF_ALL.first(connection, {})
    except (sqlite3.Error, DBAPIError) as error:
        cause = getattr(error, "orig", error)
        missing = getattr(cause, "sqlite_errorcode", None) == _SQLITE_ERROR
        if missing or getattr(cause, "sqlstate", None) == _UNDEFINED_TABLE:
            raise Unavailable(
                "The database lacks tables of the registry; look at it with: glance-registry db check"
            ) from error
        raise


def try_to_write(connection: Connection) -> None:
    """Write a row that needs space, and delete it in the same transaction."""
    probe = uuid4().hex
    if connection.dialect.name == "sqlite":
        probe = probe.ljust(_PROBE_CHARACTERS, "-")
    connection.execute(insert(tombstones).values(id=probe, purged_at=0))
    connection.execute(delete(tombstones).where(tombstones.c.id == probe))
