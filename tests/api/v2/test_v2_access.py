# SPDX-License-Identifier: Apache-2.0
"""Every route of the Images API, for every kind of caller and image: what the caller gets."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.api import callers
from tests.api.callers import CALLERS, Registry, read_table
from tests.conftest import ENGINES

from glance_registry.api.routes import ROUTES

# The kinds that only this API tells apart: a membership that was accepted, and an image that is hidden.
KINDS = {
    **callers.KINDS,
    "accepted": {
        **callers.KINDS["shared"],
        "members": tuple(replace(member, status="accepted") for member in callers.MEMBERS),
    },
    "hidden": {**callers.KINDS["public"], "os_hidden": True},
}

# What a caller gets: a status; of the list: "in" when the image is in it, "--" when not; of members: "all" of the
# image's, "own" membership alone.
TABLE = """
                                         none admin writer owner sharer member alien user nobody doubted forger
GET    /v2/images              public    in   in    in     in    in     in     in    in   in     in      403
GET    /v2/images              private   in   in    --     in    --     --     --    --   --     --      403
GET    /v2/images              shared    in   in    --     in    --     --     --    --   --     --      403
GET    /v2/images              accepted  in   in    --     in    in     in     --    --   --     --      403
GET    /v2/images              community --   --    --     in    --     --     --    --   --     --      403
GET    /v2/images              hidden    --   --    --     --    --     --     --    --   --     --      403
GET    /v2/images              deleted   --   --    --     --    --     --     --    --   --     --      403

POST   /v2/images              -         201  201   201    201   201    201    201   403  403    403     403

GET    <I>                     public    200  200   200    200   200    200    200   200  200    200     403
GET    <I>                     private   200  200   200    200   404    404    404   404  404    404     403
GET    <I>                     shared    200  200   200    200   200    200    404   404  404    404     403
GET    <I>                     accepted  200  200   200    200   200    200    404   404  404    404     403
GET    <I>                     community 200  200   200    200   200    200    200   200  404    404     403
GET    <I>                     hidden    200  200   200    200   200    200    200   200  200    200     403
GET    <I>                     deleted   404  404   404    404   404    404    404   404  404    404     403

PATCH  <I>                     public    200  200   200    200   403    403    403   403  403    403     403
PATCH  <I>                     private   200  200   200    200   404    404    404   403  403    403     403
PATCH  <I>                     shared    200  200   200    200   403    403    404   403  403    403     403
PATCH  <I>                     accepted  200  200   200    200   403    403    404   403  403    403     403
PATCH  <I>                     community 200  200   200    200   403    403    403   403  403    403     403
PATCH  <I>                     hidden    200  200   200    200   403    403    403   403  403    403     403
PATCH  <I>                     deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE <I>                     public    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>                     private   204  204   204    204   404    404    404   403  403    403     403
DELETE <I>                     shared    204  204   204    204   403    403    404   403  403    403     403
DELETE <I>                     accepted  204  204   204    204   403    403    404   403  403    403     403
DELETE <I>                     community 204  204   204    204   403    403    403   403  403    403     403
DELETE <I>                     hidden    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>                     deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/file                public    200  200   200    200   200    200    200   200  200    200     403
GET    <I>/file                private   200  200   200    200   404    404    404   404  404    404     403
GET    <I>/file                shared    200  200   200    200   200    200    404   404  404    404     403
GET    <I>/file                accepted  200  200   200    200   200    200    404   404  404    404     403
GET    <I>/file                community 200  200   200    200   200    200    200   200  404    404     403
GET    <I>/file                hidden    200  200   200    200   200    200    200   200  200    200     403
GET    <I>/file                deleted   404  404   404    404   404    404    404   404  404    404     403

PUT    <I>/file                public    204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/file                community 204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/file                hidden    204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/file                private   204  204   204    204   404    404    404   403  403    403     403
PUT    <I>/file                shared    204  204   204    204   403    403    404   403  403    403     403
PUT    <I>/file                accepted  204  204   204    204   403    403    404   403  403    403     403
PUT    <I>/file                deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/uploads             public    200  200   200    200   403    403    403   403  403    403     403
GET    <I>/uploads             private   200  200   200    200   404    404    404   403  403    403     403
GET    <I>/uploads             shared    200  200   200    200   403    403    404   403  403    403     403
GET    <I>/uploads             accepted  200  200   200    200   403    403    404   403  403    403     403
GET    <I>/uploads             community 200  200   200    200   403    403    403   403  403    403     403
GET    <I>/uploads             hidden    200  200   200    200   403    403    403   403  403    403     403
GET    <I>/uploads             deleted   404  404   404    404   404    404    404   403  403    403     403

