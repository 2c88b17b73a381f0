# SPDX-License-Identifier: Apache-2.0
"""SQL constructs that differ between SQLite and PostgreSQL."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import NullType


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
