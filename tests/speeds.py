# SPDX-License-Identifier: Apache-2.0
"""What `make check` leaves out: tests marked `external` or `slow`, and nine of ten of Hypothesis's examples.

`external` are tests that need more than this process and SQLite. Those that use PostgreSQL, Keystone or a fixture that
starts a program are marked here, as are whole folders about running programs; any other one has the mark above it. A
test without the mark that starts a process or opens a connection fails.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FIXTURES = frozenset({"arena", "cluster", "keystone", "postgresql", "server"})
"""These start a server or another process, or a thread that listens."""

FOLDERS = frozenset({"browser", "clients", "cluster", "crash", "hostile", "overload"})
"""Folders of tests about running programs."""

ENGINE = "postgresql"
"""The parameter under which a fixture gives a database of PostgreSQL."""

MEMORY = Path("/dev/shm")
"""Where temporary files are, so that no test waits for a disk; not those of `make nightly`, which measures."""

ENOUGH = 4 * 2**30
"""Bytes that must be free there."""

_EVENTS = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "socket.bind", "socket.connect", "socket.sendto"}
)
_WHY = "This test starts a process or opens a connection: mark it with @pytest.mark.external."


class _Guard:
    """An audit hook: while `active`, nothing leaves this process."""

    active = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and event in _EVENTS:
            raise RuntimeError(_WHY)


_guard = _Guard()

settings.register_profile(
    "default",
    deadline=None,  # The machine is shared: a slow example is not a wrong one.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("check", settings.get_profile("default"), max_examples=10)
settings.load_profile("default")


def scaled(examples: int) -> int:
    """So many examples of Hypothesis; in `make check`, which has another profile, a tenth."""
    return max(1, examples * settings().max_examples // 100)


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_guard)
    if config.option.markexpr != "nightly" and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(tryfirst=True)  # Before -m looks at the marks.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_external(item):
            item.add_marker("external")


def _is_external(item: pytest.Item) -> bool:
    folder = item.nodeid.removeprefix("tests/").partition("/")[0]
    call = getattr(item, "callspec", None)
    return (
        folder in FOLDERS
        or not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or (call is not None and ENGINE in [value for value in call.params.values() if isinstance(value, str)])
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _guard.active = item.get_closest_marker("external") is None and item.get_closest_marker("nightly") is None
    try:
        return (yield)
    finally:
        _guard.active = False
