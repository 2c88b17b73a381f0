# SPDX-License-Identifier: Apache-2.0
"""`glance-registry db check`: whether everything in the catalogue is as it must be, while the program runs."""

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

REPAIR_AT_ONCE = 200
"""Images, or entries, that one transaction of a repair handles: small, so that other writes get in between."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON: one object a fault, and a last one with the counts.")
@click.option(
    "--repair",
    is_flag=True,
    help="First make what is searched anew from the images where the two disagree. Nothing else is changed.",
)
@setting_options
def check(as_json: bool, repair: bool) -> None:
    """Say whether the database has today's schema and all that is in it is sound; exit 1 when not.

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
                number = await catalogue.write(add_missing, derived, number, REPAIR_AT_ONCE)
            entry = await catalogue.write(drop_surplus, derived, None, REPAIR_AT_ONCE)
            while entry is not None:
                entry = await catalogue.write(drop_surplus, derived, entry, REPAIR_AT_ONCE)
            click.echo(f"The {derived.noun} was made anew.", err=True)
        if words.NAME in damaged:
            number = 0
            while number is not None:
                number = await catalogue.write(words.refill, number, REPAIR_AT_ONCE)
            click.echo("The index of words was made anew.", err=True)
    finally:
        await catalogue.close()
