# SPDX-License-Identifier: Apache-2.0
"""`glance-registry import json`: registers the images of a file that an export or a person wrote."""

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
from glance_registry.cli.export_format import MAX_LINE_BYTES, Entry, read_entries, read_line
from glance_registry.cli.files import opened_catalogue
from glance_registry.cli.images_api import Answers
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.cli.output import print_error, progress
from glance_registry.cli.serve import prepare_database
from glance_registry.model.contract import Contract
from glance_registry.model.errors import Conflict, Invalid, TooLarge, Unavailable

BATCH_SIZE = 500
"""Entries in one transaction, if their lines are short: few, so that other writes do not wait long."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_ATTEMPTS = 5


class Outcome(Struct):
    """How many entries had which result."""

    registered: int = 0
    tombstones: int = 0
    present: int = 0
    refused: int = 0
    answers: Answers = field(default_factory=Answers)


@click.command("json")
@click.argument("file", type=click.File("rb"))
@setting_options
def import_json(file: BinaryIO) -> None:
    """Register the images in FILE (- is standard input): a JSON list, or one JSON object per line.

    Lines of an export are stored as they are: ids, times, deleted images, members, the ids of purged images. So
    are answers of the Images API v2, also Glance's: an image, or a list {"images": […]}; they have no members. A
    body written by hand is checked as POST /images checks it. An id that is or was in use is skipped. An entry
    with an unknown field is refused. Exit 1 if an entry was refused.
    """
    settings = load_settings().settings
    asyncio.run(prepare_database(settings.database.connection))
    outcome = Outcome()
    with opened_catalogue(settings.database.connection) as (catalogue, runner), progress() as bar:
        task = bar.add_task("Importing", total=None)
        try:
            for batch in _batches(_items(read_entries(file, _report), contract_of(settings), outcome)):
                _write(batch, catalogue, runner, outcome)
                bar.update(task, description=f"{outcome.registered} registered")
        finally:
            # Also if the import ends early: these are on disk.
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
    print_error(f"line {number}: {sentence}")


Item = tuple[Kept | Tombstone, int]
"""The image or tombstone of an entry, and the number of its bytes."""


def _items(entries: Iterable[Entry], contract: Contract, outcome: Outcome) -> Iterator[Item]:
    for number, text in entries:
        try:
            if text is None:
                raise Invalid(f"The line is longer than {MAX_LINE_BYTES} bytes.")
            item = read_line(text, contract, lambda: datetime.now(UTC), lambda: str(uuid4()), outcome.answers)
        except (Invalid, TooLarge) as error:
            _report(number, str(error))
            outcome.refused += 1
        else:
            yield item, len(text)


def _batches(items: Iterable[Item]) -> Iterator[list[Kept | Tombstone]]:
    """Group items for one transaction each. A batch has one kind of item, so the order of the file is preserved."""
    batch: list[Kept | Tombstone] = []
    size = 0
    for item, length in items:
        if batch and (len(batch) == BATCH_SIZE or size + length > MAX_BATCH_BYTES or type(item) is not type(batch[0])):
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
    added = _write_all(bury, tombstones, catalogue, runner) if tombstones else 0
    outcome.registered += registered
    outcome.tombstones += added
    outcome.present += len(batch) - registered - added


def _write_all(
    operation: Operation[[list[T]], int], wanted: list[T], catalogue: Catalogue, runner: asyncio.Runner
) -> int:
    for _ in range(MAX_ATTEMPTS):
        try:
            return runner.run(catalogue.write(operation, wanted))
        except Conflict:
            # Another process registered the same id at this moment; the next attempt skips it.
            continue
    raise Unavailable("The database is busy.")
