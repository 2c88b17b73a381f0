# SPDX-License-Identifier: Apache-2.0
"""From a path to the row of the table that serves it."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from glance_registry.api.dialect import Dialect, Route
from glance_registry.api.errors import MethodNotAllowed
from glance_registry.model.errors import NotFound

_VARIABLE = re.compile(r"\{(\w+)\}")
_NO_DIALECT = Dialect(name="none", routes=())


class _Part(NamedTuple):
    """A variable part of a path: its group in the common pattern, and its rule."""

    group: int
    name: str
    fits: Callable[[str], object]
    not_found: str


class _Path(NamedTuple):
    """A path with variable parts."""

    methods: dict[str, Route]
    parts: tuple[_Part, ...]


Found = tuple[dict[str, Route], dict[str, str]]
"""The routes of a path by method, and the values of its variable parts."""


class Router:
    """Finds routes: those without variable parts in one look-up, the others by one pattern."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        served = tuple(dialects)
        self._dialects = sorted((*served, _NO_DIALECT), key=lambda dialect: len(dialect.prefix), reverse=True)
        self._fixed: dict[str, dict[str, Route]] = {}
        self._variable: dict[int, _Path] = {}
        patterns: list[str] = []
        groups = 0
        for dialect in served:
            for path, methods in _by_path(dialect).items():
                if "{" not in path:
                    self._fixed[path] = methods
                    continue
                constant, names = (pieces := _VARIABLE.split(path))[::2], pieces[1::2]
                rules = [(name, dialect.path_parts[name]) for name in names]
                parts = (
                    _Part(group, name, rule.pattern.fullmatch, rule.not_found)
                    for group, (name, rule) in enumerate(rules, groups + 2)
                )
                # The group around a whole path is closed last: its number tells which path it was.
                self._variable[groups + 1] = _Path(methods, tuple(parts))
                patterns.append(f"({'([^/]*)'.join(map(re.escape, constant))})")
                groups += 1 + len(names)
        self._match = re.compile("|".join(patterns)).fullmatch

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the path's variable parts. Raises MethodNotAllowed, NotFound, or what the dialect raises."""
        found = self._find(path)
        if found is None:
            dialect = self.dialect_of(path)
            normal = dialect.normalize(path)
            found = self._find(normal)
            if found is None:
                raise dialect.not_found(normal)
        methods, parts = found
        if method not in methods:
            raise MethodNotAllowed(method, sorted(methods))
        return methods[method], parts

    def dialect_of(self, path: str) -> Dialect:
        """The dialect that answers a request for this path when it fails."""
        return next(dialect for dialect in self._dialects if path.startswith(dialect.prefix))

    def _find(self, path: str) -> Found | None:
        methods = self._fixed.get(path)
        if methods is not None:
            return methods, {}
        match = self._match(path)
        if match is None or not match.lastindex:
            return None
        variable = self._variable[match.lastindex]
        values: dict[str, str] = {}
        for group, name, fits, not_found in variable.parts:
            value = values[name] = match[group]
            if not fits(value):
                raise NotFound(not_found)
        return variable.methods, values


def _by_path(dialect: Dialect) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in dialect.routes:
        found.setdefault(route.path, {})[route.method] = route
    for methods in found.values():
        if "GET" in methods:
            methods["HEAD"] = methods["GET"]
    return found
