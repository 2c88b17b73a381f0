# SPDX-License-Identifier: Apache-2.0
"""Replacing an SQLite database by a copy, completely or not at all.

SQLite keeps the newest writes in a log beside the file (`-wal`). A log that is beside another database damages that
silently. So the old file and all files beside it are moved together. Meanwhile a marker beside the database prevents
programs from opening it. A restore that was killed must be run again.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from sqlalchemy import URL

from glance_registry.catalogue import schema
from glance_registry.catalogue.sqlite.recovery import BESIDE, COPY, LOG, MARKER, beside, faults_of
from glance_registry.model.errors import Conflict, Invalid, RegistryError, Unavailable

_SHARED_FIRST, _SHARED_BYTES = 0x40000000 + 2, 510
"""The bytes of the file that SQLite locks while a connection reads, or has the database open with a log."""

Step = Callable[[str], None]
"""A function that is called with the name of the next step. A test ends the program there."""


class Restored(Struct, frozen=True):
    """The result of a restore."""

    images: int
    state: schema.State
    aside: Path | None
    """The old database, if there was one, with the files beside it."""


async def restore(source: Path, target: Path, now: datetime, step: Step = lambda _: None) -> Restored:
    """Replace the database `target`, or create it, by a copy of the database `source`.

    Raises Invalid if the source is damaged or no database of a registry, Conflict while a program has the target open,
    Unavailable if a file cannot be read or written. Nothing is changed before the source was checked.
    """
    try:
        _check_names(source, target)
        with _exclusive(target), _copied(source, target) as copy:
            state = await _check(copy)
            step("mark")
            aside = _marked(target, now)
            step("move")
            was_there = _move_aside(target, aside, step)
            copy.replace(target)
            _sync(target.parent)
            step("verify")
            faults = faults_of(target)
            if faults:
                raise Unavailable(f"The restored database is damaged: {faults[0]}.")
            images = _count(target)
            step("unmark")
            beside(target, MARKER).unlink()
            _sync(target.parent)
    except OSError as error:
        raise Unavailable(f"The restore failed: {error.filename or target}: {error.strerror}.") from error
    return Restored(images, state, aside if was_there else None)


def _check_names(source: Path, target: Path) -> None:
    if not source.is_file():
        raise Invalid(f"{source} is not a file.")
    if target.exists() and source.samefile(target):
        raise Invalid(f"{source} is the database itself.")


@contextmanager
def _exclusive(target: Path) -> Iterator[None]:
    """Prevent other programs from opening the database. Raises Conflict if one has it open.

    No connection of this process may have it open: see `file.create_file`.
    """
    if not target.exists():
        yield
        return
    with target.open("r+b") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED_FIRST)
        except OSError:
            raise Conflict("A program has the database open; stop the registry first.") from None
        yield


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[Path]:
    """A copy of the source and its log in the folder of the target. It is removed if it was not used."""
    copy = beside(target, COPY)
    with copy.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict("Another restore of this database is running.") from None
        try:
            _copy(source, copy, target)
            yield copy
        finally:
            for suffix in ("", *BESIDE):
                with suppress(FileNotFoundError):
                    beside(copy, suffix).unlink()


def _copy(source: Path, copy: Path, target: Path) -> None:
    for suffix in ("", LOG):
        beside(copy, suffix).unlink(missing_ok=True)
        if not beside(source, suffix).exists():
            continue
        descriptor = os.open(beside(copy, suffix), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as written, beside(source, suffix).open("rb") as read:
            shutil.copyfileobj(read, written, 1024 * 1024)
            if target.exists():
                # A restore by root must leave the file to the registry's user.
                old = target.stat()
                os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, old.st_mode & 0o777)
            written.flush()
            os.fsync(descriptor)


async def _check(copy: Path) -> schema.State:
    """The state of the copy; its log is merged into it. Raises Invalid."""
    try:
        faults = faults_of(copy)
        if faults:
            raise Invalid(f"The file is damaged; SQLite says: {faults[0]}.")
        found = await schema.state(str(URL.create("sqlite", database=str(copy))))
        if found not in (*schema.USABLE, schema.State.OLD):
            raise Invalid(f"The file {found.value}.")
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as error:
        raise Invalid(f"The file is no SQLite database, or a damaged one: {error}.") from error
    except RegistryError as error:
        raise Invalid(str(error)) from error
    _sync(copy)
    return found


def _marked(target: Path, now: datetime) -> Path:
    """Write the marker, and return the new path of the old database, which the marker has.

    A restore that was killed may have left a marker, and have moved some of the files.
    """
    marker = beside(target, MARKER)
    if marker.exists() and (name := marker.read_text()):
        return target.with_name(name)
    name = f"{target.name}.before-{now:%Y%m%dT%H%M%S.%fZ}"
    with marker.open("w") as stream:
        stream.write(name)
        stream.flush()
        os.fsync(stream.fileno())
    _sync(target.parent)
    return target.with_name(name)


def _move_aside(target: Path, aside: Path, step: Step) -> bool:
    """Move the old database and the files beside it; whether there was one."""
    for suffix in (*BESIDE, ""):
        old = beside(target, suffix)
        # A file that exists under both names was moved by an attempt before: the one beside the target is a copy.
        if old.exists() and not beside(aside, suffix).exists():
            step(f"move {suffix or 'file'}")
            old.rename(beside(aside, suffix))
    _sync(target.parent)
    step("replace")
    return aside.exists()


def _count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM images").fetchone()
    return int(count)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
