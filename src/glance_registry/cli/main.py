# SPDX-License-Identifier: Apache-2.0
"""The command `glance-registry` with all its subcommands."""

from typing import Any

import click

from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.database_url import parse_url
from glance_registry.cli.config import config
from glance_registry.cli.database import db
from glance_registry.cli.export import export
from glance_registry.cli.image import image
from glance_registry.cli.imports import import_
from glance_registry.cli.options import DATABASE, setting_options
from glance_registry.cli.restore import restore_command
from glance_registry.cli.serve import run, serve
from glance_registry.cli.store import store
from glance_registry.cli.user import user
from glance_registry.model.errors import Conflict, RegistryError, StorageFull, Unavailable
from glance_registry.model.visible import printable


class Program(click.Group):
    """The command group; it prints our errors as one sentence, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegistryError as error:
            raise click.ClickException(_with_cause(error, ctx.meta.get(DATABASE))) from error


def _with_cause(error: RegistryError, database_url: str | None) -> str:
    """The sentence of the error; for an error of the database also its name and its driver's message."""
    if database_url is None or not isinstance(error, Unavailable | StorageFull | Conflict):
        return str(error)
    database = locate(parse_url(database_url))
    cause = database.cause(error)
    if isinstance(error, Conflict) and not cause:
        return str(error)
    return printable(f"{error} ({database.name}{': ' if cause else ''}{cause})")


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="glance-registry", message="%(prog)s %(version)s")
@setting_options
def main() -> None:
    """Serve and manage metadata of virtual machine images. Default: serve."""
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        run()


for command in (serve, db, store, import_, export, restore_command, image, user, config):
    main.add_command(command)
