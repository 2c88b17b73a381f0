# SPDX-License-Identifier: Apache-2.0
"""Why a database does not answer, for the log and the command line, never for clients."""

import asyncio
import sqlite3

from msgspec import Struct
from sqlalchemy import URL

from glance_registry.catalogue.database_url import addresses

MAX_CAUSE = 500
"""Characters of a cause."""

DEFAULT_PORT = 5432


class Database(Struct, frozen=True):
    """The name of a database, without user and password."""

    name: str
    is_ambiguous: bool = False
    """The name may contain a part of the password. Then the server's messages are not shown."""

    def cause(self, error: BaseException) -> str:
        """Why the operation failed; empty if the error itself says so."""
        found = _deepest(error)
        if found is error and not _notes(found):
            return ""
        return type(found).__name__ if self.is_ambiguous else describe(found)


def locate(url: URL) -> Database:
    """The database of a parsed URL."""
    if url.get_backend_name() == "sqlite":
        return Database(f"sqlite:///{url.database}")
    name = f"postgresql://{_servers(url)}/{url.database or ''}"
    if "@" in name:
        return Database("a server whose URL has an '@' that should be written %40", is_ambiguous=True)
    return Database(name)


def _servers(url: URL) -> str:
    return ",".join(address(host, port) for host, port in addresses(url))


def address(host: str | None, port: int | None) -> str:
    shown = f"[{host}]" if host and ":" in host else host or "localhost"
    return f"{shown}:{port or DEFAULT_PORT}"


def describe(error: BaseException) -> str:
    """The error's class and message on one line, without details, which may contain values."""
    notes = _notes(error)
    if notes:
        return _one_line(notes)
    # The first argument of a server's error is its message. Its text also has the detail, which may quote a row.
    text = error.args[0] if hasattr(error, "sqlstate") and error.args else error
    if isinstance(error, TimeoutError) and not str(text):
        text = "no answer in time"
    code = getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
    return _one_line(f"{type(error).__name__}: {text}{f' ({code})' if code else ''}")


def _deepest(error: BaseException) -> BaseException:
    """The first error of the chain of causes, or the last one that has a note."""
    while not _notes(error):
        cause = error.__cause__
        # An error that is raised "from" itself is its own cause.
        if cause is None or cause is error or isinstance(cause, asyncio.CancelledError):
            break
        error = cause
    return error


def _notes(error: BaseException) -> str:
    return "; ".join(getattr(error, "__notes__", ()))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_CAUSE]
