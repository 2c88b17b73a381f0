# SPDX-License-Identifier: Apache-2.0
"""`glance-registry restore`: replaces the SQLite database by a copy."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from glance_registry.catalogue import schema
from glance_registry.catalogue.database_url import parse_url
from glance_registry.catalogue.sqlite.restore import restore
from glance_registry.cli.options import load_settings, setting_options


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@setting_options
def restore_command(file: Path) -> None:
    """Replace the database of the settings by a copy of FILE, an SQLite database of a registry.

    Stop the registry first: while a program has the database open, the command refuses. FILE is checked before
    anything changes. The old database and its log are moved aside. If the command is killed, run it again.
    """
    url = parse_url(load_settings().settings.database.connection)
    if url.get_backend_name() != "sqlite":
        raise click.ClickException("The database is not an SQLite file; restore PostgreSQL with its own tools.")
    target = Path(url.database or "").resolve()
    restored = asyncio.run(restore(file, target, datetime.now(UTC)))
    click.echo(f"Restored {restored.images} images, deleted ones too, to {target}.")
    if restored.aside is not None:
        click.echo(f"The old database is {restored.aside}; remove it when you no longer need it.")
    if restored.state is schema.State.OLD:
        click.echo(f"The database {restored.state.value}; run: glance-registry db upgrade")
