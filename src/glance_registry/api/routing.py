# SPDX-License-Identifier: Apache-2.0
"""From a path to the row of the table that serves it."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct

from glance_registry.api.errors import MethodNotAllowed
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer
from glance_registry.model.errors import Forbidden, NotFound

Handler = Callable[[Request], Awaitable[Answer]]


class Access(Enum):
    """Who may ask. Which images a caller sees and changes is decided in the model, not here."""

    OPEN = "anybody, and nobody is asked who they are"
    READ = "every caller, the anonymous too"
    WRITE = "every caller with an identity"


class Described(Struct, frozen=True):
    """A body that no type on the wire stands for: its media type and its JSON schema."""

    media_type: str
    schema: Mapping[str, Any]


class Route(Struct, frozen=True, kw_only=True):
    """One row: a GET is also answered to HEAD. `takes` and `answers` are types on the wire, or descriptions."""

    method: str
    path: str
    handler: Handler
    access: Access
    answers: type[Struct] | Described | str | None
    """None: 204, no body."""
    takes: type[Struct] | Described | None = None
    query: tuple[str, ...] = ()
    status: int = 200


def route(method: str, path: str, handler: Handler, access: Access, answers: Any, **more: Any) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        access=access,
        answers=answers,
        status=more.pop("status", 200 if answers else 204),
        **more,
    )


# What can stand for a part of a path; anything else names nothing, and the database is not asked.
_PARTS = {
    "image_id": re.compile(r"[A-Za-z0-9._~-]{1,36}"),
    "tag": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+"),
    "member_id": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}"),
}

_VARIABLE = re.compile(r"\{(\w+)\}")

# "/v2.0/…/v2.N/ are /v2/": the minor versions share their paths.
_MINOR = re.compile(r"/v2\.\d{1,2}(?=/|$)", re.ASCII)
ABSENT = {
    "metadefs": "Metadata definitions are not served here.",
    "tasks": "Tasks are not served here.",
    "cache": "There is no cache of images here.",
    "stores": "Several stores are not supported here.",
    "info": "This is not supported here.",
}
"""Parts of the Images API that clients ask for to see whether they are there."""


class _Shape(NamedTuple):
    """A path with variable parts: the places of these among all the groups of the common pattern, and their names."""

    methods: dict[str, Route]
    parts: tuple[tuple[int, str], ...]


class Router:
    """Finds routes: those without variable parts in one look-up, the others by one pattern."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._shapes: dict[int, _Shape] = {}
        by_path: dict[str, dict[str, Route]] = {}
        patterns: list[str] = []
        groups = 0
        for route in routes:
            by_path.setdefault(route.path, {})[route.method] = route
        for path, methods in by_path.items():
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]
            if "{" not in path:
                self._fixed[path] = methods
                continue
            constant, names = (pieces := _VARIABLE.split(path))[::2], pieces[1::2]
            # The group around a whole path is closed last: its number tells which path it was.
            self._shapes[groups + 1] = _Shape(methods, tuple(enumerate(names, groups + 2)))
            patterns.append(f"({'([^/]*)'.join(map(re.escape, constant))})")
            groups += 1 + len(names)
        self._match = re.compile("|".join(patterns)).fullmatch
        self._serves_images = any(path.startswith("/v2/") for path in by_path)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the path's variable parts. Raises NotFound, Forbidden or MethodNotAllowed."""
        if path.startswith("/v2."):
            path = _MINOR.sub("/v2", path, count=1)
        methods, parts = self._fixed.get(path), dict[str, str]()
        if methods is None:
            methods, parts = self._find_shaped(path)
        if method not in methods:
            raise MethodNotAllowed(method, sorted(methods))
        return methods[method], parts

    def _find_shaped(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        if (found := self._match(path)) and found.lastindex:
            methods, numbers = self._shapes[found.lastindex]
            parts = {name: found[number] for number, name in numbers}
            for name, value in parts.items():
                if not _PARTS[name].fullmatch(value):
                    raise NotFound("Image not found")
            return methods, parts
        given = path.split("/")
        absent = given[2] if len(given) > 2 and given[1] == "v2" and self._serves_images else ""
        # Compat: where there is no Keystone, openstackclient looks projects up here. Refused, it takes what was typed
        # for an id; told that there is none, it stops without a word.
        if absent == "tenants":
            raise Forbidden("Projects cannot be looked up here: say the id of one.")
        raise NotFound(ABSENT.get(absent, "There is nothing at this path."))
