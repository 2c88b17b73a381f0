# SPDX-License-Identifier: Apache-2.0
"""A real Keystone on a port of this machine, with a few projects and users; `make test` installs it."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.processes import free_port

PROGRAM = Path(__file__).with_name("keystone_server.py")
PYTHON = Path(sys.prefix) / "keystone" / "bin" / "python"
START_SECONDS = 120
PASSWORD = "s3cr$t"
PUBLIC_URI = "https://keystone.example.org/v3"
DOMAIN = {"id": "default"}
USERS = {"alice": ("acme", "member"), "bob": ("other", "member"), "glance": ("service", "service")}
"""Each user's project and role; `admin` of project `admin` comes with Keystone."""

Scope = dict[str, Any] | None


class Keystone:
    """Starts, stops, hands out tokens and tells what it was asked. Its folder and its port outlast a stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/v3"
        self._http = httpx.Client(base_url=self.url, timeout=60)
        self._process: subprocess.Popen[bytes] | None = None
        self.projects: dict[str, str] = {}
        self.users: dict[str, str] = {}
        self.services: dict[str, str] = {}

    def start(self) -> None:
        """Returns when it answers. With `-P` it does not take this file for the package of the same name."""
        assert PYTHON.exists(), "Keystone is not installed: run `make test`, or `make .venv/keystone.stamp`."
        command = [PYTHON, "-P", "-W", "ignore", PROGRAM, self.folder, str(self._port), PASSWORD]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        given_up = time.monotonic() + START_SECONDS
        while not self._answers():
            running = self._process.poll() is None and time.monotonic() < given_up
            assert running, (self.folder / "output").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._http.close()

    def populate(self) -> None:
        """The projects and users of this file."""
        token = self.token("admin", "admin")
        roles = {role["name"]: role["id"] for role in self.ask("GET", "/roles", token).json()["roles"]}
        for name, (project, role) in USERS.items():
            self.projects[project] = self.make("project", token, name=project, domain_id="default")
            self.users[name] = self.make("user", token, name=name, password=PASSWORD, domain_id="default")
            grant = f"/projects/{self.projects[project]}/users/{self.users[name]}/roles/{roles[role]}"
            self.ask("PUT", grant, token)
        self.services["image"] = self.make("service", token, type="image", name="glance")

    @contextmanager
    def listed(self, service: str, port: int) -> Iterator[None]:
        """The catalogue that comes with tokens has a service at a port of this machine."""
        token = self.token("admin", "admin")
        where = {"service_id": self.services[service], "url": f"http://127.0.0.1:{port}", "region_id": "here"}
        endpoint = self.make("endpoint", token, interface="public", **where)
        try:
            yield
        finally:
            self.ask("DELETE", f"/endpoints/{endpoint}", self.token("admin", "admin"))

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {"x-auth-token": token, **options.pop("headers", {})}
        answer = self._http.request(method, self.url + path, headers=headers, **options)
        assert answer.is_success, answer.text
        return answer

    def make(self, kind: str, token: str, **fields: Any) -> str:
        """A new project, user or service; its id."""
        made: str = self.ask("POST", f"/{kind}s", token, json={kind: fields}).json()[kind]["id"]
        return made

    def token(self, user: str, project: str | None, *, scope: Scope = None, seconds: int | None = None) -> str:
        """A new token of a user for a project; without one unscoped, or with another scope."""
        who = {"name": user, "domain": DOMAIN, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": who}}
        if project:
            scope = {"project": {"name": project, "domain": DOMAIN}}
        return self.authenticate(identity, scope or "unscoped", seconds)

    def authenticate(self, identity: dict[str, Any], scope: dict[str, Any] | str | None, seconds: int | None) -> str:
        headers = {} if seconds is None else {"x-token-seconds": str(seconds)}
        body = {"auth": {"identity": identity, **({"scope": scope} if scope else {})}}
        token: str = self.ask("POST", "/auth/tokens", json=body, headers=headers).headers["x-subject-token"]
        return token

    def limited(self, user: str, token: str, name: str, rules: list[dict[str, str]]) -> str:
        """A token for a new application credential of a user, which is for nothing but what the access rules say."""
        fields = {"name": name, "secret": "s", "access_rules": rules}
        path = f"/users/{self.users[user]}/application_credentials"
        made = self.ask("POST", path, token, json={"application_credential": fields}).json()["application_credential"]
        credential = {"id": made["id"], "secret": "s"}
        return self.authenticate(
            {"methods": ["application_credential"], "application_credential": credential}, None, None
        )

    def revoke(self, token: str) -> None:
        self.ask("DELETE", "/auth/tokens", token, headers={"x-subject-token": token})

    def times_asked(self) -> int:
        """How often it was asked whether a token is good."""
        lines = (self.folder / "requests").read_text().splitlines()
        return sum(line.startswith("GET /v3/auth/tokens ") for line in lines)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """It answers 500 to every question about a token: one of its tables is not there."""
        self._run_sql("ALTER TABLE revocation_event RENAME TO away")
        try:
            yield
        finally:
            self._run_sql("ALTER TABLE away RENAME TO revocation_event")

    def _run_sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "keystone.sqlite")) as connection, connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        try:
            return self._http.get(self.url).is_success
        except httpx.TransportError:
            return False


def options(keystone: Keystone, **more: object) -> dict[str, object]:
    """A section [keystone_authtoken] as operators have had it for years."""
    return {
        "www_authenticate_uri": PUBLIC_URI,
        "auth_url": keystone.url,
        "auth_type": "password",
        "username": "glance",
        "password": PASSWORD.replace("$", "$$"),
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "http_request_max_retries": 0,
        **more,
    }


def written(file: Path, given: dict[str, object], section: str = "keystone_authtoken") -> str:
    file.write_text(f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in given.items()))
    return str(file)
