# SPDX-License-Identifier: Apache-2.0
"""Where operations meet a database.

An operation is a plain function whose first argument is a connection with a transaction running; it does
not await, so no slow client can hold a transaction open. `Catalogue.read` and `Catalogue.write` run one
operation each. Driver errors become ours here and nowhere else.
"""

import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import NullType

from glance_registry.catalogue.causes import Database
from glance_registry.catalogue.urls import read_url
from glance_registry.model.errors import Conflict, Invalid, RegistryError, StorageFull, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Operation = Callable[Concatenate[Connection, P], T]

READ_SECONDS = 10
"""How long a read may take, with the wait for its turn, unless a setting says otherwise."""


class Catalogue(ABC):
    """The images, kept in one database. Open it with `catalogue.open.open_catalogue`."""

    database = Database("")
    """Which one, for the log."""

    @abstractmethod
    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that changes nothing. Raises what it raises, or Unavailable.

        When it takes too long, or the task that waits for it is cancelled, its statement is stopped.
        """

    @abstractmethod
    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation in one transaction; when this returns, its effect is on disk.

        Raises what the operation raises, Conflict on a broken constraint, StorageFull or Unavailable;
        whatever is raised, nothing of the operation remains.
        """

    @abstractmethod
    async def check(self) -> None:
        """Raise Unavailable unless the database answers, has its tables, and takes writes again if one failed."""

    @abstractmethod
    async def close(self) -> None:
        """Finish the writes that were accepted, then let go of the database."""


def bind(operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> Callable[[Connection], T]:
    """The operation with its arguments, waiting for a connection."""

    def run(connection: Connection) -> T:
        return operation(connection, *args, **kwargs)

    return run


def parse_url(text: str) -> URL:
    """A database URL as SQLAlchemy knows it, with the driver that we use. Raises Invalid when we have none."""
    try:
        url = read_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number.
        # The text may hold a password: it is not repeated.
        raise Invalid("The database URL cannot be read; write sqlite:///FILE or postgresql://USER@HOST/NAME.") from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise Invalid("An SQLite database must be a file: sqlite:///FILE.")
        return url.set(drivername="sqlite")
    if kind == "postgresql":
        return url.set(drivername="postgresql+asyncpg")
    raise Invalid(f"There is no support for the database '{kind}'; use sqlite or postgresql.")


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
    """asyncpg's adapter reports some lost connections outside DBAPIError."""
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


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt number `attempt` + 1 of a write: jitter keeps rivals apart."""
    return random.uniform(0, 0.01 * 2**attempt)


class unindexed(ColumnElement[Any]):  # noqa: N801 - reads as the function that it is
    """A column as it is, which no index is chosen for. SQLite keeps no statistics that could tell it better."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column
        self.type = column.type


@compiles(unindexed)
def _plain(element: unindexed, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.column, **options))


@compiles(unindexed, "sqlite")
def _with_plus(element: unindexed, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.column, **options)}"


class unordered(unindexed):  # noqa: N801
    """The same on PostgreSQL as well, for keys whose own index would lead past very many rows in their order."""

    inherit_cache = True


@compiles(unordered, "postgresql")
def _with_greatest(element: unordered, compiler: Any, **options: Any) -> str:
    return f"GREATEST({compiler.process(element.column, **options)})"


class among(ColumnElement[Any]):  # noqa: N801
    """Whether a column is one of the values that a subquery finds: these are found first and lead to the rows.

    Of a plain IN, PostgreSQL may make a join the other way round, and read all rows to keep a few.
    """

    inherit_cache = True
    type = NullType()  # With a boolean's type SQLAlchemy would compare it with 1 on SQLite.

    def __init__(self, column: ColumnElement[int], rows: Select[Any]) -> None:
        self.column = column
        self.rows = rows.scalar_subquery()


@compiles(among, "sqlite")
def _among_on_sqlite(element: among, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} IN {compiler.process(element.rows, **options)}"


@compiles(among, "postgresql")
def _among_on_postgresql(element: among, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY (ARRAY{compiler.process(element.rows, **options)})"


class listed(ColumnElement[Any]):  # noqa: N801
    """The whole numbers or texts of a JSON list, as rows of a subquery: one parameter, however long the list."""

    inherit_cache = True

    def __init__(self, parameter: str, *, texts: bool = False) -> None:
        self.values = bindparam(parameter, type_=Text())
        self.texts = texts
        self.type = Text() if texts else BigInteger()


@compiles(listed, "sqlite")
def _listed_on_sqlite(element: listed, compiler: Any, **options: Any) -> str:
    value = "value" if element.texts else "CAST(value AS INTEGER)"
    return f"{value} FROM json_each({compiler.process(element.values, **options)})"


@compiles(listed, "postgresql")
def _listed_on_postgresql(element: listed, compiler: Any, **options: Any) -> str:
    value = 'value COLLATE "C"' if element.texts else "CAST(value AS BIGINT)"
    return f"{value} FROM json_array_elements_text(CAST({compiler.process(element.values, **options)} AS JSON))"