POST   <I>/uploads             public    201  201   201    201   403    403    403   403  403    403     403
POST   <I>/uploads             private   201  201   201    201   404    404    404   403  403    403     403
POST   <I>/uploads             shared    201  201   201    201   403    403    404   403  403    403     403
POST   <I>/uploads             accepted  201  201   201    201   403    403    404   403  403    403     403
POST   <I>/uploads             community 201  201   201    201   403    403    403   403  403    403     403
POST   <I>/uploads             hidden    201  201   201    201   403    403    403   403  403    403     403
POST   <I>/uploads             deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/uploads/<U>         public    204  204   204    204   403    403    403   403  403    403     403
GET    <I>/uploads/<U>         private   204  204   204    204   404    404    404   403  403    403     403
GET    <I>/uploads/<U>         shared    204  204   204    204   403    403    404   403  403    403     403
GET    <I>/uploads/<U>         accepted  204  204   204    204   403    403    404   403  403    403     403
GET    <I>/uploads/<U>         community 204  204   204    204   403    403    403   403  403    403     403
GET    <I>/uploads/<U>         hidden    204  204   204    204   403    403    403   403  403    403     403
GET    <I>/uploads/<U>         deleted   404  404   404    404   404    404    404   403  403    403     403

PATCH  <I>/uploads/<U>         public    204  204   204    204   403    403    403   403  403    403     403
PATCH  <I>/uploads/<U>         private   204  204   204    204   404    404    404   403  403    403     403
PATCH  <I>/uploads/<U>         shared    204  204   204    204   403    403    404   403  403    403     403
PATCH  <I>/uploads/<U>         accepted  204  204   204    204   403    403    404   403  403    403     403
PATCH  <I>/uploads/<U>         community 204  204   204    204   403    403    403   403  403    403     403
PATCH  <I>/uploads/<U>         hidden    204  204   204    204   403    403    403   403  403    403     403
PATCH  <I>/uploads/<U>         deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE <I>/uploads/<U>         public    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/uploads/<U>         private   204  204   204    204   404    404    404   403  403    403     403
DELETE <I>/uploads/<U>         shared    204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/uploads/<U>         accepted  204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/uploads/<U>         community 204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/uploads/<U>         hidden    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/uploads/<U>         deleted   404  404   404    404   404    404    404   403  403    403     403

POST   <I>/actions/deactivate  public    204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/deactivate  private   204  204   204    204   404    404    404   403  403    403     403
POST   <I>/actions/deactivate  shared    204  204   204    204   403    403    404   403  403    403     403
POST   <I>/actions/deactivate  accepted  204  204   204    204   403    403    404   403  403    403     403
POST   <I>/actions/deactivate  community 204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/deactivate  hidden    204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/deactivate  deleted   404  404   404    404   404    404    404   403  403    403     403

POST   <I>/actions/reactivate  public    204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/reactivate  private   204  204   204    204   404    404    404   403  403    403     403
POST   <I>/actions/reactivate  shared    204  204   204    204   403    403    404   403  403    403     403
POST   <I>/actions/reactivate  accepted  204  204   204    204   403    403    404   403  403    403     403
POST   <I>/actions/reactivate  community 204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/reactivate  hidden    204  204   204    204   403    403    403   403  403    403     403
POST   <I>/actions/reactivate  deleted   404  404   404    404   404    404    404   403  403    403     403

PUT    <I>/tags/<T>            public    204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/tags/<T>            private   204  204   204    204   404    404    404   403  403    403     403
PUT    <I>/tags/<T>            shared    204  204   204    204   403    403    404   403  403    403     403
PUT    <I>/tags/<T>            accepted  204  204   204    204   403    403    404   403  403    403     403
PUT    <I>/tags/<T>            community 204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/tags/<T>            hidden    204  204   204    204   403    403    403   403  403    403     403
PUT    <I>/tags/<T>            deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE <I>/tags/<T>            public    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/tags/<T>            private   204  204   204    204   404    404    404   403  403    403     403
DELETE <I>/tags/<T>            shared    204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/tags/<T>            accepted  204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/tags/<T>            community 204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/tags/<T>            hidden    204  204   204    204   403    403    403   403  403    403     403
DELETE <I>/tags/<T>            deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/locations           public    200  200   200    403   403    403    403   403  403    403     403
GET    <I>/locations           private   200  200   200    403   404    404    404   404  404    404     403
GET    <I>/locations           shared    200  200   200    403   403    403    404   404  404    404     403
GET    <I>/locations           accepted  200  200   200    403   403    403    404   404  404    404     403
GET    <I>/locations           community 200  200   200    403   403    403    403   403  404    404     403
GET    <I>/locations           hidden    200  200   200    403   403    403    403   403  403    403     403
GET    <I>/locations           deleted   404  404   404    404   404    404    404   404  404    404     403

