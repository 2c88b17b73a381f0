# SPDX-License-Identifier: Apache-2.0
"""What every file must have, and what no name may be. Sizes are no rules: see tests/prompts.py."""

import re
from pathlib import Path

import pytest
from tests.rules.source import MODULES, ROOT, Module

BANNED = {"manager", "helper", "util", "service", "proxy", "data", "info"}
SPDX = "# SPDX-License-Identifier: Apache-2.0"

OTHERS = [path for folder in ("tests", "bench", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]
by_name = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "package")
everywhere = pytest.mark.parametrize(
    "path", [*(module.path for module in MODULES), *OTHERS], ids=lambda path: str(path.relative_to(ROOT))
)


@everywhere
def test_a_file_begins_with_its_licence(path: Path) -> None:
    lines = path.read_text().splitlines()

    assert not lines or next(line for line in lines if not line.startswith("#!")) == SPDX


def words(name: str) -> set[str]:
    """The words of a name in either spelling, in lower case and singular."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower().removesuffix("s") for part in parts} | {part.lower() for part in parts}


@by_name
def test_no_name_is_an_empty_word(module: Module) -> None:
    names = [module.path.stem, *(node.name for node in (*module.functions(), *module.classes()))]

    assert [name for name in names if words(name) & BANNED] == []


@pytest.mark.parametrize(
    ("name", "is_banned"),
    [("ImageManager", True), ("string_utils", True), ("InfoView", True), ("HTTPProxy", True), ("database", False)],
)
def test_a_banned_word_is_found_in_either_spelling(name: str, is_banned: bool) -> None:
    assert bool(words(name) & BANNED) == is_banned
