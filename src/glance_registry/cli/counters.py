# SPDX-License-Identifier: Apache-2.0
"""The temporary folder in which all workers of a program share their counters."""

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
"""Older releases did not lock their folders; those have no suffix and are never removed."""


@contextmanager
def counters_folder() -> Iterator[Path]:
    """Create a folder and remove it at the end. Raises OSError.

    The folder is locked while the program runs. The workers inherit the lock, and the kernel drops it when the last
    process ends. So a folder without a lock belongs to a program that was killed; it is removed now.
    """
    _remove_abandoned()
    folder, lock = _create()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _create() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX))
        # Another program that starts now may have removed it before it was locked.
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
    """Lock the folder; the open file is the lock. None if another program has the lock."""
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


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                log.info("removed the counters of a program that was killed", extra={"fields": {"folder": str(folder)}})
