# SPDX-License-Identifier: Apache-2.0
"""`glance-registry db check`: verifies the whole catalogue while the program runs."""

import asyncio
import json

import click

from glance_registry.catalogue import schema
from glance_registry.catalogue.integrity import check as checks
from glance_registry.catalogue.integrity import words
from glance_registry.catalogue.integrity.repair import DERIVED, add_missing, drop_surplus
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.snapshot import snapshot
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.model.visible import printable

BATCH_SIZE = 200
"""Images, or index entries, in one transaction of a repair: few, so that other writes do not wait long."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON: one object per fault, and a last one with the counts.")
@click.option(
    "--repair",
    is_flag=True,
    help="First build search tables again from the images, if the two disagree. Nothing else is changed.",
)
@setting_options
def check(as_json: bool, repair: bool) -> None:
    """Verify the schema and the contents of the database; exit 1 if something is wrong.

    Everything is read as it is at one moment, also while the registry runs. Each fault is one line.
    """
    url = load_settings().settings.database.connection
    found = asyncio.run(schema.state(url))
    if found not in schema.USABLE:
        raise click.ClickException(schema.refusal(found))
    if repair:
        damaged: set[str] = set()
        asyncio.run(snapshot(url, checks.check, lambda fault: damaged.add(fault.check)))
        asyncio.run(_repair(url, damaged))
    outcome = asyncio.run(snapshot(url, checks.check, _print_json if as_json else _print_line))
    if as_json:
        click.echo(json.dumps({"schema": schema.HEAD, "rows": outcome.rows, "faults": outcome.faults}))
    else:
        rows = ", ".join(f"{table} {count}" for table, count in outcome.rows.items())
        click.echo(f"The database {found.value} (schema {schema.HEAD}). Rows: {rows}. Faults: {outcome.faults}.")
    if outcome.faults:
        click.get_current_context().exit(1)


def _print_line(fault: checks.Fault) -> None:
    about = fault.check if fault.image_id is None else f"image {fault.image_id}"
    click.echo(printable(f"{about}: {fault.sentence}"))


def _print_json(fault: checks.Fault) -> None:
    click.echo(json.dumps({"check": fault.check, "image_id": fault.image_id, "fault": fault.sentence}))


async def _repair(url: str, damaged: set[str]) -> None:
    catalogue = open_catalogue(url)
    try:
        for derived in (derived for derived in DERIVED if derived.table.name in damaged):
            number: int | None = 0
            while number is not None:
                number = await catalogue.write(add_missing, derived, number, BATCH_SIZE)
            entry = await catalogue.write(drop_surplus, derived, None, BATCH_SIZE)
            while entry is not None:
                entry = await catalogue.write(drop_surplus, derived, entry, BATCH_SIZE)
            click.echo(f"The {derived.noun} was built again.", err=True)
        if words.NAME in damaged:
            number = 0
            while number is not None:
                number = await catalogue.write(words.refill, number, BATCH_SIZE)
            click.echo("The index of words was built again.", err=True)
    finally:
        await catalogue.close()
