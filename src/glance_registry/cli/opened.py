# SPDX-License-Identifier: Apache-2.0
"""A catalogue for commands that speak to it directly."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from glance_registry.catalogue.engine import Catalogue
from glance_registry.catalogue.open import open_catalogue


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
