# SPDX-License-Identifier: Apache-2.0
"""What the commands print. Text that came from elsewhere can neither steer the terminal nor pass for markup."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from glance_registry.model.visible import printable

if TYPE_CHECKING:
    from rich.progress import Progress

# rich is loaded where something is printed with it, which `serve` does not do.

_WIDE = 100_000
"""Columns of what is not a terminal: a program that reads a table must not meet a cut cell."""


def complain(text: str) -> None:
    """One line on standard error."""
    click.echo(printable(text), err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output, whose first column is never folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def print_json(value: Any) -> None:
    """JSON on standard output, in ASCII: a control character in a value arrives as an escape."""
    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def progress() -> "Progress":
    """A progress bar on standard error when that is a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal, transient=True)
