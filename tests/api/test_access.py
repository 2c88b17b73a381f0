# SPDX-License-Identifier: Apache-2.0
"""Every route, for every kind of caller and image: what the caller gets (protocol, section 3, identity and members)."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.api.callers import CALLERS, KINDS, Registry, read_table
from tests.conftest import ENGINES, Client, identity
from tests.options import make_settings

from glance_registry.api.routes import ROUTES

# What a caller gets: a status;  of a list: "in" when the image is in it, "--" when not;
# of members: "all" of the image's, "own" membership alone, "--" none.
TABLE = """
                                           none admin writer owner sharer member alien user nobody doubted forger
GET    /                         -         300  300   300    300   300    300    300   300  300    300     300
GET    /versions                 -         200  200   200    200   200    200    200   200  200    200     200
GET    /healthcheck              -         200  200   200    200   200    200    200   200  200    200     200
GET    /metrics                  -         200  200   200    200   200    200    200   200  200    200     403
GET    /openapi.json             -         200  200   200    200   200    200    200   200  200    200     200

GET    /images                   public    in   in    in     in    in     in     in    in   in     in      403
GET    /images                   private   --   --    --     in    --     --     --    --   --     --      403
GET    /images                   shared    --   --    --     in    in     in     --    --   --     --      403
GET    /images                   community --   --    --     in    --     --     --    --   --     --      403
GET    /images                   deleted   --   --    --     --    --     --     --    --   --     --      403

GET    /images/detail            public    in   in    in     in    in     in     in    in   in     in      403
GET    /images/detail            private   --   --    --     in    --     --     --    --   --     --      403
GET    /images/detail            shared    --   --    --     in    in     in     --    --   --     --      403
GET    /images/detail            community --   --    --     in    --     --     --    --   --     --      403
GET    /images/detail            deleted   --   --    --     --    --     --     --    --   --     --      403

POST   /images                   -         200  200   200    200   200    200    200   403  403    403     403

GET    /images/<I>               public    200  200   200    200   200    200    200   200  200    200     403
GET    /images/<I>               private   200  200   200    200   404    404    404   404  404    404     403
GET    /images/<I>               shared    200  200   200    200   200    200    404   404  404    404     403
GET    /images/<I>               community 200  200   200    200   200    200    200   200  404    404     403
GET    /images/<I>               deleted   200  200   404    404   404    404    404   404  404    404     403

PUT    /images/<I>               public    200  200   200    200   403    403    403   403  403    403     403
PUT    /images/<I>               private   200  200   200    200   404    404    404   403  403    403     403
PUT    /images/<I>               shared    200  200   200    200   404    404    404   403  403    403     403
PUT    /images/<I>               community 200  200   200    200   404    404    404   403  403    403     403
PUT    /images/<I>               deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE /images/<I>               public    200  200   200    200   403    403    403   403  403    403     403
DELETE /images/<I>               private   200  200   200    200   404    404    404   403  403    403     403
DELETE /images/<I>               shared    200  200   200    200   404    404    404   403  403    403     403
DELETE /images/<I>               community 200  200   200    200   404    404    404   403  403    403     403
DELETE /images/<I>               deleted   404  404   404    404   404    404    404   403  403    403     403

GET    /images/<I>/members       public    all  all   all    all   own    own    --    --   --     --      403
GET    /images/<I>/members       private   all  all   all    all   404    404    404   404  404    404     403
GET    /images/<I>/members       shared    all  all   all    all   own    own    404   404  404    404     403
GET    /images/<I>/members       community all  all   all    all   --     --     --    --   404    404     403
GET    /images/<I>/members       deleted   --   --    404    404   404    404    404   404  404    404     403

PUT    /images/<I>/members       public    204  204   204    204   204    403    403   403  403    403     403
PUT    /images/<I>/members       private   204  204   204    204   404    404    404   403  403    403     403
PUT    /images/<I>/members       shared    204  204   204    204   204    403    404   403  403    403     403
PUT    /images/<I>/members       community 204  204   204    204   403    403    403   403  403    403     403
PUT    /images/<I>/members       deleted   404  404   404    404   404    404    404   403  403    403     403

PUT    /images/<I>/members/<M>   public    204  204   204    204   204    403    403   403  403    403     403
PUT    /images/<I>/members/<M>   private   204  204   204    204   404    404    404   403  403    403     403
PUT    /images/<I>/members/<M>   shared    204  204   204    204   204    403    404   403  403    403     403
PUT    /images/<I>/members/<M>   community 204  204   204    204   403    403    403   403  403    403     403
PUT    /images/<I>/members/<M>   deleted   404  404   404    404   404    404    404   403  403    403     403

