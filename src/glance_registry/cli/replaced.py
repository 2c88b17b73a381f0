# SPDX-License-Identifier: Apache-2.0
"""A file that is written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO


@contextmanager
def replaced(target: Path) -> Iterator[BinaryIO]:
    """A stream whose content is under the target's name, on disk, once the block has ended well; else it is gone.

    Whoever reads the target meanwhile finds the old content, whole. The new file is its owner's alone (mode 0600).
    Raises OSError.
    """
    handle, beside = mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(beside).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
