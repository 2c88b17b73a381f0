# SPDX-License-Identifier: Apache-2.0
"""The API's description, an OpenAPI 3.1 document, built from the dialects' routes and the types on the wire."""

import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from glance_registry.api.dialect import Access, Described, Dialect, Parameter, Route

_ERRORS = {
    "400": "The request cannot be right; the body says which field.",
    "401": "The caller must say who it is, in modes http_basic and keystone.",
    "403": "The caller may not do this.",
    "404": "There is no such image.",
    "409": "The request contradicts what the catalogue holds.",
    "410": "What the request was about was removed while it ran.",
    "412": "The image, or the membership, is another than If-Match names.",
    "413": "The body is too large.",
    "415": "The body's Content-Type is not understood; Accept-Patch says which are.",
    "421": "The registry is not served under the name in Host.",
    "429": "Too many wrong passwords from this address, in mode http_basic; Retry-After says when to try again.",
    "503": "The database does not answer; try again.",
    "507": "The database has no room left.",
}
_EVERY_ROUTE = ("421", "503")
_BY_IDENTITY = ("401", "403", "429")
_BY_METHOD = {
    "GET": ("400", "403", "404"),
    "POST": ("400", "403", "404", "409", "412", "413", "507"),
    "PUT": ("400", "403", "404", "409", "410", "412", "413", "415", "507"),
    "PATCH": ("400", "403", "404", "409", "410", "412", "413", "415", "507"),
    "DELETE": ("400", "403", "404", "409", "412", "507"),
}

_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "title": {"type": "string"},
                "message": {"type": "string"},
            },
            "required": ["code", "title", "message"],
        }
    },
    "required": ["error"],
}


def describe(dialects: Iterable[Dialect]) -> bytes:
    """The document, as JSON."""
    listed = [(dialect, route) for dialect in dialects if dialect.described for route in dialect.routes]
    types = {kind for _, route in listed for kind in (route.takes, route.answers) if _is_wire_type(kind)}
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for dialect, route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, dialect.parameters, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Glance Registry", "version": version("glance-registry"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR_SCHEMA}},
    }
    return msgspec.json.encode(document)


def _is_wire_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _operation(route: Route, parameters: Mapping[str, Parameter], schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id or route.handler.__name__,
        "summary": inspect.cleandoc(route.handler.__doc__ or "").partition("\n")[0],
        "parameters": _parameters(route, parameters),
        "responses": {str(route.status): {"description": "Done.", **_content(route.answers, schemas)}},
    }
    by_identity = () if route.access is Access.OPEN else _BY_IDENTITY
    for status in sorted({*_EVERY_ROUTE, *by_identity, *_BY_METHOD[route.method]}):
        operation["responses"][status] = {
            "description": _ERRORS[status],
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
            },
        }
    if route.takes is not None:
        operation["requestBody"] = {"required": not route.body_optional, **_content(route.takes, schemas)}
    return operation


def _parameters(route: Route, parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    in_path = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    in_query = [(name, parameters[name]) for name in route.query]
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
        *(
            {"name": name, "in": "query", "description": found.description, "schema": found.schema}
            for name, found in in_query
        ),
    ]


def _content(kind: type[Struct] | Described | str | None, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if kind is None:
        return {}
    if isinstance(kind, Described):
        return {"content": {kind.media_type: {"schema": kind.schema}}}
    if isinstance(kind, str):
        return {"content": {kind: {"schema": {"type": "string" if kind.startswith("text/") else "object"}}}}
    return {"content": {"application/json": {"schema": schemas[kind]}}}
