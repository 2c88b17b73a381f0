# SPDX-License-Identifier: Apache-2.0
"""Identity mode keystone, against a real Keystone: whose tokens are believed, for how long, and when it is down."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.ui.browser import look, page_of, post_form
from tests.conftest import Client
from tests.keystone import PASSWORD, PUBLIC_URI, Keystone, options, written
from tests.options import make_settings
from tests.processes import free_port

from glance_registry.app import build
from glance_registry.model.errors import Invalid
from glance_registry.settings import load


@contextmanager
def stopped(keystone: Keystone) -> Iterator[None]:
    keystone.stop()
    try:
        yield
    finally:
        keystone.start()


Start = Callable[..., Client]


class Clock:
    """What a registry takes for the time since some moment."""

    now = 1000.0


@pytest.fixture
def start(keystone: Keystone, sqlite_database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts registries that ask this Keystone; by default they remember no token."""
    started: list[Client] = []

    def run(clock: Clock | None = None, token_cache_time: int = 0, **more: object) -> Client:
        file = written(tmp_path / "registry.conf", options(keystone, **more))
        settings = make_settings(
            sqlite_database,
            identity__mode="keystone",
            config_files=(file,),
            identity__token_cache_time=token_cache_time,
        )
        started.append(Client(settings, clock=lambda: (clock or Clock).now))
        return started[-1]

    yield run
    for client in started:
        client.close()


def get(client: Client, token: str, path: str = "/images") -> httpx.Response:
    return client.get(path, headers={"x-auth-token": token})


def add(client: Client, token: str, **fields: object) -> str:
    body = {"image": {"name": "image", "disk_format": "raw", "container_format": "bare", **fields}}
    answer = client.post("/images", body, headers={"x-auth-token": token})
    assert answer.status_code == 200, answer.text
    image_id: str = answer.json()["image"]["id"]
    return image_id


def check_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{PUBLIC_URI}"'


def test_a_member_acts_for_the_project_of_the_token(keystone: Keystone, start: Start) -> None:
    client = start()
    alice, bob = keystone.token("alice", "acme"), keystone.token("bob", "other")
    image_id = add(client, alice)

    image = get(client, alice, f"/images/{image_id}").json()["image"]
    assert image["owner"] == keystone.projects["acme"]
    assert get(client, bob, f"/images/{image_id}").status_code == 404
    assert client.delete(f"/images/{image_id}", headers={"x-auth-token": bob}).status_code == 404


def test_an_admin_sees_and_changes_every_image(keystone: Keystone, start: Start) -> None:
    client = start()
    image_id = add(client, keystone.token("alice", "acme"))
    admin = keystone.token("admin", "admin")

    assert get(client, admin, f"/images/{image_id}").status_code == 200
    assert client.delete(f"/images/{image_id}", headers={"x-auth-token": admin}).status_code == 200


@pytest.mark.parametrize(
    ("user", "scope"),
    [("alice", None), ("admin", None), ("admin", {"system": {"all": True}})],
    ids=["unscoped", "unscoped admin", "admin of the system"],
)
def test_a_token_for_no_project_sees_public_images_only(
    keystone: Keystone, start: Start, user: str, scope: dict[str, Any] | None
) -> None:
    client = start()
    alice = keystone.token("alice", "acme")
    private, public = add(client, alice), add(client, alice, is_public=True)
    token = keystone.token(user, None, scope=scope)

    assert get(client, token, f"/images/{private}").status_code == 404
    assert get(client, token, f"/images/{public}").status_code == 200
    assert client.delete(f"/images/{public}", headers={"x-auth-token": token}).status_code == 403


def test_without_a_token_the_answer_is_401_and_says_where_to_get_one(start: Start) -> None:
    client = start()
    for method, path in (("GET", "/images"), ("POST", "/images"), ("HEAD", "/images/one")):
        check_refused(client.request(method, path))
    check_refused(get(client, ""))


@pytest.mark.parametrize(
    "token",
    ["garbage", "gAAAAA" + "x" * 178, "x" * 8192, "x" * 8193, "a b", "tökén", "a\x01b"],
    ids=lambda t: ascii(t[:9]),
)
def test_what_is_no_token_is_401(start: Start, token: str) -> None:
    check_refused(start().get("/images", headers={"x-auth-token": token.encode()}))


def test_what_cannot_be_a_token_is_not_sent_to_keystone(keystone: Keystone, start: Start) -> None:
    client = start()
    asked = keystone.times_asked()
    for token in ("", "x" * 8193, "a b", "tökén"):
        client.get("/images", headers={"x-auth-token": token.encode()})
    assert keystone.times_asked() == asked


