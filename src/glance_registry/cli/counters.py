# SPDX-License-Identifier: Apache-2.0
"""The temporary folder in which the workers of one program count together."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX, SUFFIX = "glance-registry-metrics-", ".locked"
"""Folders of releases that did not lock theirs have no suffix, and are left alone."""


@contextmanager
def counters_folder() -> Iterator[Path]:
    """A new folder, removed at the end. Raises OSError.

    It is locked while the program lives: its workers inherit the lock, and the kernel drops it with the last of them.
    So the folders without a lock are of programs that were killed, and are removed now.
    """
    _remove_left_over()
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX))
        # Another program that starts now may have found it before it was locked, and removes it.
        try:
            lock = _lock(folder)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        if lock is not None:
            if folder.exists():
                return folder, lock
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """An open file that locks the folder; None when another program has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_left_over() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                log.info("removed the counters of a program that was killed", extra={"fields": {"folder": str(folder)}})
