# SPDX-License-Identifier: Apache-2.0
"""Sizes that are worth a second look, at the end of a run in which no test failed.

They fail nothing: what is long for a reason stays long, and a ceiling would have it cut where it does not come apart.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.rules.source import MODULES, ROOT, Module

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 50, 6


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    prompts = [f"{module.path.relative_to(ROOT)}:{prompt}" for module in MODULES for prompt in prompts_for(module)]
    if prompts and exitstatus == pytest.ExitCode.OK and terminalreporter.verbosity >= -1:
        terminalreporter.section("worth a second look (no failure)")
        for prompt in prompts:
            terminalreporter.write_line(prompt)


def prompts_for(module: Module) -> Iterator[str]:
    """What is large in a module, each as line and sentence."""
    lines = len(module.text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"1: the file has {lines} lines (more than {MAX_FILE_LINES})"
    for function in module.functions():
        lines = int(function.end_lineno or 0) - function.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            yield f"{function.lineno}: {function.name} has {lines} lines (more than {MAX_FUNCTION_LINES})"
        count = len(parameters(function))
        if count > MAX_PARAMETERS:
            yield f"{function.lineno}: {function.name} has {count} parameters (more than {MAX_PARAMETERS})"


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of all parameters but the instance or class of a method."""
    given = function.args
    all_of_them = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [one.arg for one in all_of_them if one is not None and one.arg not in ("self", "cls")]