def test_two_tokens_are_400_even_when_both_are_good(keystone: Keystone, start: Start) -> None:
    token = keystone.token("alice", "acme")
    answer = start().get("/images", headers=[("x-auth-token", token)] * 2)
    assert answer.status_code == 400


def test_what_is_open_needs_no_token(start: Start) -> None:
    client = start()
    for path, expected in (("/healthcheck", 200), ("/", 300), ("/versions", 200), ("/metrics", 200)):
        assert client.get(path).status_code == expected
        assert get(client, "garbage", path).status_code == expected


def test_a_token_is_remembered_no_longer_than_it_is_good(keystone: Keystone, start: Start) -> None:
    clock = Clock()
    client = start(clock, token_cache_time=3600)
    token = keystone.token("alice", "acme", seconds=600)
    assert get(client, token).status_code == 200
    asked = keystone.times_asked()

    clock.now += 580
    assert get(client, token).status_code == 200
    assert keystone.times_asked() == asked
    keystone.revoke(token)
    clock.now += 21
    check_refused(get(client, token))


def test_a_revoked_token_is_401_once_it_is_no_longer_remembered(keystone: Keystone, start: Start) -> None:
    clock = Clock()
    asking, remembering = start(), start(clock, token_cache_time=60)
    token = keystone.token("alice", "acme")
    assert get(asking, token).status_code == get(remembering, token).status_code == 200

    keystone.revoke(token)
    check_refused(get(asking, token))
    assert get(remembering, token).status_code == 200
    clock.now += 60
    check_refused(get(remembering, token))


