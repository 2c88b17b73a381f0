# SPDX-License-Identifier: Apache-2.0
"""Names of the registry: what a request's Host header may say, in which mode."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.conftest import HOST, Client, identity
from tests.options import make_settings
from tests.raw import ask

from glance_registry.api import host_check
from glance_registry.app import build
from glance_registry.model.errors import Invalid

Start = Callable[..., Client]
EVIL = "evil.example"
OURS = ["localhost", "LOCALHOST:9191", "localhost.", "127.0.0.1", "127.0.0.1:80", "127.8.9.1", "[::1]", "[0:0::1]:9191"]
NOT_OURS = [
    *(EVIL, f"{EVIL}:9191", "localhost.evil.example", "evil-localhost", "192.0.2.1", "[::2]", "0.0.0.0", "2130706433"),
    *("127.0.0.1.evil.example", "0x7f.1", "[::ffff:192.0.2.1]"),
]


@pytest.fixture
def start(sqlite_database: str) -> Iterator[Start]:
    started: list[Client] = []

    def run(**settings: Any) -> Client:
        started.append(Client(make_settings(sqlite_database, **settings)))
        return started[-1]

    yield run
    for client in started:
        client.close()


def status(client: Client, host: str, method: str = "GET", path: str = "/images") -> int:
    return client.request(method, path, headers={"Host": host}).status_code


@pytest.mark.parametrize("host", OURS)
def test_on_loopback_names_of_loopback_are_served(start: Start, host: str) -> None:
    assert status(start(), host) == 200


@pytest.mark.parametrize("host", NOT_OURS)
def test_on_loopback_in_mode_none_no_other_name_is_served(start: Start, host: str) -> None:
    answer = start().get("/images", headers={"Host": host})

    assert answer.status_code == 421
    assert "[DEFAULT] allowed_hosts" in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/images"),
        ("GET", "/v2/images"),
        ("GET", "/ui"),
        ("GET", "/metrics"),
        ("GET", "/healthcheck"),
        ("GET", "/x"),
    ],
)
def test_the_name_is_looked_at_before_anything_else(start: Start, method: str, path: str) -> None:
    assert status(start(), EVIL, method, path) == 421


def test_a_name_that_is_not_ours_changes_nothing(start: Start) -> None:
    client = start()
    image_id = client.add()["id"]
    same_site = {"Host": EVIL, "Origin": f"http://{EVIL}", "Sec-Fetch-Site": "same-origin"}

    assert client.delete(f"/images/{image_id}", headers=same_site).status_code == 421
    assert client.get(f"/images/{image_id}").status_code == 200


def test_names_of_the_settings_are_served(start: Start) -> None:
    client = start(
        allowed_hosts=("Images.Example.", "192.0.2.7", "[2001:db8::7]", "2001:db8::8"),
        public_endpoint="https://public.example:8443/glance",
    )

    for host in (
        "images.example",
        "images.example:1",
        "192.0.2.7",
        "[2001:DB8::7]",
        "[2001:db8::8]:1",
        "public.example",
    ):
        assert status(client, host) == 200
    assert status(client, EVIL) == 421


@pytest.mark.parametrize(
    "settings",
    [{"identity__mode": "context"}, {"bind_host": "0.0.0.0", "identity__insecure_no_auth": True}],
    ids=["another mode", "another address"],
)
def test_elsewhere_names_are_checked_when_the_setting_names_some(
    sqlite_database: str, start: Start, settings: Any
) -> None:
    client = start(**settings)
    if settings.get("identity__mode") == "context":
        assert status(client, "anything.example") == 200

    client = start(allowed_hosts=("images.example",), **settings)
    assert status(client, "images.example") == status(client, "localhost") == 200
    assert status(client, EVIL) == 421


@pytest.mark.parametrize("mode", ["none", "context"])
@pytest.mark.parametrize(
    ("hosts", "sentence"),
    [
        ([b"localhost", b"localhost"], b"more than once"),
        ([b"localhost", b"evil.example"], b"more than once"),
        ([b""], b"missing"),
        ([b"a, b"], b"not a name"),
        ([b'x"><script>'], b"not a name"),
        ([b"localhost:123456"], b"not a name"),
        ([b"user@localhost"], b"not a name"),
        ([b"\xff"], b"not a name"),
        ([b"[zz]"], b"not a name"),
        ([b"x" * 300], b"not a name"),
    ],
)
def test_a_host_that_is_missing_or_double_or_none_is_400_in_every_mode(
    start: Start, mode: str, hosts: list[bytes], sentence: bytes
) -> None:
    answer = ask(start(identity__mode=mode), "GET", "/images", headers=[(b"host", host) for host in hosts])

    assert answer.status == 400
    assert sentence in answer.body


def test_what_passed_is_remembered_and_only_so_much_of_it() -> None:
    check = host_check.HostCheck(["images.example"])
    for number in range(host_check.MAX_REMEMBERED_HOSTS + 10):
        check({"headers": [(b"host", b"images.example:%d" % number)], "http_version": "1.1"})

    assert check._find_fault.cache_info().currsize == host_check.MAX_REMEMBERED_HOSTS


@pytest.mark.parametrize("name", ["", "a b", "images.example:9191", "https://images.example", "*", "[::1"])
def test_what_cannot_be_a_name_stops_the_start(sqlite_database: str, name: str) -> None:
    with pytest.raises(Invalid, match="allowed_hosts"):
        build(make_settings(sqlite_database, allowed_hosts=(name,)))


def test_identity_does_not_matter_for_a_wrong_name(start: Start) -> None:
    client = start(identity__mode="context", allowed_hosts=(HOST,))

    assert client.get("/images", headers={**identity("p", "admin"), "Host": EVIL}).status_code == 421
    assert client.get("/images", headers=identity("p", "admin")).status_code == 200
