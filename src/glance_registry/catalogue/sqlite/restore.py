# SPDX-License-Identifier: Apache-2.0
"""Putting a copy of an SQLite database where the registry has its own, whole or not at all.

SQLite keeps what was written last in a log beside the file (`-wal`). Over a file that it does not belong to, the log
damages silently what it is laid over: so the old file and all beside it go aside together. While they do, a marker
beside the database keeps every program from opening it; a restore that was killed is done again.
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
"""The bytes of a database that SQLite locks for as long as a connection reads it, or has it open with a log."""

Step = Callable[[str], None]
"""Is told what is done next; a test ends the program there."""


class Restored(Struct, frozen=True):
    """What a restore came to."""

    images: int
    state: schema.State
    aside: Path | None
    """Where the old database is now, if there was one; what was beside it is beside it again."""


async def restore(source: Path, target: Path, now: datetime, step: Step = lambda _: None) -> Restored:
    """Put a copy of the database `source` where `target` is or shall be.

    Raises Invalid for a source that is no sound database of a registry, Conflict while a program has the target open,
    Unavailable when a file cannot be read or written. Until the source has been checked nothing is changed.
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
    """Keep every other program from opening the database. Raises Conflict when one has it open.

    No connection of this process may have it open: see `sqlite.create_file`.
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
    """A copy of the source, with its own log in it, in the folder of the target, on disk; gone when it is not used."""
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
                # Who restores may be root, and the registry somebody else.
                old = target.stat()
                os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, old.st_mode & 0o777)
            written.flush()
            os.fsync(descriptor)


async def _check(copy: Path) -> schema.State:
    """What the copy is, which has no log beside it afterwards. Raises Invalid."""
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
    """The folder to which the old database is moved, as the marker on disk says.

    A restore that was killed wrote the marker before, and may have moved a part already.
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
    """Whether there was an old database, which is aside now with all that was beside it."""
    for suffix in (*BESIDE, ""):
        old = beside(target, suffix)
        # Of one that is there already this is the second attempt: what is under the database's name is a copy.
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
