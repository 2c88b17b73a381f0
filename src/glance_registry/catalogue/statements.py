# SPDX-License-Identifier: Apache-2.0
"""Constant statements, compiled once: where SQLAlchemy's execution costs more than the database's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, Connection, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.util import await_only


class Prepared:
    """A constant statement, compiled once for each kind of database and then handed to the driver.

    For the reads that every user makes: there SQLAlchemy's execution costs more than the query. Rows are plain
    tuples, as the driver has them. No statement is run twice: SQLite's driver raises its own errors, those of a
    server's driver are raised as SQLAlchemy's. In a transaction on a server SQLAlchemy executes the statement.
    """

    def __init__(self, statement: Select[Any] | CompoundSelect[Any]) -> None:
        self.statement = statement
        self._compiled: dict[str, tuple[str, list[str], dict[str, Any]]] = {}

    def all(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        on_server = connection.dialect.name != "sqlite"
        if on_server and driver(connection).is_in_transaction():
            return connection.execute(self._sent(connection), dict(parameters)).all()
        sql, names, constants = self._compiled.get(connection.dialect.name) or self._compile(connection)
        known = {**constants, **parameters} if constants else parameters
        values = [known[name] for name in names]
        if not on_server:
            return self._fetch(connection, driver(connection).execute(sql, values))
        try:
            return await_only(driver(connection).fetch(sql, *values))
        except Exception as error:
            _raise_as_sqlalchemy(sql, error)
            raise

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Any] | None:
        """The only row, or None."""
        rows = self.all(connection, parameters)
        return rows[0] if rows else None

    def _sent(self, connection: Connection) -> Select[Any] | CompoundSelect[Any]:  # noqa: ARG002 - for subclasses
        """The statement as this kind of database is given it."""
        return self.statement

    def _fetch(self, connection: Connection, result: Any) -> Sequence[Sequence[Any]]:  # noqa: ARG002 - for subclasses
        """The rows of a result on SQLite."""
        return result.fetchall()  # type: ignore[no-any-return]

    def _compile(self, connection: Connection) -> tuple[str, list[str], dict[str, Any]]:
        compiled = self._sent(connection).compile(dialect=connection.dialect)
        assert compiled.positiontup is not None  # Both of our drivers number their parameters.
        # What is not handed in with each call: SQLAlchemy's own parameters, such as an offset of 0.
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._compiled[connection.dialect.name] = str(compiled), compiled.positiontup, constants
        return self._compiled[connection.dialect.name]


def _raise_as_sqlalchemy(sql: str, error: Exception) -> None:
    """Raise SQLAlchemy's error for one of asyncpg; a lost socket's OSError is left as it is."""
    from asyncpg import InterfaceError, PostgresError  # Users of SQLite need not load it.

    if isinstance(error, PostgresError | InterfaceError):
        raise DBAPIError(sql, None, error, hide_parameters=True) from error


def is_outdated(error: Exception) -> bool:
    """Whether a server refused a statement that was prepared before the schema changed.

    Outside of a transaction asyncpg prepares it anew and no error is raised. Otherwise a new connection is needed.
    """
    from asyncpg import InvalidCachedStatementError

    # SQLAlchemy wraps asyncpg's error twice.
    return isinstance(getattr(getattr(error, "orig", None), "__cause__", None), InvalidCachedStatementError)


class Done(NamedTuple):
    """What a write came to."""

    rows: Sequence[Sequence[Any]]
    changed: int
    """How many rows."""


class PreparedWrite:
    """A constant statement of a write's transaction, compiled once for SQLite and then handed to its driver.

    On a server SQLAlchemy sends it, which knows what a failure means for the transaction. `columns` are those that an
    INSERT or UPDATE sets: from parameters of the same names.
    """

    def __init__(self, statement: Select[Any] | CompoundSelect[Any] | UpdateBase, columns: Iterable[str] = ()) -> None:
        self._statement = statement
        self._columns = list(columns)
        self._compiled: tuple[str, list[str], dict[str, Any]] | None = None

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> Done:
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, dict(parameters))
            return Done(result.all() if result.returns_rows else (), result.rowcount)
        sql, names, constants = self._compiled or self._compile(connection)
        known = {**constants, **parameters} if constants else parameters
        cursor = driver(connection).execute(sql, [known[name] for name in names])
        return Done(cursor.fetchall(), cursor.rowcount)

    def run_all(self, connection: Connection, many: Sequence[Mapping[str, Any]]) -> None:
        if not many:
            return
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, [dict(one) for one in many])
            return
        sql, names, _ = self._compiled or self._compile(connection)
        driver(connection).executemany(sql, [[one[name] for name in names] for one in many])

    def _compile(self, connection: Connection) -> tuple[str, list[str], dict[str, Any]]:
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        assert compiled.positiontup is not None
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._compiled = str(compiled), compiled.positiontup, constants
        return self._compiled


def driver(connection: Connection) -> Any:
    """The driver's own connection.

    It is for constant statements, and on SQLite for BEGIN and COMMIT, to which SQLAlchemy must not add its own.
    """
    return connection.connection.driver_connection
