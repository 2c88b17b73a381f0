# SPDX-License-Identifier: Apache-2.0
"""Prints tables, JSON and errors. Printed text can neither control the terminal nor act as markup."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from glance_registry.model.visible import printable

if TYPE_CHECKING:
    from rich.progress import Progress

# rich is imported in the functions that use it, because `serve` does not need it.

_UNLIMITED_WIDTH = 100_000
"""Columns when the output is not a terminal: a program that reads a table must get complete cells."""


def print_error(text: str) -> None:
    """Print one line on standard error."""
    click.echo(printable(text), err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output. The first column is never folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH).print(table)


def print_json(value: Any) -> None:
    """Print JSON on standard output, in ASCII: control characters in values become escapes."""
    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def progress() -> "Progress":
    """A progress bar on standard error; it prints nothing if that is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal, transient=True)


def transfer_progress() -> "Progress":
    """A progress bar of bytes on standard error, with speed and time left; nothing if that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.table import Column

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
