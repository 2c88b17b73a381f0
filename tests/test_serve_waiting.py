# SPDX-License-Identifier: Apache-2.0
"""The program while its database does not answer: it stops when told to, and forgets clients that have gone."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.overload.crowd import crowd
from tests.processes import SECONDS, Server, receive_all, wait_until

GET = b"GET /images HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


class Locked:
    """A PostgreSQL database whose images nobody else may read; every read waits."""

    def __init__(self, database: str) -> None:
        url = make_url(database)
        self._runner = asyncio.Runner()
        connecting = asyncpg.connect(host=url.query["host"], user=url.username, database=url.database)
        self._connection = self._runner.run(_awaited(connecting))
        self._run("BEGIN")
        self._run("LOCK TABLE images IN ACCESS EXCLUSIVE MODE")

    def _run(self, statement: str) -> None:
        self._runner.run(self._connection.execute(statement))

    def waiting(self) -> int:
        """How many statements of clients wait for the lock. The reaper's is not one of these: it waits for ever."""
        self._run("SELECT pg_stat_clear_snapshot()")  # Else every statement of a transaction sees what the first saw.
        counting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        counting += " WHERE NOT granted AND relation = 'images'::regclass AND query NOT LIKE '%removals%'"
        counting += " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return self._runner.run(self._connection.fetchval(counting))

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()


async def _awaited(connecting: object) -> asyncpg.Connection:
    return await connecting  # type: ignore[misc]


@pytest.fixture
def locked(postgresql_database: str) -> Iterator[Locked]:
    locked = Locked(postgresql_database)
    yield locked
    locked.close()


def test_sigterm_stops_the_program_although_reads_run_and_wait(
    tmp_path: Path, postgresql_database: str, locked: Locked
) -> None:
    with Server(tmp_path, postgresql_database) as server, crowd(server, 40) as clients:
        for client in clients:
            client.sendall(GET)
        wait_until(lambda: locked.waiting() > 1)
        server.process.send_signal(signal.SIGTERM)
        answers = [receive_all(client) for client in clients]
        status = server.process.wait(SECONDS)

    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 503 Service Unavailable"}
    assert {answer.rpartition(b"\r\n\r\n")[2] for answer in answers} == {b"The registry is shutting down.\n"}
    assert status == 0


def test_what_clients_asked_for_that_have_gone_is_stopped_in_the_database(
    tmp_path: Path, postgresql_database: str, locked: Locked
) -> None:
    (tmp_path / "r.conf").write_text("[database]\nread_timeout = 3600\n")
    with Server(tmp_path, postgresql_database, "--config-file", "r.conf") as server:
        with crowd(server, 40) as clients:
            for client in clients:
                client.sendall(GET)
            wait_until(lambda: locked.waiting() > 1)
        wait_until(lambda: locked.waiting() == 0)

        assert server.stop() == 0
