# SPDX-License-Identifier: Apache-2.0
"""The file of an SQLite database, and connections to it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from glance_registry.catalogue.sqlite.recovery import check_not_half_restored
from glance_registry.catalogue.statements import driver
from glance_registry.model.errors import Unavailable
from glance_registry.model.search import Term, has_terms

BUSY_SECONDS = 10
"""How long a write waits for other processes' writes before it answers that the database is busy."""

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_HEADER = b"SQLite format 3\0"


def connect(url: URL, options: Mapping[str, Any] | None = None, *, read_only: bool = False) -> Connection:
    """One connection in autocommit mode: the caller says BEGIN and COMMIT itself. `options` are SQLAlchemy's."""
    check_not_half_restored(url.database or "")
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
        hide_parameters=True,  # A logged statement must not show the location of an image.
    )
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT", **(options or {}))
    # FULL: a write that was acknowledged is on disk, also when the power fails.
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        *(("query_only = ON",) if read_only else ()),
    ):
        connection.exec_driver_sql(f"PRAGMA {pragma}").close()
    driver(connection).create_function("has_words", 4, _has_words, deterministic=True)
    driver(connection).create_function("unhurried", 1, _unhurried)
    return connection


def _unhurried(searched: str) -> str:
    """What is searched by a statement that may take long without a step that could be interrupted."""
    return searched


def _has_words(name: str | None, tags: str, properties: str, terms: str) -> bool:
    """What `search.query.has_words` asks of a row of images."""
    texts = (name or "", *_read_texts(tags), *_read_pairs(properties).values())
    return has_terms(texts, _read_terms(terms))


_read_texts = msgspec.json.Decoder(list[str]).decode
_read_pairs = msgspec.json.Decoder(dict[str, str]).decode
_read_terms = lru_cache(maxsize=128)(msgspec.json.Decoder(tuple[Term, ...]).decode)


def create_file(url: URL) -> None:
    """Create the database's file for its owner alone, unless it is there: it may hold credentials of stores.

    A file that is there is not opened: when a process closes a file, the kernel drops all locks that it has on it
    (fcntl(2)), those of SQLite's connections, too. Another process then believes itself alone and removes the log in
    which this one goes on to write. Raises Unavailable when it can neither be written nor read.
    """
    path = url.database or ""
    check_not_half_restored(path)
    if not os.path.exists(path):  # noqa: PTH110 - the path is a text
        try:
            os.close(os.open(path, _CREATE, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise Unavailable(f"The database file cannot be opened: {error.strerror}.") from error
    if not os.path.isfile(path):  # noqa: PTH113
        raise Unavailable("The database file cannot be opened: it is not a file.")
    if not os.access(path, os.R_OK):
        raise Unavailable("The database file cannot be opened: Permission denied.")
    if not os.access(path, os.W_OK):
        _keep_writable(path)


def _keep_writable(path: str) -> None:
    """Let the files beside a database that may only be read be writable, as they must be once it may be written.

    SQLite gives an empty one the mode of the database, and the shared memory serves all connections of a process.
    Those that are there are not opened, as in `create_file`.
    """
    for suffix, content in (("-wal", b""), ("-shm", b"\0")):  # The first connection clears the shared memory.
        with suppress(OSError):
            created = os.open(path + suffix, _CREATE, 0o600)
            os.write(created, content)
            os.close(created)
        with suppress(OSError):
            os.chmod(path + suffix, 0o600)  # noqa: PTH101


class File:
    """The database's file, which must stay where it was.

    What is written into a file that was moved or replaced while it was open is on disk, but nobody will find it.
    """

    def __init__(self, url: URL) -> None:
        self._path = url.database or ""
        self._identity = self._identify()
        # Open as long as the connections are: see `create_file`.
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def check(self) -> None:
        """Raise Unavailable unless the file is the one that was opened."""
        if self._identify() != self._identity:
            raise Unavailable("The database file was replaced while the registry was running.")

    @property
    def is_writable(self) -> bool:
        return os.access(self._path, os.W_OK)

    def keep_writable(self) -> None:
        _keep_writable(self._path)

    def check_header(self) -> None:
        """Raise Unavailable unless the file still begins as a database does; no read asks for that page again."""
        if os.pread(self._descriptor, len(_HEADER), 0) not in (_HEADER, b""):
            raise Unavailable("The database file cannot be used.")

    def close(self) -> None:
        """After all connections."""
        os.close(self._descriptor)

    def _identify(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once for each group of writes
        except OSError:
            raise Unavailable("The database file is not there any more.") from None
        return found.st_dev, found.st_ino
