# SPDX-License-Identifier: Apache-2.0
"""A dialect: one API over the catalogue, as everything outside its package knows it."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from glance_registry.api.errors import negotiated_error
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header
from glance_registry.model.errors import NotFound, RegistryError
from glance_registry.settings import Settings

Handler = Callable[[Request], Awaitable[Answer]]
RenderError = Callable[[HTTPStatus, str, Sequence[Header], str], Answer]
"""From status, sentence, headers that belong to the error and the request's Accept header to an answer."""


class Access(Enum):
    """Who may call. The model decides which images a caller sees and changes."""

    OPEN = "everyone; the caller is not identified"
    READ = "every caller, anonymous ones too"
    WRITE = "every caller with an identity"


class Described(Struct, frozen=True):
    """A body without a type on the wire: its media type and its JSON schema."""

    media_type: str
    schema: Mapping[str, Any]


class Route(Struct, frozen=True, kw_only=True):
    """A method and a path; a GET route also answers HEAD. `takes` and `answers` describe the bodies."""

    method: str
    path: str
    handler: Handler
    access: Access
    answers: type[Struct] | Described | str | None
    """None: 204, no body."""
    takes: type[Struct] | Described | None = None
    body_optional: bool = False
    takes_bytes: bool = False
    """Whether the body is an image's bytes, of any length."""
    query: tuple[str, ...] = ()
    status: int = 200
    operation_id: str = ""
    """In the API's description; empty: the handler's name."""


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


class PathPart(Struct, frozen=True):
    """The rule for a variable part of a path. Any other value is answered 404 without a look into the database."""

    pattern: re.Pattern[str]
    not_found: str
    """The sentence of that answer."""


class Parameter(Struct, frozen=True):
    """A parameter in the query of a URL, as the API's description has it."""

    description: str
    schema: Mapping[str, Any]


def nothing_here(path: str) -> RegistryError:  # noqa: ARG001 - a `Dialect.not_found`
    """The error for a path of which nothing is known."""
    return NotFound("There is nothing at this path.")


def _unchanged(path: str) -> str:
    return path


class Dialect(Struct, frozen=True, kw_only=True):
    """The routes of one API, and what it answers when a request fails."""

    name: str
    routes: tuple[Route, ...]
    prefix: str = ""
    """A request that fails is answered by the dialect with the longest prefix that its path begins with."""
    path_parts: Mapping[str, PathPart] = {}
    """By the names that the paths of routes have in braces."""
    render_error: RenderError = negotiated_error
    normalize: Callable[[str], str] = _unchanged
    """From a path that is no route's to the one that it stands for."""
    not_found: Callable[[str], RegistryError] = nothing_here
    """The error for a path, after `normalize`, that no route serves."""
    parameters: Mapping[str, Parameter] = {}
    """By the names in the routes' `query`."""
    described: bool = True
    """Whether the API's description has these routes."""
    prepare: Callable[[Settings], Any] | None = None
    """What handlers need of the settings, made once at the start; `Registry.prepared` has it by its type."""
