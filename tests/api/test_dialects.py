# SPDX-License-Identifier: Apache-2.0
"""Dialects: each is served, or none of its paths is there; and the shell serves one that it has never heard of."""

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from itertools import product

import httpx
import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api.asgi import Application
from glance_registry.api.dialect import Access, Dialect, PathPart, route
from glance_registry.api.host_check import HostCheck
from glance_registry.api.identity import anyone
from glance_registry.api.registry.routes import DIALECT as REGISTRY
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, text_answer
from glance_registry.app import build
from glance_registry.model.errors import Invalid, NotFound
from glance_registry.settings import load

PATHS = {
    "registry": ["/images", "/images/detail", "/images/1", "/images/1/members", "/shared-images/p"],
    "images": ["/", "/versions", "/v2", "/v2/", "/v2/images", "/v2/images/1", "/v2.1/images", "/v2/schemas/image",
               "/v2/info/import", "/v2/tenants/p"],
    "pages": ["/ui", "/ui/images/1"],
}  # fmt: skip
COMBINATIONS = [dict(zip(PATHS, on, strict=True)) for on in product([True, False], repeat=3)][:-1]
ALWAYS = ["/healthcheck", "/metrics", "/openapi.json"]


@pytest.mark.parametrize(
    "switches", [dict(zip(PATHS, on, strict=True)) for on in product([True, False], repeat=3)][:-1]
)
def test_a_dialect_that_is_off_has_no_path(sqlite_database: str, switches: dict[str, bool]) -> None:
    client = Client(make_settings(sqlite_database, **{f"api__{name}": on for name, on in switches.items()}))
    answers = {path: client.get(path) for name in PATHS for path in PATHS[name]}
    described = json.loads(client.get("/openapi.json").content)["paths"]
    always = [client.get(path).status_code for path in ALWAYS]
    client.close()

    there = {path for path, answer in answers.items() if "nothing at this path" not in answer.text}
    assert there == {path for name, on in switches.items() if on for path in PATHS[name]}
    assert {answers[path].status_code for path in answers.keys() - there} <= {404}
    assert always == [200, 200, 200]
    assert ("/images" in described, "/v2/images" in described) == (switches["registry"], switches["images"])


def test_a_server_that_would_serve_nothing_does_not_start(sqlite_database: str) -> None:
    with pytest.raises(Invalid, match=r"\[api\] registry, images and pages"):
        build(make_settings(sqlite_database, api__registry=False, api__images=False, api__pages=False))


def test_the_old_name_of_the_switch_of_the_pages_still_counts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "old.conf"
    file.write_text("[ui]\nenabled = false\n")

    assert load([str(file)]).settings.api.pages is False


async def show_toy(request: Request) -> Answer:
    """Answers with what it was given; some names are refused, one is a fault."""
    name = request.parts["name"]
    if name == "bear":
        raise Invalid("Bears are not toys.")
    return text_answer(f"toy {name} of {request.caller.user or 'nobody'}, {len(name) // (name != 'fault')}")


def toy_error(status: HTTPStatus, sentence: str, headers: Sequence[Header], accept: str) -> Answer:
    return Answer(f"<{status.value} {sentence} {accept}>".encode(), b"text/toy", status, headers)


TOY = Dialect(
    name="toy",
    prefix="/toy",
    routes=(route("GET", "/toy/{name}", show_toy, Access.READ, "text/plain"),),
    path_parts={"name": PathPart(re.compile("[a-z]{1,9}"), "No toy has such a name.")},
    render_error=toy_error,
    normalize=lambda path: path.replace("/toys/", "/toy/"),
    not_found=lambda path: NotFound(f"{path} is no toy."),
)


@pytest.fixture
def toys(sqlite_client: Client) -> Client:
    """An application that serves the toys and the Registry API; the shell knows nothing of toys."""
    client = sqlite_client
    client.runner.run(client.http.aclose())
    application = Application(client.application.open, HostCheck(["toys.test"]), anyone, [TOY, REGISTRY])
    client.http = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://toys.test")
    return client


def test_a_dialect_of_its_own_serves_requests(toys: Client) -> None:
    answer = toys.get("/toy/train")
    head = toys.request("HEAD", "/toy/train")

    assert (answer.status_code, answer.text) == (200, "toy train of nobody, 5")
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert toys.get("/toys/train").text == answer.text


@pytest.mark.parametrize(
    ("method", "path", "host", "status", "sentence"),
    [
        ("GET", "/toy/a/b", "toys.test", 404, "/toy/a/b is no toy."),
        ("GET", "/toy/far-too-long", "toys.test", 404, "No toy has such a name."),
        ("PUT", "/toy/train", "toys.test", 405, "Method PUT is not allowed here; allowed: GET, HEAD."),
        ("GET", "/toy/bear", "toys.test", 400, "Bears are not toys."),
        ("GET", "/toy/train", "evil.test", 421, "The registry is not served under the name 'evil.test'."),
        ("GET", "/toy/fault", "toys.test", 500, "The registry failed to answer; its log has the cause under req-"),
    ],
)
def test_a_dialect_of_its_own_says_in_its_own_form_what_went_wrong(
    toys: Client, method: str, path: str, host: str, status: int, sentence: str
) -> None:
    answer = toys.request(method, path, headers={"Host": host, "Accept": "text/doll"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/toy")
    assert answer.text.startswith(f"<{status} {sentence}")
    assert answer.text.endswith(" text/doll>")
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert toys.request("HEAD", path, headers={"Host": host}).content == b""


def test_another_dialect_answers_as_before_beside_it(toys: Client) -> None:
    assert toys.get("/images").json() == {"images": []}
    assert toys.get("/images/x").text == "Image not found\n"
    assert toys.get("/tin").text == "There is nothing at this path.\n"
    assert toys.get("/v2/images").headers["content-type"].startswith("text/plain")