def test_a_remembered_token_is_not_checked_again_and_a_refused_one_is(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    token = keystone.token("alice", "acme")
    asked = keystone.times_asked()

    for _ in range(5):
        assert get(client, token).status_code == 200
    assert keystone.times_asked() == asked + 1
    for _ in range(2):
        assert get(client, "garbage").status_code == 401
    assert keystone.times_asked() == asked + 3


def test_many_requests_at_once_ask_about_their_token_once(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    headers = {"x-auth-token": keystone.token("alice", "acme")}
    asked = keystone.times_asked()

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(client.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry.test") as http:
            answers = await asyncio.gather(*(http.get("/images", headers=headers) for _ in range(50)))
        return [answer.status_code for answer in answers]

    assert client.runner.run(ask()) == [200] * 50
    assert keystone.times_asked() == asked + 1


def test_while_keystone_is_down_only_remembered_tokens_work_and_then_all_do_again(
    keystone: Keystone, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = start(token_cache_time=60)
    known, new = keystone.token("alice", "acme"), keystone.token("bob", "other")
    assert get(client, known).status_code == 200

    with stopped(keystone):
        assert get(client, known).status_code == 200
        for token in (new, "garbage"):
            answer = get(client, token)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.text == "Keystone does not answer now; try again later.\n"
        check_refused(client.get("/images"))
        assert client.get("/healthcheck").status_code == 200
        early = start()
        assert get(early, known).status_code == 503
    assert any("Connection refused" in str(vars(record)) for record in caplog.records)

    for registry in (client, early):
        assert get(registry, new).status_code == 200
        check_refused(get(registry, "garbage"))


def test_a_keystone_that_fails_lets_nobody_in(keystone: Keystone, start: Start) -> None:
    client = start(delay_auth_decision=True)
    token = keystone.token("alice", "acme")
    assert get(client, token).status_code == 200
    with keystone.failing():
        answer = get(client, token)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (keystone.folder / "requests").read_text().splitlines()[-1] == "GET /v3/auth/tokens 500"
    assert get(client, token).status_code == 200


def test_a_registry_that_keystone_does_not_know_lets_nobody_in(keystone: Keystone, start: Start) -> None:
    client = start(password="wrong")
    assert get(client, keystone.token("alice", "acme")).status_code == 503
    assert get(client, "garbage").status_code == 503


def test_an_application_credential_is_held_to_its_access_rules(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    password = keystone.token("alice", "acme")
    image_id = add(client, password)
    rules = [{"service": "image", "method": "GET", "path": "/images/{id}"}]
    token = keystone.limited("alice", password, "reader", rules)

    for _ in range(2):
        assert get(client, token, f"/images/{image_id}").status_code == 200
        assert get(client, token).status_code == 403
        assert client.delete(f"/images/{image_id}", headers={"x-auth-token": token}).status_code == 403


SNAPSHOT = {"url": "rbd://cluster/vms/image/snap", "metadata": {}}


def send(client: Client, method: str, path: str, token: str, service: str, body: Any = None) -> httpx.Response:
    headers = {"x-auth-token": token, "x-service-token": service}
    return client.request(method, path, headers=headers, json=body)


def register(client: Client, token: str) -> str:
    """A queued image's path."""
    body = {"disk_format": "raw", "container_format": "bare"}
    path: str = client.post("/v2/images", body, headers={"x-auth-token": token}).json()["self"]
    return path


def test_a_service_says_in_which_store_its_user_s_image_lies(keystone: Keystone, start: Start) -> None:
    client = start()
    alice, bob = keystone.token("alice", "acme"), keystone.token("bob", "other")
    service = keystone.token("glance", "service")
    path = register(client, alice)

    assert client.post(path + "/locations", SNAPSHOT, headers={"x-auth-token": alice}).status_code == 403
    assert send(client, "POST", path + "/locations", bob, service, SNAPSHOT).status_code == 404
    assert send(client, "POST", path + "/locations", alice, service, SNAPSHOT).status_code == 202
    assert send(client, "GET", path + "/locations", alice, service).json() == [SNAPSHOT]
    assert send(client, "GET", path + "/locations", bob, service).status_code == 404
    assert get(client, alice, path + "/locations").status_code == 403


@pytest.mark.parametrize("service", ["garbage", "a b", "x" * 8193])
def test_a_service_token_that_is_none_is_401(keystone: Keystone, start: Start, service: str) -> None:
    client = start()

    answer = send(client, "GET", "/v2/images", keystone.token("alice", "acme"), service)

    check_refused(answer)
    assert "service token" in answer.text


def test_a_service_token_needs_a_role_of_a_service(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    alice = keystone.token("alice", "acme")
    path = register(client, alice)

    for no_service in (alice, keystone.token("admin", "admin"), keystone.token("glance", None)):
        answer = send(client, "POST", path + "/locations", alice, no_service, SNAPSHOT)
        check_refused(answer)
        assert "does not have a service role" in answer.text
    # keystonemiddleware's own option: such a token is not refused, and counts for nothing.
    lenient = start(service_token_roles_required=False)
    assert send(lenient, "GET", path, alice, alice).status_code == 200
    assert send(lenient, "POST", path + "/locations", alice, alice, SNAPSHOT).status_code == 403


def test_a_revoked_service_token_is_401(keystone: Keystone, start: Start) -> None:
    client = start()
    alice, service = keystone.token("alice", "acme"), keystone.token("glance", "service")
    assert send(client, "GET", "/v2/images", alice, service).status_code == 200

    keystone.revoke(service)

    check_refused(send(client, "GET", "/v2/images", alice, service))
    assert get(client, alice, "/v2/images").status_code == 200


def test_a_service_token_alone_is_nobody_s(keystone: Keystone, start: Start) -> None:
    check_refused(start().get("/v2/images", headers={"x-service-token": keystone.token("glance", "service")}))


def test_a_token_may_expire_while_a_service_works_for_its_user(keystone: Keystone, start: Start) -> None:
    """A snapshot takes hours. What is remembered of such a token lets it in with a service token only."""
    client = start(token_cache_time=60)
    expired, service = keystone.token("alice", "acme", seconds=0), keystone.token("glance", "service")
    revoked = keystone.token("alice", "acme")
    keystone.revoke(revoked)

    assert send(client, "GET", "/v2/images", expired, service).status_code == 200
    check_refused(get(client, expired, "/v2/images"))
    check_refused(send(client, "GET", "/v2/images", revoked, service))
    check_refused(send(client, "GET", "/v2/images", service, expired))


def test_a_service_token_is_remembered_like_its_user_s(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    alice, service = keystone.token("alice", "acme"), keystone.token("glance", "service")
    asked = keystone.times_asked()

    for _ in range(3):
        assert send(client, "GET", "/v2/images", alice, service).status_code == 200

    assert keystone.times_asked() == asked + 2


def test_while_keystone_is_down_no_service_token_is_believed(keystone: Keystone, start: Start) -> None:
    client = start(token_cache_time=60)
    alice, service = keystone.token("alice", "acme"), keystone.token("glance", "service")
    assert get(client, alice).status_code == 200

    with stopped(keystone):
        assert send(client, "GET", "/images", alice, service).status_code == 503


def test_access_rules_are_about_what_the_user_asks_of_the_service(keystone: Keystone, start: Start) -> None:
    """An application credential for Nova alone makes a snapshot; it does not speak to the registry itself."""
    client = start()
    alice, service = keystone.token("alice", "acme"), keystone.token("glance", "service")
    rules = [{"service": "compute", "method": "POST", "path": "/v2.1/servers/*/action"}]
    token = keystone.limited("alice", alice, "snapshots", rules)

    assert get(client, token).status_code == 403
    assert send(client, "GET", "/images", token, service).status_code == 200


def test_options_may_come_from_the_environment(
    keystone: Keystone, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_KEYSTONE_AUTHTOKEN__PASSWORD", PASSWORD.replace("$", "$$"))
    client = start(password="wrong")
    assert get(client, keystone.token("alice", "acme")).status_code == 200


def test_what_an_old_file_says_about_caches_and_delays_changes_nothing(keystone: Keystone, start: Start) -> None:
    client = start(
        memcached_servers=f"127.0.0.1:{free_port()}",
        memcache_security_strategy="ENCRYPT",
        delay_auth_decision=True,
        include_service_catalog=False,
    )
    assert get(client, keystone.token("alice", "acme")).status_code == 200
    check_refused(get(client, "garbage"))
    check_refused(client.get("/images"))


def test_neither_tokens_nor_the_password_are_logged(
    keystone: Keystone, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what Keystone says of a bad token, which with some versions is the token."""
    caplog.set_level(logging.INFO)
    client = start()
    token = keystone.token("alice", "acme")
    get(client, token)
    get(client, "garbage")
    keystone.revoke(token)
    get(client, token)

    logged = "\n".join(str(vars(record)) for record in caplog.records)
    for secret in (token, "garbage", PASSWORD, "Identity response"):
        assert secret not in logged


OLD_FILE = {"auth_url": "http://keystone.test/v3", "auth_type": "password", "username": "u", "password": "p"}


def test_the_options_of_keystone_are_not_unknown_in_this_mode_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "registry.conf", OLD_FILE)
    assert load([file], {"identity.mode": "keystone"}).unknown == []
    assert "[keystone_authtoken] password" in load([file]).unknown


def test_options_may_stand_in_the_section_that_auth_section_names(tmp_path: Path) -> None:
    first = written(tmp_path / "first.conf", {"auth_section": "credentials"})
    second = written(tmp_path / "second.conf", OLD_FILE, "credentials")
    loaded = load([first, second], {"identity.mode": "keystone"})
    assert loaded.unknown == []
    build(loaded.settings)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "needs auth_type"),
        ({"auth_type": "nonsense"}, "nonsense"),
        ({"auth_type": "password"}, "auth_url"),
        ({**OLD_FILE, "http_connect_timeout": "soon"}, "http_connect_timeout"),
        ({**OLD_FILE, "password": "hun$ter2"}, "'\\$\\$'"),
        ({**OLD_FILE, "www_authenticate_uri": "http://a\n http://b"}, "www_authenticate_uri"),
    ],
    ids=["nothing", "unknown type", "no url", "no number", "dollar", "two lines"],
)
def test_a_section_that_cannot_be_used_stops_the_start(tmp_path: Path, given: dict[str, object], sentence: str) -> None:
    file = written(tmp_path / "registry.conf", given)
    with pytest.raises(Invalid, match=sentence) as caught:
        build(make_settings(identity__mode="keystone", config_files=(file,)))
    assert "ter2" not in str(caught.value)


def test_without_keystonemiddleware_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystonemiddleware", None)
    with pytest.raises(Invalid, match=r"pip install 'glance-registry\[keystone\]'"):
        build(make_settings(identity__mode="keystone"))


def test_an_unverified_certificate_is_not_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "registry.conf", {**OLD_FILE, "insecure": True})
    build(make_settings(identity__mode="keystone", config_files=(file,)))
    assert [record.levelno for record in caplog.records if "certificate" in record.message] == [logging.WARNING]


def test_the_global_options_of_oslo_config_stay_as_they_were(tmp_path: Path) -> None:
    from oslo_config import cfg

    file = written(tmp_path / "registry.conf", {**OLD_FILE, "www_authenticate_uri": PUBLIC_URI})
    build(make_settings(identity__mode="keystone", config_files=(file,)))
    assert cfg.CONF.keystone_authtoken.www_authenticate_uri is None
    assert "username" not in cfg.CONF.keystone_authtoken


def test_a_browser_keeps_the_token_that_its_user_pasted(keystone: Keystone, start: Start) -> None:
    client = start()
    token = keystone.token("alice", "acme")
    image_id = add(client, token, name="acme's", is_public=False)
    page = look(client, "/ui", 401)
    signed_in = post_form(client, page.links["Sign in with a token"], f"token={token}")
    cookie = signed_in.headers["set-cookie"].partition(";")[0]

    page = page_of(client.get(signed_in.headers["location"], headers={"Cookie": cookie}))

    assert page.links["acme's"] == f"/ui/images/{image_id}"
    assert "Sign out" in page.text
    command = page_of(client.get(f"/ui/images/{image_id}", headers={"Cookie": cookie})).text
    assert "X-Auth-Token: $OS_TOKEN" in command
    assert token not in command
    check_refused(client.get("/ui", headers={"Cookie": "glance-registry-token=wrong"}))
