# SPDX-License-Identifier: Apache-2.0
"""Requests that a service, such as Nova or Cinder, sends for its user (identity mode context)."""

from typing import Any

import pytest
from tests.conftest import Client, identity
from tests.options import make_settings

from glance_registry.settings import Settings, load

SERVICE = {"X-Service-Identity-Status": "Confirmed", "X-Service-Roles": "service"}
SNAPSHOT = {"url": "rbd://cluster/vms/image/snap", "metadata": {}}


def from_service(client: Client, project: str, **more: str) -> Any:
    """Somebody of a project, for whom a service sends the request."""
    caller = client.caller(project, "member")
    caller.headers |= SERVICE | more
    return caller


def settings(database: str, **more: Any) -> Settings:
    return make_settings(database, registry__contract="queens", identity__mode="context", **more)


def test_a_service_says_in_which_store_its_user_s_image_lies_and_lists_its_locations(context: Client) -> None:
    owner, service = context.caller("owner", "member"), from_service(context, "owner")
    image = owner.register()

    assert owner.post(image["self"] + "/locations", SNAPSHOT).status_code == 403
    assert service.post(image["self"] + "/locations", SNAPSHOT).status_code == 202
    assert owner.get(image["self"]).json()["status"] == "active"
    assert owner.get(image["self"] + "/locations").status_code == 403
    assert service.get(image["self"] + "/locations").json() == [SNAPSHOT]


def test_a_service_sees_and_changes_no_more_than_its_user(context: Client) -> None:
    owner, service = context.caller("owner", "member"), from_service(context, "alien")
    private, public = owner.register(), context.caller("owner", "admin").register(visibility="public")
    active = owner.register()
    assert from_service(context, "owner").post(active["self"] + "/locations", SNAPSHOT).status_code == 202

    assert service.get(private["self"] + "/locations").status_code == 404
    assert service.post(private["self"] + "/locations", SNAPSHOT).status_code == 404
    assert service.get(public["self"] + "/locations").json() == []
    assert service.post(public["self"] + "/locations", SNAPSHOT).status_code == 403
    assert service.delete(public["self"]).status_code == 403
    assert service.post("/v2/images", {"owner": "owner"}).status_code == 403
    mine = from_service(context, "owner")
    assert mine.post(active["self"] + "/locations", {**SNAPSHOT, "url": "rbd://a/b/c/d"}).status_code == 409
    assert mine.patch(private["id"], {"op": "add", "path": "/visibility", "value": "public"}).status_code == 403
    assert mine.patch(private["id"], {"op": "add", "path": "/owner", "value": "alien"}).status_code == 403


def test_a_service_gives_an_active_image_no_further_location(sqlite_database: str) -> None:
    """By PATCH it may name a store for a queued image, as Nova did before version 2.17, and no more."""
    client = Client(settings(sqlite_database, images__show_multiple_locations=True))
    image = client.caller("owner", "member").register()
    service = from_service(client, "owner")

    patches = [
        service.patch(image["id"], {"op": "add", "path": "/locations/-", "value": {**SNAPSHOT, "url": f"rbd://a/{at}"}})
        for at in range(2)
    ]

    assert [patch.status_code for patch in patches] == [200, 403]
    client.close()


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({}, False),
        ({"X-Service-Roles": "service"}, False),
        ({"X-Service-Identity-Status": "Confirmed"}, False),
        ({**SERVICE, "X-Service-Roles": "member,admin"}, False),
        ({**SERVICE, "X-Service-Roles": "admin, SERVICE"}, True),
    ],
)
def test_a_service_needs_a_confirmed_identity_and_one_of_the_roles(
    sqlite_context: Client, headers: dict[str, str], counts: bool
) -> None:
    image = sqlite_context.caller("owner", "member").register()
    caller = sqlite_context.caller("owner", "member")
    caller.headers |= headers

    assert caller.post(image["self"] + "/locations", SNAPSHOT).status_code == (202 if counts else 403)


@pytest.mark.parametrize("status", ["Invalid", "confirmed", ""])
def test_a_service_that_the_server_in_front_does_not_confirm_is_401(sqlite_context: Client, status: str) -> None:
    caller = from_service(sqlite_context, "owner", **{"X-Service-Identity-Status": status})

    answers = [caller.get("/v2/images"), caller.post("/v2/images", {}), caller.get("/images")]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert all(answer.headers["www-authenticate"] for answer in answers)


@pytest.mark.parametrize("name", SERVICE)
def test_a_service_s_header_that_comes_twice_is_refused(sqlite_context: Client, name: str) -> None:
    headers = [*identity("owner", "member").items(), *SERVICE.items(), (name, "Confirmed")]

    answer = sqlite_context.get("/v2/images", headers=headers)

    assert answer.status_code == 400
    assert name.lower() in answer.text


def test_a_service_without_a_user_is_anonymous(sqlite_context: Client) -> None:
    sqlite_context.caller("owner", "admin").register(visibility="public", name="public")

    listed = sqlite_context.get("/v2/images", headers=SERVICE).json()["images"]

    assert [image["name"] for image in listed] == ["public"]
    assert sqlite_context.get(listed[0]["self"] + "/locations", headers=SERVICE).status_code == 403
    assert sqlite_context.post("/v2/images", {}, headers=SERVICE).status_code == 403


def test_nobody_but_a_trusted_address_speaks_for_a_service(sqlite_database: str) -> None:
    forger = Client(settings(sqlite_database), address="203.0.113.9")

    assert from_service(forger, "owner").get("/v2/images").status_code == 403
    forger.close()


@pytest.mark.parametrize(("roles", "status"), [(("glance-service",), 403), ((), 403), (("Service",), 202)])
def test_the_roles_of_services_are_those_of_the_setting(
    sqlite_database: str, roles: tuple[str, ...], status: int
) -> None:
    client = Client(settings(sqlite_database, identity__service_roles=roles))
    image = client.caller("owner", "member").register()

    assert from_service(client, "owner").post(image["self"] + "/locations", SNAPSHOT).status_code == status
    client.close()


def test_the_setting_has_its_name_of_before_too(tmp_path: Any) -> None:
    file = tmp_path / "glance.conf"
    file.write_text("[keystone_authtoken]\nservice_token_roles = nova,cinder\n")

    loaded = load([str(file)])

    assert loaded.settings.identity.service_roles == ("nova", "cinder")
    assert loaded.unknown == []
