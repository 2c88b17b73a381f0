# SPDX-License-Identifier: Apache-2.0
"""What holds for every path and method: the route table, bodies that are too large, request ids, the form of errors."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from tests.conftest import Client, PostgreSQL
from tests.options import make_settings
from tests.raw import Body, Header, RawAnswer, ask

from glance_registry.api.dialect import Described
from glance_registry.api.request import MAX_DRAINED_BYTES
from glance_registry.api.routes import ROUTES, Route

VALID = {"name": "natty", "disk_format": "raw", "container_format": "bare"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "")
PATHS = sorted({route.path for route in ROUTES})
MEBIBYTE = 1_048_576
WITH_BODY = [route for route in ROUTES if route.takes is not None and not route.takes_bytes]
"""Those whose body is read as a whole. The bytes of an image are not: tests/api/v2/test_v2_file.py."""
WITH_BYTES = [route for route in ROUTES if route.takes_bytes]
OF_A_PIECE = [(b"upload-offset", b"0"), (b"upload-complete", b"?0")]


def of_bytes(route: Route) -> list[Header]:
    """The headers with which a route takes bytes."""
    assert isinstance(route.takes, Described)
    assert isinstance(route.takes.media_type, str)
    return [(b"content-type", route.takes.media_type.encode()), *OF_A_PIECE]


def filled(path: str) -> str:
    return path.replace("{image_id}", "one").replace("{member_id}", "somebody").replace("{upload_id}", "0" * 32)


def allowed(path: str) -> set[str]:
    methods = {route.method for route in ROUTES if route.path == path}
    return methods | {"HEAD"} if "GET" in methods else methods


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("path", PATHS)
def test_every_other_method_is_405_and_allow_names_the_right_ones(sqlite_client: Client, path: str) -> None:
    for method in METHODS:
        answer = ask(sqlite_client, method, filled(path))
        if method in allowed(path):
            assert answer.status != 405, method
        else:
            assert answer.status == 405, method
            assert set((answer.header(b"allow") or b"").decode().split(", ")) == allowed(path)


NOWHERE = [
    *("/nothing", "//images", "/images/", "/IMAGES", "/images/detail/", "/images/one/members/", "images", "*"),
    *("/images/one/members/a/b", "/v1/images", "/images/\0", "/images/a\0b", "/images//", "/images/a/b", "/images/a b"),
    *("/images/ä", "/images/%2F", "/images/..", "/images/" + "x" * 37, "/images/" + "x" * 100_000, "/" * 10_000),
    *("/images/\udcff", "/\udcff\udcfe", "/images/one/members/\0", "/shared-images/\0", "/shared-images/", "/?", ""),
    "/shared-images/" + "x" * 256,
]


@pytest.mark.parametrize("path", NOWHERE, ids=lambda path: ascii(path[:40]))
def test_a_path_that_names_nothing_is_404(client: Client, path: str) -> None:
    client.add(id="one")

    assert ask(client, "GET", path).status == 404
    assert ask(client, "DELETE", path).status in (404, 405)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=name_of)
def test_head_is_get_without_the_body(client: Client, route: Route) -> None:
    client.add(id="one", properties={"a": "1"})
    path = filled(route.path)
    ask(client, "GET", path)
    ask(client, "HEAD", path)
    sent = [(b"x-openstack-request-id", b"same")]

    shown, head = ask(client, "GET", path, headers=sent), ask(client, "HEAD", path, headers=sent)

    assert head.body == b""
    assert shown.body != b""
    assert head.status == shown.status
    if route.path != "/metrics":  # It has counted one more request.
        assert head.headers == shown.headers


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_an_endless_body_is_refused_as_soon_as_it_is_too_large(client: Client, route: Route) -> None:
    client.add(id="one")
    # As good as endless, without filling the machine should the limit ever be gone.
    body = Body(itertools.repeat(b" " * 10_000, 3_000))

    answer = ask(client, route.method, filled(route.path), body=body)

    assert answer.status == 413
    assert MEBIBYTE < body.taken <= MEBIBYTE + 10_000


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(client: Client, route: Route) -> None:
    client.add(id="one")
    body = Body(itertools.repeat(b" " * 10_000, 3_000))

    answer = ask(
        client, route.method, filled(route.path), body=body, headers=[(b"content-length", b"%d" % (MEBIBYTE + 1))]
    )

    assert answer.status == 413
    assert body.taken == 0


@pytest.mark.parametrize("route", WITH_BYTES, ids=name_of)
@pytest.mark.parametrize("content_type", [b"text/plain", None], ids=["another type", "the right type"])
def test_of_bytes_that_are_refused_no_more_is_read_than_a_client_must_send_to_see_why(
    sqlite_client: Client, route: Route, content_type: bytes | None
) -> None:
    sqlite_client.add(id="one")  # It is active.
    body = Body(itertools.repeat(b" " * 10_000, 3_000))

    headers = [(b"content-type", content_type)] if content_type else of_bytes(route)
    answer = ask(sqlite_client, route.method, filled(route.path), body=body, headers=headers)

    # The image has no such upload; and who sends a file is told that the image is active.
    assert answer.status == (415 if content_type else 404 if "{upload_id}" in route.path else 409)
    assert MAX_DRAINED_BYTES < body.taken <= MAX_DRAINED_BYTES + 10_000


def test_a_body_of_the_largest_size_is_taken(client: Client) -> None:
    body = json.dumps({"image": VALID}).encode().ljust(MEBIBYTE)

    assert ask(client, "POST", "/images", body=body, headers=[(b"content-length", b"%d" % len(body))]).status == 200
    assert ask(client, "POST", "/images", body=body + b" ").status == 413


@pytest.mark.parametrize("length", [b"", b"-1", b"abc", b"1e9", b"\xb2", b"0x10", b"1" * 5000, b"0" * 30 + b"9" * 30])
def test_a_senseless_content_length_breaks_nothing(client: Client, length: bytes) -> None:
    answer = ask(
        client, "POST", "/images", body=json.dumps({"image": VALID}).encode(), headers=[(b"content-length", length)]
    )

    assert answer.status in (200, 413)


def test_a_client_that_hangs_up_in_the_middle_of_its_body_registers_nothing(client: Client) -> None:
    class HungUp(Body):
        async def receive(self) -> dict[str, Any]:
            message = await super().receive()
            return message if message["body"] else {"type": "http.disconnect"}

    ask(client, "POST", "/images", body=HungUp([json.dumps({"image": {**VALID, "is_public": True}}).encode()]))

    assert client.get("/images").json() == {"images": []}


SANE_IDS = [b"a", b"req-3fa85f64-5717-4562-b3fc-2c963f66afa6", b"A.b_c:d-9", b"x" * 128]
HOSTILE_IDS = [
    *(b"", b" ", b"a b", b"x" * 129, b"x" * 10_240, b"a\r\nset-cookie: a=b", b"a\n", b"\0"),
    *("ä".encode(), b"\xff", b'"', b"{}", b"%0d%0a", b"a,b"),
]
OUR_ID = re.compile(rb"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EVERYWHERE = ["/images", "/images/none", "/nothing", "/healthcheck"]


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("given", SANE_IDS)
def test_a_sane_request_id_is_echoed(sqlite_client: Client, path: str, given: bytes) -> None:
    answer = ask(sqlite_client, "GET", path, headers=[(b"x-openstack-request-id", given)])

    assert [value for name, value in answer.headers if name == b"x-openstack-request-id"] == [given]


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("given", HOSTILE_IDS, ids=lambda given: ascii(given[:20]))
def test_a_hostile_request_id_is_replaced_by_ours(sqlite_client: Client, path: str, given: bytes) -> None:
    answers = [ask(sqlite_client, "GET", path, headers=[(b"x-openstack-request-id", given)]) for _ in range(2)]
    ids = [answer.header(b"x-openstack-request-id") for answer in answers]

    assert all(OUR_ID.fullmatch(made or b"") for made in ids)
    assert ids[0] != ids[1]


# How to fail, in every way there is: the status, and a request that gets it.
Request = dict[str, Any]


def _new(**fields: Any) -> Request:
    return {"method": "POST", "path": "/images", "body": json.dumps({"image": {**VALID, **fields}}).encode()}


FAILURES: dict[str, tuple[int, Request]] = {
    "not json": (400, {"method": "POST", "path": "/images", "body": b"{"}),
    "a wrong shape": (400, {"method": "POST", "path": "/images", "body": b"[]"}),
    "a wrong type": (400, _new(size="many")),
    "against the contract": (400, _new(status="pending")),
    "a wrong id": (400, _new(id="a/b")),
    "a wrong limit": (400, {"path": "/images", "query": b"limit=-1"}),
    "an unknown marker": (400, {"path": "/images", "query": b"marker=none"}),
    "a query that is no text": (400, {"path": "/images", "query": b"name=%ff"}),
    "a protected image": (403, {"method": "DELETE", "path": "/images/protected"}),
    "no such path": (404, {"path": "/nothing"}),
    "no such image": (404, {"path": "/images/none"}),
    "no such image to change": (404, {"method": "PUT", "path": "/images/none", "body": b"{}"}),
    "no such image to delete": (404, {"method": "DELETE", "path": "/images/none"}),
    "no such membership": (404, {"method": "DELETE", "path": "/images/protected/members/nobody"}),
    "not this method": (405, {"method": "PATCH", "path": "/images"}),
    "an id that is taken": (409, _new(id="protected")),
    "another status": (
        409,
        {"method": "PUT", "path": "/images/protected", "body": b'{"image": {}, "from_state": "queued"}'},
    ),
    "too large": (413, {"method": "POST", "path": "/images", "headers": [(b"content-length", b"9999999")]}),
}


def assert_error_shape(send: Callable[[list[Header]], RawAnswer], status: int) -> str:
    """The one form of an error, as text and as JSON; the sentence."""
    text, as_json = send([]), send([(b"accept", b"application/json")])
    assert (text.status, as_json.status) == (status, status)
    assert text.header(b"content-type") == b"text/plain; charset=utf-8"
    assert as_json.header(b"content-type") == b"application/json"
    error = json.loads(as_json.body)["error"]
    assert json.loads(as_json.body) == {"error": error}
    assert error.keys() == {"code", "title", "message"}
    assert (error["code"], error["title"]) == (status, HTTPStatus(status).phrase)
    assert len(error["message"]) < 1000
    for answer in (text, as_json):
        assert answer.header(b"x-openstack-request-id")
        assert answer.header(b"content-length") == b"%d" % len(answer.body)
        assert (answer.header(b"retry-after") is not None) == (status == 503)
        assert (answer.header(b"allow") is not None) == (status == 405)
        assert b"Traceback" not in answer.body
    if status != 500:  # That one names its request.
        assert text.body.decode() == error["message"] + "\n"
    return error["message"]


def failing(client: Client, request: Request) -> Callable[[list[Header]], RawAnswer]:
    given = {"method": "GET", **request}
    headers = given.pop("headers", [])
    method, path = given.pop("method"), given.pop("path")
    return lambda more: ask(client, method, path, headers=[*headers, *more], **given)


@pytest.mark.parametrize("failure", FAILURES)
def test_every_way_to_fail_has_the_one_form(client: Client, failure: str) -> None:
    client.add(id="protected", protected=True)
    status, request = FAILURES[failure]

    sentence = assert_error_shape(failing(client, request), status)

    assert re.match(r"[A-Z]", sentence)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_caller_without_identity_is_refused_in_the_same_form(sqlite_database: str, method: str) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context"))
    path = "/images" if method == "POST" else "/images/one"

    assert_error_shape(failing(client, {"method": method, "path": path, "body": _new()["body"]}), 403)
    client.close()


def test_a_fault_of_ours_is_a_500_that_tells_nothing_but_where_to_look(sqlite_database: str, caplog: Any) -> None:
    def broken_clock() -> Any:
        raise RuntimeError("the secret of the clock")

    client = Client(make_settings(sqlite_database), now=broken_clock)
    answers: list[RawAnswer] = []

    def send(headers: list[Header]) -> RawAnswer:
        answers.append(ask(client, "POST", "/images", headers=headers, body=_new()["body"]))
        return answers[-1]

    assert_error_shape(send, 500)
    client.close()
    for answer in answers:
        request_id = (answer.header(b"x-openstack-request-id") or b"").decode()
        assert request_id in answer.body.decode()
        assert request_id in caplog.text
        assert b"secret" not in answer.body
    assert "the secret of the clock" in caplog.text


def test_a_database_that_is_away_is_a_503_in_the_same_form(postgresql: PostgreSQL, postgresql_database: str) -> None:
    client = Client(make_settings(postgresql_database))
    postgresql.close_door(postgresql_database)

    for request in ({"path": "/images"}, {"path": "/images/one"}, {"path": "/healthcheck"}, _new()):
        assert_error_shape(failing(client, request), 503)
    client.close()


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        (b"application/json", True),
        (b"text/html, application/json;q=0.9, */*", True),
        (b"Application/JSON", True),
        (b"*/*", False),
        (b"application/*", False),
        (b"text/plain", False),
        (b"text/html", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_json_is_for_who_asks_for_it_by_name(sqlite_client: Client, accept: bytes, is_json: bool) -> None:
    answer = ask(sqlite_client, "GET", "/images/none", headers=[(b"accept", accept)])

    assert (answer.header(b"content-type") == b"application/json") == is_json
    assert b"<" not in answer.body


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_no_answer_is_kept_for_others_or_taken_for_a_page(sqlite_client: Client, route: Route) -> None:
    sqlite_client.add(id="one")

    for method in (route.method, "PROPFIND"):
        answer = ask(sqlite_client, method, filled(route.path))
        names = [name for name, _ in answer.headers]
        assert answer.header(b"cache-control") == b"private, no-cache"
        assert answer.header(b"x-content-type-options") == b"nosniff"
        assert names.count(b"cache-control") == names.count(b"x-content-type-options") == 1


class Stalled(Body):
    """A body of which some comes and the rest never does."""

    async def receive(self) -> dict[str, Any]:
        if self.taken:
            await asyncio.sleep(3600)
        return {**await super().receive(), "more_body": True}


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_a_body_that_does_not_come_to_its_end_is_408(sqlite_database: str, route: Route) -> None:
    client = Client(make_settings(sqlite_database, limits__request_timeout=0.05, images__show_multiple_locations=True))  # type: ignore[arg-type]
    try:
        sent = [(b"content-type", b"application/openstack-images-v2.1-json-patch")]
        answer = ask(client, route.method, filled(route.path), headers=sent, body=Stalled([b"{"]))
    finally:
        client.close()

    assert answer.status == 408
    assert answer.header(b"connection") == b"close"
    assert b"The body did not come within 0.05 seconds." in answer.body


@pytest.mark.parametrize("route", WITH_BYTES, ids=name_of)
def test_bytes_that_do_not_come_to_their_end_are_408(sqlite_database: str, route: Route) -> None:
    client = Client(make_settings(sqlite_database, limits__request_timeout=0.05))  # type: ignore[arg-type]
    client.register(id="one")
    path = filled(route.path)
    if "{upload_id}" in route.path:
        path = client.post("/v2/images/one/uploads", None).headers["location"]
    try:
        answer = ask(client, route.method, path, headers=of_bytes(route), body=Stalled([b"{"]))
    finally:
        client.close()

    assert answer.status == 408
    assert answer.header(b"connection") == b"close"
