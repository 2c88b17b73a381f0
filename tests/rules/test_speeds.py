# SPDX-License-Identifier: Apache-2.0
"""What `make check` runs stays in this process; the marks say so, and a test without them is held to it."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from tests.speeds import FOLDERS, scaled

ROOT = Path(__file__).parents[2]


def test_a_test_without_the_mark_starts_no_process_and_opens_no_connection() -> None:
    with pytest.raises(RuntimeError, match="mark it"):
        subprocess.run([sys.executable, "-c", ""], check=False)
    with socket.socket() as asked, pytest.raises(RuntimeError, match="mark it"):
        asked.connect(("127.0.0.1", 9))


@pytest.mark.external
def test_a_test_with_the_mark_may_start_a_process() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_what_uses_postgresql_is_marked(request: pytest.FixtureRequest, database: str) -> None:
    is_marked = request.node.get_closest_marker("external") is not None

    assert is_marked == database.startswith("postgresql")


def test_the_folders_that_are_left_out_are_there_and_named_in_the_makefile() -> None:
    (sentence,) = re.findall(r"^check:.*## (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    for folder in FOLDERS:
        assert (ROOT / "tests" / folder).is_dir()
        assert folder in sentence


def test_a_tenth_of_the_examples_is_never_none() -> None:
    share = settings().max_examples / 100

    assert scaled(1) == 1
    assert scaled(300) == 300 * share
