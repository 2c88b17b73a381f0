# SPDX-License-Identifier: Apache-2.0
"""Keystone's unified limits, with a real Keystone that tells them, and without one that answers."""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import Client
from tests.keystone import PASSWORD, Keystone, written
from tests.options import make_settings
from tests.processes import free_port

from glance_registry.app import build
from glance_registry.model.errors import Invalid
from glance_registry.settings import load
from glance_registry.transfer import unified_limits
from glance_registry.transfer.unified_limits import CACHE_SECONDS

pytestmark = [
    pytest.mark.external,
    # oslo.limit uses openstacksdk as older releases wanted it.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
]

MEBIBYTE = 1024 * 1024
BYTES = {"content-type": "application/octet-stream"}
NEW = {"disk_format": "raw", "container_format": "bare"}


class Clock:
    """What a registry takes for the time since some moment."""

    now = 1000.0


class Limits:
    """The limits that a Keystone has for the image service; removed at the end."""

    def __init__(self, keystone: Keystone) -> None:
        self._keystone = keystone
        self._token = keystone.token("admin", "admin")
        self._service = keystone.services["image"]
        self._made: list[str] = []
        roles = {role["name"]: role["id"] for role in keystone.ask("GET", "/roles", self._token).json()["roles"]}
        self._grant = f"/system/users/{keystone.users['glance']}/roles/{roles['reader']}"
        keystone.ask("PUT", self._grant, self._token)
        endpoint = {"service_id": self._service, "url": "http://images.test", "region_id": "here"}
        self._made.append("/endpoints/" + keystone.make("endpoint", self._token, interface="public", **endpoint))

    def register(self, **limits: int) -> None:
        """The limits of every project that has none of its own."""
        self._add("registered_limits", [{"resource_name": name, "default_limit": at} for name, at in limits.items()])

    def of(self, project: str, **limits: int) -> None:
        theirs = {"project_id": self._keystone.projects[project]}
        self._add("limits", [{**theirs, "resource_name": name, "resource_limit": at} for name, at in limits.items()])

    def _add(self, kind: str, rows: list[dict[str, Any]]) -> None:
        where = {"service_id": self._service, "region_id": "here"}
        body = {kind: [{**where, **row} for row in rows]}
        made = self._keystone.ask("POST", f"/{kind}", self._token, json=body).json()[kind]
        self._made += [f"/{kind}/{one['id']}" for one in made]

    def remove(self) -> None:
        for path in [*reversed(self._made), self._grant]:
            self._keystone.ask("DELETE", path, self._token)


@pytest.fixture
def limits(keystone: Keystone) -> Iterator[Limits]:
    limits = Limits(keystone)
    yield limits
    limits.remove()


Start = Callable[..., Client]


def section(url: str, **more: object) -> dict[str, object]:
    """As Glance's installation guide has it."""
    return {
        "auth_url": url,
        "auth_type": "password",
        "username": "glance",
        "password": PASSWORD.replace("$", "$$"),
        "user_domain_name": "Default",
        "system_scope": "all",
        **more,
    }


