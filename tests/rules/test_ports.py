# SPDX-License-Identifier: Apache-2.0
"""No test needs a port that happens to be free: `make test` beside a running registry, as newcomers do it."""

import ast
import re
from pathlib import Path

import pytest
from tests.rules.source import ROOT

TESTS = sorted((ROOT / "tests").rglob("*.py"))
FIXED_PORT = re.compile(r"(?://|@)(?:127\.0\.0\.1|localhost):\d")


def without_port(text: str) -> list[int]:
    """The lines that start `serve` and do not say on which port."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.List) and any(isinstance(part, ast.Starred) for part in node.elts):
            parts = node.elts
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("run_program", "invoke"):
            parts = node.args
        else:
            continue
        words = [part.value for part in parts if isinstance(part, ast.Constant)]
        if "serve" in words and "--port" not in words:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_program_of_a_test_is_given_its_port(path: Path) -> None:
    assert without_port(path.read_text()) == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_names_a_port_of_this_machine(path: Path) -> None:
    assert FIXED_PORT.findall(path.read_text()) == []


def test_a_program_without_a_port_is_found() -> None:
    assert without_port('run_program(f, "serve", "--database", d)\ncommand = [*PROGRAM, "serve"]') == [1, 2]
    assert without_port('run_program(f, "serve", "--port", p)\ncommand = [*PROGRAM, "serve", "--port", p]') == []
