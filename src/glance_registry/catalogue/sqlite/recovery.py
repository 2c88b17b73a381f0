# SPDX-License-Identifier: Apache-2.0
"""The files beside an SQLite database, and whether they belong to it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from glance_registry.model.errors import Unavailable

LOG = "-wal"
"""The newest writes, until SQLite copies them into the database file."""

BESIDE = (LOG, "-shm", "-journal")
MARKER, COPY = "-restore", "-restore-copy"
"""The files beside a database during a restore."""

MAX_FAULTS = 10
"""Faults that are reported of one database."""

_LOG_HEADER = 32


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def check_not_half_restored(path: str) -> None:
    """Raise Unavailable if a restore of this database was begun and not finished."""
    if os.path.exists(f"{path}{MARKER}"):  # noqa: PTH110 - once for each connection
        raise Unavailable(
            "A restore of this database was begun and has not ended; if none is running, do it again:"
            " glance-registry restore FILE"
        )


def check_log(path: Path) -> None:
    """Raise Unavailable if the log beside a database belongs to another database, as far as SQLite can tell.

    If the database file is newer than the log, either it was replaced, or the log is in use. Then SQLite's integrity
    check reads both, without changing them. If it finds no fault, they are taken for one database.
    """
    log = beside(path, LOG)
    try:
        found, changed = log.stat(), path.stat().st_ctime_ns
    except FileNotFoundError:
        return
    if found.st_size <= _LOG_HEADER or changed <= found.st_mtime_ns:
        return
    try:
        faults = faults_of(path)
    except sqlite3.Error as error:
        faults = [str(error)]
    if faults:
        raise Unavailable(
            f"The database is damaged together with the log beside it, {log.name}: perhaps a copy was restored over the"
            f" log of an old file. Nothing was changed. Run: glance-registry restore FILE. SQLite says:"
            f" {faults[0]}."
        )


def faults_of(path: Path) -> list[str]:
    """The faults that SQLite finds in a database and its log. Changes neither. Raises sqlite3.Error."""
    # Read-only: otherwise the last connection that is closed copies the log into the file.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = [str(fault) for (fault,) in connection.execute(f"PRAGMA integrity_check({MAX_FAULTS})")]
        return [fault.strip().splitlines()[-1] for fault in found if fault != "ok"]
