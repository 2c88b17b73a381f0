# SPDX-License-Identifier: Apache-2.0
"""Long reads of the whole database as it is at one moment, while others write."""

from sqlalchemy import URL

from glance_registry.catalogue.base import Operation, P, T, bind
from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.errors import translate


async def snapshot(database_url: str, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an operation that changes nothing on a connection of its own, without a time limit.

    For commands, not for requests: on SQLite it blocks the event loop.

    Raises what the operation raises, Invalid or Unavailable.
    """
    url = parse_url(database_url)
    run = bind(operation, *args, **kwargs)
    try:
        if url.get_backend_name() == "sqlite":
            return _on_sqlite(url, run)
        return await _on_server(url, run)
    except Exception as error:
        raise translate(error) from error


def _on_sqlite(url: URL, run: Operation[[], T]) -> T:
    from glance_registry.catalogue.sqlite.file import connect
    from glance_registry.catalogue.statements import driver

    with connect(url, read_only=True) as connection:
        # To sort a large table must not take much memory.
        connection.exec_driver_sql("PRAGMA temp_store = FILE").close()
        # Texts that are not UTF-8 must not raise errors: a check reports them.
        driver(connection).text_factory = lambda raw: raw.decode(errors="surrogateescape")
        driver(connection).execute("BEGIN")
        return run(connection)


async def _on_server(url: URL, run: Operation[[], T]) -> T:
    from glance_registry.catalogue.postgresql.hosts import Hosts
    from glance_registry.catalogue.postgresql.pool import create_engine

    one_moment = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with create_engine(Hosts(url, {})).execution_options(**one_moment).connect() as connection:
        return await connection.run_sync(run)
