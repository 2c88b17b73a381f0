# SPDX-License-Identifier: Apache-2.0
"""Writes the reference parts of the documentation from the code: `make docs`; a test compares."""

import inspect
import re
from collections.abc import Callable
from copy import copy
from pathlib import Path

import click

from glance_registry.api.errors import STATUSES
from glance_registry.api.routes import DIALECTS
from glance_registry.cli.main import main
from glance_registry.settings import SETTINGS, STORE_SETTINGS

FOLDER = Path(__file__).parent


def settings_table() -> str:
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for setting in (*SETTINGS, *STORE_SETTINGS):
        option, default = setting.option, setting.default
        shown = ", ".join(default) if isinstance(default, tuple) else default
        choices = f" One of: {', '.join(option.choices)}." if option.choices else ""
        older = "".join(f" Older name: `[{group}] {name}`." for group, name in option.old_names)
        value = f"`{shown}`" if shown != "" else ""
        lines.append(f"| `[{setting.group}] {setting.name}` | {value} | {option.help}{choices}{older} |")
    return "\n".join(lines)


def routes_table() -> str:
    lines = ["| call | what it does | who may ask |", "|---|---|---|"]
    for route in (route for dialect in DIALECTS for route in dialect.routes):
        summary = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")[0]
        lines.append(f"| `{route.method} {route.path}` | {summary} | {route.access.value} |")
    return "\n".join(lines)


def errors_table() -> str:
    lines = ["| status | code in the log | when |", "|---|---|---|"]
    for kind, status in sorted(STATUSES.items(), key=lambda row: row[1]):
        meaning = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
        lines.append(f"| {status.value} | `{kind.code}` | {meaning} |")
    return "\n".join(lines)


def commands() -> str:
    parts = []
    for path, command in _walk(main, ("glance-registry",)):
        shown = command if command is main else _without_settings(command)
        context = click.Context(shown, info_name=" ".join(path), max_content_width=100, **main.context_settings)
        parts.append(f"## `{' '.join(path)}`\n\n```text\n{shown.get_help(context)}\n```")
    return "\n\n".join(parts)


def _without_settings(command: click.Command) -> click.Command:
    """The command without the flags that set settings, which every command has."""
    shared = {parameter.name for parameter in main.params}
    shown = copy(command)
    shown.params = [parameter for parameter in command.params if parameter.name not in shared]
    return shown


def _walk(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            found += _walk(command.commands[name], (*path, name))
    return found


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("settings.md", "settings"): settings_table,
    ("api.md", "routes"): routes_table,
    ("api.md", "errors"): errors_table,
    ("commands.md", "commands"): commands,
}


def generated(page: str, text: str) -> str:
    """The page's text with its generated parts renewed."""
    for (name, part), make in PARTS.items():
        if name == page:
            start, end = f"<!-- {part}: generated -->", f"<!-- /{part} -->"
            pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
            text = pattern.sub(f"{start}\n{make()}\n{end}".replace("\\", r"\\"), text)
    return text


def write() -> None:
    for page in sorted({name for name, _ in PARTS}):
        path = FOLDER / page
        path.write_text(generated(page, path.read_text()))


if __name__ == "__main__":
    write()
