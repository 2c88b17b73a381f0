# SPDX-License-Identifier: Apache-2.0
"""`glance-registry store check`: compares the database and the stores while the program runs."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import click

from glance_registry.app import open_stores
from glance_registry.catalogue import schema
from glance_registry.catalogue.open import open_catalogue
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.model.visible import printable
from glance_registry.settings import Settings
from glance_registry.transfer.check import Fault, Outcome
from glance_registry.transfer.check import check as compare


@click.group()
@setting_options
def store() -> None:
    """Check the stores, which have the bytes of images."""


@store.command()
@click.option("--deep", is_flag=True, help="Read all bytes, too, and compare their digests. This takes long.")
@click.option(
    "--repair",
    is_flag=True,
    help="Remove objects that no row of the database refers to. A missing or damaged object cannot be repaired.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON: one object per fault, and a last one with the counts.")
@setting_options
def check(deep: bool, repair: bool, as_json: bool) -> None:
    """Compare the database and the stores both ways; exit 1 if they do not agree.

    Faults are: missing objects, objects that no row refers to, wrong sizes, wrong digests (with --deep), stores that
    the settings do not name. Each fault is one line. It may run beside the registry.
    """
    settings = load_settings().settings
    found = asyncio.run(schema.state(settings.database.connection))
    if found not in schema.USABLE:
        raise click.ClickException(schema.refusal(found))
    report = _print_json if as_json else _print_line
    database, stores, outcome = asyncio.run(_check(settings, report, deep=deep, repair=repair))
    if as_json:
        counts = {"copies": outcome.copies, "objects": outcome.objects, "bytes": outcome.size}
        ends = {"faults": outcome.faults, "removed": outcome.removed}
        click.echo(json.dumps({"database": database, "stores": stores, **counts, **ends}))
    else:
        click.echo(
            printable(
                f"Compared {database} with {', '.join(f'{name} ({where})' for name, where in stores.items())}."
                f" Copies: {outcome.copies}. Objects: {outcome.objects}, {outcome.size} bytes."
                f"{f' Removed: {outcome.removed}.' if repair else ''} Faults: {outcome.faults}."
            )
        )
    if outcome.faults:
        click.get_current_context().exit(1)


async def _check(
    settings: Settings, report: Callable[[Fault], None], *, deep: bool, repair: bool
) -> tuple[str, dict[str, str], Outcome]:
    """The name of the database, what the stores are, and what came out."""
    catalogue = open_catalogue(settings.database.connection)
    stores = open_stores(settings)
    try:
        outcome = await compare(catalogue, stores, datetime.now(UTC), report, deep=deep, repair=repair)
    finally:
        await stores.close()
        await catalogue.close()
    names = {name: one.description for name, one in stores.by_name.items()}
    return catalogue.database.name, names, outcome


def _print_line(fault: Fault) -> None:
    about = f"store {fault.store}" + (f", object {fault.key}" if fault.key else "")
    images = f" It is of image {', '.join(fault.images)}." if fault.images else ""
    click.echo(printable(f"{about}: {fault.sentence}{images}"))


def _print_json(fault: Fault) -> None:
    fields = {"store": fault.store, "key": fault.key, "images": fault.images}
    click.echo(json.dumps({**fields, "fault": fault.sentence, "removed": fault.removed}))
