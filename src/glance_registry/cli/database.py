# SPDX-License-Identifier: Apache-2.0
"""`glance-registry db`: create, upgrade, check and purge the database."""

import asyncio
from datetime import UTC, datetime, timedelta

import click

from glance_registry.catalogue import schema
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.purge import purge
from glance_registry.cli.check import check
from glance_registry.cli.options import load_settings, setting_options

BATCH_SIZE = 500
"""Images in one transaction of a purge: few, so that other writes do not wait long."""


@click.group()
@setting_options
def db() -> None:
    """Create, upgrade, check and purge the database."""


@db.command()
@setting_options
def upgrade() -> None:
    """Create the tables, or upgrade an older database to the current schema."""
    url = load_settings().settings.database.connection
    before = asyncio.run(schema.state(url))
    asyncio.run(schema.upgrade(url))
    result = "was up to date" if before in schema.USABLE else "is up to date now"
    click.echo(f"The database {result} (schema {schema.HEAD}).")


db.add_command(check)


@db.command("purge")
@click.option("--older-than", "days", type=click.IntRange(min=0), required=True, metavar="DAYS")
@setting_options
def purge_command(days: int) -> None:
    """Remove the rows of images deleted more than DAYS days ago. Their ids are never used again."""
    purged = asyncio.run(_purge(load_settings().settings.database.connection, days))
    click.echo(f"Purged {purged} images.")


async def _purge(url: str, days: int) -> int:
    found = await schema.state(url)
    if found not in schema.USABLE:
        raise click.ClickException(schema.refusal(found))
    now = datetime.now(UTC)
    # With very many days the time would be before the year 1, which datetime cannot express.
    deleted_before = now - min(timedelta(days=days), now - datetime.min.replace(tzinfo=UTC))
    catalogue = open_catalogue(url)
    purged = 0
    try:
        while removed := await catalogue.write(purge, deleted_before, now, BATCH_SIZE):
            purged += removed
    finally:
        await catalogue.close()
    return purged
