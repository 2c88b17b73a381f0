# SPDX-License-Identifier: Apache-2.0
"""What a driver raised becomes an error of ours: here and nowhere else."""

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from glance_registry.model.errors import Conflict, RegistryError, StorageFull, Unavailable


def translate(error: Exception) -> Exception:
    """Our error for what a driver raised; the error itself when it is not about the database's state.

    The sentence is from a fixed list: the driver's own text may name hosts, files or values. It stays the cause, which
    the log shows, also where another thread than the one that failed raises ours.
    """
    ours = _translate(error)
    if ours is not error:
        ours.__cause__ = error
    return ours


def _translate(error: Exception) -> Exception:
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return Conflict("The change contradicts another one made at the same time.")
    if isinstance(error, OSError | PoolTimeoutError | TimeoutError):
        return Unavailable("The database does not answer.")
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _translate_sqlite(getattr(cause, "sqlite_errorcode", 0)) or error
    if not isinstance(error, DBAPIError):
        return Unavailable("The database does not answer.") if _connection_lost(error) else error
    return _translate_sqlstate(getattr(cause, "sqlstate", None), error) or error


def _connection_lost(error: Exception) -> bool:
    """Whether a connection was lost; the adapter of asyncpg reports some losses outside DBAPIError."""
    return isinstance(error, SQLAlchemyError) and "connection" in str(error).lower()


def _translate_sqlite(code: int) -> RegistryError | None:
    if code == sqlite3.SQLITE_READONLY_DIRECTORY:
        return Unavailable("The folder of the database is read-only.")
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageFull("The database has no room left; free some and try again.")
        case sqlite3.SQLITE_READONLY:
            return Unavailable("The database is read-only.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("The database is busy.")
        case sqlite3.SQLITE_CANTOPEN:
            return Unavailable("The database file, or one beside it, cannot be opened.")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Unavailable("The database file cannot be used.")
    return None


def _translate_sqlstate(state: str | None, error: DBAPIError) -> RegistryError | None:
    if state == "53100":
        return StorageFull("The database has no room left; free some and try again.")
    if state in ("25006", "57P03"):
        return Unavailable("The database takes no writes now.")
    # Without a statement it is the connection that was refused: no such database, wrong password, too many clients.
    refused = error.statement is None
    if refused or error.connection_invalidated or state is None or state[:2] in ("08", "53", "57", "40"):
        return Unavailable("The database does not answer.")
    return None
