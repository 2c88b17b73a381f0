# SPDX-License-Identifier: Apache-2.0
"""Identity mode http_basic: who gets in, as whom, and what happens when the files change or cannot be used."""

import asyncio
import base64
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import httpx
import pytest
from argon2 import PasswordHasher, Type
from tests.conftest import HOST, Client
from tests.options import make_settings

from glance_registry.api.identity import http_basic
from glance_registry.api.identity.accounts import WatchedAccounts, read_accounts
from glance_registry.api.identity.guesses import MAX_FREE_FAILURES
from glance_registry.api.identity.passwords import kind_of, new_hash, verify
from glance_registry.api.identity.slow_check import MAX_CHECKS_PER_ADDRESS
from glance_registry.app import build
from glance_registry.model.errors import IdentityUnavailable, Invalid
from glance_registry.settings import Settings

CHALLENGE = 'Basic realm="glance-registry", charset="UTF-8"'
PASSWORD = "se:cr:ét"
USERS = """
[root]
roles = Admin

[alice]
project = acme
roles = member, reader

[bob]
project = other
"""


def argon2(password: str, kind: Type = Type.ID) -> str:
    """As cheap as can be."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=kind).hash(password)


def blowfish(password: str, prefix: str = "2b", rounds: int = 4) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds, prefix=b"2b")).decode()
    return hashed.replace("$2b$", f"${prefix}$")


class Files:
    """The two files, and registries that use them; `now` is their clock."""

    def __init__(self, folder: Path, database: str) -> None:
        self.htpasswd, self.users = folder / "htpasswd", folder / "users.ini"
        self._database = database
        self.now = 0.0
        self.write(*(f"{name}:{argon2(PASSWORD)}" for name in ("root", "alice", "bob")))
        self.users.write_text(USERS)

    def write(self, *lines: str) -> None:
        self.htpasswd.write_text("\n".join(lines))

    def later(self) -> None:
        """Make both files look changed, however coarse the file system's clock."""
        for file in (self.htpasswd, self.users):
            if file.exists():
                after = file.stat().st_mtime_ns + 1_000_000_000
                os.utime(file, ns=(after, after))

    @property
    def settings(self) -> Settings:
        return make_settings(
            self._database,
            identity__mode="http_basic",
            identity__htpasswd_file=str(self.htpasswd),
            identity__users_file=str(self.users),
        )


Start = Callable[[], Client]


@pytest.fixture
def files(tmp_path: Path, sqlite_database: str) -> Files:
    return Files(tmp_path, sqlite_database)


@pytest.fixture
def start(files: Files) -> Iterator[Start]:
    """Starts registries with the files as they are then."""
    started: list[Client] = []

    def run() -> Client:
        started.append(Client(files.settings, clock=lambda: files.now))
        return started[-1]

    yield run
    for client in started:
        client.close()


def credentials(name: str | bytes, password: str | bytes = PASSWORD) -> dict[str, str]:
    name, password = (part.encode() if isinstance(part, str) else part for part in (name, password))
    return {"authorization": "Basic " + base64.b64encode(name + b":" + password).decode()}


def add(client: Client, name: str, **fields: object) -> str:
    body = {"image": {"name": "image", "disk_format": "raw", "container_format": "bare", **fields}}
    answer = client.post("/images", body, headers=credentials(name))
    assert answer.status_code == 200, answer.text
    return answer.json()["image"]["id"]


def status(client: Client, name: str, password: str = PASSWORD, path: str = "/images") -> int:
    return client.get(path, headers=credentials(name, password)).status_code


def test_a_user_acts_for_the_project_that_the_users_file_says(start: Start) -> None:
    client = start()
    image_id = add(client, "alice")

    answer = client.get(f"/images/{image_id}", headers=credentials("alice"))
    assert answer.json()["image"]["owner"] == "acme"
    assert status(client, "bob", path=f"/images/{image_id}") == 404
    assert client.delete(f"/images/{image_id}", headers=credentials("bob")).status_code == 404


def test_roles_are_those_of_the_users_file_in_any_case(start: Start) -> None:
    client = start()
    image_id = add(client, "alice")

    assert status(client, "root", path=f"/images/{image_id}") == 200
    assert client.delete(f"/images/{image_id}", headers=credentials("root")).status_code == 200


