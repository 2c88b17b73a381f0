# SPDX-License-Identifier: Apache-2.0
"""A catalogue for commands that speak to it directly."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue


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


@contextmanager
def opened(database_url: str) -> Iterator[tuple[Catalogue, asyncio.Runner]]:
    """The catalogue, and what runs its coroutines, one at a time.

    Between two of them there is no event loop in the way: Ctrl-C ends a wait for input at once.
    """

    async def open_on_loop() -> Catalogue:
        return open_catalogue(database_url)

    with asyncio.Runner() as runner:
        catalogue = runner.run(open_on_loop())
        try:
            yield catalogue, runner
        finally:
            runner.run(catalogue.close())
