# SPDX-License-Identifier: Apache-2.0
"""SQL constructs that differ between SQLite and PostgreSQL."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    Select,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import NullType


class unindexed(ColumnElement[Any]):  # noqa: N801 - reads as the function that it is
    """A column for which SQLite chooses no index. Without statistics it might choose a slow one."""

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
    """The same on PostgreSQL as well, for keys whose own index would pass over very many rows."""

    inherit_cache = True


@compiles(unordered, "postgresql")
def _with_greatest(element: unordered, compiler: Any, **options: Any) -> str:
    return f"GREATEST({compiler.process(element.column, **options)})"


class among(ColumnElement[Any]):  # noqa: N801
    """Whether a column has one of the values of a subquery, which is run first and leads to the rows.

    For a plain IN, PostgreSQL might read all rows and look each one up in the subquery.
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
    """The integers or texts of a JSON list, as rows of a subquery: one parameter for a list of any length."""

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


def insert_or_ignore(connection: Connection, table: Table) -> Insert:
    """An INSERT that does nothing where a unique value is there already.

    On SQLite it is a plain one: nothing comes between the statements of a transaction there.
    """
    if connection.dialect.name == "sqlite":
        return insert(table)
    from sqlalchemy.dialects.postgresql import insert as insert_on_postgresql

    return insert_on_postgresql(table).on_conflict_do_nothing()


def lock_name(connection: Connection, name: str) -> None:
    """Let no other transaction that locks this name go on before this one has ended. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)))).close()
