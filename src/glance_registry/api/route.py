# SPDX-License-Identifier: Apache-2.0
"""One row of the route table; each dialect has its rows in a module of its own."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from glance_registry.api.answer import Answer
from glance_registry.api.request import Request

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
