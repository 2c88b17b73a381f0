# SPDX-License-Identifier: Apache-2.0
"""The files of an SQLite database, and whether those beside it belong to it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from glance_registry.model.errors import Unavailable

LOG = "-wal"
"""What was written last, until SQLite copies it into the file."""

BESIDE = (LOG, "-shm", "-journal")
MARKER, COPY = "-restore", "-restore-copy"
"""Beside a database while another one is restored over it."""

MAX_FAULTS = 10
"""So many are named at most."""

_LOG_HEADER = 32


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def check_not_half_restored(path: str) -> None:
    """Raise Unavailable when a restore over this database was begun and not ended."""
    if os.path.exists(f"{path}{MARKER}"):  # noqa: PTH110 - once for each connection
        raise Unavailable(
            "A restore of this database was begun and has not ended; if none is running, do it again:"
            " glance-registry restore FILE"
        )


def check_log(path: Path) -> None:
    """Raise Unavailable when a log of another database lies beside this one, as far as that can be found out.

    A database that was changed after its log was copied over, or the log is in use: then SQLite looks at all of what
    they are together, without changing either. What fits together in every index is taken for one database.
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
    """What SQLite finds wrong with a database and its log; neither is changed. Raises sqlite3.Error."""
    # Read only: else the last one to close a database copies the log into it.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = [str(fault) for (fault,) in connection.execute(f"PRAGMA integrity_check({MAX_FAULTS})")]
        return [fault.strip().splitlines()[-1] for fault in found if fault != "ok"]
