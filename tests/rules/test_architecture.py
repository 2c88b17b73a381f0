# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md: everything that the page names exists, and every module is in its tree."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.rules.source import MODULES, NAMES, ROOT, SOURCE, Module

PAGE = ROOT / "docs" / "architecture.md"
TREE_ROOT = "src/glance_registry/"


@cache
def page() -> str:
    return PAGE.read_text()


def tree_paths(text: str) -> Iterator[str]:
    """The files and folders of the tree on the page, relative to the package: 'cli/', 'cli/main.py'."""
    tree = text.partition(f"```\n{TREE_ROOT}\n")[2].partition("```")[0]
    folders: list[tuple[int, str]] = []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        prefix = folders[-1][1] if folders else ""
        # The names stand first, with one blank between them; the words about them follow after two.
        for name in re.split(r" {2,}", line.strip())[0].split():
            yield prefix + name
            if name.endswith("/"):
                folders.append((indent, prefix + name))


def named_paths(text: str) -> set[str]:
    """What the prose names in backticks as a file or a folder."""
    return {name for name in spans(text) if re.fullmatch(r"[\w/.-]+(/|\.py|\.md)", name)}


def named_symbols(text: str) -> set[str]:
    """What the prose names in backticks as `module.name` or `module.Class.name`."""
    return {name for name in spans(text) if re.fullmatch(r"[a-zA-Z_][\w.]*\.\w+", name)} - named_paths(text)


def named_words(text: str) -> set[str]:
    """What the prose names in backticks by one word: a column, a table."""
    return {name for name in spans(text) if re.fullmatch(r"\w+", name)}


def spans(text: str) -> list[str]:
    """Everything in single backticks outside blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def defined_names(module: Module) -> set[str]:
    """Top-level functions, classes, constants, and `Class.member`, as they stand in the source."""
    names: set[str] = set()
    for node in module.tree.body:
        names |= _names(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for child in node.body for name in _names(child)}
    return names


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def exists(symbol: str) -> bool:
    """Whether `api.asgi.Application` (or `asgi.Application`, when only one module has that end) is defined."""
    parts = symbol.split(".")
    for length in range(1, len(parts)):
        end, name = ".".join(parts[:length]), ".".join(parts[length:])
        for module in MODULES:
            if (module.name == end or module.name.endswith("." + end)) and name in defined_names(module):
                return True
    return symbol in NAMES


def test_the_tree_names_what_is_there() -> None:
    missing = [path for path in tree_paths(page()) if not (SOURCE / path).exists()]

    assert missing == []


def test_every_module_is_in_the_tree() -> None:
    named = set(tree_paths(page()))
    modules = {str(module.path.relative_to(SOURCE)) for module in MODULES if module.path.stem[:2] != "__"}

    # A step of the schema is found by its folder.
    expected = {path for path in modules if not path.startswith("catalogue/migrations/")}

    assert sorted(expected - named) == []


@pytest.mark.parametrize("path", sorted(named_paths(page())))
def test_a_named_file_exists(path: str) -> None:
    assert any((base / path).exists() for base in (SOURCE, ROOT, PAGE.parent)), path


@pytest.mark.parametrize("symbol", sorted(named_symbols(page())))
def test_a_named_function_or_class_exists(symbol: str) -> None:
    assert exists(symbol), symbol


@pytest.mark.parametrize("word", sorted(named_words(page())))
def test_a_named_table_or_column_exists(word: str) -> None:
    assert re.search(rf'"{word}"', (SOURCE / "catalogue" / "tables.py").read_text()), word


def shown_code(text: str) -> list[tuple[str, str]]:
    """Blocks of Python, each with the file that the line before it names."""
    return re.findall(r"`([\w/]+\.py)`[^\n]*\n\n```python\n(.*?)```", text, re.DOTALL)


def test_the_page_shows_code() -> None:
    assert shown_code(page()) != []
    assert len(shown_code(page())) == page().count("```python")


@pytest.mark.parametrize(("path", "code"), shown_code(page()), ids=lambda value: Path(value.partition("\n")[0]).name)
def test_shown_code_is_the_source(path: str, code: str) -> None:
    assert code in (SOURCE / path).read_text(), f"{path} has changed: show its new text in {PAGE.name}"


def test_a_symbol_that_is_not_defined_is_noticed() -> None:
    assert exists("model.access.Caller")
    assert not exists("model.access.Nobody")


def test_a_name_in_the_tree_is_read_with_its_folder() -> None:
    tree = "  app.py      words\n\n  cli/        words, more.py\n    main.py tls.py   words\n  log.py\n"
    text = f"```\n{TREE_ROOT}\n{tree}```\n"

    assert list(tree_paths(text)) == ["app.py", "cli/", "cli/main.py", "cli/tls.py", "log.py"]
