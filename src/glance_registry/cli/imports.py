# SPDX-License-Identifier: Apache-2.0
"""`glance-registry import`: the group of the commands `json` and `osinfo`."""

import click

from glance_registry.cli.import_json import import_json
from glance_registry.cli.import_osinfo import import_osinfo
from glance_registry.cli.options import setting_options


@click.group("import")
@setting_options
def import_() -> None:
    """Register images that a file or libosinfo's database lists."""


import_.add_command(import_json)
import_.add_command(import_osinfo)
