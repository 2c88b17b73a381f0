# SPDX-License-Identifier: Apache-2.0
"""The API's description, an OpenAPI 3.1 document, built from the route table and the types on the wire."""

import inspect
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from glance_registry.api.registry.member_wire import MemberRequest
from glance_registry.api.routing import Access, Described, Route
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS

_QUERY: dict[str, tuple[str, dict[str, Any]]] = {
    "limit": ("At most this many images; 0 is an empty page.", {"type": "integer", "minimum": 0}),
    "marker": ("The id of the last image of the page before.", {"type": "string"}),
    "sort_key": ("The field to sort by.", {"enum": list(SORT_KEYS)}),
    "name": ("Images of this name.", {"type": "string"}),
    "status": ("Images in this status.", {"type": "string"}),
    "container_format": ("Images in this container format.", {"type": "string"}),
    "disk_format": ("Images in this disk format.", {"type": "string"}),
    "min_ram": ("Images that need this much memory, in MiB.", {"type": "integer", "minimum": 0}),
    "min_disk": ("Images that need this much disk, in GiB.", {"type": "integer", "minimum": 0}),
    "size_min": ("Images of at least this many bytes.", {"type": "integer", "minimum": 0}),
    "size_max": ("Images of at most this many bytes.", {"type": "integer", "minimum": 0}),
    "protected": ("Images that are, or are not, protected.", {"type": "boolean"}),
    "changes-since": (
        "Images changed after this time, deleted ones included.",
        {"type": "string", "format": "date-time"},
    ),
    "is_public": ("For admins: true, false, or None for all images.", {"enum": ["True", "False", "None"]}),
    "deleted": ("For admins: deleted images alone, or none of them.", {"type": "boolean"}),
    "sort": ("Keys and directions: name:asc,size:desc.", {"type": "string"}),
    "id": ("The image with this id, or in:… some of these.", {"type": "string"}),
    "os_hidden": ("Hidden images alone; left out: the others alone.", {"type": "boolean"}),
    "owner": ("Images of this project.", {"type": "string"}),
    "visibility": (
        "Images of this visibility, or all that the caller may list.",
        {"enum": ["public", "community", "shared", "private", "all"]},
    ),
    "member_status": (
        "Of the images shared with the caller's project, those that it has met so.",
        {"enum": ["pending", "accepted", "rejected", "all"]},
    ),
    "q": ("Images with all these words, or words that begin so, in name, tags or property values.", {"type": "string"}),
    "tag": ("Images with this tag; repeatable.", {"type": "string"}),
    "created_at": ("Images registered then, or gt:, gte:, lt:, lte:, neq: that time.", {"type": "string"}),
    "updated_at": ("Images changed then, or gt:, gte:, lt:, lte:, neq: that time.", {"type": "string"}),
    "sort_dir": ("The direction to sort in.", {"enum": list(SORT_DIRECTIONS)}),
}

_ERRORS = {
    "400": "The request cannot be right; the body says which field.",
    "401": "The caller must say who it is, in modes http_basic and keystone.",
    "403": "The caller may not do this.",
    "404": "There is no such image.",
    "409": "The request contradicts what the catalogue holds.",
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
    "PUT": ("400", "403", "404", "409", "412", "413", "415", "507"),
    "PATCH": ("400", "403", "404", "409", "412", "413", "415", "507"),
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


def describe(routes: Iterable[Route]) -> bytes:
    """The document, as JSON."""
    listed = tuple(routes)
    types = {kind for route in listed for kind in (route.takes, route.answers) if _is_wire_type(kind)}
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Glance Registry", "version": version("glance-registry"), "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR_SCHEMA}},
    }
    return msgspec.json.encode(document)


def _is_wire_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _operation(route: Route, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": inspect.cleandoc(route.handler.__doc__ or "").partition("\n")[0],
        "parameters": _parameters(route),
        "responses": {str(route.status): {"description": "Done.", **_content(route.answers, schemas)}},
    }
    asked = () if route.access is Access.OPEN else _BY_IDENTITY
    for status in sorted({*_EVERY_ROUTE, *asked, *_BY_METHOD[route.method]}):
        operation["responses"][status] = {
            "description": _ERRORS[status],
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
            },
        }
    if route.takes is not None:
        operation["requestBody"] = {"required": route.takes is not MemberRequest, **_content(route.takes, schemas)}
    return operation


def _identifier(route: Route) -> str:
    """The dialects have handlers of the same name; `/v2` and `/v2/` the same handler."""
    suffix = {"/v2": "_v2", "/v2/": "_v2_with_slash"}
    return route.handler.__name__ + ("_v2" if route.path.startswith("/v2/images") else suffix.get(route.path, ""))


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    return [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
        *(
            {"name": name, "in": "query", "description": _QUERY[name][0], "schema": _QUERY[name][1]}
            for name in route.query
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
