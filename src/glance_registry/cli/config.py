# SPDX-License-Identifier: Apache-2.0
"""`glance-registry config`: every setting, its value, its default and its source."""

from typing import Any

import click

from glance_registry.cli.options import load_settings, setting_options
from glance_registry.cli.output import print_json, print_table
from glance_registry.settings import SETTINGS, masked, store_settings

_COLUMNS = ("setting", "value", "default", "from")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@setting_options
def config(as_json: bool) -> None:
    """Print every setting with its value, its default and its source."""
    loaded = load_settings()
    rows = [
        (
            f"[{setting.group}] {setting.name}",
            masked(setting, setting.value(loaded.settings)),
            masked(setting, setting.default),
            loaded.sources[setting.attribute],
        )
        for setting in (*SETTINGS, *store_settings(loaded.settings.stores.enabled))
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, ([_shown(value) for value in row] for row in rows))


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
