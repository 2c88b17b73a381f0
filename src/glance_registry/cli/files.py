# SPDX-License-Identifier: Apache-2.0
"""Open a catalogue, or replace a file, for the length of a block."""

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
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a new file that replaces the target when the block ends without an error.

    Until then readers find the complete old content. The new file is on disk and readable by its owner only (mode
    0600). Raises OSError.
    """
    handle, temporary = mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def opened_catalogue(database_url: str) -> Iterator[tuple[Catalogue, asyncio.Runner]]:
    """Open the catalogue, with a runner for its coroutines.

    Between two coroutines no event loop runs, so Ctrl-C ends a wait for input at once.
    """

    async def open_on_loop() -> Catalogue:
        return open_catalogue(database_url)

    with asyncio.Runner() as runner:
        catalogue = runner.run(open_on_loop())
        try:
            yield catalogue, runner
        finally:
            runner.run(catalogue.close())