DELETE /images/<I>/members/<M>   public    204  204   204    204   204    403    403   403  403    403     403
DELETE /images/<I>/members/<M>   private   204  204   204    204   404    404    404   403  403    403     403
DELETE /images/<I>/members/<M>   shared    204  204   204    204   204    403    404   403  403    403     403
DELETE /images/<I>/members/<M>   community 204  204   204    204   403    403    403   403  403    403     403
DELETE /images/<I>/members/<M>   deleted   404  404   404    404   404    404    404   403  403    403     403

GET    /shared-images/<M>        public    in   in    in     in    --     in     --    --   --     --      403
GET    /shared-images/<M>        private   --   --    --     --    --     --     --    --   --     --      403
GET    /shared-images/<M>        shared    in   in    in     in    --     in     --    --   --     --      403
GET    /shared-images/<M>        community --   --    --     --    --     --     --    --   --     --      403
GET    /shared-images/<M>        deleted   --   --    --     --    --     --     --    --   --     --      403
"""

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/images"): {"image": {"disk_format": "raw", "container_format": "bare"}},
    ("PUT", "/images/{image_id}"): {"image": {"name": "new", "status": "deleted", "location": "http://c/d"}},
    ("PUT", "/images/{image_id}/members"): {"memberships": [{"member_id": "alien", "can_share": True}]},
    ("PUT", "/images/{image_id}/members/{member_id}"): {"member": {"can_share": True}},
}

ROWS = read_table(TABLE)


@pytest.fixture(scope="module", params=ENGINES)
def registry(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Registry]:
    registry = Registry(make_database(request.param))
    yield registry
    registry.close()


def _outcome(path: str, image_id: str, answer: httpx.Response) -> str:
    """What the caller got, in the words of the table."""
    if answer.status_code != 200 or not answer.content or "images" not in path:
        return str(answer.status_code)
    found = answer.json()
    if "members" in found:
        got = {member["member_id"] for member in found["members"]}
        return "--" if not got else "own" if len(got) == 1 and got != {"other"} else "all"
    if "image" in found:
        return "200"
    listed = [image.get("id") or image["image_id"] for image in found.get("images", found.get("shared_images"))]
    return "in" if image_id in listed else "--"


def _url(path: str, image_id: str) -> str:
    # The member "other" is changed; "member" is asked what is shared with it.
    member_id = "member" if path.startswith("/shared") else "other"
    return path.replace("{image_id}", image_id).replace("{member_id}", member_id)


@pytest.mark.parametrize(("method", "path", "kind"), ROWS)
def test_a_caller_gets_what_the_table_says(registry: Registry, method: str, path: str, kind: str) -> None:
    ids = registry.insert(KINDS[kind]) if kind != "-" else dict.fromkeys(CALLERS, "")
    body = BODIES.get((method, path))

    answers = {who: registry.send(who, method, _url(path, ids[who]), body) for who in CALLERS}

    assert {who: _outcome(path, ids[who], answer) for who, answer in answers.items()} == ROWS[method, path, kind]
    for who, answer in answers.items():
        if method == "GET":
            head = registry.send(who, "HEAD", _url(path, ids[who]))
            assert (head.status_code, head.content) == (answer.status_code, b"")
        if answer.status_code == 404:
            assert answer.text == "Image not found\n"


@pytest.mark.parametrize(("method", "path", "kind"), [row for row in ROWS if row[0] != "GET" and row[2] != "-"])
def test_what_is_refused_has_no_effect_and_what_is_not_has_one(
    registry: Registry, method: str, path: str, kind: str
) -> None:
    ids = registry.insert(KINDS[kind])
    before = registry.kept(ids)

    for who in CALLERS:
        registry.send(who, method, _url(path, ids[who]), BODIES.get((method, path)))

    after = registry.kept(ids)
    changed = {who for who in CALLERS if after[ids[who]] != before[ids[who]]}
    assert changed == {who for who, wanted in ROWS[method, path, kind].items() if wanted in ("200", "204")}


def test_every_route_has_its_rows_for_every_kind_of_image_and_caller() -> None:
    ours = [route for route in ROUTES if not route.path.startswith("/v2")]
    concerned = {(route.method, route.path) for route in ours if "images" in route.path and route.method != "POST"}
    wanted = {(*route, kind) for route in concerned for kind in KINDS}
    wanted |= {(route.method, route.path, "-") for route in ours if (route.method, route.path) not in concerned}

    assert ROWS.keys() == wanted


@pytest.mark.parametrize("who", CALLERS)
def test_a_new_image_belongs_to_its_caller_s_project_unless_a_writer_says_otherwise(
    registry: Registry, who: str
) -> None:
    body = {"image": {"disk_format": "raw", "container_format": "bare", "owner": "given"}}

    answer = registry.send(who, "POST", "/images", body)

    owners = {"none": "given", "admin": "given", "writer": "given", "user": None}
    if answer.status_code == 200:
        assert answer.json()["image"]["owner"] == owners.get(who, who)


@pytest.mark.parametrize("who", ["none", "admin", "writer", "owner"])
def test_only_a_writer_gives_an_image_to_another_project(registry: Registry, who: str) -> None:
    ids = registry.insert(KINDS["private"])

    answer = registry.send(who, "PUT", f"/images/{ids[who]}", {"image": {"owner": "alien", "name": "new"}})

    shown = answer.json()["image"]
    assert (shown["owner"], shown["name"]) == ("owner" if who == "owner" else "alien", "new")


WRITER_ROLES = [
    (("admin", "service"), {"admin", "service"}),
    (("service",), {"service"}),
    (("Image-Writer",), {"image-writer"}),
    ((), set()),
]


@pytest.mark.parametrize(("setting", "writers"), WRITER_ROLES)
@pytest.mark.parametrize("role", ["admin", "service", "image-writer", "IMAGE-WRITER", "member"])
def test_the_writer_roles_are_those_of_the_setting(
    sqlite_database: str, setting: tuple[str, ...], writers: set[str], role: str
) -> None:
    client = Client(
        make_settings(
            sqlite_database,
            registry__contract="queens",
            identity__mode="context",
            registry__writer_role=setting,
        )
    )
    owner, caller = client.caller("owner", "member"), client.caller("else", role)
    public, private = owner.add(is_public=True), owner.add(is_public=False)

    answers = [caller.put(f"/images/{image['id']}", {"image": {"owner": "else"}}) for image in (public, private)]

    may = role.lower() in writers
    assert [answer.status_code for answer in answers] == ([200, 200] if may else [403, 404])
    assert caller.get(f"/images/{private['id']}").status_code == (200 if may or role == "admin" else 404)
    client.close()


@pytest.mark.parametrize("name", ["X-Identity-Status", "X-Tenant-Id", "X-Project-Id", "X-Roles", "X-User-Id"])
def test_an_identity_header_that_comes_twice_is_refused(sqlite_context: Client, name: str) -> None:
    headers = {**identity("p", "member"), "X-Project-Id": "p"}
    if name == "X-Project-Id":
        del headers["X-Tenant-Id"]

    answer = sqlite_context.get("/images", headers=[*headers.items(), (name, "Confirmed")])

    assert answer.status_code == 400
    assert name.lower() in answer.text


@pytest.mark.parametrize("name", ["X-Identity-Status", "X-Tenant-Id", "X-Project-Id", "X-Roles", "X-User-Id"])
def test_an_identity_header_with_a_nul_is_refused(context: Client, name: str) -> None:
    image = context.caller("p").add(is_public=True)
    headers = {**identity("p", "member"), name: "p\0q"}
    if name == "X-Project-Id":
        del headers["X-Tenant-Id"]

    answers = [
        context.get("/images", headers=headers),
        context.get(f"/images/{image['id']}", headers=headers),
        context.delete(f"/images/{image['id']}", headers=headers),
        context.delete(f"/v2/images/{image['id']}/tags/blue", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert all(name.lower() in answer.text and "NUL" in answer.text for answer in answers)


@pytest.mark.parametrize("name", ["X-User-Id", "X-Tenant-Id", "X-Roles"])
def test_an_identity_header_without_a_status_says_nothing(sqlite_context: Client, name: str) -> None:
    image = sqlite_context.caller("p").add(is_public=False)

    answer = sqlite_context.get(f"/images/{image['id']}", headers={name: "admin"})

    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
def test_nothing_outside_the_table_is_answered(sqlite_context: Client, method: str) -> None:
    admin = sqlite_context.caller("admins", "admin")

    for path in (
        "/images/",
        "/image",
        "/images//members",
        "/v2/nothing",
        "/v3/images",
        "/images/x/members/y/z",
        "/shared-images",
        "/admin",
    ):
        assert admin.request(method, path).status_code == 404
