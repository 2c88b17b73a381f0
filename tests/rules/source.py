# SPDX-License-Identifier: Apache-2.0
"""The project's source files, parsed, for the rules to read."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parents[2]
PACKAGE = "glance_registry"
SOURCE = ROOT / "src" / PACKAGE


class Module(Struct, frozen=True):
    """One file. `name` is the dotted name without the package: `api.registry.wire`; the package itself is ''."""

    name: str
    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path, self.text)

    @property
    def place(self) -> str:
        """The first part of the name: a layer, or a module on top of them."""
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[str]:
        """Every module that this one imports, anywhere in it; of `from x import y` both x and x.y."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        yield from (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def classes(self) -> Iterator[ast.ClassDef]:
        yield from (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


@cache
def _parsed(path: Path, text: str) -> ast.Module:
    return ast.parse(text, str(path))


def _module(path: Path) -> Module:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return Module(".".join(part for part in parts if part != "__init__"), path, path.read_text())


MODULES = [_module(path) for path in sorted(SOURCE.rglob("*.py"))]
NAMES = {module.name for module in MODULES}


def ours(module: Module) -> set[str]:
    """The names of our own modules that a module imports."""
    prefix = PACKAGE + "."
    return {name.removeprefix(prefix) for name in module.imports() if name.startswith(prefix)} & (NAMES - {""})


def foreign(module: Module) -> set[str]:
    """The top-level names of everything else that it imports."""
    return {name.partition(".")[0] for name in module.imports()} - {PACKAGE}
