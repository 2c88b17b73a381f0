# SPDX-License-Identifier: Apache-2.0
"""Settings for tests: `option=…` in [DEFAULT], `group__option=…` in another group, as in the environment."""

from dataclasses import replace
from typing import Any

from glance_registry.settings import Settings


def make_settings(database: str | None = None, **options: Any) -> Settings:
    """Settings with this database and these options; the defaults for the rest."""
    if database is not None:
        options["database__connection"] = database
    return change_settings(Settings(), **options)


def change_settings(settings: Settings, **options: Any) -> Settings:
    """The settings with other values for these options."""
    for name, value in options.items():
        group, separator, option = name.rpartition("__")
        if separator:
            settings = replace(settings, **{group: replace(getattr(settings, group), **{option: value})})
        else:
            settings = replace(settings, **{name: value})
    return settings
