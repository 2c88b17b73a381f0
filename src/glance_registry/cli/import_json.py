# SPDX-License-Identifier: Apache-2.0
"""`glance-registry import json`: registers the images of a file, as an export or a person has written them."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO
from uuid import uuid4

import click
from msgspec import Struct, field

from glance_registry.app import contract_of
from glance_registry.catalogue.base import Catalogue, Operation, T
from glance_registry.catalogue.images import Kept, add_all
from glance_registry.catalogue.purge import Tombstone, bury
from glance_registry.cli.export_format import LONGEST_LINE, Entry, read_entries, read_line
from glance_registry.cli.files import opened
from glance_registry.cli.images_api import Answers
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.cli.output import complain, progress
from glance_registry.cli.serve import prepare_database
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Conflict, Invalid, TooLarge, Unavailable

BATCH = 500
"""Entries that one transaction writes, unless their lines are long: other writes get in between."""

BATCH_BYTES = 8 * 1024 * 1024
ATTEMPTS = 5


class Outcome(Struct):
    """What became of the entries."""

    registered: int = 0
    tombstones: int = 0
    present: int = 0
    refused: int = 0
    answers: Answers = field(default_factory=Answers)


@click.command("json")
@click.argument("file", type=click.File("rb"))
@setting_options
def import_json(file: BinaryIO) -> None:
    """Register the images in FILE (- is standard input): a JSON list, or one JSON object a line.

    What an export has written is kept as it is: ids, times, deleted images, members, the ids of purged images.
    So are answers of the Images API v2, Glance's too: an image, or a list {"images": […]}; they name no members.
    An image's body written by hand is checked as POST /images checks it. An id that is or was in use is
    skipped. An entry with an unknown field is refused. Exit 1 when an entry was refused.
    """
    settings = load_settings().settings
    asyncio.run(prepare_database(settings.database.connection))
    outcome = Outcome()
    with opened(settings.database.connection) as (catalogue, runner), progress() as bar:
        task = bar.add_task("Importing", total=None)
        try:
            for batch in _batches(_items(read_entries(file, _report), contract_of(settings), outcome)):
                _write(batch, catalogue, runner, outcome)
                bar.update(task, description=f"{outcome.registered} registered")
        finally:
            # Also when the import ends early: these are on disk.
            bar.stop()
            click.echo(
                f"registered {outcome.registered}, tombstones {outcome.tombstones},"
                f" already there {outcome.present}, refused {outcome.refused}"
            )
            for sentence in outcome.answers.sentences():
                click.echo(sentence)
    if outcome.refused:
        click.get_current_context().exit(1)


def _report(number: int, sentence: str) -> None:
    complain(f"line {number}: {sentence}")


Item = tuple[Kept | Tombstone, int]
"""What an entry stands for, and how many bytes it had."""


def _items(entries: Iterable[Entry], contract: Contract, outcome: Outcome) -> Iterator[Item]:
    for number, text in entries:
        try:
            if text is None:
                raise Invalid(f"It is longer than {LONGEST_LINE} bytes.")
            item = read_line(text, contract, lambda: datetime.now(UTC), lambda: str(uuid4()), outcome.answers)
        except (Invalid, TooLarge) as error:
            _report(number, str(error))
            outcome.refused += 1
        else:
            yield item, len(text)


def _batches(items: Iterable[Item]) -> Iterator[list[Kept | Tombstone]]:
    """Items for one transaction each; all of a batch are of one kind, so that their order is that of the file."""
    batch: list[Kept | Tombstone] = []
    size = 0
    for item, length in items:
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES or type(item) is not type(batch[0])):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _write(batch: list[Kept | Tombstone], catalogue: Catalogue, runner: asyncio.Runner, outcome: Outcome) -> None:
    images = [item for item in batch if isinstance(item, Kept)]
    tombstones = [item for item in batch if isinstance(item, Tombstone)]
    registered = _write_all(add_all, images, catalogue, runner) if images else 0
    buried = _write_all(bury, tombstones, catalogue, runner) if tombstones else 0
    outcome.registered += registered
    outcome.tombstones += buried
    outcome.present += len(batch) - registered - buried


def _write_all(
    operation: Operation[[list[T]], int], wanted: list[T], catalogue: Catalogue, runner: asyncio.Runner
) -> int:
    for _ in range(ATTEMPTS):
        try:
            return runner.run(catalogue.write(operation, wanted))
        except Conflict:
            # Somebody registers the same id at this moment; the next attempt finds it taken.
            continue
    raise Unavailable("The database is busy.")
