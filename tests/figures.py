# SPDX-License-Identifier: Apache-2.0
"""Figures that tests have seen: a table at the end of a run with `--figures FILE`, and the same as Markdown in FILE."""

from collections.abc import Callable
from pathlib import Path

import pytest

Figure = Callable[[str, object], None]
_seen = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", metavar="FILE", help="Print what tests measured, and write it to FILE as Markdown.")
    parser.addoption(
        "--images",
        type=int,
        default=120_000,
        help="Images in the catalogue that hostile callers attack (tests/hostile).",
    )


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a figure: what it is, and its value with its unit. Of the same thing the last value counts."""
    seen = request.config.stash.setdefault(_seen, {})

    def note(what: str, value: object) -> None:
        seen[what] = f"{value:,}" if isinstance(value, int) else str(value)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file = config.getoption("--figures")
    if file is None:
        return
    seen = sorted(config.stash.get(_seen, {}).items())
    lines = ["| what | figure |", "|---|---|", *(f"| {what} | {value} |" for what, value in seen)]
    Path(file).write_text("\n".join(lines) + "\n")
    terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)
