# SPDX-License-Identifier: Apache-2.0
"""`glance-registry export`: the whole catalogue as JSON lines, which `import json` reads."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from glance_registry.catalogue import images, schema, uploads
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.purge import tombstones_after
from glance_registry.cli.export_format import image_line, tombstone_line
from glance_registry.cli.files import opened_catalogue, replacing
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.model.status import SAVING

BATCH_SIZE = 500
"""Images in memory at the same time."""


@click.command()
@click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False))
@setting_options
def export(file: Path) -> None:
    """Write all images, deleted and purged ones too, to FILE (default: standard output).

    Of purged images only the ids are left. Bytes are not written: images whose bytes are in the stores of this
    registry, or come at this moment, come back as queued. One JSON object per line, oldest first. Only its owner can
    read FILE, since locations may contain credentials. It appears when it is complete. An image that changes meanwhile
    is written as before or after the change.
    """
    url = load_settings().settings.database.connection
    found = asyncio.run(schema.state(url))
    if found not in schema.USABLE:
        raise click.ClickException(schema.refusal(found))
    with opened_catalogue(url) as (catalogue, runner):
        if file == Path("-"):
            _write(lines(catalogue, runner), sys.stdout.buffer)
            return
        target = file.resolve()
        if target.exists() and not target.is_file():
            raise click.ClickException(
                f"Cannot write {file}: it is not a plain file. Leave FILE out to write to standard output."
            )
        try:
            with replacing(target) as stream:
                count = _write(lines(catalogue, runner), stream)
        except OSError as error:
            raise click.ClickException(f"Cannot write {file}: {error.strerror}.") from None
    click.echo(f"Exported {count} lines to {file}.")


def lines(catalogue: Catalogue, runner: asyncio.Runner) -> Iterator[bytes]:
    """All images, sorted by creation, then all tombstones, sorted by id."""
    created_at, image_id = None, ""
    while batch := runner.run(catalogue.read(images.after, created_at, image_id, BATCH_SIZE)):
        ids = [kept.image.id for kept in batch if kept.image.status == SAVING]
        receiving = runner.run(catalogue.read(uploads.receiving, ids)) if ids else ()
        yield from (image_line(kept, is_receiving=kept.image.id in receiving) for kept in batch)
        created_at, image_id = batch[-1].image.created_at, batch[-1].image.id
    image_id = ""
    while tombstones := runner.run(catalogue.read(tombstones_after, image_id, BATCH_SIZE)):
        yield from map(tombstone_line, tombstones)
        image_id = tombstones[-1].id


def _write(written: Iterator[bytes], stream: BinaryIO) -> int:
    """Write the lines and return their number."""
    count = 0
    for count, line in enumerate(written, 1):  # noqa: B007 - the last count is returned
        stream.write(line)
    stream.flush()
    return count
