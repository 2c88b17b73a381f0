# SPDX-License-Identifier: Apache-2.0
"""Half of a catalogue deleted, then purged: what callers wait after each, and a writer while the purge runs."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

from sqlalchemy import Connection

from bench import servers
from bench.asking import Client
from bench.catalogues import NEVER_DELETED
from bench.catalogues import kept as numbered
from bench.databases import Databases
from bench.measures import Options, Report
from bench.questions import CONTEXT, asked_for, reads, writes
from bench.waits import compare
from glance_registry.catalogue import images
from glance_registry.catalogue.open import open_catalogue
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.model.changes import Delete
from glance_registry.model.contract import CACTUS
from glance_registry.model.rules import RegistryRules

LARGEST = 100_000
"""The largest catalogue of which half is deleted."""

UNTOUCHED, DELETED, PURGED = "untouched", "half deleted", "purged"
_AT_ONCE = 500
_SECONDS_ALONE = 5.0


def purge(kept: Databases, folder: Path, options: Options) -> Report:
    """The same questions to a catalogue as it was and to one of which half the images were deleted, before and after
    a purge; and one writer's waits, alone and beside the purge."""
    size = max((size for size in options.scale if size <= LARGEST), default=options.scale[0])
    with ExitStack() as stack:
        urls = [kept.create(size) for _ in range(2)]
        for url in urls:
            stack.callback(kept.drop, url)
        deleted = asyncio.run(_delete(urls[1], every_other(size)))
        options.say(f"{deleted} of {size} images were deleted")
        clients = [stack.enter_context(_asking(url, folder)) for url in urls]
        report: Report = {"size": size, "deleted": deleted, "reads": {}}

        def ask(state: str) -> None:
            both = dict(zip((UNTOUCHED, state), clients, strict=True))
            report["reads"][state] = compare(both, {key: reads(size) for key in both}, options)

        ask(DELETED)
        report["writer"] = _writer_beside_purge(urls[1], clients[1], size)
        options.say(f"one writer, milliseconds: {report['writer']}")
        ask(PURGED)
    return report


@contextmanager
def _asking(url: str, folder: Path) -> Iterator[Client]:
    """A client of a server of its own."""
    with servers.subject(url, folder, CONTEXT) as server:
        server.wait()
        client = Client(server.port)
        yield client
        client.close()


def every_other(size: int) -> list[str]:
    """The ids of half of the images, of those that may be deleted and that no question names."""
    named = asked_for(size)
    found = (numbered(number).image for number in range(0, size, 2) if number not in NEVER_DELETED)
    return [image.id for image in found if not (image.deleted or image.protected or image.id in named)]


async def _delete(url: str, ids: Sequence[str]) -> int:
    """Delete images as the program does, some hundreds in a transaction; how many."""
    catalogue = open_catalogue(url)
    try:
        for first in range(0, len(ids), _AT_ONCE):
            await catalogue.write(_remove_all, ids[first : first + _AT_ONCE])
    finally:
        await catalogue.close()
    return len(ids)


def _remove_all(connection: Connection, ids: Sequence[str]) -> None:
    now, rules = datetime.now(UTC), RegistryRules(CACTUS)
    for image_id in ids:
        images.change(connection, image_id, [Delete()], now, ANYONE_IS_ADMIN, rules)


def _writer_beside_purge(url: str, client: Client, size: int) -> Report:
    """What one writer waits for each of its registrations, in milliseconds: alone, and while the purge runs."""
    register = next(question for question in writes(size) if question.name == "post").requests
    started = time.perf_counter()
    alone = []
    while time.perf_counter() - started < _SECONDS_ALONE:
        alone.append(client.ask(next(register)).seconds)
    command = [sys.executable, "-m", "glance_registry", "db", "purge", "--older-than", "0", "--database", url]
    started, beside = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            beside.append(client.ask(next(register)).seconds)
        seconds, (said, _) = time.perf_counter() - started, process.communicate()
    if process.returncode:
        raise RuntimeError(f"the purge ended with {process.returncode}")
    return {
        "alone": _waits(alone),
        "beside_purge": _waits(beside),
        "purge": {"seconds": round(seconds, 1), "said": said.strip()},
    }


def _waits(seconds: Sequence[float]) -> Report:
    milliseconds = sorted(1e3 * each for each in seconds)
    return {
        "registrations": len(milliseconds),
        "median": round(median(milliseconds), 2),
        "of_100_the_longest": round(quantiles(milliseconds, n=100)[-1], 2),
        "longest": round(milliseconds[-1], 2),
    }
