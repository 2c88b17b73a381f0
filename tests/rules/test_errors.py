# SPDX-License-Identifier: Apache-2.0
"""Every error has a status and a code of its own, every handler says what it does, every promise has a number."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from tests.rules.source import MODULES, PACKAGE, ROOT, SOURCE

from glance_registry.api.errors import STATUSES
from glance_registry.api.routes import ROUTES, Access
from glance_registry.model.errors import RegistryError

for module in MODULES:
    # Alembic's own files are run by it, with a connection; the entry would start the program.
    if "migrations" not in module.name and module.name != "__main__":
        import_module(f"{PACKAGE}.{module.name}".rstrip("."))


def _descendants(kind: type[RegistryError]) -> Iterator[type[RegistryError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


ERRORS = sorted(set(_descendants(RegistryError)), key=lambda kind: kind.__name__)
by_name = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)


@by_name
def test_every_error_has_a_status(kind: type[RegistryError]) -> None:
    found = [STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES]

    assert found
    assert 400 <= found[0] < 600


@by_name
def test_every_error_has_a_docstring_and_a_code(kind: type[RegistryError]) -> None:
    assert kind.__doc__
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.__dict__["code"])


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in (RegistryError, *ERRORS)]

    assert sorted(codes) == sorted(set(codes))


def test_every_status_belongs_to_an_error_that_is_there() -> None:
    assert set(STATUSES) <= set(ERRORS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_handler_says_what_it_does_and_every_route_who_may(route: object) -> None:
    handler = route.handler  # type: ignore[attr-defined]

    assert (handler.__doc__ or "").strip()
    assert inspect.iscoroutinefunction(handler)
    assert re.match(r"(list|show|create|update|replace|delete|check)_", handler.__name__)
    assert isinstance(route.access, Access)  # type: ignore[attr-defined]


def test_no_handler_catches_what_it_should_let_travel_up() -> None:
    sources = {route.handler.__name__: inspect.getsource(route.handler) for route in ROUTES}

    assert [name for name, text in sources.items() if re.search(r"^\s+(try|except)\b", text, re.MULTILINE)] == []


FILES = [
    path
    for folder in (SOURCE, ROOT / "tests", ROOT / "bench", ROOT / "docs", ROOT / "deploy")
    for path in sorted(folder.rglob("*"))
    if path.suffix in (".py", ".md", ".sh", ".toml", ".yaml", ".yml", ".mako") and path != Path(__file__)
]


def test_what_is_left_to_do_has_an_issue_s_number() -> None:
    without = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")

    assert [str(path.relative_to(ROOT)) for path in FILES if without.search(path.read_text(errors="replace"))] == []
