# SPDX-License-Identifier: Apache-2.0
"""`glance-registry import osinfo`: registers the images that libosinfo knows, each once."""

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct, field

from glance_registry.cli import osinfo
from glance_registry.cli.options import setting_options
from glance_registry.cli.output import complain, progress

if TYPE_CHECKING:
    from glance_registry.cli.client import Client

INSTALLED = Path("/usr/share/osinfo")
"""Where Debian's package has it."""


class Outcome(Struct):
    """What became of the images and files."""

    registered: int = 0
    present: int = 0
    refused: int = 0
    unreadable: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """How many, by reason."""


@click.command("osinfo")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=INSTALLED,
    metavar="DIR",
    show_default=True,
    help="Where libosinfo's database is.",
)
@click.option("--server", metavar="URL", help="Register there; default: in the database of the settings.")
@setting_options
def import_osinfo(path: Path, server: str | None) -> None:
    """Register the virtual machine images that libosinfo's database lists.

    What was registered before is left alone, deleted images too. Exit 1 when a file could not be read or an
    image was refused.
    """
    from glance_registry.cli.client import connected

    if server and "database.connection" in click.get_current_context().ensure_object(dict):
        raise click.UsageError("Give --server or --database, not both.")
    files = sorted((path / "os").rglob("*.xml"))
    if not files:
        raise click.ClickException(
            f"There is no database of libosinfo at {path}; install the Debian package osinfo-db, or give the"
            " folder of another copy with --path."
        )
    outcome = Outcome()
    with connected(server) as client:
        _register(files, client, outcome)
    for reason, count in outcome.skipped.items():
        complain(f"skipped {count}: {reason}")
    click.echo(
        f"registered {outcome.registered}, already there {outcome.present}, skipped {outcome.skipped.total()},"
        f" refused {outcome.refused}, unreadable {outcome.unreadable}"
    )
    if outcome.refused or outcome.unreadable:
        click.get_current_context().exit(1)


def _register(files: Sequence[Path], client: "Client", outcome: Outcome) -> None:
    with progress() as bar:
        for file in bar.track(files, description="Registering"):
            try:
                offers = osinfo.read(file)
            except osinfo.Unreadable as error:
                complain(f"{file}: {error}")
                outcome.unreadable += 1
                continue
            for offer in offers:
                _register_one(offer, client, outcome)


def _register_one(offer: osinfo.Offer, client: "Client", outcome: Outcome) -> None:
    from glance_registry.cli.client import Refused

    if offer.body is None:
        outcome.skipped[offer.reason or ""] += 1
        return
    try:
        client.create_image(offer.body)
        outcome.registered += 1
    except Refused as error:
        if error.status == HTTPStatus.CONFLICT:
            # The id says which image it is: registered by an earlier run, and perhaps deleted since.
            outcome.present += 1
            return
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        complain(f"{offer.body['name']}: {error}")
        outcome.refused += 1
