# SPDX-License-Identifier: Apache-2.0
"""The program's commands, run in this process or as a process of their own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from tests.conftest import ENGINES
from tests.processes import free_port

from glance_registry.cli import main

Invoke = Callable[..., Result]
PROGRAM = (sys.executable, "-m", "glance_registry")
START_SECONDS = 60


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process; what it did not foresee is raised."""
    monkeypatch.delenv("GLANCE_REGISTRY_SERVER", raising=False)

    def run(*arguments: object, **options: Any) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(params=ENGINES)
def other_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a second database with today's tables and no images."""
    if request.param == "sqlite":
        path = tmp_path / "other.sqlite"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    return request.getfixturevalue("postgresql").create("template_current")


@pytest.fixture
def new_database(tmp_path: Path) -> str:
    """The URL of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'new.sqlite'}"


@pytest.fixture
def server(sqlite_database: str) -> Iterator[str]:
    """The URL of a real server on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*PROGRAM, "serve", "--database", sqlite_database, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(url)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    given_up = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/healthcheck").raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < given_up, "the server does not start"
            time.sleep(0.05)
