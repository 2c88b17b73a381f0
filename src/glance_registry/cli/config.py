# SPDX-License-Identifier: Apache-2.0
"""`glance-registry config`: every setting, its value, its default and where the value came from."""

import click
from rich.console import Console
from rich.table import Table

from glance_registry.cli.options import load_settings, setting_options
from glance_registry.settings import SETTINGS, Settings, masked

_COLUMNS = ("setting", "value", "default", "from")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@setting_options
def config(as_json: bool) -> None:
    """Print every setting with its value, its default and where it came from."""
    loaded = load_settings()
    rows = [
        (
            f"[{setting.group}] {setting.name}",
            masked(setting, getattr(loaded.settings, setting.attribute)),
            masked(setting, getattr(Settings(), setting.attribute)),
            loaded.sources[setting.attribute],
        )
        for setting in SETTINGS
    ]
    console = Console(soft_wrap=True)
    if as_json:
        console.print_json(data=[dict(zip(_COLUMNS, row, strict=True)) for row in rows])
        return
    table = Table(*_COLUMNS)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)
