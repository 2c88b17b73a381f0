# SPDX-License-Identifier: Apache-2.0
"""The program's entry."""

from typing import Any

import click

from glance_registry.cli.config import config
from glance_registry.cli.database import db
from glance_registry.cli.export import export
from glance_registry.cli.image import image
from glance_registry.cli.imports import import_
from glance_registry.cli.options import setting_options
from glance_registry.cli.restore import restore_command
from glance_registry.cli.serve import run, serve
from glance_registry.cli.user import user
from glance_registry.model.errors import RegistryError


class Program(click.Group):
    """Shows our errors as one sentence, without a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RegistryError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="glance-registry", message="%(prog)s %(version)s")
@setting_options
def main() -> None:
    """The catalogue of virtual machine images. Without a command it serves."""
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        run()


for command in (serve, db, import_, export, restore_command, image, user, config):
    main.add_command(command)