def test_without_credentials_the_answer_is_401_and_says_how_to_send_them(start: Start) -> None:
    client = start()
    for method, path in (("GET", "/images"), ("POST", "/images"), ("HEAD", "/images/one")):
        answer = client.request(method, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == CHALLENGE


def test_what_is_open_needs_no_credentials(start: Start) -> None:
    client = start()
    for path, expected in (("/healthcheck", 200), ("/", 300), ("/versions", 200), ("/metrics", 200)):
        assert client.get(path).status_code == expected


def test_an_unknown_user_and_a_wrong_password_are_answered_alike(start: Start) -> None:
    client = start()
    answers = [client.get("/images", headers=credentials(*who)) for who in (("alice", "wrong"), ("nobody", PASSWORD))]

    for answer in answers:
        answer.headers.pop("x-openstack-request-id")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == CHALLENGE
    assert answers[0].text == answers[1].text == "The user name or the password is wrong.\n"
    assert answers[0].headers == answers[1].headers


@pytest.mark.parametrize(
    "header",
    [
        *("", "Basic", "Basic ", "Basic ????", "Basic YWxpY2U=", "Bearer abc", "Basic é", "Basic Og==", "Basic  ,"),
        credentials("alice")["authorization"].replace("Basic", "Digest"),
        credentials("alice", PASSWORD + "\n")["authorization"],
        credentials("alice\0")["authorization"],
        credentials(b"\xff")["authorization"],
        credentials("alice", "x" * 10_000)["authorization"],
    ],
    ids=lambda header: ascii(header[:30]),
)
def test_credentials_that_cannot_be_read_are_wrong_ones(start: Start, header: str) -> None:
    answer = start().get("/images", headers={"authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.text == "The user name or the password is wrong.\n"
    assert answer.headers["www-authenticate"] == CHALLENGE


def test_the_scheme_may_be_in_any_case(start: Start) -> None:
    header = credentials("alice")["authorization"].replace("Basic", "bASIC")
    assert start().get("/images", headers={"authorization": header}).status_code == 200


def test_two_authorization_headers_are_400_even_when_both_are_right(start: Start) -> None:
    answer = start().get("/images", headers=[*credentials("alice").items()] * 2)
    assert answer.status_code == 400


@pytest.mark.parametrize("password", ["a:b::", ":", "pässwörd ✓", " ", "x" * 1024])
def test_passwords_may_hold_colons_spaces_and_any_letters(files: Files, start: Start, password: str) -> None:
    files.write(f"zoë:{argon2(password)}")
    client = start()
    assert status(client, "zoë", password) == 200
    assert status(client, "zoë", password[1:]) == 401


HASHES = {
    **{kind.name: argon2(PASSWORD, kind) for kind in Type},
    **{prefix: blowfish(PASSWORD, prefix) for prefix in ("2a", "2b", "2y")},
    "new": new_hash(PASSWORD),
}


@pytest.mark.parametrize("hashed", HASHES.values(), ids=HASHES.keys())
def test_argon2_and_bcrypt_hashes_are_accepted(files: Files, start: Start, hashed: str) -> None:
    files.write(f"alice:{hashed}")
    client = start()
    assert status(client, "alice") == 200
    assert status(client, "alice", "wrong") == 401
    assert status(client, "alice", "") == 401


REFUSED = {
    "plain": "plaintext",
    "apr1": "$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00",
    "sha1": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "crypt": "rqXexS6ZhobKA",
    "sha512": "$6$saltsalt$" + "x" * 86,
    "2x": blowfish("x", "2x"),
    "short": blowfish("x")[:-1],
    "cost": blowfish("x").replace("$04$", "$99$"),
    "scrypt": "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
}


@pytest.mark.parametrize("hashed", REFUSED.values(), ids=REFUSED.keys())
def test_a_password_hashed_in_any_other_way_stops_the_start_and_names_the_user(files: Files, hashed: str) -> None:
    files.write(f"alice:{argon2('x')}", f"mallory:{hashed}")
    with pytest.raises(Invalid, match="mallory") as caught:
        build(files.settings)
    assert hashed not in str(caught.value)


def test_a_password_is_not_cut_where_bcrypt_stops_reading(files: Files, start: Start) -> None:
    files.write(f"alice:{blowfish('x' * 72)}")
    client = start()
    assert status(client, "alice", "x" * 72) == 200
    assert status(client, "alice", "x" * 73) == 401


def test_a_user_without_a_section_has_no_project_and_no_roles(files: Files, start: Start) -> None:
    files.users.write_text("[alice]\nproject = acme\n")
    client = start()
    private, public = add(client, "alice"), add(client, "alice", is_public=True)

    assert status(client, "bob", path=f"/images/{private}") == 404
    assert status(client, "bob", path=f"/images/{public}") == 200
    assert client.delete(f"/images/{public}", headers=credentials("bob")).status_code == 403


def test_a_section_named_default_is_a_user_and_not_everybodys_rights(files: Files) -> None:
    files.users.write_text("[DEFAULT]\nroles = admin\n[alice]\nproject = %(x)s\n")
    people = read_accounts(files.htpasswd, files.users).people
    assert people["alice"].roles == frozenset()
    assert people["alice"].project == "%(x)s"
    assert people["DEFAULT"].roles == {"admin"}


BROKEN_USERS = {
    "no section": "project = x",
    "no value": "[alice]\nproject",
    "twice": "[alice]\n[alice]\n",
    "option twice": "[alice]\nroles = a\nroles = b\n",
    "unknown option": "[alice]\nrole = admin\n",
    "not utf-8": "[al\udcffce]\n",
}


@pytest.mark.parametrize("text", BROKEN_USERS.values(), ids=BROKEN_USERS.keys())
def test_a_broken_users_file_stops_the_start(files: Files, text: str) -> None:
    files.users.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Invalid, match=r"users\.ini"):
        build(files.settings)


@pytest.mark.parametrize("line", ["alice", "alice:", ":x", f"alice:{HASHES['2b']}\nalice:{HASHES['2b']}"])
def test_a_broken_htpasswd_file_stops_the_start(files: Files, line: str) -> None:
    files.write(line)
    with pytest.raises(Invalid, match="htpasswd") as caught:
        build(files.settings)
    assert HASHES["2b"] not in str(caught.value)


def test_a_file_that_is_not_there_or_not_named_stops_the_start(files: Files) -> None:
    with pytest.raises(Invalid, match="htpasswd_file"):
        build(make_settings(identity__mode="http_basic", identity__users_file=str(files.users)))
    with pytest.raises(Invalid, match="users_file"):
        build(make_settings(identity__mode="http_basic", identity__htpasswd_file=str(files.htpasswd)))
    files.users.unlink()
    with pytest.raises(Invalid, match=r"users\.ini cannot be read: No such file"):
        build(files.settings)


def test_comments_and_empty_lines_are_no_users(files: Files) -> None:
    files.write("# people", "", "   ", f"alice:{HASHES['2y']}  \r")
    assert list(read_accounts(files.htpasswd, files.users).hashes) == ["alice"]


def test_a_changed_file_counts_after_a_second_also_for_whom_it_knew(files: Files, start: Start) -> None:
    client = start()
    assert status(client, "alice") == 200

    files.write(f"carol:{argon2(PASSWORD)}", f"bob:{argon2('new')}")
    files.later()
    files.now += 1

    assert status(client, "alice") == 401
    assert status(client, "bob") == 401
    assert status(client, "bob", "new") == 200
    assert status(client, "carol") == 200


def test_while_a_file_is_broken_nobody_gets_in_and_the_log_says_why_once(
    files: Files, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = start()
    assert status(client, "alice") == 200
    whole = files.htpasswd.read_text()

    files.write(f"{whole}\nmallory:letmein")
    files.later()
    for _ in range(2):
        files.now += 1
        answer = client.get("/images", headers=credentials("alice"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/images").status_code == 401
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    (line,) = lines
    assert line.getMessage() == "requests fail"
    assert "mallory" in line.fields["cause"]  # type: ignore[attr-defined]
    assert "mallory" not in answer.text
    assert "letmein" not in str([vars(record) for record in lines])

    files.write(whole)
    files.later()
    files.now += 1
    assert status(client, "alice") == 200


def test_the_files_are_looked_at_once_a_second_at_most(files: Files) -> None:
    now = 0.0
    accounts = WatchedAccounts(files.htpasswd, files.users, lambda: now)
    files.htpasswd.unlink()

    now = 0.9
    assert "alice" in accounts.current().hashes
    now = 1.0
    with pytest.raises(IdentityUnavailable):
        accounts.current()
    files.write(f"dora:{argon2('x')}")
    with pytest.raises(IdentityUnavailable):
        accounts.current()
    now = 2.0
    assert list(accounts.current().hashes) == ["dora"]


def test_files_that_do_not_change_are_not_read_again(files: Files) -> None:
    now = 0.0
    accounts = WatchedAccounts(files.htpasswd, files.users, lambda: now)
    first = accounts.current()
    now = 5.0
    assert accounts.current() is first
    files.later()
    now = 10.0
    assert accounts.current() is not first


@pytest.mark.parametrize("hashed", HASHES.values(), ids=HASHES.keys())
def test_an_unknown_name_is_compared_with_a_hash_of_the_same_cost_that_nothing_fits(files: Files, hashed: str) -> None:
    files.write(f"alice:{hashed}")
    accounts = read_accounts(files.htpasswd, files.users)
    decoy = accounts.hash_for("nobody")

    assert decoy != hashed
    assert kind_of(decoy) == kind_of(hashed)
    assert decoy.rpartition("$")[0] == hashed.rpartition("$")[0]
    assert accounts.hash_for("nobody") == decoy
    assert not verify(decoy, PASSWORD.encode())


def test_an_empty_file_lets_nobody_in(files: Files, start: Start) -> None:
    files.write("# nobody yet")
    assert status(start(), "alice") == 401


def test_checking_a_password_holds_up_no_other_request(files: Files, start: Start) -> None:
    files.write(f"slow:{blowfish(PASSWORD, rounds=12)}")
    client = start()
    order: list[str] = []

    async def ask(http: httpx.AsyncClient, path: str) -> None:
        await http.get(path, headers=credentials("slow"))
        order.append(path)

    async def ask_both() -> None:
        transport = httpx.ASGITransport(client.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry.test") as http:
            await http.get("/healthcheck")
            await asyncio.gather(ask(http, "/images"), ask(http, "/healthcheck"))

    client.runner.run(ask_both())
    assert order == ["/healthcheck", "/images"]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that were compared with a hash, in their order."""
    compared: list[bytes] = []

    def compare(hashed: str, password: bytes) -> bool:
        compared.append(password)
        return verify(hashed, password)

    monkeypatch.setattr(http_basic, "verify", compare)
    return compared


def test_a_password_that_was_right_is_not_hashed_for_each_request(start: Start, compared: list[bytes]) -> None:
    client = start()

    for password in (PASSWORD, PASSWORD, "wrong", "wrong", PASSWORD):
        status(client, "alice", password)

    assert compared == [PASSWORD.encode(), b"wrong", b"wrong"]


def test_wrong_passwords_for_a_user_cost_longer_and_longer_waits(
    files: Files, start: Start, compared: list[bytes]
) -> None:
    client = start()
    for _ in range(MAX_FREE_FAILURES):
        assert status(client, "bob", "wrong") == 401

    for seconds in (1, 2, 4):
        before = len(compared)
        answer = client.get("/images", headers=credentials("bob", "wrong"))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, str(seconds))
        files.now += seconds - 0.5
        assert status(client, "bob") == 429
        assert len(compared) == before
        files.now += 0.5
        assert status(client, "bob", "wrong") == 401
    assert status(client, "alice") == 200

    files.now += 8
    assert status(client, "bob") == 200
    assert status(client, "bob", "wrong") == 401


def test_who_was_let_in_before_is_not_locked_out_by_another_one_s_guesses(files: Files, start: Start) -> None:
    client = start()
    assert status(client, "bob") == 200
    files.now += 100  # No longer remembered.
    for _ in range(MAX_FREE_FAILURES):
        assert status(client, "bob", "wrong") == 401
    assert status(client, "bob", "wrong") == 429

    assert status(client, "bob") == 200


def test_a_flood_of_wrong_passwords_is_the_flooder_s_trouble_alone(files: Files, start: Start) -> None:
    """480 at once, from one address, while two users who were never seen come from others."""
    client = start()

    async def ask(address: str, name: str, password: str) -> int:
        transport = httpx.ASGITransport(client.application, client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as http:
            return (await http.get("/images", headers=credentials(name, password))).status_code

    async def flood() -> tuple[list[int], list[int]]:
        guesses = [ask("192.0.2.1", f"user{number}", f"wrong{number}") for number in range(480)]
        flooding = asyncio.ensure_future(asyncio.gather(*guesses))
        others = await asyncio.gather(ask("192.0.2.2", "alice", PASSWORD), ask("192.0.2.3", "bob", PASSWORD))
        return await flooding, others

    flooded, others = client.runner.run(flood())

    assert others == [200, 200]
    assert flooded.count(401) == MAX_CHECKS_PER_ADDRESS
    assert flooded.count(429) == 480 - MAX_CHECKS_PER_ADDRESS


def test_neither_passwords_nor_hashes_are_logged(files: Files, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = start()
    status(client, "alice")
    status(client, "alice", "wrong-password")

    logged = "\n".join(str(vars(record)) for record in caplog.records)
    for secret in (PASSWORD, "wrong-password", *credentials("alice").values(), "$argon2"):
        assert secret not in logged


def test_a_browser_is_asked_for_a_password_and_for_no_token(start: Start) -> None:
    client = start()
    image_id = add(client, "alice", is_public=False, properties={"team": "acme's"})

    page = client.get("/ui")
    assert (page.status_code, page.headers["www-authenticate"]) == (401, CHALLENGE)
    assert "token" not in page.text
    assert image_id in client.get("/ui", headers=credentials("alice")).text
    own = client.get(f"/ui/images/{image_id}", headers=credentials("alice")).text
    assert "acme&#39;s" in own
    assert "curl -sf -u USER" in own
    assert client.get(f"/ui/images/{image_id}", headers=credentials("bob")).status_code == 404
