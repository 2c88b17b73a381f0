# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document says what the program does: it equals the route table, and no request makes it a lie."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator, validate
from msgspec import Struct
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.conftest import Client
from tests.options import make_settings
from tests.raw import ask
from tests.speeds import scaled

from glance_registry.api.dialect import Described
from glance_registry.api.openapi import describe
from glance_registry.api.routes import DIALECTS, ROUTES, Access, Route
from glance_registry.api.v2.routes import PATCH, PIECE
from glance_registry.app import build, open_stores

DOCUMENT: dict[str, Any] = json.loads(describe(DIALECTS))
ID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What a PATCH sends is JSON under a name of its own.
schemathesis.serializer.alias(PATCH.media_type, "application/json")
schemathesis.serializer.alias(PIECE.media_type, "application/octet-stream")
LABELS = [f"{route.method} {route.path}" for route in ROUTES if route.path != "/openapi.json"]


def operation(route: Route) -> dict[str, Any]:
    return DOCUMENT["paths"][route.path][route.method.lower()]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any) -> Iterator[dict[str, Any]]:
    """A program for each contract, as schemathesis sees it."""
    seen = {}
    for contract in ("cactus", "queens"):
        path = tmp_path_factory.mktemp("openapi") / "registry.sqlite"
        path.write_bytes(sqlite_template.read_bytes())
        settings = make_settings(
            f"sqlite:///{path}",
            registry__contract=contract,
            allowed_hosts=("testserver",),
            stores__directory=str(path.parent / "images"),
        )
        open_stores(settings).prepare()
        application = build(settings)
        seen[contract] = schemathesis.openapi.from_asgi("/openapi.json", application)
    yield seen
    shutdown_lifespans()


def _mend(case: Any) -> None:
    """Where the document leaves the choice to the contract, choose what both allow, so that more than 400 is seen."""
    image = case.body.get("image") if isinstance(case.body, dict) else None
    if isinstance(image, dict):
        image.update(disk_format="raw", container_format="bare", status="active")
        image.pop("id", None)


@pytest.mark.slow
@pytest.mark.parametrize("contract", ["cactus", "queens"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", LABELS)
def test_every_answer_is_one_that_the_document_describes(
    described: dict[str, Any], contract: str, mode: GenerationMode, label: str
) -> None:
    method, path = label.split(" ")
    described_operation = described[contract][path][method]
    parts = {"image_id": ID} if "{image_id}" in path else {}

    @settings(
        max_examples=scaled(12),
        phases=[Phase.generate],
        database=None,
        suppress_health_check=[HealthCheck.filter_too_much],
    )
    @given(case=described_operation.as_strategy(generation_mode=mode, path_parameters=parts or None))
    def every_answer_conforms(case: Any) -> None:
        _mend(case)
        if parts:
            case.path_parameters["image_id"] = _new_image(described[contract])
        case.call_and_validate(checks=CHECKS)

    try:
        every_answer_conforms()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # Nothing in this request can be wrong.


def _new_image(described_program: Any) -> str:
    body = {"image": {"disk_format": "raw", "container_format": "bare"}}
    answer = described_program["/images"]["POST"].Case(body=body, media_type="application/json").call()
    return answer.json()["image"]["id"]


def test_the_document_has_every_route_and_nothing_else() -> None:
    listed = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}

    assert listed == {(route.path, route.method) for route in ROUTES}
    assert len(listed) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_operation_says_what_its_route_takes_and_answers(route: Route) -> None:
    described = operation(route)
    answered = described["responses"][str(route.status)].get("content")

    assert answered == _expected_content(route.answers)
    assert described.get("requestBody", {}).get("content") == _expected_content(route.takes)
    assert {part["name"] for part in described["parameters"] if part["in"] == "query"} == set(route.query)
    assert {f"{{{part['name']}}}" for part in described["parameters"] if part["in"] == "path"} == {
        segment for segment in route.path.split("/") if segment.startswith("{")
    }
    assert described["summary"].endswith(".")


def _expected_content(kind: Any) -> Any:
    if kind is None:
        return None
    if isinstance(kind, type) and issubclass(kind, Struct):
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}
    if isinstance(kind, Described):
        return {kind.media_type: {"schema": kind.schema}}
    return {kind: {"schema": {"type": "string" if kind.startswith("text/") else "object"}}}


STRUCTURE = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"required": ["title", "version"], "properties": {"license": {"required": ["name"]}}},
        "components": {"properties": {"schemas": {"propertyNames": {"pattern": r"^[a-zA-Z0-9._-]+$"}}}},
        "paths": {
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "propertyNames": {"enum": ["get", "post", "put", "patch", "delete"]},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
    },
    "$defs": {
        "operation": {
            "required": ["operationId", "responses", "parameters"],
            "properties": {
                "parameters": {"items": {"$ref": "#/$defs/parameter"}, "uniqueItems": True},
                "requestBody": {"required": ["content"], "properties": {"content": {"$ref": "#/$defs/content"}}},
                "responses": {
                    "minProperties": 1,
                    "propertyNames": {"pattern": r"^[1-5]\d\d$"},
                    "additionalProperties": {
                        "required": ["description"],
                        "properties": {"content": {"$ref": "#/$defs/content"}},
                    },
                },
            },
        },
        "parameter": {
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["path", "query"]}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"required": ["required"], "properties": {"required": {"const": True}}},
        },
        "content": {
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z]+/[a-z0-9.-]+$"},
            "additionalProperties": {"required": ["schema"]},
        },
    },
}


def test_the_document_is_openapi_3_1() -> None:
    identifiers = [operation(route)["operationId"] for route in ROUTES]

    validate(DOCUMENT, STRUCTURE)
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    assert len(set(identifiers)) == len(identifiers)
    for component in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(component)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_every_type_of_the_document_is_described_and_used() -> None:
    described = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}

    assert set(_references(DOCUMENT)) == described


@pytest.mark.parametrize("route", [route for route in ROUTES if route.access is not Access.OPEN])
@pytest.mark.parametrize("times", [1, 2], ids=["forged", "doubled"])
def test_the_refusals_of_an_identity_mode_are_in_the_document(sqlite_database: str, route: Route, times: int) -> None:
    trusted = ("192.0.2.1",) if times == 1 else ("127.0.0.1",)
    client = Client(make_settings(sqlite_database, identity__mode="context", identity__trusted_addresses=trusted))
    path = route.path.replace("{image_id}", ID).replace("{member_id}", "somebody").replace("{upload_id}", "0" * 32)

    answer = ask(client, route.method, path, headers=[(b"x-identity-status", b"Confirmed")] * times)
    client.close()

    assert answer.status == (403 if times == 1 else 400)
    assert str(int(answer.status)) in operation(route)["responses"]


def test_the_document_is_served_as_it_is_built(sqlite_client: Client) -> None:
    assert sqlite_client.get("/openapi.json").json() == DOCUMENT