POST   <I>/locations           public    202  202   202    202   403    403    403   403  403    403     403
POST   <I>/locations           private   202  202   202    202   404    404    404   403  403    403     403
POST   <I>/locations           shared    202  202   202    202   403    403    404   403  403    403     403
POST   <I>/locations           accepted  202  202   202    202   403    403    404   403  403    403     403
POST   <I>/locations           community 202  202   202    202   403    403    403   403  403    403     403
POST   <I>/locations           hidden    202  202   202    202   403    403    403   403  403    403     403
POST   <I>/locations           deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/members             public    403  403   403    403   403    403    403   403  403    403     403
GET    <I>/members             hidden    403  403   403    403   403    403    403   403  403    403     403
GET    <I>/members             private   all  all   all    all   404    404    404   404  404    404     403
GET    <I>/members             shared    all  all   all    all   own    own    404   404  404    404     403
GET    <I>/members             accepted  all  all   all    all   own    own    404   404  404    404     403
GET    <I>/members             community 403  403   403    403   403    403    403   403  404    404     403
GET    <I>/members             deleted   404  404   404    404   404    404    404   404  404    404     403

POST   <I>/members             public    403  403   403    403   403    403    403   403  403    403     403
POST   <I>/members             community 403  403   403    403   403    403    403   403  403    403     403
POST   <I>/members             hidden    403  403   403    403   403    403    403   403  403    403     403
POST   <I>/members             private   200  200   200    200   404    404    404   403  403    403     403
POST   <I>/members             shared    200  200   200    200   403    403    404   403  403    403     403
POST   <I>/members             accepted  200  200   200    200   403    403    404   403  403    403     403
POST   <I>/members             deleted   404  404   404    404   404    404    404   403  403    403     403

GET    <I>/members/<M>         public    403  403   403    403   403    403    403   403  403    403     403
GET    <I>/members/<M>         hidden    403  403   403    403   403    403    403   403  403    403     403
GET    <I>/members/<M>         private   200  200   200    200   404    404    404   404  404    404     403
GET    <I>/members/<M>         shared    200  200   200    200   404    404    404   404  404    404     403
GET    <I>/members/<M>         accepted  200  200   200    200   404    404    404   404  404    404     403
GET    <I>/members/<M>         community 403  403   403    403   403    403    403   403  404    404     403
GET    <I>/members/<M>         deleted   404  404   404    404   404    404    404   404  404    404     403

PUT    <I>/members/<M>         public    403  403   403    403   403    403    403   403  403    403     403
PUT    <I>/members/<M>         community 403  403   403    403   403    403    403   403  403    403     403
PUT    <I>/members/<M>         hidden    403  403   403    403   403    403    403   403  403    403     403
PUT    <I>/members/<M>         private   200  200   200    403   404    404    404   403  403    403     403
PUT    <I>/members/<M>         shared    200  200   200    403   403    403    404   403  403    403     403
PUT    <I>/members/<M>         accepted  200  200   200    403   403    403    404   403  403    403     403
PUT    <I>/members/<M>         deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE <I>/members/<M>         public    403  403   403    403   403    403    403   403  403    403     403
DELETE <I>/members/<M>         community 403  403   403    403   403    403    403   403  403    403     403
DELETE <I>/members/<M>         hidden    403  403   403    403   403    403    403   403  403    403     403
DELETE <I>/members/<M>         private   204  204   204    204   404    404    404   403  403    403     403
DELETE <I>/members/<M>         shared    204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/members/<M>         accepted  204  204   204    204   403    403    404   403  403    403     403
DELETE <I>/members/<M>         deleted   404  404   404    404   404    404    404   403  403    403     403

