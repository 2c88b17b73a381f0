# SPDX-License-Identifier: Apache-2.0
"""The sizes that are printed and fail nothing (tests/prompts.py)."""

import pytest
from tests.prompts import MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, prompts_for
from tests.rules.source import ROOT, Module


def function(lines: int = 2, parameters: int = 0) -> str:
    """A method of that many lines and parameters, the instance not counted."""
    names = ", ".join(["self", *(f"p{number}" for number in range(parameters))])
    return f"def f({names}):\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("x = 1\n" * MAX_FILE_LINES, []),
        ("x = 1\n" * (MAX_FILE_LINES + 1), ["1: the file has 401 lines (more than 400)"]),
        (function(lines=MAX_FUNCTION_LINES), []),
        ("\n" + function(lines=MAX_FUNCTION_LINES + 1), ["2: f has 51 lines (more than 50)"]),
        (function(parameters=MAX_PARAMETERS), []),
        (function(parameters=MAX_PARAMETERS + 1), ["1: f has 7 parameters (more than 6)"]),
        ("def f(a, b, /, c, *d, e, f, **g): pass", ["1: f has 7 parameters (more than 6)"]),
    ],
)
def test_what_is_large_is_printed(text: str, prompts: list[str]) -> None:
    assert list(prompts_for(Module("x", ROOT / "x.py", text))) == prompts
