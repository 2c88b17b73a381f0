# SPDX-License-Identifier: Apache-2.0
"""Reads of whole tables, of which only a few rows are in memory at a time."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Executable

AT_ONCE = 500
"""Rows that are in memory at once."""


def stream(connection: Connection, statement: Executable) -> Iterator[Any]:
    """The rows of a statement, with `AT_ONCE` in memory at a time."""
    with connection.execute(statement, execution_options={"yield_per": AT_ONCE}) as result:
        yield from result