GET    /v2                     -         200  200   200    200   200    200    200   200  200    200     200
GET    /v2/                    -         200  200   200    200   200    200    200   200  200    200     200
GET    /v2/info/import         -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/info/stores         -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/info/usage          -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/schemas/image       -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/schemas/images      -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/schemas/member      -         200  200   200    200   200    200    200   200  200    200     403
GET    /v2/schemas/members     -         200  200   200    200   200    200    200   200  200    200     403
"""

ROWS = read_table(TABLE.replace("<I>", "/v2/images/<I>"))
TAG, NEW_TAG = "t", "n"
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v2/images"): {"name": "i"},
    ("PATCH", "/v2/images/{image_id}"): [{"op": "replace", "path": "/name", "value": "new"}],
    ("PUT", "/v2/images/{image_id}/file"): b"bytes",
    ("PATCH", "/v2/images/{image_id}/uploads/{upload_id}"): b"bytes",
    ("POST", "/v2/images/{image_id}/locations"): {"url": "https://images.test/i"},
    ("POST", "/v2/images/{image_id}/members"): {"member": "new"},
    ("PUT", "/v2/images/{image_id}/members/{member_id}"): {"status": "rejected"},
}
STATES = {("POST", "/actions/reactivate"): "deactivated", ("PUT", "/file"): "queued", ("POST", "/locations"): "queued"}
STATES |= {("POST", "/uploads"): "queued"} | {
    (method, "/{upload_id}"): "queued" for method in ("GET", "PATCH", "DELETE")
}
"""What an image must be for a request to succeed; else active, with bytes that are kept here."""


@pytest.fixture(scope="module", params=ENGINES)
def registry(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Registry]:
    registry = Registry(make_database(request.param))
    yield registry
    registry.close()


def _insert(registry: Registry, method: str, path: str, kind: str) -> dict[str, str]:
    if kind == "-":
        return dict.fromkeys(CALLERS, "")
    ends = ((status, end) for (wanted, end), status in STATES.items() if wanted == method)
    status = next((status for status, end in ends if path.endswith(end)), "active")
    formats = {"disk_format": "raw", "container_format": "bare"}
    contents = {"locations": ()} if status == "queued" else {} if kind == "deleted" else registry.stored_bytes()
    return registry.insert(KINDS[kind], status=status, tags=(TAG,), **formats, **contents)


def _urls(registry: Registry, method: str, path: str, kind: str, ids: dict[str, str]) -> dict[str, str]:
    """Where each caller sends its request."""
    has_upload = "{upload_id}" in path and kind != "deleted"
    parts = {"member_id": "other", "tag": NEW_TAG if method == "PUT" else TAG}
    return {
        who: path.format(
            image_id=image_id, upload_id=registry.begin_upload(image_id) if has_upload else "0" * 32, **parts
        )
        for who, image_id in ids.items()
    }


def _outcome(path: str, image_id: str, answer: httpx.Response) -> str:
    """What the caller got, in the words of the table."""
    if answer.status_code != 200 or path not in ("/v2/images", "/v2/images/{image_id}/members"):
        return str(answer.status_code)
    found = answer.json()
    if "images" in found:
        return "in" if image_id in [image["id"] for image in found["images"]] else "--"
    if "members" not in found:
        return "200"
    got = {member["member_id"] for member in found["members"]}
    return "--" if not got else "own" if len(got) == 1 and got != {"other"} else "all"


@pytest.mark.parametrize(("method", "path", "kind"), ROWS)
def test_a_caller_gets_what_the_table_says_and_what_is_refused_has_no_effect(
    registry: Registry, method: str, path: str, kind: str
) -> None:
    ids, body = _insert(registry, method, path, kind), BODIES.get((method, path))
    urls = _urls(registry, method, path, kind, ids)
    before = registry.kept(ids) if kind != "-" else {}

    answers = {who: registry.send(who, method, urls[who], body) for who in CALLERS}

    assert {who: _outcome(path, ids[who], answer) for who, answer in answers.items()} == ROWS[method, path, kind]
    if kind != "-" and method != "GET":
        after = registry.kept(ids)
        changed = {who for who in CALLERS if after[ids[who]] != before[ids[who]]}
        assert changed == {who for who, answer in answers.items() if answer.is_success}
    for who, answer in answers.items():
        if method == "GET":
            head = registry.send(who, "HEAD", urls[who])
            assert (head.status_code, head.content) == (answer.status_code, b"")
        if answer.is_error:
            assert answer.json()["error"]["code"] == answer.status_code


def test_every_route_has_its_rows_for_every_kind_of_image_and_caller() -> None:
    ours = [route for route in ROUTES if route.path.startswith("/v2")]
    concerned = {(route.method, route.path) for route in ours if route.path.startswith("/v2/images")}
    concerned -= {("POST", "/v2/images")}
    wanted = {(*route, kind) for route in concerned for kind in KINDS}
    wanted |= {(route.method, route.path, "-") for route in ours if (route.method, route.path) not in concerned}
    wanted = {row for row in wanted if row[1] != "/v2/stores/{store}/{image_id}"}  # See test_v2_stores.py.

    assert ROWS.keys() == wanted
