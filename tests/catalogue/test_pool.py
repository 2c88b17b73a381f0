# SPDX-License-Identifier: Apache-2.0
"""A connection to PostgreSQL that is lost at the worst moment."""

import asyncio
from typing import Any

import pytest
from tests.catalogue.examples import ping

from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.postgresql.hosts import Hosts
from glance_registry.catalogue.postgresql.pool import ConnectionLost, Connections


class LostAtOnce(Hosts):
    """Servers that let a connection in and are killed in the same moment."""

    async def connect(self) -> Any:
        connection = await super().connect()
        connection.terminate()
        return connection


def test_a_server_that_is_lost_while_a_connection_is_set_up_is_one_that_does_not_answer(
    postgresql_database: str,
) -> None:
    async def ask() -> None:
        connections = Connections(LostAtOnce(parse_url(postgresql_database), {}), size=1, waiting=1)
        for _ in range(3):  # Each gives its place back.
            with pytest.raises(ConnectionLost, match="does not answer"):
                await connections.run(ping, asyncio.get_running_loop().time() + 60)
        await connections.close()

    asyncio.run(ask())
