# SPDX-License-Identifier: Apache-2.0
"""`glance-registry import osinfo`: registers the cloud images that libosinfo lists."""

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct, field

from glance_registry.cli import osinfo
from glance_registry.cli.options import is_database_given, setting_options
from glance_registry.cli.output import print_error, progress

if TYPE_CHECKING:
    from glance_registry.cli.client import Client

DEFAULT_FOLDER = Path("/usr/share/osinfo")
"""The folder of Debian's package osinfo-db."""


class Outcome(Struct):
    """How many images and files had which result."""

    registered: int = 0
    present: int = 0
    refused: int = 0
    unreadable: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """The number of images, by reason."""


@click.command("osinfo")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    metavar="DIR",
    show_default=True,
    help="Where libosinfo's database is.",
)
@click.option("--server", metavar="URL", help="Register there; default: in the database of the settings.")
@setting_options
def import_osinfo(path: Path, server: str | None) -> None:
    """Register the virtual machine images that libosinfo's database lists.

    Images that were registered before are not changed, nor registered again if deleted. Exit 1 if a file could
    not be read or an image was refused.
    """
    from glance_registry.cli.client import connected

    if server and is_database_given():
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
        print_error(f"skipped {count}: {reason}")
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
                images = osinfo.read(file)
            except osinfo.Unreadable as error:
                print_error(f"{file}: {error}")
                outcome.unreadable += 1
                continue
            for listed in images:
                _register_one(listed, client, outcome)


def _register_one(listed: osinfo.ListedImage, client: "Client", outcome: Outcome) -> None:
    from glance_registry.cli.client import Refused

    if listed.body is None:
        outcome.skipped[listed.reason or ""] += 1
        return
    try:
        client.create_image(listed.body)
        outcome.registered += 1
    except Refused as error:
        if error.status == HTTPStatus.CONFLICT:
            # An earlier run registered the same id; the image may have been deleted since.
            outcome.present += 1
            return
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        print_error(f"{listed.body['name']}: {error}")
        outcome.refused += 1
