# SPDX-License-Identifier: Apache-2.0
"""The catalogue in one SQLite file, shared safely by several processes.

Reads run on the event loop, where a point read costs less than handing it to a thread; one that turns out
to be long is abandoned and run again in a thread, so that it never stalls the loop. Writes go to one
thread per process, which takes all that are waiting into one transaction: one fsync for all of them.
"""

import asyncio
from functools import partial

from sqlalchemy import URL

from glance_registry.catalogue.base import READ_SECONDS, Catalogue, Operation, P, T, bind
from glance_registry.catalogue.errors import translate
from glance_registry.catalogue.health import check_tables, try_to_write
from glance_registry.catalogue.sqlite.file import File, connect, create_file
from glance_registry.catalogue.sqlite.reads import Budget, ReadThreads
from glance_registry.catalogue.sqlite.writer import Writer
from glance_registry.model.errors import StorageFull, Unavailable


class SqliteCatalogue(Catalogue):
    """Reads inline, writes grouped. Make it on the event loop that will use it."""

    def __init__(self, url: URL, read_seconds: float = READ_SECONDS) -> None:
        super().__init__()
        create_file(url)
        open_writer = partial(connect, url, self.image_cache.options)
        open_reader = partial(open_writer, read_only=True)
        self._file = File(url)
        try:
            self._reader = open_reader()
            self._budget = Budget(self._reader)
            self._writer = Writer(open_writer, self._file)
        except Exception as error:
            self._file.close()
            raise translate(error) from error
        self._threads = ReadThreads(open_reader, read_seconds)
        self._writer.start()

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        long_reads = self._threads.long_reads
        if (kind := long_reads.find(operation, args)) is None:
            self._budget.start()
            try:
                return operation(self._reader, *args, **kwargs)
            except Exception as error:
                if not self._budget.ended(error):
                    raise translate(error) from error
            finally:
                self._budget.stop()
            kind = long_reads.add(operation, args)
        return await self._threads.run(bind(operation, *args, **kwargs), kind)

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.submit(bind(operation, *args, **kwargs))

    async def check(self) -> None:
        self._file.check()
        self._file.check_header()
        if not self._writer.is_alive():
            raise Unavailable("The thread that writes has ended; restart the registry.")
        await self.read(check_tables)
        # A file that may only be read is no fault: reads are all that is wanted of it.
        if self._writer.has_failed and self._file.is_writable:
            try:
                await self.write(try_to_write)
            except StorageFull as full:
                raise Unavailable(str(full)) from full

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.finish)
        await loop.run_in_executor(None, self._threads.close)
        self._reader.close()
        self._file.close()
