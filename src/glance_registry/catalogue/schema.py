# SPDX-License-Identifier: Apache-2.0
"""The schema's version in a database, and the upgrade from an older one.

All steps of an upgrade commit together. A second process that upgrades at the same time waits, then finds nothing to
do.
"""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from sqlalchemy import URL, Connection, column, inspect, select, table, text, update

from glance_registry.catalogue.base import T
from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.errors import translate
from glance_registry.catalogue.snapshot import snapshot
from glance_registry.catalogue.sqlite.recovery import check_log, check_not_half_restored
from glance_registry.catalogue.tables import metadata
from glance_registry.model.errors import Conflict

HEAD = "0010"
"""The newest step in migrations/versions."""

COMPATIBLE_SINCE = "0004"
"""The oldest step whose program also works with today's schema. A new step changes this only if statements of older
programs may fail after it."""

VERSION_TABLE = "glance_registry_version"
_LOCK_KEY = 1_917_191_911  # Any number that no other program on the same server is likely to lock.


class State(Enum):
    """What is in a database, in the words of `db check`."""

    EMPTY = "holds no tables"
    OLD = "has an older schema"
    CURRENT = "is up to date"
    FITTING = "is of a newer release, and this one works with it"
    NEWER = "was written by a newer release"
    FOREIGN = "holds the tables of another program"


USABLE = (State.CURRENT, State.FITTING)
"""The states in which the program starts."""


async def state(database_url: str) -> State:
    """The state of a database. Raises Invalid or Unavailable."""
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        check_not_half_restored(url.database or "")
        # Before any connection is opened: the last one that is closed copies the log into the file.
        check_log(Path(url.database or ""))
    # A connection would create the file.
    return State.EMPTY if _is_absent_file(url) else await snapshot(database_url, _state)


async def upgrade(database_url: str, to: str = HEAD) -> None:
    """Upgrade the database to a step, by default the newest.

    A newer schema that this program works with is not changed. Raises Conflict for a newer one that it does not work
    with, and for tables of another program; Invalid, Unavailable.
    """
    if await state(database_url) not in USABLE:
        await _run(parse_url(database_url), _upgrade, to)


def refusal(found: State) -> str:
    """Why the program does not start with a database in this state, and what to do."""
    match found:
        case State.EMPTY | State.OLD:
            return f"The database {found.value}; run: glance-registry db upgrade"
        case State.FOREIGN:
            return f"The database {found.value}; give the registry a database of its own."
    return f"The database {found.value}; run that release or restore a backup."


def _is_absent_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _state(connection: Connection) -> State:
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        return State.FOREIGN if tables & set(metadata.tables) else State.EMPTY
    version = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    if version is None:
        return State.EMPTY
    if version <= HEAD:
        return State.CURRENT if version == HEAD else State.OLD
    since = _compatible_since(connection)
    return State.FITTING if since is not None and since <= HEAD else State.NEWER


def _compatible_since(connection: Connection) -> str | None:
    """The COMPATIBLE_SINCE of the release that upgraded the database last."""
    if not _has_record(connection):
        return None
    since: str | None = connection.execute(
        select(column("compatible_since")).select_from(table(VERSION_TABLE))
    ).scalar()
    return since


def _has_record(connection: Connection) -> bool:
    return "compatible_since" in {found["name"] for found in inspect(connection).get_columns(VERSION_TABLE)}


def _record_compatibility(connection: Connection) -> None:
    """Store COMPATIBLE_SINCE beside Alembic's own column, which has the step."""
    if not _has_record(connection):
        connection.execute(text(f"ALTER TABLE {VERSION_TABLE} ADD COLUMN compatible_since VARCHAR(32)"))
    record = table(VERSION_TABLE, column("compatible_since"))
    connection.execute(update(record).values(compatible_since=COMPATIBLE_SINCE))


def _upgrade(connection: Connection, to: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    found = _state(connection)
    if found in (State.FOREIGN, State.NEWER):
        raise Conflict(refusal(found))
    if found in USABLE:
        return
    # Alembic costs start-up time and memory, so it is loaded only here.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, to)
    _record_compatibility(connection)


async def _run(url: URL, step: Callable[..., T], *args: str) -> T:
    """Run a step in one transaction, while no other process writes."""
    try:
        if url.get_backend_name() == "sqlite":
            return _run_on_sqlite(url, step, *args)
        return await _run_on_server(url, step, *args)
    except Exception as error:
        raise translate(error) from error


def _run_on_sqlite(url: URL, step: Callable[..., T], *args: str) -> T:
    from glance_registry.catalogue.sqlite.file import connect, create_file
    from glance_registry.catalogue.statements import driver

    create_file(url)
    with connect(url) as connection:
        driver(connection).execute("BEGIN IMMEDIATE")
        try:
            result = step(connection, *args)
        except BaseException:
            driver(connection).execute("ROLLBACK")
            raise
        driver(connection).execute("COMMIT")
    return result


async def _run_on_server(url: URL, step: Callable[..., T], *args: str) -> T:
    from glance_registry.catalogue.postgresql.hosts import Hosts
    from glance_registry.catalogue.postgresql.pool import create_engine

    async with create_engine(Hosts(url, {})).begin() as connection:
        return await connection.run_sync(step, *args)
