# SPDX-License-Identifier: Apache-2.0
"""Where operations meet a database.

An operation is a plain function whose first argument is a connection with a transaction running; it does
not await, so no slow client can hold a transaction open. `Catalogue.read` and `Catalogue.write` run one
operation each. Driver errors become ours in `errors.py`.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from glance_registry.catalogue.causes import Database
from glance_registry.catalogue.image_cache import ImageCache

P = ParamSpec("P")
T = TypeVar("T")
Operation = Callable[Concatenate[Connection, P], T]

READ_SECONDS = 10
"""How long a read may take, with the wait for its turn, unless a setting says otherwise."""


class Catalogue(ABC):
    """The images, kept in one database. Open it with `catalogue.open.open_catalogue`."""

    database = Database("")
    """Which one, for the log."""

    def __init__(self) -> None:
        self.image_cache = ImageCache()

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


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt number `attempt` + 1 of a write: jitter keeps rivals apart."""
    return random.uniform(0, 0.01 * 2**attempt)
