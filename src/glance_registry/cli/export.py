# SPDX-License-Identifier: Apache-2.0
"""`glance-registry export`: everything in the catalogue as JSON lines, which `import json` reads."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from glance_registry.catalogue import images, schema
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.purge import tombstones_after
from glance_registry.cli.export_format import image_line, tombstone_line
from glance_registry.cli.files import opened, replaced
from glance_registry.cli.options import load_settings, setting_options

BATCH = 500
"""Images that are in memory at once."""


@click.command()
@click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False))
@setting_options
def export(file: Path) -> None:
    """Write all images, deleted ones too, and the ids of purged ones to FILE (default: standard output).

    One JSON object a line, oldest first. FILE is for its owner alone, since locations may hold credentials,
    and appears when it is complete. Images that change meanwhile are written as they were before or after.
    """
    url = load_settings().settings.database.connection
    found = asyncio.run(schema.state(url))
    if found not in schema.USABLE:
        raise click.ClickException(schema.refusal(found))
    with opened(url) as (catalogue, runner):
        if file == Path("-"):
            _write(lines(catalogue, runner), sys.stdout.buffer)
            return
        target = file.resolve()
        if target.exists() and not target.is_file():
            raise click.ClickException(
                f"Cannot write {file}: it is not a plain file. Without a FILE, standard output is."
            )
        try:
            with replaced(target) as stream:
                count = _write(lines(catalogue, runner), stream)
        except OSError as error:
            raise click.ClickException(f"Cannot write {file}: {error.strerror}.") from None
    click.echo(f"Exported {count} lines to {file}.")


def lines(catalogue: Catalogue, runner: asyncio.Runner) -> Iterator[bytes]:
    """Every image in the order of creation, then every tombstone in the order of ids."""
    created_at, image_id = None, ""
    while batch := runner.run(catalogue.read(images.after, created_at, image_id, BATCH)):
        yield from map(image_line, batch)
        created_at, image_id = batch[-1].image.created_at, batch[-1].image.id
    image_id = ""
    while tombstones := runner.run(catalogue.read(tombstones_after, image_id, BATCH)):
        yield from map(tombstone_line, tombstones)
        image_id = tombstones[-1].id


def _write(written: Iterator[bytes], stream: BinaryIO) -> int:
    """Write the lines; how many there were."""
    count = 0
    for count, line in enumerate(written, 1):  # noqa: B007 - the last count is the answer
        stream.write(line)
    stream.flush()
    return count