@pytest.fixture
def start(sqlite_database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts registries that ask a Keystone for limits, with callers known by headers."""
    started: list[Client] = []

    def run(url: str, clock: Clock | None = None, **more: object) -> Client:
        file = written(tmp_path / "limits.conf", section(url, **more), "oslo_limit")
        settings = make_settings(
            sqlite_database,
            identity__mode="context",
            limits__use_keystone_limits=True,
            limits__images_per_owner=1,  # Must not count.
            config_files=(file,),
        )
        started.append(Client(settings, clock=lambda: (clock or Clock).now))
        return started[-1]

    yield run
    for client in started:
        client.close()


def create(caller: Any) -> dict[str, Any]:
    answer = caller.post("/v2/images", NEW)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image


def upload(caller: Any, image: dict[str, Any], content: Any) -> httpx.Response:
    answer: httpx.Response = caller.request("PUT", image["file"], content=content, headers=BYTES)
    return answer


def test_a_project_has_the_limits_that_keystone_tells(keystone: Keystone, limits: Limits, start: Start) -> None:
    limits.register(image_count_total=2, image_size_total=4, image_count_uploading=-1, image_stage_total=-1)
    limits.of("other", image_count_total=1, image_size_total=-1)
    client = start(keystone.url)
    alice, bob = (client.caller(keystone.projects[name], "member") for name in ("acme", "other"))
    first, second = create(alice), create(alice)
    of_bob = create(bob)

    too_many = [alice.post("/v2/images", NEW), bob.post("/v2/images", NEW), alice.post("/images", {"image": NEW})]
    uploads = [
        upload(alice, first, bytes(3 * MEBIBYTE)),
        upload(alice, second, bytes(MEBIBYTE + 1)),
        upload(alice, second, bytes(MEBIBYTE)),
        upload(bob, of_bob, bytes(5 * MEBIBYTE)),
    ]

    assert [answer.status_code for answer in too_many] == [413, 413, 413]
    assert [answer.status_code for answer in uploads] == [204, 413, 204, 204]
    assert alice.get("/v2/info/usage").json()["usage"] == {
        "image_size_total": {"usage": 4, "limit": 4},
        "image_count_total": {"usage": 2, "limit": 2},
        "image_count_uploading": {"usage": 0, "limit": -1},
    }


def test_uploads_at_once_are_as_many_as_keystone_says(keystone: Keystone, limits: Limits, start: Start) -> None:
    limits.register(image_count_total=-1, image_size_total=-1, image_count_uploading=1)
    client = start(keystone.url)
    alice = client.caller(keystone.projects["acme"], "member")
    first, second = create(alice), create(alice)
    seen: list[httpx.Response] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        headers = {**alice.headers, **BYTES}
        seen.append(await client.http.request("PUT", second["file"], content=b"second", headers=headers))
        yield b"end"

    assert upload(alice, first, body()).status_code == 204

    assert (seen[0].status_code, "1 uploads under way" in seen[0].text) == (413, True)
    assert upload(alice, second, b"second").status_code == 204


def test_what_is_not_registered_is_not_allowed(keystone: Keystone, limits: Limits, start: Start) -> None:
    """As everywhere in OpenStack."""
    limits.register(image_count_total=5)
    client = start(keystone.url)
    alice = client.caller(keystone.projects["acme"], "member")
    image = create(alice)

    answer = upload(alice, image, b"bytes")

    assert answer.status_code == 413
    assert alice.get(image["self"]).json()["status"] == "queued"


def test_a_limit_that_changes_counts_after_a_short_time(keystone: Keystone, limits: Limits, start: Start) -> None:
    limits.register(image_count_total=1, image_size_total=-1, image_count_uploading=-1)
    clock = Clock()
    client = start(keystone.url, clock)
    alice = client.caller(keystone.projects["acme"], "member")
    create(alice)
    limits.of("acme", image_count_total=2)

    clock.now += CACHE_SECONDS - 1
    before = alice.post("/v2/images", NEW)
    clock.now += 1
    after = alice.post("/v2/images", NEW)

    assert (before.status_code, after.status_code) == (413, 201)


def test_an_image_without_an_owner_has_no_limits(start: Start) -> None:
    client = start(f"http://127.0.0.1:{free_port()}/v3")
    service = client.caller(None, "service")

    image = create(service)

    assert image["owner"] is None
    assert upload(service, image, b"bytes").status_code == 204


def test_without_keystone_projects_get_no_more_and_keep_what_they_have(
    keystone: Keystone, limits: Limits, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    limits.register(image_count_total=-1, image_size_total=-1, image_count_uploading=-1)
    clock = Clock()
    client = start(keystone.url, clock)
    alice = client.caller(keystone.projects["acme"], "member")
    active, queued = create(alice), create(alice)
    assert upload(alice, active, b"bytes").status_code == 204
    clock.now += CACHE_SECONDS

    caplog.set_level(logging.INFO, "glance_registry")
    keystone.stop()
    try:
        refused = [alice.post("/v2/images", NEW), upload(alice, queued, b"bytes"), alice.get("/v2/info/usage")]
        served = [alice.get("/v2/images"), alice.get(active["file"]), alice.get(queued["self"])]
        patch = [{"op": "replace", "path": "/name", "value": "new"}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        served.append(alice.request("PATCH", queued["self"], json=patch, headers=headers))
    finally:
        keystone.start()
    again = upload(alice, queued, b"bytes")

    assert [answer.status_code for answer in refused] == [503, 503, 503]
    assert {answer.json()["error"]["message"] for answer in refused} == {
        "Keystone does not tell the project's limits now; try again later."
    }
    assert [answer.status_code for answer in served] == [200, 200, 200, 200]
    assert served[2].json()["status"] == "queued"
    assert again.status_code == 204
    failures = [record for record in caplog.records if record.message == "requests fail"]
    assert len(failures) == 1
    assert failures[0].fields["error"] == "limits-unavailable"  # type: ignore[attr-defined]
    assert str(keystone.url) in failures[0].fields["cause"]  # type: ignore[attr-defined]
    assert "requests work again" in [record.message for record in caplog.records]
    assert PASSWORD not in caplog.text


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a Keystone that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v3"


def test_a_keystone_that_says_nothing_is_not_waited_for(
    silent: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unified_limits, "MAX_WAIT_SECONDS", 0.01)
    client = start(silent, timeout=1)

    answer = client.caller("p1", "member").post("/v2/images", NEW)

    assert answer.status_code == 503
    assert "in time" in answer.text


def test_only_so_many_projects_wait_for_keystone(silent: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unified_limits, "MAX_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(unified_limits, "MAX_LOOKUPS", 1)
    client = start(silent, timeout=1)
    sentences = [client.caller(name, "member").post("/v2/images", NEW).text for name in ("p1", "p2")]

    assert "in time" in sentences[0]
    assert "Too many projects" in sentences[1]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"auth_type": ""}, r"needs auth_type in section \[oslo_limit\]"),
        ({"auth_type": "none_such"}, r"\[oslo_limit\] cannot be used: .*none_such"),
        ({"auth_section": "elsewhere"}, r"needs auth_type in section \[elsewhere\]"),
        ({"password": "a$bcdefgh"}, r"'\$' names an option"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused_at_the_start(
    sqlite_database: str, tmp_path: Path, more: dict[str, object], sentence: str
) -> None:
    file = written(tmp_path / "limits.conf", section("http://keystone.test", **more), "oslo_limit")
    settings = make_settings(sqlite_database, limits__use_keystone_limits=True, config_files=(file,))

    with pytest.raises(Invalid, match=sentence):
        build(settings)


def test_a_file_of_glance_s_switches_the_limits_on(tmp_path: Path) -> None:
    file = written(tmp_path / "glance-api.conf", {"use_keystone_limits": True}, "DEFAULT")
    Path(file).write_text(Path(file).read_text() + "[oslo_limit]\nauth_url = http://keystone.test\nendpoint_id = 1\n")

    loaded = load([file])

    assert loaded.settings.limits.use_keystone_limits
    assert loaded.unknown == []
