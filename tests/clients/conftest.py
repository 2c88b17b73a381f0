# SPDX-License-Identifier: Apache-2.0
"""Servers, and people who use clients on them; one of each for all tests, which keep to names of their own."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
from tests.clients.callers import Caller, Driver
from tests.keystone import PASSWORD as OF_KEYSTONE
from tests.keystone import USERS, Keystone, options, written
from tests.processes import Server

PASSWORD = "s3cr$t"
PEOPLE = {"root": ("operations", "admin"), "alice": ("acme", "member"), "bob": ("other", "member")}
"""Each one's project and role."""

MakeDatabase = Callable[[str], str]
Person = Callable[[str], Caller]
Login = Callable[[str], Caller]
Folders = pytest.TempPathFactory


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(tmp_path_factory.mktemp("clients"))
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def nobody(driver: Driver, make_database: MakeDatabase, tmp_path_factory: Folders) -> Iterator[Caller]:
    """Whoever reaches a server that asks nobody who they are."""
    with Server(tmp_path_factory.mktemp("none"), make_database("sqlite")) as server:
        yield Caller(driver, None, {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": f"http://127.0.0.1:{server.port}"})


@pytest.fixture(scope="session")
def person(driver: Driver, make_database: MakeDatabase, tmp_path_factory: Folders) -> Iterator[Person]:
    """People with a password each, on a server that asks for it."""
    folder = tmp_path_factory.mktemp("http-basic")
    with Server(folder, make_database("sqlite"), "--config-file", with_passwords(folder)) as server:

        def identify(name: str) -> Caller:
            environ = {"OS_AUTH_TYPE": "http_basic", "OS_ENDPOINT": f"http://127.0.0.1:{server.port}/v2"}
            return Caller(driver, PEOPLE[name][0], {**environ, "OS_USERNAME": name, "OS_PASSWORD": PASSWORD})

        yield identify


@pytest.fixture(scope="module")
def login(
    driver: Driver, keystone: Keystone, make_database: MakeDatabase, tmp_path_factory: Folders
) -> Iterator[Login]:
    """People of Keystone, whose catalogue has the server that runs."""
    folder = tmp_path_factory.mktemp("keystone-clients")
    files = (
        written(folder / "registry.conf", {"mode": "keystone"}, "identity"),
        written(folder / "keystone.conf", options(keystone)),
    )
    given = [argument for file in files for argument in ("--config-file", file)]
    with Server(folder, make_database("sqlite"), *given) as server, keystone.listed("image", server.port):
        environ = {
            "OS_AUTH_URL": keystone.url,
            # Clients remember where Keystone sent them: those of another module begin anew.
            "TEST_SERVER": str(server.port),
            "OS_PASSWORD": OF_KEYSTONE,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }

        def identify(name: str) -> Caller:
            project = USERS.get(name, ("admin", ""))[0]
            who = {"OS_USERNAME": name, "OS_PROJECT_NAME": project}
            return Caller(driver, keystone.projects.get(project), {**environ, **who})

        yield identify


def with_passwords(folder: Path) -> str:
    """The settings of a server with people; their file."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text("".join(f"{name}:{hashed}\n" for name in PEOPLE))
    rights = (f"[{name}]\nproject = {project}\nroles = {role}\n" for name, (project, role) in PEOPLE.items())
    (folder / "users.ini").write_text("".join(rights))
    file = folder / "registry.conf"
    file.write_text(
        f"[identity]\nmode = http_basic\nhtpasswd_file = {folder}/htpasswd\nusers_file = {folder}/users.ini\n"
    )
    return str(file)


@pytest.fixture(params=["none", "http_basic"])
def admin(request: pytest.FixtureRequest) -> Caller:
    """Somebody who may do everything, on a server of either kind."""
    if request.param == "none":
        nobody: Caller = request.getfixturevalue("nobody")
        return nobody
    root: Caller = request.getfixturevalue("person")("root")
    return root


@pytest.fixture(params=["none", "http_basic", "keystone"])
def member(request: pytest.FixtureRequest) -> Caller:
    """Somebody with a project, or whoever reaches the server, in each identity mode."""
    if request.param == "none":
        nobody: Caller = request.getfixturevalue("nobody")
        return nobody
    alice: Caller = request.getfixturevalue({"http_basic": "person", "keystone": "login"}[request.param])("alice")
    return alice


@pytest.fixture
def tag() -> str:
    """A word that no other test uses, for names and tags."""
    return f"t{uuid.uuid4().hex[:8]}"
